//! The variables of a section, and its bytes: what all dialects read.

use super::Input;
use crate::elf::{Binding, Reloc, Section, Symbol};
use crate::error::{Kind, MapFault};
use crate::{Error, Place, Result};
use onebpf_btf::{Btf, Def, Endian, Kind as BtfKind, TypeId, VarLinkage};
use std::collections::{HashMap, HashSet};

/// Longest name of a variable: as that of a symbol.
const MAX_NAME: usize = 4096;

/// A variable of a section, as BTF describes it and the symbol table places it.
#[derive(Clone, Debug)]
pub(crate) struct Var<'a> {
    /// Its BTF name; the symbol's (`function.name`) where two static variables share one.
    pub(crate) name: &'a str,
    /// What the VAR points to.
    pub(crate) ty: TypeId,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) linkage: VarLinkage,
    /// Not static, not hidden: part of the object's interface.
    pub(crate) exported: bool,
}

/// The DATASEC of a section and its variables, in the order of their offsets, as libbpf sorts them
/// (`bpf_object_fixup_btf`). `None` without BTF for the section.
pub(crate) fn variables<'a>(input: &Input<'a>) -> Result<Option<(TypeId, Vec<Var<'a>>)>> {
    let Some(btf) = input.btf else { return Ok(None) };
    if !input.index.is_first_of_name(input.section.name, input.section.index) {
        return Ok(None);
    }
    let Some(id) = btf.find(input.section.name, BtfKind::Datasec) else { return Ok(None) };
    let Def::Datasec { vars, .. } = btf.get(id)?.def else { return Ok(None) };

    let symbols = SectionSymbols::of(input);
    let mut found = Vec::with_capacity(vars.len());
    for info in vars {
        let var = btf.get(info.ty)?;
        let Def::Var { ty, linkage } = var.def else {
            let what = format!("lists {} {} in BTF, which is no variable", var.kind, info.ty);
            return Err(fault(input, what));
        };
        if var.name.len() > MAX_NAME {
            return Err(fault(input, format!("has a variable whose name is longer than {MAX_NAME} bytes")));
        }
        let symbol = symbols.find(var.name, linkage, u64::from(info.offset));
        let offset = match (linkage, symbol) {
            // Clang leaves offset 0 for globals, and libbpf's static linker a wrong one for an extern that
            // another file defines (linker.c updates the size only): the symbol is right in both cases.
            (_, Some(symbol)) => symbol.value,
            (VarLinkage::Global, None) => {
                return Err(fault(input, format!("has no symbol for variable `{}`", var.name)));
            }
            (VarLinkage::Static | VarLinkage::Extern, None) => u64::from(info.offset),
        };
        let exported = linkage != VarLinkage::Static && symbol.is_none_or(|symbol| !symbol.hidden);
        let size = u64::from(info.size);
        found.push(Var { name: var.name, ty, offset, size, linkage, exported });
    }
    found.sort_by_key(|var| var.offset);
    rename_twins(&mut found, &symbols);
    Ok(Some((id, found)))
}

/// Each variable has its bytes to itself.
pub(crate) fn apart(input: &Input<'_>, vars: &[Var<'_>]) -> Result<()> {
    for (var, next) in vars.iter().zip(vars.iter().skip(1)) {
        if next.offset - var.offset < var.size {
            return Err(fault(
                input,
                format!("has variables `{}` and `{}` in one place", var.name, next.name),
            ));
        }
    }
    Ok(())
}

/// Static variables of two functions may share a name in BTF; their symbols are `function.name`.
fn rename_twins<'a>(vars: &mut [Var<'a>], symbols: &SectionSymbols<'a>) {
    let mut names = HashSet::with_capacity(vars.len());
    for var in vars {
        if !names.insert(var.name)
            && let Some(symbol) = symbols.at.get(&var.offset)
        {
            var.name = symbol.name;
        }
    }
}

/// The data symbols of one section.
struct SectionSymbols<'a> {
    global: HashMap<&'a str, Symbol<'a>>,
    /// Local ones by name, unless two share it.
    local: HashMap<&'a str, Option<Symbol<'a>>>,
    at: HashMap<u64, Symbol<'a>>,
}

impl<'a> SectionSymbols<'a> {
    fn of(input: &Input<'a>) -> Self {
        let mut all = Self { global: HashMap::new(), local: HashMap::new(), at: HashMap::new() };
        for symbol in input.index.data_symbols(input.section.index) {
            all.at.entry(symbol.value).or_insert(**symbol);
            if symbol.binding == Binding::Local {
                all.local.entry(symbol.name).and_modify(|twin| *twin = None).or_insert(Some(**symbol));
            } else {
                all.global.entry(symbol.name).or_insert(**symbol);
            }
        }
        all
    }

    fn find(&self, name: &str, linkage: VarLinkage, offset: u64) -> Option<Symbol<'a>> {
        match linkage {
            VarLinkage::Global => self.global.get(name).copied(),
            VarLinkage::Extern => None,
            // A static variable of a function has another name in the symbol table than in BTF.
            VarLinkage::Static => {
                let named = self.local.get(name).copied().flatten();
                named.or_else(|| {
                    self.at.get(&offset).filter(|symbol| symbol.binding == Binding::Local).copied()
                })
            }
        }
    }
}

/// The relocations in a range of a section.
pub(crate) fn relocs_in<'a>(section: &'a Section<'_>, offset: u64, size: u64) -> &'a [Reloc] {
    let from = section.relocs.partition_point(|reloc| reloc.offset < offset);
    let to = section.relocs.partition_point(|reloc| reloc.offset < offset.saturating_add(size));
    section.relocs.get(from..to).unwrap_or_default()
}

/// A range of a section's bytes; zeros where the file has none (NOBITS).
pub(crate) fn bytes_at<const N: usize>(section: &Section<'_>, offset: u64) -> Option<[u8; N]> {
    let end = offset.checked_add(N as u64)?;
    if end > section.size {
        return None;
    }
    if section.data.is_empty() {
        return Some([0; N]);
    }
    section.data.get(offset as usize..end as usize)?.try_into().ok()
}

/// 32 bits of a section.
pub(crate) fn word_at(section: &Section<'_>, offset: u64, endian: Endian) -> Option<u32> {
    bytes_at(section, offset).map(|bytes| match endian {
        Endian::Little => u32::from_le_bytes(bytes),
        Endian::Big => u32::from_be_bytes(bytes),
    })
}

/// 64 bits of a section.
pub(crate) fn long_at(section: &Section<'_>, offset: u64, endian: Endian) -> Option<u64> {
    bytes_at(section, offset).map(|bytes| match endian {
        Endian::Little => u64::from_le_bytes(bytes),
        Endian::Big => u64::from_be_bytes(bytes),
    })
}

/// The object's BTF, or the error that the section cannot be read without.
pub(crate) fn btf_of<'a>(input: &Input<'a>) -> Result<&'a Btf> {
    input.btf.ok_or_else(|| fault(input, "cannot be read without BTF: compile with `-g`"))
}

/// A fault of the section as a whole.
pub(crate) fn fault(input: &Input<'_>, what: impl Into<String>) -> Error {
    let name = input.section.name;
    Kind::Map(MapFault::Section { section: name.to_owned(), what: what.into() }).at(Place::at(name, 0))
}
