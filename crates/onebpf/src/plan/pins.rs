//! What becomes of each pinned name: reused, replaced, migrated, new.

use super::compare::{compare, mismatch};
use super::draft::Draft;
use super::programs::typed;
use super::scope::{DEFAULT_ROOT, PinAt, PinRule, link_pin, program_pin};
use super::transaction::next_path;
use super::{Change, Conversion, CreateMap, FieldDiff, Migration, Object, PinDiff, Slot, Step, object};
use crate::error::{Code, Error, Result};
use crate::facts::{Dir, Pinned, PinnedMap, Sibling};
use crate::layout::TypeLayout;
use crate::options::{ArrayRule, Mismatch};
use onebpf_object::{MapSpec, MapType, Place, Warning};
use onebpf_sys::ObjectKind;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What is done about a map's pin.
pub(super) enum Decision {
    /// Nothing is there: create, and pin.
    Create,
    /// Open what is there: a map with this id.
    Reuse(u32),
    /// Create, and take the name over.
    Replace(Option<Box<Migration>>),
}

/// A map that is pinned at the end.
pub(super) struct Publish {
    pub(super) path: PathBuf,
    /// Something has the name now, and loses it.
    pub(super) replaces: bool,
}

/// Decides between the pinned map and a new one.
pub(super) fn decide(
    draft: &mut Draft<'_>,
    map: &MapSpec,
    wanted: &CreateMap,
    pin: &PinAt,
) -> Result<Decision> {
    let path = &pin.path;
    let refuse = |what: &str| {
        let text = format!("map `{}`: {} {what}", wanted.name, path.display());
        Err(Error::new(Code::PinPath, text).at(&wanted.place))
    };
    let facts = draft.facts;
    let found = facts.pins.get(path).unwrap_or(&Pinned::Absent);
    let (change, decision) = match (found, pin.rule) {
        (Pinned::Absent, PinRule::Take) => return refuse("is to be reused, but there is nothing"),
        (Pinned::Absent, _) => (Change::Create, Decision::Create),
        (Pinned::Other(kind), _) => return refuse(&format!("is not a map but a {}", kind_name(*kind))),
        (Pinned::Unreadable(errno), _) => return refuse(&format!("cannot be looked at: {errno}")),
        (Pinned::Map(pinned), rule) => there(draft, map, wanted, pinned, path, rule)?,
    };
    draft.plan.diff.push(PinDiff { map: wanted.name.clone(), path: path.clone(), change });
    Ok(decision)
}

/// A map is there.
fn there(
    draft: &Draft<'_>,
    map: &MapSpec,
    wanted: &CreateMap,
    pinned: &PinnedMap,
    path: &Path,
    rule: PinRule,
) -> Result<(Change, Decision)> {
    let fields = compare(wanted, pinned);
    let policy = draft.options.pins.mismatch_of(&wanted.name);
    let id = pinned.info.id;
    match (rule, policy) {
        (PinRule::Take, _) if fields.is_empty() => Ok((Change::Reuse, Decision::Reuse(id))),
        (PinRule::Put, Mismatch::Fail) => {
            let text = format!("map `{}`: {} is there already", wanted.name, path.display());
            let error = Error::new(Code::PinPath, text).at(&wanted.place);
            Err(error.hint("`--on-mismatch replace` gives the name to the new one"))
        }
        (PinRule::Share, _) if fields.is_empty() && !replaces_array(draft, map) => {
            Ok((Change::Reuse, Decision::Reuse(id)))
        }
        // Its programs come anew, and so does it: nobody sees a mixture.
        (PinRule::Share, _) if fields.is_empty() => Ok((Change::Replace(fields), Decision::Replace(None))),
        (PinRule::Take, _) | (_, Mismatch::Fail) => Err(mismatch(Code::PinMismatch, wanted, path, &fields)),
        (_, Mismatch::Replace) => Ok((Change::Replace(fields), Decision::Replace(None))),
        (_, Mismatch::Migrate) => {
            let migration = migration(draft, wanted, pinned, path, &fields)?;
            let notes = migration.notes();
            Ok((Change::Migrate { fields, notes }, Decision::Replace(Some(Box::new(migration)))))
        }
    }
}

/// Whether a pinned program array that fits makes way for a new one.
fn replaces_array(draft: &Draft<'_>, map: &MapSpec) -> bool {
    let by_layout = match super::scope::layout(map, draft.options) {
        crate::PinLayout::Libbpf => ArrayRule::Replace,
        crate::PinLayout::Iproute2 => ArrayRule::Reuse,
    };
    map.kind == MapType::PROG_ARRAY
        && draft.options.pins.program_arrays.unwrap_or(by_layout) == ArrayRule::Replace
}

/// How the entries of the pinned map get into the new one.
fn migration(
    draft: &Draft<'_>,
    wanted: &CreateMap,
    pinned: &PinnedMap,
    path: &Path,
    fields: &[FieldDiff],
) -> Result<Migration> {
    let refuse = |why: String| {
        let text =
            format!("map `{}`: the entries of {} cannot be migrated: {why}", wanted.name, path.display());
        let error = Error::new(Code::Migration, text)
            .at(&wanted.place)
            .note(super::compare::table(fields, ["pinned", "declared"]));
        Err(error.hint("`--on-mismatch replace` starts with an empty map"))
    };
    let (old, new) = (Family::of(pinned.info.map_type), Family::of(wanted.map_type));
    let (Some(old), Some(new)) = (old, new) else {
        let kind = if old.is_none() { pinned.info.map_type } else { wanted.map_type };
        return refuse(format!("maps of type {} have no entries to copy", MapType(kind)));
    };
    if old != new {
        return refuse(format!(
            "one entry of a {} is not one of a {}",
            MapType(pinned.info.map_type),
            MapType(wanted.map_type)
        ));
    }
    let like = &wanted.like;
    let key = conversion(pinned.info.key_size, wanted.key_size, pinned.key.as_ref(), like.key.as_ref());
    let value =
        conversion(pinned.info.value_size, wanted.value_size, pinned.value.as_ref(), like.value.as_ref());
    let (Some(key), Some(value)) = (key, value) else {
        return refuse("sizes differ, and BTF does not say on both sides what is where".to_owned());
    };
    let lossy = draft.options.pins.lossy;
    Ok(Migration { from: path.to_owned(), id: pinned.info.id, key, value, lossy })
}

fn conversion(from: u32, to: u32, old: Option<&TypeLayout>, new: Option<&TypeLayout>) -> Option<Conversion> {
    match (old, new) {
        (Some(old), Some(new)) => Some(Conversion::new(old, new)),
        _ => (from == to).then(|| Conversion::same(to)),
    }
}

/// What an entry is: maps of one family can take each other's entries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Hash,
    Array,
    PerCpuHash,
    PerCpuArray,
    Trie,
}

impl Family {
    fn of(map_type: u32) -> Option<Self> {
        Some(match MapType(map_type) {
            MapType::HASH | MapType::LRU_HASH => Self::Hash,
            MapType::ARRAY => Self::Array,
            MapType::PERCPU_HASH | MapType::LRU_PERCPU_HASH => Self::PerCpuHash,
            MapType::PERCPU_ARRAY => Self::PerCpuArray,
            MapType::LPM_TRIE => Self::Trie,
            _ => return None,
        })
    }
}

fn kind_name(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Map => "map",
        ObjectKind::Program => "program",
        ObjectKind::Link => "link",
        ObjectKind::Btf => "BTF object",
    }
}

/// Something to be pinned.
struct Item {
    object: Object,
    name: String,
    publish: Publish,
}

/// Migrations, directories and pins, last of all: what is pinned is complete.
pub(super) fn steps(draft: &mut Draft<'_>) -> Result<()> {
    for (name, migration) in std::mem::take(&mut draft.migrations) {
        let Some(to) = draft.maps.get(&name).map(|map| map.slot) else { continue };
        draft.push(Step::Migrate { to, name, migration });
    }
    let items = items(draft)?;
    let mut made = BTreeSet::new();
    let mut taken = BTreeSet::new();
    if items.is_empty() {
        offered_tree(draft);
    } else {
        tree(draft, &mut made)?;
    }
    for Item { publish, name, .. } in &items {
        if !taken.insert(publish.path.clone()) {
            let text = format!("`{name}`: {} would be pinned twice", publish.path.display());
            return Err(Error::new(Code::PinPath, text));
        }
        directories(draft, &publish.path, &mut made)?;
    }
    for Item { object, name, publish: Publish { path, replaces } } in items {
        let staged = next_path(&path);
        draft.push(Step::Publish { object, name, staged, path, replaces });
    }
    Ok(())
}

fn items(draft: &Draft<'_>) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for name in draft.spec.maps.keys() {
        let Some(map) = draft.maps.get(name) else { continue };
        let Some(Publish { path, replaces }) = &map.pin else { continue };
        let publish = Publish { path: path.clone(), replaces: *replaces };
        items.push(Item { object: Object::Map(map.slot), name: name.clone(), publish });
    }
    for (name, program) in &draft.spec.programs {
        let Some(slot) = draft.programs.get(name) else { continue };
        let Some(path) = program_pin(program, draft.options)? else { continue };
        let replaces = match draft.facts.pins.get(&path) {
            None | Some(Pinned::Absent) => false,
            Some(Pinned::Other(ObjectKind::Program)) if draft.options.pins.on_mismatch != Mismatch::Fail => {
                true
            }
            Some(_) => {
                let text = format!("program `{name}`: {} is there already", path.display());
                return Err(Error::new(Code::PinPath, text));
            }
        };
        let publish = Publish { path, replaces };
        items.push(Item { object: program_object(*slot), name: name.clone(), publish });
    }
    for (name, slot) in &draft.links {
        let Some(path) = link_pin(name, draft.options)? else { continue };
        let replaces = match draft.facts.pins.get(&path) {
            None | Some(Pinned::Absent) => false,
            Some(_) => {
                let text = format!("link of `{name}`: {} is there already", path.display());
                return Err(Error::new(Code::PinPath, text));
            }
        };
        items.push(Item {
            object: Object::Link(*slot),
            name: name.clone(),
            publish: Publish { path, replaces },
        });
    }
    Ok(items)
}

fn program_object(slot: Slot<object::Program>) -> Object {
    Object::Program(slot)
}

/// The tree for later loads, where this one pins nothing: iproute2 makes it all the same, and goes on where it cannot.
fn offered_tree(draft: &mut Draft<'_>) {
    let private = draft.plan.steps.len();
    let possible = tree(draft, &mut BTreeSet::new());
    let steps = draft.plan.steps.split_off(private);
    match possible {
        Ok(()) if steps.is_empty() => {}
        Ok(()) => {
            let plain = steps.into_iter().flat_map(|step| match step {
                Step::Attempt { steps, .. } => steps,
                step => vec![step],
            });
            let steps = plain.collect();
            draft.push(Step::Attempt { what: TREE.to_owned(), steps });
        }
        Err(error) => draft.plan.warnings.push(not_made(TREE, &error)),
    }
}

/// How messages call it.
const TREE: &str = "iproute2's tree of pins";

/// The warning for steps of a [`Step::Attempt`] that cannot be taken.
pub(crate) fn not_made(what: &str, error: &Error) -> Warning {
    let message = format!("{what} is not there: {}; nothing of this load needs it", error.report().message);
    Warning { code: "W0306".to_owned(), message, place: Place::default() }
}

/// iproute2's tree: `tc/globals`, and `xdp` and `ip` as links to `tc`. No pin needs the links, and old kernels have none on a
/// BPF filesystem.
fn tree(draft: &mut Draft<'_>, made: &mut BTreeSet<PathBuf>) -> Result<()> {
    let Some(facts) = &draft.facts.iproute2 else { return Ok(()) };
    let tc = facts.mount.join("tc");
    directories(draft, &tc.join("globals/x"), made)?;
    let mut links = Vec::new();
    for name in ["xdp", "ip"] {
        let path = facts.mount.join(name);
        match facts.siblings.get(name) {
            // iproute2 writes the target with a slash at its end.
            Some(Sibling::Absent) => links.push(Step::Symlink { path, target: tc.join("") }),
            Some(Sibling::Own) => directories(draft, &path.join("globals/x"), made)?,
            Some(Sibling::Link) | None => {}
        }
    }
    if !links.is_empty() {
        draft.push(Step::Attempt { what: "a link to iproute2's tree of pins".to_owned(), steps: links });
    }
    Ok(())
}

/// Adds the directories above `path` that are not there, outermost first, and the BPF filesystem if one is to be
/// mounted there.
fn directories(draft: &mut Draft<'_>, path: &Path, made: &mut BTreeSet<PathBuf>) -> Result<()> {
    let mount = mountable(draft);
    let mut missing = Vec::new();
    for dir in path.ancestors().skip(1) {
        if mount.as_deref() == Some(dir) {
            if made.insert(dir.to_owned()) {
                if draft.facts.dirs.get(dir) == Some(&Dir::Absent) {
                    draft.push(Step::MakeDir { path: dir.to_owned() });
                }
                draft.push(Step::MountBpffs { path: dir.to_owned() });
            }
            break;
        }
        // What a new mount will hide does not count.
        let hidden = mount.as_deref().is_some_and(|mount| dir.starts_with(mount));
        match draft.facts.dirs.get(dir) {
            _ if hidden => missing.push(dir.to_owned()),
            Some(Dir::Absent) => missing.push(dir.to_owned()),
            Some(Dir::Foreign) => return Err(not_bpffs(path, dir)),
            Some(Dir::Unreadable(errno)) => {
                let text = format!("{} cannot be looked at: {errno}", dir.display());
                return Err(Error::new(Code::PinPath, text));
            }
            // Facts of another moment or machine may not speak of it: the kernel will.
            Some(Dir::Bpffs) | None => break,
        }
    }
    for dir in missing.into_iter().rev() {
        if made.insert(dir.clone()) {
            draft.push(Step::MakeDir { path: dir });
        }
    }
    Ok(())
}

/// Where a BPF filesystem is missing and may be mounted.
fn mountable(draft: &Draft<'_>) -> Option<PathBuf> {
    if let Some(facts) = draft.facts.iproute2.as_ref().filter(|facts| !facts.mounted) {
        return Some(facts.mount.clone());
    }
    let pins = &draft.options.pins;
    let root = pins.root.clone().unwrap_or_else(|| DEFAULT_ROOT.into());
    let there = draft.facts.dirs.get(&root);
    (pins.mount && matches!(there, Some(Dir::Foreign | Dir::Absent))).then_some(root)
}

fn not_bpffs(path: &Path, dir: &Path) -> Error {
    let text = format!("{} cannot be pinned: {} is not on a BPF filesystem", path.display(), dir.display());
    let error = Error::new(Code::PinPath, text);
    error.hint(format!("mount one: `mount -t bpf bpf {}`, or let `--mount-bpffs` do it", root_for(dir)))
}

/// Where a BPF filesystem would be mounted for a pin below `dir`.
fn root_for(dir: &Path) -> String {
    let usual = Path::new(DEFAULT_ROOT);
    if usual.starts_with(dir) || dir.starts_with(usual) {
        DEFAULT_ROOT.to_owned()
    } else {
        dir.display().to_string()
    }
}

/// The type of the programs that a program array takes: that of the first one in a slot, or of one that uses it.
pub(super) fn owner(draft: &Draft<'_>, map: &MapSpec) -> Option<u32> {
    use onebpf_object::{Contents, SlotTarget};
    if map.kind != MapType::PROG_ARRAY {
        return None;
    }
    let Contents::Slots(slots) = &map.contents else { return None };
    let programs = slots.iter().filter_map(|slot| match &slot.target {
        SlotTarget::Program(name) => draft.spec.programs.get(name),
        SlotTarget::Map(_) => None,
    });
    programs.filter_map(|program| typed(draft.spec, program, draft.options)).map(|(kind, _)| kind.0).next()
}
