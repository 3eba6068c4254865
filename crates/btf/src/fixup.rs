//! Filling in what the compiler leaves open: places of variables, externs, and who is hidden. Only the linker and the
//! ELF file know.

use crate::error::{Error, Result, What};
use crate::read::types::{FuncLinkage, IntEncoding, Secinfo, VarLinkage};
use crate::write::{Builder, OwnedDef, OwnedType};
use crate::{Kind, TypeId};

/// Sections of externs: their variables need no symbol, and are placed by [`fix_externs`].
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

/// Turns externs into what the kernel accepts in a BTF, as libbpf's `bpf_object__collect_externs`: in `.ksyms`
/// each variable becomes an allocated `int`, one after the other, and each function a global one with a stand-in
/// variable in the section and a name for each parameter; in `.kconfig` each variable gets the offset that
/// `kconfig_offset` has for it, in the map that will hold the values.
///
/// The types of externs are lost: whoever resolves them reads them first.
///
/// # Errors
/// E0214 if `.kconfig` holds something without an offset, or a section holds neither variables nor functions.
pub fn fix_externs(builder: &mut Builder, kconfig_offset: &dyn Fn(&str) -> Option<u32>) -> Result<()> {
    for section in EXTERN_SECTIONS {
        let Some(id) = builder.find(section, Kind::Datasec) else { continue };
        let Some(OwnedDef::Datasec { vars, .. }) = builder.get_mut(id).map(|ty| &mut ty.def) else {
            continue;
        };
        let mut vars = std::mem::take(vars);
        let result = match section {
            ".ksyms" => place_ksyms(builder, &mut vars),
            _ => place_kconfig(builder, &mut vars, kconfig_offset),
        };
        let end = vars.iter().map(|var| var.offset.saturating_add(var.size)).max().unwrap_or_default();
        if let Some(ty) = builder.get_mut(id) {
            ty.def = OwnedDef::Datasec { size: end, vars };
        }
        let section = section.to_owned();
        result.map_err(|what| Error::from(What::Datasec { section, what }).in_type(id))?;
    }
    Ok(())
}

fn place_kconfig(
    builder: &mut Builder,
    vars: &mut [Secinfo],
    offset: &dyn Fn(&str) -> Option<u32>,
) -> std::result::Result<(), String> {
    for var in vars {
        let Some(OwnedType { name, def: OwnedDef::Var { linkage, .. }, .. }) = builder.get_mut(var.ty) else {
            return Err(format!("holds type {}, which is no variable", var.ty));
        };
        var.offset = offset(name).ok_or_else(|| format!("`{name}` has no offset"))?;
        *linkage = VarLinkage::Global;
    }
    Ok(())
}

/// Bytes of the `int` that stands for a kernel symbol.
const KSYM_SIZE: u32 = 4;

fn place_ksyms(builder: &mut Builder, vars: &mut [Secinfo]) -> std::result::Result<(), String> {
    let int = int_of_32_bits(builder);
    let mut dummy = None;
    for (n, var) in vars.iter_mut().enumerate() {
        let kind = builder.get(var.ty).map(|ty| ty.def.kind());
        match builder.get_mut(var.ty).map(|ty| &mut ty.def) {
            Some(OwnedDef::Var { ty, linkage }) => (*ty, *linkage) = (int, VarLinkage::Global),
            Some(OwnedDef::Func { proto, linkage }) => {
                *linkage = FuncLinkage::Global;
                let proto = *proto;
                name_params(builder, proto);
                let def = OwnedDef::Var { ty: int, linkage: VarLinkage::Global };
                var.ty = *dummy.get_or_insert_with(|| builder.push(OwnedType::new(DUMMY, def)));
            }
            _ => {
                let kind = kind.map_or("unknown", Kind::name);
                return Err(format!("holds type {}, which is {kind}", var.ty));
            }
        }
        (var.offset, var.size) = ((n as u32).saturating_mul(KSYM_SIZE), KSYM_SIZE);
    }
    Ok(())
}

/// libbpf's name for the variable that stands for extern functions, and for their parameters.
const DUMMY: &str = "dummy_ksym";

/// The kernel wants names for the parameters of a FUNC (`btf_func_check`).
fn name_params(builder: &mut Builder, proto: TypeId) {
    if let Some(OwnedDef::FuncProto { params, .. }) = builder.get_mut(proto).map(|ty| &mut ty.def) {
        for param in params.iter_mut().filter(|param| param.ty != TypeId::VOID && param.name.is_empty()) {
            DUMMY.clone_into(&mut param.name);
        }
    }
}

/// The first such INT, or a new one.
fn int_of_32_bits(builder: &mut Builder) -> TypeId {
    let is_int = |ty: &OwnedType| matches!(ty.def, OwnedDef::Int { bits: 32, .. });
    match builder.types.iter().position(is_int) {
        Some(at) => TypeId(builder.first_id().0 + at as u32),
        None => builder.push(OwnedType::int("int", 4, IntEncoding::SIGNED)),
    }
}

/// Makes the global functions static of which `is_static` says so: hidden ones, which the verifier then follows
/// from call to call (libbpf `mark_btf_static`).
pub fn fix_functions(builder: &mut Builder, is_static: &dyn Fn(&str) -> bool) {
    for ty in &mut builder.types {
        if let OwnedDef::Func { linkage: linkage @ FuncLinkage::Global, .. } = &mut ty.def
            && is_static(&ty.name)
        {
            *linkage = FuncLinkage::Static;
        }
    }
}
