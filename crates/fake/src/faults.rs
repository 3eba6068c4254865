//! Any kernel, with one call that fails.

use onebpf_sys::{
    BtfInfo, BtfLoad, Errno, Error, Host, Kernel, MapCreate, MapInfo, ObjectKind, Op, ProgInfo, ProgLoad,
    ProgRun, ProgRunResult, RenameMode, Result, RouteReply,
};
use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
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
    fn pass(&self, op: Op) -> Result<&dyn Kernel> {
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
        Ok(&*self.inner)
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

impl Kernel for Faulty {
    fn map_create(&self, attr: &MapCreate<'_>) -> Result<OwnedFd> {
        self.pass(Op::MapCreate)?.map_create(attr)
    }
    fn map_lookup(&self, map: BorrowedFd<'_>, key: &[u8], value: &mut [u8], flags: u64) -> Result<()> {
        self.pass(Op::MapLookup)?.map_lookup(map, key, value, flags)
    }
    fn map_update(&self, map: BorrowedFd<'_>, key: &[u8], value: &[u8], flags: u64) -> Result<()> {
        self.pass(Op::MapUpdate)?.map_update(map, key, value, flags)
    }
    fn map_update_object(
        &self,
        map: BorrowedFd<'_>,
        key: &[u8],
        object: BorrowedFd<'_>,
        flags: u64,
    ) -> Result<()> {
        self.pass(Op::MapUpdate)?.map_update_object(map, key, object, flags)
    }
    fn map_delete(&self, map: BorrowedFd<'_>, key: &[u8]) -> Result<()> {
        self.pass(Op::MapDelete)?.map_delete(map, key)
    }
    fn map_next_key(&self, map: BorrowedFd<'_>, key: Option<&[u8]>, next: &mut [u8]) -> Result<bool> {
        self.pass(Op::MapNextKey)?.map_next_key(map, key, next)
    }
    fn map_freeze(&self, map: BorrowedFd<'_>) -> Result<()> {
        self.pass(Op::MapFreeze)?.map_freeze(map)
    }
    fn btf_load(&self, attr: BtfLoad<'_, '_>) -> Result<OwnedFd> {
        self.pass(Op::BtfLoad)?.btf_load(attr)
    }
    fn prog_load(&self, attr: ProgLoad<'_, '_>) -> Result<OwnedFd> {
        self.pass(Op::ProgLoad)?.prog_load(attr)
    }
    fn prog_bind_map(&self, prog: BorrowedFd<'_>, map: BorrowedFd<'_>) -> Result<()> {
        self.pass(Op::ProgBindMap)?.prog_bind_map(prog, map)
    }
    fn prog_run(&self, prog: BorrowedFd<'_>, run: ProgRun<'_>) -> Result<ProgRunResult> {
        self.pass(Op::ProgRun)?.prog_run(prog, run)
    }
    fn map_info(&self, map: BorrowedFd<'_>) -> Result<MapInfo> {
        self.pass(Op::MapInfo)?.map_info(map)
    }
    fn prog_info(&self, prog: BorrowedFd<'_>) -> Result<ProgInfo> {
        self.pass(Op::ProgInfo)?.prog_info(prog)
    }
    fn btf_info(&self, btf: BorrowedFd<'_>) -> Result<BtfInfo> {
        self.pass(Op::BtfInfo)?.btf_info(btf)
    }
    fn next_id(&self, kind: ObjectKind, after: u32) -> Result<Option<u32>> {
        self.pass(Op::NextId)?.next_id(kind, after)
    }
    fn open_id(&self, kind: ObjectKind, id: u32) -> Result<OwnedFd> {
        self.pass(Op::OpenId)?.open_id(kind, id)
    }
    fn pin(&self, object: BorrowedFd<'_>, path: &Path) -> Result<()> {
        self.pass(Op::Pin)?.pin(object, path)
    }
    fn open_pin(&self, path: &Path) -> Result<OwnedFd> {
        self.pass(Op::OpenPin)?.open_pin(path)
    }
    fn fd_kind(&self, fd: BorrowedFd<'_>) -> Result<Option<ObjectKind>> {
        self.pass(Op::FdKind)?.fd_kind(fd)
    }
    fn duplicate(&self, fd: BorrowedFd<'_>) -> Result<OwnedFd> {
        self.pass(Op::Duplicate)?.duplicate(fd)
    }
    fn unlink(&self, path: &Path) -> Result<()> {
        self.pass(Op::Unlink)?.unlink(path)
    }
    fn mkdir(&self, path: &Path) -> Result<()> {
        self.pass(Op::Mkdir)?.mkdir(path)
    }
    fn rmdir(&self, path: &Path) -> Result<()> {
        self.pass(Op::Rmdir)?.rmdir(path)
    }
    fn list_dir(&self, path: &Path) -> Result<Vec<PathBuf>> {
        self.pass(Op::ListDir)?.list_dir(path)
    }
    fn rename(&self, from: &Path, to: &Path, mode: RenameMode) -> Result<()> {
        self.pass(Op::Rename)?.rename(from, to, mode)
    }
    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        self.pass(Op::HardLink)?.link(from, to)
    }
    fn symlink(&self, target: &Path, path: &Path) -> Result<()> {
        self.pass(Op::Symlink)?.symlink(target, path)
    }
    fn read_link(&self, path: &Path) -> Result<PathBuf> {
        self.pass(Op::ReadLink)?.read_link(path)
    }
    fn mount_bpffs(&self, path: &Path) -> Result<()> {
        self.pass(Op::MountBpffs)?.mount_bpffs(path)
    }
    fn read_file(&self, path: &Path) -> Result<Vec<u8>> {
        self.pass(Op::ReadFile)?.read_file(path)
    }
    fn write_file(&self, path: &Path, data: &[u8]) -> Result<()> {
        self.pass(Op::WriteFile)?.write_file(path, data)
    }
    fn lock_file(&self, path: &Path) -> Result<OwnedFd> {
        self.pass(Op::LockFile)?.lock_file(path)
    }
    fn is_bpffs(&self, path: &Path) -> Result<bool> {
        self.pass(Op::IsBpffs)?.is_bpffs(path)
    }
    fn route(&self, request: &[u8]) -> Result<RouteReply> {
        self.pass(Op::Route)?.route(request)
    }
    fn lift_memlock(&self) -> Result<()> {
        self.pass(Op::Memlock)?.lift_memlock()
    }
    fn host(&self) -> Result<Host> {
        self.pass(Op::HostRead)?.host()
    }
    fn kernel_btf(&self) -> Result<Option<Arc<dyn AsRef<[u8]> + Send + Sync>>> {
        self.pass(Op::HostRead)?.kernel_btf()
    }
}
