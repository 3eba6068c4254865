//! Back to what a load has replaced, as a transaction of its own.

use super::found::Found;
use super::record::{Manifest, ManifestPin, ManifestSlot, Record};
use super::running::{Running, now};
use super::state::State;
use super::status::Known;
use super::{names, recover, slots};
use crate::error::{Code, Error, Result};
use crate::plan::{next_path, prev_path, slot_path};
use onebpf_sys::Kernel;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// What a rollback did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct RolledBack {
    /// The object.
    pub object: String,
    /// Names that are again what they were.
    pub pins: Vec<PathBuf>,
    /// Slots of shared maps that hold again what they held.
    pub slots: Vec<(PathBuf, u32)>,
    /// Names that are left as they are: nothing was kept for them.
    pub kept: Vec<PathBuf>,
}

/// Gives every name of an object back to what had it before the last load with
/// [`Options::keep_previous`](crate::Options::keep_previous), all or nothing; what has it now is kept in turn, so a second
/// rollback goes forward again. `object` is a name, or the file name of a manifest where several installations of an
/// object have one.
///
/// # Errors
/// E0417 if nothing was kept, the object is not known, or the pins are no longer what the manifest says; E0415, E0416 as
/// [`recover`](crate::recover); E0405, E0406 if the kernel refuses. Everything is as before then.
pub fn rollback(kernel: &dyn Kernel, state: &Path, object: &str) -> Result<RolledBack> {
    let state = State::new(kernel, state);
    // Nothing is known, and nothing is made to find that out.
    if state.manifests()?.is_empty() {
        return Err(unknown(object, &[]));
    }
    let lock = state.lock()?;
    recover::settle_all(&state)?;
    let (file, old) = find(&state, object)?;
    let manifest = reversed(kernel, &old)?;
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut record = Record::new(name, manifest, None);
    record.manifest.hash.clone_from(&old.previous_hash);
    record.manifest.previous_hash.clone_from(&old.hash);
    (record.keep_previous, record.rollback) = (true, true);
    let slots = record.manifest.slots.clone();
    let pins: Vec<PathBuf> = record.published().map(|pin| pin.path.clone()).collect();
    let kept = record.manifest.pins.iter().filter(|pin| pin.reused).map(|pin| pin.path.clone()).collect();
    let mut running = Running::begin(state, Some(lock), record)?;
    if let Err(error) = carry_out(kernel, &mut running, &pins, &slots, &old) {
        return Err(running.undo(error));
    }
    let slots = slots.into_iter().map(|slot| (slot.array, slot.index)).collect();
    Ok(RolledBack { object: old.object, pins, slots, kept })
}

fn carry_out(
    kernel: &dyn Kernel,
    running: &mut Running<'_>,
    pins: &[PathBuf],
    slots: &[ManifestSlot],
    old: &Manifest,
) -> Result<()> {
    let refused = |path: &Path, e| Error::refused(Code::Pin, path.display(), e);
    for path in pins {
        names::move_to(kernel, &prev_path(path), &next_path(path)).map_err(|e| refused(path, e))?;
    }
    for slot in slots {
        let path = slot_path(&slot.array, slot.index);
        running.keep_slot(&path).map_err(|e| refused(&path, e))?;
    }
    for slot in &old.slots {
        slots::put_back(kernel, slot).map_err(|e| {
            Error::refused(Code::MapFill, format_args!("slot {} of {}", slot.index, slot.array.display()), e)
        })?;
    }
    running.commit()?;
    for path in pins {
        running.publish(path)?.map_err(|e| refused(path, e))?;
    }
    running.finish().map(drop)
}

/// The manifest after the rollback; looks whether everything is there that it needs.
fn reversed(kernel: &dyn Kernel, old: &Manifest) -> Result<Manifest> {
    let nothing = || {
        let text = format!("of `{}` nothing was kept that could be gone back to", old.object);
        Err(Error::new(Code::Rollback, text).hint("`onebpf load --keep-previous` keeps what it replaces"))
    };
    if !old.can_roll_back {
        return nothing();
    }
    let mut new = Manifest { pins: Vec::new(), slots: Vec::new(), time: now(), ..old.clone() };
    for pin in &old.pins {
        let Some(previous) = pin.previous else {
            new.pins.push(ManifestPin { reused: true, ..pin.clone() });
            continue;
        };
        for (path, id) in [(pin.path.clone(), pin.id), (prev_path(&pin.path), previous)] {
            expect(kernel, &path, Found { kind: pin.kind, id })?;
        }
        let now = ManifestPin { id: previous, previous: Some(pin.id), ..pin.clone() };
        new.pins.push(ManifestPin { reused: false, keeps: true, ..now });
    }
    for slot in &old.slots {
        let look = || {
            let Some(array) = slots::array(kernel, slot)? else { return Ok(None) };
            Ok(Some(slots::held(kernel, array.as_fd(), slot.index)?))
        };
        let held =
            look().map_err(|e: onebpf_sys::Error| Error::refused(Code::Rollback, slot.array.display(), e))?;
        let Some(held) = held else { return Err(changed(&slot.array)) };
        if let Some(id) = slot.previous {
            expect(kernel, &slot.previous_path(), Found { kind: slot.kind, id })?;
        }
        new.slots.push(ManifestSlot { previous: held, ..slot.clone() });
    }
    if new.slots.is_empty() && new.pins.iter().all(|pin| pin.reused) {
        return nothing();
    }
    Ok(new)
}

fn expect(kernel: &dyn Kernel, path: &Path, wanted: Found) -> Result<()> {
    match Found::at(kernel, path) {
        Ok(Some(found)) if found == wanted => Ok(()),
        Ok(_) => Err(changed(path)),
        Err(e) => Err(Error::refused(Code::Rollback, path.display(), e)),
    }
}

fn changed(path: &Path) -> Error {
    let text = format!("{} is no longer what the manifest says", path.display());
    Error::new(Code::Rollback, text).hint("`onebpf status` shows what differs")
}

/// By file name, or by object name if that is enough.
fn find(state: &State<'_>, wanted: &str) -> Result<Known> {
    let mut all = Vec::new();
    for file in state.manifests()? {
        let is_file = file.file_name().is_some_and(|name| name == wanted) || file == Path::new(wanted);
        match state.read_manifest(&file) {
            Ok(manifest) if is_file => return Ok((file, manifest)),
            Err(error) if is_file => return Err(error),
            Ok(manifest) => all.push((file, manifest)),
            Err(_) => {}
        }
    }
    let named: Vec<usize> =
        (0..all.len()).filter(|n| all.get(*n).is_some_and(|(_, m)| m.object == wanted)).collect();
    match named.as_slice() {
        [one] => Ok(all.swap_remove(*one)),
        [] => Err(unknown(wanted, &all)),
        several => {
            let files: Vec<String> = several
                .iter()
                .filter_map(|n| Some(all.get(*n)?.0.file_name()?.to_string_lossy().into_owned()))
                .collect();
            let text = format!("`{wanted}` is loaded {} times, under different pins", several.len());
            Err(Error::new(Code::Rollback, text).hint(format!("say which: {}", files.join(", "))))
        }
    }
}

fn unknown(object: &str, all: &[Known]) -> Error {
    let names: Vec<String> = all.iter().map(|(_, manifest)| format!("`{}`", manifest.object)).collect();
    let known = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    Error::new(Code::Rollback, format!("no manifest speaks of `{object}`")).hint(format!("there is {known}"))
}
