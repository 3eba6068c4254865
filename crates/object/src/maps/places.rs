//! Which map is at a place of the file: what relocations ask.

use super::Declared;
use crate::elf::{Elf, SectionKind};
use std::collections::HashMap;

/// The places of all maps.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// By section index and offset: a map that a symbol names.
    maps: HashMap<(usize, u64), String>,
    /// By section index: a map whose value is the section.
    whole: HashMap<usize, String>,
}

impl Places {
    pub(super) fn of(elf: &Elf<'_>, declared: &[Declared]) -> Self {
        let mut places = Self::default();
        for map in declared {
            let Some(section) = elf.sections.get(map.section).filter(|section| section.index != 0) else {
                continue;
            };
            let name = map.spec.name.clone();
            if matches!(section.kind, SectionKind::Data | SectionKind::ReadOnlyData | SectionKind::Bss) {
                places.whole.insert(map.section, name);
            } else {
                places.maps.insert((map.section, map.offset), name);
            }
        }
        places
    }

    pub(super) fn add_whole(&mut self, section: usize, map: String) {
        self.whole.insert(section, map);
    }

    /// The map that is declared at exactly this place: of `maps`, `.maps` or `.struct_ops`.
    pub(crate) fn map_at(&self, section: usize, offset: u64) -> Option<&str> {
        self.maps.get(&(section, offset)).map(String::as_str)
    }

    /// The map whose value is this section: of `.data`, `.rodata`, `.bss` and their kin, or the arena of `.addr_space.1`.
    pub(crate) fn data_of(&self, section: usize) -> Option<&str> {
        self.whole.get(&section).map(String::as_str)
    }
}
