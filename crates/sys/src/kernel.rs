//! The one seam between onebpf and a kernel.

use crate::types::{
    Batch, BatchCursor, BtfInfo, BtfLoad, Host, LinkCreate, LinkInfo, MapCreate, MapInfo, ObjectKind,
    ProgInfo, ProgLoad, ProgRun, ProgRunResult, RenameMode, RouteReply,
};
use crate::{Memory, Result};
use std::ops::ControlFlow;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a loader may ask of a kernel.
///
/// Every method is one operation with no decision in it: no retry, no fallback, no probe. Methods take
/// `&self` and may be called from several threads at once.
pub trait Kernel: Send + Sync {
    /// Creates a map. Since Linux 3.18.
    fn map_create(&self, attr: &MapCreate<'_>) -> Result<OwnedFd>;
    /// Copies the value under `key` into `value`, whose length the caller has taken from [`MapInfo`]
    /// (see [`MapInfo::value_buffer_size`] for per-CPU maps). ENOENT: no such key.
    fn map_lookup(&self, map: BorrowedFd<'_>, key: &[u8], value: &mut [u8], flags: u64) -> Result<()>;
    /// Writes `value` under `key`. `flags` is BPF_ANY, BPF_NOEXIST or BPF_EXIST, and more for some types.
    fn map_update(&self, map: BorrowedFd<'_>, key: &[u8], value: &[u8], flags: u64) -> Result<()>;
    /// Puts an object (an inner map, a program) into the slot under `key`.
    fn map_update_object(
        &self,
        map: BorrowedFd<'_>,
        key: &[u8],
        object: BorrowedFd<'_>,
        flags: u64,
    ) -> Result<()>;
    /// Removes `key`. ENOENT: no such key.
    fn map_delete(&self, map: BorrowedFd<'_>, key: &[u8]) -> Result<()>;
    /// Writes the key after `key` (the first one for `None`) into `next`; false at the end.
    fn map_next_key(&self, map: BorrowedFd<'_>, key: Option<&[u8]>, next: &mut [u8]) -> Result<bool>;
    /// Makes the map read-only for user space, for ever. Since Linux 5.2.
    fn map_freeze(&self, map: BorrowedFd<'_>) -> Result<()>;
    /// Maps an arena into this process: at its `map_extra`, or where the kernel likes if that is 0 and nobody has mapped
    /// the arena before; programs that use it can be loaded only then. EEXIST: this process has something else at that
    /// address. EINVAL: the address is not known, for another process has chosen it. EOPNOTSUPP: no arena, or one that
    /// answers accesses to absent pages with SIGSEGV (`BPF_F_SEGV_ON_FAULT`). Pages that are accessed are there as long as
    /// the arena lives. Since Linux 6.9.
    fn map_memory(&self, map: BorrowedFd<'_>) -> Result<Arc<dyn Memory>>;

    /// Reads the elements after `cursor`, as many as there is room for, and moves it on. `keys` has room for a whole
    /// number of keys, at least one, and `values` for as many values, each as long as for
    /// [`map_lookup`](Self::map_lookup); `flags` is 0 or BPF_F_LOCK.
    ///
    /// An answer with fewer elements than fit is not the end: [`Batch::stopped`] says ENOENT there, with or without last
    /// elements. ENOSPC: hash tables give whole buckets, and the next one is larger than all the room; nothing is read.
    /// EBUSY, EDEADLK, ETIMEDOUT, EINTR: somebody was in the way, and the same call may be made again.
    ///
    /// A hash table's elements that are there all the while come exactly once; others at most once. Tries start over
    /// when the element that they stand at goes: elements may come again.
    ///
    /// Since Linux 5.6 for hash tables and arrays, 5.13 for per-CPU arrays and tries. Before that EINVAL, and ENOTSUPP
    /// for a map type that cannot.
    fn map_lookup_batch(
        &self,
        map: BorrowedFd<'_>,
        cursor: &mut BatchCursor,
        keys: &mut [u8],
        values: &mut [u8],
        flags: u64,
    ) -> Result<Batch>;
    /// As [`map_lookup_batch`](Self::map_lookup_batch), and what is read is removed (`LOOKUP_AND_DELETE_BATCH`); hash
    /// tables only. Since Linux 5.6.
    fn map_take_batch(
        &self,
        map: BorrowedFd<'_>,
        cursor: &mut BatchCursor,
        keys: &mut [u8],
        values: &mut [u8],
        flags: u64,
    ) -> Result<Batch>;
    /// Writes elements one after the other, until one is refused. `flags` is 0 or BPF_F_LOCK: nothing here is like
    /// BPF_NOEXIST. Since Linux 5.6, as [`map_lookup_batch`](Self::map_lookup_batch).
    fn map_update_batch(&self, map: BorrowedFd<'_>, keys: &[u8], values: &[u8], flags: u64) -> Result<Batch>;
    /// Removes elements one after the other, until one is refused: ENOENT if it is not there. Not for arrays. Since
    /// Linux 5.6.
    fn map_delete_batch(&self, map: BorrowedFd<'_>, keys: &[u8], flags: u64) -> Result<Batch>;

    /// Loads BTF. Since Linux 4.18.
    fn btf_load(&self, attr: BtfLoad<'_, '_>) -> Result<OwnedFd>;
    /// Loads a program through the verifier. With `attr.log`, the kernel's words are written to that
    /// buffer, NUL-terminated; ENOSPC says that it was too small.
    fn prog_load(&self, attr: ProgLoad<'_, '_>) -> Result<OwnedFd>;
    /// Makes a program hold a map that its code does not name, so that tools find it by the program. Since Linux 5.10.
    fn prog_bind_map(&self, prog: BorrowedFd<'_>, map: BorrowedFd<'_>) -> Result<()>;
    /// Makes a BPF token: the right to make maps, BTF and programs that whoever mounted the BPF filesystem at `bpffs`
    /// has delegated to its user namespace. ENOENT: none, or nothing is mounted there. EOPNOTSUPP: this process is in the first user
    /// namespace, where tokens mean nothing. Since Linux 6.9.
    fn token_create(&self, bpffs: &Path) -> Result<OwnedFd>;
    /// Runs a program on given data. Since Linux 4.12.
    fn prog_run(&self, prog: BorrowedFd<'_>, run: ProgRun<'_>) -> Result<ProgRunResult>;

    /// Attaches a program, or registers a struct_ops table that has its value; the link holds it there. Since Linux 5.7
    /// (struct_ops: 6.4).
    fn link_create(&self, attr: LinkCreate<'_>) -> Result<OwnedFd>;
    /// Puts another program, or another table of the same kind, in the place of the one that a link holds; with `old`, only
    /// if that is the one. Since Linux 5.7 (struct_ops: 6.4).
    fn link_update(
        &self,
        link: BorrowedFd<'_>,
        object: BorrowedFd<'_>,
        old: Option<BorrowedFd<'_>>,
    ) -> Result<()>;

    /// What the kernel says of a map.
    fn map_info(&self, map: BorrowedFd<'_>) -> Result<MapInfo>;
    /// What the kernel says of a program.
    fn prog_info(&self, prog: BorrowedFd<'_>) -> Result<ProgInfo>;
    /// What the kernel says of a link. Since Linux 5.8.
    fn link_info(&self, link: BorrowedFd<'_>) -> Result<LinkInfo>;
    /// What the kernel says of a BTF object, with its bytes.
    fn btf_info(&self, btf: BorrowedFd<'_>) -> Result<BtfInfo>;
    /// The id after `after` (0 for the first); `None` at the end. Since Linux 4.13 (BTF: 4.18).
    fn next_id(&self, kind: ObjectKind, after: u32) -> Result<Option<u32>>;
    /// Opens an object by id.
    fn open_id(&self, kind: ObjectKind, id: u32) -> Result<OwnedFd>;

    /// Pins an object. EEXIST: the name is taken.
    fn pin(&self, object: BorrowedFd<'_>, path: &Path) -> Result<()>;
    /// Opens a pinned object of any kind. ENOENT, and only that, means that there is none.
    fn open_pin(&self, path: &Path) -> Result<OwnedFd>;
    /// What an fd stands for: a map, a program, a link, BTF, or `None` for anything else.
    fn fd_kind(&self, fd: BorrowedFd<'_>) -> Result<Option<ObjectKind>>;
    /// Duplicates an fd of this kernel.
    fn duplicate(&self, fd: BorrowedFd<'_>) -> Result<OwnedFd>;
    /// Removes a pin.
    fn unlink(&self, path: &Path) -> Result<()>;
    /// Makes one directory, mode 0700. EEXIST: something has that name.
    fn mkdir(&self, path: &Path) -> Result<()>;
    /// Removes an empty directory.
    fn rmdir(&self, path: &Path) -> Result<()>;
    /// The names in a directory, sorted.
    fn list_dir(&self, path: &Path) -> Result<Vec<PathBuf>>;
    /// Gives what is at `from` the name `to`, at once: nobody sees a moment between. EEXIST: `to` is taken
    /// and is to be kept. EINVAL: this kernel's BPF filesystem does not know the mode.
    fn rename(&self, from: &Path, to: &Path, mode: RenameMode) -> Result<()>;
    /// Gives what is at `from` one more name (a hard link). EEXIST: the name is taken.
    fn link(&self, from: &Path, to: &Path) -> Result<()>;
    /// Makes `path` a symbolic link to `target`. EEXIST: something has that name.
    fn symlink(&self, target: &Path, path: &Path) -> Result<()>;
    /// Where a symbolic link leads. EINVAL: `path` is something else. ENOENT: nothing is there.
    fn read_link(&self, path: &Path) -> Result<PathBuf>;
    /// Mounts a new BPF filesystem, root's alone (mode 0700), on a directory.
    fn mount_bpffs(&self, path: &Path) -> Result<()>;
    /// The bytes of an ordinary file; EFBIG beyond 16 MiB.
    fn read_file(&self, path: &Path) -> Result<Vec<u8>>;
    /// Hands the lines of an ordinary file of any length to `visit`, one after the other and without their ends, until
    /// that says stop. What is beyond 4096 bytes of a line is left out.
    fn read_lines(&self, path: &Path, visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> Result<()>;
    /// Puts an ordinary file in place, mode 0600: whoever looks, also after a crash, sees the old contents or
    /// the new, whole (written beside it, synced, renamed over it).
    fn write_file(&self, path: &Path, data: &[u8]) -> Result<()>;
    /// Takes a file's lock, alone (`flock`). EAGAIN: another process or thread has it. The file is made if it is not there
    /// (mode 0600). The lock goes with the last copy of the fd, also when the process is killed.
    fn lock_file(&self, path: &Path) -> Result<OwnedFd>;
    /// The process that has taken a file's lock; `None` if nobody has, or a process that this one cannot see (of another
    /// container).
    fn lock_holder(&self, path: &Path) -> Result<Option<u32>>;
    /// Whether `path` lies on a BPF filesystem. ENOENT if there is no such file.
    fn is_bpffs(&self, path: &Path) -> Result<bool>;

    /// Sends one rtnetlink request, header and all, in the caller's network namespace, and waits for the end of the
    /// answer: an acknowledgement (so ask for one, or for a dump). What the kernel refuses is in the reply; an error
    /// means that it could not be asked.
    fn route(&self, request: &[u8]) -> Result<RouteReply>;

    /// Lifts RLIMIT_MEMLOCK, which kernels before 5.11 charge BPF memory to.
    fn lift_memlock(&self) -> Result<()>;
    /// Release, CPUs, page size.
    fn host(&self) -> Result<Host>;
    /// The kernel's own BTF, mapped rather than read where the kernel can; `None` if it has none.
    fn kernel_btf(&self) -> Result<Option<Arc<dyn AsRef<[u8]> + Send + Sync>>>;
}
