//! What is asked of the whole file again and again, found out once.

use super::tail;
use crate::elf::{Elf, SectionKind, Symbol, SymbolKind, SymbolSection};
use std::collections::{HashMap, HashSet};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Index<'a> {
    data_symbols: HashMap<usize, Vec<&'a Symbol<'a>>>,
    first_of_name: HashMap<&'a str, usize>,
    tail_ids: HashMap<u32, &'a str>,
    program_sections: HashSet<&'a str>,
}

impl<'a> Index<'a> {
    pub(super) fn of(elf: &'a Elf<'a>) -> Self {
        let mut index = Self::default();
        for section in &elf.sections {
            index.first_of_name.entry(section.name).or_insert(section.index);
            if section.kind == SectionKind::Program {
                index.program_sections.insert(section.name);
                if let Some((id, _)) = tail::parse(section.name) {
                    index.tail_ids.entry(id).or_insert(section.name);
                }
            }
        }
        for symbol in &elf.symbols {
            let is_data =
                matches!(symbol.kind, SymbolKind::Object | SymbolKind::None) && !symbol.name.is_empty();
            if let (SymbolSection::Index(section), true) = (symbol.section, is_data) {
                index.data_symbols.entry(section).or_default().push(symbol);
            }
        }
        index
    }

    /// The named symbols of data in a section, in the symbol table's order.
    pub(super) fn data_symbols(&self, section: usize) -> &[&'a Symbol<'a>] {
        self.data_symbols.get(&section).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether no section before this one has its name. BTF knows sections by their names, so it speaks of the first.
    pub(super) fn is_first_of_name(&self, name: &str, section: usize) -> bool {
        self.first_of_name.get(name) == Some(&section)
    }

    /// The first tail section (`ID/IDX`) with this id.
    pub(super) fn tail_section(&self, id: u32) -> Option<&'a str> {
        self.tail_ids.get(&id).copied()
    }

    /// Whether there is a section of code with this name.
    pub(super) fn has_program_section(&self, name: &str) -> bool {
        self.program_sections.contains(name)
    }
}
