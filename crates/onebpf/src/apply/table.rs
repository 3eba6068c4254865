//! Tables of functions: completed, and registered if the plan says so.

use super::Run;
use crate::error::{Error, Result};
use crate::plan::{Object, Register, Slot, object};
use crate::struct_ops::StructOps;
use std::os::fd::OwnedFd;

impl Run<'_> {
    pub(super) fn table(
        &mut self,
        map: Slot<object::Map>,
        name: &str,
        value: &[u8],
        programs: &[(u32, Slot<object::Program>)],
        register: Option<Register>,
    ) -> Result<()> {
        let held = programs
            .iter()
            .map(|(offset, slot)| Ok((*offset, self.object(Object::Program(*slot))?)))
            .collect::<Result<Vec<_>>>()?;
        let table = StructOps::new(self.kernel, name, self.fd(map)?, value.to_vec(), &held)?;
        match register {
            None => {}
            Some(Register::Value) => {
                table.register()?;
                self.registered.push(name.to_owned());
            }
            Some(Register::Link(slot)) => {
                self.fds.insert(slot.number(), OwnedFd::from(table.link()?));
            }
        }
        self.tables.insert(name.to_owned(), table);
        Ok(())
    }

    /// Takes back what a link does not: a registered value would outlive this process.
    pub(super) fn unregister(&mut self, error: Error) -> Error {
        let tables = std::mem::take(&mut self.registered).into_iter();
        let left = tables.filter_map(|name| self.tables.get(&name)?.unregister().err());
        left.fold(error, |error, left| error.note(format!("while undoing: {}", left.report().message)))
    }
}
