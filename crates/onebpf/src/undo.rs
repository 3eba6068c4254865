//! What a load has done, so that it can be taken back.

use crate::error::Error;
use crate::plan::Object;
use onebpf_sys::{Errno, Kernel, ObjectKind, RenameMode};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// One thing done that outlives its fd. Maps, programs and BTF go when their fds are closed.
#[derive(Debug)]
pub(crate) enum Undo {
    /// Remove a pin made here.
    Unpin(PathBuf),
    /// Remove a directory made here.
    RemoveDir(PathBuf),
    /// Put back what a slot of a shared map held.
    Refill { map: OwnedFd, key: [u8; 4], old: OwnedFd },
    /// Give a name back to what had it.
    Republish { old: OwnedFd, staged: PathBuf, path: PathBuf },
    /// Empty a slot of a shared map.
    Empty { map: OwnedFd, key: [u8; 4] },
}

/// What was done, in order.
#[derive(Debug, Default)]
pub(crate) struct Journal(Vec<Undo>);

impl Undo {
    /// How to put back what `map` holds under `key` now.
    pub(crate) fn slot(
        kernel: &dyn Kernel,
        map: BorrowedFd<'_>,
        key: [u8; 4],
        object: Object,
    ) -> onebpf_sys::Result<Self> {
        let kind = match object {
            Object::Map(_) => ObjectKind::Map,
            Object::Program(_) => ObjectKind::Program,
        };
        // For maps of fds a look-up gives the id (Linux 4.14).
        let mut id = [0; 4];
        let old = match kernel.map_lookup(map, &key, &mut id, 0) {
            Ok(()) => kernel.open_id(kind, u32::from_ne_bytes(id)).map(Some),
            Err(e) if e.errno == Errno::NOENT => Ok(None),
            Err(e) => Err(e),
        }?;
        let map = kernel.duplicate(map)?;
        Ok(match old {
            Some(old) => Self::Refill { map, key, old },
            None => Self::Empty { map, key },
        })
    }

    fn run(self, kernel: &dyn Kernel) -> onebpf_sys::Result<()> {
        match self {
            Self::Unpin(path) => kernel.unlink(&path),
            Self::RemoveDir(path) => kernel.rmdir(&path),
            Self::Republish { old, staged, path } => {
                kernel.pin(old.as_fd(), &staged)?;
                kernel.rename(&staged, &path, RenameMode::Replace)
            }
            Self::Refill { map, key, old } => kernel.map_update_object(map.as_fd(), &key, old.as_fd(), 0),
            Self::Empty { map, key } => kernel.map_delete(map.as_fd(), &key),
        }
    }

    fn what(&self) -> String {
        match self {
            Self::Unpin(path) => format!("the pin {} is still there", path.display()),
            Self::RemoveDir(path) => format!("the directory {} is still there", path.display()),
            Self::Republish { path, .. } => format!("the pin {} is the new one", path.display()),
            Self::Refill { key, .. } | Self::Empty { key, .. } => {
                format!("slot {} of a shared map is not as it was", u32::from_ne_bytes(*key))
            }
        }
    }
}

impl Journal {
    pub(crate) fn push(&mut self, undo: Undo) {
        self.0.push(undo);
    }

    pub(crate) fn extend(&mut self, undo: Option<Undo>) {
        self.0.extend(undo);
    }

    /// Forgets that a directory was made: it is in use.
    pub(crate) fn keep_dir(&mut self, dir: &Path) {
        self.0.retain(|undo| !matches!(undo, Undo::RemoveDir(path) if path == dir));
    }

    /// Forgets a pin: it has another name now.
    pub(crate) fn forget_pin(&mut self, pin: &Path) {
        self.0.retain(|undo| !matches!(undo, Undo::Unpin(path) if path == pin));
    }

    /// Takes everything back, last thing first. What cannot be taken back becomes a note on the error.
    pub(crate) fn undo(&mut self, kernel: &dyn Kernel, mut error: Error) -> Error {
        while let Some(undo) = self.0.pop() {
            let what = undo.what();
            if let Err(e) = undo.run(kernel) {
                error = error.note(format!("while undoing: {what} ({e})"));
            }
        }
        error
    }
}
