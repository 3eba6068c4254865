//! Steps that others see: names, mounts, links, and slots of shared maps. All but mounts are parts of a transaction.

use super::{Run, number, refused, unprepared};
use crate::error::{Code, Error, Result, Retry};
use crate::plan::{Object, Slot, Transaction, object};
use crate::transaction::Running;
use onebpf_sys::Errno;
use std::collections::BTreeSet;
use std::path::Path;

impl<'a> Run<'a> {
    pub(super) fn prepare(&mut self, transaction: &'a Transaction) -> Result<()> {
        let object = |object| self.object(object);
        self.running = Some(Running::prepare(&**self.kernel, transaction, self.held, object)?);
        Ok(())
    }

    pub(super) fn make_dir(&mut self, path: &Path) -> Result<()> {
        match self.kernel.mkdir(path) {
            Err(e) if e.errno != Errno::EXIST => {
                Err(Error::refused(Code::Pin, format_args!("making {}", path.display()), e))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn mount(&mut self, path: &Path) -> Result<()> {
        let what = format_args!("mounting a BPF filesystem at {}", path.display()).to_string();
        self.kernel.mount_bpffs(path).map_err(|e| Error::refused(Code::Pin, what, e))
    }

    pub(super) fn symlink(&mut self, path: &Path, target: &Path) -> Result<()> {
        match self.kernel.symlink(target, path) {
            Err(e) if e.errno != Errno::EXIST => {
                Err(Error::refused(Code::Pin, format_args!("linking {}", path.display()), e))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn stage(&mut self, object: Object, name: &str, path: &Path) -> Result<()> {
        self.running()?;
        self.kernel.pin(self.object(object)?, path).map_err(|e| {
            let error = refused::stage(name, path, e);
            // A failed load takes the directories away that it has made, also from under another's feet.
            if e.errno == Errno::NOENT { error.retry(Retry::ObserveAgain) } else { error }
        })
    }

    pub(super) fn keep_slot(&mut self, name: &str, path: &Path) -> Result<()> {
        self.running()?.keep_slot(path).map_err(|e| refused::stage(name, path, e))
    }

    pub(super) fn publish(&mut self, object: Object, name: &str, path: &Path) -> Result<()> {
        self.running()?.publish(path)?.map_err(|e| {
            let error = refused::pin(name, path, e);
            if e.errno == Errno::EXIST { error.retry(Retry::ObserveAgain) } else { error }
        })?;
        self.pins.insert(number(object), path.to_owned());
        Ok(())
    }

    /// Empties the slots that are not in `keep`.
    pub(super) fn prune(&mut self, map: Slot<object::Map>, name: &str, keep: &BTreeSet<u32>) -> Result<()> {
        let (running, outer) = (self.running()?, self.fd(map)?);
        running.prune(outer, keep).map_err(|e| refused::fill(name, "emptying a slot", e))
    }

    pub(super) fn end(&mut self) -> Result<()> {
        let warning = self.running()?.finish()?;
        self.warnings.extend(warning);
        // The lock goes.
        self.running = None;
        Ok(())
    }

    fn running(&self) -> Result<&Running<'a>> {
        self.running.as_ref().ok_or_else(unprepared)
    }
}
