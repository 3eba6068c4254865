//! Dialect `bpf_elf_map`: section `maps`, iproute2's `struct bpf_elf_map` (bpf_elf.h).
//!
//! | word | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 |
//! |---|---|---|---|---|---|---|---|---|---|
//! | | type | size_key | size_value | max_elem | flags | id | pinning | inner_id | inner_idx |
//!
//! All definitions of a section have one size, 16 to 36 bytes; what is missing is zero. `pinning` is 0 none, 1 object,
//! 2 global, or a number of `/etc/iproute2/bpf_pinning`. A map of maps names its template by `inner_id`: the first map with
//! that `id`, wherever it stands. A map with an `id` and no `inner_id` goes into slot `inner_idx` of every map of maps that
//! names its id; -1 keeps it out (a template only), and 0, which is also what nobody wrote, does not.
//!
//! How a section is told from `bpf_map_def`: see the table there.

use super::legacy::{self, Definition, NUMA_NODE, SHORTEST};
use super::{Claim, Declared, Found, Input, link};
use crate::elf::SectionKind;
use crate::error::{Kind, MapFault};
use crate::{Contents, Dialect, Layout, MapSpec, MapType, Pinning, Result, Slot, SlotTarget, Warning};
use std::collections::BTreeMap;

/// All nine words.
const FULL: u64 = 36;

pub(super) fn claims(input: &Input<'_>) -> Claim {
    if input.section.kind != SectionKind::LegacyMaps || input.section.name != "maps" {
        return Claim::No;
    }
    let Ok(definitions) = legacy::definitions(input) else { return Claim::No };
    match legacy::stride(input, &definitions) {
        Some(size @ SHORTEST..=FULL) => evidence(input, &definitions, size),
        _ => Claim::No,
    }
}

pub(super) fn maps(input: &Input<'_>) -> Result<Found> {
    let definitions = legacy::definitions(input)?;
    let mut found = Found::default();
    for definition in &definitions {
        let spec = read(input, definition)?;
        let (section, offset) = (input.section.index, definition.offset);
        found.maps.push(Declared { spec, section, offset, pointers: Vec::new() });
    }
    fill_templates(&mut found)?;
    fill_slots(&mut found.maps)?;
    Ok(found)
}

fn evidence(input: &Input<'_>, definitions: &[Definition<'_>], size: u64) -> Claim {
    let plain = definitions.iter().all(Definition::has_plain_tail);
    let own_pin = definitions.iter().find(|d| d.word(6) >= 2 && d.word(4) & NUMA_NODE == 0);
    let mut evidence = vec![format!("definitions of {size} bytes")];
    let mut weight = match size {
        FULL => 10,
        20 => 0,
        _ if plain => {
            let by_tc = ["classifier", "action"].iter().any(|name| input.index.has_program_section(name));
            if by_tc { 2 } else { 0 }
        }
        28 if own_pin.is_some() => 8,
        28 => 3,
        _ => 5,
    };
    if size != 20 && !plain {
        evidence.push("word 5 can be an id, word 6 a pinning".to_owned());
    }
    if let Some(definition) = own_pin {
        evidence.push(format!("`{}` has pinning {}", definition.name, definition.word(6)));
    }
    let mut arrays = definitions.iter().filter(|d| d.words.len() > 5 && d.word(0) == MapType::PROG_ARRAY.0);
    if let Some(section) = arrays.find_map(|d| input.index.tail_section(d.word(5))) {
        weight += 10;
        evidence.push(format!("section `{section}` is a tail call of one"));
    }
    Claim::Yes { weight, evidence: evidence.join(", ") }
}

fn read(input: &Input<'_>, definition: &Definition<'_>) -> Result<MapSpec> {
    let place = definition.place(input);
    let kind = MapType(definition.word(0));
    let map = definition.name.to_owned();
    if !(SHORTEST..=FULL).contains(&definition.size) {
        let what = format!("has {} bytes for `{map}`, where bpf_elf_map has 16 to 36", definition.size);
        let section = input.section.name.to_owned();
        return Err(Kind::Map(MapFault::Section { section, what }).at(place));
    }
    if kind == MapType::default() {
        return Err(Kind::Map(MapFault::NoType { map }).at(place));
    }
    // iproute2 gives maps of maps this size, whatever the definition says.
    let value = if kind.holds_maps() { 4 } else { definition.word(2) };
    let pinning = match definition.word(6) {
        0 => Pinning::None,
        1 => Pinning::Object,
        2 => Pinning::Global,
        other => Pinning::Custom(other),
    };
    Ok(MapSpec {
        name: map,
        section: input.section.name.to_owned(),
        dialect: Dialect::BpfElfMap,
        kind,
        key: Layout { size: definition.word(1), btf: None },
        value: Layout { size: value, btf: None },
        max_entries: definition.word(3),
        flags: definition.word(4),
        extra: 0,
        numa_node: None,
        pinning,
        inner: None,
        contents: Contents::Empty,
        id: Some(definition.word(5)),
        inner_id: Some(definition.word(7)).filter(|id| *id != 0),
        inner_idx: Some(definition.word(8) as i32),
        read_only: false,
        autocreate: true,
        place,
    })
}

/// An outer map that is pinned may do without a template: iproute2 asks for one only to create the map.
fn fill_templates(found: &mut Found) -> Result<()> {
    let mut first_with = BTreeMap::new();
    for (at, map) in found.maps.iter().enumerate() {
        first_with.entry(map.spec.id.unwrap_or_default()).or_insert(at);
    }
    let mut templates = Vec::new();
    for (at, outer) in found.maps.iter().enumerate().filter(|(_, map)| map.spec.kind.holds_maps()) {
        let outer = &outer.spec;
        let named = outer.inner_id.and_then(|id| first_with.get(&id)).and_then(|at| found.maps.get(*at));
        let what = match (outer.inner_id, named) {
            (_, Some(inner)) if inner.spec.kind.holds_maps() => {
                format!("inner_id names `{}`, which holds maps itself", inner.spec.name)
            }
            (_, Some(inner)) => {
                templates.push((at, link::as_template(outer, &inner.spec)));
                continue;
            }
            (Some(id), None) => format!("there is no inner map with id {id}"),
            (None, None) => "it holds maps, but inner_id names no template".to_owned(),
        };
        let fault = MapFault::Inner { map: outer.name.clone(), what };
        if outer.pinning == Pinning::None || named.is_some() {
            return Err(Kind::Map(fault).at(outer.place.clone()));
        }
        let (message, place) = (format!("{fault}: it cannot be created, only reused"), outer.place.clone());
        found.warnings.push(Warning { code: "W0103".to_owned(), message, place });
    }
    for (at, template) in templates {
        if let Some(outer) = found.maps.get_mut(at) {
            outer.spec.inner = Some(Box::new(template));
        }
    }
    Ok(())
}

/// Puts inner maps into the slots that they ask for. Of two that ask for the same one, the later gets it, as iproute2
/// writes one after the other.
fn fill_slots(maps: &mut [Declared]) -> Result<()> {
    let mut wanted: BTreeMap<u32, BTreeMap<u32, String>> = BTreeMap::new();
    for map in maps.iter().map(|map| &map.spec) {
        if let (Some(id @ 1..), None, Some(index)) = (map.id, map.inner_id, map.inner_idx)
            && index != -1
        {
            wanted.entry(id).or_default().insert(index as u32, map.name.clone());
        }
    }
    for outer in maps.iter_mut().map(|map| &mut map.spec).filter(|map| map.kind.holds_maps()) {
        let Some(slots) = outer.inner_id.and_then(|id| wanted.get(&id)) else { continue };
        let out_of_bounds = |index: u32| outer.kind == MapType::ARRAY_OF_MAPS && index >= outer.max_entries;
        if let Some((index, inner)) = slots.iter().find(|(index, _)| out_of_bounds(**index)) {
            let what = format!("`{inner}` asks for slot {index}, but there are {}", outer.max_entries);
            let fault = MapFault::Slot { map: outer.name.clone(), what };
            return Err(Kind::Map(fault).at(outer.place.clone()));
        }
        let slot =
            |(index, name): (&u32, &String)| Slot { index: *index, target: SlotTarget::Map(name.clone()) };
        outer.contents = Contents::Slots(slots.iter().map(slot).collect());
    }
    Ok(())
}
