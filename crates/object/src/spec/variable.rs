//! Global variables and externs.

use crate::Place;
use onebpf_btf::TypeId;

/// A global variable: a range of a data map's contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Symbol name.
    pub name: String,
    /// Section that it lives in.
    pub section: String,
    /// The data map.
    pub map: String,
    /// Offset within the map's value.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
    /// Its BTF type (what the VAR points to), if the object has BTF.
    pub btf: Option<TypeId>,
    /// Static variables are listed but not part of an object's interface.
    pub global: bool,
}

/// Something that the object declares and the kernel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extern {
    /// Symbol name.
    pub name: String,
    /// What it stands for.
    pub kind: ExternKind,
    /// A weak one may be missing.
    pub weak: bool,
    /// Its BTF type: VAR's type or FUNC.
    pub btf: Option<TypeId>,
    /// Where it is declared.
    pub place: Place,
}

/// What an extern stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternKind {
    /// A value of the kernel's configuration, at an offset in the `.kconfig` map.
    Kconfig {
        /// Offset within the map's value.
        offset: u32,
        /// Bytes.
        size: u32,
    },
    /// A kernel symbol's address (`extern const void x __ksym`) or a typed kernel variable.
    Ksym,
    /// A kernel function.
    Kfunc,
}
