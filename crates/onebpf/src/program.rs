//! A program in the kernel.

use crate::error::{Code, Error, Result};
use crate::plan::LoadProgram;
use onebpf_sys::{Kernel, ObjectKind, ProgInfo, ProgRun, ProgRunResult};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A program. Owns its fd; can be sent to and shared by threads.
pub struct Program {
    kernel: Arc<dyn Kernel>,
    fd: OwnedFd,
    name: String,
    pinned: Option<PathBuf>,
    load_time: Duration,
    log: Option<String>,
}

/// What loading a program gave.
#[derive(Debug)]
pub(crate) struct LoadedProgram {
    pub(crate) fd: OwnedFd,
    /// Time spent in the kernel.
    pub(crate) took: Duration,
    /// The verifier's log, if it was asked for.
    pub(crate) log: Option<String>,
}

impl Program {
    /// Opens the program that is pinned at `path`.
    ///
    /// # Errors
    /// E0411 if nothing is there, or something that is no program.
    pub fn open_pin(kernel: &Arc<dyn Kernel>, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let what = || format!("{}", path.display());
        let fd = kernel.open_pin(path).map_err(|e| Error::refused(Code::NoObject, what(), e))?;
        let kind = kernel.fd_kind(fd.as_fd()).map_err(|e| Error::refused(Code::NoObject, what(), e))?;
        if kind != Some(ObjectKind::Program) {
            return Err(Error::new(Code::NoObject, format!("{} is not a program", path.display())));
        }
        Self::opened(kernel, fd, Some(path.to_owned()))
    }

    /// Opens a program by its id. Since Linux 4.13.
    ///
    /// # Errors
    /// E0411 if there is no such program.
    pub fn open_id(kernel: &Arc<dyn Kernel>, id: u32) -> Result<Self> {
        let open = kernel.open_id(ObjectKind::Program, id);
        let fd = open.map_err(|e| Error::refused(Code::NoObject, format_args!("program with id {id}"), e))?;
        Self::opened(kernel, fd, None)
    }

    fn opened(kernel: &Arc<dyn Kernel>, fd: OwnedFd, pinned: Option<PathBuf>) -> Result<Self> {
        let kernel = kernel.clone();
        let mut program =
            Self { kernel, fd, name: String::new(), pinned, load_time: Duration::ZERO, log: None };
        program.name = program.info()?.name;
        Ok(program)
    }

    pub(crate) fn loaded(
        kernel: &Arc<dyn Kernel>,
        plan: &LoadProgram,
        loaded: LoadedProgram,
        pinned: Option<PathBuf>,
    ) -> Self {
        let LoadedProgram { fd, took: load_time, log } = loaded;
        Self { kernel: kernel.clone(), fd, name: plan.name.clone(), pinned, load_time, log }
    }

    /// Its name in the object; for a program opened by path or id the kernel's (at most 15 bytes).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is pinned, as far as this handle knows.
    pub fn pinned(&self) -> Option<&Path> {
        self.pinned.as_deref()
    }

    /// How long the kernel took to load it; zero for one that was not loaded here.
    pub fn load_time(&self) -> Duration {
        self.load_time
    }

    /// The verifier's log, if [`Options::log_level`](crate::Options::log_level) asked for one.
    pub fn log(&self) -> Option<&str> {
        self.log.as_deref()
    }

    /// What the kernel says of it, now.
    ///
    /// # Errors
    /// E0409 if the kernel does not answer.
    pub fn info(&self) -> Result<ProgInfo> {
        let info = self.kernel.prog_info(self.fd.as_fd());
        info.map_err(|e| Error::refused(Code::MapOp, format_args!("program `{}`: info", self.name), e))
    }

    /// Runs it on given data (`BPF_PROG_TEST_RUN`). Since Linux 4.12, for the types that have a test run.
    ///
    /// # Errors
    /// E0410 if the kernel says no.
    pub fn run(&self, run: ProgRun<'_>) -> Result<ProgRunResult> {
        let done = self.kernel.prog_run(self.fd.as_fd(), run);
        done.map_err(|e| Error::refused(Code::TestRun, format_args!("program `{}`: test run", self.name), e))
    }

    /// Pins it at `path`.
    ///
    /// # Errors
    /// E0406 if the kernel says no.
    pub fn pin(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let what = format!("program `{}` at {}", self.name, path.display());
        self.kernel.pin(self.fd.as_fd(), path).map_err(|e| Error::refused(Code::Pin, what, e))?;
        self.pinned = Some(path.to_owned());
        Ok(())
    }

    /// Another handle to the same program, with its own fd.
    ///
    /// # Errors
    /// E0409 if no fd can be had.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = self.kernel.duplicate(self.fd.as_fd());
        let fd =
            fd.map_err(|e| Error::refused(Code::MapOp, format_args!("program `{}`: dup", self.name), e))?;
        Ok(Self {
            kernel: self.kernel.clone(),
            fd,
            name: self.name.clone(),
            pinned: self.pinned.clone(),
            load_time: self.load_time,
            log: self.log.clone(),
        })
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel: _, fd, name, pinned, load_time, log: _ } = self;
        let mut f = f.debug_struct("Program");
        f.field("name", name).field("fd", fd).field("pinned", pinned).field("load_time", load_time).finish()
    }
}
