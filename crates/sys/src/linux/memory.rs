//! Arenas in this process's address space.

use super::info;
use crate::{Errno, Error, Memory, Op};
use rustix::mm::{MapFlags, ProtFlags};
use std::ffi::c_void;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

/// `BPF_MAP_TYPE_ARENA`.
const ARENA: u32 = 33;
/// `BPF_F_SEGV_ON_FAULT`.
const SEGV_ON_FAULT: u32 = 1 << 17;

/// The kernel wants every process to map all of an arena, at its one address (`arena_map_mmap()`): that of `map_extra`, or
/// the one that the first process gets. Nothing else of this process may be there.
pub(super) fn map(map: BorrowedFd<'_>) -> Result<Arc<dyn Memory>, Errno> {
    let info = info::map_sizes(map)?;
    if info.map_type != ARENA || info.flags & SEGV_ON_FAULT != 0 {
        return Err(Errno::OPNOTSUPP);
    }
    let pages = usize::try_from(info.max_entries).map_err(|_| Errno::NOMEM)?;
    let size = pages.checked_mul(rustix::param::page_size()).ok_or(Errno::NOMEM)?;
    let wanted = usize::try_from(info.extra).map_err(|_| Errno::NOMEM)?;
    let fixed = if wanted == 0 { MapFlags::empty() } else { MapFlags::FIXED_NOREPLACE };
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping that replaces none: the kernel chooses the address, or answers EEXIST where something is at the
    // one that was given (MAP_FIXED_NOREPLACE, Linux 4.17, is older than arenas, Linux 6.9).
    let address = unsafe {
        rustix::mm::mmap(
            std::ptr::without_provenance_mut(wanted),
            size,
            protection,
            MapFlags::SHARED | fixed,
            map,
            0,
        )
    };
    Ok(Arc::new(Mapping { start: address?.cast(), size }))
}

/// The whole of an arena.
struct Mapping {
    start: *mut u8,
    size: usize,
}

// SAFETY: the mapping is owned by this value alone, munmap may be called from any thread, and all accesses are atomic.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Where `len` bytes from `offset` on begin.
    fn at(&self, offset: u64, len: usize) -> crate::Result<*mut u8> {
        let start = usize::try_from(offset).ok();
        let inside = start.filter(|start| start.checked_add(len).is_some_and(|end| end <= self.size));
        // SAFETY: within the mapping.
        let at = inside.map(|start| unsafe { self.start.add(start) });
        at.ok_or(Error { op: Op::MapMemory, errno: Errno::FAULT })
    }
}

impl Memory for Mapping {
    fn address(&self) -> u64 {
        self.start.expose_provenance() as u64
    }

    fn size(&self) -> u64 {
        self.size as u64
    }

    fn read(&self, offset: u64, to: &mut [u8]) -> crate::Result<()> {
        let mut at = self.at(offset, to.len())?;
        let mut rest = to;
        while !rest.is_empty() {
            let (unit, after) = rest.split_at_mut(unit(at, rest.len()));
            // SAFETY: `unit` bytes are within the mapping, `at` is aligned to them, and the memory is shared with programs
            // whose accesses are single instructions. A page that is not there yet is made by the kernel (no SEGV_ON_FAULT).
            unsafe {
                match unit.len() {
                    8 => unit.copy_from_slice(&AtomicU64::from_ptr(at.cast()).load(Relaxed).to_ne_bytes()),
                    4 => unit.copy_from_slice(&AtomicU32::from_ptr(at.cast()).load(Relaxed).to_ne_bytes()),
                    2 => unit.copy_from_slice(&AtomicU16::from_ptr(at.cast()).load(Relaxed).to_ne_bytes()),
                    _ => unit.fill(AtomicU8::from_ptr(at).load(Relaxed)),
                }
                at = at.add(unit.len());
            }
            rest = after;
        }
        Ok(())
    }

    fn write(&self, offset: u64, from: &[u8]) -> crate::Result<()> {
        let mut at = self.at(offset, from.len())?;
        let mut rest = from;
        while !rest.is_empty() {
            let (unit, after) = rest.split_at(unit(at, rest.len()));
            // SAFETY: as in `read`.
            unsafe {
                match unit.len() {
                    8 => AtomicU64::from_ptr(at.cast()).store(u64::from_ne_bytes(whole(unit)), Relaxed),
                    4 => AtomicU32::from_ptr(at.cast()).store(u32::from_ne_bytes(whole(unit)), Relaxed),
                    2 => AtomicU16::from_ptr(at.cast()).store(u16::from_ne_bytes(whole(unit)), Relaxed),
                    _ => AtomicU8::from_ptr(at).store(u8::from_ne_bytes(whole(unit)), Relaxed),
                }
                at = at.add(unit.len());
            }
            rest = after;
        }
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what mmap gave; no borrow outlives `self`. A failure would leave the pages mapped, no more.
        let _ = unsafe { rustix::mm::munmap(self.start.cast::<c_void>(), self.size) };
    }
}

/// The longest of 8, 4, 2 and 1 bytes that `at` is aligned to and `left` has.
fn unit(at: *mut u8, left: usize) -> usize {
    let fits = |unit: &usize| at.addr().is_multiple_of(*unit) && left >= *unit;
    [8, 4, 2].into_iter().find(fits).unwrap_or(1)
}

fn whole<const N: usize>(unit: &[u8]) -> [u8; N] {
    unit.try_into().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_aligned() {
        let at = |address: usize| std::ptr::without_provenance_mut::<u8>(address);
        let cases = [(16, 100, 8), (16, 7, 4), (12, 100, 4), (10, 3, 2), (16, 1, 1), (9, 100, 1)];
        for (address, left, wanted) in cases {
            assert_eq!(unit(at(address), left), wanted, "{left} bytes at {address}");
        }
    }
}
