//! `map list` and `map show`.

use super::Opened;
use crate::exit::Outcome;
use crate::names;
use crate::out::Out;
use crate::table::Table;
use crate::target::each;
use onebpf::Kernel;
use onebpf::object::MapType;
use onebpf::sys::{MapInfo, ObjectKind};
use serde::Serialize;

/// A map in JSON: what the kernel says, and the names of its numbers.
#[derive(Serialize)]
pub(super) struct MapJson<'a> {
    #[serde(rename = "type")]
    kind: String,
    flag_names: String,
    #[serde(flatten)]
    info: &'a MapInfo,
}

impl<'a> From<&'a MapInfo> for MapJson<'a> {
    fn from(info: &'a MapInfo) -> Self {
        Self { kind: MapType(info.map_type).to_string(), flag_names: names::map_flags(info.flags), info }
    }
}

/// All maps, by id.
pub(super) fn list(kernel: &dyn Kernel, out: &mut Out) -> Outcome {
    let infos = each(kernel, ObjectKind::Map, |fd| kernel.map_info(fd))?;
    if out.json {
        return out.json(&infos.iter().map(MapJson::from).collect::<Vec<_>>());
    }
    let mut table = Table::new(&[">id", "name", "type", ">key", ">value", ">entries", "~flags"]);
    for info in &infos {
        table.row([
            info.id.to_string(),
            info.name.clone(),
            MapType(info.map_type).to_string(),
            info.key_size.to_string(),
            info.value_size.to_string(),
            info.max_entries.to_string(),
            flags(info),
        ]);
    }
    if table.is_empty() {
        out.say("this kernel holds no maps");
        return Ok(());
    }
    out.table(&table)
}

/// One map.
pub(super) fn one(map: &Opened, out: &mut Out) -> Outcome {
    let info = &map.info;
    if out.json {
        return out.json(&MapJson::from(info));
    }
    let name = if info.name.is_empty() { "(no name)" } else { &info.name };
    let title = out.bold(name);
    out.line(format_args!("{title}: {} map, id {}", map.kind(), info.id))?;
    let typed = |size: u32, types: Option<(&onebpf::btf::Btf, onebpf::btf::TypeId)>| match types {
        Some((btf, id)) => format!("{size} bytes, {}", btf.declare(id, "").unwrap_or_default()),
        None => format!("{size} bytes"),
    };
    if info.map_type == MapType::ARENA.0 {
        out.line(format_args!("  memory   {}", arena(info)))?;
    } else {
        out.line(format_args!("  key      {}", typed(info.key_size, map.key_type())))?;
        out.line(format_args!("  value    {}", typed(info.value_size, map.value_type())))?;
        out.line(format_args!("  entries  {} at most", info.max_entries))?;
    }
    let flags = flags(info);
    if !flags.is_empty() {
        out.line(format_args!("  flags    {flags}"))?;
    }
    if info.extra != 0 && info.map_type != MapType::ARENA.0 {
        out.line(format_args!("  extra    {:#x}", info.extra))?;
    }
    if info.btf_id != 0 {
        out.line(format_args!("  BTF      id {}", info.btf_id))?;
    }
    Ok(())
}

/// How large an arena is, and where.
pub(super) fn arena(info: &MapInfo) -> String {
    let place = match info.extra {
        0 => "where the first process has mapped it".to_owned(),
        address => format!("at {address:#x} in every process"),
    };
    format!("{} pages, {place}", info.max_entries)
}

fn flags(info: &MapInfo) -> String {
    let names = names::map_flags(info.flags);
    match (info.frozen, names.is_empty()) {
        (true, true) => "frozen".to_owned(),
        (true, false) => format!("{names}, frozen"),
        (false, _) => names,
    }
}
