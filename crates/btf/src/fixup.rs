//! Filling in what the compiler leaves open in DATASECs: only the linker and the ELF file know it.

use crate::error::{Error, Result, What};
use crate::types::{Secinfo, VarLinkage};
use crate::write::{Builder, OwnedDef};
use crate::{Kind, TypeId};

/// Sections of externs: their sizes and offsets are given out later, and their variables need no symbol.
const EXTERN_SECTIONS: [&str; 2] = [".kconfig", ".ksyms"];

/// What the symbol table says of a global variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VarSymbol {
    /// Bytes from the start of its section (`st_value`).
    pub offset: u32,
    /// Visibility is `STV_HIDDEN` or `STV_INTERNAL`.
    pub hidden: bool,
}

/// Gives each DATASEC the size of its ELF section and its variables the offsets of their symbols, and sorts them
/// by offset, as libbpf's `btf_fixup_datasec`. clang writes zeros there, and the kernel refuses them; sizes that a
/// static linker has filled in stay. A hidden variable becomes static, which keeps its map from being mmapable.
///
/// `section_size(section)` is the size of an ELF section in bytes; `symbol(section, variable)` is asked for
/// global variables only.
///
/// # Errors
/// E0214 if a section or symbol is missing, or an element of a DATASEC is no variable.
pub fn fix_datasecs(
    builder: &mut Builder,
    section_size: &dyn Fn(&str) -> Option<u32>,
    symbol: &dyn Fn(&str, &str) -> Option<VarSymbol>,
) -> Result<()> {
    let first = builder.first_id().0;
    for n in 0..builder.types.len() {
        let Some(ty) = builder.types.get_mut(n) else { continue };
        let OwnedDef::Datasec { size, vars } = &mut ty.def else { continue };
        let (section, mut vars, mut new_size) = (ty.name.clone(), std::mem::take(vars), *size);
        let result = if EXTERN_SECTIONS.contains(&section.as_str()) {
            Ok(())
        } else {
            fix_one(builder, &section, &mut new_size, &mut vars, section_size, symbol)
        };
        vars.sort_by_key(|var| var.offset);
        if let Some(ty) = builder.types.get_mut(n) {
            ty.def = OwnedDef::Datasec { size: new_size, vars };
        }
        result
            .map_err(|what| Error::from(What::Datasec { section, what }).in_type(TypeId(first + n as u32)))?;
    }
    Ok(())
}

fn fix_one(
    builder: &mut Builder,
    section: &str,
    size: &mut u32,
    vars: &mut [Secinfo],
    section_size: &dyn Fn(&str) -> Option<u32>,
    symbol: &dyn Fn(&str, &str) -> Option<VarSymbol>,
) -> std::result::Result<(), String> {
    let fill = *size == 0;
    if fill {
        *size = section_size(section)
            .filter(|size| *size > 0)
            .ok_or("the file has no such section, or it is empty")?;
    }
    for var in vars {
        let ty = builder.get_mut(var.ty).filter(|ty| ty.def.kind() == Kind::Var);
        let ty = ty.ok_or_else(|| format!("holds type {}, which is no variable", var.ty))?;
        let OwnedDef::Var { linkage, .. } = &mut ty.def else { continue };
        if *linkage != VarLinkage::Global {
            continue;
        }
        let found =
            symbol(section, &ty.name).ok_or_else(|| format!("variable `{}` has no symbol", ty.name))?;
        if fill {
            var.offset = found.offset;
        }
        if found.hidden {
            *linkage = VarLinkage::Static;
        }
    }
    Ok(())
}
