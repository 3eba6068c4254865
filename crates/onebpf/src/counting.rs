//! A kernel that counts what is asked of it.

use onebpf_sys::{Hook, Kernel, Op, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Passes every operation on, and counts the operations and the time that they take.
///
/// Times of operations that run side by side add up.
pub struct Counting {
    inner: Arc<dyn Kernel>,
    calls: AtomicU64,
    nanos: AtomicU64,
}

impl Counting {
    /// Counts what goes to `inner`.
    pub fn new(inner: Arc<dyn Kernel>) -> Self {
        Self { inner, calls: AtomicU64::new(0), nanos: AtomicU64::new(0) }
    }

    /// Operations so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Time spent in them.
    pub fn time(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}

impl Hook for Counting {
    fn around<T: 'static>(&self, _: Op, call: impl FnOnce(&dyn Kernel) -> Result<T>) -> Result<T> {
        let started = Instant::now();
        let result = call(&*self.inner);
        self.calls.fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        result
    }
}
