//! A transaction under way in this process.

use super::found::{Found, gone};
use super::record::{Manifest, ManifestPin, ManifestSlot, Phase, Record};
use super::state::{Lock, State};
use super::{names, recover, settle, slots};
use crate::error::{Code, Error, Result, Retry};
use crate::plan::{Object, PinnedName, There, Transaction, slot_path};
use onebpf_object::{Place, Warning};
use onebpf_sys::{Errno, Kernel, ObjectKind};
use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// From the journal to its end. Dropped without an end, it is what a killed process leaves.
pub(crate) struct Running<'a> {
    state: State<'a>,
    journal: PathBuf,
    record: Record,
    /// `None`: the caller has it.
    _lock: Option<Lock>,
}

impl<'a> Running<'a> {
    /// Takes the lock unless the caller has it (`held`), settles what killed loads have left, looks whether everything is
    /// as planned, and writes the journal. `fd` gives the objects that the plan has made by now.
    pub(crate) fn prepare<'f>(
        kernel: &'a dyn Kernel,
        plan: &'a Transaction,
        held: bool,
        fd: impl Fn(Object) -> Result<BorrowedFd<'f>>,
    ) -> Result<Self> {
        let state = State::new(kernel, &plan.state).waiting(plan.lock_wait);
        let lock = if held { None } else { Some(state.lock()?) };
        recover::settle_all(&state)?;
        let mut manifest = Manifest::new(plan.object.clone(), plan.hash.clone(), now());
        for (names, reused) in [(&plan.pins, false), (&plan.reused, true)] {
            for name in names {
                manifest.pins.push(pin(kernel, name, fd(name.object)?, reused)?);
            }
        }
        for slot in &plan.slots {
            let array = fd(Object::Map(slot.map))?;
            let look = || {
                let array_id = kernel.map_info(array)?.id;
                Ok((array_id, slots::held(kernel, array, slot.index)?))
            };
            let (array_id, previous) = look().map_err(|e: onebpf_sys::Error| {
                Error::refused(
                    Code::MapFill,
                    format_args!("slot {} of {}", slot.index, slot.array.display()),
                    e,
                )
            })?;
            let kind = kind(slot.object);
            let (array, index) = (slot.array.clone(), slot.index);
            manifest.slots.push(ManifestSlot { array, array_id, index, kind, previous });
        }
        for map in &plan.pruned {
            let array = fd(Object::Map(map.map))?;
            let look = || Ok((kernel.map_info(array)?.id, slots::all(kernel, array)?));
            let (array_id, all) = look().map_err(|e| {
                Error::refused(Code::MapFill, format_args!("the slots of {}", map.array.display()), e)
            })?;
            for (index, previous) in all.into_iter().filter(|(index, _)| !map.keep.contains(index)) {
                let (array, previous) = (map.array.clone(), Some(previous));
                let kind = ObjectKind::Map;
                manifest.slots.push(ManifestSlot { array, array_id, index, kind, previous });
            }
        }
        let (manifest_name, old) = state.manifest_for(&manifest)?;
        let mut record = Record::new(manifest_name, manifest, old);
        (record.keep_previous, record.manifest.can_roll_back) = (plan.keep_previous, plan.keep_previous);
        for path in &plan.dirs {
            let absent = is_absent(kernel, path);
            if absent.map_err(|e| Error::refused(Code::Pin, format_args!("making {}", path.display()), e))? {
                record.dirs.push(path.clone());
            }
        }
        Self::begin(state, lock, record)
    }

    /// Writes the journal.
    pub(super) fn begin(state: State<'a>, lock: Option<Lock>, record: Record) -> Result<Self> {
        let journal = state.new_journal();
        if let Err(error) = state.write_journal(&journal, &record) {
            // It may be there all the same: the last thing that is written is the directory.
            let _ = state.remove(&journal);
            return Err(error);
        }
        Ok(Self { state, journal, record, _lock: lock })
    }

    /// Pins what the slot that waits at `path` holds.
    pub(crate) fn keep_slot(&self, path: &Path) -> onebpf_sys::Result<()> {
        let slots = &self.record.manifest.slots;
        let slot = slots.iter().find(|slot| slot_path(&slot.array, slot.index) == path);
        slot.map_or(Ok(()), |slot| slots::keep(self.state.kernel, slot))
    }

    /// Pins what slots of a shared map hold, and empties them, but those in `keep`.
    pub(crate) fn prune(&self, map: BorrowedFd<'_>, keep: &BTreeSet<u32>) -> onebpf_sys::Result<()> {
        let kernel = self.state.kernel;
        let id = kernel.map_info(map)?.id;
        let slots = &self.record.manifest.slots;
        for slot in slots.iter().filter(|slot| slot.array_id == id && !keep.contains(&slot.index)) {
            slots::keep(kernel, slot)?;
            gone(kernel.map_delete(map, &slot.index.to_ne_bytes()))?;
        }
        Ok(())
    }

    /// The commit point: one rename of the journal file.
    pub(crate) fn commit(&mut self) -> Result<()> {
        let mut record = self.record.clone();
        record.phase = Phase::Committed;
        let written = self.state.write_journal(&self.journal, &record);
        // If that failed nobody knows which of the two is there: undoing says again which it is.
        self.record = record;
        written
    }

    /// Gives the object that will be at `path` its name. EEXIST: the name was taken meanwhile.
    pub(crate) fn publish(&self, path: &Path) -> Result<onebpf_sys::Result<()>> {
        let Some(pin) = self.record.published().find(|pin| pin.path == path) else { return Ok(Ok(())) };
        match names::publish(self.state.kernel, pin) {
            Ok(names::Published::Yes) => Ok(Ok(())),
            Ok(names::Published::Lost) => {
                let text = format!("`{}` was not pinned at {}", pin.name, path.display());
                Err(Error::new(Code::PinChanged, format!("{text}: what waited for the name is gone")))
            }
            Err(e) => Ok(Err(e)),
        }
    }

    /// Writes the manifest. What cannot be cleaned up after that does not undo the load: it is a warning, the journal
    /// stays, and the next load or `recover` tries again.
    pub(crate) fn finish(&self) -> Result<Option<Warning>> {
        self.state.write_manifest(&self.record.manifest_name, &settle::to_keep(&self.record))?;
        let mut left = settle::clean(&self.state, &self.record);
        if left.is_empty()
            && let Err(error) = self.state.remove(&self.journal)
        {
            left.push(error.report().message.clone());
        }
        Ok((!left.is_empty()).then(|| Warning {
            code: "W0305".to_owned(),
            message: format!("not everything is cleaned up: {}; `onebpf recover` does it", left.join(", ")),
            place: Place::default(),
        }))
    }

    /// Takes everything back. What cannot be taken back becomes a note on the error, and stays in the journal.
    pub(crate) fn undo(mut self, error: Error) -> Error {
        let left = settle::turn_back(&self.state, &self.journal, &mut self.record);
        let mut error = left.iter().fold(error, |error, left| error.note(format!("while undoing: {left}")));
        if left.is_empty()
            && let Err(stays) = self.state.remove(&self.journal)
        {
            error = error.note(format!("while undoing: {}", stays.report().message));
        }
        error
    }
}

/// A dangling link is there, too.
fn is_absent(kernel: &dyn Kernel, path: &Path) -> onebpf_sys::Result<bool> {
    match kernel.read_link(path) {
        Err(e) if e.errno == Errno::NOENT => Ok(true),
        Err(e) if e.errno != Errno::INVAL => Err(e),
        _ => Ok(false),
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Looks whether a name is as planned, now that nobody else changes it.
fn pin(
    kernel: &dyn Kernel,
    planned: &PinnedName,
    object: BorrowedFd<'_>,
    reused: bool,
) -> Result<ManifestPin> {
    let PinnedName { name, path, object: slot, there, keeps } = planned;
    let look = || Ok((Found::of(kernel, object)?, Found::at(kernel, path)?));
    let (new, found) = look()
        .map_err(|e| Error::refused(Code::PinChanged, format_args!("`{name}` at {}", path.display()), e))?;
    let kind = kind(*slot);
    let new = new.map_or(0, |new| new.id);
    let as_planned = match (there, found) {
        _ if reused => found.is_some_and(|found| found.kind == kind && found.id == new),
        (There::Nothing, None) => true,
        (There::Map(id), Some(found)) => found.kind == ObjectKind::Map && found.id == *id,
        (There::Something, Some(found)) => found.kind == kind,
        _ => false,
    };
    if !as_planned {
        let text = format!("`{name}`: {} has changed since this host was observed", path.display());
        return Err(Error::new(Code::PinChanged, text).retry(Retry::ObserveAgain));
    }
    if new == 0 && found.is_some() {
        let text = format!(
            "`{name}`: this kernel gives objects no ids, so {} cannot be replaced safely",
            path.display()
        );
        return Err(Error::new(Code::Lacking, text).hint("ids are there since Linux 4.13"));
    }
    let previous = found.filter(|_| !reused).map(|found| found.id);
    Ok(ManifestPin { name: name.clone(), path: path.clone(), kind, id: new, reused, previous, keeps: *keeps })
}

fn kind(object: Object) -> ObjectKind {
    match object {
        Object::Map(_) => ObjectKind::Map,
        Object::Program(_) => ObjectKind::Program,
        Object::Link(_) => ObjectKind::Link,
    }
}
