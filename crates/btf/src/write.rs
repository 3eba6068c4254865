//! Writing BTF: plain editable types, encoded in one go.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::bytes::Endian;
use crate::error::{Error, Result, What};
use crate::read::types::{Def, FuncLinkage, IntEncoding, Secinfo, Type, VarLinkage};
use crate::read::{HEADER_LEN, MAGIC};
use crate::{Btf, Kind, TypeId};

/// `BTF_MAX_VLEN`; Linux before 7.2 takes 0xffff.
const MAX_VLEN: u64 = 0x00ff_ffff;
/// libbpf's `BTF_MAX_STR_OFFSET`.
const MAX_STRINGS: u64 = 0x7fff_ffff;

/// BTF in the making: push or edit types, then [`Builder::build`]. Two are equal if they have the same types, byte
/// order and base; strings that no type uses do not count.
#[derive(Clone, Debug)]
pub struct Builder {
    /// The types in order; the first has the id [`Builder::first_id`].
    pub types: Vec<OwnedType>,
    endian: Endian,
    base: Option<Btf>,
    /// The start of the string section; what types need besides is added by `build`.
    strings: Vec<u8>,
}

/// A type that owns its parts, mirror of [`Type`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedType {
    /// Empty if it has none.
    pub name: String,
    /// Written as it is for STRUCT, UNION, DECL_TAG and TYPE_TAG (and set for a struct with bitfields whatever
    /// is said here); for other kinds `def` decides.
    pub kind_flag: bool,
    /// What it says beyond its name.
    pub def: OwnedDef,
}

/// The body of an [`OwnedType`], mirror of [`Def`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "see `Def`, whose mirror this is")]
pub enum OwnedDef {
    Int { size: u32, bits: u8, offset: u8, encoding: IntEncoding },
    Ptr(TypeId),
    Array { elem: TypeId, index: TypeId, count: u32 },
    Struct { size: u32, members: Vec<OwnedMember> },
    Union { size: u32, members: Vec<OwnedMember> },
    Enum { size: u32, signed: bool, values: Vec<OwnedEnumValue> },
    Fwd { union: bool },
    Typedef(TypeId),
    Volatile(TypeId),
    Const(TypeId),
    Restrict(TypeId),
    Func { proto: TypeId, linkage: FuncLinkage },
    FuncProto { ret: TypeId, params: Vec<OwnedParam> },
    Var { ty: TypeId, linkage: VarLinkage },
    Datasec { size: u32, vars: Vec<Secinfo> },
    Float { size: u32 },
    DeclTag { target: TypeId, component: i32 },
    TypeTag(TypeId),
    Enum64 { size: u32, signed: bool, values: Vec<OwnedEnumValue> },
}

/// See [`crate::Member`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "see `Member`, whose mirror this is")]
pub struct OwnedMember {
    pub name: String,
    pub ty: TypeId,
    pub bit_offset: u32,
    pub bit_size: Option<u8>,
}

/// See [`crate::EnumValue`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "see `EnumValue`, whose mirror this is")]
pub struct OwnedEnumValue {
    pub name: String,
    pub value: i128,
}

/// See [`crate::Param`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "see `Param`, whose mirror this is")]
pub struct OwnedParam {
    pub name: String,
    pub ty: TypeId,
}

impl Builder {
    /// Nothing yet, to be written in this byte order.
    pub fn new(endian: Endian) -> Builder {
        Builder { types: Vec::new(), endian, base: None, strings: vec![0] }
    }

    /// Nothing yet, to be split from `base`: ids and strings go on where the base's end.
    pub fn over(base: &Btf) -> Builder {
        Builder { types: Vec::new(), endian: base.endian(), base: Some(base.clone()), strings: Vec::new() }
    }

    /// All own types of `btf`, to be edited. Ids stay as they are, and so do the offsets of strings, of which
    /// `.BTF.ext` speaks. Layout information is not kept.
    ///
    /// # Errors
    /// What [`Btf::get`] says of a type that cannot be decoded.
    pub fn from_btf(btf: &Btf) -> Result<Builder> {
        let mut types = Vec::with_capacity((btf.type_count() - btf.first_own_id().0) as usize);
        for ty in btf.types() {
            types.push(OwnedType::from(ty?));
        }
        let strings = btf.strings().to_vec();
        Ok(Builder { types, endian: btf.endian(), base: btf.base().cloned(), strings })
    }

    /// The byte order that will be written.
    pub fn endian(&self) -> Endian {
        self.endian
    }

    /// Writes in the other byte order from now on. The base of a split BTF keeps its own.
    pub fn set_endian(&mut self, endian: Endian) {
        self.endian = endian;
    }

    /// The id of `types[0]`: 1, or one after the last of the base.
    pub fn first_id(&self) -> TypeId {
        TypeId(self.base.as_ref().map_or(1, Btf::type_count))
    }

    /// Adds a type and tells its id.
    pub fn push(&mut self, ty: OwnedType) -> TypeId {
        self.types.push(ty);
        TypeId(self.first_id().0.saturating_add(self.types.len() as u32 - 1))
    }

    /// The type with this id, if it is not void nor in the base.
    pub fn get(&self, id: TypeId) -> Option<&OwnedType> {
        self.types.get(id.0.checked_sub(self.first_id().0)? as usize)
    }

    /// As [`Builder::get`], to edit.
    pub fn get_mut(&mut self, id: TypeId) -> Option<&mut OwnedType> {
        let first = self.first_id().0;
        self.types.get_mut(id.0.checked_sub(first)? as usize)
    }

    /// The first own type of this name and kind.
    pub fn find(&self, name: &str, kind: Kind) -> Option<TypeId> {
        let at = self.types.iter().position(|ty| ty.name == name && ty.def.kind() == kind)?;
        Some(TypeId(self.first_id().0 + at as u32))
    }

    /// Adds a string that no type needs, such as a source line, and tells its offset in the string section.
    ///
    /// # Errors
    /// E0207 for a NUL in the text, E0213 over 2 GiB of strings.
    pub fn add_string(&mut self, text: &str) -> Result<u32> {
        if text.is_empty() {
            return Ok(0);
        }
        let offset = string_offset(text, self.first_string(), &self.strings)?;
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        Ok(offset)
    }

    /// Encodes all types; equal strings are written once.
    ///
    /// # Errors
    /// E0207 with the type for a name with a NUL or a value that does not fit its enumeration; E0213 for a number
    /// of elements or an offset that its field cannot hold, and over 2 GiB.
    pub fn build(&self) -> Result<Vec<u8>> {
        let mut out = Writer::new(self);
        for (n, ty) in self.types.iter().enumerate() {
            out.put_type(ty).map_err(|e| e.in_type(TypeId(self.first_id().0 + n as u32)))?;
        }
        out.finish()
    }

    /// Offset of the first string that is not the base's.
    fn first_string(&self) -> u32 {
        self.base
            .as_ref()
            .map_or(0, |base| base.first_own_string().saturating_add(base.strings().len() as u32))
    }
}

impl PartialEq for Builder {
    fn eq(&self, other: &Builder) -> bool {
        self.types == other.types && self.endian == other.endian && self.base == other.base
    }
}

impl Eq for Builder {}

/// The two sections while they grow.
struct Writer<'a> {
    endian: Endian,
    types: Vec<u8>,
    strings: Vec<u8>,
    first_string: u32,
    known: HashMap<&'a str, u32>,
}

impl<'a> Writer<'a> {
    fn new(builder: &'a Builder) -> Writer<'a> {
        let first_string = builder.first_string();
        // Offset 0 is the empty string, in a split BTF the base's.
        // A string has about 16 bytes.
        let mut known = HashMap::with_capacity(builder.strings.len() / 16);
        known.insert("", 0);
        let mut at = 0;
        for piece in builder.strings.split_inclusive(|byte| *byte == 0) {
            if let Some(text) = piece.strip_suffix(&[0]).and_then(|text| std::str::from_utf8(text).ok()) {
                known.entry(text).or_insert(first_string.saturating_add(at));
            }
            at = at.saturating_add(piece.len() as u32);
        }
        let strings = builder.strings.clone();
        Writer { endian: builder.endian, types: Vec::new(), strings, first_string, known }
    }

    fn put(&mut self, word: u32) {
        self.types.extend_from_slice(&self.endian.put_u32(word));
    }

    fn put_type(&mut self, ty: &'a OwnedType) -> Result<()> {
        let name = self.string(&ty.name)?;
        self.put(name);
        let flag = ty.flag();
        let vlen = limit("number of elements", ty.def.vlen() as u64, MAX_VLEN)?;
        self.put(u32::from(flag) << 31 | (ty.def.kind() as u32) << 24 | vlen as u32);
        self.put(ty.def.size_or_type());
        match &ty.def {
            OwnedDef::Int { bits, offset, encoding, .. } => {
                self.put(u32::from_be_bytes([encoding.0 & 0x0f, *offset, 0, *bits]));
            }
            OwnedDef::Array { elem, index, count } => {
                for word in [elem.0, index.0, *count] {
                    self.put(word);
                }
            }
            OwnedDef::Struct { members, .. } | OwnedDef::Union { members, .. } => {
                self.put_members(members, flag)?;
            }
            OwnedDef::Enum { values, signed, .. } => self.put_values(values, *signed, 32)?,
            OwnedDef::Enum64 { values, signed, .. } => self.put_values(values, *signed, 64)?,
            OwnedDef::FuncProto { params, .. } => {
                for param in params {
                    let name = self.string(&param.name)?;
                    self.put(name);
                    self.put(param.ty.0);
                }
            }
            OwnedDef::Var { linkage, .. } => self.put(*linkage as u32),
            OwnedDef::Datasec { vars, .. } => {
                for var in vars {
                    self.put(var.ty.0);
                    self.put(var.offset);
                    self.put(var.size);
                }
            }
            OwnedDef::DeclTag { component, .. } => self.put(*component as u32),
            OwnedDef::Ptr(_)
            | OwnedDef::Fwd { .. }
            | OwnedDef::Typedef(_)
            | OwnedDef::Volatile(_)
            | OwnedDef::Const(_)
            | OwnedDef::Restrict(_)
            | OwnedDef::Func { .. }
            | OwnedDef::Float { .. }
            | OwnedDef::TypeTag(_) => {}
        }
        Ok(())
    }

    fn put_members(&mut self, members: &'a [OwnedMember], flag: bool) -> Result<()> {
        for member in members {
            let name = self.string(&member.name)?;
            self.put(name);
            self.put(member.ty.0);
            let max = if flag { 0x00ff_ffff } else { u32::MAX };
            let offset =
                limit("bit offset of a member", u64::from(member.bit_offset), u64::from(max))? as u32;
            self.put(u32::from(member.bit_size.unwrap_or_default()) << 24 | offset);
        }
        Ok(())
    }

    fn put_values(&mut self, values: &'a [OwnedEnumValue], signed: bool, bits: u32) -> Result<()> {
        let max = (1i128 << (bits - u32::from(signed))) - 1;
        let min = if signed { -max - 1 } else { 0 };
        for value in values {
            if !(min..=max).contains(&value.value) {
                return Err(Error::shape(format!(
                    "`{}` = {} does not fit {bits} bits",
                    value.name, value.value
                )));
            }
            let name = self.string(&value.name)?;
            self.put(name);
            self.put(value.value as u32);
            if bits == 64 {
                self.put((value.value >> 32) as u32);
            }
        }
        Ok(())
    }

    fn string(&mut self, text: &'a str) -> Result<u32> {
        match self.known.entry(text) {
            Entry::Occupied(known) => Ok(*known.get()),
            Entry::Vacant(new) => {
                let offset = string_offset(text, self.first_string, &self.strings)?;
                self.strings.extend_from_slice(text.as_bytes());
                self.strings.push(0);
                Ok(*new.insert(offset))
            }
        }
    }

    fn finish(self) -> Result<Vec<u8>> {
        let types = limit("length of the types", self.types.len() as u64, MAX_STRINGS)? as u32;
        let strings = limit("length of the strings", self.strings.len() as u64, MAX_STRINGS)? as u32;
        let mut out = Vec::with_capacity(HEADER_LEN + self.types.len() + self.strings.len());
        out.extend_from_slice(&self.endian.put_u16(MAGIC));
        out.extend_from_slice(&[1, 0]);
        for word in [HEADER_LEN as u32, 0, types, types, strings] {
            out.extend_from_slice(&self.endian.put_u32(word));
        }
        out.extend_from_slice(&self.types);
        out.extend_from_slice(&self.strings);
        Ok(out)
    }
}

/// Where a string goes that is appended to these.
fn string_offset(text: &str, first: u32, strings: &[u8]) -> Result<u32> {
    if text.contains('\0') {
        return Err(Error::shape("a string holds a NUL"));
    }
    let offset = u64::from(first) + strings.len() as u64;
    limit("length of the strings", offset + text.len() as u64, MAX_STRINGS).map(|_| offset as u32)
}

fn limit(what: &'static str, value: u64, limit: u64) -> Result<u64> {
    if value > limit { Err(What::Limit { what, value, limit }.into()) } else { Ok(value) }
}

impl OwnedType {
    /// A type whose kind_flag is what `def` asks for.
    pub fn new(name: impl Into<String>, def: OwnedDef) -> OwnedType {
        let mut ty = OwnedType { name: name.into(), kind_flag: false, def };
        ty.kind_flag = ty.flag();
        ty
    }

    /// An integer of `size` bytes that uses all its bits.
    pub fn int(name: impl Into<String>, size: u32, encoding: IntEncoding) -> OwnedType {
        let bits = size.saturating_mul(8).min(u32::from(u8::MAX)) as u8;
        OwnedType::new(name, OwnedDef::Int { size, bits, offset: 0, encoding })
    }

    /// The kind_flag as it is written.
    fn flag(&self) -> bool {
        match &self.def {
            OwnedDef::Struct { members, .. } | OwnedDef::Union { members, .. } => {
                self.kind_flag || members.iter().any(|member| member.bit_size.is_some())
            }
            OwnedDef::Enum { signed, .. } | OwnedDef::Enum64 { signed, .. } => *signed,
            OwnedDef::Fwd { union } => *union,
            _ => self.kind_flag,
        }
    }
}

impl OwnedDef {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            OwnedDef::Int { .. } => Kind::Int,
            OwnedDef::Ptr(_) => Kind::Ptr,
            OwnedDef::Array { .. } => Kind::Array,
            OwnedDef::Struct { .. } => Kind::Struct,
            OwnedDef::Union { .. } => Kind::Union,
            OwnedDef::Enum { .. } => Kind::Enum,
            OwnedDef::Fwd { .. } => Kind::Fwd,
            OwnedDef::Typedef(_) => Kind::Typedef,
            OwnedDef::Volatile(_) => Kind::Volatile,
            OwnedDef::Const(_) => Kind::Const,
            OwnedDef::Restrict(_) => Kind::Restrict,
            OwnedDef::Func { .. } => Kind::Func,
            OwnedDef::FuncProto { .. } => Kind::FuncProto,
            OwnedDef::Var { .. } => Kind::Var,
            OwnedDef::Datasec { .. } => Kind::Datasec,
            OwnedDef::Float { .. } => Kind::Float,
            OwnedDef::DeclTag { .. } => Kind::DeclTag,
            OwnedDef::TypeTag(_) => Kind::TypeTag,
            OwnedDef::Enum64 { .. } => Kind::Enum64,
        }
    }

    fn vlen(&self) -> usize {
        match self {
            OwnedDef::Struct { members, .. } | OwnedDef::Union { members, .. } => members.len(),
            OwnedDef::Enum { values, .. } | OwnedDef::Enum64 { values, .. } => values.len(),
            OwnedDef::FuncProto { params, .. } => params.len(),
            OwnedDef::Datasec { vars, .. } => vars.len(),
            OwnedDef::Func { linkage, .. } => *linkage as usize,
            _ => 0,
        }
    }

    /// The third word of a type.
    fn size_or_type(&self) -> u32 {
        match self {
            OwnedDef::Int { size, .. }
            | OwnedDef::Struct { size, .. }
            | OwnedDef::Union { size, .. }
            | OwnedDef::Enum { size, .. }
            | OwnedDef::Enum64 { size, .. }
            | OwnedDef::Datasec { size, .. }
            | OwnedDef::Float { size } => *size,
            OwnedDef::Ptr(ty)
            | OwnedDef::Typedef(ty)
            | OwnedDef::Volatile(ty)
            | OwnedDef::Const(ty)
            | OwnedDef::Restrict(ty)
            | OwnedDef::TypeTag(ty)
            | OwnedDef::Func { proto: ty, .. }
            | OwnedDef::FuncProto { ret: ty, .. }
            | OwnedDef::Var { ty, .. }
            | OwnedDef::DeclTag { target: ty, .. } => ty.0,
            OwnedDef::Array { .. } | OwnedDef::Fwd { .. } => 0,
        }
    }
}

impl From<Type<'_>> for OwnedType {
    /// Void, which is never written, becomes a typedef of itself.
    fn from(ty: Type<'_>) -> OwnedType {
        OwnedType { name: ty.name.to_owned(), kind_flag: ty.kind_flag, def: OwnedDef::from(ty.def) }
    }
}

impl From<Def<'_>> for OwnedDef {
    fn from(def: Def<'_>) -> OwnedDef {
        let members = |list: crate::Members<'_>| {
            let own = |m: crate::Member<'_>| OwnedMember {
                name: m.name.to_owned(),
                ty: m.ty,
                bit_offset: m.bit_offset,
                bit_size: m.bit_size,
            };
            list.map(own).collect::<Vec<_>>()
        };
        let values = |list: crate::EnumValues<'_>| {
            list.map(|v| OwnedEnumValue { name: v.name.to_owned(), value: v.value }).collect::<Vec<_>>()
        };
        match def {
            Def::Void => OwnedDef::Typedef(TypeId::VOID),
            Def::Int { size, bits, offset, encoding } => OwnedDef::Int { size, bits, offset, encoding },
            Def::Ptr(ty) => OwnedDef::Ptr(ty),
            Def::Array { elem, index, count } => OwnedDef::Array { elem, index, count },
            Def::Struct { size, members: list } => OwnedDef::Struct { size, members: members(list) },
            Def::Union { size, members: list } => OwnedDef::Union { size, members: members(list) },
            Def::Enum { size, signed, values: list } => OwnedDef::Enum { size, signed, values: values(list) },
            Def::Enum64 { size, signed, values: list } => {
                OwnedDef::Enum64 { size, signed, values: values(list) }
            }
            Def::Fwd { union } => OwnedDef::Fwd { union },
            Def::Typedef(ty) => OwnedDef::Typedef(ty),
            Def::Volatile(ty) => OwnedDef::Volatile(ty),
            Def::Const(ty) => OwnedDef::Const(ty),
            Def::Restrict(ty) => OwnedDef::Restrict(ty),
            Def::Func { proto, linkage } => OwnedDef::Func { proto, linkage },
            Def::FuncProto { ret, params } => {
                let own = |p: crate::Param<'_>| OwnedParam { name: p.name.to_owned(), ty: p.ty };
                OwnedDef::FuncProto { ret, params: params.map(own).collect() }
            }
            Def::Var { ty, linkage } => OwnedDef::Var { ty, linkage },
            Def::Datasec { size, vars } => OwnedDef::Datasec { size, vars: vars.collect() },
            Def::Float { size } => OwnedDef::Float { size },
            Def::DeclTag { target, component } => OwnedDef::DeclTag { target, component },
            Def::TypeTag(ty) => OwnedDef::TypeTag(ty),
        }
    }
}
