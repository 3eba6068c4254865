//! The running kernel.

mod batch;
mod bpf;
mod bpffs;
mod btf;
mod fdinfo;
mod files;
mod host;
mod info;
mod link;
mod map;
mod memory;
mod netns;
mod prog;
mod route;

use crate::types::{
    Batch, BatchCursor, BtfInfo, BtfLoad, Host, LinkCreate, LinkInfo, MapCreate, MapInfo, ObjectKind,
    ProgInfo, ProgLoad, ProgRun, ProgRunResult, RenameMode, RouteReply,
};
use crate::{Errno, Error, Kernel, Memory, Op, Result};
use std::ops::ControlFlow;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use netns::enter_netns;

/// The kernel that this process runs on.
///
/// Element operations ask the kernel for the map's sizes first and answer EINVAL when a buffer is too
/// short: bpf(2) itself trusts its caller and would write past the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linux;

impl Kernel for Linux {
    fn map_create(&self, attr: &MapCreate<'_>) -> Result<OwnedFd> {
        map::create(attr).op(Op::MapCreate)
    }
    fn map_lookup(&self, map: BorrowedFd<'_>, key: &[u8], value: &mut [u8], flags: u64) -> Result<()> {
        map::lookup(map, key, value, flags).op(Op::MapLookup)
    }
    fn map_update(&self, map: BorrowedFd<'_>, key: &[u8], value: &[u8], flags: u64) -> Result<()> {
        map::update(map, key, value, flags).op(Op::MapUpdate)
    }
    fn map_update_object(
        &self,
        map: BorrowedFd<'_>,
        key: &[u8],
        object: BorrowedFd<'_>,
        flags: u64,
    ) -> Result<()> {
        map::update_object(map, key, object, flags).op(Op::MapUpdate)
    }
    fn map_delete(&self, map: BorrowedFd<'_>, key: &[u8]) -> Result<()> {
        map::delete(map, key).op(Op::MapDelete)
    }
    fn map_next_key(&self, map: BorrowedFd<'_>, key: Option<&[u8]>, next: &mut [u8]) -> Result<bool> {
        map::next_key(map, key, next).op(Op::MapNextKey)
    }
    fn map_freeze(&self, map: BorrowedFd<'_>) -> Result<()> {
        map::freeze(map).op(Op::MapFreeze)
    }
    fn map_lookup_batch(
        &self,
        map: BorrowedFd<'_>,
        cursor: &mut BatchCursor,
        keys: &mut [u8],
        values: &mut [u8],
        flags: u64,
    ) -> Result<Batch> {
        batch::read(false, map, cursor, keys, values, flags).op(Op::MapLookupBatch)
    }
    fn map_take_batch(
        &self,
        map: BorrowedFd<'_>,
        cursor: &mut BatchCursor,
        keys: &mut [u8],
        values: &mut [u8],
        flags: u64,
    ) -> Result<Batch> {
        batch::read(true, map, cursor, keys, values, flags).op(Op::MapTakeBatch)
    }
    fn map_update_batch(&self, map: BorrowedFd<'_>, keys: &[u8], values: &[u8], flags: u64) -> Result<Batch> {
        batch::update(map, keys, values, flags).op(Op::MapUpdateBatch)
    }
    fn map_delete_batch(&self, map: BorrowedFd<'_>, keys: &[u8], flags: u64) -> Result<Batch> {
        batch::delete(map, keys, flags).op(Op::MapDeleteBatch)
    }
    fn map_memory(&self, map: BorrowedFd<'_>) -> Result<Arc<dyn Memory>> {
        memory::map(map).op(Op::MapMemory)
    }

    fn btf_load(&self, attr: BtfLoad<'_, '_>) -> Result<OwnedFd> {
        btf::load(attr).op(Op::BtfLoad)
    }
    fn prog_load(&self, attr: ProgLoad<'_, '_>) -> Result<OwnedFd> {
        prog::load(attr).op(Op::ProgLoad)
    }
    fn prog_bind_map(&self, prog: BorrowedFd<'_>, map: BorrowedFd<'_>) -> Result<()> {
        prog::bind_map(prog, map).op(Op::ProgBindMap)
    }
    fn token_create(&self, bpffs: &Path) -> Result<OwnedFd> {
        bpffs::token(bpffs).op(Op::TokenCreate)
    }
    fn prog_run(&self, prog: BorrowedFd<'_>, run: ProgRun<'_>) -> Result<ProgRunResult> {
        prog::run(prog, &run).op(Op::ProgRun)
    }

    fn link_create(&self, attr: LinkCreate<'_>) -> Result<OwnedFd> {
        link::create(attr).op(Op::LinkCreate)
    }
    fn link_update(
        &self,
        link: BorrowedFd<'_>,
        object: BorrowedFd<'_>,
        old: Option<BorrowedFd<'_>>,
    ) -> Result<()> {
        link::update(link, object, old).op(Op::LinkUpdate)
    }

    fn map_info(&self, map: BorrowedFd<'_>) -> Result<MapInfo> {
        info::map(map).op(Op::MapInfo)
    }
    fn prog_info(&self, prog: BorrowedFd<'_>) -> Result<ProgInfo> {
        info::prog(prog).op(Op::ProgInfo)
    }
    fn link_info(&self, link: BorrowedFd<'_>) -> Result<LinkInfo> {
        info::link(link).op(Op::LinkInfo)
    }
    fn btf_info(&self, btf: BorrowedFd<'_>) -> Result<BtfInfo> {
        info::btf(btf).op(Op::BtfInfo)
    }
    fn next_id(&self, kind: ObjectKind, after: u32) -> Result<Option<u32>> {
        info::next_id(kind, after).op(Op::NextId)
    }
    fn open_id(&self, kind: ObjectKind, id: u32) -> Result<OwnedFd> {
        info::open_id(kind, id).op(Op::OpenId)
    }

    fn pin(&self, object: BorrowedFd<'_>, path: &Path) -> Result<()> {
        bpffs::pin(object, path).op(Op::Pin)
    }
    fn open_pin(&self, path: &Path) -> Result<OwnedFd> {
        bpffs::open(path).op(Op::OpenPin)
    }
    fn fd_kind(&self, fd: BorrowedFd<'_>) -> Result<Option<ObjectKind>> {
        fdinfo::kind(fd).op(Op::FdKind)
    }
    fn duplicate(&self, fd: BorrowedFd<'_>) -> Result<OwnedFd> {
        rustix::io::fcntl_dupfd_cloexec(fd, 3).op(Op::Duplicate)
    }
    fn unlink(&self, path: &Path) -> Result<()> {
        rustix::fs::unlink(path).op(Op::Unlink)
    }
    fn mkdir(&self, path: &Path) -> Result<()> {
        rustix::fs::mkdir(path, rustix::fs::Mode::RWXU).op(Op::Mkdir)
    }
    fn rmdir(&self, path: &Path) -> Result<()> {
        rustix::fs::rmdir(path).op(Op::Rmdir)
    }
    fn list_dir(&self, path: &Path) -> Result<Vec<PathBuf>> {
        bpffs::list(path).op(Op::ListDir)
    }
    fn rename(&self, from: &Path, to: &Path, mode: RenameMode) -> Result<()> {
        files::rename(from, to, mode).op(Op::Rename)
    }
    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        rustix::fs::link(from, to).op(Op::HardLink)
    }
    fn symlink(&self, target: &Path, path: &Path) -> Result<()> {
        rustix::fs::symlink(target, path).op(Op::Symlink)
    }
    fn read_link(&self, path: &Path) -> Result<PathBuf> {
        std::fs::read_link(path).op(Op::ReadLink)
    }
    fn mount_bpffs(&self, path: &Path) -> Result<()> {
        bpffs::mount(path).op(Op::MountBpffs)
    }
    fn read_file(&self, path: &Path) -> Result<Vec<u8>> {
        files::read(path).op(Op::ReadFile)
    }
    fn read_lines(&self, path: &Path, visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> Result<()> {
        files::read_lines(path, visit).op(Op::ReadFile)
    }
    fn write_file(&self, path: &Path, data: &[u8]) -> Result<()> {
        files::write(path, data).op(Op::WriteFile)
    }

    fn lock_file(&self, path: &Path) -> Result<OwnedFd> {
        files::lock(path).op(Op::LockFile)
    }
    fn lock_holder(&self, path: &Path) -> Result<Option<u32>> {
        files::lock_holder(path).op(Op::LockHolder)
    }
    fn is_bpffs(&self, path: &Path) -> Result<bool> {
        bpffs::is_bpffs(path).op(Op::IsBpffs)
    }

    fn route(&self, request: &[u8]) -> Result<RouteReply> {
        route::talk(request).op(Op::Route)
    }

    fn lift_memlock(&self) -> Result<()> {
        host::lift_memlock().op(Op::Memlock)
    }
    fn host(&self) -> Result<Host> {
        host::host().op(Op::HostRead)
    }
    fn kernel_btf(&self) -> Result<Option<Arc<dyn AsRef<[u8]> + Send + Sync>>> {
        btf::of_kernel().op(Op::HostRead)
    }
}

/// Names the operation that an errno answers.
trait OpExt<T> {
    fn op(self, op: Op) -> Result<T>;
}

impl<T, E: Into<Errno>> OpExt<T> for std::result::Result<T, E> {
    fn op(self, op: Op) -> Result<T> {
        self.map_err(|e| Error { op, errno: e.into() })
    }
}

/// An object's name as the kernel's NUL-terminated 16 bytes; EINVAL for one that does not fit.
fn object_name(name: &str) -> std::result::Result<[u8; 16], Errno> {
    let mut out = [0; 16];
    if name.len() > crate::OBJ_NAME_MAX || name.contains('\0') {
        return Err(Errno::INVAL);
    }
    for (to, from) in out.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    Ok(out)
}
