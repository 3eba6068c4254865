//! Programs that attach to a function of another program.

use crate::config::Config;
use crate::log::No;
use crate::objects::{Objects, Serial};
use onebpf_sys::{Errno, ProgLoad};

const TRACING: u32 = 26;
const STRUCT_OPS: u32 = 27;
const EXT: u32 = 28;
const LSM: u32 = 29;
const FENTRY: u32 = 24;
const FEXIT: u32 = 25;

/// The program that `attach_prog_fd` names, after the checks of `bpf_prog_load_check_attach`: BTF of a module may stand in
/// the same place.
pub(super) fn of(attr: &ProgLoad<'_, '_>, objects: &Objects) -> Result<Option<Serial>, Errno> {
    let target = match attr.attach_btf {
        Some(fd) => objects.prog_serial(fd)?,
        None => None,
    };
    let takes_id = matches!(attr.prog_type, TRACING | STRUCT_OPS | EXT | LSM);
    let bad = [
        attr.attach_btf_id != 0 && !takes_id,
        attr.attach_btf.is_some() && target.is_none() && attr.attach_btf_id == 0,
        target.is_some() && !matches!(attr.prog_type, TRACING | EXT),
        attr.prog_type == EXT && attr.expected_attach_type != 0,
    ];
    if bad.contains(&true) { Err(Errno::INVAL) } else { Ok(target) }
}

/// The part of `bpf_check_attach_target` that is about programs, in its order. Types of arguments are not compared, and
/// all that the fake holds is compiled to machine code.
pub(super) fn check(
    attr: &ProgLoad<'_, '_>,
    target: Option<Serial>,
    objects: &Objects,
    config: &Config,
) -> Result<(), No> {
    let no = |why: &str| Err(No::new(Errno::INVAL, format!("{why}\n")));
    let is_ext = attr.prog_type == EXT;
    if is_ext && attr.attach_btf_id == 0 {
        return no("Tracing programs must provide btf_id");
    }
    let Some(target) = target.and_then(|serial| objects.prog_at(serial)) else {
        return if is_ext { no("Cannot replace kernel functions") } else { Ok(()) };
    };
    if attr.attach_btf_id == 0 {
        return no("Tracing programs must provide btf_id");
    }
    let Some(btf) = target.btf.and_then(|serial| objects.btf_at(serial)) else {
        return no("FENTRY/FEXIT program can only be attached to another program annotated with BTF");
    };
    let id = attr.attach_btf_id;
    if btf.kind(id).is_none() {
        return no(&format!("attach_btf_id {id} is invalid"));
    }
    let Some(name) = btf.name(id, config) else {
        return no(&format!("attach_btf_id {id} doesn't have a name"));
    };
    if !super::func_records(&target.loaded.func_info).any(|(_, function)| function == id) {
        return no(&format!("Subprog {name} doesn't exist"));
    }
    if target.info.prog_type == attr.prog_type {
        return no("Cannot recursively attach");
    }
    let traces = matches!(target.loaded.expected_attach_type, FENTRY | FEXIT);
    if is_ext && target.info.prog_type == TRACING && traces {
        return no("Cannot extend fentry/fexit");
    }
    if !is_ext && !matches!(attr.expected_attach_type, FENTRY | FEXIT) {
        return no("Only FENTRY/FEXIT progs are attachable to another BPF prog");
    }
    Ok(())
}
