//! Addresses in map definitions: templates of inner maps, and slots. Resolved after every dialect has been read, so that
//! neither the order of declarations nor the dialect of the other map matters. libbpf: `bpf_object__collect_map_relos`.

use super::{Declared, Input, Places, walk};
use crate::elf::{Binding, Elf, Reloc, SectionKind, SymbolKind, SymbolSection};
use crate::error::{Kind, MapFault};
use crate::{Contents, Error, MapSpec, MapType, Pinning, Place, Result, Slot, SlotTarget};
use std::collections::{BTreeMap, HashMap};

/// An address in a map's definition.
#[derive(Clone, Debug)]
pub(crate) struct Pointer {
    role: Role,
    /// Section and offset that it points to, if they are in this object.
    target: Option<(usize, u64)>,
    /// The symbol or section that it names, and how far behind it.
    symbol: String,
    place: Place,
}

/// What an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The map that is the inner maps' template.
    Template,
    /// The map or program in a slot.
    Slot(u32),
    /// The program in a member of a table (struct_ops), by the member's offset.
    Member(u32),
}

impl Pointer {
    /// The address that a relocation of the section fills in.
    pub(super) fn new(input: &Input<'_>, reloc: &Reloc, role: Role) -> Self {
        // REL keeps the addend in place: 0, unless the symbol is a section's.
        let in_place = walk::long_at(input.section, reloc.offset, input.elf.endian).unwrap_or_default();
        let addend = in_place.wrapping_add(reloc.addend as u64);
        let symbol = input.elf.symbols.get(reloc.symbol);
        let target = symbol.and_then(|symbol| match symbol.section {
            SymbolSection::Index(section) => Some((section, symbol.value.wrapping_add(addend))),
            _ => None,
        });
        // Local functions and data are often named by their section alone.
        let section =
            target.and_then(|(section, _)| input.elf.sections.get(section)).map_or("", |it| it.name);
        let name = symbol.map(|it| it.name).filter(|name| !name.is_empty()).unwrap_or(section);
        let symbol = if addend == 0 { name.to_owned() } else { format!("{name}+{addend:#x}") };
        Self { role, target, symbol, place: Place::at(input.section.name, reloc.offset) }
    }
}

/// Turns addresses into names.
pub(super) fn resolve(elf: &Elf<'_>, declared: &mut [Declared], places: &Places) -> Result<()> {
    let by_name = declared.iter().enumerate().map(|(at, map)| (map.spec.name.clone(), at)).collect();
    let linker = Linker { entries: entry_points(elf), places, by_name };
    let mut linked = Vec::new();
    for (at, map) in declared.iter().enumerate().filter(|(_, map)| !map.pointers.is_empty()) {
        linked.push((at, linker.link(map, declared)?));
    }
    for (at, Linked { inner, slots, members }) in linked {
        let Some(map) = declared.get_mut(at) else { continue };
        map.spec.inner = inner.map(Box::new).or(map.spec.inner.take());
        match &mut map.spec.contents {
            Contents::Ops(table) => table.programs = members,
            contents if !slots.is_empty() => *contents = Contents::Slots(slots),
            _ => {}
        }
    }
    Ok(())
}

/// Functions that can be programs: global ones of every executable section but `.text`, by place.
fn entry_points<'a>(elf: &Elf<'a>) -> HashMap<(usize, u64), &'a str> {
    let is_entry = |section: usize| {
        elf.sections.get(section).is_some_and(|s| s.kind == SectionKind::Program && s.name != ".text")
    };
    let functions = elf.symbols.iter().filter(|symbol| symbol.kind == SymbolKind::Function);
    let mut entries = HashMap::new();
    for symbol in functions.filter(|symbol| symbol.binding != Binding::Local) {
        if let SymbolSection::Index(section) = symbol.section
            && is_entry(section)
        {
            entries.entry((section, symbol.value)).or_insert(symbol.name);
        }
    }
    entries
}

struct Linker<'a> {
    entries: HashMap<(usize, u64), &'a str>,
    places: &'a Places,
    by_name: HashMap<String, usize>,
}

/// What a map's addresses say.
struct Linked {
    inner: Option<MapSpec>,
    slots: Vec<Slot>,
    members: BTreeMap<u32, String>,
}

impl Linker<'_> {
    /// A map's template and slots, or the functions of a table.
    fn link(&self, map: &Declared, all: &[Declared]) -> Result<Linked> {
        let outer = &map.spec;
        let (mut template, mut slots, mut members) = (None, BTreeMap::new(), BTreeMap::new());
        for pointer in &map.pointers {
            let target = if outer.kind.holds_maps() {
                SlotTarget::Map(self.inner_map(outer, pointer, all)?.name.clone())
            } else {
                SlotTarget::Program(self.program(outer, pointer)?)
            };
            match pointer.role {
                Role::Template => template = Some(target),
                Role::Slot(index) => {
                    check_index(outer, index, pointer)?;
                    slots.insert(index, target);
                }
                Role::Member(offset) => {
                    if let SlotTarget::Program(program) = target {
                        members.insert(offset, program);
                    }
                }
            }
        }
        if outer.kind == MapType::HASH_OF_MAPS
            && outer.max_entries != 0
            && slots.len() > outer.max_entries as usize
        {
            let what = format!("has {} slots, but max_entries is {}", slots.len(), outer.max_entries);
            return Err(fault(outer, what, outer.place.clone()));
        }
        if template.is_none() && outer.inner.is_none() {
            template = slots.values().next().cloned();
        }
        let inner = match template {
            Some(SlotTarget::Map(name)) => self.spec(&name, all).map(|inner| as_template(outer, inner)),
            _ => None,
        };
        let slots = slots.into_iter().map(|(index, target)| Slot { index, target }).collect();
        Ok(Linked { inner, slots, members })
    }

    fn inner_map<'a>(&self, outer: &MapSpec, pointer: &Pointer, all: &'a [Declared]) -> Result<&'a MapSpec> {
        let name = pointer.target.and_then(|(section, offset)| self.places.map_at(section, offset));
        let Some(inner) = name.and_then(|name| self.spec(name, all)) else {
            let what = format!("{}`{}` is no map of this object", pointer.role, pointer.symbol);
            return Err(fault(outer, what, pointer.place.clone()));
        };
        if inner.kind.holds_maps() {
            let what = format!(
                "{}map `{}` holds maps: the kernel takes two levels, no more",
                pointer.role, inner.name
            );
            let fault = MapFault::Inner { map: outer.name.clone(), what };
            return Err(Kind::Map(fault).at(pointer.place.clone()));
        }
        Ok(inner)
    }

    fn program(&self, outer: &MapSpec, pointer: &Pointer) -> Result<String> {
        let entry = pointer.target.and_then(|target| self.entries.get(&target));
        entry.map(|name| (*name).to_owned()).ok_or_else(|| {
            let what = format!(
                "{}`{}` is no program (a global function with a section)",
                pointer.role, pointer.symbol
            );
            fault(outer, what, pointer.place.clone())
        })
    }

    fn spec<'a>(&self, name: &str, all: &'a [Declared]) -> Option<&'a MapSpec> {
        self.by_name.get(name).and_then(|at| all.get(*at)).map(|map| &map.spec)
    }
}

/// A slot's number is an array's index or, as in libbpf, a hash's key of 4 bytes. A map whose `max_entries` is 0 gets its
/// size later, from its user.
fn check_index(outer: &MapSpec, index: u32, pointer: &Pointer) -> Result<()> {
    let hash = outer.kind == MapType::HASH_OF_MAPS;
    if hash && outer.key.size != 4 {
        let what = format!("{}the key has {} bytes, a slot's number has 4", pointer.role, outer.key.size);
        return Err(fault(outer, what, pointer.place.clone()));
    }
    if !hash && outer.max_entries != 0 && index >= outer.max_entries {
        let what = format!("{}max_entries is {}", pointer.role, outer.max_entries);
        return Err(fault(outer, what, pointer.place.clone()));
    }
    Ok(())
}

/// A map as the template of another: its shape, without what it holds and where it is pinned.
pub(super) fn as_template(outer: &MapSpec, inner: &MapSpec) -> MapSpec {
    MapSpec {
        name: format!("{}.inner", outer.name),
        pinning: Pinning::None,
        contents: Contents::Empty,
        id: None,
        inner_id: None,
        inner_idx: None,
        ..inner.clone()
    }
}

fn fault(map: &MapSpec, what: String, place: Place) -> Error {
    Kind::Map(MapFault::Slot { map: map.name.clone(), what }).at(place)
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Template => f.write_str("`value`: "),
            Self::Slot(index) => write!(f, "slot {index}: "),
            Self::Member(offset) => write!(f, "the member at offset {offset}: "),
        }
    }
}
