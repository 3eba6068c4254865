//! A record carried out or taken back. All of it may be cut off anywhere and done again.

use super::found::{Found, gone};
use super::names::{self, Published};
use super::record::{Manifest, ManifestPin, Phase, Record};
use super::slots;
use super::state::State;
use crate::error::{Code, Error, Result};
use onebpf_sys::{Errno, Kernel};
use std::path::Path;

/// Finishes a committed load: everything has its name, the manifest is written, nothing waits any more.
pub(super) fn finish(state: &State<'_>, record: &Record) -> Result<()> {
    for pin in record.published() {
        publish(state.kernel, pin)?;
    }
    state.write_manifest(&record.manifest_name, &to_keep(record))?;
    let left = clean(state, record);
    if left.is_empty() { Ok(()) } else { Err(unfinished("cannot be finished", record, left)) }
}

/// One name.
pub(super) fn publish(kernel: &dyn Kernel, pin: &ManifestPin) -> Result<()> {
    let what = format!("`{}` was not pinned at {}", pin.name, pin.path.display());
    match names::publish(kernel, pin) {
        Ok(Published::Yes) => Ok(()),
        Ok(Published::Lost) => {
            Err(Error::new(Code::Interrupted, format!("{what}: what waited for the name is gone")))
        }
        Err(e) => Err(Error::refused(Code::Pin, what, e)),
    }
}

/// Whether every name is that of the new object.
pub(super) fn is_published(kernel: &dyn Kernel, record: &Record) -> bool {
    let has_name = |pin: &ManifestPin| {
        let found = Found::at(kernel, &pin.path);
        matches!(found, Ok(Some(found)) if found.kind == pin.kind && found.id == pin.id)
    };
    record.published().all(has_name)
}

/// The manifest as it is written: it names what was before only where that is kept.
pub(super) fn to_keep(record: &Record) -> Manifest {
    let mut manifest = record.manifest.clone();
    manifest.pins.iter_mut().filter(|pin| !pin.keeps).for_each(|pin| pin.previous = None);
    if !record.keep_previous {
        manifest.slots.clear();
        manifest.previous_hash = None;
    }
    manifest
}

/// Removes or keeps what was replaced; what could not be done, in words.
pub(super) fn clean(state: &State<'_>, record: &Record) -> Vec<String> {
    let kernel = state.kernel;
    let keep = record.keep_previous;
    let mut left = Vec::new();
    for pin in record.published() {
        note(&mut left, names::clean(kernel, pin), || {
            format!("what {} was before is still beside it", pin.path.display())
        });
    }
    for slot in &record.manifest.slots {
        note(&mut left, slots::clean(kernel, slot, keep), || {
            format!("what slot {} of {} held is still beside it", slot.index, slot.array.display())
        });
    }
    for path in &record.stale {
        note(&mut left, gone(kernel.unlink(path)), || format!("{} is still there", path.display()));
    }
    left
}

/// Takes everything back, last thing first; what could not be taken back, in words.
pub(super) fn undo(kernel: &dyn Kernel, record: &Record) -> Vec<String> {
    let mut left = Vec::new();
    for pin in record.published().rev() {
        note(&mut left, names::withdraw(kernel, pin, record.rollback), || {
            format!("{} or what waits beside it is not as it was", pin.path.display())
        });
    }
    for slot in record.manifest.slots.iter().rev() {
        note(&mut left, slots::restore(kernel, slot), || {
            format!("slot {} of {} is not as it was", slot.index, slot.array.display())
        });
    }
    for dir in record.dirs.iter().rev() {
        note(&mut left, remove_dir(kernel, dir), || format!("{} is still there", dir.display()));
    }
    left
}

/// A link, or an empty directory; others may use it by now.
fn remove_dir(kernel: &dyn Kernel, path: &Path) -> onebpf_sys::Result<()> {
    /// A directory that is not empty.
    const NOTEMPTY: Errno = Errno(39);
    if kernel.read_link(path).is_ok() {
        return gone(kernel.unlink(path));
    }
    match kernel.rmdir(path) {
        Err(e) if matches!(e.errno, NOTEMPTY | Errno::BUSY | Errno::EXIST | Errno::NOENT | Errno::NOTDIR) => {
            Ok(())
        }
        other => other,
    }
}

/// Takes a committed record back: first it says so, then it does.
pub(super) fn turn_back(state: &State<'_>, journal: &Path, record: &mut Record) -> Vec<String> {
    if record.phase == Phase::Committed {
        record.phase = Phase::Prepared;
        // If it cannot be said, a recovery after a kill finds pins that it cannot finish, and comes here, too.
        let _ = state.write_journal(journal, record);
    }
    undo(state.kernel, record)
}

pub(super) fn unfinished(what: &str, record: &Record, left: Vec<String>) -> Error {
    let object = &record.manifest.object;
    let error = Error::new(Code::Interrupted, format!("the interrupted load of `{object}` {what}"));
    left.into_iter().fold(error, Error::note)
}

fn note(left: &mut Vec<String>, result: onebpf_sys::Result<()>, what: impl FnOnce() -> String) {
    if let Err(e) = result {
        left.push(format!("{} ({e})", what()));
    }
}
