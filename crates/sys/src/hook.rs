//! One kernel in front of another.

use crate::types::{
    Batch, BatchCursor, BtfInfo, BtfLoad, Host, LinkCreate, LinkInfo, MapCreate, MapInfo, ObjectKind,
    ProgInfo, ProgLoad, ProgRun, ProgRunResult, RenameMode, RouteReply,
};
use crate::{Kernel, Memory, Op, Result};
use std::ops::ControlFlow;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What comes between a loader and a kernel, and sees every operation: to count it, to time it, to refuse it.
/// Whatever implements this is a [`Kernel`].
///
/// ```
/// use onebpf_sys::{Hook, Kernel, Linux, Op, Result};
///
/// struct Chatty<K>(K);
///
/// impl<K: Kernel> Hook for Chatty<K> {
///     fn around<T: 'static>(&self, op: Op, call: impl FnOnce(&dyn Kernel) -> Result<T>) -> Result<T> {
///         println!("{op} ...");
///         call(&self.0)
///     }
/// }
///
/// let kernel: &dyn Kernel = &Chatty(Linux);
/// kernel.host()?;
/// # Ok::<(), onebpf_sys::Error>(())
/// ```
pub trait Hook: Send + Sync {
    /// Makes one operation by handing the kernel behind to `call`, or does not and says why.
    ///
    /// What is made, if `T` is an [`OwnedFd`], can be looked at through [`Any`](std::any::Any).
    fn around<T: 'static>(&self, op: Op, call: impl FnOnce(&dyn Kernel) -> Result<T>) -> Result<T>;
}

/// One line for each method of [`Kernel`]: its operation, its name, its signature.
macro_rules! forward {
    ($($op:ident: $method:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        impl<H: Hook> Kernel for H {
            $(fn $method(&self, $($arg: $type),*) -> Result<$out> {
                self.around(Op::$op, |kernel| kernel.$method($($arg),*))
            })*
        }
    };
}

forward! {
    MapCreate: map_create(attr: &MapCreate<'_>) -> OwnedFd;
    MapLookup: map_lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8], flags: u64) -> ();
    MapUpdate: map_update(map: BorrowedFd<'_>, key: &[u8], value: &[u8], flags: u64) -> ();
    MapUpdate: map_update_object(map: BorrowedFd<'_>, key: &[u8], object: BorrowedFd<'_>, flags: u64) -> ();
    MapDelete: map_delete(map: BorrowedFd<'_>, key: &[u8]) -> ();
    MapNextKey: map_next_key(map: BorrowedFd<'_>, key: Option<&[u8]>, next: &mut [u8]) -> bool;
    MapFreeze: map_freeze(map: BorrowedFd<'_>) -> ();
    MapMemory: map_memory(map: BorrowedFd<'_>) -> Arc<dyn Memory>;
    MapLookupBatch: map_lookup_batch(
        map: BorrowedFd<'_>, cursor: &mut BatchCursor, keys: &mut [u8], values: &mut [u8], flags: u64
    ) -> Batch;
    MapTakeBatch: map_take_batch(
        map: BorrowedFd<'_>, cursor: &mut BatchCursor, keys: &mut [u8], values: &mut [u8], flags: u64
    ) -> Batch;
    MapUpdateBatch: map_update_batch(map: BorrowedFd<'_>, keys: &[u8], values: &[u8], flags: u64) -> Batch;
    MapDeleteBatch: map_delete_batch(map: BorrowedFd<'_>, keys: &[u8], flags: u64) -> Batch;
    BtfLoad: btf_load(attr: BtfLoad<'_, '_>) -> OwnedFd;
    ProgLoad: prog_load(attr: ProgLoad<'_, '_>) -> OwnedFd;
    ProgBindMap: prog_bind_map(prog: BorrowedFd<'_>, map: BorrowedFd<'_>) -> ();
    TokenCreate: token_create(bpffs: &Path) -> OwnedFd;
    ProgRun: prog_run(prog: BorrowedFd<'_>, run: ProgRun<'_>) -> ProgRunResult;
    LinkCreate: link_create(attr: LinkCreate<'_>) -> OwnedFd;
    LinkUpdate: link_update(link: BorrowedFd<'_>, object: BorrowedFd<'_>, old: Option<BorrowedFd<'_>>) -> ();
    MapInfo: map_info(map: BorrowedFd<'_>) -> MapInfo;
    ProgInfo: prog_info(prog: BorrowedFd<'_>) -> ProgInfo;
    LinkInfo: link_info(link: BorrowedFd<'_>) -> LinkInfo;
    BtfInfo: btf_info(btf: BorrowedFd<'_>) -> BtfInfo;
    NextId: next_id(kind: ObjectKind, after: u32) -> Option<u32>;
    OpenId: open_id(kind: ObjectKind, id: u32) -> OwnedFd;
    Pin: pin(object: BorrowedFd<'_>, path: &Path) -> ();
    OpenPin: open_pin(path: &Path) -> OwnedFd;
    FdKind: fd_kind(fd: BorrowedFd<'_>) -> Option<ObjectKind>;
    Duplicate: duplicate(fd: BorrowedFd<'_>) -> OwnedFd;
    Unlink: unlink(path: &Path) -> ();
    Mkdir: mkdir(path: &Path) -> ();
    Rmdir: rmdir(path: &Path) -> ();
    ListDir: list_dir(path: &Path) -> Vec<PathBuf>;
    Rename: rename(from: &Path, to: &Path, mode: RenameMode) -> ();
    HardLink: link(from: &Path, to: &Path) -> ();
    Symlink: symlink(target: &Path, path: &Path) -> ();
    ReadLink: read_link(path: &Path) -> PathBuf;
    MountBpffs: mount_bpffs(path: &Path) -> ();
    ReadFile: read_file(path: &Path) -> Vec<u8>;
    ReadFile: read_lines(path: &Path, visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> ();
    WriteFile: write_file(path: &Path, data: &[u8]) -> ();
    LockFile: lock_file(path: &Path) -> OwnedFd;
    LockHolder: lock_holder(path: &Path) -> Option<u32>;
    IsBpffs: is_bpffs(path: &Path) -> bool;
    Route: route(request: &[u8]) -> RouteReply;
    Memlock: lift_memlock() -> ();
    HostRead: host() -> Host;
    HostRead: kernel_btf() -> Option<Arc<dyn AsRef<[u8]> + Send + Sync>>;
}
