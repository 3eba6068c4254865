//! Programs and the functions that they are made of.

use super::{AttachType, ProgramType};
use crate::Place;
use crate::insn::Insn;
use onebpf_btf::TypeId;
use onebpf_btf::ext::{CoreRelo, LineInfo};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An entry point: a function that the kernel may be given.
#[derive(Clone, Debug, PartialEq)]
pub struct ProgramSpec {
    /// Symbol name.
    pub name: String,
    /// Section name, without the leading `?` that says "not by default" (see `autoload`).
    pub section: String,
    /// Its code, in [`Spec::functions`](super::Spec::functions).
    pub function: FuncId,
    /// Program type; [`ProgramType::UNSPEC`] if the section's name says nothing.
    pub kind: ProgramType,
    /// What it will be attached as (`expected_attach_type`).
    pub attach: AttachType,
    /// What follows in the section's name: `sched/sched_switch` of `tp/sched/sched_switch`.
    pub attach_target: Option<String>,
    /// `BPF_F_SLEEPABLE`, `BPF_F_XDP_HAS_FRAGS`.
    pub flags: u32,
    /// Loaded unless told otherwise.
    pub autoload: bool,
    /// iproute2's `ID/IDX` section: goes into slot IDX of the program array with that id.
    pub tail: Option<(u32, u32)>,
}

/// Index into [`Spec::functions`](super::Spec::functions).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FuncId(pub usize);

/// A function in an executable section, with all that refers to or from its instructions.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Symbol name (static functions of a linked object may share one).
    pub name: String,
    /// Section name.
    pub section: String,
    /// Where it starts in the section, in bytes.
    pub offset: u64,
    /// Its instructions as they stand in the section: one element for each 8 bytes.
    pub insns: Vec<Insn>,
    /// What instructions refer to, by their index in `insns`.
    pub refs: BTreeMap<u32, Ref>,
    /// Static or global. Hidden functions are verified as static ones (libbpf: `STV_HIDDEN`).
    pub linkage: Linkage,
    /// The BTF FUNC that `.BTF.ext` names.
    pub btf: Option<TypeId>,
    /// Source lines; `insn_off` counts instructions (not bytes) from the function's start.
    pub lines: Vec<LineInfo>,
    /// CO-RE relocations; `insn_off` as above.
    pub core: Vec<CoreRelo>,
    /// Where it is.
    pub place: Place,
}

/// How a symbol is seen outside its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Linkage {
    Static,
    Global,
    Weak,
    Hidden,
}

/// What an instruction refers to: decided once, from the relocation, and never guessed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ref {
    /// A map (ld_imm64, `BPF_PSEUDO_MAP_FD`).
    Map(String),
    /// A byte in the value of a data map (ld_imm64, `BPF_PSEUDO_MAP_VALUE`).
    Data {
        /// The map.
        map: String,
        /// Offset within its value.
        offset: u32,
    },
    /// A call to a function of the object.
    Call(FuncId),
    /// A function's address (ld_imm64, `BPF_PSEUDO_FUNC`).
    Func(FuncId),
    /// A call to a kernel function (`BPF_PSEUDO_KFUNC_CALL`).
    Kfunc(String),
    /// A kernel symbol's or kernel function's address (ld_imm64).
    Ksym(String),
    /// A variable that the kernel's configuration fills (ld_imm64), in the `.kconfig` map.
    Kconfig(String),
    /// A table of instructions to jump to (ld_imm64, `BPF_PSEUDO_MAP_VALUE` of a map of its own; Linux 6.19).
    JumpTable(Arc<JumpTable>),
}

/// A jump table of a function, as a symbol of `.jumptables` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JumpTable {
    /// Symbol name: `BPF.JT.0.0`.
    pub name: String,
    /// Where it is in `.jumptables`, in bytes. What a program refers to at one place is one table.
    pub offset: u64,
    /// Where it leads, in instructions from the function's start.
    pub targets: Vec<u32>,
}
