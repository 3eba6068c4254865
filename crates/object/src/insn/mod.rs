//! Instructions: decoded, encoded, and as text.

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
