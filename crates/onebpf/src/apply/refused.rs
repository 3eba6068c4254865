//! The errors of refused steps: what, where, why, and what to do.

use crate::error::{Code, Error, Retry};
use crate::hints::{self, Refusal, What};
use crate::plan::{CreateMap, LoadProgram, Plan};
use crate::verifier;
use onebpf_object::{MapType, POISON_HELPER, Poison};
use onebpf_sys::{Errno, Host};
use std::path::Path;

pub(super) fn btf(error: onebpf_sys::Error, log: String, host: &Host) -> Error {
    let what = What::Btf;
    let mut new = Error::refused(Code::BtfLoad, "the kernel refused the object's BTF", error);
    let last = log.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned);
    let report = new.report_mut();
    report.hints = hints::hints(&Refusal { what, errno: error.errno, host: Some(host), log: &log });
    report.log_tail = last.into_iter().collect();
    report.log = Some(log).filter(|log| !log.is_empty());
    new
}

/// A token that was asked for, or that could be had a moment ago.
pub(super) fn token(bpffs: &Path, error: onebpf_sys::Error) -> Error {
    let why = match error.errno {
        Errno::NOENT => "no BPF filesystem with delegated rights is mounted there",
        Errno::OPNOTSUPP => {
            "this process is in the first user namespace, where tokens mean nothing: leave `--token` out"
        }
        Errno::PERM => {
            "the token must be made by root of the user namespace that the BPF filesystem belongs to"
        }
        _ => "it needs Linux 6.9, and the root of a BPF filesystem",
    };
    Error::refused(Code::Token, format_args!("no BPF token from {}", bpffs.display()), error).hint(why)
}

/// The module went since the host was observed, or its BTF may not be opened.
pub(super) fn module(name: &str, error: onebpf_sys::Error) -> Error {
    let error = Error::refused(Code::Observe, format_args!("the BTF of module `{name}`"), error);
    error.retry(Retry::ObserveAgain)
}

/// The program to attach to went since it was observed.
pub(super) fn target(name: &str, id: u32, error: onebpf_sys::Error) -> Error {
    let error = Error::refused(Code::NoObject, format_args!("program `{name}` with id {id}"), error);
    error.retry(Retry::ObserveAgain)
}

pub(super) fn map(map: &CreateMap, error: onebpf_sys::Error, host: &Host) -> Error {
    let what = format!("map `{}` ({}) was not created", map.name, MapType(map.map_type));
    let mut new = Error::refused(Code::MapCreate, what, error).at(&map.place);
    let refusal = Refusal { what: What::Map(map), errno: error.errno, host: Some(host), log: "" };
    new.report_mut().hints = hints::hints(&refusal);
    new
}

pub(super) fn fill(name: &str, doing: &str, error: onebpf_sys::Error) -> Error {
    let mut new = Error::refused(Code::MapFill, format_args!("map `{name}`: {doing}"), error);
    let refusal = Refusal { what: What::Fill, errno: error.errno, host: None, log: "" };
    new.report_mut().hints = hints::hints(&refusal);
    new
}

/// An arena that was not mapped, for its own reasons.
pub(super) fn arena(name: &str, doing: &str, error: onebpf_sys::Error) -> Error {
    let new = Error::refused(Code::MapFill, format_args!("arena `{name}`: {doing}"), error);
    match error.errno {
        Errno::EXIST => new.hint(
            "this process has something else where `map_extra` wants the arena, perhaps the arena of an earlier load: \
             drop that, or choose another address with `--set map.NAME.extra=ADDRESS`",
        ),
        _ => new,
    }
}

pub(super) fn pin(name: &str, path: &Path, error: onebpf_sys::Error) -> Error {
    let mut new =
        Error::refused(Code::Pin, format_args!("`{name}` was not pinned at {}", path.display()), error);
    let refusal = Refusal { what: What::Pin, errno: error.errno, host: None, log: "" };
    new.report_mut().hints = hints::hints(&refusal);
    new
}

/// A name that only a load under way has is taken: its load was killed, and the journal is lost.
pub(super) fn stage(name: &str, path: &Path, error: onebpf_sys::Error) -> Error {
    if error.errno != Errno::EXIST {
        return pin(name, path, error);
    }
    let text = format_args!("`{name}`: {} is there already", path.display()).to_string();
    Error::refused(Code::Leftover, text, error)
        .hint("`onebpf status` shows it, `onebpf recover --force` removes it")
}

const GUARD_FIELD: &str = "guard the access with `bpf_core_field_exists()`, `bpf_core_type_exists()` or \
    `bpf_core_enum_value_exists()`, or relocate against another kernel's BTF with `--btf`";

/// What to say of the relocation behind `invalid func unknown#195896080`, or of the function that the kernel lacks behind
/// `invalid func unknown#2002000001`; and what to do.
fn poison(program: &LoadProgram, found: &verifier::Complaint) -> Option<(String, String)> {
    let poison = program.poisons.iter().find(|poison| Some(poison.insn) == found.insn)?;
    let helper = program.insns.get(poison.insn as usize)?.imm;
    let number = format!("#{helper}");
    if !(found.message.ends_with(&number) || found.tail.iter().any(|line| line.ends_with(&number))) {
        return None;
    }
    let Poison { what, why, .. } = poison;
    Some(if helper == POISON_HELPER {
        (format!("`{what}` is accessed, but {why}"), GUARD_FIELD.to_owned())
    } else {
        (
            format!("`{what}` is called, but {why}"),
            format!("guard the call with `if (bpf_ksym_exists({what}))`"),
        )
    })
}

/// The verifier's verdict, or a refusal that came before it looked at the program.
pub(super) fn program(plan: &Plan, program: &LoadProgram, error: onebpf_sys::Error, log: String) -> Error {
    let found = verifier::complaint(&log);
    let (code, what) = match &found {
        Some(found) => {
            (Code::Verifier, format!("program `{}` was rejected: {}", program.name, found.message))
        }
        None => (Code::ProgLoad, format!("program `{}` was not loaded", program.name)),
    };
    let mut new = Error::refused(code, what, error).at(&program.place);
    let report = new.report_mut();
    let refusal =
        Refusal { what: What::Program(program), errno: error.errno, host: Some(&plan.host), log: &log };
    report.hints = hints::hints(&refusal);
    if let Some(found) = found {
        if let Some((said, hint)) = poison(program, &found) {
            report.message = format!("program `{}` was rejected: {said}", program.name);
            report.hints = vec![hint];
        }
        if let Some(insn) = found.insn {
            report.place.source = verifier::source(plan.strings.as_ref(), &program.line_info, insn);
            report.notes.push(format!("at instruction {insn}"));
        }
        report.log_tail = found.tail;
    }
    report.log = Some(log).filter(|log| !log.is_empty());
    new
}
