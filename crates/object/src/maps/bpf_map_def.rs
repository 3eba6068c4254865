//! Dialect `bpf_map_def`: sections `maps` and `maps/<name>`, libbpf before 1.0 and what grew around it.
//!
//! | word | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 and on |
//! |---|---|---|---|---|---|---|---|---|
//! | libbpf | type | key_size | value_size | max_entries | map_flags | | | |
//! | kernel samples until 5.11 | = | = | = | = | = | inner_map_idx | numa_node | |
//! | aya | = | = | = | = | = | id | pinning | |
//!
//! The flags may be missing. Of two readings of words 5 and 6, the one that the other words speak for is taken:
//! word 5 is `inner_map_idx` in a map that holds maps (in section `maps`; the index counts that section's maps), else aya's
//! id; word 6 is `numa_node` if the flags have `BPF_F_NUMA_NODE`, else aya's pinning (0 none, 1 by name). All words from 7
//! on are unknown: an error unless zero, `relaxed` makes it a warning.
//!
//! Evidence, against `bpf_elf_map` in the same section `maps` (`maps/<name>` is this dialect's alone):
//!
//! | definition | weight here | weight there |
//! |---|---|---|
//! | 20 bytes | 10 | 0 |
//! | 36 bytes | 1 | 10 |
//! | 24 or 32 bytes, words beyond the fifth not all zero | 1 | 5 |
//! | 28 bytes, word 6 is 2 or more without `BPF_F_NUMA_NODE` (a pinning that only iproute2 has) | 3 | 8 |
//! | 28 bytes, a flag `BPF_F_NUMA_NODE` (a samples' node), or word 6 is 1 and word 5 is 0 (aya pins by name, and has no ids) | 5 | 3 |
//! | 28 bytes, words 5 and 6 not all zero, otherwise | 3 | 3: a tie |
//! | a program section `ID/IDX` with the id of a program array | +0 | +10 |
//! | words beyond the fifth all zero: both read the same | 1 | 0, or 2 with a section `classifier` or `action` |
//! | uneven, under 16 or over 36 bytes | 1 | cannot be |

use super::legacy::{self, COMMON, Definition, NUMA_NODE, SHORTEST};
use super::{Claim, Declared, Found, Input, MAX_WARNINGS, link, walk};
use crate::elf::SectionKind;
use crate::error::{Kind, MapFault};
use crate::{Contents, Dialect, Error, Layout, MapSpec, MapType, Pinning, Result, Warning};

/// Words that some variant gives a meaning to.
const KNOWN: usize = 7;
/// The samples' and aya's size.
const LONG: u64 = 28;

pub(super) fn claims(input: &Input<'_>) -> Claim {
    if input.section.kind != SectionKind::LegacyMaps {
        return Claim::No;
    }
    let (weight, evidence) = evidence(input);
    Claim::Yes { weight, evidence }
}

pub(super) fn maps(input: &Input<'_>) -> Result<Found> {
    let definitions = legacy::definitions(input)?;
    let plain = definitions.iter().all(Definition::has_plain_tail);
    if !plain && legacy::stride(input, &definitions).is_none() {
        let what = "has definitions of several sizes, whose words beyond the fifth could mean anything";
        return Err(walk::fault(input, what));
    }
    let mut found = Found::default();
    for definition in &definitions {
        let spec = read(input, definition, &mut found.warnings)?;
        let (section, offset) = (input.section.index, definition.offset);
        found.maps.push(Declared { spec, section, offset, pointers: Vec::new() });
    }
    if !has_own_section(input) {
        fill_templates(&definitions, &mut found.maps)?;
    }
    Ok(found)
}

fn evidence(input: &Input<'_>) -> (u32, String) {
    if has_own_section(input) {
        return (100, "a section of its own for each map".to_owned());
    }
    let Ok(definitions) = legacy::definitions(input) else {
        return (1, "its symbols do not fit any dialect".to_owned());
    };
    let Some(size) = legacy::stride(input, &definitions) else {
        return (1, "definitions of several sizes".to_owned());
    };
    let plain = definitions.iter().all(Definition::has_plain_tail);
    let has_node = |d: &Definition<'_>| d.word(4) & NUMA_NODE != 0;
    let pinned_by_aya = |d: &Definition<'_>| d.word(5) == 0 && d.word(6) == 1;
    let weight = match size {
        20 => 10,
        LONG if plain => 1,
        LONG if definitions.iter().any(|d| has_node(d) || pinned_by_aya(d)) => 5,
        LONG => 3,
        _ => 1,
    };
    let tail = match (size, plain) {
        (0..=20, _) => "",
        (_, true) => ", nothing beyond the fifth word",
        (LONG, false) => {
            ", words 5 and 6 can be an inner map's index and a NUMA node, or aya's id and pinning"
        }
        (_, false) => ", words beyond the fifth",
    };
    (weight, format!("definitions of {size} bytes{tail}"))
}

fn has_own_section(input: &Input<'_>) -> bool {
    input.section.name.contains('/')
}

fn read(input: &Input<'_>, definition: &Definition<'_>, warnings: &mut Vec<Warning>) -> Result<MapSpec> {
    let place = definition.place(input);
    let fault = |fault: MapFault| Kind::Map(fault).at(place.clone());
    let map = definition.name.to_owned();
    if definition.size < SHORTEST {
        let what = format!("has {} bytes for `{map}`, where a map needs {SHORTEST}", definition.size);
        return Err(fault(MapFault::Section { section: input.section.name.to_owned(), what }));
    }
    let unknown = definition.words.iter().enumerate().skip(KNOWN).chain(lone_word(definition));
    for (word, value) in unknown.filter(|(_, value)| **value != 0) {
        let unknown = MapFault::UnknownWord { map: map.clone(), word, value: *value };
        if !input.options.relaxed || warnings.len() >= MAX_WARNINGS {
            return Err(fault(unknown));
        }
        warnings.push(Warning {
            code: "W0102".to_owned(),
            message: unknown.to_string(),
            place: place.clone(),
        });
    }
    let kind = MapType(definition.word(0));
    if kind == MapType::default() {
        return Err(fault(MapFault::NoType { map }));
    }
    let flags = definition.word(4);
    let has_node = flags & NUMA_NODE != 0;
    let pinning = match definition.word(6) {
        0 => Pinning::None,
        _ if has_node || definition.size < LONG => Pinning::None,
        1 => Pinning::ByName,
        value => {
            let what = "is not one that this dialect knows (0: none, 1: by name)";
            return Err(fault(MapFault::Pinning { map, value: u64::from(value), what }));
        }
    };
    let id = Some(definition.word(5)).filter(|id| *id != 0 && !kind.holds_maps());
    Ok(MapSpec {
        name: map,
        section: input.section.name.to_owned(),
        dialect: Dialect::BpfMapDef,
        kind,
        key: Layout { size: definition.word(1), btf: None },
        value: Layout { size: definition.word(2), btf: None },
        max_entries: definition.word(3),
        flags,
        extra: 0,
        numa_node: has_node.then(|| definition.word(6)),
        pinning,
        inner: None,
        contents: Contents::Empty,
        id,
        inner_id: None,
        inner_idx: None,
        read_only: false,
        autocreate: true,
        place,
    })
}

/// Words 5 and 6 come together: in a definition of 24 bytes, the sixth alone is unknown.
fn lone_word<'a>(definition: &'a Definition<'_>) -> Option<(usize, &'a u32)> {
    definition.words.get(COMMON).filter(|_| definition.size < LONG).map(|word| (COMMON, word))
}

/// The samples' `inner_map_idx`. 0 is a map's index, too, which the loader of the samples used without asking
/// (bpf_load.c, Linux 4.14); but where that map holds maps itself, 0 is a word that nobody wrote.
fn fill_templates(definitions: &[Definition<'_>], maps: &mut [Declared]) -> Result<()> {
    let mut templates = Vec::new();
    for (at, (definition, outer)) in definitions.iter().zip(maps.iter()).enumerate() {
        if outer.spec.kind.holds_maps()
            && definition.size >= LONG
            && let Some(template) = template(definition, &outer.spec, maps)?
        {
            templates.push((at, template));
        }
    }
    for (at, template) in templates {
        if let Some(outer) = maps.get_mut(at) {
            outer.spec.value.size = 4;
            outer.spec.inner = Some(Box::new(template));
        }
    }
    Ok(())
}

fn template(definition: &Definition<'_>, outer: &MapSpec, maps: &[Declared]) -> Result<Option<MapSpec>> {
    let index = definition.word(COMMON);
    let fault = |what: String| -> Error {
        Kind::Map(MapFault::Inner { map: outer.name.clone(), what }).at(outer.place.clone())
    };
    let Some(inner) = maps.get(index as usize) else {
        return Err(fault(format!("inner_map_idx is {index}, but the section has {} maps", maps.len())));
    };
    if inner.spec.kind.holds_maps() && index == 0 {
        return Ok(None);
    }
    if inner.spec.kind.holds_maps() {
        let name = &inner.spec.name;
        return Err(fault(format!("inner_map_idx {index} is `{name}`, which holds maps itself")));
    }
    Ok(Some(link::as_template(outer, &inner.spec)))
}
