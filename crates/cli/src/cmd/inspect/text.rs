//! `inspect` for people.

use super::json::{extern_kind, pinning};
use crate::core_path;
use crate::exit::Outcome;
use crate::listing::{self, Listing};
use crate::names;
use crate::out::Out;
use crate::table::Table;
use onebpf::Spec;
use onebpf::btf::{Endian, TypeId, ValueStyle};
use onebpf::object::{
    Contents, ExternKind, Layout, MapSpec, Pinning, ProgramSpec, Ref, SlotTarget, Variable,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The whole page.
pub(super) fn print(spec: &Spec, file: &Path, out: &mut Out) -> Outcome {
    let endian = if spec.endian == Endian::Big { "big" } else { "little" };
    let license = if spec.license.is_empty() {
        "no license".to_owned()
    } else {
        format!("license \"{}\"", spec.license)
    };
    let btf = if spec.btf.is_some() { "" } else { ", no BTF" };
    let title = out.bold(file.display());
    out.line(format_args!("{title}: BPF object, {endian}-endian, {license}{btf}"))?;
    section(out, "Maps", &maps(spec))?;
    section(out, "Slots", &slots(spec))?;
    section(out, "Programs", &programs(spec))?;
    section(out, "Variables", &variables(spec))?;
    section(out, "Externs", &externs(spec))?;
    section(out, "CO-RE relocations", &core(spec))?;
    section(out, "Warnings", &warnings(spec))?;
    if out.verbose {
        definitions(spec, out)?;
        functions(spec, out)?;
    }
    Ok(())
}

fn section(out: &mut Out, title: &str, table: &Table) -> Outcome {
    if table.is_empty() {
        return Ok(());
    }
    out.heading(title)?;
    out.table(table)
}

fn maps(spec: &Spec) -> Table {
    let mut table = Table::new(&["name", "type", "~key", "~value", ">entries", "dialect", "~notes"]);
    for map in spec.maps.values() {
        table.row(map_row(spec, map, map.name.clone()));
        if let Some(inner) = &map.inner {
            table.row(map_row(spec, inner, "└ holds".to_owned()));
        }
    }
    table
}

fn map_row(spec: &Spec, map: &MapSpec, name: String) -> [String; 7] {
    [
        name,
        map.kind.to_string(),
        layout(spec, map.key),
        layout(spec, map.value),
        map.max_entries.to_string(),
        dialect(map),
        notes(map),
    ]
}

/// What few maps have: flags by name, pinning, iproute2's ids.
fn notes(map: &MapSpec) -> String {
    let pinned = match map.pinning {
        Pinning::None => None,
        Pinning::ByName => Some("pinned by name".to_owned()),
        other => Some(format!("pinned: {}", pinning(other))),
    };
    let notes = [
        Some(names::map_flags(map.flags)).filter(|flags| !flags.is_empty()),
        map.read_only.then(|| "frozen".to_owned()),
        pinned,
        map.numa_node.map(|node| format!("node {node}")),
        (map.extra != 0).then(|| format!("extra {:#x}", map.extra)),
        map.id.filter(|id| *id != 0).map(|id| format!("id {id}")),
        map.inner_id.filter(|id| *id != 0).map(|id| format!("holds id {id}")),
        map.inner_idx.filter(|index| *index != 0).map(|index| format!("slot {index}")),
        initial(&map.contents),
        (!map.autocreate).then(|| "not created".to_owned()),
    ];
    notes.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn initial(contents: &Contents) -> Option<String> {
    let Contents::Entries(entries) = contents else { return None };
    Some(format!("{} initial", entries.len()))
}

fn dialect(map: &MapSpec) -> String {
    serde_json::to_value(map.dialect)
        .ok()
        .and_then(|name| name.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// `16 struct flow_key`.
fn layout(spec: &Spec, layout: Layout) -> String {
    match layout.btf.and_then(|id| declaration(spec, id)) {
        Some(name) => format!("{} {name}", layout.size),
        None => layout.size.to_string(),
    }
}

/// A type's name as a cast has it; anonymous structs are cut to their kind, `-v` shows them whole.
fn declaration(spec: &Spec, id: TypeId) -> Option<String> {
    let text = spec.btf.as_ref()?.declare(id, "").ok()?;
    Some(match text.find('{') {
        Some(body) => format!("{} {{…}}", text.get(..body).unwrap_or_default().trim_end()),
        None => text,
    })
}

fn slots(spec: &Spec) -> Table {
    let mut table = Table::new(&["map", ">slot", "holds"]);
    for map in spec.maps.values() {
        let Contents::Slots(slots) = &map.contents else { continue };
        for slot in slots {
            let holds = match &slot.target {
                SlotTarget::Map(name) => format!("map {name}"),
                SlotTarget::Program(name) => format!("program {name}"),
            };
            table.row([map.name.clone(), slot.index.to_string(), holds]);
        }
    }
    table
}

fn programs(spec: &Spec) -> Table {
    let mut table = Table::new(&["name", "~section", "type", "?attach", ">insns", "~notes"]);
    for program in spec.programs.values() {
        let function = spec.functions.get(program.function.0);
        table.row([
            program.name.clone(),
            program.section.clone(),
            program.kind.to_string(),
            attach(program),
            function.map_or(0, |function| function.insns.len()).to_string(),
            program_notes(spec, program),
        ]);
    }
    table
}

/// Attach type 0 means cgroup_inet_ingress to cgroup_skb programs and nothing to all others.
fn attach(program: &ProgramSpec) -> String {
    let says_something = program.attach.0 != 0 || program.kind.name() == Some("cgroup_skb");
    if says_something { program.attach.to_string() } else { String::new() }
}

/// Flags by name, iproute2's slot, and what the program needs.
fn program_notes(spec: &Spec, program: &ProgramSpec) -> String {
    let flags = names::program_flags(program.flags);
    let notes = [
        (!program.autoload).then(|| "not loaded by default".to_owned()),
        Some(flags).filter(|flags| !flags.is_empty()),
        program.tail.map(|(id, index)| format!("slot {index} of map id {id}")),
        Some(needs(spec, program)).filter(|needs| !needs.is_empty()),
    ];
    notes.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// What a program and the functions that it calls refer to.
fn needs(spec: &Spec, program: &ProgramSpec) -> String {
    let (mut seen, mut next) = (BTreeSet::new(), vec![program.function]);
    let (mut maps, mut kernel, mut tables, mut core) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), 0);
    while let Some(id) = next.pop() {
        let Some(function) = spec.functions.get(id.0).filter(|_| seen.insert(id)) else { continue };
        core += function.core.len();
        for wanted in function.refs.values() {
            match wanted {
                Ref::Map(name) | Ref::Data { map: name, .. } => drop(maps.insert(name.as_str())),
                Ref::Call(function) | Ref::Func(function) => next.push(*function),
                Ref::Kfunc(name) | Ref::Ksym(name) | Ref::Kconfig(name) => drop(kernel.insert(name.as_str())),
                Ref::JumpTable(table) => drop(tables.insert((table.offset, table.targets.len()))),
            }
        }
    }
    let list = |names: BTreeSet<&str>| names.into_iter().collect::<Vec<_>>().join(", ");
    let mut words = Vec::new();
    if !maps.is_empty() {
        words.push(format!("needs {}", list(maps)));
    }
    if !kernel.is_empty() {
        words.push(format!("of the kernel {}", list(kernel)));
    }
    match tables.len() {
        0 => {}
        1 => words.push("1 jump table".to_owned()),
        many => words.push(format!("{many} jump tables")),
    }
    if core > 0 {
        words.push(format!("{core} CO-RE"));
    }
    words.join("; ")
}

fn variables(spec: &Spec) -> Table {
    let mut table = Table::new(&["name", "section", "~type", ">size", "~value"]);
    for variable in spec.variables.values() {
        let kind = variable.btf.and_then(|id| declaration(spec, id)).unwrap_or_default();
        let size = variable.size.to_string();
        table.row([variable.name.clone(), variable.section.clone(), kind, size, value(spec, variable)]);
    }
    table
}

/// The value that the object gives a variable; without a type, nothing.
fn value(spec: &Spec, variable: &Variable) -> String {
    const LONGEST: usize = 120;
    let shown = || {
        let zeros;
        let data: &[u8] = match &spec.maps.get(&variable.map)?.contents {
            Contents::Data(data) => data.get(variable.offset as usize..)?.get(..variable.size as usize)?,
            _ if variable.size <= 4096 => {
                zeros = vec![0; variable.size as usize];
                &zeros
            }
            _ => return None,
        };
        let style = ValueStyle { max_values: 1 << 12, ..ValueStyle::default() };
        Some(spec.btf.as_ref()?.render_value(variable.btf?, data, &style).ok()?.to_string())
    };
    let text = shown().unwrap_or_default();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn externs(spec: &Spec) -> Table {
    let mut table = Table::new(&["name", "kind", "~type", "weak"]);
    for wanted in spec.externs.values() {
        let kind = match wanted.kind {
            ExternKind::Kfunc => None,
            _ => wanted.btf.and_then(|id| declaration(spec, id)),
        };
        let weak = if wanted.weak { "yes" } else { "" };
        table.row([
            wanted.name.clone(),
            extern_kind(wanted.kind).to_owned(),
            kind.unwrap_or_default(),
            weak.to_owned(),
        ]);
    }
    table
}

/// Grouped: what is accessed, what is asked of it, how often.
fn core(spec: &Spec) -> Table {
    let mut groups: BTreeMap<(String, &str), usize> = BTreeMap::new();
    if let Some(btf) = &spec.btf {
        for relo in spec.functions.iter().flat_map(|function| &function.core) {
            *groups.entry((core_path::text(btf, relo), relo.kind.name())).or_default() += 1;
        }
    }
    let mut table = Table::new(&["~access", "asks for", ">times"]);
    for ((path, kind), times) in groups {
        table.row([path, kind.to_owned(), times.to_string()]);
    }
    table
}

fn warnings(spec: &Spec) -> Table {
    let mut table = Table::new(&["code", "~place", "~message"]);
    for warning in &spec.warnings {
        table.row([warning.code.clone(), warning.place.to_string(), warning.message.clone()]);
    }
    table
}

/// `-v`: keys and values as C, each type once.
fn definitions(spec: &Spec, out: &mut Out) -> Outcome {
    let Some(btf) = &spec.btf else { return Ok(()) };
    let mut seen = BTreeSet::new();
    let mut texts = Vec::new();
    let maps = spec.maps.values().flat_map(|map| [Some(map), map.inner.as_deref()]).flatten();
    for id in maps.flat_map(|map| [map.key.btf, map.value.btf]).flatten() {
        let Ok(ty) = btf.strip(id) else { continue };
        let composed = matches!(ty.kind.name(), "STRUCT" | "UNION" | "ENUM" | "ENUM64");
        if composed && seen.insert(ty.id) {
            texts.extend(btf.definition(ty.id));
        }
    }
    if !texts.is_empty() {
        out.heading("Types of keys and values")?;
    }
    for text in texts {
        for line in text.lines() {
            out.line(format_args!("  {}", line.replace('\t', "    ")))?;
        }
    }
    Ok(())
}

/// `-v`: every function with its source lines.
fn functions(spec: &Spec, out: &mut Out) -> Outcome {
    for function in &spec.functions {
        out.heading(format_args!("{} in {}+{:#x}", function.name, function.section, function.offset))?;
        let refs =
            function.refs.iter().map(|(insn, wanted)| (*insn, listing::target(spec, wanted))).collect();
        let listing = Listing {
            insns: &function.insns,
            refs,
            core: Vec::new(),
            lines: &function.lines,
            functions: Vec::new(),
        };
        listing.print(spec.btf.as_ref(), out)?;
    }
    Ok(())
}
