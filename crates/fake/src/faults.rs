//! Any kernel, with one call that fails.

use onebpf_sys::{Errno, Error, Hook, Kernel, Op, Result};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Passes every call on to another kernel, fake or real, except one: the n-th fails without being made.
///
/// "Whatever call fails, nothing is left behind" is then a loop: count the calls of a good run with
/// [`Faulty::counting`], and for each n up to [`Faulty::calls`] run again with [`Faulty::new`].
///
/// An undo walks back with `unlink` and `rmdir`, and a clean-up that fails cannot itself be cleaned up:
/// [`Faulty::sparing_clean_up`] leaves those two out of the counting.
///
/// ```
/// use onebpf_fake::{FakeKernel, Faulty};
/// use onebpf_sys::{Errno, Kernel, MapCreate};
/// use std::sync::Arc;
///
/// let fake = FakeKernel::new();
/// let faulty = Faulty::new(Arc::new(fake.clone()), 2, Errno::NOMEM);
/// let attr = MapCreate { map_type: 2, key_size: 4, value_size: 8, max_entries: 1, ..MapCreate::default() };
/// let first = faulty.map_create(&attr).unwrap();
/// assert_eq!(faulty.map_create(&attr).unwrap_err().errno, Errno::NOMEM);
/// assert!(faulty.fired());
/// assert_eq!(fake.live().maps.len(), 1);
/// # drop(first);
/// ```
pub struct Faulty {
    inner: Arc<dyn Kernel>,
    fault: Option<(usize, Fault)>,
    counts: Box<dyn Fn(Op) -> bool + Send + Sync>,
    log: Mutex<Log>,
}

/// What happens at the n-th call.
enum Fault {
    Refused(Errno),
    Stopped(Box<dyn Fn() + Send + Sync>),
}

#[derive(Default)]
struct Log {
    ops: Vec<Op>,
    counted: usize,
    fired: bool,
}

impl Faulty {
    /// The `n`-th call, counting from 1, fails with `errno`; all others go through, later ones too.
    pub fn new(inner: Arc<dyn Kernel>, n: usize, errno: Errno) -> Self {
        Self { fault: Some((n, Fault::Refused(errno))), ..Self::counting(inner) }
    }

    /// When the `n`-th call comes, before it is made, `stop` runs: it may kill the process, or panic. If it returns, the
    /// call is made. So "killed at any point" is a loop, too: between two calls nothing happens that lasts.
    pub fn stopping(inner: Arc<dyn Kernel>, n: usize, stop: impl Fn() + Send + Sync + 'static) -> Self {
        Self { fault: Some((n, Fault::Stopped(Box::new(stop)))), ..Self::counting(inner) }
    }

    /// No call fails; they are counted and logged.
    pub fn counting(inner: Arc<dyn Kernel>) -> Self {
        Self { inner, fault: None, counts: Box::new(|_| true), log: Mutex::default() }
    }

    /// Only calls that `filter` takes are counted and may fail.
    #[must_use]
    pub fn only(mut self, filter: impl Fn(Op) -> bool + Send + Sync + 'static) -> Self {
        self.counts = Box::new(filter);
        self
    }

    /// [`Faulty::only`] what is not `unlink` or `rmdir`.
    #[must_use]
    pub fn sparing_clean_up(self) -> Self {
        self.only(|op| !matches!(op, Op::Unlink | Op::Rmdir))
    }

    /// How many calls were counted so far, the failed one included.
    pub fn calls(&self) -> usize {
        self.log().counted
    }

    /// Whether the fault has struck.
    pub fn fired(&self) -> bool {
        self.log().fired
    }

    /// Every call so far, in order, counted or not.
    pub fn ops(&self) -> Vec<Op> {
        self.log().ops.clone()
    }

    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a call; its turn to fail?
    fn pass(&self, op: Op) -> Result<()> {
        let counts = (self.counts)(op);
        let mut log = self.log();
        log.ops.push(op);
        if counts {
            log.counted += 1;
            if let Some((_, fault)) = self.fault.as_ref().filter(|(n, _)| *n == log.counted) {
                log.fired = true;
                drop(log);
                match fault {
                    Fault::Refused(errno) => return Err(Error { op, errno: *errno }),
                    Fault::Stopped(stop) => stop(),
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty")
            .field("at", &self.fault.as_ref().map(|(n, _)| n))
            .field("calls", &self.calls())
            .finish_non_exhaustive()
    }
}

impl Hook for Faulty {
    fn around<T: 'static>(&self, op: Op, call: impl FnOnce(&dyn Kernel) -> Result<T>) -> Result<T> {
        self.pass(op)?;
        call(&*self.inner)
    }
}
