//! What libbpf says that an object holds, in the shape of `onebpf inspect --json`.

use serde_json::{Value, json};

use crate::libbpf::{Map, Object, Program, attach_type_name, map_type_name, program_type_name};
use crate::log::Facts;

/// The opened object as JSON: `maps` and `programs`.
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
        "flags": program.flags(),
        "autoload": program.autoload(),
        "insns": program.insns().len(),
    })
}
