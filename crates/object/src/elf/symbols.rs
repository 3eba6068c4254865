//! The symbol table.

use super::view::{Raw, SectionHeader, elf_error, text};
use super::{Binding, Symbol, SymbolKind, SymbolSection};
use crate::Result;
use crate::error::Kind;
use object::elf::{self, Sym64};
use object::read::StringTable;
use object::read::elf::{SectionHeader as _, Sym as _};
use object::{Endianness, U32};

/// All symbols, and the ELF index of their section.
pub(super) struct Table<'a> {
    pub(super) list: Vec<Symbol<'a>>,
    pub(super) section: usize,
}

/// Reads the one symbol table of an object.
pub(super) fn read<'a>(raw: &Raw<'a>) -> Result<Table<'a>> {
    let mut tables = of_type(raw, elf::SHT_SYMTAB);
    let Some((section, header)) = tables.next() else {
        return Err(Kind::Elf("there is no symbol table: was the object stripped?".to_owned())
            .at(crate::Place::default()));
    };
    if let Some((second, _)) = tables.next() {
        return Err(elf_error(second, "this is a second symbol table".to_owned()));
    }
    let symbols = raw.entries::<Sym64<Endianness>>(section, header)?;
    let strings = strings(raw, section, header)?;
    let wide = wide_indices(raw, section)?;
    let mut list = Vec::with_capacity(symbols.len());
    for (index, symbol) in symbols.iter().enumerate() {
        let name =
            text(strings.get(symbol.st_name(raw.endian)), section, &format!("name of symbol {index}"))?;
        let wide = wide.get(index).map(|entry| entry.get(raw.endian));
        let place = place(symbol.st_shndx(raw.endian), wide);
        if let SymbolSection::Index(target) = place
            && target >= raw.headers.len()
        {
            let what = format!("symbol {index} (`{name}`) is in section {target}, which is not there");
            return Err(elf_error(section, what));
        }
        list.push(Symbol {
            name,
            section: place,
            value: symbol.st_value(raw.endian),
            size: symbol.st_size(raw.endian),
            kind: kind(symbol.st_type()),
            binding: binding(symbol.st_bind()),
            hidden: matches!(symbol.st_visibility(), elf::STV_HIDDEN | elf::STV_INTERNAL),
        });
    }
    Ok(Table { list, section })
}

fn of_type<'a>(raw: &Raw<'a>, kind: elf::SectionType) -> impl Iterator<Item = (usize, &'a SectionHeader)> {
    let endian = raw.endian;
    raw.headers.iter().enumerate().filter(move |(_, header)| header.sh_type(endian) == kind)
}

fn strings<'a>(raw: &Raw<'a>, section: usize, header: &SectionHeader) -> Result<StringTable<'a>> {
    let link = header.sh_link(raw.endian) as usize;
    let wrong = || elf_error(section, format!("its string table should be section {link}, which is none"));
    let strings = raw.headers.get(link).ok_or_else(wrong)?;
    strings.strings(raw.endian, raw.bytes).ok().flatten().ok_or_else(wrong)
}

/// Section indices from 0xff00 up are kept in a table of their own.
fn wide_indices<'a>(raw: &Raw<'a>, symtab: usize) -> Result<&'a [U32<Endianness>]> {
    match of_type(raw, elf::SHT_SYMTAB_SHNDX)
        .find(|(_, header)| header.sh_link(raw.endian) as usize == symtab)
    {
        Some((index, header)) => raw.entries(index, header),
        None => Ok(&[]),
    }
}

fn place(index: elf::SymbolSection, wide: Option<u32>) -> SymbolSection {
    match (index, index.index(), wide) {
        (elf::SHN_UNDEF, ..) => SymbolSection::Undefined,
        (elf::SHN_COMMON, ..) => SymbolSection::Common,
        (elf::SHN_XINDEX, _, Some(index)) => SymbolSection::Index(index as usize),
        (_, Some(index), _) => SymbolSection::Index(index as usize),
        _ => SymbolSection::Absolute,
    }
}

fn kind(kind: elf::SymbolType) -> SymbolKind {
    match kind {
        elf::STT_NOTYPE => SymbolKind::None,
        elf::STT_OBJECT => SymbolKind::Object,
        elf::STT_FUNC => SymbolKind::Function,
        elf::STT_SECTION => SymbolKind::Section,
        _ => SymbolKind::Other,
    }
}

fn binding(binding: elf::SymbolBind) -> Binding {
    match binding {
        elf::STB_LOCAL => Binding::Local,
        elf::STB_WEAK => Binding::Weak,
        _ => Binding::Global,
    }
}
