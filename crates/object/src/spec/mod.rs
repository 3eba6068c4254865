//! What an object holds, as data.

mod config;
mod edit;
mod kinds;
mod map;
mod ops;
mod part;
mod program;
mod text;
mod variable;

pub use config::ConfigType;
pub use kinds::{AttachType, MapType, ProgramType};
pub use map::{Contents, Dialect, Entry, Layout, MapSpec, OpsTable, Pinning, Slot, SlotTarget};
pub use program::{FuncId, Function, JumpTable, Linkage, ProgramSpec, Ref};
pub use variable::{Extern, ExternKind, Variable};

use crate::Warning;
use indexmap::IndexMap;
use onebpf_btf::{Btf, Endian};

/// A compiled object, read but not loaded: plain data, in file order, to be edited at will.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// The object's name (see [`ParseOptions::name`](crate::ParseOptions::name)).
    pub name: String,
    /// Maps by name, in the order of their declaration: each dialect's sections first, then data sections, `.kconfig`, struct_ops.
    pub maps: IndexMap<String, MapSpec>,
    /// Entry points by name.
    pub programs: IndexMap<String, ProgramSpec>,
    /// Every function in every executable section, entry point or not.
    pub functions: Vec<Function>,
    /// Global variables by name.
    pub variables: IndexMap<String, Variable>,
    /// What the object expects of the kernel, by name.
    pub externs: IndexMap<String, Extern>,
    /// Type information, as the file has it (DATASEC sizes and offsets not yet filled in).
    pub btf: Option<Btf>,
    /// Text of the `license` section; empty if there is none, as in libbpf.
    pub license: String,
    /// The `version` section, or 0.
    pub kernel_version: u32,
    /// Byte order.
    pub endian: Endian,
    /// SHA-1 of the whole file, if a map of it is pinned: it names the directory that iproute2 pins maps of one object in
    /// ([`Pinning::Object`]), and stands in manifests.
    pub file_hash: Option<[u8; 20]>,
    /// Oddities met while reading.
    pub warnings: Vec<Warning>,
}
