//! A program to load.

use super::{Slot, length, object};
use onebpf_btf::{FuncInfo, LineInfo};
use onebpf_object::{FuncId, Place, Poison, insn::Insn};
use std::sync::Arc;

/// A program to load.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct LoadProgram {
    /// Filled by this step.
    pub out: Slot<object::Program>,
    /// Program name in the object.
    pub name: String,
    /// Name given to the kernel; empty if it takes none.
    pub kernel_name: String,
    /// Section, for messages.
    pub section: String,
    /// `enum bpf_prog_type`.
    pub prog_type: u32,
    /// `enum bpf_attach_type`.
    pub expected_attach_type: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// Licence.
    pub license: String,
    /// Kernel version, for kprobes before Linux 5.0.
    pub kernel_version: u32,
    /// Instructions; patched places hold 0.
    #[serde(serialize_with = "length")]
    pub insns: Arc<[Insn]>,
    /// What is known only when earlier steps have run.
    pub patches: Vec<Patch>,
    /// Instructions that CO-RE has made unusable, for the verifier refuses them where they are reached.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub poisons: Vec<Poison>,
    /// BTF that the infos speak of.
    pub btf: Option<Slot<object::Btf>>,
    /// Function types.
    #[serde(serialize_with = "length")]
    pub func_info: Arc<[FuncInfo]>,
    /// Source lines.
    #[serde(serialize_with = "length")]
    pub line_info: Arc<[LineInfo]>,
    /// Where each function of the object starts, for messages.
    #[serde(skip)]
    pub functions: Vec<(u32, FuncId)>,
    /// What in the kernel it attaches to.
    pub attach: Option<Attach>,
    /// BTF of the modules whose functions it calls: the first is number 1 to the instructions, 0 being the kernel.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<Slot<object::Btf>>,
    /// The network device whose hardware runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<u32>,
    /// By whose right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Slot<object::Token>>,
    /// Verifier log level asked for from the start.
    pub log_level: u32,
    /// Where the object has it, for messages.
    #[serde(skip)]
    pub place: Place,
}

/// A function or type to attach to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Attach {
    /// Its name.
    pub name: String,
    /// BTF id in the kernel's BTF, the module's, or the program's.
    pub btf_id: u32,
    /// The module's BTF, if it is in a module.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<Slot<object::Btf>>,
    /// The program, if it is a function of one: the id is of that program's BTF.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<Slot<object::Program>>,
}

/// An instruction with an immediate that is an fd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Patch {
    /// Which instruction.
    pub insn: u32,
    /// What goes there.
    pub operand: Operand,
}

/// What a patched immediate will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operand {
    /// The fd of a map, in the first immediate.
    MapFd(Slot<object::Map>),
    /// The fd of a module's BTF, in the second immediate of a 64-bit load.
    BtfFd(Slot<object::Btf>),
}
