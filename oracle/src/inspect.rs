//! What libbpf says that an object holds, in the shape of `onebpf inspect --json`.

use std::path::Path;

use serde_json::{Value, json};

use crate::libbpf::{self, Map, Object, Program, attach_type_name, map_type_name, program_type_name};
use crate::log::Facts;

/// The opened object as JSON: `maps` and `programs`; the programs' `flags` come from [`load_flags`].
pub fn inspect(object: &Object, facts: &Facts) -> Value {
    let mut sections = facts.map_sections.iter();
    let maps: Vec<Value> = object
        .maps()
        .into_iter()
        .map(|map| {
            // libbpf prints no section for `struct_ops` maps, and `.kconfig` has none in the file.
            let section =
                (map.kind() != libbpf_sys::BPF_MAP_TYPE_STRUCT_OPS).then(|| sections.next()).flatten();
            let section = if map.name().ends_with(".kconfig") { json!(".kconfig") } else { json!(section) };
            describe_map(map, &section, facts)
        })
        .collect();
    let programs: Vec<Value> = object.programs().into_iter().map(describe_program).collect();

    json!({ "maps": maps, "programs": programs })
}

/// `prog_flags` with which each program would be loaded, `None` where libbpf does not tell. No getter tells those that
/// the section's name implies (`BPF_F_SLEEPABLE`, `BPF_F_XDP_HAS_FRAGS`), but they stand in what libbpf generates for a
/// light skeleton. That code crashes on arenas and `struct_ops`: to be called in a process of its own.
pub fn load_flags(path: &Path) -> Option<Vec<Option<u32>>> {
    const PROG_FLAGS: usize = 44; // in union bpf_attr, BPF_PROG_LOAD
    libbpf::take_log();
    let object = Object::open(path).ok()?;
    let programs = object.programs();
    for program in &programs {
        // What replaces a program wants to know which.
        program.set_autoload(program.kind() != libbpf_sys::BPF_PROG_TYPE_EXT).ok()?;
        if program.kind() == libbpf_sys::BPF_PROG_TYPE_UNSPEC {
            program.set_kind(libbpf_sys::BPF_PROG_TYPE_SOCKET_FILTER).ok()?;
        }
    }
    let data = object.generate().ok()?;
    // Written for the object's machine: EI_DATA.
    let big_endian = std::fs::read(path).ok()?.get(5) == Some(&2);
    let from_bytes = if big_endian { u32::from_be_bytes } else { u32::from_le_bytes };

    let facts = Facts::read(&libbpf::take_log());
    let word = |at: usize| data.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(from_bytes);
    let mut attrs = facts.load_attrs.iter();
    let flags = programs.iter().map(|it| if it.autoload() { word(attrs.next()? + PROG_FLAGS) } else { None });
    Some(flags.collect())
}

fn describe_map(map: Map<'_>, section: &Value, facts: &Facts) -> Value {
    let name = map.name();
    let slots: Vec<Value> = facts
        .slots
        .iter()
        .filter(|(of, ..)| *of == name)
        .map(|(_, index, target)| {
            let what = if map.kind() == libbpf_sys::BPF_MAP_TYPE_PROG_ARRAY { "program" } else { "map" };
            json!({ "index": index, what: target })
        })
        .collect();
    json!({
        "name": name,
        "section": section,
        "type": map_type_name(map.kind()),
        "type_id": map.kind(),
        "key_size": map.key_size(),
        "value_size": map.value_size(),
        "max_entries": map.max_entries(),
        "flags": map.flags(),
        "extra": map.extra(),
        "numa_node": map.numa_node(),
        "pinning": if map.pin_path().is_empty() { "none" } else { "by-name" },
        "inner": map.inner().map(|inner| describe_map(inner, &Value::Null, facts)),
        "slots": slots,
    })
}

fn describe_program(program: Program<'_>) -> Value {
    json!({
        "name": program.name(),
        "section": program.section(),
        "type": program_type_name(program.kind()),
        "type_id": program.kind(),
        "attach_type": attach_type_name(program.attach_type()),
        "attach_type_id": program.attach_type(),

        "autoload": program.autoload(),
        "insns": program.insns().len(),
    })
}
