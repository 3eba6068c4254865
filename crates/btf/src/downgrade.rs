//! Rewriting BTF for kernels that lack a kind. The ids stay, so that whatever refers to a type still does.

use std::borrow::Cow;

use crate::error::Result;
use crate::read::types::{FuncLinkage, IntEncoding};
use crate::write::{Builder, OwnedDef, OwnedEnumValue, OwnedMember, OwnedType};
use crate::{Btf, Kind, TypeId};

/// What a kernel's BTF reader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "a set of independent facts, each with a name")]
pub struct BtfFeatures {
    /// VAR and DATASEC (5.2).
    pub datasec: bool,
    /// DECL_TAG (5.16).
    pub decl_tag: bool,
    /// DATASEC names that start with `?` (6.9).
    pub qmark_datasec: bool,
    /// FUNC and FUNC_PROTO (5.0).
    pub func: bool,
    /// Global FUNCs (5.6).
    pub func_global: bool,
    /// FLOAT (5.13).
    pub float: bool,
    /// TYPE_TAG (5.17).
    pub type_tag: bool,
    /// ENUM64, and signed ENUM (6.0).
    pub enum64: bool,
    /// Layout section in the header (7.1).
    pub layout: bool,
}

impl BtfFeatures {
    /// A kernel that reads everything.
    pub const fn all() -> BtfFeatures {
        BtfFeatures::each(true)
    }

    /// A kernel that has BTF and no more: 4.18.
    pub const fn none() -> BtfFeatures {
        BtfFeatures::each(false)
    }

    const fn each(on: bool) -> BtfFeatures {
        BtfFeatures {
            datasec: on,
            decl_tag: on,
            qmark_datasec: on,
            func: on,
            func_global: on,
            float: on,
            type_tag: on,
            enum64: on,
            layout: on,
        }
    }
}

/// One rewriting, for kernels without a feature.
pub struct DowngradeStep {
    /// What becomes what.
    pub rewrites: &'static str,
    /// First kernel that does not need it, as (major, minor).
    pub since: (u8, u8),
    /// Whether a kernel has the feature.
    pub has: fn(&BtfFeatures) -> bool,
    applies: fn(&OwnedType) -> bool,
    apply: fn(&mut OwnedType, &Around<'_>),
}

/// What a step may look at besides the type itself.
struct Around<'a> {
    /// Names of own types by position, before any rewriting.
    names: &'a [String],
    first: TypeId,
    /// The 1-byte integer that stands for a value of an ENUM64.
    placeholder: TypeId,
}

impl DowngradeStep {
    /// Whether it is for types like this one. The first step for a type is taken, and no other.
    pub fn applies(&self, ty: &OwnedType) -> bool {
        (self.applies)(ty)
    }

    /// The step that a kernel with these features needs for a type, if any.
    pub fn find(ty: &OwnedType, features: &BtfFeatures) -> Option<&'static DowngradeStep> {
        DOWNGRADE_STEPS.iter().find(|step| !(step.has)(features) && step.applies(ty))
    }
}

const fn step(
    rewrites: &'static str,
    since: (u8, u8),
    has: fn(&BtfFeatures) -> bool,
    applies: fn(&OwnedType) -> bool,
    apply: fn(&mut OwnedType, &Around<'_>),
) -> DowngradeStep {
    DowngradeStep { rewrites, since, has, applies, apply }
}

/// The steps of libbpf's `bpf_object__sanitize_btf`, in its order: the first that applies to a type is taken.
pub const DOWNGRADE_STEPS: &[DowngradeStep] = &[
    step("VAR to INT", (5, 2), |f| f.datasec, |t| t.def.kind() == Kind::Var, to_byte),
    step("DECL_TAG to INT", (5, 16), |f| f.decl_tag, |t| t.def.kind() == Kind::DeclTag, to_byte),
    step("DATASEC to STRUCT", (5, 2), |f| f.datasec, |t| t.def.kind() == Kind::Datasec, datasec_to_struct),
    step("`?` of DATASEC names to `_`", (6, 9), |f| f.qmark_datasec, is_qmark_datasec, rename_qmark),
    step("FUNC_PROTO to ENUM", (5, 0), |f| f.func, |t| t.def.kind() == Kind::FuncProto, proto_to_enum),
    step("FUNC to TYPEDEF", (5, 0), |f| f.func, |t| t.def.kind() == Kind::Func, func_to_typedef),
    step("global FUNC to static", (5, 6), |f| f.func_global, is_global_func, func_to_static),
    step("FLOAT to STRUCT", (5, 13), |f| f.float, |t| t.def.kind() == Kind::Float, float_to_struct),
    step("TYPE_TAG to CONST", (5, 17), |f| f.type_tag, |t| t.def.kind() == Kind::TypeTag, tag_to_const),
    step("ENUM64 to UNION, signed ENUM to unsigned", (6, 0), |f| f.enum64, is_new_enum, enum_to_old),
];

/// `btf` as a kernel with these features can read it: the same, borrowed, if it needs no change. Ids stay; for
/// ENUM64 one integer is added at the end. The layout section goes if the kernel does not know it.
///
/// # Errors
/// What [`Btf::get`] says of a type that cannot be decoded.
pub fn downgrade<'a>(btf: &'a Btf, features: &BtfFeatures) -> Result<Cow<'a, Btf>> {
    if *features == BtfFeatures::all() {
        return Ok(Cow::Borrowed(btf));
    }
    let mut builder = Builder::from_btf(btf)?;
    let changed = rewrite(&mut builder, features);
    if !changed && (features.layout || !btf.has_layout()) {
        return Ok(Cow::Borrowed(btf));
    }
    let bytes = builder.build()?;
    let new = match btf.base() {
        None => Btf::from_vec(bytes),
        Some(base) => Btf::parse_split(std::sync::Arc::new(bytes), base),
    };
    new.map(Cow::Owned)
}

/// Rewrites in place; whether anything changed.
fn rewrite(builder: &mut Builder, features: &BtfFeatures) -> bool {
    let todo: Vec<_> = builder.types.iter().map(|ty| DowngradeStep::find(ty, features)).collect();
    if todo.iter().all(Option::is_none) {
        return false;
    }
    if !features.enum64 && builder.types.iter().any(|ty| ty.def.kind() == Kind::Enum64) {
        builder.push(OwnedType::int("enum64_placeholder", 1, IntEncoding::UNSIGNED));
    }
    let names: Vec<String> = builder.types.iter().map(|ty| ty.name.clone()).collect();
    let first = builder.first_id();
    let placeholder = TypeId(first.0 + names.len() as u32 - 1);
    let around = Around { names: &names, first, placeholder };
    for (ty, step) in builder.types.iter_mut().zip(todo) {
        if let Some(step) = step {
            (step.apply)(ty, &around);
        }
    }
    true
}

fn is_qmark_datasec(ty: &OwnedType) -> bool {
    ty.def.kind() == Kind::Datasec && ty.name.starts_with('?')
}

fn rename_qmark(ty: &mut OwnedType, _: &Around<'_>) {
    if let Some(rest) = ty.name.strip_prefix('?') {
        ty.name = format!("_{rest}");
    }
}

fn is_global_func(ty: &OwnedType) -> bool {
    matches!(ty.def, OwnedDef::Func { linkage, .. } if linkage != FuncLinkage::Static)
}

fn is_new_enum(ty: &OwnedType) -> bool {
    matches!(ty.def, OwnedDef::Enum { signed: true, .. } | OwnedDef::Enum64 { .. })
}

/// One byte is safest: the kernel refuses an INT that is larger than the variable in a section was.
fn to_byte(ty: &mut OwnedType, _: &Around<'_>) {
    *ty = OwnedType::int(std::mem::take(&mut ty.name), 1, IntEncoding::UNSIGNED);
}

/// The variables become members. Names of structs must be C identifiers.
fn datasec_to_struct(ty: &mut OwnedType, around: &Around<'_>) {
    let OwnedDef::Datasec { size, vars } = &ty.def else { return };
    let members = vars.iter().map(|var| {
        let at = var.ty.0.checked_sub(around.first.0);
        let name = at.and_then(|at| around.names.get(at as usize)).cloned().unwrap_or_default();
        OwnedMember { name, ty: var.ty, bit_offset: var.offset.saturating_mul(8), bit_size: None }
    });
    let def = OwnedDef::Struct { size: *size, members: members.collect() };
    let name = ty.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    *ty = OwnedType::new(name.collect::<String>(), def);
}

/// Parameters become values. libbpf leaves those without a name as they are, which the kernel refuses in an ENUM
/// (`btf_enum_check_meta`), so they get one.
fn proto_to_enum(ty: &mut OwnedType, _: &Around<'_>) {
    let OwnedDef::FuncProto { params, .. } = &ty.def else { return };
    let values = params.iter().enumerate().map(|(n, param)| {
        let name = if param.name.is_empty() { format!("arg{n}") } else { param.name.clone() };
        OwnedEnumValue { name, value: i128::from(param.ty.0) }
    });
    let def = OwnedDef::Enum { size: 4, signed: false, values: values.collect() };
    *ty = OwnedType::new(std::mem::take(&mut ty.name), def);
}

fn func_to_typedef(ty: &mut OwnedType, _: &Around<'_>) {
    let OwnedDef::Func { proto, .. } = ty.def else { return };
    *ty = OwnedType::new(std::mem::take(&mut ty.name), OwnedDef::Typedef(proto));
}

fn func_to_static(ty: &mut OwnedType, _: &Around<'_>) {
    if let OwnedDef::Func { linkage, .. } = &mut ty.def {
        *linkage = FuncLinkage::Static;
    }
}

/// Anonymous: `float` is no name for a struct.
fn float_to_struct(ty: &mut OwnedType, _: &Around<'_>) {
    let OwnedDef::Float { size } = ty.def else { return };
    *ty = OwnedType::new("", OwnedDef::Struct { size, members: Vec::new() });
}

fn tag_to_const(ty: &mut OwnedType, _: &Around<'_>) {
    let OwnedDef::TypeTag(target) = ty.def else { return };
    *ty = OwnedType::new("", OwnedDef::Const(target));
}

/// An ENUM loses its sign; an ENUM64 becomes a union, as large and with a member for each value.
fn enum_to_old(ty: &mut OwnedType, around: &Around<'_>) {
    let name = std::mem::take(&mut ty.name);
    let def = match &mut ty.def {
        OwnedDef::Enum { size, values, .. } => {
            let values = values.drain(..).map(|v| OwnedEnumValue { value: i128::from(v.value as u32), ..v });
            OwnedDef::Enum { size: *size, signed: false, values: values.collect() }
        }
        OwnedDef::Enum64 { size, values, .. } => {
            let members = values.drain(..).map(|v| OwnedMember {
                name: v.name,
                ty: around.placeholder,
                bit_offset: 0,
                bit_size: None,
            });
            OwnedDef::Union { size: *size, members: members.collect() }
        }
        _ => return,
    };
    *ty = OwnedType::new(name, def);
}
