//! The types that CO-RE relocates against: the running kernel's, or those of a file.

use crate::error::{Code, Error, Result};
use onebpf_btf::{Btf, Def, Kind, TypeId, essential_name, near_names, types_are_compatible};
use onebpf_object::{Extern, ExternKind};
use onebpf_sys::{Errno, Kernel, ObjectKind};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the running kernel shows its BTF (Linux 5.4, with `CONFIG_DEBUG_INFO_BTF`).
const RUNNING: &str = "/sys/kernel/btf/vmlinux";

/// The types of a kernel. What is saved of them is where they come from.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct KernelTypes {
    /// The file that they are read from.
    pub source: PathBuf,
    /// The types; `None`: there are none, or they were not saved.
    #[serde(skip)]
    pub btf: Option<Btf>,
    /// The modules' types, on top of the kernel's; `None`: nobody looked, for all that was sought is in the kernel.
    #[serde(skip)]
    pub modules: Option<Vec<(Module, Btf)>>,
}

/// A type, function or variable of the running kernel that an object names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct KernelName {
    /// As kernel BTF has it, e.g. `btf_trace_sched_switch`, `bpf_iter_task`.
    pub name: String,
    /// What it is.
    pub kind: NameKind,
    /// The only module to search (`vmlinux`: none, the kernel itself); `None`: the kernel, then each module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
}

/// What a [`KernelName`] is the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameKind {
    /// A FUNC.
    Function,
    /// A TYPEDEF: raw tracepoints.
    Typedef,
    /// A VAR.
    Variable,
    /// A STRUCT.
    Struct,
}

impl NameKind {
    /// BTF's word for it.
    pub fn btf(self) -> Kind {
        match self {
            Self::Function => Kind::Func,
            Self::Typedef => Kind::Typedef,
            Self::Variable => Kind::Var,
            Self::Struct => Kind::Struct,
        }
    }
}

/// Where a [`KernelName`] is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Named {
    /// BTF type id: the kernel's, or one of the module's split BTF.
    pub btf_id: u32,
    /// The module whose BTF has it; `None`: the kernel itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<Module>,
}

/// How the kernel differs from what an object declares.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unlike {
    /// It has the name with another type: as C declares it.
    Type(String),
    /// It has no such name, but these.
    Name(Vec<String>),
}

/// A module of the running kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Id of its BTF object.
    pub id: u32,
}

impl KernelTypes {
    /// Reads the types that CO-RE relocates against: of the running kernel, or those at `path`, a file of BTF, an ELF file
    /// with a `.BTF` section, or a directory in which the file for a kernel is found by its release. The kernel's own are
    /// mapped, not copied.
    ///
    /// # Errors
    /// E0313 if there is no such file, E0408 if the kernel cannot be asked, E01xx or E02xx if the file holds no BTF.
    pub fn read(kernel: &dyn Kernel, path: Option<&Path>, release: &str) -> Result<Self> {
        let Some(path) = path else {
            let data =
                kernel.kernel_btf().map_err(|e| Error::refused(Code::Observe, "the kernel's BTF", e))?;
            return Ok(Self {
                source: RUNNING.into(),
                btf: data.map(Btf::parse).transpose()?,
                modules: None,
            });
        };
        let (source, data) = file(kernel, path, release)?;
        let data = match onebpf_object::btf_of_elf(&data)? {
            Some(section) => section,
            None => data,
        };
        Ok(Self { source, btf: Some(Btf::parse(Arc::new(data))?), modules: None })
    }

    /// Reads the modules' types (Linux 5.11, with `CONFIG_DEBUG_INFO_BTF_MODULES`), unless that is done. What cannot be
    /// seen is as if it were not there: listing BTF needs CAP_SYS_ADMIN, and a module may go while it is looked at
    /// (libbpf `load_module_btfs()`).
    pub(crate) fn read_modules(&mut self, kernel: &dyn Kernel) {
        let Some(base) = self.btf.as_ref().filter(|_| self.modules.is_none()) else { return };
        let mut modules = Vec::new();
        let mut last = 0;
        while let Ok(Some(id)) = kernel.next_id(ObjectKind::Btf, last) {
            if id <= last {
                break;
            }
            last = id;
            modules.extend(module(kernel, id, base));
        }
        self.modules = Some(modules);
    }

    /// The kernel's types, then those of each module that was read.
    pub(crate) fn all(&self) -> Vec<&Btf> {
        self.btf.iter().chain(self.modules.iter().flatten().map(|(_, btf)| btf)).collect()
    }

    /// The kernel's types, or those of a module that was read.
    pub(crate) fn of_module(&self, module: Option<&Module>) -> Option<&Btf> {
        let Some(wanted) = module else { return self.btf.as_ref() };
        self.modules.iter().flatten().find(|(module, _)| module == wanted).map(|(_, btf)| btf)
    }

    /// Where a name is: in the kernel, or else in the first module that has it.
    pub(crate) fn find(&self, wanted: &KernelName) -> Option<Named> {
        let kind = wanted.kind.btf();
        let is_wanted = |name: &str| wanted.module.as_ref().is_none_or(|only| only == name);
        let own = self.btf.as_ref().filter(|_| is_wanted("vmlinux"));
        if let Some(id) = own.and_then(|btf| btf.find(&wanted.name, kind)) {
            return Some(Named { btf_id: id.0, module: None });
        }
        let modules = self.modules.iter().flatten().filter(|(module, _)| is_wanted(&module.name));
        modules.into_iter().find_map(|(module, btf)| {
            let id = btf.find_own(&wanted.name, kind)?;
            Some(Named { btf_id: id.0, module: Some(module.clone()) })
        })
    }
}

impl KernelTypes {
    /// What the kernel has in place of an extern of this type, if that is not the same; `None` if it is, or is weak and
    /// missing.
    pub(crate) fn unlike(&self, extern_: &Extern, local: &Btf, found: Option<&Named>) -> Option<Unlike> {
        let function = matches!(extern_.kind, ExternKind::Kfunc);
        let (name, kind) = if function {
            (essential_name(&extern_.name), Kind::Func)
        } else {
            (extern_.name.as_str(), Kind::Var)
        };
        let Some(Named { btf_id, module }) = found else {
            if extern_.weak {
                return None;
            }
            let near: Vec<&str> =
                self.all().into_iter().flat_map(|btf| near_names(btf, name, kind)).collect();
            return (!near.is_empty()).then(|| Unlike::Name(near.into_iter().map(str::to_owned).collect()));
        };
        let btf = match module {
            None => self.btf.as_ref()?,
            Some(module) => &self.modules.iter().flatten().find(|(known, _)| known == module)?.1,
        };
        let ty = behind(btf, TypeId(*btf_id))?;
        let own = behind(local, extern_.btf?).unwrap_or(extern_.btf?);
        match types_are_compatible((local, own), (btf, ty)) {
            Ok(true) => None,
            _ => Some(Unlike::Type(btf.declare(ty, name).unwrap_or_else(|error| error.to_string()))),
        }
    }
}

/// The type of a FUNC or VAR; `None`: it is neither.
fn behind(btf: &Btf, id: TypeId) -> Option<TypeId> {
    match btf.get(id).ok()?.def {
        Def::Func { proto: ty, .. } | Def::Var { ty, .. } => Some(ty),
        _ => None,
    }
}

/// The types of the BTF object with this id, if it is a module's.
fn module(kernel: &dyn Kernel, id: u32, base: &Btf) -> Option<(Module, Btf)> {
    let fd = kernel.open_id(ObjectKind::Btf, id).ok()?;
    let info = kernel.btf_info(fd.as_fd()).ok()?;
    if !info.kernel || info.name == "vmlinux" {
        return None;
    }
    let btf = Btf::parse_split(Arc::new(info.data), base).ok()?;
    Some((Module { name: info.name, id }, btf))
}

/// The file itself, or the one in a directory that is named after the release, in any of the usual ways.
fn file(kernel: &dyn Kernel, path: &Path, release: &str) -> Result<(PathBuf, Vec<u8>)> {
    let first = match kernel.read_file(path) {
        Ok(data) => return Ok((path.to_owned(), data)),
        Err(error) => error,
    };
    let cannot = |text: String| Error::new(Code::File, format!("kernel BTF {}: {text}", path.display()));
    if first.errno != Errno::ISDIR {
        return Err(cannot(first.errno.to_string()));
    }
    let names = [
        format!("{release}.btf"),
        release.to_owned(),
        format!("vmlinux-{release}"),
        format!("{release}/vmlinux"),
        format!("btf/vmlinux-{release}"),
    ];
    // A release is one name, and leads nowhere else.
    let usable = !release.is_empty() && !release.contains('/') && release != "..";
    for name in names.iter().filter(|_| usable) {
        let path = path.join(name);
        if let Ok(data) = kernel.read_file(&path) {
            return Ok((path, data));
        }
    }
    Err(cannot(format!("the directory has no file for the kernel `{release}`"))
        .hint(format!("looked for {}", names.join(", "))))
}
