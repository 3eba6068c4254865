//! Jump tables: what `.jumptables` holds for a symbol.

use super::functions::end_of;
use crate::elf::{Section, Symbol};
use crate::error::Kind;
use crate::insn::INSN_SIZE;
use crate::{Function, JumpTable, Place, Result};
use onebpf_btf::Endian;
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of an entry: where in its section an instruction stands.
const ENTRY: usize = 8;
/// Entries of all tables of an object together: symbols of a hostile file may lie over each other.
const MAX_ENTRIES: usize = 1 << 20;

/// The tables that were read, by place, ELF section and start of the function that they are relative to.
#[derive(Default)]
pub(super) struct Tables {
    known: HashMap<(u64, u64, usize, u64), Arc<JumpTable>>,
    entries: usize,
}

impl Tables {
    /// The table that `symbol` names in `.jumptables`, for a function in ELF section `home`. The place is the symbol's alone, and relocations of
    /// the section itself do not count: the entries have the offsets already (libbpf's `create_jt_map()`).
    pub(super) fn read(
        &mut self,
        endian: Endian,
        section: &Section<'_>,
        symbol: &Symbol<'_>,
        name: String,
        (home, function): (usize, &Function),
    ) -> Result<Arc<JumpTable>> {
        let fail = |what: String| Kind::Reloc(format!("jump table `{name}` {what}")).at(Place::default());
        let key = (symbol.value, symbol.size, home, function.offset);
        if let Some(known) = self.known.get(&key) {
            return Ok(Arc::clone(known));
        }
        let (offset, size) = (symbol.value, symbol.size);
        if size == 0 {
            return Err(fail("has no size".to_owned()));
        }
        if !offset.is_multiple_of(ENTRY as u64) || !size.is_multiple_of(ENTRY as u64) {
            return Err(fail(format!("({offset:#x}, {size} bytes) is not made of entries of 8 bytes")));
        }
        let end = usize::try_from(offset.saturating_add(size)).unwrap_or(usize::MAX);
        let Some(bytes) = section.data.get(offset as usize..end) else {
            let there = section.data.len();
            return Err(fail(format!("ends at {end:#x}, beyond its section of {there:#x} bytes")));
        };
        self.entries = self.entries.saturating_add(bytes.len() / ENTRY);
        if self.entries > MAX_ENTRIES {
            let (what, limit) = ("section `.jumptables`".to_owned(), MAX_ENTRIES as u64);
            return Err(Kind::TooLarge { what, limit, unit: "entries" }.at(Place::default()));
        }
        let target = |(at, entry): (usize, &[u8; ENTRY])| {
            let place = match endian {
                Endian::Little => u64::from_le_bytes(*entry),
                Endian::Big => u64::from_be_bytes(*entry),
            };
            let inside = (function.offset..end_of(function)).contains(&place);
            if inside && place.is_multiple_of(INSN_SIZE as u64) {
                return Ok(((place - function.offset) / INSN_SIZE as u64) as u32);
            }
            let (of, section) = (&function.name, &function.section);
            Err(fail(format!("leads to {section}+{place:#x} (entry {at}), no instruction of `{of}`")))
        };
        let (entries, _) = bytes.as_chunks();
        let targets = entries.iter().enumerate().map(target).collect::<Result<_>>()?;
        let table = Arc::new(JumpTable { name, offset, targets });
        self.known.insert(key, Arc::clone(&table));
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Linkage;
    use crate::elf::{Binding, SectionKind, SymbolKind, SymbolSection};
    use crate::insn::Insn;

    /// A table of `size` bytes at `value` in a section of the entries, for a function of four instructions at byte 16.
    fn read(tables: &mut Tables, entries: &[u64], value: u64, size: u64) -> Result<Arc<JumpTable>> {
        let data: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        let (kind, len) = (SectionKind::JumpTables, data.len() as u64);
        let section =
            Section { index: 1, name: ".jumptables", kind, data: &data, size: len, relocs: Vec::new() };
        let symbol = Symbol {
            name: "BPF.JT.0.0",
            section: SymbolSection::Index(1),
            value,
            size,
            kind: SymbolKind::Object,
            binding: Binding::Global,
            hidden: false,
        };
        let function = Function {
            name: "f".to_owned(),
            section: "xdp".to_owned(),
            offset: 16,
            insns: vec![Insn::default(); 4],
            refs: std::collections::BTreeMap::new(),
            linkage: Linkage::Global,
            btf: None,
            lines: Vec::new(),
            core: Vec::new(),
            place: Place::default(),
        };
        tables.read(Endian::Little, &section, &symbol, symbol.name.to_owned(), (2, &function))
    }

    #[test]
    fn entries_are_places_in_the_function() {
        let mut tables = Tables::default();
        let first = read(&mut tables, &[99, 16, 40, 16], 8, 24).unwrap();
        assert_eq!((first.offset, first.targets.as_slice()), (8, &[0, 3, 0][..]));
        assert!(Arc::ptr_eq(&first, &read(&mut tables, &[99, 16, 40, 16], 8, 24).unwrap()), "read once");
    }

    #[test]
    fn what_is_no_table() {
        let cases: [(&[u64], u64, u64, &str); 8] = [
            (&[16], 0, 0, "has no size"),
            (&[16, 16], 4, 8, "is not made of entries"),
            (&[16, 16], 0, 12, "is not made of entries"),
            (&[16], 0, 16, "ends at 0x10, beyond its section of 0x8 bytes"),
            (&[16], u64::MAX - 7, 16, "beyond its section"),
            (&[16, 8], 0, 16, "leads to xdp+0x8 (entry 1), no instruction of `f`"),
            (&[48], 0, 8, "leads to xdp+0x30 (entry 0)"),
            (&[20], 0, 8, "leads to xdp+0x14 (entry 0)"),
        ];
        for (entries, value, size, why) in cases {
            let error = read(&mut Tables::default(), entries, value, size).unwrap_err();
            assert_eq!(error.code(), "E0142");
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[test]
    fn tables_over_each_other_are_bounded() {
        let (mut tables, entries) = (Tables::default(), vec![16; 1 << 11]);
        let last =
            (0..1 << 12).find_map(|n| read(&mut tables, &entries, 8 * (n % 512), 4096 + 8 * (n / 512)).err());
        assert!(last.expect("a limit").to_string().contains("1048576 entries"), "of all tables together");
    }
}
