//! A kernel that remembers the ids of all that is made through it.

use onebpf::Kernel;
use onebpf::sys::{
    BtfInfo, BtfLoad, Host, MapCreate, MapInfo, ObjectKind, ProgInfo, ProgLoad, ProgRun, ProgRunResult,
    RenameMode, Result, RouteReply,
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Passes every operation on.
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

    fn noting(&self, kind: ObjectKind, made: Result<OwnedFd>) -> Result<OwnedFd> {
        let fd = made?;
        let id = match kind {
            ObjectKind::Map => self.inner.map_info(fd.as_fd())?.id,
            ObjectKind::Program => self.inner.prog_info(fd.as_fd())?.id,
            _ => self.inner.btf_info(fd.as_fd())?.id,
        };
        self.made.lock().unwrap().push((kind, id));
        Ok(fd)
    }
}

impl Kernel for Recording {
    fn map_create(&self, attr: &MapCreate<'_>) -> Result<OwnedFd> {
        self.noting(ObjectKind::Map, self.inner.map_create(attr))
    }
    fn map_lookup(&self, map: BorrowedFd<'_>, key: &[u8], value: &mut [u8], flags: u64) -> Result<()> {
        self.inner.map_lookup(map, key, value, flags)
    }
    fn map_update(&self, map: BorrowedFd<'_>, key: &[u8], value: &[u8], flags: u64) -> Result<()> {
        self.inner.map_update(map, key, value, flags)
    }
    fn map_update_object(
        &self,
        map: BorrowedFd<'_>,
        key: &[u8],
        object: BorrowedFd<'_>,
        flags: u64,
    ) -> Result<()> {
        self.inner.map_update_object(map, key, object, flags)
    }
    fn map_delete(&self, map: BorrowedFd<'_>, key: &[u8]) -> Result<()> {
        self.inner.map_delete(map, key)
    }
    fn map_next_key(&self, map: BorrowedFd<'_>, key: Option<&[u8]>, next: &mut [u8]) -> Result<bool> {
        self.inner.map_next_key(map, key, next)
    }
    fn map_freeze(&self, map: BorrowedFd<'_>) -> Result<()> {
        self.inner.map_freeze(map)
    }
    fn btf_load(&self, attr: BtfLoad<'_, '_>) -> Result<OwnedFd> {
        self.noting(ObjectKind::Btf, self.inner.btf_load(attr))
    }
    fn prog_load(&self, attr: ProgLoad<'_, '_>) -> Result<OwnedFd> {
        self.noting(ObjectKind::Program, self.inner.prog_load(attr))
    }
    fn prog_bind_map(&self, prog: BorrowedFd<'_>, map: BorrowedFd<'_>) -> Result<()> {
        self.inner.prog_bind_map(prog, map)
    }
    fn prog_run(&self, prog: BorrowedFd<'_>, run: ProgRun<'_>) -> Result<ProgRunResult> {
        self.inner.prog_run(prog, run)
    }
    fn map_info(&self, map: BorrowedFd<'_>) -> Result<MapInfo> {
        self.inner.map_info(map)
    }
    fn prog_info(&self, prog: BorrowedFd<'_>) -> Result<ProgInfo> {
        self.inner.prog_info(prog)
    }
    fn btf_info(&self, btf: BorrowedFd<'_>) -> Result<BtfInfo> {
        self.inner.btf_info(btf)
    }
    fn next_id(&self, kind: ObjectKind, after: u32) -> Result<Option<u32>> {
        self.inner.next_id(kind, after)
    }
    fn open_id(&self, kind: ObjectKind, id: u32) -> Result<OwnedFd> {
        self.inner.open_id(kind, id)
    }
    fn pin(&self, object: BorrowedFd<'_>, path: &Path) -> Result<()> {
        self.inner.pin(object, path)
    }
    fn open_pin(&self, path: &Path) -> Result<OwnedFd> {
        self.inner.open_pin(path)
    }
    fn fd_kind(&self, fd: BorrowedFd<'_>) -> Result<Option<ObjectKind>> {
        self.inner.fd_kind(fd)
    }
    fn duplicate(&self, fd: BorrowedFd<'_>) -> Result<OwnedFd> {
        self.inner.duplicate(fd)
    }
    fn unlink(&self, path: &Path) -> Result<()> {
        self.inner.unlink(path)
    }
    fn mkdir(&self, path: &Path) -> Result<()> {
        self.inner.mkdir(path)
    }
    fn rmdir(&self, path: &Path) -> Result<()> {
        self.inner.rmdir(path)
    }
    fn list_dir(&self, path: &Path) -> Result<Vec<PathBuf>> {
        self.inner.list_dir(path)
    }
    fn rename(&self, from: &Path, to: &Path, mode: RenameMode) -> Result<()> {
        self.inner.rename(from, to, mode)
    }
    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        self.inner.link(from, to)
    }
    fn symlink(&self, target: &Path, path: &Path) -> Result<()> {
        self.inner.symlink(target, path)
    }
    fn read_link(&self, path: &Path) -> Result<PathBuf> {
        self.inner.read_link(path)
    }
    fn mount_bpffs(&self, path: &Path) -> Result<()> {
        self.inner.mount_bpffs(path)
    }
    fn read_file(&self, path: &Path) -> Result<Vec<u8>> {
        self.inner.read_file(path)
    }
    fn write_file(&self, path: &Path, data: &[u8]) -> Result<()> {
        self.inner.write_file(path, data)
    }
    fn lock_file(&self, path: &Path) -> Result<OwnedFd> {
        self.inner.lock_file(path)
    }
    fn is_bpffs(&self, path: &Path) -> Result<bool> {
        self.inner.is_bpffs(path)
    }
    fn route(&self, request: &[u8]) -> Result<RouteReply> {
        self.inner.route(request)
    }
    fn lift_memlock(&self) -> Result<()> {
        self.inner.lift_memlock()
    }
    fn host(&self) -> Result<Host> {
        self.inner.host()
    }
    fn kernel_btf(&self) -> Result<Option<Arc<dyn AsRef<[u8]> + Send + Sync>>> {
        self.inner.kernel_btf()
    }
}
