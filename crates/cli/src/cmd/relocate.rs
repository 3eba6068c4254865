//! `onebpf relocate`: the instructions that the kernel would get. Asks no kernel.

use crate::core_path;
use crate::exit::{Failure, Outcome};
use crate::listing::{self, Listing};
use crate::load_args::{ReadArgs, names, refuse_btf};
use crate::out::Out;
use crate::report::of_object;
use crate::value::hex;
use onebpf::Spec;
use onebpf::btf::Endian;
use onebpf::object::insn::pseudo;
use onebpf::object::{ExternKind, LinkedProgram, Ref, link};
use serde::Serialize;
use std::path::PathBuf;

/// The final instructions of each program, as the kernel would get them, and what they refer to.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// A compiled BPF object
    file: PathBuf,
    /// Kernel BTF to relocate against (not in this version)
    #[arg(long, value_name = "PATH")]
    btf: Option<PathBuf>,
    /// Only this program (repeatable)
    #[arg(long, value_name = "NAME")]
    program: Vec<String>,
    #[command(flatten)]
    read: ReadArgs,
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

pub(crate) fn run(args: &Args, out: &mut Out) -> Outcome {
    refuse_btf(args.btf.as_deref())?;
    let spec = args.read.object(&args.file)?.spec;
    let mut linked = Vec::new();
    for name in chosen(&spec, &args.program)? {
        let program =
            link(&spec, name).map_err(|error| Failure::from(of_object(&error)).about(&args.file))?;
        linked.push((name.as_str(), program));
    }
    if out.json {
        let programs = linked.iter().map(|(name, program)| program_json(&spec, name, program)).collect();
        return out.json(&Document { programs });
    }
    for (at, (name, program)) in linked.iter().enumerate() {
        if at > 0 {
            out.line("")?;
        }
        print(&spec, name, program, out)?;
    }
    Ok(())
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

fn program_json<'a>(spec: &'a Spec, name: &'a str, program: &'a LinkedProgram) -> Program<'a> {
    let mut refs: Vec<RefJson<'a>> =
        program.refs.iter().filter_map(|(at, to)| ref_json(spec, program, *at, to)).collect();
    refs.sort();
    let function = |(insn, id): &(u32, onebpf::object::FuncId)| {
        Some(FunctionJson { insn: *insn, name: &spec.functions.get(id.0)?.name })
    };
    Program {
        name,
        insns: program.insns.iter().map(|insn| hex(&insn.to_bytes(Endian::Little))).collect(),
        refs,
        core: core_json(spec, program),
        functions: program.functions.iter().filter_map(function).collect(),
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

fn print(spec: &Spec, name: &str, program: &LinkedProgram, out: &mut Out) -> Outcome {
    let section = spec.programs.get(name).map_or("", |program| program.section.as_str());
    let title = out.bold(name);
    out.line(format_args!("{title} in {section}, {} instructions", program.insns.len()))?;
    let name_of = |id: onebpf::object::FuncId| spec.functions.get(id.0).map(|function| function.name.clone());
    let functions = program.functions.iter().filter_map(|(at, id)| Some((*at, name_of(*id)?))).collect();
    let listing = Listing {
        insns: &program.insns,
        refs: program.refs.iter().map(|(at, target)| (*at, listing::target(spec, target))).collect(),
        core: core_notes(spec, program),
        lines: &program.line_info,
        functions,
    };
    listing.print(spec.btf.as_ref(), out)
}

/// What each instruction with a CO-RE record waits for.
fn core_notes(spec: &Spec, program: &LinkedProgram) -> Vec<(u32, String)> {
    let Some(btf) = &spec.btf else { return Vec::new() };
    let note = |relo: &onebpf::btf::CoreRelo| {
        (relo.insn_off, format!("CO-RE {} of {}", relo.kind.name(), core_path::text(btf, relo)))
    };
    program.core.iter().map(note).collect()
}
