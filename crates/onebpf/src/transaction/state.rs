//! The state directory: a lock, journals, manifests.

use super::found::gone;
use super::record::{Manifest, Record, is_file_name, to_json};
use crate::error::{Code, Error, Result};
use crate::plan::LOCK_WAIT;
use onebpf_sys::{Errno, Kernel};
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Between two looks at the lock, at most.
const LOOK_AGAIN: Duration = Duration::from_millis(16);

/// The directory, through a kernel.
#[derive(Clone, Copy)]
pub(crate) struct State<'a> {
    pub(super) kernel: &'a dyn Kernel,
    pub(super) dir: &'a Path,
    wait: Duration,
}

/// Held while anything that others see is changed.
#[derive(Debug)]
pub(crate) struct Lock(#[allow(dead_code, reason = "the lock goes when it is dropped")] OwnedFd);

impl<'a> State<'a> {
    pub(crate) fn new(kernel: &'a dyn Kernel, dir: &'a Path) -> Self {
        Self { kernel, dir, wait: LOCK_WAIT }
    }

    /// How long to wait for the lock.
    pub(crate) fn waiting(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// Waits for the lock; makes the directory if it is not there.
    pub(crate) fn lock(&self) -> Result<Lock> {
        let path = lock_path(self.dir);
        let started = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            match self.kernel.lock_file(&path) {
                Ok(lock) => return Ok(Lock(lock)),
                Err(e) if e.errno == Errno::NOENT && !self.exists()? => self.make_dir(self.dir)?,
                Err(e) if e.errno == Errno::AGAIN && started.elapsed() < self.wait => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(LOOK_AGAIN);
                }
                Err(e) if e.errno == Errno::AGAIN => return Err(self.locked(&path, e)),
                Err(e) => return Err(refused(&path, e)),
            }
        }
    }

    fn exists(&self) -> Result<bool> {
        match self.kernel.list_dir(self.dir) {
            Err(e) if e.errno == Errno::NOENT => Ok(false),
            Err(e) => Err(refused(self.dir, e)),
            Ok(_) => Ok(true),
        }
    }

    /// Somebody has had the lock all the time.
    fn locked(&self, path: &Path, error: onebpf_sys::Error) -> Error {
        let who = lock_holder(self.kernel, self.dir)
            .map_or_else(|| "a process that cannot be seen from here".to_owned(), |who| who.to_string());
        let text = format!("{}: {who} has held the lock for {} s", path.display(), self.wait.as_secs_f32());
        Error::refused(Code::Locked, text, error)
            .hint("`--lock-wait SECONDS` waits longer; if that process hangs, end it: what it has begun is settled by the next load")
    }

    /// Journals, and the remains of files that a killed process was writing.
    pub(super) fn journals(&self) -> Result<Vec<PathBuf>> {
        self.names(self.dir, |name| name.starts_with("txn-") && is_json(name))
    }

    /// Files that a killed process was writing (see `write_file` of `crates/sys`).
    pub(super) fn remains(&self) -> Result<Vec<PathBuf>> {
        let begun = |name: &str| name.starts_with('.');
        Ok([self.names(self.dir, begun)?, self.names(&self.objects(), begun)?].concat())
    }

    pub(super) fn manifests(&self) -> Result<Vec<PathBuf>> {
        self.names(&self.objects(), |name| is_json(name) && !name.starts_with('.'))
    }

    /// A journal's name that nobody else uses. With the lock held nobody else has one.
    pub(super) fn new_journal(&self) -> PathBuf {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        self.dir.join(format!("txn-{}-{n}.json", std::process::id()))
    }

    pub(super) fn write_journal(&self, path: &Path, record: &Record) -> Result<()> {
        self.write(path, &to_json(path, record)?)
    }

    pub(super) fn read_journal(&self, path: &Path) -> Result<Record> {
        Record::parse(path, &self.kernel.read_file(path).map_err(|e| refused(path, e))?)
    }

    pub(super) fn read_manifest(&self, path: &Path) -> Result<Manifest> {
        Manifest::parse(path, &self.kernel.read_file(path).map_err(|e| refused(path, e))?)
    }

    pub(super) fn write_manifest(&self, name: &str, manifest: &Manifest) -> Result<()> {
        let path = self.objects().join(name);
        self.make_dir(&self.objects())?;
        self.write(&path, &to_json(&path, manifest)?)
    }

    pub(super) fn remove(&self, path: &Path) -> Result<()> {
        gone(self.kernel.unlink(path)).map_err(|e| refused(path, e))
    }

    /// The file for a manifest: `NAME.json`, unless that is of the same object pinned elsewhere, then `NAME~2.json` and
    /// so on; with what is in it now.
    pub(super) fn manifest_for(&self, manifest: &Manifest) -> Result<(String, Option<Manifest>)> {
        let there = self.manifests()?;
        let stem = if is_file_name(&manifest.object) && !manifest.object.starts_with('.') {
            manifest.object.as_str()
        } else {
            "object"
        };
        let mut n = 1_usize;
        loop {
            let name = if n == 1 { format!("{stem}.json") } else { format!("{stem}~{n}.json") };
            let path = self.objects().join(&name);
            if !there.contains(&path) {
                return Ok((name, None));
            }
            // A damaged manifest is nobody's: this one takes its place.
            match self.read_manifest(&path) {
                Err(error) if error.errno().is_some() => return Err(error),
                Err(_) => return Ok((name, None)),
                Ok(old) if old.same_installation(manifest) => return Ok((name, Some(old))),
                Ok(_) => n = n.saturating_add(1),
            }
        }
    }

    fn objects(&self) -> PathBuf {
        self.dir.join("objects")
    }

    fn write(&self, path: &Path, data: &[u8]) -> Result<()> {
        self.kernel.write_file(path, data).map_err(|e| refused(path, e))
    }

    fn make_dir(&self, path: &Path) -> Result<()> {
        match self.kernel.mkdir(path) {
            Err(e) if e.errno != Errno::EXIST => Err(refused(path, e)),
            _ => Ok(()),
        }
    }

    fn names(&self, dir: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
        match self.kernel.list_dir(dir) {
            Ok(names) => Ok(names
                .into_iter()
                .filter(|name| name.to_str().is_some_and(&wanted))
                .map(|name| dir.join(name))
                .collect()),
            Err(e) if e.errno == Errno::NOENT => Ok(Vec::new()),
            Err(e) => Err(refused(dir, e)),
        }
    }
}

/// The file whose lock whoever changes pins holds.
pub(crate) fn lock_path(state: &Path) -> PathBuf {
    state.join("lock")
}

/// Who changes pins just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// Process id.
    pub pid: u32,
    /// The name of its program, if that can be read.
    pub name: Option<String>,
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}

/// Who holds the lock of the state directory `state`; `None` if nobody does, or nobody who can be seen from here.
pub fn lock_holder(kernel: &dyn Kernel, state: &Path) -> Option<LockHolder> {
    let pid = kernel.lock_holder(&lock_path(state)).ok().flatten()?;
    let name = kernel.read_file(format!("/proc/{pid}/comm").as_ref()).ok();
    let name = name.map(|name| String::from_utf8_lossy(&name).trim_end().to_owned());
    Some(LockHolder { pid, name: name.filter(|name| !name.is_empty()) })
}

/// As this crate spells it.
fn is_json(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "json")
}

fn refused(path: &Path, error: onebpf_sys::Error) -> Error {
    Error::refused(Code::State, path.display(), error)
        .hint("another state directory is chosen with `--state-dir` or ONEBPF_STATE")
}
