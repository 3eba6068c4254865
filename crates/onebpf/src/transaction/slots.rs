//! Slots of shared maps: kept, put back, cleaned up.

use super::found::{Found, gone};
use super::record::ManifestSlot;
use crate::plan::slot_path;
use onebpf_sys::{Errno, Kernel, ObjectKind, RenameMode, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What a slot holds. Maps of fds answer a look-up with an id since Linux 4.14.
pub(super) fn held(kernel: &dyn Kernel, map: BorrowedFd<'_>, index: u32) -> Result<Option<u32>> {
    let mut id = [0; 4];
    match kernel.map_lookup(map, &index.to_ne_bytes(), &mut id, 0) {
        Ok(()) => Ok(Some(u32::from_ne_bytes(id))),
        Err(e) if e.errno == Errno::NOENT => Ok(None),
        Err(e) => Err(e),
    }
}

/// All slots that hold something, and what.
pub(super) fn all(kernel: &dyn Kernel, map: BorrowedFd<'_>) -> Result<Vec<(u32, u32)>> {
    let most = kernel.map_info(map)?.max_entries;
    let (mut slots, mut key, mut next) = (Vec::new(), None, [0; 4]);
    for _ in 0..most {
        if !kernel.map_next_key(map, key.as_ref().map(<[u8; 4]>::as_slice), &mut next)? {
            break;
        }
        let index = u32::from_ne_bytes(next);
        slots.extend(held(kernel, map, index)?.map(|id| (index, id)));
        key = Some(next);
    }
    Ok(slots)
}

/// Pins what a slot holds.
pub(super) fn keep(kernel: &dyn Kernel, slot: &ManifestSlot) -> Result<()> {
    let Some(id) = slot.previous else { return Ok(()) };
    let old = kernel.open_id(slot.kind, id)?;
    kernel.pin(old.as_fd(), &slot_path(&slot.array, slot.index))
}

/// Puts back what a slot held, if the load came as far as to keep it.
pub(super) fn restore(kernel: &dyn Kernel, slot: &ManifestSlot) -> Result<()> {
    let kept = slot_path(&slot.array, slot.index);
    let Some(array) = array(kernel, slot)? else { return gone_with_array(kernel, slot) };
    let Some(old) = slot.previous else {
        return gone(kernel.map_delete(array.as_fd(), &slot.index.to_ne_bytes()));
    };
    let found = Found::at(kernel, &kept)?;
    if found != Some(Found { kind: slot.kind, id: old }) {
        return Ok(());
    }
    let object = kernel.open_pin(&kept)?;
    kernel.map_update_object(array.as_fd(), &slot.index.to_ne_bytes(), object.as_fd(), 0)?;
    kernel.unlink(&kept)
}

/// Removes or keeps what a slot held.
pub(super) fn clean(kernel: &dyn Kernel, slot: &ManifestSlot, keep: bool) -> Result<()> {
    let (kept, prev) = (slot_path(&slot.array, slot.index), slot.previous_path());
    match slot.previous {
        Some(_) if keep => gone(kernel.rename(&kept, &prev, RenameMode::Replace)),
        Some(_) => {
            gone(kernel.unlink(&kept))?;
            gone(kernel.unlink(&prev))
        }
        None => gone(kernel.unlink(&prev)),
    }
}

/// Puts what was kept for a rollback back into its slot.
pub(super) fn put_back(kernel: &dyn Kernel, slot: &ManifestSlot) -> Result<()> {
    let key = slot.index.to_ne_bytes();
    let array = kernel.open_pin(&slot.array)?;
    if slot.previous.is_none() {
        return gone(kernel.map_delete(array.as_fd(), &key));
    }
    let object = kernel.open_pin(&slot.previous_path())?;
    kernel.map_update_object(array.as_fd(), &key, object.as_fd(), 0)
}

/// The shared map, if it is still the one.
pub(super) fn array(kernel: &dyn Kernel, slot: &ManifestSlot) -> Result<Option<OwnedFd>> {
    match kernel.open_pin(&slot.array) {
        Ok(fd) => {
            let found = Found::of(kernel, fd.as_fd())?;
            let same = found == Some(Found { kind: ObjectKind::Map, id: slot.array_id });
            Ok(Some(fd).filter(|_| same))
        }
        Err(e) if e.errno == Errno::NOENT => Ok(None),
        Err(e) => Err(e),
    }
}

/// The map is no longer there: nobody misses what was in its slot.
fn gone_with_array(kernel: &dyn Kernel, slot: &ManifestSlot) -> Result<()> {
    let kept = slot_path(&slot.array, slot.index);
    let found = Found::at(kernel, &kept)?;
    if slot.previous.is_some_and(|id| found == Some(Found { kind: slot.kind, id })) {
        return kernel.unlink(&kept);
    }
    Ok(())
}
