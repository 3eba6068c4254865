//! Whether a pinned map is what the object declares, field by field.

use super::{CreateMap, FieldDiff};
use crate::error::{Code, Error};
use crate::facts::PinnedMap;
use crate::layout::TypeLayout;
use onebpf_object::{MapType, ProgramType};
use onebpf_sys::MapInfo;
use std::path::Path;

const BPF_F_NUMA_NODE: u32 = 1 << 2;

/// How a pinned map differs from the one that would be created in its place; empty if it can be used.
///
/// All that libbpf's `map_is_reuse_compat()` compares, after the same normalisation that creation uses; besides the
/// template of a map of maps, the programs that a program array takes, and members of keys and values by name and
/// offset where both sides have BTF. What cannot be seen is not compared.
pub fn compare(wanted: &CreateMap, pinned: &PinnedMap) -> Vec<FieldDiff> {
    let mut rows = attributes("", wanted, &pinned.info);
    if let (Some(wanted), Some(inner)) = (&wanted.like.inner, &pinned.inner) {
        rows.extend(attributes("inner.", wanted, inner));
    }
    if let (Some(owner), Some(now)) = (wanted.like.owner, pinned.info.owner_prog_type) {
        let name = |kind: u32| format!("{} programs", ProgramType(kind));
        rows.push(row("owner", name(now), name(owner)));
    }
    if let (Some(jited), Some(now)) = (wanted.like.jited, pinned.info.owner_jited) {
        let name = |jited: bool| if jited { "compiled programs" } else { "interpreted programs" }.to_owned();
        rows.push(row("owner_jited", name(now), name(jited)));
    }
    let sides = [("key", &wanted.like.key, &pinned.key), ("value", &wanted.like.value, &pinned.value)];
    for (side, wanted, pinned) in sides {
        if let (Some(wanted), Some(pinned)) = (wanted, pinned) {
            members(side, wanted, pinned, &mut rows);
        }
    }
    rows.retain(|row| row.pinned != row.wanted);
    rows
}

/// The error for a pinned map that differs: a table of what is pinned against what is wanted.
pub(crate) fn mismatch(code: Code, wanted: &CreateMap, path: &Path, fields: &[FieldDiff]) -> Error {
    let text = format!("map `{}`: {} holds a different map", wanted.name, path.display());
    let error = Error::new(code, text).at(&wanted.place).note(table(fields, ["pinned", "declared"]));
    error.hint(format!(
        "keep the old map for its users and give the name to a new one with `--on-mismatch {name}=replace`, \
         take its entries along with `--on-mismatch {name}=migrate`, or pin elsewhere",
        name = wanted.name
    ))
}

/// How an inner map differs from the template of its outer map; empty if the kernel takes it
/// (`bpf_map_meta_equal()`).
pub(super) fn fits(template: &CreateMap, inner: &CreateMap) -> Vec<FieldDiff> {
    let info = MapInfo {
        map_type: inner.map_type,
        key_size: inner.key_size,
        value_size: inner.value_size,
        max_entries: inner.max_entries,
        flags: inner.flags,
        extra: template.extra,
        ..MapInfo::default()
    };
    let mut rows = attributes("inner.", template, &info);
    for row in &mut rows {
        row.field = row.field.split_off("inner.".len());
    }
    rows.retain(|row| row.pinned != row.wanted);
    rows
}

/// Three aligned columns with heads.
pub(super) fn table(fields: &[FieldDiff], [pinned, wanted]: [&str; 2]) -> String {
    let head = FieldDiff { field: "field".into(), pinned: pinned.into(), wanted: wanted.into() };
    let rows = || std::iter::once(&head).chain(fields);
    let width =
        |text: fn(&FieldDiff) -> &String| rows().map(|row| text(row).chars().count()).max().unwrap_or(0);
    let (first, second) = (width(|row| &row.field), width(|row| &row.pinned));
    let line = |row: &FieldDiff| format!("{:first$}  {:second$}  {}", row.field, row.pinned, row.wanted);
    rows().map(|row| line(row).trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

fn row(field: impl Into<String>, pinned: String, wanted: String) -> FieldDiff {
    FieldDiff { field: field.into(), pinned, wanted }
}

/// What `BPF_MAP_CREATE` was given.
fn attributes(prefix: &str, wanted: &CreateMap, pinned: &MapInfo) -> Vec<FieldDiff> {
    // The kernel tells of a node by the flag alone, and a node that is given sets it.
    let ignored = wanted.like.ignored_flags | BPF_F_NUMA_NODE;
    let numa = |on: bool| if on { "one" } else { "none" }.to_owned();
    let has_node = |flags: u32| flags & BPF_F_NUMA_NODE != 0;
    let wants_node = wanted.numa_node.is_some() || has_node(wanted.flags);
    let hex = |flags: u32| format!("{:#x}", flags & !ignored);
    let field = |name: &str| format!("{prefix}{name}");
    let mut rows = vec![
        row(field("type"), MapType(pinned.map_type).to_string(), MapType(wanted.map_type).to_string()),
        row(field("key_size"), pinned.key_size.to_string(), wanted.key_size.to_string()),
        row(field("value_size"), pinned.value_size.to_string(), wanted.value_size.to_string()),
        row(field("map_flags"), hex(pinned.flags), hex(wanted.flags)),
        row(field("numa_node"), numa(has_node(pinned.flags)), numa(wants_node)),
        row(field("map_extra"), pinned.extra.to_string(), wanted.extra.to_string()),
    ];
    if prefix.is_empty() || wanted.fixed_entries() {
        let entries = (pinned.max_entries.to_string(), wanted.max_entries.to_string());
        rows.insert(3, row(field("max_entries"), entries.0, entries.1));
    }
    rows
}

/// Members of either side, by name.
fn members(side: &str, wanted: &TypeLayout, pinned: &TypeLayout, rows: &mut Vec<FieldDiff>) {
    let none = || "-".to_owned();
    let name = |path: &str| if path.is_empty() { side.to_owned() } else { format!("{side}.{path}") };
    for field in &wanted.fields {
        let there = pinned.field(&field.path).map_or_else(none, ToString::to_string);
        rows.push(row(name(&field.path), there, field.to_string()));
    }
    for field in pinned.fields.iter().filter(|field| wanted.field(&field.path).is_none()) {
        rows.push(row(name(&field.path), field.to_string(), none()));
    }
}
