//! Instructions: decoded, encoded, and as text.

mod codec;
mod helpers;
pub mod opcode;
mod text;

pub use codec::{decode, encode};
pub use helpers::helper_name;
pub use text::{text, text_with};

/// One 8-byte instruction slot, fields as in `struct bpf_insn`. ld_imm64 takes two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Insn {
    /// Operation.
    pub code: u8,
    /// Destination register.
    pub dst: u8,
    /// Source register, or the pseudo kind of a ld_imm64 or call.
    pub src: u8,
    /// Signed offset.
    pub off: i16,
    /// Signed immediate.
    pub imm: i32,
}

/// Bytes of one slot.
pub const INSN_SIZE: usize = 8;

/// Sources of a ld_imm64 (`BPF_PSEUDO_*`): what its immediate stands for.
pub mod pseudo {
    /// A map's fd.
    pub const MAP_FD: u8 = 1;
    /// A map's fd, and in the second half an offset in its value (Linux 5.2).
    pub const MAP_VALUE: u8 = 2;
    /// A kernel variable by BTF id (Linux 5.10).
    pub const BTF_ID: u8 = 3;
    /// A function of the program, relative to the instruction (Linux 5.13).
    pub const FUNC: u8 = 4;
    /// A map by its place in `fd_array` (Linux 5.14).
    pub const MAP_IDX: u8 = 5;
    /// As [`MAP_VALUE`], the map by its place in `fd_array` (Linux 5.14).
    pub const MAP_IDX_VALUE: u8 = 6;
    /// Source of a call: a function of the program, relative to the instruction (Linux 4.16).
    pub const CALL: u8 = 1;
    /// Source of a call: a kernel function by BTF id (Linux 5.13).
    pub const KFUNC_CALL: u8 = 2;
}

impl Insn {
    /// First half of a 64-bit immediate load, which takes two slots.
    pub fn is_ld_imm64(self) -> bool {
        self.code == opcode::LD_IMM64
    }

    /// A call with an immediate: of a helper, a function of the program or of the kernel.
    pub fn is_call(self) -> bool {
        self.code == opcode::CALL
    }

    /// A call of a function of the same program, as libbpf recognises it (`insn_is_subprog_call`).
    pub fn is_local_call(self) -> bool {
        self.is_call() && self.src == pseudo::CALL && self.dst == 0 && self.off == 0
    }

    /// Number of the helper that it calls.
    pub fn helper(self) -> Option<i32> {
        (self.is_call() && self.src == 0 && self.dst == 0).then_some(self.imm)
    }
}
