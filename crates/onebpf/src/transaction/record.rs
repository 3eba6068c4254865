//! Journals and manifests: what is written down, and what is believed when it is read.

use crate::error::{Code, Error, Result};
use crate::plan::{prev_path, slot_path};
use onebpf_sys::{Errno, Kernel, ObjectKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// Both kinds of file begin with it.
const FORMAT: u32 = 1;
/// More than any load writes; a longer file is not ours.
const LONGEST: usize = 4 << 20;
/// Entries of a list.
const MOST: usize = 1 << 16;

/// How far a load has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// To be undone.
    Prepared,
    /// To be finished.
    Committed,
}

/// A load, or a rollback, under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) phase: Phase,
    /// What was replaced is kept.
    pub(super) keep_previous: bool,
    /// What is staged was kept by an earlier load, and is kept again when this is undone.
    pub(super) rollback: bool,
    /// Directories that are made.
    pub(super) dirs: Vec<PathBuf>,
    /// What earlier loads of the object kept, which is no longer what was before.
    pub(super) stale: Vec<PathBuf>,
    /// File name of the manifest, in its directory.
    pub(super) manifest_name: String,
    /// The manifest as it will be: its pins are published and its slots are written, but those marked reused.
    pub(super) manifest: Manifest,
}

/// Which object, and which pins belong together. A file outside the BPF filesystem: what is pinned is the truth.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this format.
    pub format: u32,
    /// Name of the object.
    pub object: String,
    /// SHA-1 of its file, in hex, if known.
    pub hash: Option<String>,
    /// When it was loaded, in seconds since 1970.
    pub time: u64,
    /// The hash of what was replaced, if that is kept.
    pub previous_hash: Option<String>,
    /// All that was replaced is kept.
    #[serde(default)]
    pub can_roll_back: bool,
    /// Pinned names of the object.
    pub pins: Vec<ManifestPin>,
    /// Slots of maps that were there before, which the load has written.
    pub slots: Vec<ManifestSlot>,
}

/// A pinned name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestPin {
    /// Name of the map or program.
    pub name: String,
    /// Where.
    pub path: PathBuf,
    /// A map or a program.
    pub kind: ObjectKind,
    /// Its id.
    pub id: u32,
    /// It was there before, and is used as it was.
    pub reused: bool,
    /// The id of what had the name before, if something had.
    pub previous: Option<u32>,
    /// That stays beside it: a program array always, for programs that still jump through it.
    #[serde(default)]
    pub keeps: bool,
}

/// A slot of a map that was there before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestSlot {
    /// Where the map is pinned.
    pub array: PathBuf,
    /// The map's id.
    pub array_id: u32,
    /// Which slot.
    pub index: u32,
    /// What is in it: a map or a program.
    pub kind: ObjectKind,
    /// What was in it before; `None`: nothing.
    pub previous: Option<u32>,
}

impl Record {
    /// For a load or rollback that will write `manifest` over `old`.
    pub(super) fn new(manifest_name: String, mut manifest: Manifest, old: Option<Manifest>) -> Self {
        let mut stale = Vec::new();
        if let Some(old) = old {
            let replaced = |path: &Path| manifest.pins.iter().any(|pin| !pin.reused && pin.path == path);
            let pins = old.pins.iter().filter(|pin| pin.previous.is_some() && !replaced(&pin.path));
            stale.extend(pins.map(|pin| prev_path(&pin.path)));
            let written = |slot: &ManifestSlot| {
                manifest.slots.iter().any(|new| (&new.array, new.index) == (&slot.array, slot.index))
            };
            stale.extend(old.slots.iter().filter(|slot| !written(slot)).map(ManifestSlot::previous_path));
            manifest.previous_hash = old.hash;
        }
        Self {
            phase: Phase::Prepared,
            keep_previous: false,
            rollback: false,
            dirs: Vec::new(),
            stale,
            manifest_name,
            manifest,
        }
    }

    /// Forgets what does not lie on a BPF filesystem (any more): there is nothing to settle.
    pub(super) fn retain_on_bpffs(&mut self, kernel: &dyn Kernel) -> onebpf_sys::Result<()> {
        let mut dirs = BTreeMap::new();
        let paths = self.manifest.pins.iter().map(|pin| &pin.path);
        let paths = paths.chain(self.manifest.slots.iter().map(|slot| &slot.array));
        for path in paths.chain(&self.stale).chain(&self.dirs) {
            let Some(dir) = path.parent().filter(|dir| !dirs.contains_key(*dir)) else { continue };
            let on_bpffs = match kernel.is_bpffs(dir) {
                Err(e) if !matches!(e.errno, Errno::NOENT | Errno::NOTDIR) => return Err(e),
                answer => answer.unwrap_or(false),
            };
            dirs.insert(dir.to_owned(), on_bpffs);
        }
        let on_bpffs = |path: &Path| path.parent().is_some_and(|dir| dirs.get(dir) == Some(&true));
        self.manifest.pins.retain(|pin| on_bpffs(&pin.path));
        self.manifest.slots.retain(|slot| on_bpffs(&slot.array));
        self.stale.retain(|path| on_bpffs(path));
        self.dirs.retain(|path| on_bpffs(path));
        Ok(())
    }

    /// The pins that change.
    pub(super) fn published(&self) -> impl DoubleEndedIterator<Item = &ManifestPin> {
        self.manifest.pins.iter().filter(|pin| !pin.reused)
    }

    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let record: Self = parse(path, bytes)?;
        record.manifest.check(path)?;
        check_paths(path, record.dirs.iter().chain(&record.stale).map(PathBuf::as_path))?;
        if !is_file_name(&record.manifest_name) {
            return Err(damaged(path, "a manifest with a strange name"));
        }
        Ok(record)
    }
}

impl ManifestSlot {
    /// Where what it held stays for a rollback.
    pub(super) fn previous_path(&self) -> PathBuf {
        slot_path(&prev_path(&self.array), self.index)
    }
}

impl Manifest {
    pub(super) fn new(object: String, hash: Option<String>, time: u64) -> Self {
        Self { format: FORMAT, object, hash, time, ..Self::default() }
    }

    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let manifest: Self = parse(path, bytes)?;
        manifest.check(path)?;
        Ok(manifest)
    }

    /// Whether the two speak of one installation: the same object with a pin in common.
    pub(super) fn same_installation(&self, other: &Self) -> bool {
        let shares = |pin: &ManifestPin| other.pins.iter().any(|theirs| theirs.path == pin.path);
        self.object == other.object && self.pins.iter().any(shares)
    }

    fn check(&self, path: &Path) -> Result<()> {
        if self.format != FORMAT {
            return Err(damaged(path, &format!("format {} is of another version", self.format)));
        }
        if self.pins.len() > MOST || self.slots.len() > MOST {
            return Err(damaged(path, "too many entries"));
        }
        let pins = self.pins.iter().map(|pin| pin.path.as_path());
        check_paths(path, pins.chain(self.slots.iter().map(|slot| slot.array.as_path())))
    }
}

/// The file's text.
pub(super) fn to_json(path: &Path, value: &impl Serialize) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| damaged(path, &e.to_string()))?;
    text.push(b'\n');
    Ok(text)
}

pub(super) fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    if bytes.len() > LONGEST {
        return Err(damaged(path, "too long"));
    }
    serde_json::from_slice(bytes).map_err(|e| damaged(path, &e.to_string()))
}

/// Absolute, and without a way back up: whether they lie on a BPF filesystem is looked at before they are touched.
fn check_paths<'a>(file: &Path, paths: impl Iterator<Item = &'a Path>) -> Result<()> {
    for path in paths {
        let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        if !path.is_absolute() || !plain || path.file_name().is_none() {
            return Err(damaged(file, &format!("{} is no path of a pin", path.display())));
        }
    }
    Ok(())
}

fn damaged(path: &Path, why: &str) -> Error {
    Error::new(Code::State, format!("{} is damaged: {why}", path.display()))
        .hint("`onebpf recover --force` removes damaged files, and what no journal explains")
}
