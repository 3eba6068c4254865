//! What the kernel said no to, and how.

use std::fmt;

/// An errno as the kernel returned it (positive).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Errno(pub i32);

impl Errno {
    /// Operation not permitted.
    pub const PERM: Self = Self(libc::EPERM);
    /// No such file, object or element.
    pub const NOENT: Self = Self(libc::ENOENT);
    /// Argument list too long; bpf(2): an attribute beyond what this kernel knows is not zero.
    pub const TOOBIG: Self = Self(libc::E2BIG);
    /// Bad file descriptor.
    pub const BADF: Self = Self(libc::EBADF);
    /// Interrupted.
    pub const INTR: Self = Self(libc::EINTR);
    /// Interrupted; the verifier gave up because a signal was pending.
    pub const AGAIN: Self = Self(libc::EAGAIN);
    /// Out of memory.
    pub const NOMEM: Self = Self(libc::ENOMEM);
    /// Permission denied; the verifier's usual verdict.
    pub const ACCES: Self = Self(libc::EACCES);
    /// Bad address.
    pub const FAULT: Self = Self(libc::EFAULT);
    /// Resource busy.
    pub const BUSY: Self = Self(libc::EBUSY);
    /// Already there.
    pub const EXIST: Self = Self(libc::EEXIST);
    /// Not a directory.
    pub const NOTDIR: Self = Self(libc::ENOTDIR);
    /// Is a directory.
    pub const ISDIR: Self = Self(libc::EISDIR);
    /// Invalid argument.
    pub const INVAL: Self = Self(libc::EINVAL);
    /// No space left; for a program load: the log buffer is too small.
    pub const NOSPC: Self = Self(libc::ENOSPC);
    /// A lock would have been waited for in vain.
    pub const DEADLK: Self = Self(libc::EDEADLK);
    /// Waited for too long.
    pub const TIMEDOUT: Self = Self(libc::ETIMEDOUT);
    /// Result or offset out of range.
    pub const RANGE: Self = Self(libc::ERANGE);
    /// Function not implemented.
    pub const NOSYS: Self = Self(libc::ENOSYS);
    /// The kernel's own "not supported" (524), which libc has no name for.
    pub const NOTSUPP: Self = Self(524);
    /// Operation not supported.
    pub const OPNOTSUPP: Self = Self(libc::EOPNOTSUPP);

    /// The symbolic name, e.g. `EINVAL`; `errno 4711` for one without a name here.
    pub fn name(self) -> String {
        match NAMES.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => (*name).to_owned(),
            None => format!("errno {}", self.0),
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NOTSUPP {
            return write!(f, "ENOTSUPP (not supported by this kernel)");
        }
        let text = std::io::Error::from_raw_os_error(self.0).to_string();
        let text = text.split(" (os error").next().unwrap_or(&text).to_owned();
        write!(f, "{} ({text})", self.name())
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl From<rustix::io::Errno> for Errno {
    fn from(e: rustix::io::Errno) -> Self {
        Self(e.raw_os_error())
    }
}

impl From<std::io::Error> for Errno {
    fn from(e: std::io::Error) -> Self {
        Self(e.raw_os_error().unwrap_or(libc::EIO))
    }
}

const NAMES: &[(i32, &str)] = &[
    (libc::EPERM, "EPERM"),
    (libc::ENOENT, "ENOENT"),
    (libc::ESRCH, "ESRCH"),
    (libc::EINTR, "EINTR"),
    (libc::EIO, "EIO"),
    (libc::E2BIG, "E2BIG"),
    (libc::EBADF, "EBADF"),
    (libc::EAGAIN, "EAGAIN"),
    (libc::ENOMEM, "ENOMEM"),
    (libc::EACCES, "EACCES"),
    (libc::EFAULT, "EFAULT"),
    (libc::EBUSY, "EBUSY"),
    (libc::EEXIST, "EEXIST"),
    (libc::EXDEV, "EXDEV"),
    (libc::ENODEV, "ENODEV"),
    (libc::ENOTDIR, "ENOTDIR"),
    (libc::EISDIR, "EISDIR"),
    (libc::EINVAL, "EINVAL"),
    (libc::EMFILE, "EMFILE"),
    (libc::EFBIG, "EFBIG"),
    (libc::ENOSPC, "ENOSPC"),
    (libc::EROFS, "EROFS"),
    (libc::ERANGE, "ERANGE"),
    (libc::EDEADLK, "EDEADLK"),
    (libc::ENAMETOOLONG, "ENAMETOOLONG"),
    (libc::ENOSYS, "ENOSYS"),
    (libc::ENOTEMPTY, "ENOTEMPTY"),
    (libc::ELOOP, "ELOOP"),
    (libc::EOPNOTSUPP, "EOPNOTSUPP"),
    (libc::EOVERFLOW, "EOVERFLOW"),
    (libc::ETIMEDOUT, "ETIMEDOUT"),
    (524, "ENOTSUPP"),
];

/// The kernel operations, one per method of [`Kernel`](crate::Kernel).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Op {
    MapCreate,
    MapLookup,
    MapUpdate,
    MapDelete,
    MapNextKey,
    MapFreeze,
    MapLookupBatch,
    MapTakeBatch,
    MapUpdateBatch,
    MapDeleteBatch,
    MapMemory,
    BtfLoad,
    ProgLoad,
    ProgBindMap,
    TokenCreate,
    ProgRun,
    LinkCreate,
    LinkUpdate,
    MapInfo,
    ProgInfo,
    LinkInfo,
    BtfInfo,
    NextId,
    OpenId,
    Pin,
    OpenPin,
    FdKind,
    Unlink,
    Mkdir,
    Rmdir,
    ListDir,
    Rename,
    HardLink,
    Symlink,
    ReadLink,
    MountBpffs,
    ReadFile,
    WriteFile,
    LockFile,
    LockHolder,
    IsBpffs,
    Memlock,
    HostRead,
    Duplicate,
    Route,
    Netns,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MapCreate => "BPF_MAP_CREATE",
            Self::MapLookup => "BPF_MAP_LOOKUP_ELEM",
            Self::MapUpdate => "BPF_MAP_UPDATE_ELEM",
            Self::MapDelete => "BPF_MAP_DELETE_ELEM",
            Self::MapNextKey => "BPF_MAP_GET_NEXT_KEY",
            Self::MapFreeze => "BPF_MAP_FREEZE",
            Self::MapLookupBatch => "BPF_MAP_LOOKUP_BATCH",
            Self::MapTakeBatch => "BPF_MAP_LOOKUP_AND_DELETE_BATCH",
            Self::MapUpdateBatch => "BPF_MAP_UPDATE_BATCH",
            Self::MapDeleteBatch => "BPF_MAP_DELETE_BATCH",
            Self::MapMemory => "mmap of a map",
            Self::BtfLoad => "BPF_BTF_LOAD",
            Self::ProgLoad => "BPF_PROG_LOAD",
            Self::ProgBindMap => "BPF_PROG_BIND_MAP",
            Self::TokenCreate => "BPF_TOKEN_CREATE",
            Self::LinkCreate => "BPF_LINK_CREATE",
            Self::LinkUpdate => "BPF_LINK_UPDATE",
            Self::ProgRun => "BPF_PROG_TEST_RUN",
            Self::MapInfo | Self::ProgInfo | Self::LinkInfo | Self::BtfInfo => "BPF_OBJ_GET_INFO_BY_FD",
            Self::NextId => "BPF_*_GET_NEXT_ID",
            Self::OpenId => "BPF_*_GET_FD_BY_ID",
            Self::Pin => "BPF_OBJ_PIN",
            Self::OpenPin => "BPF_OBJ_GET",
            Self::FdKind => "readlink of /proc/self/fd",
            Self::Unlink => "unlink",
            Self::Mkdir => "mkdir",
            Self::Rmdir => "rmdir",
            Self::ListDir => "readdir",
            Self::Rename => "rename",
            Self::HardLink => "link",
            Self::Symlink => "symlink",
            Self::ReadLink => "readlink",
            Self::MountBpffs => "mount -t bpf",
            Self::ReadFile => "reading a file",
            Self::WriteFile => "writing a file",
            Self::LockFile => "flock",
            Self::LockHolder => "reading /proc/locks",
            Self::IsBpffs => "statfs",
            Self::Memlock => "setrlimit(RLIMIT_MEMLOCK)",
            Self::HostRead => "reading a fact of the host",
            Self::Duplicate => "dup",
            Self::Route => "rtnetlink",
            Self::Netns => "entering a network namespace",
        })
    }
}

/// One refused kernel operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{op}: {errno}")]
pub struct Error {
    /// What was asked.
    pub op: Op,
    /// What came back.
    pub errno: Errno,
}

/// A kernel operation's outcome.
pub type Result<T> = std::result::Result<T, Error>;
