//! Map dialects: siblings with the same two functions, one row each in one table.
//!
//! A dialect sees borrowed views, returns specs or located errors, and never sees the others. What crosses
//! dialects comes after all of them: pointers from one map to another ([`link`]), BTF types of legacy maps
//! ([`annotate`]), the arena's globals, the `.kconfig` map.

mod annotate;
mod arena;
mod bpf_elf_map;
mod bpf_map_def;
mod btf;
mod btf_values;
mod data;
mod definition;
mod externs;
mod index;
mod kconfig;
mod legacy;
mod link;
mod places;
mod struct_ops;
mod tagged;
mod tail;
#[cfg(test)]
mod tests;
mod variables;
mod walk;

use index::Index;
pub(crate) use places::Places;
pub(crate) use tagged::fill_tagged_slots;
pub(crate) use tail::{fill_tail_slots, parse as tail_section};

use crate::elf::{Elf, Section, SectionKind};
use crate::error::{Kind, MapFault};
use crate::{Dialect, Extern, MapSpec, ParseOptions, Place, Result, Variable, Warning};
use indexmap::IndexMap;
use onebpf_btf::Btf;
use std::collections::HashSet;

/// What a dialect is given: one section of one file.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    pub(crate) elf: &'a Elf<'a>,
    pub(crate) btf: Option<&'a Btf>,
    pub(crate) section: &'a Section<'a>,
    pub(crate) options: &'a ParseOptions,
    pub(crate) index: &'a Index<'a>,
}

/// Oddities that are worth telling one by one; what has more is an error.
const MAX_WARNINGS: usize = 1000;

/// What a dialect finds.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) maps: Vec<Declared>,
    pub(crate) warnings: Vec<Warning>,
}

/// A map, where it is declared, and what it points to.
#[derive(Debug)]
pub(crate) struct Declared {
    pub(crate) spec: MapSpec,
    /// ELF index of its section.
    pub(crate) section: usize,
    /// Where in that section.
    pub(crate) offset: u64,
    /// Relocations to be resolved once all maps are known.
    pub(crate) pointers: Vec<link::Pointer>,
}

/// Whether a section is written in a dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It cannot be.
    No,
    /// Some of its variables may be: each is written in one dialect or the other, as its members say.
    Part,
    /// It can be; the evidence, and how much it weighs.
    Yes { weight: u32, evidence: String },
}

/// A dialect: what it says of a section, and how it reads one.
pub(crate) struct Reader {
    pub(crate) dialect: Dialect,
    pub(crate) claims: fn(&Input<'_>) -> Claim,
    pub(crate) maps: fn(&Input<'_>) -> Result<Found>,
}

/// Every dialect that is read from a section. The seventh, `kconfig`, has no section: see [`kconfig`].
const READERS: &[Reader] = &[
    Reader { dialect: Dialect::BpfMapDef, claims: bpf_map_def::claims, maps: bpf_map_def::maps },
    Reader { dialect: Dialect::BpfElfMap, claims: bpf_elf_map::claims, maps: bpf_elf_map::maps },
    Reader { dialect: Dialect::Btf, claims: btf::claims, maps: btf::maps },
    Reader { dialect: Dialect::BtfValues, claims: btf_values::claims, maps: btf_values::maps },
    Reader { dialect: Dialect::Data, claims: data::claims, maps: data::maps },
    Reader { dialect: Dialect::StructOps, claims: struct_ops::claims, maps: struct_ops::maps },
];

/// The order of maps, by the kind of their section, is libbpf's (0.x for legacy ones): `maps`, `.maps`, global data,
/// `.kconfig`, struct_ops; within a kind, the order of sections, then of offsets.
const DECLARED: &[SectionKind] = &[SectionKind::LegacyMaps];
const DEFINED: &[SectionKind] = &[SectionKind::BtfMaps];
const DATA: &[SectionKind] = &[SectionKind::Data, SectionKind::ReadOnlyData, SectionKind::Bss];
const STRUCT_OPS: &[SectionKind] = &[SectionKind::StructOps];

/// All that an object declares beside its programs.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) maps: IndexMap<String, MapSpec>,
    pub(crate) variables: IndexMap<String, Variable>,
    pub(crate) externs: IndexMap<String, Extern>,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) places: Places,
}

/// Reads the maps, variables and externs of an object.
pub(crate) fn collect<'a>(
    elf: &'a Elf<'a>,
    btf: Option<&'a Btf>,
    options: &'a ParseOptions,
) -> Result<Collected> {
    let index = Index::of(elf);
    let inputs = |kinds: &'static [SectionKind]| {
        let wanted = elf.sections.iter().filter(|section| kinds.contains(&section.kind) && section.size > 0);
        wanted.map(|section| Input { elf, btf, section, options, index: &index })
    };
    let mut all = Collected { externs: externs::collect(elf, btf)?, ..Collected::default() };
    let mut declared = Vec::new();
    for kinds in [DECLARED, DEFINED, DATA] {
        read_sections(inputs(kinds), &mut declared, &mut all.warnings)?;
    }
    declared.extend(kconfig::map(btf, options, &all.externs));
    read_sections(inputs(STRUCT_OPS), &mut declared, &mut all.warnings)?;

    name_apart(&mut declared)?;
    annotate::apply(btf, &mut declared, &mut all.warnings)?;
    all.places = Places::of(elf, &declared);
    if let Some((section, map)) = arena::fill(elf, &mut declared)? {
        all.places.add_whole(section, map);
    }
    link::resolve(elf, &mut declared, &all.places)?;
    all.variables = variables::collect(inputs(variables::KINDS), &all.places)?;
    all.maps = declared.into_iter().map(|map| (map.spec.name.clone(), map.spec)).collect();
    Ok(all)
}

fn read_sections<'a>(
    inputs: impl Iterator<Item = Input<'a>>,
    declared: &mut Vec<Declared>,
    warnings: &mut Vec<Warning>,
) -> Result<()> {
    let mut group = Vec::new();
    for input in inputs {
        for reader in readers_of(&input)? {
            let found = (reader.maps)(&input)?;
            group.extend(found.maps);
            warnings.extend(found.warnings);
        }
    }
    // Two dialects may take turns in one section.
    group.sort_by_key(|map| (map.section, map.offset));
    declared.extend(group);
    Ok(())
}

/// The dialects that a section is written in: those that take a part of it, or the one with the best evidence.
fn readers_of(input: &Input<'_>) -> Result<Vec<&'static Reader>> {
    let mut parts = Vec::new();
    let mut claims = Vec::new();
    for reader in READERS {
        match (reader.claims)(input) {
            Claim::No => {}
            Claim::Part => parts.push(reader),
            Claim::Yes { weight, evidence } => claims.push((reader, weight, evidence)),
        }
    }
    if let Some((reader, ..)) =
        claims.iter().find(|(reader, ..)| input.options.dialect == Some(reader.dialect))
    {
        return Ok(vec![*reader]);
    }
    let highest = claims.iter().map(|(_, weight, _)| *weight).max();
    claims.retain(|(_, weight, _)| Some(*weight) == highest);
    if let [(first, _, why_first), (second, _, why_second), ..] = claims.as_slice() {
        let (first, second) = (first.dialect.name(), second.dialect.name());
        let tie = MapFault::Tie { section: input.section.name.to_owned(), first, second };
        let error = Kind::Map(tie).at(Place::at(input.section.name, 0));
        return Err(error.note(format!("{first}: {why_first}")).note(format!("{second}: {why_second}")));
    }
    parts.extend(claims.into_iter().map(|(reader, ..)| reader));
    Ok(parts)
}

/// Makes sure that names are keys. Data maps whose cut names are the same (`.bss.a_long_name_1`, `.bss.a_long_name_2`)
/// get their section's name in full.
fn name_apart(declared: &mut [Declared]) -> Result<()> {
    let mut names = HashSet::with_capacity(declared.len());
    for map in declared {
        if names.contains(&map.spec.name) && map.spec.dialect == Dialect::Data {
            map.spec.name.clone_from(&map.spec.section);
        }
        if !names.insert(map.spec.name.clone()) {
            return Err(Kind::Map(MapFault::NameTwice(map.spec.name.clone())).at(map.spec.place.clone()));
        }
    }
    Ok(())
}
