//! Shared by the tests that need the running kernel.
#![allow(dead_code, unreachable_pub)] // each test binary uses its part

use onebpf_sys::{Kernel, Linux, MapCreate};
use std::os::fd::OwnedFd;

pub const HASH: u32 = 1;
pub const ARRAY: u32 = 2;
pub const PROG_ARRAY: u32 = 3;
pub const PERCPU_HASH: u32 = 5;
pub const PERCPU_ARRAY: u32 = 6;
pub const ARRAY_OF_MAPS: u32 = 12;
pub const QUEUE: u32 = 22;
pub const SOCKET_FILTER: u32 = 1;

pub fn map(map_type: u32, key_size: u32, value_size: u32, max_entries: u32) -> OwnedFd {
    let attr =
        MapCreate { map_type, key_size, value_size, max_entries, name: "obpf_test", ..MapCreate::default() };
    Linux.map_create(&attr).expect("map_create")
}

/// One instruction.
pub fn insn(code: u8, regs: u8, off: i16, imm: i32) -> [u8; 8] {
    let (o, i) = (off.to_ne_bytes(), imm.to_ne_bytes());
    [code, regs, o[0], o[1], i[0], i[1], i[2], i[3]]
}

/// `r0 = imm; exit`
pub fn returns(imm: i32) -> Vec<u8> {
    [insn(0xb7, 0, 0, imm), insn(0x95, 0, 0, 0)].concat()
}

/// BTF with the given type section and strings.
pub fn btf(types: &[u32], strings: &[u8]) -> Vec<u8> {
    let type_len = types.len() as u32 * 4;
    let mut out = Vec::new();
    out.extend(0xeb9f_u16.to_ne_bytes());
    out.extend([1, 0]);
    for word in [24, 0, type_len, type_len, strings.len() as u32].iter().chain(types) {
        out.extend(word.to_ne_bytes());
    }
    out.extend(strings);
    out
}

/// `int`, 4 bytes, signed: type 1.
pub fn btf_int() -> Vec<u8> {
    btf(&[1, 1 << 24, 4, 1 << 24 | 0x20], b"\0int\0")
}
