//! bpf(2) itself.

use crate::Errno;
use std::os::fd::{FromRawFd, OwnedFd};
use zerocopy::{Immutable, IntoBytes};

/// Calls bpf(2) with `attr` and returns what the kernel did.
///
/// The kernel reads only as far as the last word that is not zero: what it does not know of, it is not
/// shown. It may write to any field of `attr`.
///
/// # Safety
///
/// Every address in `attr` must stay valid, for the command `cmd`, for as many bytes as the kernel reads
/// or writes there.
pub(super) unsafe fn bpf<A: IntoBytes + Immutable>(cmd: u32, attr: &mut A) -> Result<u32, Errno> {
    let size = used_size(attr.as_bytes());
    // SAFETY: `attr` is a live, exclusive object, at least `size` bytes long and as long as every field that
    // the kernel writes for `cmd`; the caller answers for the addresses in it.
    let ret = unsafe {
        libc::syscall(libc::SYS_bpf, cmd as libc::c_int, std::ptr::from_mut(attr), size as libc::c_uint)
    };
    if ret < 0 { Err(Errno::from(std::io::Error::last_os_error())) } else { Ok(ret as u32) }
}

/// [`bpf`] for the commands that answer with a new fd.
///
/// # Safety
///
/// As [`bpf`]; and `cmd` must be a command that returns a new fd.
pub(super) unsafe fn bpf_fd<A: IntoBytes + Immutable>(cmd: u32, attr: &mut A) -> Result<OwnedFd, Errno> {
    // SAFETY: the caller's promise is the same.
    let raw = unsafe { bpf(cmd, attr) }?;
    // SAFETY: the kernel has just made this fd, close-on-exec, and nobody else knows of it.
    let fd = unsafe { OwnedFd::from_raw_fd(raw as i32) };
    above_stdio(fd)
}

/// The address of what the kernel reads; 0 for nothing, as the kernel wants it.
pub(super) fn address<T>(data: &[T]) -> u64 {
    if data.is_empty() { 0 } else { data.as_ptr().expose_provenance() as u64 }
}

/// The address of what the kernel writes; 0 for nothing.
pub(super) fn address_mut<T>(data: &mut [T]) -> u64 {
    if data.is_empty() { 0 } else { data.as_mut_ptr().expose_provenance() as u64 }
}

/// In attributes fd 0 means "none": a process that has closed its standard streams must not get it
/// (libbpf does the same, `ensure_good_fd`).
fn above_stdio(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    use std::os::fd::AsRawFd;
    if fd.as_raw_fd() > 2 { Ok(fd) } else { Ok(rustix::io::fcntl_dupfd_cloexec(&fd, 3)?) }
}

/// Bytes up to the last word that is not zero.
fn used_size(attr: &[u8]) -> usize {
    let last = attr.iter().rposition(|&b| b != 0).map_or(0, |i| i + 1);
    last.next_multiple_of(8).min(attr.len())
}

#[cfg(test)]
mod tests {
    use super::used_size;

    #[test]
    fn size_ends_with_the_last_used_word() {
        assert_eq!(used_size(&[0; 16]), 0);
        assert_eq!(used_size(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 8);
        assert_eq!(used_size(&[0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]), 12);
    }
}
