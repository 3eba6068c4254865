//! The kernel itself: one lock, one method per operation.

use crate::bpffs::Tree;
use crate::config::Config;
use crate::handle::{Handle, held};
use crate::live::Live;
use crate::objects::btf::Btf;
use crate::objects::map::{Fit, Map};
use crate::objects::prog::{Loaded, Prog};
use crate::objects::{Body, Objects};
use onebpf_sys::{
    Batch, BatchCursor, BtfInfo, BtfLoad, Errno, Error, Feature, Host, Kernel, LinkCreate, LinkInfo,
    MapCreate, MapInfo, Memory, ObjectKind, Op, ProgInfo, ProgLoad, ProgRun, ProgRunResult, Release,
    RenameMode, Result, RouteReply,
};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

mod rights;

type Outcome<T> = std::result::Result<T, Errno>;

/// A BPF kernel in memory, of any release. Clones are the same kernel.
///
/// Each object is a real pipe whose write end is the object's fd, so objects live and die by their fds, pins
/// and each other as they do in Linux. What it imitates, and what not, is in the crate's documentation.
#[derive(Clone)]
pub struct FakeKernel {
    state: Arc<Mutex<State>>,
}

pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) objects: Objects,
    pub(crate) tree: Tree,
    pub(crate) memlock_lifted: bool,
    /// What keeps the BTF of modules alive.
    pub(crate) modules: Vec<OwnedFd>,
    pub(crate) requests: Vec<Vec<u8>>,
    /// Locked files, by resolved path.
    pub(crate) locks: BTreeMap<PathBuf, Handle>,
}

impl FakeKernel {
    /// The newest release that is imitated; a newer one is this one with the features that the table gives it.
    pub const NEWEST: Release = Release::new(6, 18);

    /// Linux 6.18, all privileges, 2 CPUs, pages of 4096 bytes, a BPF filesystem at /sys/fs/bpf, no kernel BTF.
    pub fn new() -> Self {
        Self::of(Self::NEWEST)
    }

    /// As [`FakeKernel::new`], but this release, e.g. `"5.4"`.
    ///
    /// # Panics
    ///
    /// If `release` does not begin like that.
    pub fn linux(release: &str) -> Self {
        match release.parse() {
            Ok(release) => Self::of(release),
            Err(e) => panic!("FakeKernel::linux({release:?}): {e}"),
        }
    }

    /// As [`FakeKernel::new`], but this release.
    pub fn of(release: Release) -> Self {
        let state = State {
            config: Config::new(release),
            objects: Objects::default(),
            tree: Tree::new(),
            memlock_lifted: false,
            modules: Vec::new(),
            requests: Vec::new(),
            locks: BTreeMap::new(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// What is alive now.
    pub fn live(&self) -> Live {
        let state = self.lock();
        Live::of(&state.objects, &state.tree)
    }

    /// The living programs as they were loaded, oldest first.
    pub fn programs(&self) -> Vec<Loaded> {
        let state = self.lock();
        let programs = state.objects.iter().filter_map(|(_, object)| match &object.body {
            Body::Prog(prog) => Some(prog.loaded.clone()),
            _ => None,
        });
        programs.collect()
    }

    /// Every rtnetlink request so far. All are granted; whatever device is asked for has number 2.
    pub fn requests(&self) -> Vec<Vec<u8>> {
        self.lock().requests.clone()
    }

    pub(crate) fn configure(self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.lock().config);
        self
    }

    /// The state as of now: what nobody holds any more is gone.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let pinned = state.tree.pinned();
        state.objects.sweep(&pinned);
        state
    }

    /// A system call that needs no privilege.
    fn file<T>(&self, op: Op, call: impl FnOnce(&mut State) -> Outcome<T>) -> Result<T> {
        call(&mut self.lock()).map_err(|errno| Error { op, errno })
    }
}

impl State {
    /// Adds an object, unless that would go beyond RLIMIT_MEMLOCK, of which processes have 64 KiB: kernels
    /// before 5.11 charge BPF memory to it. Root is not spared.
    fn add(&mut self, body: Body, charge: u64) -> Outcome<OwnedFd> {
        let limit = self.config.pages(64 << 10);
        let limited = !self.config.has(Feature::MemcgAccount) && !self.memlock_lifted;
        if limited && self.objects.charged_pages().saturating_add(charge) > limit {
            return Err(Errno::PERM);
        }
        self.objects.add(body)
    }

    fn update(&mut self, map: BorrowedFd<'_>, key: &[u8], value: &[u8], flags: u64) -> Outcome<()> {
        let (_, _, target) = self.objects.map(map)?;
        target.check_update(key, value.len(), &self.config)?;
        if !target.takes_objects() {
            return self.objects.map_mut(map)?.update(key, value, flags);
        }
        let number = value.try_into().map_err(|_| Errno::INVAL)?;
        self.put_object(map, key, Found::Number(i32::from_ne_bytes(number)), flags)
    }

    fn put_object(&mut self, map: BorrowedFd<'_>, key: &[u8], object: Found<'_>, flags: u64) -> Outcome<()> {
        let (serial, found) = match object {
            Found::Fd(fd) => self.objects.find(fd)?,
            Found::Number(fd) => self.objects.find_number(fd)?,
        };
        let fit = Fit::of(&found.body, &self.config).ok_or(Errno::INVAL)?;
        let id = found.id;
        self.objects.map_mut(map)?.update_object(key, (serial, id, fit), flags)
    }

    fn read_file(&self, path: &Path) -> Outcome<Vec<u8>> {
        match self.tree.read_file(path) {
            Err(Errno::NOENT) => self.config.file(path).ok_or(Errno::NOENT),
            read => read,
        }
    }

    fn lock_file(&mut self, path: &Path) -> Outcome<OwnedFd> {
        let path = self.tree.touch(path)?;
        if self.is_locked(&path) {
            return Err(Errno::AGAIN);
        }
        let (lock, fd) = Handle::new()?;
        self.locks.insert(path, lock);
        Ok(fd)
    }

    fn is_locked(&self, path: &Path) -> bool {
        self.locks.get(path).is_some_and(|lock| held(std::iter::once(lock)) == [true])
    }
}

/// How an object for a slot was named.
#[derive(Clone, Copy)]
enum Found<'a> {
    Fd(BorrowedFd<'a>),
    Number(i32),
}

impl Default for FakeKernel {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FakeKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        let live = Live::of(&state.objects, &state.tree);
        f.debug_struct("FakeKernel").field("release", &state.config.release).field("live", &live).finish()
    }
}

const RTM_GETLINK: u16 = 18;

/// RTM_NEWLINK: header and `struct ifinfomsg`.
fn the_link() -> Vec<u8> {
    const RTM_NEWLINK: u32 = 16;
    [32, RTM_NEWLINK, 1, 0, 0, 2, 0, 0].map(u32::to_ne_bytes).concat()
}

impl Kernel for FakeKernel {
    fn map_create(&self, attr: &MapCreate<'_>) -> Result<OwnedFd> {
        self.make(Op::MapCreate, attr.token, |state| {
            let map = Map::create(attr, &state.objects, &state.config)?;
            let charge = map.charge;
            state.add(Body::Map(map), charge)
        })
    }

    fn map_lookup(&self, map: BorrowedFd<'_>, key: &[u8], value: &mut [u8], flags: u64) -> Result<()> {
        self.bpf(Op::MapLookup, |state| state.objects.map(map)?.2.lookup(key, value, flags, &state.config))
    }

    fn map_update(&self, map: BorrowedFd<'_>, key: &[u8], value: &[u8], flags: u64) -> Result<()> {
        self.bpf(Op::MapUpdate, |state| state.update(map, key, value, flags))
    }

    fn map_update_object(
        &self,
        map: BorrowedFd<'_>,
        key: &[u8],
        object: BorrowedFd<'_>,
        flags: u64,
    ) -> Result<()> {
        self.bpf(Op::MapUpdate, |state| {
            let (_, _, target) = state.objects.map(map)?;
            target.check_update(key, 4, &state.config)?;
            if target.takes_objects() {
                state.put_object(map, key, Found::Fd(object), flags)
            } else {
                Err(Errno::INVAL)
            }
        })
    }

    fn map_delete(&self, map: BorrowedFd<'_>, key: &[u8]) -> Result<()> {
        self.bpf(Op::MapDelete, |state| state.objects.map_mut(map)?.delete(key))
    }

    fn map_next_key(&self, map: BorrowedFd<'_>, key: Option<&[u8]>, next: &mut [u8]) -> Result<bool> {
        self.bpf(Op::MapNextKey, |state| state.objects.map(map)?.2.next_key(key, next))
    }

    fn map_freeze(&self, map: BorrowedFd<'_>) -> Result<()> {
        self.bpf(Op::MapFreeze, |state| {
            if !state.config.has(Feature::MapFreeze) {
                return Err(Errno::INVAL);
            }
            state.objects.map_mut(map)?.freeze(&state.config)
        })
    }

    fn map_lookup_batch(
        &self,
        map: BorrowedFd<'_>,
        cursor: &mut BatchCursor,
        keys: &mut [u8],
        values: &mut [u8],
        flags: u64,
    ) -> Result<Batch> {
        self.bpf(Op::MapLookupBatch, |state| {
            state.objects.map(map)?.2.read_batch(cursor, keys, values, flags, &state.config)
        })
    }

    fn map_take_batch(
        &self,
        map: BorrowedFd<'_>,
        cursor: &mut BatchCursor,
        keys: &mut [u8],
        values: &mut [u8],
        flags: u64,
    ) -> Result<Batch> {
        self.bpf(Op::MapTakeBatch, |state| {
            state.objects.map_mut(map)?.take_batch(cursor, keys, values, flags, &state.config)
        })
    }

    fn map_update_batch(&self, map: BorrowedFd<'_>, keys: &[u8], values: &[u8], flags: u64) -> Result<Batch> {
        self.bpf(Op::MapUpdateBatch, |state| {
            let (_, _, target) = state.objects.map(map)?;
            let mut batch = Batch::default();
            for (key, value) in target.check_update_batch(keys, values, flags, &state.config)? {
                if let Err(errno) = state.update(map, key, value, 0) {
                    return Ok(Batch { stopped: Some(errno), ..batch });
                }
                batch.count += 1;
            }
            Ok(batch)
        })
    }

    fn map_delete_batch(&self, map: BorrowedFd<'_>, keys: &[u8], flags: u64) -> Result<Batch> {
        self.bpf(Op::MapDeleteBatch, |state| {
            state.objects.map_mut(map)?.delete_batch(keys, flags, &state.config)
        })
    }

    fn map_memory(&self, map: BorrowedFd<'_>) -> Result<Arc<dyn Memory>> {
        self.file(Op::MapMemory, |state| {
            let (serial, ..) = state.objects.map(map)?;
            state.objects.map_mut(map)?.memory(serial)
        })
    }

    fn btf_load(&self, attr: BtfLoad<'_, '_>) -> Result<OwnedFd> {
        self.make(Op::BtfLoad, attr.token, |state| match Btf::load(attr.data, &state.config) {
            Ok(btf) => state.add(Body::Btf(btf), 0),
            Err(no) => {
                let fits = attr.log.is_none_or(|mut log| crate::log::write(&mut log, &no.log, &state.config));
                Err(if fits { no.errno } else { Errno::NOSPC })
            }
        })
    }

    fn prog_load(&self, attr: ProgLoad<'_, '_>) -> Result<OwnedFd> {
        self.make(Op::ProgLoad, attr.token, |state| {
            let prog = Prog::load(attr, &state.objects, &state.config)?;
            let charge = prog.charge;
            state.add(Body::Prog(prog), charge)
        })
    }

    fn prog_bind_map(&self, prog: BorrowedFd<'_>, map: BorrowedFd<'_>) -> Result<()> {
        self.bpf(Op::ProgBindMap, |state| {
            if !state.config.has(Feature::ProgBindMap) {
                return Err(Errno::INVAL);
            }
            let (serial, id, _) = state.objects.map(map)?;
            state.objects.prog_mut(prog)?.bind(serial, id);
            Ok(())
        })
    }

    fn token_create(&self, bpffs: &Path) -> Result<OwnedFd> {
        self.file(Op::TokenCreate, |state| state.token(bpffs))
    }

    fn link_create(&self, attr: LinkCreate<'_>) -> Result<OwnedFd> {
        self.bpf(Op::LinkCreate, |state| {
            let held = state.objects.linkable(&attr, &state.config)?;
            state.add(Body::Link(held), 0)
        })
    }

    fn link_update(
        &self,
        link: BorrowedFd<'_>,
        object: BorrowedFd<'_>,
        old: Option<BorrowedFd<'_>>,
    ) -> Result<()> {
        self.bpf(Op::LinkUpdate, |state| state.objects.relink(link, object, old))
    }

    fn prog_run(&self, prog: BorrowedFd<'_>, run: ProgRun<'_>) -> Result<ProgRunResult> {
        let _ = run;
        self.bpf(Op::ProgRun, |state| {
            let (_, prog) = state.objects.prog(prog)?;
            state.config.runs.get(&prog.info.name).cloned().ok_or(Errno::NOTSUPP)
        })
    }

    fn map_info(&self, map: BorrowedFd<'_>) -> Result<MapInfo> {
        self.bpf(Op::MapInfo, |state| {
            let (_, id, map) = state.objects.map(map)?;
            Ok(MapInfo { id, ..map.info() })
        })
    }

    fn prog_info(&self, prog: BorrowedFd<'_>) -> Result<ProgInfo> {
        self.bpf(Op::ProgInfo, |state| {
            let (id, prog) = state.objects.prog(prog)?;
            Ok(ProgInfo { id, ..prog.info.clone() })
        })
    }

    fn link_info(&self, link: BorrowedFd<'_>) -> Result<LinkInfo> {
        self.bpf(Op::LinkInfo, |state| state.objects.link_info(link))
    }

    fn btf_info(&self, btf: BorrowedFd<'_>) -> Result<BtfInfo> {
        self.bpf(Op::BtfInfo, |state| {
            let (_, id, btf) = state.objects.btf(btf)?;
            let (kernel, name) = (btf.module.is_some(), btf.module.clone().unwrap_or_default());
            Ok(BtfInfo { id, name, kernel, data: btf.data.clone() })
        })
    }

    fn next_id(&self, kind: ObjectKind, after: u32) -> Result<Option<u32>> {
        self.bpf(Op::NextId, |state| {
            let of_kind = state.objects.iter().filter(|(_, object)| object.body.kind() == Some(kind));
            Ok(of_kind.map(|(_, object)| object.id).filter(|id| *id > after).min())
        })
    }

    fn open_id(&self, kind: ObjectKind, id: u32) -> Result<OwnedFd> {
        self.bpf(Op::OpenId, |state| {
            let mut objects = state.objects.iter();
            let found = objects.find(|(_, object)| object.id == id && object.body.kind() == Some(kind));
            state.objects.open(found.ok_or(Errno::NOENT)?.0)
        })
    }

    fn pin(&self, object: BorrowedFd<'_>, path: &Path) -> Result<()> {
        self.bpf(Op::Pin, |state| {
            let (serial, object) = state.objects.find(object)?;
            if matches!(object.body.kind(), None | Some(ObjectKind::Btf)) {
                return Err(Errno::INVAL);
            }
            state.tree.pin(serial, path)
        })
    }

    fn open_pin(&self, path: &Path) -> Result<OwnedFd> {
        self.bpf(Op::OpenPin, |state| state.objects.open(state.tree.open(path)?))
    }

    fn fd_kind(&self, fd: BorrowedFd<'_>) -> Result<Option<ObjectKind>> {
        self.file(Op::FdKind, |state| {
            Ok(state.objects.find(fd).ok().and_then(|(_, object)| object.body.kind()))
        })
    }

    fn duplicate(&self, fd: BorrowedFd<'_>) -> Result<OwnedFd> {
        self.file(Op::Duplicate, |_| Ok(rustix::io::fcntl_dupfd_cloexec(fd, 3)?))
    }

    fn unlink(&self, path: &Path) -> Result<()> {
        self.file(Op::Unlink, |state| state.tree.unlink(path))
    }

    fn mkdir(&self, path: &Path) -> Result<()> {
        self.file(Op::Mkdir, |state| state.tree.mkdir(path))
    }

    fn rmdir(&self, path: &Path) -> Result<()> {
        self.file(Op::Rmdir, |state| state.tree.rmdir(path))
    }

    fn list_dir(&self, path: &Path) -> Result<Vec<PathBuf>> {
        self.file(Op::ListDir, |state| state.tree.list(path))
    }

    fn rename(&self, from: &Path, to: &Path, mode: RenameMode) -> Result<()> {
        self.file(Op::Rename, |state| {
            let exchange = state.config.at_least(5, 17);
            state.tree.rename(from, to, mode, exchange)
        })
    }

    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        self.file(Op::HardLink, |state| state.tree.link(from, to))
    }

    fn symlink(&self, target: &Path, path: &Path) -> Result<()> {
        self.file(Op::Symlink, |state| state.tree.symlink(target, path))
    }

    fn read_link(&self, path: &Path) -> Result<PathBuf> {
        self.file(Op::ReadLink, |state| state.tree.read_link(path))
    }

    fn mount_bpffs(&self, path: &Path) -> Result<()> {
        self.bpf(Op::MountBpffs, |state| state.tree.mount_bpffs(path))
    }

    fn read_file(&self, path: &Path) -> Result<Vec<u8>> {
        self.file(Op::ReadFile, |state| state.read_file(path))
    }

    fn read_lines(&self, path: &Path, visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> Result<()> {
        // The lock is free again while a line is looked at.
        let data = self.read_file(path)?;
        let data = data.strip_suffix(b"\n").unwrap_or(&data);
        let mut lines = data.split(|byte| *byte == b'\n').filter(|_| !data.is_empty());
        let _ = lines.try_for_each(|line| visit(line.get(..4096).unwrap_or(line)));
        Ok(())
    }

    fn write_file(&self, path: &Path, data: &[u8]) -> Result<()> {
        self.file(Op::WriteFile, |state| state.tree.write_file(path, data))
    }

    fn lock_file(&self, path: &Path) -> Result<OwnedFd> {
        self.file(Op::LockFile, |state| state.lock_file(path))
    }

    fn lock_holder(&self, path: &Path) -> Result<Option<u32>> {
        self.file(Op::LockHolder, |state| {
            state.tree.read_file(path)?;
            // All that use a fake are one process.
            Ok(state.is_locked(path).then(std::process::id))
        })
    }

    fn is_bpffs(&self, path: &Path) -> Result<bool> {
        self.file(Op::IsBpffs, |state| state.tree.is_bpffs(path))
    }

    fn route(&self, request: &[u8]) -> Result<RouteReply> {
        self.file(Op::Route, |state| {
            if !state.config.privileged {
                return Err(Errno::PERM);
            }
            state.requests.push(request.to_vec());
            let mut reply = RouteReply::default();
            if request.get(4..6) == Some(&RTM_GETLINK.to_ne_bytes()[..]) {
                reply.messages.push(the_link());
            }
            Ok(reply)
        })
    }

    fn lift_memlock(&self) -> Result<()> {
        self.file(Op::Memlock, |state| {
            if !state.config.privileged {
                return Err(Errno::PERM);
            }
            state.memlock_lifted = true;
            Ok(())
        })
    }

    fn host(&self) -> Result<Host> {
        self.file(Op::HostRead, |state| Ok(state.config.host()))
    }

    fn kernel_btf(&self) -> Result<Option<Arc<dyn AsRef<[u8]> + Send + Sync>>> {
        self.file(Op::HostRead, |state| Ok(state.config.kernel_btf.clone().map(|btf| btf as _)))
    }
}
