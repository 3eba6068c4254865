//! Shared by the tests: small maps, programs and BTF, and the fake against the running kernel.
#![allow(dead_code, unreachable_pub)] // each test binary uses its part

use onebpf_fake::FakeKernel;
use onebpf_sys::{Errno, Kernel, Linux, MapCreate, ProgLoad, Release, Result};
use std::os::fd::OwnedFd;

use testing::privileged;

pub const HASH: u32 = 1;
pub const ARRAY: u32 = 2;
pub const PROG_ARRAY: u32 = 3;
pub const PERCPU_ARRAY: u32 = 6;
pub const LRU_HASH: u32 = 9;
pub const LPM_TRIE: u32 = 11;
pub const ARRAY_OF_MAPS: u32 = 12;
pub const HASH_OF_MAPS: u32 = 13;
pub const RINGBUF: u32 = 27;

pub fn attr(map_type: u32, key_size: u32, value_size: u32, max_entries: u32) -> MapCreate<'static> {
    MapCreate { map_type, key_size, value_size, max_entries, ..MapCreate::default() }
}

pub fn map(kernel: &dyn Kernel, name: &str) -> OwnedFd {
    kernel.map_create(&MapCreate { name, ..attr(ARRAY, 4, 4, 2) }).expect("map_create")
}

pub fn insn(code: u8, regs: u8, imm: i32) -> [u8; 8] {
    let i = imm.to_ne_bytes();
    [code, regs, 0, 0, i[0], i[1], i[2], i[3]]
}

/// `r0 = 0; exit`
pub fn returns_0() -> Vec<u8> {
    [insn(0xb7, 0, 0), insn(0x95, 0, 0)].concat()
}

/// `r1 = map; r0 = 0; exit`
pub fn uses(map: i32) -> Vec<u8> {
    [&insn(0x18, 0x11, map)[..], &insn(0, 0, 0)[..], &returns_0()[..]].concat()
}

pub fn load(kernel: &dyn Kernel, name: &str, insns: &[u8]) -> Result<OwnedFd> {
    kernel.prog_load(ProgLoad { prog_type: 1, insns, license: "GPL", name, ..ProgLoad::default() })
}

/// BTF with the given type section and strings.
pub fn btf(types: &[u32], strings: &[u8]) -> Vec<u8> {
    let type_len = types.len() as u32 * 4;
    let mut out = [0xeb9f_u16.to_ne_bytes(), [1, 0]].concat();
    for word in [24, 0, type_len, type_len, strings.len() as u32].iter().chain(types) {
        out.extend(word.to_ne_bytes());
    }
    out.extend(strings);
    out
}

/// `int`, 4 bytes, signed.
pub const INT: [u32; 4] = [1, 1 << 24, 4, 1 << 24 | 0x20];

pub fn errno<T>(result: Result<T>) -> std::result::Result<T, Errno> {
    result.map_err(|e| e.errno)
}

/// What was asked, and what came back.
pub type Answers = Vec<(String, std::result::Result<String, Errno>)>;

/// Runs a script on both kernels. What only the fake was asked is not compared: the running kernel may have
/// been built without something. What only the kernel was asked is something that the fake lacks.
pub fn agree(test: &str, script: impl Fn(&dyn Kernel) -> Answers) {
    let Some(host) = privileged(test) else { return };
    let fake = FakeKernel::linux(&host.release).with_cpus(host.possible_cpus);
    fake.lift_memlock().expect("lift_memlock");
    let (real, faked) = (script(&Linux), script(&fake));
    let mut wrong = Vec::new();
    for (what, real) in &real {
        let faked = faked.iter().find(|(asked, _)| asked == what).map(|(_, faked)| faked);
        if faked != Some(real) {
            wrong.push(format!("{what}: the kernel says {real:?}, the fake {faked:?}"));
        }
    }
    if host.release.parse::<Release>().expect("a release") > FakeKernel::NEWEST {
        return eprintln!("{test}: not held against a kernel this new: {}", wrong.join("\n"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
