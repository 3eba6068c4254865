//! Maps: which are needed, what the kernel will be asked for, and what goes into them.

use super::draft::{Draft, MapSlot};
use super::externs;
use super::pins::{self, Decision, Publish};
use super::programs::Chosen;
use super::scope::{PinRule, Where, check_distinct};
use super::struct_ops::{self, Tables};
use super::{CreateMap, Fallback, Likeness, MapBtfRef, Slot, Step, object};
use crate::error::{Code, Error, Result};
use crate::layout::TypeLayout;
use crate::{Options, Spec};
use indexmap::IndexSet;
use onebpf_btf::TypeId;
use onebpf_object::{Contents, Dialect, MapSpec, MapType, Place, SlotTarget};
use onebpf_sys::{Feature, Host, OBJ_NAME_MAX};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) const BPF_F_NO_COMMON_LRU: u32 = 1 << 1;
const BPF_F_NUMA_NODE: u32 = 1 << 2;
const BPF_F_RDONLY_PROG: u32 = 1 << 7;
const BPF_F_MMAPABLE: u32 = 1 << 10;
/// How deep templates may nest. The kernel takes one level.
const MAX_NESTING: usize = 8;

/// The maps that a load creates, in the order of the object: all of them, or what the chosen programs need.
pub(super) fn needed<'a>(
    spec: &'a Spec,
    options: &Options,
    programs: &[Chosen<'a>],
) -> Result<IndexSet<&'a str>> {
    let pins = &options.pins;
    let mut named = options.reuse.keys().chain(pins.paths.keys()).chain(pins.on_mismatch_of.keys());
    let unknown = |name: &&String| !spec.maps.contains_key(*name);
    if let Some(name) = named.find(unknown).or_else(|| pins.outer_of.keys().find(unknown)) {
        return Err(Error::new(
            Code::NoProgram,
            format!("the options speak of map `{name}`, but there is none"),
        ));
    }
    let created = |map: &MapSpec| map.autocreate;
    if options.programs.is_empty() && options.sections.is_empty() {
        let all = spec.maps.iter().filter(|(_, map)| created(map));
        return Ok(all.map(|(name, _)| name.as_str()).collect());
    }
    let mut wanted: IndexSet<&str> = programs
        .iter()
        .flat_map(|chosen| chosen.linked.refs.iter().map(|(_, target)| target))
        .filter_map(|target| externs::map_of(spec, target))
        .collect();
    let chosen = programs.iter().map(|chosen| chosen.spec.name.as_str()).collect();
    let complete = |map: &MapSpec| matches!(&map.contents, Contents::Ops(ops) if struct_ops::is_created(map, ops, options, &chosen));
    wanted.extend(spec.maps.iter().filter(|(_, map)| complete(map)).map(|(name, _)| name.as_str()));
    let mut next = 0;
    while let Some(name) = wanted.get_index(next).copied() {
        next += 1;
        let Some(map) = spec.maps.get(name) else { continue };
        if let Contents::Slots(slots) = &map.contents {
            wanted.extend(slots.iter().filter_map(|slot| match &slot.target {
                SlotTarget::Map(inner) => Some(inner.as_str()),
                SlotTarget::Program(_) => None,
            }));
        }
    }
    Ok(spec
        .maps
        .iter()
        .filter(|(name, map)| wanted.contains(name.as_str()) && created(map))
        .map(|(name, _)| name.as_str())
        .collect())
}

/// Adds the steps that create or open maps, write their data and freeze what is read-only.
pub(super) fn steps(draft: &mut Draft<'_>, needed: &IndexSet<&str>, tables: &Tables<'_>) -> Result<()> {
    let spec = draft.spec;
    distinct(draft, needed)?;
    for warning in draft.facts.iproute2.iter().flat_map(|facts| &facts.warnings) {
        draft.warn("W0304", warning.clone(), &Place::default());
    }
    for name in needed {
        let Some(map) = spec.maps.get(*name) else { continue };
        let left_out = || format!("map `{name}` is left out: it holds variables");
        if is_data(map) && !draft.has_or(Feature::GlobalData, left_out) {
            // As libbpf: a program that refers to it is an error of its own.
            continue;
        }
        one(draft, name, map, tables)?;
    }
    for name in needed {
        let Some(map) = spec.maps.get(*name) else { continue };
        let Some(MapSlot { slot, reused: false, .. }) = draft.maps.get(*name) else { continue };
        let slot = *slot;
        write(draft, name, map, slot)?;
    }
    Ok(())
}

/// No two maps may be one pin.
fn distinct(draft: &Draft<'_>, needed: &IndexSet<&str>) -> Result<()> {
    let place = Where::new(draft.spec, draft.options, draft.facts);
    let mut pins: BTreeMap<PathBuf, Vec<&str>> = BTreeMap::new();
    for name in needed {
        let Some(map) = draft.spec.maps.get(*name) else { continue };
        if let Some(pin) = place.map(name, map)?.filter(|pin| pin.rule != PinRule::Take) {
            pins.entry(pin.path).or_default().push(name);
        }
    }
    check_distinct(&pins)
}

fn is_data(map: &MapSpec) -> bool {
    matches!(map.dialect, Dialect::Data | Dialect::Kconfig)
}

/// One map: opened from its pin or created.
fn one(draft: &mut Draft<'_>, name: &str, map: &MapSpec, tables: &Tables<'_>) -> Result<()> {
    creatable(map)?;
    if map.kind == MapType::RINGBUF && !draft.has(Feature::RingBuffer) {
        let text = format!("map `{name}` is a ring buffer, which this kernel lacks");
        let error = Error::new(Code::Lacking, text).at(&map.place);
        return Err(error.hint("ring buffers need Linux 5.8; before that there is perf_event_array"));
    }
    let place = Where::new(draft.spec, draft.options, draft.facts);
    let pin = place.map(name, map)?;
    if let (None, false, Some(number)) = (&pin, draft.options.pins.disabled, place.unknown_number(map)) {
        let text = format!("map `{name}` is not pinned: nothing says what pinning {number} is");
        draft.warn("W0303", text, &map.place);
    }
    let mut wanted = normalise(draft, map, name, 0);
    if let Some((size, value)) = tables.value(draft, name) {
        (wanted.value_size, wanted.kernel_value) = (size, Some(value));
        // The kernel wants the object's BTF, though no type in it (`map_create()`).
        wanted.btf = draft.btf.map(|btf| MapBtfRef { btf, key: 0, value: 0 });
        wanted.on_refusal.clear();
    }
    let decision = match &pin {
        Some(pin) => pins::decide(draft, map, &wanted, pin)?,
        None => Decision::Create,
    };
    let pin = match (decision, pin) {
        (Decision::Reuse(id), Some(pin)) => {
            reuse(draft, name, wanted, pin.path, id);
            return Ok(());
        }
        (Decision::Replace(migration), Some(pin)) => {
            draft.migrations.extend(migration.map(|migration| (name.to_owned(), migration)));
            Some(Publish { path: pin.path, replaces: true })
        }
        (_, pin) => pin.map(|pin| Publish { path: pin.path, replaces: false }),
    };
    if map.kind.holds_maps() {
        wanted.inner = Some(template(draft, map, 0)?);
    }
    let slot = draft.slot();
    wanted.out = slot;
    draft.maps.insert(name.to_owned(), MapSlot { slot, reused: false, pin, shape: wanted.clone() });
    draft.push(Step::CreateMap(Box::new(wanted)));
    Ok(())
}

fn reuse(draft: &mut Draft<'_>, name: &str, mut wanted: CreateMap, path: PathBuf, id: u32) {
    let out = draft.slot();
    wanted.out = out;
    let (name, expect) = (name.to_owned(), Box::new(wanted.clone()));
    draft.push(Step::OpenPin { out, name: name.clone(), path, expect, id });
    draft.maps.insert(name, MapSlot { slot: out, reused: true, pin: None, shape: wanted });
}

/// Creates the map that shows the kernel what `outer` will hold.
fn template(draft: &mut Draft<'_>, outer: &MapSpec, depth: usize) -> Result<Slot<object::Map>> {
    let spec = draft.spec;
    let by_id = || spec.maps.get(*draft.ids.get(&outer.inner_id?)?);
    let Some(inner) = outer.inner.as_deref().or_else(by_id) else {
        let text = format!("map `{}` holds maps, but the object does not say which kind", outer.name);
        return Err(Error::new(Code::MapKind, text).at(&outer.place));
    };
    if depth >= MAX_NESTING {
        return Err(
            Error::new(Code::MapKind, format!("map `{}`: maps nest too deeply", outer.name)).at(&outer.place)
        );
    }
    let mut wanted = normalise(draft, inner, &format!("{}.inner", outer.name), depth);
    wanted.kernel_name = draft.kernel_name(&inner.name);
    wanted.template = true;
    if inner.kind.holds_maps() {
        wanted.inner = Some(template(draft, inner, depth + 1)?);
    }
    wanted.out = draft.slot();
    let slot = wanted.out;
    draft.push(Step::CreateMap(Box::new(wanted)));
    Ok(slot)
}

fn creatable(map: &MapSpec) -> Result<()> {
    if map.dialect == Dialect::StructOps || map.kind != MapType::STRUCT_OPS {
        return Ok(());
    }
    let text =
        format!("map `{}` has the type struct_ops, but is no struct in section `.struct_ops`", map.name);
    Err(Error::new(Code::MapKind, text).at(&map.place).hint("load the other programs with `--program NAME`"))
}

/// A declared map in the kernel's terms: used alike to create it, to compare it with a pin, and to show it.
fn normalise(draft: &mut Draft<'_>, map: &MapSpec, name: &str, depth: usize) -> CreateMap {
    let btf = btf_types(draft, map);
    let mut flags = map.flags;
    let unmappable = || format!("map `{name}` cannot be mapped into memory: no BPF_F_MMAPABLE");
    if is_data(map) && flags & BPF_F_MMAPABLE != 0 && !draft.has_or(Feature::ArrayMmap, unmappable) {
        flags &= !BPF_F_MMAPABLE;
    }
    CreateMap {
        out: Slot::new(0),
        name: name.to_owned(),
        kernel_name: draft.kernel_name(&map.name),
        map_type: map.kind.0,
        key_size: map.key.size,
        value_size: if map.kind.holds_maps() { 4 } else { map.value.size },
        max_entries: max_entries(map, &draft.facts.host),
        flags,
        extra: map.extra,
        // A node without the flag means nothing to the kernel (`bpf_map_attr_numa_node()`), as with libbpf.
        numa_node: map.numa_node.filter(|_| flags & BPF_F_NUMA_NODE != 0),
        // iproute2: events are read on the host.
        device: draft.options.device.filter(|_| map.kind != MapType::PERF_EVENT_ARRAY),
        btf,
        token: draft.token,
        kernel_value: None,
        inner: None,
        globals: super::arena::globals(draft.facts, map),
        template: false,
        on_refusal: if btf.is_some() { vec![Fallback::DropBtf] } else { Vec::new() },
        like: Box::new(likeness(draft, map, depth)),
        place: map.place.clone(),
    }
}

/// What else a pinned map has to be like. The kernel itself adds BPF_F_RDONLY_PROG to device maps
/// (`dev_map_init_map()`, Linux 4.14); whether data maps can be mapped depends on the kernel that made them.
fn likeness(draft: &mut Draft<'_>, map: &MapSpec, depth: usize) -> Likeness {
    let spec = draft.spec;
    let by_id = || spec.maps.get(*draft.ids.get(&map.inner_id?)?);
    let inner = map.inner.as_deref().or_else(by_id).filter(|_| map.kind.holds_maps() && depth < MAX_NESTING);
    let inner = inner.map(|inner| Box::new(normalise(draft, inner, &inner.name, depth + 1)));
    let layout = |id: Option<TypeId>| TypeLayout::of(spec.btf.as_ref()?, id?);
    let typed = !is_data(map);
    Likeness {
        ignored_flags: match map.kind {
            MapType::DEVMAP | MapType::DEVMAP_HASH => BPF_F_RDONLY_PROG,
            _ if is_data(map) => BPF_F_MMAPABLE,
            _ => 0,
        },
        inner,
        owner: pins::owner(draft, map),
        jited: draft.facts.jit,
        key: layout(map.key.btf).filter(|_| typed),
        value: layout(map.value.btf).filter(|_| typed),
    }
}

/// Entries as the kernel wants them: libbpf's `map_set_def_max_entries()` and `adjust_ringbuf_sz()`.
fn max_entries(map: &MapSpec, host: &Host) -> u32 {
    match map.kind {
        MapType::PERF_EVENT_ARRAY if map.max_entries == 0 => host.possible_cpus,
        // Lists for each CPU have the same length: htab_map_alloc() rounds up to a multiple of the CPUs, or down where
        // no number is above.
        MapType::LRU_HASH | MapType::LRU_PERCPU_HASH if map.flags & BPF_F_NO_COMMON_LRU != 0 => {
            let cpus = host.possible_cpus.max(1);
            let down = map.max_entries - map.max_entries % cpus;
            map.max_entries.checked_next_multiple_of(cpus).unwrap_or(down)
        }
        MapType::RINGBUF | MapType::USER_RINGBUF => ring_size(map.max_entries, host.page_size),
        _ => map.max_entries,
    }
}

/// Bytes of a ring buffer that was declared with `bytes`: the next power of two of pages. 0, and what no u32 holds, is
/// left for the kernel to refuse.
pub fn ring_size(bytes: u32, page: u32) -> u32 {
    if bytes == 0 || page == 0 {
        return bytes;
    }
    bytes
        .div_ceil(page)
        .checked_next_power_of_two()
        .and_then(|pages| pages.checked_mul(page))
        .unwrap_or(bytes)
}

fn btf_types(draft: &Draft<'_>, map: &MapSpec) -> Option<MapBtfRef> {
    let btf = draft.btf?;
    if !map.kind.takes_btf() {
        return None;
    }
    let (key, value) = (map.key.btf.map_or(0, |id| id.0), map.value.btf.map_or(0, |id| id.0));
    // Without a key type the kernel takes a value type for arrays of global data and for bloom filters only:
    // array_map_check_btf() (Linux 5.2), bloom_map_check_btf() (Linux 5.16).
    let keyless = is_data(map) || map.kind.name() == Some("bloom_filter");
    (value != 0 && (key != 0 || keyless)).then_some(MapBtfRef { btf, key, value })
}

/// The name for the kernel: at most 15 of `[A-Za-z0-9_.]` (`bpf_obj_name_cpy()`).
pub(super) fn object_name(name: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '.' { c } else { '_' };
    name.chars().take(OBJ_NAME_MAX).map(legal).collect()
}

/// Writes what a map holds at first, and freezes it if it is read-only.
fn write(draft: &mut Draft<'_>, name: &str, map: &MapSpec, slot: Slot<object::Map>) -> Result<()> {
    if map.kind == MapType::ARENA {
        return super::arena::fill(draft, name, map, slot);
    }
    let values = draft.externs.config(map);
    if let Some(data) = values.as_deref().or_else(|| map.contents.data()) {
        let size = map.value.size as usize;
        if data.len() > size {
            let text = format!("map `{}`: {} bytes do not fit a value of {size}", map.name, data.len());
            return Err(Error::new(Code::Contents, text).at(&map.place));
        }
        // The kernel hands out zeroed maps: .bss needs no write.
        if data.iter().any(|byte| *byte != 0) {
            let mut value = data.to_vec();
            value.resize(size, 0);
            let (name, key) = (name.to_owned(), vec![0; map.key.size as usize]);
            draft.push(Step::Write { map: slot, name, key, value: Arc::from(value) });
        }
    }
    if let Contents::Entries(entries) = &map.contents {
        super::entries::write(draft, name, map, slot, entries)?;
    }
    let left_open =
        || format!("map `{name}` is read-only to programs, but not to user space: it is not frozen");
    if map.read_only && draft.has_or(Feature::MapFreeze, left_open) {
        draft.push(Step::Freeze { map: slot, name: name.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_are_whole_pages_in_powers_of_two() {
        // libbpf's adjust_ringbuf_sz() with 4096-byte pages.
        for (asked, given) in
            [(0, 0), (1, 4096), (4096, 4096), (4097, 8192), (12288, 16384), (1 << 20, 1 << 20)]
        {
            assert_eq!(ring_size(asked, 4096), given);
        }
        assert_eq!(ring_size(u32::MAX, 4096), u32::MAX);
    }

    #[test]
    fn names_are_cut_and_cleaned() {
        assert_eq!(object_name("a_name_longer_than_fifteen"), "a_name_longer_t");
        assert_eq!(object_name("my-map.ä"), "my_map._");
    }
}
