//! Random CO-RE: a graph of types, another one that was once the same, and relocations of the first. Shared by the fuzz
//! target and by the oracle's comparison with libbpf, which include this file by its path.

use arbitrary::{Result, Unstructured};
use onebpf_btf::{
    Btf, Builder, CoreRelo, CoreReloKind, Endian, FuncLinkage, IntEncoding, OwnedDef, OwnedEnumValue,
    OwnedMember, OwnedParam, OwnedType, TypeId, VarLinkage,
};

/// What to expect of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Names are unique and types are what C has: every walk finds its way again in the same graph.
    Plain,
    /// Few names for many things; but what holds a value comes after the value's type, so that every size is finite.
    Crowded,
    /// Any type may refer to any, also to itself and beyond the end.
    Wild,
}

/// Relocations of `local` against `target`.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) local: Btf,
    pub(crate) target: Btf,
    pub(crate) relos: Vec<CoreRelo>,
}

const KINDS: [CoreReloKind; 13] = [
    CoreReloKind::FieldByteOffset,
    CoreReloKind::FieldByteSize,
    CoreReloKind::FieldExists,
    CoreReloKind::FieldSigned,
    CoreReloKind::FieldLshiftU64,
    CoreReloKind::FieldRshiftU64,
    CoreReloKind::TypeIdLocal,
    CoreReloKind::TypeIdTarget,
    CoreReloKind::TypeExists,
    CoreReloKind::TypeSize,
    CoreReloKind::EnumvalExists,
    CoreReloKind::EnumvalValue,
    CoreReloKind::TypeMatches,
];
const TYPE_NAMES: [&str; 6] = ["a", "b", "c", "long", "int", "a___b"];
const MEMBER_NAMES: [&str; 6] = ["", "x", "y", "z", "x___f", "i"];
const ENUMERATORS: [&str; 5] = ["A", "B", "C", "A___old", "B___"];
const FLAVOURS: [&str; 6] = ["", "", "", "___x", "___y", "____z"];
/// The two types that every graph starts with.
const INT: TypeId = TypeId(1);
/// Most bytes of a type, so that no offset leaves 24 bits.
const MOST_BYTES: u32 = 1 << 16;
/// Marks a number in the target's types: it is a place there, not the id of a local type.
const PLACE: u32 = 1 << 31;

impl Case {
    pub(crate) fn arbitrary(u: &mut Unstructured<'_>, shape: Shape, endian: Endian) -> Result<Case> {
        let mut graph = Graph { u: &mut *u, shape, types: Vec::new(), sizes: Vec::new(), named: 0 };
        graph.grow()?;
        let Graph { types: mut local, sizes, .. } = graph;
        if shape != Shape::Wild {
            untangle(&mut local);
        }
        let target = Target::of(u, shape, &local, &sizes)?;
        let mut strings = builder(endian, &local);
        let mut relos = Vec::new();
        for n in 0..u.int_in_range(1..=4)? {
            relos.push(relocation(u, shape, &local, &mut strings, n)?);
        }
        let build = |builder: Builder| {
            Btf::from_vec(builder.build().expect("names and numbers fit")).expect("it was just written")
        };
        Ok(Case { local: build(strings), target: build(builder(endian, &target)), relos })
    }
}

fn builder(endian: Endian, types: &[OwnedType]) -> Builder {
    let mut builder = Builder::new(endian);
    builder.types = types.to_vec();
    builder
}

/// The local types while they grow.
struct Graph<'a, 'u> {
    u: &'a mut Unstructured<'u>,
    shape: Shape,
    types: Vec<OwnedType>,
    /// Bytes of a value of each, if it can have any.
    sizes: Vec<Option<u32>>,
    named: u32,
}

impl Graph<'_, '_> {
    fn grow(&mut self) -> Result<()> {
        self.push(OwnedType::int("int", 4, IntEncoding::SIGNED), Some(4));
        // A pointer of the object has 8 bytes whatever this says; one of a kernel follows it.
        let short = self.shape != Shape::Plain && self.u.ratio(1u32, 8u32)?;
        let long = if short { 4 } else { 8 };
        self.push(OwnedType::int("long unsigned int", long, IntEncoding::UNSIGNED), Some(long));
        for _ in 0..self.u.int_in_range(2..=24)? {
            let (ty, size) = self.any()?;
            self.push(ty, size);
        }
        Ok(())
    }

    fn push(&mut self, ty: OwnedType, size: Option<u32>) {
        self.types.push(ty);
        self.sizes.push(size);
    }

    /// A type and its size.
    fn any(&mut self) -> Result<(OwnedType, Option<u32>)> {
        let most = if self.shape == Shape::Plain { 14 } else { 22 };
        let (name, def, size) = match self.u.int_in_range(0..=most)? {
            0..=4 => return self.record(),
            5 | 6 => return self.enumeration(),
            7 | 8 => {
                let (name, (def, size)) = (self.type_name()?, integer(self.u, self.shape)?);
                (name, def, Some(size))
            }
            9 | 10 => (String::new(), OwnedDef::Ptr(self.anything()?), Some(8)),
            11 => {
                let (elem, bytes) = self.value()?;
                let count = self.u.int_in_range(0..=4)?;
                let count = if bytes * count > MOST_BYTES { 1 } else { count };
                (String::new(), OwnedDef::Array { elem, index: INT, count }, Some(bytes * count))
            }
            12 => {
                let (to, size) = self.earlier()?;
                (self.type_name()?, OwnedDef::Typedef(to), size)
            }
            13 => {
                let (to, size) = self.earlier()?;
                let wrap = [OwnedDef::Const, OwnedDef::Volatile, OwnedDef::Restrict, OwnedDef::TypeTag];
                let wrap = *self.u.choose(&wrap)?;
                let def = wrap(to);
                let name = if matches!(def, OwnedDef::TypeTag(_)) { "tag" } else { "" };
                (name.to_owned(), def, size)
            }
            14 | 15 => (String::new(), self.signature()?, None),
            16 => (self.type_name()?, OwnedDef::Fwd { union: self.u.ratio(1u32, 2u32)? }, None),
            17 => (self.type_name()?, OwnedDef::Float { size: 8 }, Some(8)),
            18 => {
                let proto = self.proto()?;
                (self.type_name()?, OwnedDef::Func { proto, linkage: FuncLinkage::Global }, None)
            }
            19 => {
                let (ty, size) = self.value()?;
                (self.type_name()?, OwnedDef::Var { ty, linkage: VarLinkage::Global }, Some(size))
            }
            20 => {
                let (target, size) = self.earlier()?;
                (self.type_name()?, OwnedDef::DeclTag { target, component: -1 }, size)
            }
            _ => (self.type_name()?, OwnedDef::Typedef(TypeId::VOID), None),
        };
        Ok((OwnedType::new(name, def), size))
    }

    /// A struct or union with its members one after the other, more or less.
    fn record(&mut self) -> Result<(OwnedType, Option<u32>)> {
        let is_union = self.u.ratio(1u32, 4u32)?;
        let (mut members, mut bits, mut most) = (Vec::new(), 0u32, 0u32);
        for _ in 0..self.u.int_in_range(0..=5)? {
            let (ty, bytes) = self.value()?;
            let (name, bit_size) = (self.member_name(ty)?, self.bitfield(ty)?);
            let width = bit_size.map_or(bytes * 8, u32::from);
            if bit_size.is_none() {
                bits = bits.next_multiple_of(8 * bytes.clamp(1, 8));
            }
            if self.shape != Shape::Plain && self.u.ratio(1u32, 16u32)? {
                bits += self.u.int_in_range(0..=70)?;
            }
            if bits + width > MOST_BYTES * 8 {
                break;
            }
            let bit_offset = if is_union { 0 } else { bits };
            members.push(OwnedMember { name, ty, bit_offset, bit_size });
            bits += width;
            most = most.max(bit_offset + width);
        }
        let size = most.div_ceil(8).next_multiple_of(4);
        let def =
            if is_union { OwnedDef::Union { size, members } } else { OwnedDef::Struct { size, members } };
        let anonymous = self.u.ratio(1u32, 4u32)?;
        let name = if anonymous { String::new() } else { self.type_name()? };
        Ok((OwnedType::new(name, def), Some(size)))
    }

    fn enumeration(&mut self) -> Result<(OwnedType, Option<u32>)> {
        let (signed, wide) = (self.u.arbitrary()?, self.u.ratio(1u32, 3u32)?);
        let mut values = Vec::new();
        for n in 0..self.u.int_in_range(0..=4u32)? {
            let name = match self.shape {
                Shape::Plain => format!("E{}_{n}", self.types.len()),
                _ => (*self.u.choose(&ENUMERATORS)?).to_owned(),
            };
            values.push(OwnedEnumValue { name, value: value(self.u, signed, wide)? });
        }
        let size = if wide { 8 } else { *self.u.choose(&[4, 4, 1, 2])? };
        let name = self.type_name()?;
        Ok((OwnedType::new(name, enumeration(size, signed, wide, values)), Some(size)))
    }

    fn signature(&mut self) -> Result<OwnedDef> {
        let ret = self.earlier()?.0;
        let mut params = Vec::new();
        for _ in 0..self.u.int_in_range(0..=3)? {
            params.push(OwnedParam { name: String::new(), ty: self.earlier()?.0 });
        }
        Ok(OwnedDef::FuncProto { ret, params })
    }

    /// The last signature; one is made if there is none.
    fn proto(&mut self) -> Result<TypeId> {
        if self.shape == Shape::Wild {
            return self.anything();
        }
        let is_proto = |ty: &OwnedType| matches!(ty.def, OwnedDef::FuncProto { .. });
        if !self.types.iter().any(is_proto) {
            let signature = self.signature()?;
            self.push(OwnedType::new("", signature), None);
        }
        Ok(TypeId(self.types.iter().rposition(is_proto).map_or(0, |at| at as u32 + 1)))
    }

    /// Some bits, for what can be a bitfield.
    fn bitfield(&mut self, ty: TypeId) -> Result<Option<u8>> {
        let def = ty.0.checked_sub(1).and_then(|at| self.types.get(at as usize)).map(|ty| &ty.def);
        let (OwnedDef::Int { size, .. } | OwnedDef::Enum { size, .. } | OwnedDef::Enum64 { size, .. }) =
            def.unwrap_or(&OwnedDef::Ptr(TypeId::VOID))
        else {
            return Ok(None);
        };
        let most = (size * 8).clamp(1, 64) as u8;
        Ok(if self.u.ratio(1u32, 4u32)? { Some(self.u.int_in_range(1..=most)?) } else { None })
    }

    /// A type that a value can have, with its size.
    fn value(&mut self) -> Result<(TypeId, u32)> {
        let (id, size) = self.earlier()?;
        Ok(size.map_or((INT, 4), |size| (id, size)))
    }

    /// A type that was there before, with the size of its values if it has any.
    fn earlier(&mut self) -> Result<(TypeId, Option<u32>)> {
        if self.shape == Shape::Wild {
            return Ok((self.anything()?, Some(4)));
        }
        let at = self.u.choose_index(self.types.len())?;
        Ok((TypeId(at as u32 + 1), self.sizes[at]))
    }

    /// What a pointer may point to: also void, and types that come later.
    fn anything(&mut self) -> Result<TypeId> {
        let most = if self.shape == Shape::Wild { 32 } else { self.types.len() as u32 };
        Ok(TypeId(self.u.int_in_range(0..=most)?))
    }

    fn type_name(&mut self) -> Result<String> {
        self.named += 1;
        Ok(match self.shape {
            Shape::Plain => format!("t{}", self.named),
            _ => flavoured(self.u, &TYPE_NAMES)?,
        })
    }

    fn member_name(&mut self, ty: TypeId) -> Result<String> {
        self.named += 1;
        let name = *self.u.choose(&MEMBER_NAMES)?;
        let def = ty.0.checked_sub(1).and_then(|at| self.types.get(at as usize)).map(|ty| &ty.def);
        let composite = matches!(def, Some(OwnedDef::Struct { .. } | OwnedDef::Union { .. }));
        Ok(match self.shape {
            Shape::Plain if composite && name.is_empty() => String::new(),
            Shape::Plain => format!("m{}", self.named),
            _ => name.to_owned(),
        })
    }
}

/// The target's types while they are made from the local ones. Numbers in them are ids of local types, or places here.
struct Target<'a, 'u> {
    u: &'a mut Unstructured<'u>,
    shape: Shape,
    types: Vec<OwnedType>,
    /// Where the n-th local type went.
    places: Vec<u32>,
}

impl Target<'_, '_> {
    fn of(
        u: &mut Unstructured<'_>,
        shape: Shape,
        local: &[OwnedType],
        sizes: &[Option<u32>],
    ) -> Result<Vec<OwnedType>> {
        let mut target = Target { u, shape, types: Vec::new(), places: Vec::new() };
        for (n, ty) in local.iter().enumerate() {
            let mut ty = ty.clone();
            if n > 0 && target.u.ratio(1u32, 3u32)? {
                ty = target.varied(ty, sizes)?;
            }
            // Once more under the same name, perhaps with another flavour: another candidate.
            if target.u.ratio(1u32, 6u32)? {
                let mut other = target.varied(ty.clone(), sizes)?;
                if !other.name.is_empty() {
                    let plain = other.name.split("___").next().unwrap_or_default();
                    other.name = format!("{plain}{}", target.u.choose(&FLAVOURS)?);
                }
                target.types.push(other);
            }
            target.places.push(target.types.len() as u32);
            target.types.push(ty);
        }
        let Target { mut types, places, .. } = target;
        let settle = |id: &mut TypeId| {
            let place = if id.0 & PLACE == 0 {
                id.0.checked_sub(1).map(|at| places.get(at as usize).copied().unwrap_or(at))
            } else {
                Some(id.0 & !PLACE)
            };
            *id = TypeId(place.map_or(0, |place| place + 1));
        };
        for ty in &mut types {
            references(&mut ty.def).into_iter().for_each(settle);
        }
        if shape != Shape::Wild {
            untangle(&mut types);
        }
        Ok(types)
    }

    /// The type as another kernel might have it.
    fn varied(&mut self, mut ty: OwnedType, sizes: &[Option<u32>]) -> Result<OwnedType> {
        let u = &mut *self.u;
        match &mut ty.def {
            OwnedDef::Struct { size, members } | OwnedDef::Union { size, members } => {
                *size += u.int_in_range(0..=8)?;
                self.vary_members(members)?;
            }
            OwnedDef::Enum { size, values, signed } | OwnedDef::Enum64 { size, values, signed } => {
                let (mut values, mut size, signed) = (std::mem::take(values), *size, *signed);
                let wide = u.ratio(1u32, 3u32)?;
                if u.ratio(1u32, 4u32)? {
                    size = *u.choose(&[1, 4, 8])?;
                }
                values.retain(|_| u.ratio(7u32, 8u32).unwrap_or(true));
                for it in &mut values {
                    it.value = value(u, signed, wide)?;
                }
                if let Some(name) = u.choose_iter(ENUMERATORS.iter()).ok().filter(|_| values.len() < 3) {
                    values.push(OwnedEnumValue { name: (*name).to_owned(), value: value(u, signed, wide)? });
                }
                ty.def = enumeration(size, signed, wide, values);
            }
            OwnedDef::Int { .. } => ty.def = integer(u, self.shape)?.0,
            OwnedDef::Array { count, .. } => *count = u.int_in_range(0..=4)?,
            OwnedDef::FuncProto { params, .. } => {
                params.pop();
            }
            OwnedDef::Ptr(to) => *to = TypeId(u.int_in_range(0..=sizes.len() as u32)?),
            OwnedDef::Fwd { union } => *union = !*union,
            OwnedDef::Typedef(to) if to.0 & PLACE == 0 => {
                let to = *to;
                ty.def = if u.arbitrary()? { OwnedDef::Const(to) } else { OwnedDef::Typedef(INT) };
            }
            _ => {}
        }
        if !ty.name.is_empty() && self.u.ratio(1u32, 6u32)? {
            ty.name = if self.u.arbitrary()? { "gone".to_owned() } else { flavoured(self.u, &[&ty.name])? };
        }
        Ok(ty)
    }

    /// Members go, come to other places, change their types, or move into an anonymous struct.
    fn vary_members(&mut self, members: &mut Vec<OwnedMember>) -> Result<()> {
        let u = &mut *self.u;
        if u.ratio(1u32, 4u32)? && members.len() > 1 {
            let tail = members.split_off(u.choose_index(members.len())?);
            let start = tail.iter().map(|member| member.bit_offset).min().unwrap_or_default() & !63;
            let inner = tail.into_iter().map(|it| OwnedMember { bit_offset: it.bit_offset - start, ..it });
            let def = OwnedDef::Struct { size: 64, members: inner.collect() };
            let ty = TypeId(self.types.len() as u32 | PLACE);
            self.types.push(OwnedType::new("", def));
            members.push(OwnedMember { name: String::new(), ty, bit_offset: start, bit_size: None });
        }
        let shift = *u.choose(&[0, 0, 8, 32, 64])?;
        for member in members.iter_mut() {
            member.bit_offset += shift;
            match u.int_in_range(0..=15)? {
                0 => (*u.choose(&MEMBER_NAMES)?).clone_into(&mut member.name),
                1 => member.bit_size = None,
                2 => member.bit_size = member.bit_size.map(|bits| (bits / 2).max(1)),
                // Of these two the size is known, wherever the member's type comes.
                3 if member.bit_size.is_none() => member.ty = TypeId(u.int_in_range(1..=2)?),
                4 => {
                    let ty = TypeId(self.types.len() as u32 | PLACE);
                    self.types.push(OwnedType::new("", OwnedDef::Volatile(member.ty)));
                    member.ty = ty;
                }
                _ => {}
            }
        }
        members.retain(|_| u.ratio(11u32, 12u32).unwrap_or(true));
        if u.ratio(1u32, 4u32)? {
            members.reverse();
        }
        Ok(())
    }
}

/// Drops members whose names come twice, be it in an anonymous struct within: C has no such types.
fn untangle(types: &mut [OwnedType]) {
    let mut visible: Vec<Vec<String>> = Vec::new();
    for ty in types {
        let within = |id: TypeId| {
            id.0.checked_sub(1).and_then(|at| visible.get(at as usize)).cloned().unwrap_or_default()
        };
        visible.push(match &mut ty.def {
            OwnedDef::Struct { members, .. } | OwnedDef::Union { members, .. } => {
                let mut names: Vec<String> = Vec::new();
                members.retain(|member| {
                    let new =
                        if member.name.is_empty() { within(member.ty) } else { vec![member.name.clone()] };
                    let fresh = !new.iter().any(|name| names.contains(name));
                    names.extend(new.into_iter().filter(|_| fresh));
                    fresh
                });
                names
            }
            OwnedDef::Typedef(to)
            | OwnedDef::Const(to)
            | OwnedDef::Volatile(to)
            | OwnedDef::Restrict(to)
            | OwnedDef::TypeTag(to) => within(*to),
            _ => Vec::new(),
        });
    }
}

/// Where a type says which others it is made of.
fn references(def: &mut OwnedDef) -> Vec<&mut TypeId> {
    match def {
        OwnedDef::Ptr(to)
        | OwnedDef::Typedef(to)
        | OwnedDef::Const(to)
        | OwnedDef::Volatile(to)
        | OwnedDef::Restrict(to)
        | OwnedDef::TypeTag(to)
        | OwnedDef::Func { proto: to, .. }
        | OwnedDef::Var { ty: to, .. }
        | OwnedDef::DeclTag { target: to, .. } => vec![to],
        OwnedDef::Array { elem, index, .. } => vec![elem, index],
        OwnedDef::Struct { members, .. } | OwnedDef::Union { members, .. } => {
            members.iter_mut().map(|member| &mut member.ty).collect()
        }
        OwnedDef::FuncProto { ret, params } => {
            std::iter::once(ret).chain(params.iter_mut().map(|param| &mut param.ty)).collect()
        }
        _ => Vec::new(),
    }
}

fn flavoured(u: &mut Unstructured<'_>, names: &[&str]) -> Result<String> {
    let name = *u.choose(names)?;
    Ok(format!("{name}{}", u.choose(&FLAVOURS)?))
}

fn integer(u: &mut Unstructured<'_>, shape: Shape) -> Result<(OwnedDef, u32)> {
    let size = *u.choose(&[4u32, 8, 1, 2])?;
    let encoding =
        *u.choose(&[IntEncoding::SIGNED, IntEncoding::UNSIGNED, IntEncoding::BOOL, IntEncoding::CHAR])?;
    let odd = shape != Shape::Plain && u.ratio(1u32, 12u32)?;
    let (offset, bits) = if odd { (3, 5) } else { (0, (size * 8) as u8) };
    Ok((OwnedDef::Int { size, bits, offset, encoding }, size))
}

fn value(u: &mut Unstructured<'_>, signed: bool, wide: bool) -> Result<i128> {
    Ok(match (signed, wide) {
        (true, false) => u.arbitrary::<i32>()?.into(),
        (false, false) => u.arbitrary::<u32>()?.into(),
        (true, true) => u.arbitrary::<i64>()?.into(),
        (false, true) => u.arbitrary::<u64>()?.into(),
    })
}

fn enumeration(size: u32, signed: bool, wide: bool, values: Vec<OwnedEnumValue>) -> OwnedDef {
    if wide { OwnedDef::Enum64 { size, signed, values } } else { OwnedDef::Enum { size, signed, values } }
}

/// A record about some local type, with an access string that leads somewhere, or at times nowhere.
fn relocation(
    u: &mut Unstructured<'_>,
    shape: Shape,
    local: &[OwnedType],
    strings: &mut Builder,
    insn_off: u32,
) -> Result<CoreRelo> {
    let mut kind = *u.choose(&KINDS)?;
    let enumerators = matches!(kind, CoreReloKind::EnumvalExists | CoreReloKind::EnumvalValue);
    let of_type = matches!(
        kind,
        CoreReloKind::TypeIdLocal
            | CoreReloKind::TypeIdTarget
            | CoreReloKind::TypeExists
            | CoreReloKind::TypeSize
            | CoreReloKind::TypeMatches
    );
    let fits = |ty: &&OwnedType| match &ty.def {
        _ if ty.name.is_empty() => false,
        OwnedDef::Enum { values, .. } | OwnedDef::Enum64 { values, .. } => {
            enumerators && !values.is_empty() || of_type
        }
        OwnedDef::Struct { members, .. } | OwnedDef::Union { members, .. } => {
            of_type || !enumerators && !members.is_empty()
        }
        OwnedDef::Typedef(to) => !enumerators && *to != TypeId::VOID,
        _ => of_type,
    };
    let fitting: Vec<usize> = local.iter().enumerate().filter(|(_, ty)| fits(ty)).map(|(at, _)| at).collect();
    let careless = shape != Shape::Plain && u.ratio(1u32, 16u32)?;
    let root = match fitting.as_slice() {
        some @ [_, ..] if !careless => *u.choose(some)?,
        _ => u.choose_index(local.len())?,
    };
    let access = if careless && u.arbitrary()? {
        let parts = ["0", "1", "0:1", "0:9", ":0", "0:", "x", "0:0:0", ""];
        (*u.choose(&parts)?).to_owned()
    } else if of_type {
        "0".to_owned()
    } else {
        let (access, member) = walk(u, shape, local, root, enumerators)?;
        // These ask about members alone.
        let of_member = matches!(
            kind,
            CoreReloKind::FieldSigned | CoreReloKind::FieldLshiftU64 | CoreReloKind::FieldRshiftU64
        );
        if of_member && !member && !careless {
            kind = CoreReloKind::FieldByteOffset;
        }
        access
    };
    let access_str_off = strings.add_string(&access).expect("a short string");
    Ok(CoreRelo { insn_off, type_id: TypeId(root as u32 + 1), access_str_off, kind })
}

/// The numbers of members and elements on a way through a type, and whether it ends with a member that has a name.
fn walk(
    u: &mut Unstructured<'_>,
    shape: Shape,
    local: &[OwnedType],
    root: usize,
    enumerators: bool,
) -> Result<(String, bool)> {
    if enumerators {
        let count = match &local[root].def {
            OwnedDef::Enum { values, .. } | OwnedDef::Enum64 { values, .. } => values.len(),
            _ => 1,
        };
        return Ok((u.int_in_range(0..=count.saturating_sub(1))?.to_string(), false));
    }
    let mut text = if u.ratio(1u32, 8u32)? { u.int_in_range(1..=3)? } else { 0 }.to_string();
    let (mut at, mut member) = (root, false);
    // Nobody in C can speak of an anonymous member itself.
    let mut end = text.len();
    for _ in 0..24 {
        let (index, next) = match &local[at].def {
            OwnedDef::Struct { members, .. } | OwnedDef::Union { members, .. } if !members.is_empty() => {
                let index = u.choose_index(members.len())?;
                member = !members[index].name.is_empty();
                (Some(index as u32), members[index].ty)
            }
            OwnedDef::Array { elem, count, .. } => {
                member = false;
                (Some(u.int_in_range(0..=count.saturating_sub(1))?), *elem)
            }
            OwnedDef::Typedef(to)
            | OwnedDef::Const(to)
            | OwnedDef::Volatile(to)
            | OwnedDef::Restrict(to)
            | OwnedDef::TypeTag(to) => (None, *to),
            _ => break,
        };
        if let Some(index) = index {
            text = format!("{text}:{index}");
            if member || matches!(local[at].def, OwnedDef::Array { .. }) || shape != Shape::Plain {
                end = text.len();
            }
        }
        match next.0.checked_sub(1).filter(|next| (*next as usize) < local.len()) {
            Some(next) if index.is_none() || !member || u.ratio(1u32, 2u32)? => at = next as usize,
            _ => break,
        }
    }
    text.truncate(end);
    Ok((text, member))
}
