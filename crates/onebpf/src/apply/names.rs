//! Steps that are about names: mounts, links, pins that take the place of others; and slots that lose what they hold.

use super::{Run, number, refused};
use crate::error::{Code, Error, Result};
use crate::plan::{Object, Slot, object};
use crate::undo::Undo;
use onebpf_sys::{Errno, RenameMode};
use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::Path;

impl Run<'_> {
    pub(super) fn mount(&mut self, path: &Path) -> Result<()> {
        let what = format_args!("mounting a BPF filesystem at {}", path.display()).to_string();
        self.kernel.mount_bpffs(path).map_err(|e| Error::refused(Code::Pin, what, e))?;
        // It stays, and so does the directory that it is on.
        self.journal.keep_dir(path);
        Ok(())
    }

    pub(super) fn symlink(&mut self, path: &Path, target: &Path) -> Result<()> {
        match self.kernel.symlink(target, path) {
            Ok(()) => self.journal.push(Undo::Unpin(path.to_owned())),
            Err(e) if e.errno == Errno::EXIST => {}
            Err(e) => return Err(Error::refused(Code::Pin, format_args!("linking {}", path.display()), e)),
        }
        Ok(())
    }

    pub(super) fn stage(&mut self, object: Object, name: &str, path: &Path) -> Result<()> {
        self.kernel.pin(self.object(object)?, path).map_err(|e| refused::pin(name, path, e))?;
        self.journal.push(Undo::Unpin(path.to_owned()));
        Ok(())
    }

    /// rename(2) replaces the name at once. What had it is kept open until the load is done.
    pub(super) fn publish(&mut self, object: Object, name: &str, staged: &Path, path: &Path) -> Result<()> {
        let refused = |e| refused::pin(name, path, e);
        let old = self.kernel.open_pin(path).map_err(refused)?;
        self.kernel.rename(staged, path, RenameMode::Replace).map_err(refused)?;
        self.journal.forget_pin(staged);
        self.journal.push(Undo::Republish { old, staged: staged.to_owned(), path: path.to_owned() });
        self.pins.insert(number(object), path.to_owned());
        Ok(())
    }

    /// Empties the slots that are not in `keep`.
    pub(super) fn prune(&mut self, map: Slot<object::Map>, name: &str, keep: &BTreeSet<u32>) -> Result<()> {
        let refused = |e| refused::fill(name, "emptying a slot", e);
        let kernel = &**self.kernel;
        let outer = kernel.duplicate(self.fd(map)?).map_err(refused)?;
        for index in held(kernel, outer.as_fd()).map_err(refused)?.difference(keep) {
            let key = index.to_ne_bytes();
            let undo = Undo::slot(kernel, outer.as_fd(), key, Object::Map(map)).map_err(refused)?;
            match kernel.map_delete(outer.as_fd(), &key) {
                Ok(()) => self.journal.push(undo),
                Err(e) if e.errno == Errno::NOENT => {}
                Err(e) => return Err(refused(e)),
            }
        }
        Ok(())
    }
}

/// The slots that hold something.
fn held(
    kernel: &dyn onebpf_sys::Kernel,
    map: std::os::fd::BorrowedFd<'_>,
) -> onebpf_sys::Result<BTreeSet<u32>> {
    let most = kernel.map_info(map)?.max_entries;
    let (mut slots, mut key, mut next) = (BTreeSet::new(), None, [0; 4]);
    for _ in 0..most {
        if !kernel.map_next_key(map, key.as_ref().map(<[u8; 4]>::as_slice), &mut next)? {
            break;
        }
        if kernel.map_lookup(map, &next, &mut [0; 4], 0).is_ok() {
            slots.insert(u32::from_ne_bytes(next));
        }
        key = Some(next);
    }
    Ok(slots)
}
