//! Functions, variables and symbols of the kernel.

use super::{ExternTarget, ExternValue, InKernel, Uses};
use crate::error::{Code, Error, Result};
use crate::kallsyms::Symbol;
use crate::kernel_types::{KernelName, NameKind, Named, Unlike};
use crate::plan::core::reached;
use crate::plan::draft::Draft;
use crate::plan::programs::Chosen;
use crate::plan::{Operand, Patch, Slot, object};
use crate::{Facts, Options, Spec};
use onebpf_btf::{Def, essential_name};
use onebpf_object::insn::{Insn, opcode, pseudo};
use onebpf_object::{Extern, ExternKind, Poison, Ref};
use std::collections::BTreeMap;

/// libbpf's mark for the call of a function that the kernel lacks: no helper has this number (`poison_kfunc_call`). The
/// extern's own number is added.
const POISON_CALL: i32 = 2_002_000_000;

/// The externs that are found by the kernel's BTF, if a chosen program refers to one of these.
pub(crate) fn typed_externs<'a>(spec: &'a Spec, options: &Options) -> Result<Vec<&'a Extern>> {
    referred(spec, options, |found| found.is_typed(spec.btf.as_ref()))
}

/// The externs that are addresses and no more, if a chosen program refers to one of these.
pub(crate) fn addressed_externs<'a>(spec: &'a Spec, options: &Options) -> Result<Vec<&'a Extern>> {
    referred(spec, options, |found| {
        matches!(found.kind, ExternKind::Ksym) && !found.is_typed(spec.btf.as_ref())
    })
}

fn referred<'a>(
    spec: &'a Spec,
    options: &Options,
    is_one: impl Fn(&Extern) -> bool,
) -> Result<Vec<&'a Extern>> {
    let all: Vec<&Extern> = spec.externs.values().filter(|found| is_one(found)).collect();
    let refers = |reference: &Ref| match reference {
        Ref::Kfunc(name) | Ref::Ksym(name) => all.iter().any(|found| found.name == *name),
        _ => false,
    };
    let any =
        !all.is_empty() && reached(spec, options)?.iter().any(|function| function.refs.values().any(refers));
    Ok(if any { all } else { Vec::new() })
}

/// What the kernel calls it: functions have a flavour in objects only.
pub(crate) fn extern_name(found: &Extern) -> KernelName {
    let (name, kind) = match found.kind {
        ExternKind::Kfunc => (essential_name(&found.name), NameKind::Function),
        _ => (found.name.as_str(), NameKind::Variable),
    };
    KernelName { name: name.to_owned(), kind, module: None }
}

/// What stands for an extern.
enum Target {
    /// The kernel lacks it, and the object can do without.
    Absent { why: String },
    /// At this address.
    Address(u64),
    /// In the kernel's BTF or a module's; `index`: that module's number among those of the object, 0 for the kernel.
    Typed { btf_id: u32, module: Option<Slot<object::Btf>>, index: i16 },
}

/// All externs of the object that are not of the configuration.
#[derive(Default)]
pub(super) struct Bound<'a> {
    targets: BTreeMap<&'a str, Target>,
    /// Modules that have functions, by number; the first is number 1.
    modules: Vec<Slot<object::Btf>>,
}

/// Finds them all, also those that no chosen program refers to: modules are numbered in the order of all functions' names
/// (libbpf `bpf_object__resolve_ksym_func_btf_id`).
pub(super) fn bind<'a>(draft: &mut Draft<'a>, uses: &Uses<'_>) -> Result<Bound<'a>> {
    let spec = draft.spec;
    let mut wanted: Vec<&Extern> = spec.externs.values().filter(|found| !is_config(found)).collect();
    let mut bound = Bound::default();
    if !wanted.iter().any(|found| uses.has(found)) {
        return Ok(bound);
    }
    wanted.sort_by(|a, b| a.name.cmp(&b.name));
    for found in wanted {
        let at = |error: Error| error.at(uses.place(found));
        let target = match look_up(draft, found) {
            Ok(Found::Absent(why)) if found.weak || !uses.has(found) => Target::Absent { why },
            Ok(Found::Absent(_)) => return Err(at(missing(draft.facts, found, spec))),
            Ok(Found::Address(address)) => Target::Address(address),
            Ok(Found::Named(named)) => {
                let module = named.module.as_ref().map(|module| draft.module(module));
                let index = match module.filter(|_| matches!(found.kind, ExternKind::Kfunc)) {
                    Some(module) => bound.number(module).map_err(at)?,
                    None => 0,
                };
                Target::Typed { btf_id: named.btf_id, module, index }
            }
            Err(error) if uses.has(found) => return Err(at(error)),
            Err(error) => Target::Absent { why: error.report().message.clone() },
        };
        if uses.has(found) {
            let target = shown(draft, found, &target);
            draft.plan.externs.push(ExternValue { name: found.name.clone(), target });
        }
        bound.targets.insert(&found.name, target);
    }
    Ok(bound)
}

fn is_config(found: &Extern) -> bool {
    matches!(found.kind, ExternKind::Kconfig { .. })
}

/// What observing has found.
enum Found {
    Absent(String),
    Address(u64),
    Named(Named),
}

fn look_up(draft: &Draft<'_>, wanted: &Extern) -> Result<Found> {
    let (facts, name) = (draft.facts, &wanted.name);
    let unobserved = || Error::new(Code::NoSymbol, format!("`{name}`: the facts say nothing of it"));
    if !wanted.is_typed(draft.spec.btf.as_ref()) {
        let symbols = facts.symbols.as_ref().ok_or_else(unobserved)?;
        return match symbols.found.get(name).ok_or_else(unobserved)? {
            Symbol::Absent => Ok(Found::Absent("this kernel has no such symbol".to_owned())),
            Symbol::At(_) if symbols.hidden && !wanted.weak => Err(hidden(name)),
            Symbol::At(address) => Ok(Found::Address(*address)),
            Symbol::Ambiguous(one, other) => {
                let text = format!("the kernel has several symbols `{name}`: at {one:#x}, at {other:#x}");
                Err(Error::new(Code::NoSymbol, text).hint("choose a symbol that is there once"))
            }
        };
    }
    let (_, found) = facts.named(&extern_name(wanted)).ok_or_else(unobserved)?;
    match (found, facts.unlike.get(name)) {
        (None, _) => {
            let what = if is_function(wanted) { "function" } else { "variable" };
            Ok(Found::Absent(format!("this kernel has no such {what}")))
        }
        (Some(_), Some(Unlike::Type(other))) if wanted.weak && is_function(wanted) => {
            Ok(Found::Absent(format!("this kernel has it as `{other}`")))
        }
        (Some(_), Some(Unlike::Type(other))) => Err(unlike(draft.spec, wanted, other)),
        (Some(named), _) => Ok(Found::Named(named.clone())),
    }
}

fn is_function(found: &Extern) -> bool {
    matches!(found.kind, ExternKind::Kfunc)
}

fn shown(draft: &Draft<'_>, found: &Extern, target: &Target) -> ExternTarget {
    let named = draft.facts.named(&extern_name(found)).and_then(|(_, named)| named.as_ref());
    let in_kernel = match target {
        Target::Typed { btf_id, .. } => {
            let module = named.and_then(|named| named.module.as_ref()).map(|module| module.name.clone());
            Some(InKernel { btf_id: *btf_id, module })
        }
        _ => None,
    };
    match target {
        _ if is_function(found) => ExternTarget::Function { found: in_kernel },
        Target::Address(address) => ExternTarget::Symbol { address: Some(*address) },
        _ if found.is_typed(draft.spec.btf.as_ref()) => ExternTarget::Variable { found: in_kernel },
        _ => ExternTarget::Symbol { address: None },
    }
}

impl Bound<'_> {
    /// The number of a module, which instructions hold in 16 bits.
    fn number(&mut self, module: Slot<object::Btf>) -> Result<i16> {
        let at = self.modules.iter().position(|known| *known == module).unwrap_or_else(|| {
            self.modules.push(module);
            self.modules.len() - 1
        });
        let too_many = || Error::new(Code::NoSymbol, "the functions are in more than 32767 modules");
        i16::try_from(at + 1).map_err(|_| too_many())
    }

    /// Writes them into the instructions of a program (libbpf `bpf_object__relocate_data`).
    pub(super) fn apply(&self, spec: &Spec, chosen: &mut Chosen<'_>) {
        let mut calls_modules = false;
        for (at, reference) in &chosen.linked.refs {
            let (Ref::Kfunc(name) | Ref::Ksym(name)) = reference else { continue };
            let Some(target) = self.targets.get(name.as_str()) else { continue };
            let Some([insn, rest @ ..]) = chosen.linked.insns.get_mut(*at as usize..) else { continue };
            match (target, rest.first_mut()) {
                (Target::Typed { btf_id, index, .. }, _) if insn.is_call() => {
                    (insn.src, insn.imm, insn.off) = (pseudo::KFUNC_CALL, *btf_id as i32, *index);
                    calls_modules |= *index != 0;
                }
                (Target::Absent { why }, _) if insn.is_call() => {
                    let imm = POISON_CALL.saturating_add(number(spec, name));
                    *insn = Insn { code: opcode::CALL, imm, ..Insn::default() };
                    chosen.poisons.push(Poison { insn: *at, what: name.clone(), why: why.clone() });
                }
                (Target::Typed { btf_id, module, .. }, Some(next)) => {
                    (insn.src, insn.imm, next.imm) = (pseudo::BTF_ID, *btf_id as i32, 0);
                    let patch = |module| Patch { insn: *at, operand: Operand::BtfFd(module) };
                    chosen.patches.extend(module.map(patch));
                }
                (Target::Address(address), Some(next)) => {
                    (insn.src, insn.imm, next.imm) = (0, *address as i32, (*address >> 32) as i32);
                }
                (Target::Absent { .. }, Some(next)) => (insn.src, insn.imm, next.imm) = (0, 0, 0),
                _ => {}
            }
        }
        if calls_modules {
            chosen.modules.clone_from(&self.modules);
        }
    }
}

/// An extern's number in libbpf (`cmp_externs`): values of the configuration first, then all others by name.
fn number(spec: &Spec, name: &str) -> i32 {
    let before = |found: &&Extern| is_config(found) || found.name.as_str() < name;
    spec.externs.values().filter(before).count() as i32
}

fn missing(facts: &Facts, wanted: &Extern, spec: &Spec) -> Error {
    let name = &wanted.name;
    if !wanted.is_typed(spec.btf.as_ref()) {
        return Error::new(Code::NoSymbol, format!("this kernel has no symbol `{name}`"))
            .note("looked at /proc/kallsyms")
            .hint("declare it `__weak`: then its address is 0");
    }
    let what = if is_function(wanted) { "function" } else { "variable" };
    let KernelName { name: own, .. } = extern_name(wanted);
    let text = match facts.kernel_btf {
        Some(false) => format!("the kernel {what} `{own}` cannot be found: this kernel has no BTF"),
        _ => format!("the kernel {what} `{own}` is neither in this kernel nor in a module of it"),
    };
    let mut error = Error::new(Code::NoSymbol, text);
    if let Some(Unlike::Name(near)) = facts.unlike.get(name) {
        let near: Vec<String> = near.iter().map(|name| format!("`{name}`")).collect();
        error = error.note(format!("there is {}", near.join(", ")));
    }
    if is_function(wanted) {
        error.hint(format!("declare it `__weak`, and call it only `if (bpf_ksym_exists({name}))`"))
    } else {
        error.hint("declare it `__weak`: then its address is 0")
    }
}

fn hidden(name: &str) -> Error {
    Error::new(Code::NoSymbol, format!("`{name}`: this kernel hides the addresses of its symbols"))
        .hint("`sysctl kernel.kptr_restrict=1` and CAP_SYSLOG show them")
}

/// Both as C declares them.
fn unlike(spec: &Spec, wanted: &Extern, other: &str) -> Error {
    let declared = || {
        let (btf, id) = (spec.btf.as_ref()?, wanted.btf?);
        let ty = match btf.get(id).ok()?.def {
            Def::Func { proto, .. } => proto,
            _ => id,
        };
        btf.declare(ty, &wanted.name).ok()
    };
    let own = declared().unwrap_or_else(|| wanted.name.clone());
    let what = if is_function(wanted) { "function" } else { "variable" };
    Error::new(Code::SymbolType, format!("the kernel {what} `{}` has another type", extern_name(wanted).name))
        .note(format!("declared is `{own}`"))
        .note(format!("the kernel has `{other}`"))
        .hint("declare it as the kernel has it; what differs between kernels can have several flavours, `NAME___old` and `NAME___new`, both `__weak`")
}
