//! Externs: what the object declares and the kernel has. Each is a symbol without a section, whose BTF is in `.kconfig` or
//! `.ksyms`. libbpf: `bpf_object__collect_externs`.

use super::kconfig;
use crate::elf::{Binding, Elf, Symbol, SymbolKind, SymbolSection};
use crate::error::{Kind, MapFault};
use crate::{ConfigType, Error, Extern, ExternKind, Place, Result};
use indexmap::IndexMap;
use onebpf_btf::{Btf, Def, FuncLinkage, Kind as BtfKind, TypeId, VarLinkage};
use std::collections::HashMap;

/// Name of the section of kernel symbols in BTF.
const KSYMS: &str = ".ksyms";
/// Most bytes of all configuration values together. They are numbers and a few strings.
const MAX_KCONFIG: u64 = 1 << 20;

/// All externs, in the symbol table's order.
pub(super) fn collect(elf: &Elf<'_>, btf: Option<&Btf>) -> Result<IndexMap<String, Extern>> {
    let undefined = |symbol: &&Symbol<'_>| {
        symbol.section == SymbolSection::Undefined
            && symbol.binding != Binding::Local
            && !symbol.name.is_empty()
            && !matches!(symbol.kind, SymbolKind::Section | SymbolKind::Other)
    };
    let mut symbols = elf.symbols.iter().filter(undefined).peekable();
    let mut externs = IndexMap::new();
    if symbols.peek().is_none() {
        return Ok(externs);
    }
    let mut values = Vec::new();
    let homes = btf.map(sections_of_types).transpose()?.unwrap_or_default();
    for symbol in symbols {
        let Some(btf) = btf else { return Err(fault(symbol.name, "without BTF, nothing says what it is")) };
        let found = read(symbol, btf, &homes, &mut values)?;
        externs.entry(found.name.clone()).or_insert(found);
    }
    lay_out(values, &mut externs)?;
    Ok(externs)
}

/// A value of the kernel's configuration. Order is libbpf's (`cmp_externs`): large alignment first, then small sizes.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Value {
    align: std::cmp::Reverse<u32>,
    size: u32,
    name: String,
}

/// The data section of each variable and function, by its BTF id.
fn sections_of_types(btf: &Btf) -> Result<HashMap<TypeId, &str>> {
    let mut homes = HashMap::new();
    for ty in btf.types() {
        let ty = ty?;
        if let Def::Datasec { vars, .. } = ty.def {
            homes.extend(vars.map(|info| (info.ty, ty.name)));
        }
    }
    Ok(homes)
}

fn read(
    symbol: &Symbol<'_>,
    btf: &Btf,
    homes: &HashMap<TypeId, &str>,
    values: &mut Vec<Value>,
) -> Result<Extern> {
    let name = symbol.name;
    let variable = btf.find(name, BtfKind::Var).map(|id| btf.get(id)).transpose()?;
    let function = btf.find(name, BtfKind::Func).map(|id| btf.get(id)).transpose()?;
    let (id, ty) = match (variable.map(|ty| (ty.id, ty.def)), function.map(|ty| (ty.id, ty.def))) {
        (Some((id, Def::Var { ty, linkage: VarLinkage::Extern })), _) => (id, Some(ty)),
        (_, Some((id, Def::Func { linkage: FuncLinkage::Extern, .. }))) => (id, None),
        _ => return Err(fault(name, "BTF does not declare it, so that nothing says what it is")),
    };
    let section = homes.get(&id).copied();
    let kind = match (section, ty) {
        (Some(kconfig::SECTION), Some(ty)) => {
            values.push(value(btf, name, ty)?);
            ExternKind::Kconfig { offset: 0, size: 0 }
        }
        (Some(kconfig::SECTION), None) => {
            return Err(fault(name, "it is a function, `.kconfig` has values only"));
        }
        (Some(KSYMS), Some(_)) => ExternKind::Ksym,
        (Some(KSYMS), None) => ExternKind::Kfunc,
        (Some(".maps"), _) => {
            return Err(Kind::Map(MapFault::ExternMap(name.to_owned())).at(Place::default().symbol(name)));
        }
        (Some(other), _) => {
            return Err(fault(
                name,
                &format!("it belongs to section `{other}` of another object: link them first"),
            ));
        }
        (None, _) => {
            return Err(fault(name, "it is neither in `.ksyms` (`__ksym`) nor in `.kconfig` (`__kconfig`)"));
        }
    };
    let place = Place { section: section.map(str::to_owned), ..Place::default() }.symbol(name);
    Ok(Extern {
        name: name.to_owned(),
        kind,
        weak: symbol.binding == Binding::Weak,
        btf: ty.or(Some(id)),
        place: place.btf(id),
    })
}

fn value(btf: &Btf, name: &str, ty: TypeId) -> Result<Value> {
    if ConfigType::of(btf, ty)?.is_none() {
        let what = "the kernel's configuration has booleans, characters, integers, tristates (`enum libbpf_tristate`) and strings";
        return Err(fault(name, what));
    }
    let size = u32::try_from(btf.size_of(ty)?).unwrap_or(u32::MAX);
    Ok(Value { align: std::cmp::Reverse(btf.align_of(ty)?), size, name: name.to_owned() })
}

/// Gives each value its place in the `.kconfig` map.
fn lay_out(mut values: Vec<Value>, externs: &mut IndexMap<String, Extern>) -> Result<()> {
    values.sort();
    values.dedup();
    let mut end = 0u64;
    for value in values {
        let start = end.next_multiple_of(u64::from(value.align.0.max(1)));
        end = start + u64::from(value.size);
        if end > MAX_KCONFIG {
            let what = "the values of `.kconfig`".to_owned();
            return Err(Kind::TooLarge { what, limit: MAX_KCONFIG, unit: "bytes" }
                .at(Place::default().symbol(&value.name)));
        }
        if let Some(found) = externs.get_mut(&value.name) {
            found.kind = ExternKind::Kconfig { offset: start as u32, size: value.size };
        }
    }
    Ok(())
}

fn fault(name: &str, what: &str) -> Error {
    let fault = MapFault::Extern { name: name.to_owned(), what: what.to_owned() };
    Kind::Map(fault).at(Place::default().symbol(name))
}
