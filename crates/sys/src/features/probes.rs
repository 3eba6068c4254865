//! One small attempt per feature, as libbpf's features.c makes them.
//!
//! A probe asks for one thing that an older kernel refuses for a reason of its own; see [`verdict`]. It
//! works through [`Kernel`], so that it can be tried on a kernel in memory, and closes what it opens.

use crate::types::{BtfLoad, Log, MapCreate, ProgLoad};
use crate::{Errno, Kernel, Result, Support};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

const ARRAY: u32 = 2;
const RINGBUF: u32 = 27;
const INSN_ARRAY: u32 = 34;
const SOCKET_FILTER: u32 = 1;
const KPROBE: u32 = 2;
const TRACEPOINT: u32 = 5;
const F_MMAPABLE: u32 = 1 << 10;

/// Who is asked, and by whose right.
pub(crate) struct Asked<'a> {
    pub(crate) kernel: &'a dyn Kernel,
    pub(crate) token: Option<BorrowedFd<'a>>,
}

impl Asked<'_> {
    fn map_create(&self, attr: &MapCreate<'_>) -> Result<OwnedFd> {
        self.kernel.map_create(&MapCreate { token: self.token, ..attr.clone() })
    }

    fn btf_load(&self, attr: BtfLoad<'_, '_>) -> Result<OwnedFd> {
        self.kernel.btf_load(BtfLoad { token: self.token, ..attr })
    }

    fn prog_load(&self, attr: ProgLoad<'_, '_>) -> Result<OwnedFd> {
        self.kernel.prog_load(ProgLoad { token: self.token, ..attr })
    }
}

/// Attribute bytes that a kernel does not know are E2BIG, values and commands that it does not know
/// EINVAL. Anything else (EPERM, ENOMEM, a seccomp filter's ENOSYS) is about this process, not the feature.
fn verdict<T>(outcome: &Result<T>) -> Support {
    match outcome {
        Ok(_) => Support::Yes,
        Err(e) if matches!(e.errno, Errno::INVAL | Errno::TOOBIG) => Support::No,
        Err(_) => Support::Unknown,
    }
}

pub(crate) fn object_name(asked: &Asked<'_>) -> Support {
    verdict(&asked.prog_load(ProgLoad { name: "onebpf_probe", ..prog(&returns_0()) }))
}

/// A kernel before 4.17 does not know the attribute; later ones take any value for a socket filter.
pub(crate) fn expected_attach_type(asked: &Asked<'_>) -> Support {
    verdict(&asked.prog_load(ProgLoad { expected_attach_type: 2, ..prog(&returns_0()) }))
}

/// The helper `bpf_ktime_get_coarse_ns` came in the release that moved BPF memory to cgroups.
pub(crate) fn memcg_account(asked: &Asked<'_>) -> Support {
    verdict(&asked.prog_load(prog(&[insn(CALL, 0, 0, 160), insn(EXIT, 0, 0, 0)].concat())))
}

pub(crate) fn bpf2bpf(asked: &Asked<'_>) -> Support {
    let calls = [insn(CALL, PSEUDO_CALL << 4, 0, 1), insn(EXIT, 0, 0, 0)].concat();
    verdict(&asked.prog_load(prog(&[calls, returns_0()].concat())))
}

/// Takes the address of a static function; the verifier wants to know from BTF that it is static.
pub(crate) fn callbacks(asked: &Asked<'_>) -> Support {
    let btf = match asked.btf_load(BtfLoad { data: &func_btf(0), ..BtfLoad::default() }) {
        Ok(btf) => btf,
        Err(e) => return verdict::<()>(&Err(e)),
    };
    let address = [insn(LD_IMM64, PSEUDO_FUNC << 4 | 1, 0, 3), insn(0, 0, 0, 0)].concat();
    let insns = [address, returns_0(), returns_0()].concat();
    let func_info: Vec<u8> = [0u32, 3, 4, 3].iter().flat_map(|word| word.to_ne_bytes()).collect();
    verdict(&asked.prog_load(ProgLoad { btf: Some(btf.as_fd()), func_info: &func_info, ..prog(&insns) }))
}

/// Writes to byte 16 of an array's value through its address.
pub(crate) fn global_data(asked: &Asked<'_>) -> Support {
    let Ok(map) = array(asked, 32) else { return Support::Unknown };
    let address = insn(LD_IMM64, PSEUDO_MAP_VALUE << 4 | 1, 0, map.as_raw_fd());
    let insns = [address, insn(0, 0, 0, 16), insn(ST_DW, 1, 0, 42)].concat();
    verdict(&asked.prog_load(prog(&[insns, returns_0()].concat())))
}

pub(crate) fn array_mmap(asked: &Asked<'_>) -> Support {
    let attr = MapCreate { flags: F_MMAPABLE, ..array_attr(4) };
    verdict(&asked.map_create(&attr))
}

pub(crate) fn map_freeze(asked: &Asked<'_>) -> Support {
    let Ok(map) = array(asked, 4) else { return Support::Unknown };
    verdict(&asked.kernel.map_freeze(map.as_fd()))
}

pub(crate) fn prog_bind_map(asked: &Asked<'_>) -> Support {
    let (Ok(map), Ok(prog)) = (array(asked, 4), asked.prog_load(prog(&returns_0()))) else {
        return Support::Unknown;
    };
    verdict(&asked.kernel.prog_bind_map(prog.as_fd(), map.as_fd()))
}

/// Reads 8 bytes at 0 to the stack.
pub(crate) fn probe_read_kernel(asked: &Asked<'_>) -> Support {
    let stack = [insn(MOV_REG, 10 << 4 | 1, 0, 0), insn(ADD_IMM, 1, 0, -8)].concat();
    let call = [insn(MOV_IMM, 2, 0, 8), insn(MOV_IMM, 3, 0, 0), insn(CALL, 0, 0, PROBE_READ_KERNEL)].concat();
    let insns = [stack, call, insn(EXIT, 0, 0, 0).to_vec()].concat();
    verdict(&asked.prog_load(ProgLoad { prog_type: TRACEPOINT, ..prog(&insns) }))
}

/// A global function with the argument `void *ctx __arg_ctx` calls a helper that wants the context.
pub(crate) fn arg_ctx_tag(asked: &Asked<'_>) -> Support {
    let pointer = [0, info(PTR, 0), 0];
    let proto = [0, info(FUNC_PROTO, 1), 1, 1, 2];
    let funcs = [1, info(FUNC, 1), 3, 3, info(FUNC, 1), 3];
    let tag = [5, info(DECL_TAG, 0), 5, 0];
    let types = [&int(0)[..], &pointer, &proto, &funcs, &tag].concat();
    let btf = match asked
        .btf_load(BtfLoad { data: &btf_blob(&types, b"\0a\0b\0arg:ctx\0"), ..BtfLoad::default() })
    {
        Ok(btf) => btf,
        Err(e) => return verdict::<()>(&Err(e)),
    };
    let main = [insn(CALL, PSEUDO_CALL << 4, 0, 1), insn(EXIT, 0, 0, 0)].concat();
    let insns = [main, [insn(CALL, 0, 0, GET_FUNC_IP), insn(EXIT, 0, 0, 0)].concat()].concat();
    let func_info = words(&[0, 4, 2, 5]);
    let attr = ProgLoad { btf: Some(btf.as_fd()), func_info: &func_info, ..prog(&insns) };
    verdict(&asked.prog_load(ProgLoad { prog_type: KPROBE, ..attr }))
}

/// The helper is for tracing programs.
pub(crate) fn bpf_cookie(asked: &Asked<'_>) -> Support {
    let insns = [insn(CALL, 0, 0, 174), insn(EXIT, 0, 0, 0)].concat();
    verdict(&asked.prog_load(ProgLoad { prog_type: TRACEPOINT, ..prog(&insns) }))
}

/// Whether a kprobe can be placed on the wrapper of bpf(2) (libbpf `probe_kern_syscall_wrapper`): perf knows kprobes (since
/// Linux 4.17, as the wrappers), and the symbol is there. A kernel without kprobes has no use for the answer.
pub(crate) fn syscall_wrapper(asked: &Asked<'_>) -> Support {
    let prefix = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "x86" => "ia32",
        "aarch64" => "arm64",
        "riscv64" => "riscv",
        "powerpc64" => "powerpc",
        other => other,
    };
    let wanted = format!(" __{prefix}_sys_bpf");
    if let Err(error) = asked.kernel.read_file(Path::new("/sys/bus/event_source/devices/kprobe/type")) {
        return if error.errno == Errno::NOENT { Support::No } else { Support::Unknown };
    }
    let mut found = Support::No;
    let read = asked.kernel.read_lines(Path::new("/proc/kallsyms"), &mut |line| {
        if line.ends_with(wanted.as_bytes()) {
            found = Support::Yes;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    read.map_or(Support::Unknown, |()| found)
}

/// One page: kernels before 5.11 charge it to RLIMIT_MEMLOCK.
pub(crate) fn ring_buffer(asked: &Asked<'_>) -> Support {
    let Ok(host) = asked.kernel.host() else { return Support::Unknown };
    let attr = MapCreate { map_type: RINGBUF, max_entries: host.page_size, ..MapCreate::default() };
    verdict(&asked.map_create(&attr))
}

/// An offset that is outside the value, and therefore refused by all: only words tell whether for that reason, or because
/// offsets have a limit ("direct value offset of 1073741824 is not allowed", gone in Linux 7.0).
pub(crate) fn ld_imm64_full_range(asked: &Asked<'_>) -> Support {
    let Ok(map) = array(asked, 4) else { return Support::Unknown };
    let address = insn(LD_IMM64, PSEUDO_MAP_VALUE << 4 | 1, 0, map.as_raw_fd());
    let insns = [address, insn(0, 0, 0, 1 << 30), insn(EXIT, 0, 0, 0)].concat();
    let mut buffer = vec![0; 4096];
    let log = Some(Log { level: 1, buffer: &mut buffer });
    let refused = asked.prog_load(ProgLoad { log, ..prog(&insns) });
    if !matches!(refused, Err(e) if e.errno == Errno::INVAL) {
        return Support::Unknown;
    }
    let outside = String::from_utf8_lossy(&buffer).contains("invalid access to map value pointer");
    if outside { Support::Yes } else { Support::No }
}

/// The values are `struct bpf_insn_array_value`, of 16 bytes.
pub(crate) fn insn_array(asked: &Asked<'_>) -> Support {
    verdict(&asked.map_create(&MapCreate { map_type: INSN_ARRAY, ..array_attr(16) }))
}

pub(crate) fn btf(asked: &Asked<'_>) -> Support {
    load_btf(asked, &btf_blob(&int(1), b"\0int\0"))
}

pub(crate) fn btf_func(asked: &Asked<'_>) -> Support {
    load_btf(asked, &func_btf(0))
}

pub(crate) fn btf_global_func(asked: &Asked<'_>) -> Support {
    load_btf(asked, &func_btf(1))
}

pub(crate) fn btf_datasec(asked: &Asked<'_>) -> Support {
    load_btf(asked, &datasec_btf(b"\0x\0.data\0"))
}

pub(crate) fn btf_qmark_datasec(asked: &Asked<'_>) -> Support {
    load_btf(asked, &datasec_btf(b"\0x\0?.data\0"))
}

pub(crate) fn btf_float(asked: &Asked<'_>) -> Support {
    load_btf(asked, &btf_blob(&[1, info(FLOAT, 0), 4], b"\0float\0"))
}

pub(crate) fn btf_decl_tag(asked: &Asked<'_>) -> Support {
    let tag = [3, info(DECL_TAG, 0), 2, u32::MAX];
    load_btf(asked, &btf_blob(&[&int(0)[..], &var(1)[..], &tag[..]].concat(), b"\0x\0tag\0"))
}

pub(crate) fn btf_type_tag(asked: &Asked<'_>) -> Support {
    let tagged_pointer = [1, info(TYPE_TAG, 0), 1, 0, info(PTR, 0), 2];
    load_btf(asked, &btf_blob(&[&int(0)[..], &tagged_pointer[..]].concat(), b"\0tag\0"))
}

pub(crate) fn btf_enum64(asked: &Asked<'_>) -> Support {
    load_btf(asked, &btf_blob(&[1, info(ENUM64, 0), 8], b"\0e\0"))
}

/// A header of 32 bytes: the last two words place one entry per kind (bytes after `struct btf_type`, bytes
/// per member, flags), here for kinds 0 and INT.
pub(crate) fn btf_layout(asked: &Asked<'_>) -> Support {
    let (types, strings, layout) = (words(&int(1)), *b"\0int\0\0\0\0", [0, 0, 0, 0, 4, 0, 0, 0]);
    let (type_len, str_len) = (types.len() as u32, strings.len() as u32);
    let sections = [0, type_len, type_len, str_len, type_len + str_len, layout.len() as u32];
    load_btf(asked, &[&header(&sections)[..], &types[..], &strings[..], &layout[..]].concat())
}

fn load_btf(asked: &Asked<'_>, data: &[u8]) -> Support {
    verdict(&asked.btf_load(BtfLoad { data, ..BtfLoad::default() }))
}

fn array(asked: &Asked<'_>, value_size: u32) -> Result<OwnedFd> {
    asked.map_create(&array_attr(value_size))
}

fn array_attr(value_size: u32) -> MapCreate<'static> {
    MapCreate { map_type: ARRAY, key_size: 4, value_size, max_entries: 1, ..MapCreate::default() }
}

fn prog(insns: &[u8]) -> ProgLoad<'_, 'static> {
    ProgLoad { prog_type: SOCKET_FILTER, insns, license: "GPL", ..ProgLoad::default() }
}

// Instructions: opcodes and the pseudo source registers of linux/bpf.h.
const LD_IMM64: u8 = 0x18;
const ST_DW: u8 = 0x7a;
const MOV_IMM: u8 = 0xb7;
const MOV_REG: u8 = 0xbf;
const ADD_IMM: u8 = 0x07;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const PSEUDO_CALL: u8 = 1;
const PSEUDO_MAP_VALUE: u8 = 2;
const PSEUDO_FUNC: u8 = 4;
// Helpers.
const PROBE_READ_KERNEL: i32 = 113;
const GET_FUNC_IP: i32 = 173;

fn returns_0() -> Vec<u8> {
    [insn(MOV_IMM, 0, 0, 0), insn(EXIT, 0, 0, 0)].concat()
}

/// `regs` is `src << 4 | dst`, which is how little-endian hosts lay out the two fields.
fn insn(code: u8, regs: u8, off: i16, imm: i32) -> [u8; 8] {
    let regs = if cfg!(target_endian = "big") { regs.rotate_left(4) } else { regs };
    let (off, imm) = (off.to_ne_bytes(), imm.to_ne_bytes());
    [code, regs, off[0], off[1], imm[0], imm[1], imm[2], imm[3]]
}

// BTF kinds of linux/btf.h.
const INT: u32 = 1;
const PTR: u32 = 2;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const FLOAT: u32 = 16;
const DECL_TAG: u32 = 17;
const TYPE_TAG: u32 = 18;
const ENUM64: u32 = 19;

fn info(kind: u32, vlen: u32) -> u32 {
    kind << 24 | vlen
}

/// A signed `int` of 32 bits; `name` is an offset into the strings.
fn int(name: u32) -> [u32; 4] {
    [name, info(INT, 0), 4, 1 << 24 | 0x20]
}

/// A static variable of type 1.
fn var(name: u32) -> [u32; 4] {
    [name, info(VAR, 0), 1, 0]
}

/// Types: 1 `int`, 2 the prototype `int (int a)`, 3 a function of it with this linkage (0 static, 1 global).
fn func_btf(linkage: u32) -> Vec<u8> {
    let proto = [0, info(FUNC_PROTO, 1), 1, 7, 1];
    let func = [5, info(FUNC, linkage), 2];
    btf_blob(&[&int(1)[..], &proto[..], &func[..]].concat(), b"\0int\0f\0a\0")
}

/// Types: 1 `int`, 2 a variable `x`, 3 a section with it; the section's name stands at offset 3.
fn datasec_btf(strings: &[u8]) -> Vec<u8> {
    let section = [3, info(DATASEC, 1), 4, 2, 0, 4];
    btf_blob(&[&int(0)[..], &var(1)[..], &section[..]].concat(), strings)
}

fn btf_blob(types: &[u32], strings: &[u8]) -> Vec<u8> {
    let types = words(types);
    let type_len = types.len() as u32;
    [&header(&[0, type_len, type_len, strings.len() as u32])[..], &types[..], strings].concat()
}

/// Magic, version 1, no flags, its own length, then where the sections are.
fn header(sections: &[u32]) -> Vec<u8> {
    let mut out = [0xeb9f_u16.to_ne_bytes(), [1, 0]].concat();
    out.extend((8 + 4 * sections.len() as u32).to_ne_bytes());
    out.extend(words(sections));
    out
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}
