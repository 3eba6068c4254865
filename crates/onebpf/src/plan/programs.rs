//! Programs: which are loaded, and all that the kernel is given of each.

use super::draft::Draft;
use super::externs;
use super::jump_tables;
use super::older;
use super::struct_ops::{self, Role, Tables};
use super::targets;
use super::{Attach, LoadProgram, Operand, Patch, Slot, Step, object};
use crate::error::{Code, Error, Result};
use crate::kernel_types::{KernelName, NameKind, Named};
use crate::{Options, Spec, TargetProgram};
use onebpf_object::insn::Insn;
use onebpf_object::{
    AttachType, Dialect, LinkedProgram, MapSpec, Place, Poison, ProgramSpec, ProgramType, Ref,
};
use onebpf_sys::Feature;
use std::collections::BTreeSet;
use std::sync::Arc;

const BPF_PSEUDO_MAP_FD: u8 = 1;
const BPF_PSEUDO_MAP_VALUE: u8 = 2;
/// `BPF_LD | BPF_IMM | BPF_DW`.
pub(super) const LD_IMM64: u8 = 0x18;

/// A program to be loaded, with its code.
pub(super) struct Chosen<'a> {
    pub(super) spec: &'a ProgramSpec,
    pub(super) linked: LinkedProgram,
    /// Instructions that CO-RE, or a function that the kernel lacks, has made unusable.
    pub(super) poisons: Vec<Poison>,
    /// Where BTF of modules goes.
    pub(super) patches: Vec<Patch>,
    /// BTF of the modules whose functions it may call, by the numbers that its calls have.
    pub(super) modules: Vec<Slot<object::Btf>>,
}

/// The programs that `options` name, or those that load by default, in the order of the object.
pub(crate) fn select<'a>(spec: &'a Spec, options: &Options) -> Result<Vec<&'a ProgramSpec>> {
    let all = || spec.programs.values();
    for name in options.programs.iter().chain(options.attach_to.of.keys()) {
        if !spec.programs.contains_key(name) {
            return Err(unknown("program", name, spec.programs.keys()));
        }
    }
    if options.programs.is_empty() && options.sections.is_empty() {
        return Ok(all().filter(|program| struct_ops::autoloads(spec, program)).collect());
    }
    for section in &options.sections {
        if !all().any(|program| program.section == section.trim_start_matches('?')) {
            let sections: BTreeSet<&String> = all().map(|program| &program.section).collect();
            return Err(unknown("program in section", section, sections.into_iter()));
        }
    }
    let wanted = |program: &&ProgramSpec| {
        options.programs.contains(&program.name)
            || options.sections.iter().any(|section| section.trim_start_matches('?') == program.section)
    };
    Ok(all().filter(wanted).collect())
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a String>) -> Error {
    let known: Vec<String> = known.map(|name| format!("`{name}`")).collect();
    let there = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Error::new(Code::NoProgram, format!("there is no {what} `{name}`")).note(format!("there is: {there}"))
}

/// The chosen programs with their subprograms appended and references resolved.
pub(super) fn choose<'a>(spec: &'a Spec, options: &Options) -> Result<Vec<Chosen<'a>>> {
    let link = |program: &'a ProgramSpec| {
        let linked = onebpf_object::link(spec, &program.name)?;
        Ok(Chosen { spec: program, linked, poisons: Vec::new(), patches: Vec::new(), modules: Vec::new() })
    };
    select(spec, options)?.into_iter().map(link).collect()
}

/// What of the running kernel the chosen programs name.
pub(crate) fn kernel_names(spec: &Spec, options: &Options) -> Result<BTreeSet<KernelName>> {
    let programs = select(spec, options)?;
    let targets = programs.into_iter().filter_map(|program| attach_target(spec, program, options));
    let externs = externs::typed_externs(spec, options)?;
    Ok(targets
        .chain(externs.into_iter().map(externs::extern_name))
        .chain(struct_ops::names(spec, options)?)
        .collect())
}

/// The programs in the kernel that chosen programs attach to, by the name of the latter.
pub(crate) fn target_programs<'a>(
    spec: &'a Spec,
    options: &'a Options,
) -> Result<Vec<(&'a str, &'a TargetProgram)>> {
    let target = |program: &'a ProgramSpec| {
        Some((program.name.as_str(), targets::of(options, &program.name, typed(spec, program, options)?)?))
    };
    Ok(select(spec, options)?.into_iter().filter_map(target).collect())
}

/// Adds the steps that load programs, one after the other: they do not depend on each other.
pub(super) fn steps(draft: &mut Draft<'_>, programs: &[Chosen<'_>], tables: &Tables<'_>) -> Result<()> {
    // Side by side, without a step between them: they are loaded on several threads.
    let steps: Vec<LoadProgram> =
        programs.iter().map(|chosen| one(draft, chosen, tables)).collect::<Result<_>>()?;
    for (chosen, step) in programs.iter().zip(steps) {
        draft.programs.insert(chosen.spec.name.clone(), step.out);
        draft.push(Step::LoadProgram(Box::new(step)));
    }
    bind(draft, programs);
    Ok(())
}

/// Every program holds every `.rodata` map, also those that its code does not name: what a tool wants to know of it may
/// stand there (libbpf's `bpf_object_load_prog()`; bpftool shows variables named `bpf_metadata_`).
fn bind(draft: &mut Draft<'_>, programs: &[Chosen<'_>]) {
    let spec = draft.spec;
    for Chosen { spec: program, linked, .. } in programs {
        let names =
            |map: &str| linked.refs.iter().any(|(_, to)| matches!(to, Ref::Data { map: m, .. } if m == map));
        let is_rodata = |map: &MapSpec| map.read_only && map.dialect == Dialect::Data;
        for (held, _) in spec.maps.iter().filter(|(name, map)| is_rodata(map) && !names(name)) {
            let map = draft.maps.get(held).map(|map| map.slot);
            let slot = draft.programs.get(&program.name).copied();
            let not_bound = || format!("program `{}` does not hold map `{held}`", program.name);
            if let Some((map, slot)) = map.zip(slot)
                && draft.has_or(Feature::ProgBindMap, not_bound)
            {
                let (name, held) = (program.name.clone(), held.clone());
                draft.push(Step::Bind { program: slot, name, map, held });
            }
        }
    }
}

fn one(draft: &mut Draft<'_>, chosen: &Chosen<'_>, tables: &Tables<'_>) -> Result<LoadProgram> {
    let Chosen { spec: program, linked, poisons, .. } = chosen;
    let place = draft.spec.functions.get(program.function.0).map(|f| f.place.clone()).unwrap_or_default();
    let (kind, attach_type) =
        typed(draft.spec, program, draft.options).ok_or_else(|| untyped(program, &place))?;
    relocatable(draft, chosen, &place)?;
    let (mut insns, mut patches) = patched(draft, chosen, &place)?;
    patches.extend(jump_tables::steps(draft, chosen, &place)?);
    older::helpers(draft, &program.name, &mut insns);
    let no_lines = || format!("program `{}` has no function types and source lines", program.name);
    let infos =
        draft.btf.is_some() && !linked.func_info.is_empty() && draft.has_or(Feature::BtfFunc, no_lines);
    let btf = draft.btf.filter(|_| infos);
    let role = (kind == ProgramType::STRUCT_OPS).then(|| tables.role(program, &place)).transpose()?;
    let (attach, expected_attach_type) = if let Some(Role { name, table, module, member }) = role {
        let module = module.as_ref().map(|module| draft.module(module));
        (Some(Attach { name: name.clone(), btf_id: *table, module, program: None }), *member)
    } else {
        let attach = attach(draft, program, &place)?;
        (attach, older::attach_type(draft, program, kind, attach_type, &place)?)
    };
    let kernel_version = match (draft.spec.kernel_version, kind) {
        // Kernels before 5.0 compare it with their own for kprobes; later ones do not look.
        (0, ProgramType::KPROBE) => draft.facts.host.version_code,
        (version, _) => version,
    };
    Ok(LoadProgram {
        out: draft.slot(),
        name: program.name.clone(),
        kernel_name: draft.kernel_name(&program.name),
        section: program.section.clone(),
        prog_type: kind.0,
        expected_attach_type,
        flags: program.flags,
        license: draft.spec.license.clone(),
        kernel_version,
        insns: Arc::from(insns),
        patches,
        poisons: poisons.clone(),
        btf,
        func_info: Arc::from(linked.func_info.as_slice()),
        line_info: Arc::from(linked.line_info.as_slice()),
        functions: linked.functions.clone(),
        attach,
        modules: chosen.modules.clone(),
        device: draft.options.device,
        token: draft.token,
        log_level: draft.options.log_level,
        place,
    })
}

/// Type and attach type: the section's, or the caller's. Programs of tail sections (`1/0`) are of the type of the
/// programs that call them, where all of those agree: iproute2 takes that of the one section that it is told to load.
pub(super) fn typed(
    spec: &Spec,
    program: &ProgramSpec,
    options: &Options,
) -> Option<(ProgramType, AttachType)> {
    if program.kind != ProgramType::UNSPEC {
        return Some((program.kind, program.attach));
    }
    let given = options.default_type.map(|given| (given.kind, given.attach));
    if program.tail.is_none() {
        return given;
    }
    let is_main = |other: &&ProgramSpec| other.tail.is_none() && other.kind != ProgramType::UNSPEC;
    let mut mains = spec.programs.values().filter(is_main).map(|main| (main.kind, main.attach));
    let first = mains.next();
    if mains.all(|main| Some(main.0) == first.map(|first| first.0)) {
        first.or(given)
    } else {
        given.or(first)
    }
}

fn untyped(program: &ProgramSpec, place: &Place) -> Error {
    let text =
        format!("program `{}`: section `{}` does not say of which type it is", program.name, program.section);
    Error::new(Code::Untyped, text)
        .at(place)
        .hint("say it with `--type NAME`, e.g. `--type tc` or `--type xdp`")
}

/// Refuses what uses maps that are not there.
fn relocatable(draft: &mut Draft<'_>, chosen: &Chosen<'_>, place: &Place) -> Result<()> {
    for reference in chosen.linked.refs.iter().map(|(_, target)| target) {
        match externs::map_of(draft.spec, reference) {
            Some(map) if !draft.maps.contains_key(map) && !poisoned(draft, map) => {
                return missing_map(draft, chosen, map, place);
            }
            _ => {}
        }
    }
    known(draft, chosen, place)
}

/// Refuses what this kernel is known to lack.
fn known(draft: &mut Draft<'_>, chosen: &Chosen<'_>, place: &Place) -> Result<()> {
    let uses = |is: fn(&Ref) -> bool| chosen.linked.refs.iter().any(|(_, target)| is(target));
    let rows = [
        (uses(|r| matches!(r, Ref::Call(_))), Feature::Bpf2Bpf, "calls BPF functions", "4.16"),
        (
            uses(|r| matches!(r, Ref::Func(_))),
            Feature::Callbacks,
            "hands out a BPF function as a callback",
            "5.13",
        ),
        (uses(|r| matches!(r, Ref::JumpTable(_))), Feature::InsnArray, "has jump tables", "6.19"),
    ];
    for (used, feature, what, since) in rows {
        if used && !draft.has(feature) {
            let text = format!("program `{}` {what}, which this kernel lacks", chosen.spec.name);
            return Err(Error::new(Code::Lacking, text).at(place).hint(format!("that needs Linux {since}")));
        }
    }
    Ok(())
}

/// Whether linking has put an instruction in place of the reference that the verifier refuses where it is reached.
fn poisoned(draft: &Draft<'_>, map: &str) -> bool {
    draft.spec.maps.get(map).is_some_and(|map| !map.autocreate)
}

fn missing_map(draft: &Draft<'_>, chosen: &Chosen<'_>, map: &str, place: &Place) -> Result<()> {
    let name = &chosen.spec.name;
    let lacking = draft.facts.features.get(Feature::GlobalData) == onebpf_sys::Support::No;
    let error = if lacking && draft.spec.maps.contains_key(map) {
        let text = format!("program `{name}` uses global variables (map `{map}`), which this kernel lacks");
        Error::new(Code::Lacking, text).hint("global variables need Linux 5.2")
    } else {
        Error::new(Code::Contents, format!("program `{name}` uses map `{map}`, which is not created"))
    };
    Err(error.at(place))
}

/// The instructions with pseudo kinds and offsets in place, and where fds go.
fn patched(draft: &Draft<'_>, chosen: &Chosen<'_>, place: &Place) -> Result<(Vec<Insn>, Vec<Patch>)> {
    let mut insns = chosen.linked.insns.clone();
    let mut patches = chosen.patches.clone();
    for &(insn, ref reference) in &chosen.linked.refs {
        let Some(map) = externs::map_of(draft.spec, reference) else { continue };
        let (kind, offset) = match reference {
            Ref::Data { offset, .. } => (BPF_PSEUDO_MAP_VALUE, *offset),
            Ref::Kconfig(name) => {
                (BPF_PSEUDO_MAP_VALUE, externs::offset(draft.spec, name).unwrap_or_default())
            }
            _ => (BPF_PSEUDO_MAP_FD, 0),
        };
        if poisoned(draft, map) {
            continue;
        }
        let at = insn as usize;
        let pair = insns.get_mut(at..at.saturating_add(2));
        let (Some([first, second]), Some(map)) = (pair, draft.maps.get(map)) else {
            return Err(not_a_load(chosen, insn, place));
        };
        if first.code != LD_IMM64 {
            return Err(not_a_load(chosen, insn, place));
        }
        // In an arena, variables have an offset of their own.
        let offset = map
            .shape
            .globals
            .filter(|_| kind == BPF_PSEUDO_MAP_VALUE)
            .unwrap_or_default()
            .wrapping_add(offset);
        (first.src, first.imm, second.imm) = (kind, 0, offset as i32);
        patches.push(Patch { insn, operand: Operand::MapFd(map.slot) });
    }
    Ok((insns, patches))
}

pub(super) fn not_a_load(chosen: &Chosen<'_>, insn: u32, place: &Place) -> Error {
    let text =
        format!("program `{}`: instruction {insn} refers to a map but loads no address", chosen.spec.name);
    Error::new(Code::Plan, text).at(place)
}

/// The kernel BTF id that a program attaches to, as observed.
fn attach(draft: &mut Draft<'_>, program: &ProgramSpec, place: &Place) -> Result<Option<Attach>> {
    if let Some(types) = typed(draft.spec, program, draft.options)
        && (types.0 == ProgramType::EXT || targets::of(draft.options, &program.name, types).is_some())
    {
        return targets::attach(draft, program, types.0, place).map(Some);
    }
    let Some(target) = attach_target(draft.spec, program, draft.options) else {
        return targetless(draft, program, place).map(|()| None);
    };
    let fail = |what: &str| {
        let what_kind = if target.kind == NameKind::Function { "function" } else { "type" };
        let text = format!(
            "program `{}` attaches to the kernel {what_kind} `{}`, {what}",
            program.name, target.name
        );
        Err(Error::new(Code::NoTarget, text).at(place))
    };
    match draft.facts.named(&target) {
        Some((_, Some(Named { btf_id, module }))) => {
            let module = module.as_ref().map(|module| draft.module(module));
            Ok(Some(Attach { name: target.name, btf_id: *btf_id, module, program: None }))
        }
        Some((_, None)) if draft.facts.kernel_btf == Some(false) => fail("but this kernel has no BTF"),
        Some((_, None)) => match &target.module {
            Some(module) => fail(&format!("which `{module}` does not have")),
            None => fail("which neither this kernel nor a module of it has"),
        },
        None => fail("of which the facts say nothing"),
    }
}

/// Refuses `SEC("fentry")`: without what follows the slash the verifier does not know the arguments (libbpf's
/// `libbpf_prepare_prog_load()`).
fn targetless(draft: &Draft<'_>, program: &ProgramSpec, place: &Place) -> Result<()> {
    if !typed(draft.spec, program, draft.options).is_some_and(needs_target) {
        return Ok(());
    }
    Err(targets::nameless(program, place))
}

/// Whether the kernel wants a BTF id of what such a program attaches to: those of many functions at once get theirs when
/// they are attached.
fn needs_target((kind, attach): (ProgramType, AttachType)) -> bool {
    let several =
        [AttachType::TRACE_FENTRY_MULTI, AttachType::TRACE_FEXIT_MULTI, AttachType::TRACE_FSESSION_MULTI];
    (kind == ProgramType::TRACING || kind == ProgramType::LSM) && !several.contains(&attach)
}

/// What a tracing or LSM program attaches to: libbpf's `btf_get_kernel_prefix_kind()`. `MODULE:NAME` is one in a module.
fn attach_target(spec: &Spec, program: &ProgramSpec, options: &Options) -> Option<KernelName> {
    let types = typed(spec, program, options).filter(|types| needs_target(*types))?;
    if targets::of(options, &program.name, types).is_some() {
        return None;
    }
    let (_, attach) = types;
    let (prefix, kind) = match attach {
        AttachType::TRACE_RAW_TP => ("btf_trace_", NameKind::Typedef),
        AttachType::LSM_MAC | AttachType::LSM_CGROUP => ("bpf_lsm_", NameKind::Function),
        AttachType::TRACE_ITER => ("bpf_iter_", NameKind::Function),
        _ => ("", NameKind::Function),
    };
    let (module, name) = match program.attach_target.as_deref()?.split_once(':') {
        Some((module, name)) => (Some(module.to_owned()), name),
        None => (None, program.attach_target.as_deref()?),
    };
    Some(KernelName { name: format!("{prefix}{name}"), kind, module })
}
