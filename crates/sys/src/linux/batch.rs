//! Maps: many elements with one call (kernel/bpf/syscall.c `generic_map_*_batch`, kernel/bpf/hashtab.c
//! `__htab_map_lookup_and_delete_batch`).

use super::bpf::{address, address_mut, bpf};
use super::map::{raw, sizes};
use crate::uapi::{BatchAttr, cmd};
use crate::{Batch, BatchCursor, Errno};
use std::os::fd::BorrowedFd;

/// A look-up; `removing` what is read.
pub(super) fn read(
    removing: bool,
    map: BorrowedFd<'_>,
    cursor: &mut BatchCursor,
    keys: &mut [u8],
    values: &mut [u8],
    flags: u64,
) -> Result<Batch, Errno> {
    let cmd = if removing { cmd::MAP_LOOKUP_AND_DELETE_BATCH } else { cmd::MAP_LOOKUP_BATCH };
    let sizes = sizes(map)?;
    let count = elements(keys.len(), sizes.key)?;
    // Hash tables move 4 bytes, all others a key.
    let mut next = vec![0; sizes.key.max(4)];
    let token_fits = cursor.token.is_empty() || cursor.token.len() == next.len();
    if elements(values.len(), sizes.value)? != count || !token_fits {
        return Err(Errno::INVAL);
    }
    let mut attr = BatchAttr {
        in_batch: address(&cursor.token),
        out_batch: address_mut(&mut next),
        values: address_mut(values),
        ..batch(map, address_mut(keys), count, flags)
    };
    // SAFETY: the kernel writes at most `count` keys and values, and there is room for them; it reads and writes
    // a token of 4 bytes or of a key, and both tokens are as long as the longer of the two. All outlive the call.
    let done = outcome(unsafe { bpf(cmd, &mut attr) }, count, &attr)?;
    if done.count > 0 {
        cursor.token = next;
    }
    Ok(done)
}

pub(super) fn update(map: BorrowedFd<'_>, keys: &[u8], values: &[u8], flags: u64) -> Result<Batch, Errno> {
    let sizes = sizes(map)?;
    let count = elements(keys.len(), sizes.key)?;
    if elements(values.len(), sizes.value)? != count {
        return Err(Errno::INVAL);
    }
    let mut attr = BatchAttr { values: address(values), ..batch(map, address(keys), count, flags) };
    // SAFETY: the kernel reads `count` keys and values, and they are there; both outlive the call.
    outcome(unsafe { bpf(cmd::MAP_UPDATE_BATCH, &mut attr) }, count, &attr)
}

pub(super) fn delete(map: BorrowedFd<'_>, keys: &[u8], flags: u64) -> Result<Batch, Errno> {
    let count = elements(keys.len(), sizes(map)?.key)?;
    let mut attr = batch(map, address(keys), count, flags);
    // SAFETY: the kernel reads `count` keys, and they are there and outlive the call.
    outcome(unsafe { bpf(cmd::MAP_DELETE_BATCH, &mut attr) }, count, &attr)
}

fn batch(map: BorrowedFd<'_>, keys: u64, count: u32, elem_flags: u64) -> BatchAttr {
    BatchAttr { keys, count, map_fd: raw(map), elem_flags, ..BatchAttr::default() }
}

/// How many elements of `size` bytes `bytes` are; EINVAL if that is no whole number from 1.
fn elements(bytes: usize, size: usize) -> Result<u32, Errno> {
    match (bytes.checked_div(size), bytes.checked_rem(size)) {
        (Some(count @ 1..), Some(0)) => u32::try_from(count).map_err(|_| Errno::INVAL),
        _ => Err(Errno::INVAL),
    }
}

/// The kernel puts 0 into `count` before it touches an element, and the number of those done at the end. So a `count` that
/// is as it was means that it did not begin; but for errors that come only from amid a walk.
fn outcome(result: Result<u32, Errno>, asked: u32, attr: &BatchAttr) -> Result<Batch, Errno> {
    const AMID: [Errno; 5] = [Errno::NOENT, Errno::BUSY, Errno::DEADLK, Errno::TIMEDOUT, Errno::INTR];
    let count = attr.count.min(asked) as usize;
    match result {
        Ok(_) => Ok(Batch { count, stopped: None }),
        Err(e) if attr.count != asked || AMID.contains(&e) => Ok(Batch { count, stopped: Some(e) }),
        Err(e) => Err(e),
    }
}
