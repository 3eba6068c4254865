//! A kernel that counts what is asked of it.

use onebpf_sys::{
    BtfInfo, BtfLoad, Host, Kernel, MapCreate, MapInfo, ObjectKind, ProgInfo, ProgLoad, ProgRun,
    ProgRunResult, RenameMode, Result, RouteReply,
};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
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

    fn count<T>(&self, run: impl FnOnce(&dyn Kernel) -> T) -> T {
        let started = Instant::now();
        let result = run(&*self.inner);
        self.calls.fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        result
    }
}

impl Kernel for Counting {
    fn map_create(&self, attr: &MapCreate<'_>) -> Result<OwnedFd> {
        self.count(|k| k.map_create(attr))
    }
    fn map_lookup(&self, map: BorrowedFd<'_>, key: &[u8], value: &mut [u8], flags: u64) -> Result<()> {
        self.count(|k| k.map_lookup(map, key, value, flags))
    }
    fn map_update(&self, map: BorrowedFd<'_>, key: &[u8], value: &[u8], flags: u64) -> Result<()> {
        self.count(|k| k.map_update(map, key, value, flags))
    }
    fn map_update_object(
        &self,
        map: BorrowedFd<'_>,
        key: &[u8],
        object: BorrowedFd<'_>,
        flags: u64,
    ) -> Result<()> {
        self.count(|k| k.map_update_object(map, key, object, flags))
    }
    fn map_delete(&self, map: BorrowedFd<'_>, key: &[u8]) -> Result<()> {
        self.count(|k| k.map_delete(map, key))
    }
    fn map_next_key(&self, map: BorrowedFd<'_>, key: Option<&[u8]>, next: &mut [u8]) -> Result<bool> {
        self.count(|k| k.map_next_key(map, key, next))
    }
    fn map_freeze(&self, map: BorrowedFd<'_>) -> Result<()> {
        self.count(|k| k.map_freeze(map))
    }
    fn btf_load(&self, attr: BtfLoad<'_, '_>) -> Result<OwnedFd> {
        self.count(|k| k.btf_load(attr))
    }
    fn prog_load(&self, attr: ProgLoad<'_, '_>) -> Result<OwnedFd> {
        self.count(|k| k.prog_load(attr))
    }
    fn prog_bind_map(&self, prog: BorrowedFd<'_>, map: BorrowedFd<'_>) -> Result<()> {
        self.count(|k| k.prog_bind_map(prog, map))
    }
    fn prog_run(&self, prog: BorrowedFd<'_>, run: ProgRun<'_>) -> Result<ProgRunResult> {
        self.count(|k| k.prog_run(prog, run))
    }
    fn map_info(&self, map: BorrowedFd<'_>) -> Result<MapInfo> {
        self.count(|k| k.map_info(map))
    }
    fn prog_info(&self, prog: BorrowedFd<'_>) -> Result<ProgInfo> {
        self.count(|k| k.prog_info(prog))
    }
    fn btf_info(&self, btf: BorrowedFd<'_>) -> Result<BtfInfo> {
        self.count(|k| k.btf_info(btf))
    }
    fn next_id(&self, kind: ObjectKind, after: u32) -> Result<Option<u32>> {
        self.count(|k| k.next_id(kind, after))
    }
    fn open_id(&self, kind: ObjectKind, id: u32) -> Result<OwnedFd> {
        self.count(|k| k.open_id(kind, id))
    }
    fn pin(&self, object: BorrowedFd<'_>, path: &Path) -> Result<()> {
        self.count(|k| k.pin(object, path))
    }
    fn open_pin(&self, path: &Path) -> Result<OwnedFd> {
        self.count(|k| k.open_pin(path))
    }
    fn fd_kind(&self, fd: BorrowedFd<'_>) -> Result<Option<ObjectKind>> {
        self.count(|k| k.fd_kind(fd))
    }
    fn duplicate(&self, fd: BorrowedFd<'_>) -> Result<OwnedFd> {
        self.count(|k| k.duplicate(fd))
    }
    fn unlink(&self, path: &Path) -> Result<()> {
        self.count(|k| k.unlink(path))
    }
    fn mkdir(&self, path: &Path) -> Result<()> {
        self.count(|k| k.mkdir(path))
    }
    fn rmdir(&self, path: &Path) -> Result<()> {
        self.count(|k| k.rmdir(path))
    }
    fn list_dir(&self, path: &Path) -> Result<Vec<PathBuf>> {
        self.count(|k| k.list_dir(path))
    }
    fn rename(&self, from: &Path, to: &Path, mode: RenameMode) -> Result<()> {
        self.count(|k| k.rename(from, to, mode))
    }
    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        self.count(|k| k.link(from, to))
    }
    fn symlink(&self, target: &Path, path: &Path) -> Result<()> {
        self.count(|k| k.symlink(target, path))
    }
    fn read_link(&self, path: &Path) -> Result<PathBuf> {
        self.count(|k| k.read_link(path))
    }
    fn mount_bpffs(&self, path: &Path) -> Result<()> {
        self.count(|k| k.mount_bpffs(path))
    }
    fn read_file(&self, path: &Path) -> Result<Vec<u8>> {
        self.count(|k| k.read_file(path))
    }
    fn write_file(&self, path: &Path, data: &[u8]) -> Result<()> {
        self.count(|k| k.write_file(path, data))
    }
    fn lock_file(&self, path: &Path) -> Result<OwnedFd> {
        self.count(|k| k.lock_file(path))
    }
    fn is_bpffs(&self, path: &Path) -> Result<bool> {
        self.count(|k| k.is_bpffs(path))
    }
    fn route(&self, request: &[u8]) -> Result<RouteReply> {
        self.count(|k| k.route(request))
    }
    fn lift_memlock(&self) -> Result<()> {
        self.count(|k| k.lift_memlock())
    }
    fn host(&self) -> Result<Host> {
        self.count(|k| k.host())
    }
    fn kernel_btf(&self) -> Result<Option<Arc<dyn AsRef<[u8]> + Send + Sync>>> {
        self.count(|k| k.kernel_btf())
    }
}
