//! A map in the kernel.

use crate::error::{Code, Error, Result};
use onebpf_btf::Btf;
use onebpf_sys::{Errno, Kernel, MapInfo, Memory, ObjectKind};
use std::collections::HashSet;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// A map. Owns its fd, can be sent to and shared by threads, and reads and writes through `&self`.
///
/// Every buffer has the size that the kernel's own description of this very map gives: what a declaration or a
/// caller says is never trusted with memory.
pub struct Map {
    kernel: Arc<dyn Kernel>,
    fd: OwnedFd,
    name: String,
    pinned: Option<PathBuf>,
    reused: bool,
    shape: OnceLock<Shape>,
    memory: OnceLock<Arc<dyn Memory>>,
    globals: Option<u32>,
}

/// What does not change while the map lives.
#[derive(Clone, Debug)]
struct Shape {
    info: MapInfo,
    value_buffer: usize,
}

impl Map {
    /// Opens the map that is pinned at `path`.
    ///
    /// # Errors
    /// E0411 if nothing is there, or something that is no map.
    pub fn open_pin(kernel: &Arc<dyn Kernel>, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let what = || format!("{}", path.display());
        let fd = kernel.open_pin(path).map_err(|e| Error::refused(Code::NoObject, what(), e))?;
        let kind = kernel.fd_kind(fd.as_fd()).map_err(|e| Error::refused(Code::NoObject, what(), e))?;
        if kind != Some(ObjectKind::Map) {
            return Err(Error::new(Code::NoObject, format!("{} is not a map", path.display())));
        }
        Self::opened(kernel, fd, Some(path.to_owned()))
    }

    /// Opens a map by its id. Since Linux 4.13.
    ///
    /// # Errors
    /// E0411 if there is no such map.
    pub fn open_id(kernel: &Arc<dyn Kernel>, id: u32) -> Result<Self> {
        let open = kernel.open_id(ObjectKind::Map, id);
        let fd = open.map_err(|e| Error::refused(Code::NoObject, format_args!("map with id {id}"), e))?;
        Self::opened(kernel, fd, None)
    }

    fn opened(kernel: &Arc<dyn Kernel>, fd: OwnedFd, pinned: Option<PathBuf>) -> Result<Self> {
        let mut map = Self::loaded(kernel, "", fd, pinned, true);
        map.name.clone_from(&map.shape()?.info.name.clone());
        Ok(map)
    }

    pub(crate) fn loaded(
        kernel: &Arc<dyn Kernel>,
        name: &str,
        fd: OwnedFd,
        pinned: Option<PathBuf>,
        reused: bool,
    ) -> Self {
        Self {
            kernel: kernel.clone(),
            fd,
            name: name.to_owned(),
            pinned,
            reused,
            shape: OnceLock::new(),
            memory: OnceLock::new(),
            globals: None,
        }
    }

    /// The same handle, with what is known of the map's memory.
    pub(crate) fn in_memory(mut self, memory: Option<Arc<dyn Memory>>, globals: Option<u32>) -> Self {
        self.memory = memory.map(OnceLock::from).unwrap_or_default();
        self.globals = globals;
        self
    }

    /// Its name in the object; for a map opened by path or id the kernel's (at most 15 bytes).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is pinned, as far as this handle knows.
    pub fn pinned(&self) -> Option<&Path> {
        self.pinned.as_deref()
    }

    /// Whether it was there before the load that gave this handle.
    pub fn reused(&self) -> bool {
        self.reused
    }

    /// What the kernel says of it. The first call asks, later ones remember: only `frozen` may have changed since.
    ///
    /// # Errors
    /// E0409 if the kernel does not answer.
    pub fn info(&self) -> Result<&MapInfo> {
        Ok(&self.shape()?.info)
    }

    /// Its BTF, from the kernel, with the type ids of [`info`](Self::info) in it. Since Linux 4.18.
    ///
    /// # Errors
    /// E0409 if the kernel does not hand it out, E02xx if it cannot be read.
    pub fn btf(&self) -> Result<Option<Btf>> {
        let id = self.info()?.btf_id;
        if id == 0 {
            return Ok(None);
        }
        let read = || self.kernel.btf_info(self.kernel.open_id(ObjectKind::Btf, id)?.as_fd());
        let info = read().map_err(|e| self.failed("reading its BTF", e))?;
        Ok(Some(Btf::from_vec(info.data)?))
    }

    /// The value under `key`, `None` if there is none. For per-CPU maps the values of all possible CPUs, each
    /// rounded up to 8 bytes.
    ///
    /// # Errors
    /// E0409: a key of the wrong size, or the kernel says no.
    pub fn lookup(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.check_key(key)?;
        let mut value = vec![0; self.shape()?.value_buffer];
        match self.kernel.map_lookup(self.fd.as_fd(), key, &mut value, 0) {
            Ok(()) => Ok(Some(value)),
            Err(e) if e.errno == Errno::NOENT => Ok(None),
            Err(e) => Err(self.failed("look-up", e)),
        }
    }

    /// Writes `value` under `key`; `flags` as in bpf(2): 0 or BPF_ANY, BPF_NOEXIST (1), BPF_EXIST (2).
    ///
    /// # Errors
    /// E0409: a key or value of the wrong size, or the kernel says no.
    pub fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<()> {
        self.check_key(key)?;
        self.check("value", value.len(), self.shape()?.value_buffer)?;
        self.kernel.map_update(self.fd.as_fd(), key, value, flags).map_err(|e| self.failed("update", e))
    }

    /// Removes `key`; false if it was not there.
    ///
    /// # Errors
    /// E0409: a key of the wrong size, or the kernel says no (arrays keep all their keys).
    pub fn delete(&self, key: &[u8]) -> Result<bool> {
        self.check_key(key)?;
        match self.kernel.map_delete(self.fd.as_fd(), key) {
            Ok(()) => Ok(true),
            Err(e) if e.errno == Errno::NOENT => Ok(false),
            Err(e) => Err(self.failed("delete", e)),
        }
    }

    /// All keys that are there now, each once.
    ///
    /// They are read before the first one is handed out, so deleting while going through them is fine. When
    /// somebody else deletes a key meanwhile, the kernel starts over; keys seen are not taken twice.
    ///
    /// # Errors
    /// E0409 if the map has no keys to go through (queues, rings), or the kernel says no.
    pub fn keys(&self) -> Result<Vec<Vec<u8>>> {
        let info = self.info()?;
        let (size, max) = (info.key_size as usize, info.max_entries as usize);
        let mut keys = Vec::new();
        let mut seen: HashSet<Vec<u8>> = HashSet::new();
        let mut last: Option<Vec<u8>> = None;
        // A map that changes all the time must not hold its reader for ever: two rounds are enough for any map
        // that stands still.
        for _ in 0..max.saturating_mul(2).saturating_add(1) {
            let mut next = vec![0; size];
            let more = self.kernel.map_next_key(self.fd.as_fd(), last.as_deref(), &mut next);
            if !more.map_err(|e| self.failed("next key", e))? {
                break;
            }
            if seen.insert(next.clone()) {
                keys.push(next.clone());
            }
            last = Some(next);
        }
        Ok(keys)
    }

    /// All keys with their values. A key that goes while the map is read is left out.
    ///
    /// # Errors
    /// Those of [`keys`](Self::keys) at once; those of [`lookup`](Self::lookup) on the way.
    pub fn entries(&self) -> Result<impl Iterator<Item = Result<(Vec<u8>, Vec<u8>)>> + '_> {
        let look = |key: Vec<u8>| match self.lookup(&key) {
            Ok(Some(value)) => Some(Ok((key, value))),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        };
        Ok(self.keys()?.into_iter().filter_map(look))
    }

    /// An arena's memory, mapped into this process: read and written while programs use it. It is mapped once, and stays
    /// so while this handle, a clone of it or what this returns lives. Since Linux 6.9.
    ///
    /// # Errors
    /// E0409: the map is no arena, or one with `BPF_F_SEGV_ON_FAULT`; its address is taken in this process (EEXIST), or
    /// not known: another process mapped it first, and there is no `map_extra` (EINVAL).
    pub fn memory(&self) -> Result<Arc<dyn Memory>> {
        if let Some(memory) = self.memory.get() {
            return Ok(memory.clone());
        }
        let memory = self.kernel.map_memory(self.fd.as_fd()).map_err(|e| self.failed("mapping it", e))?;
        Ok(self.memory.get_or_init(|| memory).clone())
    }

    /// Where the variables of the loaded object begin in an arena's [`memory`](Self::memory):
    /// [`Variable::offset`](onebpf_object::Variable::offset) counts from there. `None` for other maps, and for handles that
    /// do not come from a load.
    pub fn globals(&self) -> Option<u32> {
        self.globals
    }

    /// Pins it at `path`.
    ///
    /// # Errors
    /// E0406 if the kernel says no.
    pub fn pin(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let what = format_args!("map `{}` at {}", self.name, path.display()).to_string();
        self.kernel.pin(self.fd.as_fd(), path).map_err(|e| Error::refused(Code::Pin, what, e))?;
        self.pinned = Some(path.to_owned());
        Ok(())
    }

    /// Another handle to the same map, with its own fd.
    ///
    /// # Errors
    /// E0409 if no fd can be had.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = self.kernel.duplicate(self.fd.as_fd()).map_err(|e| self.failed("dup", e))?;
        Ok(Self {
            kernel: self.kernel.clone(),
            fd,
            name: self.name.clone(),
            pinned: self.pinned.clone(),
            reused: self.reused,
            shape: self.shape.clone(),
            memory: self.memory.clone(),
            globals: self.globals,
        })
    }

    fn shape(&self) -> Result<&Shape> {
        if let Some(shape) = self.shape.get() {
            return Ok(shape);
        }
        let ask = || {
            let info = self.kernel.map_info(self.fd.as_fd())?;
            // Only per-CPU maps need to know how many CPUs there are.
            let one = info.value_buffer_size(1);
            let cpus = if one == info.value_buffer_size(2) { 1 } else { self.kernel.host()?.possible_cpus };
            Ok(Shape { value_buffer: info.value_buffer_size(cpus), info })
        };
        let shape = ask().map_err(|e| self.failed("info", e))?;
        Ok(self.shape.get_or_init(|| shape))
    }

    fn check_key(&self, key: &[u8]) -> Result<()> {
        self.check("key", key.len(), self.info()?.key_size as usize)
    }

    fn check(&self, what: &str, given: usize, wanted: usize) -> Result<()> {
        if given == wanted {
            return Ok(());
        }
        let text = format!("map `{}`: a {what} of {given} bytes, the map's have {wanted}", self.name);
        Err(Error::new(Code::MapOp, text))
    }

    fn failed(&self, doing: &str, error: onebpf_sys::Error) -> Error {
        Error::refused(Code::MapOp, format_args!("map `{}`: {doing}", self.name), error)
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fd, name, pinned, reused, .. } = self;
        f.debug_struct("Map")
            .field("name", name)
            .field("fd", fd)
            .field("pinned", pinned)
            .field("reused", reused)
            .finish()
    }
}
