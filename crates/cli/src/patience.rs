//! Saying for whom a load waits.

use onebpf::sys::{Errno, Hook, Op, Result};
use onebpf::{Kernel, Linux};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Loads take milliseconds: whoever waits longer is told why.
const MOMENT: Duration = Duration::from_secs(1);

/// The running kernel. A lock that stays taken is a note on standard error, once.
pub(crate) struct Patient {
    state: PathBuf,
    waiting: Mutex<Waiting>,
}

enum Waiting {
    Not,
    Since(Instant),
    Told,
}

impl Patient {
    /// `state`: the state directory that is used.
    pub(crate) fn new(state: Option<PathBuf>) -> Self {
        let state = state.unwrap_or_else(|| onebpf::DEFAULT_STATE.into());
        Self { state, waiting: Mutex::new(Waiting::Not) }
    }

    fn refused_again(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match *waiting {
            Waiting::Not => *waiting = Waiting::Since(Instant::now()),
            Waiting::Since(begun) if begun.elapsed() >= MOMENT => {
                *waiting = Waiting::Told;
                let who = onebpf::lock_holder(&Linux, &self.state).map(|who| who.to_string());
                let who = who.unwrap_or_else(|| "a process that cannot be seen from here".to_owned());
                eprintln!("note: waiting for {who}, which changes pins ({})", self.state.display());
            }
            Waiting::Since(_) | Waiting::Told => {}
        }
    }
}

impl Hook for Patient {
    fn around<T: 'static>(&self, op: Op, call: impl FnOnce(&dyn Kernel) -> Result<T>) -> Result<T> {
        let result = call(&Linux);
        if op == Op::LockFile && result.as_ref().is_err_and(|error| error.errno == Errno::AGAIN) {
            self.refused_again();
        }
        result
    }
}
