//! The parts of an operation code, as `linux/bpf.h` and RFC 9669 have them.

/// Class: the low three bits.
pub mod class {
    /// Non-standard loads.
    pub const LD: u8 = 0x00;
    /// Loads from memory.
    pub const LDX: u8 = 0x01;
    /// Stores of an immediate.
    pub const ST: u8 = 0x02;
    /// Stores of a register, and atomics.
    pub const STX: u8 = 0x03;
    /// 32-bit arithmetic.
    pub const ALU: u8 = 0x04;
    /// 64-bit jumps.
    pub const JMP: u8 = 0x05;
    /// 32-bit jumps (Linux 5.1).
    pub const JMP32: u8 = 0x06;
    /// 64-bit arithmetic.
    pub const ALU64: u8 = 0x07;
}

/// Modes of a load or store: the high three bits.
pub mod mode {
    /// 64-bit immediate.
    pub const IMM: u8 = 0x00;
    /// Packet at a fixed offset, from classic BPF.
    pub const ABS: u8 = 0x20;
    /// Packet at a register's offset, from classic BPF.
    pub const IND: u8 = 0x40;
    /// Memory.
    pub const MEM: u8 = 0x60;
    /// Memory, sign extended (Linux 6.6).
    pub const MEMSX: u8 = 0x80;
    /// Atomic.
    pub const ATOMIC: u8 = 0xc0;
}

/// Bit of arithmetic and jumps: the operand is a register, not the immediate.
pub const SOURCE_X: u8 = 0x08;

/// 64-bit immediate load.
pub const LD_IMM64: u8 = 0x18;
/// Call.
pub const CALL: u8 = 0x85;
/// Call of a function pointer in a register: made by the compiler only by mistake.
pub const CALL_X: u8 = 0x8d;
/// Return.
pub const EXIT: u8 = 0x95;

/// Class of an operation.
pub const fn class_of(code: u8) -> u8 {
    code & 0x07
}

/// Mode of a load or store.
pub const fn mode_of(code: u8) -> u8 {
    code & 0xe0
}

/// Operation of arithmetic or a jump: the high four bits.
pub const fn op_of(code: u8) -> u8 {
    code & 0xf0
}

/// Width of a load or store in bits.
pub const fn width_of(code: u8) -> u8 {
    match code & 0x18 {
        0x00 => 32,
        0x08 => 16,
        0x10 => 8,
        _ => 64,
    }
}
