//! One step of a plan.

mod map;
mod program;

pub use map::{CreateMap, Fallback, KernelValueRef, Likeness, MapBtfRef};
pub use program::{Attach, LoadProgram, Operand, Patch};

use super::convert::Conversion;
use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The object that step k will produce, whatever its fd will be.
pub struct Slot<T>(u32, PhantomData<fn() -> T>);

/// Marks a slot for a kind of object.
pub mod object {
    /// A map.
    #[derive(Debug)]
    pub enum Map {}
    /// A program.
    #[derive(Debug)]
    pub enum Program {}
    /// Loaded BTF.
    #[derive(Debug)]
    pub enum Btf {}
    /// A BPF token.
    #[derive(Debug)]
    pub enum Token {}
    /// A link.
    #[derive(Debug)]
    pub enum Link {}
}

/// A slot of any kind that can be pinned or put into a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Object {
    /// A map.
    Map(Slot<object::Map>),
    /// A program.
    Program(Slot<object::Program>),
    /// A link.
    Link(Slot<object::Link>),
}

/// One kernel operation with all that it needs.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Lift RLIMIT_MEMLOCK, for kernels that charge BPF memory to it (before 5.11). What is not allowed is left.
    LiftMemlock,
    /// Make a BPF token: the right to make maps, BTF and programs.
    CreateToken {
        /// Filled by this step.
        out: Slot<object::Token>,
        /// The BPF filesystem that delegates it.
        bpffs: PathBuf,
    },
    /// Load the object's BTF, fixed up and fitted to the kernel.
    LoadBtf {
        /// Filled by this step; stays empty if the kernel refuses and `optional`.
        out: Slot<object::Btf>,
        /// The blob.
        #[serde(serialize_with = "length")]
        data: Arc<[u8]>,
        /// Go on without BTF when the kernel refuses it, if the plan assumes nothing.
        optional: bool,
        /// By whose right.
        #[serde(skip_serializing_if = "Option::is_none")]
        token: Option<Slot<object::Token>>,
    },
    /// Take the BTF of a module that is loaded now.
    OpenBtf {
        /// Filled by this step.
        out: Slot<object::Btf>,
        /// The module.
        name: String,
        /// Id of its BTF object.
        id: u32,
    },
    /// Take a program that is in the kernel, for programs of the object to attach to.
    OpenProgram {
        /// Filled by this step.
        out: Slot<object::Program>,
        /// The name that the kernel has for it.
        name: String,
        /// Its id.
        id: u32,
        /// Where it is pinned, if it was named so.
        #[serde(skip_serializing_if = "Option::is_none")]
        path: Option<PathBuf>,
    },
    /// Take a pinned map, after looking again at what it is.
    OpenPin {
        /// Filled by this step.
        out: Slot<object::Map>,
        /// Map name.
        name: String,
        /// Where it is pinned.
        path: PathBuf,
        /// What it must be.
        expect: Box<CreateMap>,
        /// The map that was seen there.
        id: u32,
    },
    /// Create a map.
    CreateMap(Box<CreateMap>),
    /// Write one entry.
    Write {
        /// The map.
        map: Slot<object::Map>,
        /// Map name.
        name: String,
        /// Key.
        key: Vec<u8>,
        /// Value.
        #[serde(serialize_with = "length")]
        value: Arc<[u8]>,
    },
    /// Map an arena into this process, where it stays as long as the map's handle, and write the object's variables.
    /// Only then does the kernel know where an arena without `map_extra` is, which it wants to before a program uses it.
    MapArena {
        /// The arena.
        map: Slot<object::Map>,
        /// Map name.
        name: String,
        /// Where the variables begin, in bytes.
        offset: u32,
        /// What they hold.
        #[serde(serialize_with = "length")]
        data: Arc<[u8]>,
    },
    /// Make a map read-only for user space.
    Freeze {
        /// The map.
        map: Slot<object::Map>,
        /// Map name.
        name: String,
    },
    /// Load a program.
    LoadProgram(Box<LoadProgram>),
    /// Make a program hold a map that its code does not name, so that tools find it by the program.
    Bind {
        /// The program.
        program: Slot<object::Program>,
        /// Its name.
        name: String,
        /// The map.
        map: Slot<object::Map>,
        /// The name of that.
        held: String,
    },
    /// Put the programs into the value of a struct_ops table, and register it if that is wanted.
    Table {
        /// The map.
        map: Slot<object::Map>,
        /// Its name.
        name: String,
        /// The value; places of programs hold 0.
        #[serde(serialize_with = "length")]
        value: Arc<[u8]>,
        /// Where programs go.
        programs: Vec<(u32, Slot<object::Program>)>,
        /// Nothing: whoever loads does that.
        register: Option<Register>,
    },
    /// Put a map or program into a slot of a map.
    Fill {
        /// The outer map or program array.
        map: Slot<object::Map>,
        /// Its name.
        name: String,
        /// Key.
        index: u32,
        /// What goes there.
        object: Object,
        /// The name of that.
        target: String,
        /// The map was there before this load: what the slot held is put back if the load fails.
        live: bool,
    },
    /// Empty every slot of a map that was there before, but those in `keep`.
    Prune {
        /// The outer map or program array.
        map: Slot<object::Map>,
        /// Its name.
        name: String,
        /// Slots that stay.
        keep: BTreeSet<u32>,
    },
    /// Copy the entries of a pinned map into a new one that will take its name.
    Migrate {
        /// The new map.
        to: Slot<object::Map>,
        /// Its name.
        name: String,
        /// From where, and how.
        migration: Box<Migration>,
    },
    /// Mount a BPF filesystem. It stays when the load fails: others may use it by then.
    MountBpffs {
        /// On which directory.
        path: PathBuf,
    },
    /// Make a symbolic link; what is there already stays.
    Symlink {
        /// Its name.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// Make a directory on a BPF filesystem; one that is there already is fine.
    MakeDir {
        /// Which.
        path: PathBuf,
    },
    /// Take these steps as far as they go: nothing of the load needs them, and the first refusal is a warning.
    Attempt {
        /// What they make together.
        what: String,
        /// In order.
        steps: Vec<Step>,
    },
    /// Begin to change what others see: take the lock, settle what killed loads have left, look whether all pins are still
    /// as planned, and write down what is to be done ([`recover`](crate::recover) reads it).
    Prepare(Box<Transaction>),
    /// Pin an object under the name that it waits at until it is published. Nobody uses that name.
    Stage {
        /// What.
        object: Object,
        /// Its name.
        name: String,
        /// Where it waits.
        path: PathBuf,
    },
    /// Pin what a slot of a shared map holds, if it holds anything, so that it can be put back even when this process is
    /// killed.
    KeepSlot {
        /// The shared map.
        map: Slot<object::Map>,
        /// Its name.
        name: String,
        /// Which slot.
        index: u32,
        /// Where it waits.
        path: PathBuf,
    },
    /// From here on a killed load is finished, not undone.
    Commit,
    /// Give a staged object its name, at once. A name that was taken since the host was observed undoes the load: its
    /// programs use a map that nobody else would see. [`load_spec`](crate::load_spec) then observes and plans again.
    Publish {
        /// What.
        object: Object,
        /// Its name.
        name: String,
        /// Where it waits.
        staged: PathBuf,
        /// The name.
        path: PathBuf,
        /// Something has the name now: the two swap names (where the kernel cannot, before 5.17, by a link and a rename, the
        /// name being there all the time). Else nothing may have it.
        replaces: bool,
    },
    /// Write the manifest, and remove or keep what was replaced.
    Finish,
}

/// How a struct_ops table is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Register {
    /// By its value alone: until that is deleted.
    Value,
    /// By a link, which this step fills: until the link goes.
    Link(Slot<object::Link>),
}

/// What a load changes that others see, and what that depends on.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Transaction {
    /// Directory for the lock, journals and manifests.
    pub state: PathBuf,
    /// Name of the object.
    pub object: String,
    /// SHA-1 of its file, if known.
    pub hash: Option<String>,
    /// What is replaced stays, under names that end in `:prev`.
    pub keep_previous: bool,
    /// How long to wait for others that change pins.
    #[serde(skip)]
    pub lock_wait: Duration,
    /// Directories and symbolic links to make.
    pub dirs: Vec<PathBuf>,
    /// Names to publish.
    pub pins: Vec<PinnedName>,
    /// Pinned maps that are used as they are.
    pub reused: Vec<PinnedName>,
    /// Slots of those that are written.
    pub slots: Vec<SharedSlot>,
    /// Maps among those whose other slots are emptied.
    pub pruned: Vec<PrunedMap>,
}

/// A shared map whose slots are emptied, but some.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct PrunedMap {
    /// The map.
    pub map: Slot<object::Map>,
    /// Where it is pinned.
    pub array: PathBuf,
    /// Slots that stay.
    pub keep: BTreeSet<u32>,
}

/// A pinned name that a load depends on.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct PinnedName {
    /// Name of the map or program.
    pub name: String,
    /// Where.
    pub path: PathBuf,
    /// What it will be.
    pub object: Object,
    /// What was there when the host was observed.
    pub there: There,
    /// That stays beside it, until a later load of the object.
    pub keeps: bool,
}

/// What was at a path when the host was observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum There {
    /// Nothing.
    Nothing,
    /// The map with this id.
    Map(u32),
    /// Something; nobody looked closer.
    Something,
}

/// A slot of a shared map that a load writes.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct SharedSlot {
    /// The map.
    pub map: Slot<object::Map>,
    /// Where it is pinned.
    pub array: PathBuf,
    /// Which slot.
    pub index: u32,
    /// What goes there.
    pub object: Object,
}

/// Entries on their way from a pinned map to a new one.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Migration {
    /// Where the old map is pinned.
    pub from: PathBuf,
    /// The map that was seen there.
    pub id: u32,
    /// How keys change.
    pub key: Conversion,
    /// How values change.
    pub value: Conversion,
    /// Go on when something does not fit.
    pub lossy: bool,
}

impl Migration {
    /// What becomes of members that are not simply copied.
    pub fn notes(&self) -> Vec<String> {
        let side = |side: &'static str, notes: &Vec<String>| -> Vec<String> {
            notes.iter().map(|note| format!("{side}: {note}")).collect()
        };
        [side("key", &self.key.notes), side("value", &self.value.notes)].concat()
    }
}

/// One way in which a load differs from what is pinned.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PinDiff {
    /// Map name.
    pub map: String,
    /// Where.
    pub path: PathBuf,
    /// What becomes of it.
    pub change: Change,
}

/// What becomes of a pinned name.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Nothing is there: a new map takes the name.
    Create,
    /// The pinned map is used.
    Reuse,
    /// A new map takes the name; how the pinned one differs.
    Replace(Vec<FieldDiff>),
    /// A new map takes the name and the entries.
    Migrate {
        /// How the pinned one differs.
        fields: Vec<FieldDiff>,
        /// What becomes of members.
        notes: Vec<String>,
    },
}

/// One field that differs between the pinned map and the declared one.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FieldDiff {
    /// `type`, `key_size`, `inner.type`, `value.member`, ...
    pub field: String,
    /// What is pinned.
    pub pinned: String,
    /// What the object wants.
    pub wanted: String,
}

impl<T> Slot<T> {
    /// The slot with that number.
    pub fn new(number: u32) -> Self {
        Self(number, PhantomData)
    }

    /// Its number, unique in a plan.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Slot<T> {}
impl<T> PartialEq for Slot<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<T> Eq for Slot<T> {}
impl<T> std::hash::Hash for Slot<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}
impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}
impl<T> fmt::Display for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}
impl<T> serde::Serialize for Slot<T> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u32(self.0)
    }
}

fn length<T, S: serde::Serializer>(data: &Arc<[T]>, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u64(data.len() as u64)
}
