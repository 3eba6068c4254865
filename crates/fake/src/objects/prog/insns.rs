//! What instructions refer to: maps, functions, helpers.

use crate::config::Config;
use crate::log::No;
use crate::objects::{Body, Objects, Serial};
use crate::since;
use onebpf_sys::{Errno, Feature};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// What a program's instructions lean on.
pub(super) struct Found {
    /// Maps, by the order of their making, with their ids.
    pub(super) maps: BTreeMap<Serial, u32>,
    /// Where functions begin, the main one at 0.
    pub(super) subprogs: BTreeSet<usize>,
    /// Whether a function's address is taken.
    pub(super) callbacks: bool,
    /// The highest instruction that a jump table names.
    targets: Option<u32>,
}

const LD_IMM64: u8 = 0x18;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const JA: u8 = 0x05;
const JA32: u8 = 0x06;
/// `BPF_MAX_VAR_OFF`.
const MAX_OFFSET: u32 = 1 << 29;
/// Helpers that came with features: `bpf_ktime_get_coarse_ns`; `bpf_probe_read_user` and its three siblings;
/// `bpf_get_attach_cookie`.
const HELPERS: [(RangeInclusive<i32>, Feature); 3] = [
    (160..=160, Feature::MemcgAccount),
    (112..=115, Feature::ProbeReadKernel),
    (174..=174, Feature::BpfCookie),
];

struct Insn {
    code: u8,
    src: u8,
    off: i16,
    imm: i32,
}

pub(super) fn check(bytes: &[u8], fd_array: &[i32], objects: &Objects, config: &Config) -> Result<Found, No> {
    let insns: Vec<Insn> = bytes.chunks_exact(8).filter_map(decode).collect();
    let no = |at: usize, why: &str| Err(No::new(Errno::INVAL, format!("{at}: {why}\n")));
    if !insns.last().is_some_and(|last| matches!(last.code, EXIT | JA | JA32)) {
        return no(insns.len().saturating_sub(1), "last insn is not an exit or jmp");
    }
    let (maps, subprogs) = (BTreeMap::new(), BTreeSet::from([0]));
    let mut found = Found { maps, subprogs, callbacks: false, targets: None };
    let mut at = 0;
    while let Some(insn) = insns.get(at) {
        match insn.code {
            LD_IMM64 => {
                let Some(second) = insns.get(at + 1).filter(|second| second.code == 0) else {
                    return no(at, "invalid bpf_ld_imm64 insn");
                };
                match insn.src {
                    0 => {}
                    // A variable of the kernel or, with the fd of its BTF, of a module.
                    3 if second.imm == 0 || is_module(second.imm, objects) => {}
                    4 if config.has(Feature::Callbacks) => {
                        found.callbacks = true;
                        found.subprogs.insert(target(at, insn.imm, &insns)?);
                    }
                    1 | 2 | 5 | 6 => map(at, insn, second.imm, fd_array, objects, config, &mut found)?,
                    _ => return no(at, "unrecognized bpf_ld_imm64 insn"),
                }
                at += 1;
            }
            CALL => match insn.src {
                0 if HELPERS.iter().any(|(ids, needs)| ids.contains(&insn.imm) && !config.has(*needs)) => {
                    return no(at, &format!("invalid func unknown#{}", insn.imm));
                }
                0 if insn.imm > 0 => {}
                1 if config.has(Feature::Bpf2Bpf) => {
                    found.subprogs.insert(target(at, insn.imm, &insns)?);
                }
                2 if insn.off != 0
                    && !numbered(insn.off, fd_array).is_some_and(|fd| is_module(fd, objects)) =>
                {
                    return no(at, "no BTF of a module for a kernel function");
                }
                2 if config.at_least(5, 13) => {}
                _ => return no(at, "BPF_CALL uses reserved fields"),
            },
            _ => {}
        }
        at += 1;
    }
    // `valid_offsets` in the kernel's bpf_insn_array.c.
    if found.targets.is_some_and(|target| target as usize >= insns.len()) {
        return Err(Errno::INVAL.into());
    }
    Ok(found)
}

/// A map by fd or by its place in `fd_array`, perhaps with an offset into its value.
fn map(
    at: usize,
    insn: &Insn,
    offset: i32,
    fd_array: &[i32],
    objects: &Objects,
    config: &Config,
    found: &mut Found,
) -> Result<(), No> {
    let value = matches!(insn.src, 2 | 6);
    let by_index = matches!(insn.src, 5 | 6);
    if (value && !config.has(Feature::GlobalData)) || (by_index && !config.at_least(5, 14)) {
        return Err(No::new(Errno::INVAL, format!("{at}: unrecognized bpf_ld_imm64 insn\n")));
    }
    let indexed = || usize::try_from(insn.imm).ok().and_then(|index| fd_array.get(index)).copied();
    let fd = if by_index { indexed() } else { Some(insn.imm) };
    let fd = fd.ok_or_else(|| No::new(Errno::FAULT, ""))?;
    let not_a_map = |errno| No::new(errno, format!("fd {fd} is not pointing to valid bpf_map\n"));
    let (serial, object) = objects.find_number(fd).map_err(not_a_map)?;
    let Body::Map(map) = &object.body else { return Err(not_a_map(Errno::INVAL)) };
    if map.arena.as_ref().is_some_and(|arena| !arena.has_address()) {
        return Err(No::new(Errno::INVAL, "arena's user address must be set via map_extra or mmap()\n"));
    }
    if value {
        let offset = offset as u32;
        if offset >= MAX_OFFSET && !config.has(Feature::LdImm64FullRange) {
            let why = format!("direct value offset of {offset} is not allowed\n");
            return Err(No::new(Errno::INVAL, why));
        }
        let why = || format!("{at}: invalid access to map value pointer, off={offset}\n");
        map.direct_value(offset).map_err(|errno| No::new(errno, why()))?;
    }
    if map.info.map_type == since::INSN_ARRAY && !map.info.frozen {
        return Err(No::new(Errno::INVAL, ""));
    }
    found.targets = found.targets.max(map.last_target().filter(|_| map.info.map_type == since::INSN_ARRAY));
    found.maps.insert(serial, object.id);
    Ok(())
}

fn numbered(number: i16, fd_array: &[i32]) -> Option<i32> {
    fd_array.get(usize::try_from(number).ok()?).copied()
}

fn is_module(fd: i32, objects: &Objects) -> bool {
    matches!(objects.find_number(fd), Ok((_, object)) if matches!(&object.body, Body::Btf(btf) if btf.module.is_some()))
}

fn target(at: usize, offset: i32, insns: &[Insn]) -> Result<usize, No> {
    let target = (at as i64 + 1).checked_add(i64::from(offset)).and_then(|t| usize::try_from(t).ok());
    let inside = target.filter(|target| *target < insns.len());
    inside.ok_or_else(|| No::new(Errno::INVAL, format!("jump out of range from insn {at}\n")))
}

fn decode(bytes: &[u8]) -> Option<Insn> {
    let &[code, regs, a, b, ref imm @ ..] = bytes else { return None };
    let src = if cfg!(target_endian = "big") { regs & 0xf } else { regs >> 4 };
    Some(Insn { code, src, off: i16::from_ne_bytes([a, b]), imm: i32::from_ne_bytes(imm.try_into().ok()?) })
}
