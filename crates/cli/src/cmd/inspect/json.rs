//! `inspect --json`.

use onebpf::Spec;
use onebpf::btf::Endian;
use onebpf::object::{
    Contents, Dialect, Extern, ExternKind, MapSpec, Pinning, ProgramSpec, SlotTarget, Variable, Warning,
};
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct Object<'a> {
    license: &'a str,
    endian: Endian,
    maps: Vec<Map<'a>>,
    programs: Vec<Program<'a>>,
    variables: Vec<VariableJson<'a>>,
    externs: Vec<ExternJson<'a>>,
    warnings: Vec<WarningJson<'a>>,
    name: &'a str,
    core_relocations: usize,
}

#[derive(Serialize)]
struct Map<'a> {
    name: &'a str,
    section: &'a str,
    dialect: Dialect,
    #[serde(rename = "type")]
    kind: String,
    type_id: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    extra: u64,
    numa_node: Option<u32>,
    pinning: String,
    inner: Option<Box<Map<'a>>>,
    slots: Vec<Slot<'a>>,
    id: Option<u32>,
    key_type_id: Option<u32>,
    value_type_id: Option<u32>,
    inner_id: Option<u32>,
    inner_idx: Option<i32>,
    read_only: bool,
    autocreate: bool,
    /// How many initial entries it has.
    entries: usize,
}

#[derive(Serialize)]
struct Slot<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    map: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    program: Option<&'a str>,
}

#[derive(Serialize)]
struct Program<'a> {
    name: &'a str,
    section: &'a str,
    #[serde(rename = "type")]
    kind: Option<&'static str>,
    type_id: u32,
    attach_type: Option<&'static str>,
    attach_type_id: u32,
    flags: u32,
    autoload: bool,
    insns: usize,
    attach_target: Option<&'a str>,
    tail: Option<(u32, u32)>,
}

#[derive(Serialize)]
struct VariableJson<'a> {
    name: &'a str,
    section: &'a str,
    size: u32,
    map: &'a str,
    offset: u32,
    type_id: Option<u32>,
    global: bool,
}

#[derive(Serialize)]
struct ExternJson<'a> {
    name: &'a str,
    kind: &'static str,
    weak: bool,
}

#[derive(Serialize)]
struct WarningJson<'a> {
    code: &'a str,
    message: &'a str,
    place: String,
}

impl<'a> From<&'a Spec> for Object<'a> {
    fn from(spec: &'a Spec) -> Self {
        Self {
            license: &spec.license,
            endian: spec.endian,
            maps: spec.maps.values().map(Map::from).collect(),
            programs: spec.programs.values().map(|program| program_json(spec, program)).collect(),
            variables: spec.variables.values().map(VariableJson::from).collect(),
            externs: spec.externs.values().map(ExternJson::from).collect(),
            warnings: spec.warnings.iter().map(WarningJson::from).collect(),
            name: &spec.name,
            core_relocations: spec.functions.iter().map(|function| function.core.len()).sum(),
        }
    }
}

impl<'a> From<&'a MapSpec> for Map<'a> {
    fn from(map: &'a MapSpec) -> Self {
        Self {
            name: &map.name,
            section: &map.section,
            dialect: map.dialect,
            kind: map.kind.to_string(),
            type_id: map.kind.0,
            key_size: map.key.size,
            value_size: map.value.size,
            max_entries: map.max_entries,
            flags: map.flags,
            extra: map.extra,
            numa_node: map.numa_node,
            pinning: pinning(map.pinning),
            inner: map.inner.as_deref().map(|inner| Box::new(Map::from(inner))),
            slots: slots(&map.contents),
            id: map.id,
            key_type_id: map.key.btf.map(|id| id.0),
            value_type_id: map.value.btf.map(|id| id.0),
            inner_id: map.inner_id,
            inner_idx: map.inner_idx,
            read_only: map.read_only,
            autocreate: map.autocreate,
            entries: if let Contents::Entries(entries) = &map.contents { entries.len() } else { 0 },
        }
    }
}

impl<'a> From<&'a onebpf::object::Slot> for Slot<'a> {
    fn from(slot: &'a onebpf::object::Slot) -> Self {
        match &slot.target {
            SlotTarget::Map(name) => Self { index: slot.index, map: Some(name), program: None },
            SlotTarget::Program(name) => Self { index: slot.index, map: None, program: Some(name) },
        }
    }
}

/// `none`, `by-name`, `object`, `global` or `custom:N`.
pub(super) fn pinning(pinning: Pinning) -> String {
    match pinning {
        Pinning::None => "none".to_owned(),
        Pinning::ByName => "by-name".to_owned(),
        Pinning::Object => "object".to_owned(),
        Pinning::Global => "global".to_owned(),
        Pinning::Custom(number) => format!("custom:{number}"),
    }
}

fn slots(contents: &Contents) -> Vec<Slot<'_>> {
    let Contents::Slots(slots) = contents else { return Vec::new() };
    slots.iter().map(Slot::from).collect()
}

fn program_json<'a>(spec: &'a Spec, program: &'a ProgramSpec) -> Program<'a> {
    Program {
        name: &program.name,
        section: &program.section,
        kind: program.kind.name(),
        type_id: program.kind.0,
        attach_type: program.attach.name(),
        attach_type_id: program.attach.0,
        flags: program.flags,
        autoload: program.autoload,
        insns: spec.functions.get(program.function.0).map_or(0, |function| function.insns.len()),
        attach_target: program.attach_target.as_deref(),
        tail: program.tail,
    }
}

impl<'a> From<&'a Variable> for VariableJson<'a> {
    fn from(variable: &'a Variable) -> Self {
        Self {
            name: &variable.name,
            section: &variable.section,
            size: variable.size,
            map: &variable.map,
            offset: variable.offset,
            type_id: variable.btf.map(|id| id.0),
            global: variable.global,
        }
    }
}

impl<'a> From<&'a Extern> for ExternJson<'a> {
    fn from(wanted: &'a Extern) -> Self {
        Self { name: &wanted.name, kind: extern_kind(wanted.kind), weak: wanted.weak }
    }
}

/// `kconfig`, `ksym` or `kfunc`.
pub(super) fn extern_kind(kind: ExternKind) -> &'static str {
    match kind {
        ExternKind::Kconfig { .. } => "kconfig",
        ExternKind::Ksym => "ksym",
        ExternKind::Kfunc => "kfunc",
    }
}

impl<'a> From<&'a Warning> for WarningJson<'a> {
    fn from(warning: &'a Warning) -> Self {
        Self { code: &warning.code, message: &warning.message, place: warning.place.to_string() }
    }
}
