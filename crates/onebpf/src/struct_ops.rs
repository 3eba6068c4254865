//! Tables of functions that the kernel calls (struct_ops), and links.

use crate::error::{Code, Error, Result};
use onebpf_sys::{Errno, Kernel, LinkCreate};
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `enum bpf_attach_type`: BPF_STRUCT_OPS.
const BPF_STRUCT_OPS: u32 = 44;
/// Kernel: a struct_ops map that a link registers. Linux 6.4.
const BPF_F_LINK: u32 = 1 << 13;

/// A table of functions for the kernel, e.g. a TCP congestion control: loaded, and registered when the caller wants it. Since
/// Linux 5.6.
///
/// ```no_run
/// # let loaded = onebpf::load("dctcp.bpf.o")?;
/// let mut link = loaded.tables["dctcp"].link()?; // a table in `.struct_ops.link`
/// link.pin("/sys/fs/bpf/dctcp_link")?; // stays registered when this process ends
/// # Ok::<(), onebpf::Error>(())
/// ```
pub struct StructOps {
    kernel: Arc<dyn Kernel>,
    name: String,
    map: OwnedFd,
    /// With the numbers of `programs` in place.
    value: Vec<u8>,
    /// The kernel takes them by their numbers: those stay valid as long as this does.
    programs: Vec<OwnedFd>,
    takes_link: bool,
    link: Option<Link>,
}

impl StructOps {
    /// A table whose functions are `programs`, each at its offset in `value`.
    pub(crate) fn new(
        kernel: &Arc<dyn Kernel>,
        name: &str,
        map: BorrowedFd<'_>,
        mut value: Vec<u8>,
        programs: &[(u32, BorrowedFd<'_>)],
    ) -> Result<Self> {
        let fail = |e| Error::refused(Code::MapFill, format_args!("struct_ops `{name}`"), e);
        let mut held = Vec::with_capacity(programs.len());
        for (offset, program) in programs {
            let program = kernel.duplicate(*program).map_err(fail)?;
            let number = (program.as_raw_fd() as u64).to_ne_bytes();
            let start = *offset as usize;
            let place = value.get_mut(start..start.saturating_add(number.len()));
            let broken = || Error::new(Code::Plan, format!("struct_ops `{name}` has no place at {offset}"));
            place.ok_or_else(broken)?.copy_from_slice(&number);
            held.push(program);
        }
        let takes_link = kernel.map_info(map).map_err(fail)?.flags & BPF_F_LINK != 0;
        let map = kernel.duplicate(map).map_err(fail)?;
        let (kernel, name) = (kernel.clone(), name.to_owned());
        Ok(Self { kernel, name, map, value, programs: held, takes_link, link: None })
    }

    /// Its name in the object.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a link registers it (`.struct_ops.link`); else its value does (`.struct_ops`).
    pub fn takes_link(&self) -> bool {
        self.takes_link
    }

    /// How many programs it has.
    pub fn programs(&self) -> usize {
        self.programs.len()
    }

    /// The link that the load made, for [`Options::register`](crate::Options::register).
    pub fn made_link(&self) -> Option<&Link> {
        self.link.as_ref()
    }

    /// Registers a table that takes no link: the kernel calls its programs from now on, also when this process has ended,
    /// until [`unregister`](Self::unregister) (libbpf `bpf_map__attach_struct_ops()`).
    ///
    /// # Errors
    /// E0405 if the kernel refuses: EBUSY, it is registered already; EEXIST, another one has its name.
    pub fn register(&self) -> Result<()> {
        if self.takes_link {
            let text = format!("struct_ops `{}` is registered by a link, not by its value", self.name);
            return Err(Error::new(Code::MapFill, text).hint("call `link()`"));
        }
        self.write().map_err(|e| self.refused("registering it", e))
    }

    /// Takes back [`register`](Self::register).
    ///
    /// # Errors
    /// E0405: ENOENT if it is not registered, EOPNOTSUPP if it takes a link.
    pub fn unregister(&self) -> Result<()> {
        let done = self.kernel.map_delete(self.map.as_fd(), &0u32.to_ne_bytes());
        done.map_err(|e| self.refused("taking it back", e))
    }

    /// Registers a table that takes a link. It stays registered while the link is open or pinned. Since Linux 6.4.
    ///
    /// # Errors
    /// E0405 if the kernel refuses: EEXIST, another one has its name; EINVAL, its value takes no link.
    pub fn link(&self) -> Result<Link> {
        self.complete()?;
        let attr = LinkCreate { object: self.map.as_fd(), target: 0, attach_type: BPF_STRUCT_OPS, flags: 0 };
        let fd = self.kernel.link_create(attr).map_err(|e| self.refused("registering it", e))?;
        Ok(Link::new(&self.kernel, &self.name, fd, None))
    }

    /// Gives the kernel the value. It keeps the first: EBUSY says that it has it.
    fn complete(&self) -> Result<()> {
        match self.write() {
            Err(e) if e.errno != Errno::BUSY => Err(self.refused("writing its functions", e)),
            _ => Ok(()),
        }
    }

    fn write(&self) -> onebpf_sys::Result<()> {
        self.kernel.map_update(self.map.as_fd(), &0u32.to_ne_bytes(), &self.value, 0)
    }

    fn refused(&self, doing: &str, error: onebpf_sys::Error) -> Error {
        let errno = error.errno;
        let refused =
            Error::refused(Code::MapFill, format_args!("struct_ops `{}`: {doing}", self.name), error);
        match errno {
            Errno::EXIST => refused.hint("one of its name is registered: `bpftool struct_ops list` shows it"),
            _ => refused,
        }
    }

    pub(crate) fn registered_by(&mut self, link: Link) {
        self.link = Some(link);
    }
}

impl fmt::Debug for StructOps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StructOps")
            .field("name", &self.name)
            .field("takes_link", &self.takes_link)
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

/// A link: what it holds stays attached while it is open or pinned. Since Linux 5.7.
pub struct Link {
    kernel: Arc<dyn Kernel>,
    name: String,
    fd: OwnedFd,
    pinned: Option<PathBuf>,
}

impl Link {
    pub(crate) fn new(kernel: &Arc<dyn Kernel>, name: &str, fd: OwnedFd, pinned: Option<PathBuf>) -> Self {
        Self { kernel: kernel.clone(), name: name.to_owned(), fd, pinned }
    }

    /// The name of what it holds.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is pinned, as far as this handle knows.
    pub fn pinned(&self) -> Option<&Path> {
        self.pinned.as_deref()
    }

    /// Pins it: it outlives this handle and this process.
    ///
    /// # Errors
    /// E0406 if the kernel refuses: EEXIST, the name is taken.
    pub fn pin(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let done = self.kernel.pin(self.fd.as_fd(), path);
        let what = || format!("the link of `{}` was not pinned at {}", self.name, path.display());
        done.map_err(|e| Error::refused(Code::Pin, what(), e))?;
        self.pinned = Some(path.to_owned());
        Ok(())
    }

    /// Puts another table of the same kind in the place of the one that it holds, at once. Since Linux 6.4.
    ///
    /// # Errors
    /// E0405 if the kernel refuses: EINVAL, the table is of another struct, or takes no link.
    pub fn update(&mut self, table: &StructOps) -> Result<()> {
        table.complete()?;
        let done = self.kernel.link_update(self.fd.as_fd(), table.map.as_fd(), None);
        done.map_err(|e| table.refused("putting it in the place of another", e))?;
        self.name.clone_from(&table.name);
        Ok(())
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Link> for OwnedFd {
    fn from(link: Link) -> Self {
        link.fd
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("name", &self.name).field("pinned", &self.pinned).finish_non_exhaustive()
    }
}
