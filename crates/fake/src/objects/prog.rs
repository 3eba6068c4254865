//! Programs: a look at what a loader must get right. The fake verifies nothing beyond that.

mod insns;
mod target;

use crate::config::{Config, check_name};
use crate::log::{self, No};
use crate::objects::btf::FUNC;
use crate::objects::{Body, Objects, Serial};
use crate::since;
use onebpf_sys::{Errno, Feature, ProgInfo, ProgLoad};
use std::collections::BTreeSet;

pub(crate) struct Prog {
    pub(crate) info: ProgInfo,
    pub(crate) loaded: Loaded,
    pub(crate) maps: Vec<Serial>,
    pub(crate) btf: Option<Serial>,
    /// The program that it attaches to.
    pub(crate) target: Option<Serial>,
    pub(crate) charge: u64,
}

/// A program as it was handed to the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Its name.
    pub name: String,
    /// `enum bpf_prog_type`.
    pub prog_type: u32,
    /// `enum bpf_attach_type`, 0 if none was given.
    pub expected_attach_type: u32,
    /// BTF id of what it attaches to, 0 if none was given.
    pub attach_btf_id: u32,
    /// Id of the program that it attaches to, 0 for none.
    pub attach_prog_id: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// Its licence.
    pub license: String,
    /// Kernel version, for kprobes.
    pub kernel_version: u32,
    /// Instructions, with the fds of the loading process in them.
    pub insns: Vec<u8>,
    /// `struct bpf_func_info` records.
    pub func_info: Vec<u8>,
    /// `struct bpf_line_info` records.
    pub line_info: Vec<u8>,
    /// Names of the modules whose BTF its calls may number; the first is number 1.
    pub modules: Vec<String>,
}

impl Prog {
    /// Checks and keeps a program; writes the log.
    pub(crate) fn load(attr: ProgLoad<'_, '_>, objects: &Objects, config: &Config) -> Result<Self, Errno> {
        let outcome = check(&attr, objects, config);
        let text = match &outcome {
            Ok(prog) => format!("processed {} insns (limit 1000000)\n", prog.info.verified_insns),
            Err(no) => no.log.clone(),
        };
        // The kernel answers ENOSPC whatever the verdict (`bpf_vlog_finalize`).
        if attr.log.is_some_and(|mut buffer| !log::write(&mut buffer, &text, config)) {
            return Err(Errno::NOSPC);
        }
        outcome.map_err(|no| no.errno)
    }

    /// Holds one map more, unless it is held already.
    pub(crate) fn bind(&mut self, map: Serial, id: u32) {
        if !self.maps.contains(&map) {
            self.maps.push(map);
            self.info.map_ids.push(id);
        }
    }
}

fn check(attr: &ProgLoad<'_, '_>, objects: &Objects, config: &Config) -> Result<Prog, No> {
    check_attributes(attr, config)?;
    let target = target::of(attr, objects)?;
    if let Some(rule) = config.rejections.get(attr.name) {
        return Err(No::new(rule.errno, rule.log.clone()));
    }
    let found = insns::check(attr.insns, attr.fd_array, objects, config)?;
    let btf = match attr.btf {
        Some(fd) => Some(objects.btf(fd)?),
        None => None,
    };
    match btf {
        Some((_, _, btf)) if !attr.func_info.is_empty() => {
            check_func_info(attr.func_info, &found.subprogs, |id| btf.kind(id) == Some(FUNC))?;
            check_arguments(attr.func_info, |id| btf.unknown_argument(id, config))?;
        }
        None if !attr.func_info.is_empty() || !attr.line_info.is_empty() => return Err(Errno::INVAL.into()),
        _ if found.callbacks && attr.func_info.is_empty() => {
            return Err(No::new(Errno::INVAL, "missing btf func_info\n"));
        }
        _ => {}
    }
    target::check(attr, target, objects, config)?;
    let info = ProgInfo {
        prog_type: attr.prog_type,
        tag: tag(attr.insns),
        name: attr.name.to_owned(),
        map_ids: found.maps.values().copied().collect(),
        btf_id: btf.map_or(0, |(_, id, _)| id),
        xlated_len: attr.insns.len() as u32,
        verified_insns: (attr.insns.len() / 8) as u32,
        gpl_compatible: GPL.contains(&attr.license),
        ..ProgInfo::default()
    };
    Ok(Prog {
        info,
        loaded: Loaded {
            name: attr.name.to_owned(),
            prog_type: attr.prog_type,
            expected_attach_type: attr.expected_attach_type,
            attach_btf_id: attr.attach_btf_id,
            attach_prog_id: target.and_then(|serial| objects.id(serial)).unwrap_or_default(),
            flags: attr.flags,
            license: attr.license.to_owned(),
            kernel_version: attr.kernel_version,
            insns: attr.insns.to_vec(),
            func_info: attr.func_info.to_vec(),
            line_info: attr.line_info.to_vec(),
            modules: modules(attr.fd_array, objects),
        },
        maps: found.maps.into_keys().collect(),
        btf: btf.map(|(serial, ..)| serial),
        target,
        charge: config.pages(attr.insns.len() as u64),
    })
}

fn modules(fd_array: &[i32], objects: &Objects) -> Vec<String> {
    let name = |fd: &i32| match &objects.find_number(*fd).ok()?.1.body {
        Body::Btf(btf) => btf.module.clone(),
        _ => None,
    };
    fd_array.iter().skip(1).filter_map(name).collect()
}

/// Licences that count as GPL: `license_is_gpl_compatible` in the kernel.
const GPL: &[&str] =
    &["GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"];

fn check_attributes(attr: &ProgLoad<'_, '_>, config: &Config) -> Result<(), No> {
    let infos = !attr.func_info.is_empty() || !attr.line_info.is_empty();
    let unknown = [
        attr.expected_attach_type != 0 && !config.has(Feature::ExpectedAttachType),
        (attr.btf.is_some() || infos) && !config.has(Feature::BtfFunc),
        (attr.attach_btf_id != 0 || attr.attach_btf.is_some()) && !config.at_least(5, 5),
        !attr.fd_array.is_empty() && !config.at_least(5, 14),
    ];
    if unknown.contains(&true) {
        return Err(Errno::TOOBIG.into());
    }
    check_name(attr.name, config)?;
    let records = attr.func_info.len().is_multiple_of(8) && attr.line_info.len().is_multiple_of(16);
    if !attr.insns.len().is_multiple_of(8) || !records || attr.license.contains('\0') {
        return Err(Errno::INVAL.into());
    }
    let limit = if config.at_least(5, 2) { 1_000_000 } else { 4096 };
    if attr.insns.is_empty() || attr.insns.len() / 8 > limit {
        return Err(Errno::TOOBIG.into());
    }
    // Before 5.0 kprobes must name the kernel that they were built for.
    let kprobe = attr.prog_type == 2 && !config.at_least(5, 0);
    let version = kprobe && attr.kernel_version != config.host().version_code;
    if version || !since::knows_prog(attr.prog_type, config.release) {
        return Err(Errno::INVAL.into());
    }
    Ok(())
}

/// `check_btf_func` in the kernel: one record for each function, in order, from instruction 0.
fn check_func_info(
    records: &[u8],
    subprogs: &BTreeSet<usize>,
    is_func: impl Fn(u32) -> bool,
) -> Result<(), No> {
    let records: Vec<(usize, u32)> = func_records(records).collect();
    let no = |why: &str| Err(No::new(Errno::INVAL, format!("{why}\n")));
    if records.len() != subprogs.len() {
        return no("number of funcs in func_info doesn't match number of subprogs");
    }
    if !records.iter().map(|(offset, _)| offset).eq(subprogs.iter()) {
        return no("func_info BTF section doesn't match subprog layout in BPF program");
    }
    if !records.iter().all(|(_, id)| is_func(*id)) {
        return no("invalid type id in func info");
    }
    Ok(())
}

/// Global functions are verified by the types of their arguments; the main one is called by the kernel.
fn check_arguments(records: &[u8], unknown: impl Fn(u32) -> Option<usize>) -> Result<(), No> {
    match func_records(records).skip(1).find_map(|(_, id)| unknown(id)) {
        Some(at) => {
            let why = format!("arg#{at} reference type('UNKNOWN ') size cannot be determined: -22\n");
            Err(No::new(Errno::INVAL, why))
        }
        None => Ok(()),
    }
}

/// Offset and type of each function.
fn func_records(records: &[u8]) -> impl Iterator<Item = (usize, u32)> {
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_ne_bytes);
    let halves = records.chunks_exact(8).map(|record| record.split_at(4));
    halves.map(move |(offset, id)| (word(offset) as usize, word(id)))
}

/// FNV-1a: the kernel hashes otherwise, but what matters is that equal programs have equal tags.
fn tag(insns: &[u8]) -> [u8; 8] {
    let hash = insns.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.to_be_bytes()
}
