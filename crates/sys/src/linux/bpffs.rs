//! The BPF filesystem.

use super::bpf::{address, bpf, bpf_fd};
use crate::Errno;
use crate::uapi::{PinAttr, TokenCreateAttr, cmd};
use rustix::fs::{Mode, OFlags};
use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// `BPF_FS_MAGIC` of linux/magic.h.
const MAGIC: u32 = 0xcafe_4a11;

pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> Result<(), Errno> {
    let path = c_path(path)?;
    let mut attr = PinAttr {
        pathname: address(path.as_bytes_with_nul()),
        bpf_fd: object.as_raw_fd() as u32,
        file_flags: 0,
    };
    // SAFETY: `path` ends with a NUL and outlives the call, which only reads it.
    unsafe { bpf(cmd::OBJ_PIN, &mut attr) }.map(drop)
}

pub(super) fn open(path: &Path) -> Result<OwnedFd, Errno> {
    let path = c_path(path)?;
    let mut attr = PinAttr { pathname: address(path.as_bytes_with_nul()), ..PinAttr::default() };
    // SAFETY: `path` ends with a NUL and outlives the call, which only reads it; the command returns a new
    // fd.
    unsafe { bpf_fd(cmd::OBJ_GET, &mut attr) }
}

/// The kernel wants the root of the filesystem, opened as a directory.
pub(super) fn token(bpffs: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(bpffs, flags, Mode::empty())?;
    let mut attr = TokenCreateAttr { flags: 0, bpffs_fd: root.as_raw_fd() as u32 };
    // SAFETY: the attributes hold no address; the command returns a new fd.
    unsafe { bpf_fd(cmd::TOKEN_CREATE, &mut attr) }
}

pub(super) fn list(path: &Path) -> Result<Vec<PathBuf>, Errno> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)? {
        names.push(PathBuf::from(entry?.file_name()));
    }
    names.sort();
    Ok(names)
}

pub(super) fn mount(path: &Path) -> Result<(), Errno> {
    let flags = rustix::mount::MountFlags::empty();
    Ok(rustix::mount::mount("bpf", path, "bpf", flags, Some(c"mode=0700"))?)
}

pub(super) fn is_bpffs(path: &Path) -> Result<bool, Errno> {
    Ok(rustix::fs::statfs(path)?.f_type as u32 == MAGIC)
}

fn c_path(path: &Path) -> Result<CString, Errno> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)
}
