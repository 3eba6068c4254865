//! BTF: loading it, and the kernel's own.

use super::bpf::{address, address_mut, bpf_fd};
use crate::uapi::{BPF_F_TOKEN_FD, BtfLoadAttr, cmd};
use crate::{BtfLoad, Errno};
use rustix::fs::{Mode, OFlags};
use rustix::mm::{MapFlags, ProtFlags};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

pub(super) fn load(btf: BtfLoad<'_, '_>) -> Result<OwnedFd, Errno> {
    let mut attr = BtfLoadAttr {
        btf: address(btf.data),
        btf_size: u32::try_from(btf.data.len()).map_err(|_| Errno::TOOBIG)?,
        btf_flags: btf.token.map_or(0, |_| BPF_F_TOKEN_FD),
        btf_token_fd: btf.token.map_or(0, |fd| fd.as_raw_fd() as u32),
        ..BtfLoadAttr::default()
    };
    if let Some(log) = btf.log {
        attr.btf_log_level = log.level;
        attr.btf_log_size = u32::try_from(log.buffer.len()).unwrap_or(u32::MAX);
        attr.btf_log_buf = address_mut(log.buffer);
    }
    // SAFETY: both addresses are those of slices which outlive the call, given with their lengths; the log,
    // the only one written, was borrowed mutably. The command returns a new fd.
    unsafe { bpf_fd(cmd::BTF_LOAD, &mut attr) }
}

type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// /sys/kernel/btf/vmlinux, since Linux 5.4; it can be mapped since 6.16, before that it is read.
pub(super) fn of_kernel() -> Result<Option<Bytes>, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = match rustix::fs::open("/sys/kernel/btf/vmlinux", flags, Mode::empty()) {
        Ok(file) => file,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let len = usize::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or(0);
    if let Some(mapping) = Mapping::of_kernel_btf(file.as_fd(), len) {
        return Ok(Some(Arc::new(mapping)));
    }
    let mut bytes = Vec::with_capacity(len);
    File::from(file).read_to_end(&mut bytes)?;
    Ok(Some(Arc::new(bytes)))
}

/// Read-only pages of the kernel image.
struct Mapping {
    address: *mut std::ffi::c_void,
    len: usize,
}

// SAFETY: the pages are mapped read-only and never change; the mapping is owned by this value alone, and
// munmap may be called from any thread.
unsafe impl Send for Mapping {}
// SAFETY: as above: there is nothing to race with.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// `None` where the kernel (or an empty file) does not let itself be mapped.
    fn of_kernel_btf(file: std::os::fd::BorrowedFd<'_>, len: usize) -> Option<Self> {
        if len == 0 {
            return None;
        }
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let address = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), len, ProtFlags::READ, MapFlags::PRIVATE, file, 0)
        };
        Some(Self { address: address.ok()?, len })
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `len` bytes are mapped, readable, until drop; they are a part of the running kernel's
        // image, which is as long as sysfs says and is never written (kernel/bpf/sysfs_btf.c).
        unsafe { std::slice::from_raw_parts(self.address.cast(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what mmap gave; no borrow outlives `self`. A failure would leave the pages mapped,
        // no more.
        let _ = unsafe { rustix::mm::munmap(self.address, self.len) };
    }
}
