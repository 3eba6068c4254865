//! What is loaded, as manifests say it, held against what is pinned.

use super::found::Found;
use super::record::{Manifest, ManifestPin, Phase};
use super::state::State;
use crate::error::Result;
use crate::plan::{next_path, old_path, prev_path, slot_path};
use onebpf_sys::{Errno, Kernel};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Directories within directories that are looked through.
const DEEPEST: usize = 16;
/// Names that are looked at.
const MOST: usize = 1 << 16;

/// What a state directory and the BPF filesystem say.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Status {
    /// One for each manifest.
    pub objects: Vec<ObjectStatus>,
    /// Loads under way, or killed and not recovered yet.
    pub loads: Vec<LoadStatus>,
    /// Files of the state directory that cannot be understood.
    pub damaged: Vec<PathBuf>,
    /// Pins that are named as if they waited, but no journal and no manifest knows them: remains of a load whose state
    /// directory is lost.
    pub leftovers: Vec<PathBuf>,
    /// Pins `NAME:pending`: Cilium's loader before 1.16 sets maps aside under such names. They are left alone.
    pub pending: Vec<PathBuf>,
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ObjectStatus {
    /// The manifest's file.
    pub file: PathBuf,
    /// What it says.
    pub manifest: Manifest,
    /// Its pins, as they are now.
    pub pins: Vec<PinStatus>,
    /// None of them is there, nor what was kept of them: [`recover`](crate::recover) forgets the object.
    pub gone: bool,
}

/// A pinned name.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PinStatus {
    /// What the manifest says.
    #[serde(flatten)]
    pub pin: ManifestPin,
    /// The id of what is there now; `None`: nothing.
    pub found: Option<u32>,
    /// It is what the manifest says.
    pub same: bool,
    /// What it was before is still there.
    pub kept: bool,
    /// And a rollback goes back to it.
    pub can_roll_back: bool,
}

/// A manifest and its file.
pub(super) type Known = (PathBuf, Manifest);

/// A load whose journal is there.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LoadStatus {
    /// The journal.
    pub file: PathBuf,
    /// The object.
    pub object: String,
    /// Whether it would be finished, or undone.
    pub committed: bool,
}

/// Reads the state directory, and looks at all pins that it names. Leftovers are looked for below `roots` and beside
/// those pins. Changes nothing and waits for nobody.
///
/// # Errors
/// E0415 if the state directory cannot be read.
pub fn status(kernel: &dyn Kernel, state: &Path, roots: &[PathBuf]) -> Result<Status> {
    let state = State::new(kernel, state);
    let (known, mut damaged) = manifests(&state)?;
    let mut loads = Vec::new();
    let mut under_way = Vec::new();
    for file in state.journals()? {
        match state.read_journal(&file) {
            Ok(record) => {
                let committed = record.phase == Phase::Committed;
                loads.push(LoadStatus { file, object: record.manifest.object.clone(), committed });
                under_way.push(record.manifest);
            }
            Err(_) => damaged.push(file),
        }
    }
    let Remains { leftovers, pending } = remains(&state, &known, &under_way, roots);
    let objects = known.into_iter().map(|(file, manifest)| object(kernel, file, manifest)).collect();
    Ok(Status { objects, loads, damaged, leftovers, pending })
}

fn object(kernel: &dyn Kernel, file: PathBuf, manifest: Manifest) -> ObjectStatus {
    let pin = |pin: &ManifestPin| {
        let found = Found::at(kernel, &pin.path).ok().flatten();
        let same = found.is_some_and(|found| found.kind == pin.kind && found.id == pin.id);
        let kept = pin.previous.is_some_and(|id| {
            let kept = Found::at(kernel, &prev_path(&pin.path)).ok().flatten();
            kept == Some(Found { kind: pin.kind, id })
        });
        let can_roll_back = kept && manifest.can_roll_back;
        PinStatus { pin: pin.clone(), found: found.map(|found| found.id), same, kept, can_roll_back }
    };
    let pins = manifest.pins.iter().map(pin).collect();
    let gone = is_gone(kernel, &manifest);
    ObjectStatus { file, manifest, pins, gone }
}

/// Whether nothing that a manifest names is there any more. Only a BPF filesystem can say so: from where none is seen, as
/// in another mount namespace, nothing is known.
pub(super) fn is_gone(kernel: &dyn Kernel, manifest: &Manifest) -> bool {
    let absent = |path: &Path| matches!(Found::at(kernel, path), Ok(None));
    let on_bpffs = |path: &Path| {
        let seen = |dir: &Path| match kernel.is_bpffs(dir) {
            Err(e) if e.errno == Errno::NOENT => None,
            answer => Some(answer.unwrap_or(false)),
        };
        path.ancestors().skip(1).find_map(seen).unwrap_or(false)
    };
    let paths =
        || manifest.pins.iter().map(|pin| &pin.path).chain(manifest.slots.iter().map(|slot| &slot.array));
    paths().all(|path| on_bpffs(path) && absent(path) && absent(&prev_path(path)))
}

/// All manifests, and the files that are none.
pub(super) fn manifests(state: &State<'_>) -> Result<(Vec<Known>, Vec<PathBuf>)> {
    let (mut good, mut damaged) = (Vec::new(), Vec::new());
    for file in state.manifests()? {
        match state.read_manifest(&file) {
            Ok(manifest) => good.push((file, manifest)),
            Err(_) => damaged.push(file),
        }
    }
    Ok((good, damaged))
}

/// Pins with names that this crate or Cilium gives for a while.
pub(super) struct Remains {
    /// Pins that only a load under way may have, and no load does; and what was kept, but no manifest names.
    pub(super) leftovers: Vec<PathBuf>,
    /// Cilium's.
    pub(super) pending: Vec<PathBuf>,
}

/// Looks below `roots` and beside the pins of all manifests.
pub(super) fn remains(
    state: &State<'_>,
    known: &[Known],
    under_way: &[Manifest],
    roots: &[PathBuf],
) -> Remains {
    let mut explained = BTreeSet::new();
    for (_, manifest) in known {
        let kept = manifest.pins.iter().filter(|pin| pin.previous.is_some());
        explained.extend(kept.map(|pin| prev_path(&pin.path)));
        explained.extend(manifest.slots.iter().map(super::ManifestSlot::previous_path));
    }
    for manifest in under_way {
        for ManifestPin { path, .. } in &manifest.pins {
            explained.extend([next_path(path), old_path(path), prev_path(path)]);
        }
        for slot in &manifest.slots {
            explained.extend([slot_path(&slot.array, slot.index), slot.previous_path()]);
        }
    }
    let pins = known.iter().flat_map(|(_, manifest)| &manifest.pins);
    let beside = pins.filter_map(|pin| pin.path.parent().map(PathBuf::from));
    let mut seen = BTreeSet::new();
    let mut found = BTreeSet::new();
    for root in roots.iter().cloned().chain(beside) {
        walk(state.kernel, &root, 0, &mut seen, &mut found);
    }
    let (pending, ours): (Vec<_>, Vec<_>) = found.into_iter().partition(|path| is_pending(path));
    let leftovers = ours.into_iter().filter(|path| !explained.contains(path)).collect();
    Remains { leftovers, pending }
}

fn walk(
    kernel: &dyn Kernel,
    dir: &Path,
    depth: usize,
    seen: &mut BTreeSet<PathBuf>,
    found: &mut BTreeSet<PathBuf>,
) {
    if depth > DEEPEST || !matches!(kernel.is_bpffs(dir), Ok(true)) || !seen.insert(dir.to_owned()) {
        return;
    }
    for name in kernel.list_dir(dir).unwrap_or_default() {
        let path = dir.join(&name);
        if seen.len() >= MOST || seen.contains(&path) {
            continue;
        }
        if (waits(&name) || is_pending(&name)) && matches!(Found::at(kernel, &path), Ok(Some(_))) {
            found.insert(path);
        } else if kernel.read_link(&path).is_err() && kernel.list_dir(&path).is_ok() {
            walk(kernel, &path, depth + 1, seen, found);
        } else {
            seen.insert(path);
        }
    }
}

/// As cilium-map-migrate sets maps aside (cilium#3267; until 1.16).
fn is_pending(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b":pending")
}

/// A name that only this crate gives.
fn waits(name: &Path) -> bool {
    let Some(name) = name.to_str() else { return false };
    let slot = |(_, index): (&str, &str)| !index.is_empty() && index.bytes().all(|c| c.is_ascii_digit());
    [":next", ":old", ":prev"].iter().any(|end| name.ends_with(end))
        || name.rsplit_once(":slot:").is_some_and(slot)
}
