//! Global variables: named ranges of data maps, by BTF where there is some, else by symbols alone.

use super::walk::{self, Var};
use super::{Input, Places};
use crate::elf::{Binding, SectionKind, SymbolKind};
use crate::{Result, Variable};
use indexmap::IndexMap;
use onebpf_btf::VarLinkage;
use std::collections::HashSet;

/// Sections that variables live in.
pub(super) const KINDS: &[SectionKind] =
    &[SectionKind::Data, SectionKind::ReadOnlyData, SectionKind::Bss, SectionKind::Arena];

/// All variables, by section and offset. Where two static ones share a name, the later gets its section's name in front.
pub(super) fn collect<'a>(
    inputs: impl Iterator<Item = Input<'a>>,
    places: &Places,
) -> Result<IndexMap<String, Variable>> {
    let mut all = IndexMap::new();
    for input in inputs {
        let Some(map) = places.data_of(input.section.index) else { continue };
        for mut variable in of_section(&input, map)? {
            if all.contains_key(&variable.name) {
                variable.name = format!("{}:{}", input.section.name, variable.name);
            }
            all.entry(variable.name.clone()).or_insert(variable);
        }
    }
    Ok(all)
}

fn of_section(input: &Input<'_>, map: &str) -> Result<Vec<Variable>> {
    let section = input.section;
    let new = |name: &str, offset: u64, size: u64| Variable {
        name: name.to_owned(),
        section: section.name.to_owned(),
        map: map.to_owned(),
        offset: offset as u32,
        size: size as u32,
        btf: None,
        global: false,
    };
    let inside = |offset: u64, size: u64| offset.checked_add(size).is_some_and(|end| end <= section.size);

    let mut found = Vec::new();
    let described = walk::variables(input)?.map(|(_, vars)| vars).unwrap_or_default();
    let here = |var: &&Var<'_>| var.linkage != VarLinkage::Extern;
    for var in described.iter().filter(here) {
        if !inside(var.offset, var.size) {
            let what = format!("has {} bytes, variable `{}` lies outside", section.size, var.name);
            return Err(walk::fault(input, what));
        }
        found.push(Variable {
            btf: Some(var.ty),
            global: var.exported,
            ..new(var.name, var.offset, var.size)
        });
    }
    let described: HashSet<u64> = described.iter().filter(here).map(|var| var.offset).collect();
    let symbols =
        input.index.data_symbols(section.index).iter().filter(|symbol| symbol.kind == SymbolKind::Object);
    for symbol in symbols.filter(|symbol| !described.contains(&symbol.value)) {
        if inside(symbol.value, symbol.size) {
            let global = symbol.binding != Binding::Local && !symbol.hidden;
            found.push(Variable { global, ..new(symbol.name, symbol.value, symbol.size) });
        }
    }
    found.sort_by_key(|variable| variable.offset);
    Ok(found)
}
