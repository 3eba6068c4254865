//! Relocations, handed to the sections that they apply to.

use super::symbols::Table;
use super::view::{Raw, SectionHeader, elf_error};
use super::{Reloc, RelocKind, Section, SectionKind};
use crate::Result;
use object::Endianness;
use object::elf::{self, Rel64, Rela64};
use object::read::elf::{Rel as _, Rela as _, SectionHeader as _};

/// Reads every relocation section whose target means something; several for one target add up.
pub(super) fn read(raw: &Raw<'_>, symbols: &Table<'_>, sections: &mut [Section<'_>]) -> Result<()> {
    for (index, header) in raw.headers.iter().enumerate() {
        let with_addend = match header.sh_type(raw.endian) {
            elf::SHT_REL => false,
            elf::SHT_RELA => true,
            _ => continue,
        };
        let target = header.sh_info(raw.endian) as usize;
        let Some(section) = sections.get_mut(target).filter(|_| target != 0) else {
            return Err(elf_error(index, format!("relocations for section {target}, which is not there")));
        };
        if section.kind == SectionKind::Plumbing {
            continue;
        }
        let link = header.sh_link(raw.endian) as usize;
        if link != symbols.section {
            let what = format!(
                "relocations by symbol table {link}, but the symbol table is section {}",
                symbols.section
            );
            return Err(elf_error(index, what));
        }
        let found = entries(raw, index, header, with_addend)?;
        if let Some(bad) = found.iter().find(|r| r.symbol >= symbols.list.len()) {
            return Err(elf_error(index, format!("relocation by symbol {}, which is not there", bad.symbol)));
        }
        if let Some(bad) = found.iter().find(|r| r.offset >= section.size) {
            let (at, end) = (bad.offset, section.size);
            let what = format!("relocation at {at:#x}, but section {target} ends at {end:#x}");
            return Err(elf_error(index, what));
        }
        section.relocs.extend(found);
    }
    for section in sections {
        section.relocs.sort_by_key(|reloc| reloc.offset); // stable: the file's order where offsets are equal
    }
    Ok(())
}

fn entries(raw: &Raw<'_>, index: usize, header: &SectionHeader, with_addend: bool) -> Result<Vec<Reloc>> {
    let endian = raw.endian;
    let mut found = Vec::new();
    if with_addend {
        for entry in raw.entries::<Rela64<Endianness>>(index, header)? {
            let (offset, addend) = (entry.r_offset(endian), entry.r_addend(endian));
            let kind = kind(index, entry.r_type(endian, false))?;
            found.extend(kind.map(|kind| Reloc {
                offset,
                kind,
                symbol: entry.r_sym(endian, false) as usize,
                addend,
            }));
        }
    } else {
        for entry in raw.entries::<Rel64<Endianness>>(index, header)? {
            let kind = kind(index, entry.r_type(endian))?;
            let (offset, symbol) = (entry.r_offset(endian), entry.r_sym(endian) as usize);
            found.extend(kind.map(|kind| Reloc { offset, kind, symbol, addend: 0 }));
        }
    }
    Ok(found)
}

/// The numbers of `R_BPF_*`; they are the same for `EM_NONE`. 2 to 4 came with LLVM 13, which before used 1 and 10 for them.
fn kind(index: usize, kind: elf::RelocationType) -> Result<Option<RelocKind>> {
    Ok(Some(match kind.0 {
        0 => return Ok(None),
        1 => RelocKind::Imm64,
        2 => RelocKind::Abs64,
        3 => RelocKind::Abs32,
        4 => RelocKind::NoDyld32,
        10 => RelocKind::Call32,
        other => return Err(elf_error(index, format!("unknown relocation type {other}"))),
    }))
}
