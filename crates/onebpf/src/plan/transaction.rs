//! Steps that others see become a transaction: prepared, staged, committed, published.

use super::step::object;
use super::{Object, PinnedName, PrunedMap, SharedSlot, Slot, Step, There, Transaction};
use crate::facts::Pinned;
use crate::{Facts, Options, Spec};
use onebpf_object::MapType;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where state is kept if nobody says otherwise. It goes with a reboot, as pins do.
pub const DEFAULT_STATE: &str = "/run/onebpf";
/// How long a load waits for others that change pins, if [`Options::lock_wait`] says nothing: they take milliseconds, and
/// many may stand in line.
pub const LOCK_WAIT: Duration = Duration::from_mins(1);

/// Rewrites `steps`: what is private comes first, then the transaction. Steps of which nobody else sees anything stay as
/// they are, and cost nothing more.
pub(super) fn wrap(steps: Vec<Step>, spec: &Spec, options: &Options, facts: &Facts) -> Vec<Step> {
    if !steps.iter().any(is_public) {
        return steps;
    }
    let mut prepared = Transaction {
        state: state_dir(options),
        object: spec.name.clone(),
        hash: spec.file_hash.map(|hash| hex(&hash)),
        keep_previous: options.keep_previous,
        lock_wait: lock_wait(options),
        ..Transaction::default()
    };
    let opened: BTreeMap<u32, PathBuf> = steps.iter().filter_map(opened).collect();
    let [mut private, mut places, mut staged, mut kept, mut live, mut publish, mut last] =
        [const { Vec::new() }; 7];
    for step in steps {
        match step {
            Step::MakeDir { ref path } | Step::Symlink { ref path, .. } => {
                prepared.dirs.push(path.clone());
                places.push(step);
            }
            Step::MountBpffs { .. } => places.push(step),
            Step::Attempt { .. } => last.push(step),
            Step::Prune { map, ref keep, .. } => {
                if let Some(array) = opened.get(&map.number()) {
                    prepared.pruned.push(PrunedMap { map, array: array.clone(), keep: keep.clone() });
                }
                live.push(step);
            }
            Step::Publish { object, ref name, staged: ref waits, ref path, replaces } => {
                let there = there(facts, path, replaces);
                let keeps = options.keep_previous || (replaces && is_program_array(facts, path));
                prepared.pins.push(PinnedName {
                    name: name.clone(),
                    path: path.clone(),
                    object,
                    there,
                    keeps,
                });
                staged.push(Step::Stage { object, name: name.clone(), path: waits.clone() });
                publish.push(step);
            }
            Step::Fill { map, ref name, index, object, live: true, .. } => {
                if let Some(array) = opened.get(&map.number()) {
                    let keep = slot_path(array, index);
                    prepared.slots.push(SharedSlot { map, array: array.clone(), index, object });
                    kept.push(Step::KeepSlot { map, name: name.clone(), index, path: keep });
                }
                live.push(step);
            }
            Step::OpenPin { out, ref name, ref path, .. } => {
                prepared.reused.push(reused(facts, out, name, path));
                private.push(step);
            }
            step => private.push(step),
        }
    }
    private.push(Step::Prepare(Box::new(prepared)));
    private.extend(places.into_iter().chain(staged).chain(kept).chain(live));
    private.push(Step::Commit);
    private.extend(publish);
    private.push(Step::Finish);
    private.extend(last);
    private
}

/// Whether others see what the step does.
fn is_public(step: &Step) -> bool {
    matches!(step, Step::Publish { .. } | Step::Prune { .. } | Step::Fill { live: true, .. })
}

fn opened(step: &Step) -> Option<(u32, PathBuf)> {
    match step {
        Step::OpenPin { out, path, .. } => Some((out.number(), path.clone())),
        _ => None,
    }
}

fn reused(facts: &Facts, out: Slot<object::Map>, name: &str, path: &Path) -> PinnedName {
    let there = there(facts, path, true);
    PinnedName { name: name.to_owned(), path: path.to_owned(), object: Object::Map(out), there, keeps: false }
}

/// The kernel empties a program array when its last pin and fd go (`bpf_map_put_uref()`), whoever still jumps through it: one
/// that is replaced stays pinned for the programs that run.
fn is_program_array(facts: &Facts, path: &Path) -> bool {
    matches!(facts.pins.get(path), Some(Pinned::Map(map)) if MapType(map.info.map_type) == MapType::PROG_ARRAY)
}

fn there(facts: &Facts, path: &Path, taken: bool) -> There {
    match facts.pins.get(path) {
        Some(Pinned::Map(pinned)) => There::Map(pinned.info.id),
        _ if taken => There::Something,
        _ => There::Nothing,
    }
}

/// The directory for the lock, journals and manifests.
pub(crate) fn state_dir(options: &Options) -> PathBuf {
    options.state.clone().unwrap_or_else(|| DEFAULT_STATE.into())
}

/// How long to wait for the lock.
pub(crate) fn lock_wait(options: &Options) -> Duration {
    options.lock_wait.unwrap_or(LOCK_WAIT)
}

/// Where what will have the name `path` waits. `:` is legal on a BPF filesystem, and in no name of C.
pub(crate) fn next_path(path: &Path) -> PathBuf {
    beside(path, ":next")
}

/// Where what had the name `path` stays.
pub(crate) fn prev_path(path: &Path) -> PathBuf {
    beside(path, ":prev")
}

/// Where what had the name stays for a moment, on kernels that cannot swap names.
pub(crate) fn old_path(path: &Path) -> PathBuf {
    beside(path, ":old")
}

/// Where what a slot of the map at `path` held waits.
pub(crate) fn slot_path(path: &Path, index: u32) -> PathBuf {
    beside(path, &format!(":slot:{index}"))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
