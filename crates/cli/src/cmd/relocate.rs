//! `onebpf relocate`: the instructions that the kernel would get. Of the kernel it asks the BTF, if CO-RE needs one and
//! `--btf` gives none.

use crate::core_path;
use crate::exit::{Failure, Outcome};
use crate::listing::{self, Listing};
use crate::load_args::{ReadArgs, names};
use crate::out::Out;
use crate::report::of_object;
use crate::value::hex;
use onebpf::btf::{Btf, Endian, Matcher};
use onebpf::object::insn::pseudo;
use onebpf::object::{
    ExternKind, LinkedProgram, LinkedTable, Poison, Ref, link, relocate_core, resolve_core,
};
use onebpf::{Kernel as _, KernelTypes, Linux, Spec};
use serde::Serialize;
use std::path::PathBuf;

/// The final instructions of each program, as the kernel would get them, and what they refer to.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// A compiled BPF object
    file: PathBuf,
    /// Kernel BTF for CO-RE: a file, or a directory with a file for each release [default: the running kernel's]
    #[arg(long, value_name = "PATH")]
    btf: Option<PathBuf>,
    /// Only this program (repeatable)
    #[arg(long, value_name = "NAME")]
    program: Vec<String>,
    #[command(flatten)]
    read: ReadArgs,
}

/// A program on its way.
struct Linked<'a> {
    name: &'a str,
    program: LinkedProgram,
    poisons: Vec<Poison>,
}

#[derive(Serialize)]
struct Document<'a> {
    programs: Vec<Program<'a>>,
}

#[derive(Serialize)]
struct Program<'a> {
    name: &'a str,
    insns: Vec<String>,
    refs: Vec<RefJson<'a>>,
    core: Vec<CoreJson>,
    functions: Vec<FunctionJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    jump_tables: Vec<TableJson>,
}

#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct RefJson<'a> {
    insn: u32,
    kind: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u32>,
}

#[derive(Serialize)]
struct CoreJson {
    insn: u32,
    kind: &'static str,
    #[serde(rename = "type")]
    root: String,
    access: String,
}

#[derive(Serialize)]
struct FunctionJson<'a> {
    insn: u32,
    name: &'a str,
}

/// Where a jump table leads, in instructions from the program's start.
#[derive(Serialize)]
struct TableJson {
    name: String,
    targets: Vec<u32>,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Outcome {
    let spec = args.read.object(&args.file)?.spec;
    let mut linked = Vec::new();
    for name in chosen(&spec, &args.program)? {
        let program =
            link(&spec, name).map_err(|error| Failure::from(of_object(&error)).about(&args.file))?;
        linked.push(Linked { name: name.as_str(), program, poisons: Vec::new() });
    }
    relocate(args, &spec, &mut linked)?;
    if out.json {
        let programs = linked.iter().map(|linked| program_json(&spec, linked)).collect();
        return out.json(&Document { programs });
    }
    for (at, linked) in linked.iter().enumerate() {
        if at > 0 {
            out.line("")?;
        }
        print(&spec, linked, out)?;
    }
    Ok(())
}

/// Applies CO-RE relocations. The running kernel is asked only if one of them needs its types.
fn relocate(args: &Args, spec: &Spec, linked: &mut [Linked<'_>]) -> Outcome {
    let Some(local) = &spec.btf else { return Ok(()) };
    let types = if linked.iter().any(|linked| linked.program.needs_kernel_types()) {
        let release = Linux.host().map(|host| host.release).unwrap_or_default();
        KernelTypes::read(&Linux, args.btf.as_deref(), &release)?.btf.ok_or_else(no_types)?.into()
    } else {
        None
    };
    let targets: Vec<&Btf> = types.iter().collect();
    let mut matcher = Matcher::new(local, &targets);
    let about = |error: onebpf::object::Error| Failure::from(of_object(&error)).about(&args.file);
    let programs: Vec<&LinkedProgram> = linked.iter().map(|linked| &linked.program).collect();
    resolve_core(spec, &programs, &mut matcher).map_err(about)?;
    for linked in linked {
        linked.poisons = relocate_core(spec, &mut linked.program, &mut matcher).map_err(about)?;
    }
    Ok(())
}

fn no_types() -> Failure {
    let text = "the object has CO-RE relocations, and the running kernel has no BTF".to_owned();
    Failure::new("E0316", text).hint("give the BTF of the kernel with `--btf PATH`")
}

fn chosen<'a>(spec: &'a Spec, wanted: &'a [String]) -> Outcome<Vec<&'a String>> {
    if wanted.is_empty() {
        return Ok(spec.programs.keys().collect());
    }
    let missing = wanted.iter().find(|name| !spec.programs.contains_key(*name));
    match missing {
        Some(name) => Err(Failure::new("E0145", format!("there is no program `{name}`"))
            .hint(format!("there is {}", names(spec.programs.keys())))),
        None => Ok(wanted.iter().collect()),
    }
}

fn program_json<'a>(spec: &'a Spec, linked: &'a Linked<'a>) -> Program<'a> {
    let (name, program) = (linked.name, &linked.program);
    let mut refs: Vec<RefJson<'a>> =
        program.refs.iter().filter_map(|(at, to)| ref_json(spec, program, *at, to)).collect();
    refs.extend(linked.poisons.iter().map(|it| RefJson {
        insn: it.insn,
        kind: "poison",
        name: &it.what,
        offset: None,
    }));
    refs.sort();
    let function = |(insn, id): &(u32, onebpf::object::FuncId)| {
        Some(FunctionJson { insn: *insn, name: &spec.functions.get(id.0)?.name })
    };
    let tables = program.jump_tables().into_iter();
    Program {
        name,
        insns: program.insns.iter().map(|insn| hex(&insn.to_bytes(Endian::Little))).collect(),
        refs,
        core: core_json(spec, program),
        functions: program.functions.iter().filter_map(function).collect(),
        jump_tables: tables.map(|it| TableJson { name: it.name, targets: it.targets }).collect(),
    }
}

/// A reference; calls within the program are not listed, their distance is in the instruction.
fn ref_json<'a>(spec: &'a Spec, program: &LinkedProgram, insn: u32, target: &'a Ref) -> Option<RefJson<'a>> {
    let poisoned =
        program.insns.get(insn as usize).is_some_and(|at| at.is_call() && at.src != pseudo::KFUNC_CALL);
    let new = |kind, name: &'a str, offset| Some(RefJson { insn, kind, name, offset });
    match target {
        Ref::Call(_) => None,
        Ref::Map(map) | Ref::Data { map, .. } if poisoned => new("poison", map, None),
        Ref::Map(map) => new("map", map, None),
        Ref::Data { map, offset } => new("map_value", map, Some(*offset)),
        Ref::Func(id) => new("func", spec.functions.get(id.0).map_or("", |function| &function.name), None),
        Ref::Kfunc(name) => new("kfunc", name, None),
        Ref::Ksym(name) => new("ksym", name, None),
        Ref::Kconfig(name) => {
            let offset = spec.externs.get(name).and_then(|found| match found.kind {
                ExternKind::Kconfig { offset, .. } => Some(offset),
                _ => None,
            });
            new("kconfig", name, offset)
        }
        Ref::JumpTable(table) => new("jump_table", &table.name, None),
    }
}

fn core_json(spec: &Spec, program: &LinkedProgram) -> Vec<CoreJson> {
    let Some(btf) = &spec.btf else { return Vec::new() };
    let record = |relo: &onebpf::btf::CoreRelo| CoreJson {
        insn: relo.insn_off,
        kind: relo.kind.name(),
        root: core_path::root(btf, relo.type_id),
        access: btf.string(relo.access_str_off).unwrap_or_default().to_owned(),
    };
    program.core.iter().map(record).collect()
}

fn print(spec: &Spec, linked: &Linked<'_>, out: &mut Out) -> Outcome {
    let (name, program) = (linked.name, &linked.program);
    let section = spec.programs.get(name).map_or("", |program| program.section.as_str());
    let title = out.bold(name);
    out.line(format_args!("{title} in {section}, {} instructions", program.insns.len()))?;
    let name_of = |id: onebpf::object::FuncId| spec.functions.get(id.0).map(|function| function.name.clone());
    let functions = program.functions.iter().filter_map(|(at, id)| Some((*at, name_of(*id)?))).collect();
    let listing = Listing {
        insns: &program.insns,
        refs: program.refs.iter().map(|(at, target)| (*at, listing::target(spec, target))).collect(),
        core: core_notes(spec, linked),
        lines: &program.line_info,
        functions,
    };
    listing.print(spec.btf.as_ref(), out)?;
    for LinkedTable { name, targets, .. } in program.jump_tables() {
        let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
        out.line(format_args!("jump table {name}: {}", targets.join(" ")))?;
    }
    Ok(())
}

/// What each instruction with a CO-RE record is about, and why it is poisoned.
fn core_notes(spec: &Spec, linked: &Linked<'_>) -> Vec<(u32, String)> {
    let Some(btf) = &spec.btf else { return Vec::new() };
    let note = |relo: &onebpf::btf::CoreRelo| {
        let mut text = format!("CO-RE {} of {}", relo.kind.name(), core_path::text(btf, relo));
        if let Some(poison) = linked.poisons.iter().find(|poison| poison.insn == relo.insn_off) {
            text = format!("{text}: {}", poison.why);
        }
        (relo.insn_off, text)
    };
    linked.program.core.iter().map(note).collect()
}
