//! Programs in the kernel that programs of an object replace functions of, or trace.

use crate::error::{Code, Error, Result};
use crate::list::find_named;
use onebpf_btf::{Btf, Kind};
use onebpf_sys::{Errno, Kernel, ObjectKind, Op};
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A program in the kernel, as a person names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetProgram {
    /// By id.
    Id(u32),
    /// By the path that it is pinned at.
    Pinned(PathBuf),
    /// By name: the only program that has it. The kernel keeps 15 bytes of a name.
    Name(String),
}

/// Which programs in the kernel an object's programs attach to: libbpf's `bpf_program__set_attach_target()`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachTo {
    /// For all programs of sections `freplace`, `fentry`, `fexit`, `fsession` and their sleepable kinds.
    pub all: Option<TargetProgram>,
    /// For single programs, by name in the object.
    pub of: BTreeMap<String, TargetProgram>,
}

/// A program in the kernel that a program of the object attaches to, as it was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Target {
    /// Its id.
    pub id: u32,
    /// The name that the kernel has for it.
    pub name: String,
    /// Where it is pinned, if it was named so: opening by id needs more rights (CAP_SYS_ADMIN).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The ids of functions in its BTF, by name; `None`: it has no BTF. Of one name the first counts, as with libbpf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub functions: Option<BTreeMap<String, u32>>,
}

impl fmt::Display for TargetProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "program {id}"),
            Self::Pinned(path) => write!(f, "{}", path.display()),
            Self::Name(name) => write!(f, "program `{name}`"),
        }
    }
}

impl TargetProgram {
    fn open(&self, kernel: &dyn Kernel) -> Result<OwnedFd> {
        let opened = match self {
            Self::Id(id) => kernel.open_id(ObjectKind::Program, *id),
            Self::Pinned(path) => kernel.open_pin(path),
            Self::Name(name) => {
                kernel.open_id(ObjectKind::Program, find_named(kernel, ObjectKind::Program, name)?)
            }
        };
        opened.map_err(|e| Error::refused(Code::NoObject, self, e))
    }

    /// Opens the program and reads which functions it has.
    pub(crate) fn look(&self, kernel: &dyn Kernel) -> Result<Target> {
        let refused = |e| Error::refused(Code::NoObject, self, e);
        let fd = self.open(kernel)?;
        if kernel.fd_kind(fd.as_fd()).map_err(refused)? != Some(ObjectKind::Program) {
            return Err(Error::new(Code::NoObject, format!("{self} is not a program")));
        }
        let info = kernel.prog_info(fd.as_fd()).map_err(refused)?;
        let functions = if info.btf_id == 0 { None } else { Some(functions(kernel, info.btf_id, self)?) };
        let path = if let Self::Pinned(path) = self { Some(path.clone()) } else { None };
        Ok(Target { id: info.id, name: info.name, path, functions })
    }
}

/// The functions of a program's BTF (libbpf's `libbpf_find_prog_btf_id()`).
fn functions(kernel: &dyn Kernel, btf_id: u32, of: &TargetProgram) -> Result<BTreeMap<String, u32>> {
    let read = |fd: OwnedFd| kernel.btf_info(fd.as_fd());
    let info = kernel.open_id(ObjectKind::Btf, btf_id).and_then(read);
    let info = info.map_err(|e| Error::refused(Code::Observe, format_args!("the BTF of {of}"), e))?;
    let btf = Btf::from_vec(info.data)?;
    let mut found = BTreeMap::new();
    for function in btf.types() {
        let function = function?;
        if function.kind == Kind::Func {
            found.entry(function.name.to_owned()).or_insert(function.id.0);
        }
    }
    Ok(found)
}

impl Target {
    /// Opens it once more, and makes sure that it is still the same program.
    pub(crate) fn reopen(kernel: &dyn Kernel, id: u32, path: Option<&Path>) -> onebpf_sys::Result<OwnedFd> {
        let Some(path) = path else { return kernel.open_id(ObjectKind::Program, id) };
        let fd = kernel.open_pin(path)?;
        if kernel.prog_info(fd.as_fd())?.id == id {
            return Ok(fd);
        }
        Err(onebpf_sys::Error { op: Op::OpenPin, errno: Errno::NOENT })
    }
}
