//! A kernel that remembers the ids of all that is made through it.

use onebpf::Kernel;
use onebpf::sys::{Hook, ObjectKind, Op, Result};
use std::any::Any;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

/// Passes every operation on, and notes what it makes.
pub(crate) struct Recording {
    inner: Arc<dyn Kernel>,
    made: Mutex<Vec<(ObjectKind, u32)>>,
}

impl Recording {
    pub(crate) fn new(inner: Arc<dyn Kernel>) -> Self {
        Self { inner, made: Mutex::default() }
    }

    /// What was made and is still alive.
    ///
    /// Nothing is opened to find out: opening a program array by id while the kernel clears it leaks it for good
    /// (`prog_array_map_clear()` takes a reference for work that is queued already; seen on Linux 6.18).
    pub(crate) fn alive(&self) -> Vec<(ObjectKind, u32)> {
        let lives = |(kind, id): &(ObjectKind, u32)| self.inner.next_id(*kind, id - 1).unwrap() == Some(*id);
        self.made.lock().unwrap().iter().copied().filter(lives).collect()
    }
}

impl Hook for Recording {
    fn around<T: 'static>(&self, op: Op, call: impl FnOnce(&dyn Kernel) -> Result<T>) -> Result<T> {
        let made = call(&*self.inner)?;
        if let Some(fd) = (&made as &dyn Any).downcast_ref::<OwnedFd>() {
            let object = match op {
                Op::MapCreate => Some((ObjectKind::Map, self.inner.map_info(fd.as_fd())?.id)),
                Op::ProgLoad => Some((ObjectKind::Program, self.inner.prog_info(fd.as_fd())?.id)),
                Op::BtfLoad => Some((ObjectKind::Btf, self.inner.btf_info(fd.as_fd())?.id)),
                _ => None,
            };
            self.made.lock().unwrap().extend(object);
        }
        Ok(made)
    }
}
