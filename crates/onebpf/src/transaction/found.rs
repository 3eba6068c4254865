//! What is at a path, by id.

use onebpf_sys::{Errno, Kernel, ObjectKind, Result};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// An object: its kind and id. The id is 0 where the kernel has none (before Linux 4.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) kind: ObjectKind,
    pub(super) id: u32,
}

impl Found {
    /// The object behind an fd.
    pub(super) fn of(kernel: &dyn Kernel, fd: BorrowedFd<'_>) -> Result<Option<Self>> {
        let Some(kind) = kernel.fd_kind(fd)? else { return Ok(None) };
        let id = match kind {
            ObjectKind::Map => kernel.map_info(fd)?.id,
            ObjectKind::Program => kernel.prog_info(fd)?.id,
            ObjectKind::Link => kernel.link_info(fd)?.id,
            ObjectKind::Btf => 0,
        };
        Ok(Some(Self { kind, id }))
    }

    /// What is pinned at `path`; `None`: nothing.
    pub(super) fn at(kernel: &dyn Kernel, path: &Path) -> Result<Option<Self>> {
        match kernel.open_pin(path) {
            Ok(fd) => Self::of(kernel, fd.as_fd()),
            Err(e) if e.errno == Errno::NOENT => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// ENOENT is as good as done.
pub(super) fn gone(result: Result<()>) -> Result<()> {
    match result {
        Err(e) if e.errno == Errno::NOENT => Ok(()),
        other => other,
    }
}
