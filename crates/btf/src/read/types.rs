//! A decoded type, and the lists in it that are decoded while one iterates.

use std::fmt;
use std::marker::PhantomData;

use crate::bytes::{Endian, slice_at, u32_at};
use crate::error::{Error, Result, What};
use crate::read::index::TYPE_LEN;
use crate::{Btf, Kind, TypeId};

/// One type, borrowed from its [`Btf`].
#[derive(Clone, Copy, Debug)]
pub struct Type<'a> {
    /// Its number.
    pub id: TypeId,
    /// Its name; empty if it has none.
    pub name: &'a str,
    /// Its kind.
    pub kind: Kind,
    /// Bit 31 of `info`. What it means is decoded in `def`, except that a DECL_TAG or TYPE_TAG with it stands for
    /// any attribute, not only a btf tag (since Linux 6.15).
    pub kind_flag: bool,
    /// What it says beyond its name.
    pub def: Def<'a>,
}

impl Type<'_> {
    pub(crate) const VOID: Type<'static> =
        Type { id: TypeId::VOID, name: "void", kind: Kind::Void, kind_flag: false, def: Def::Void };
}

/// The body of a type, by kind. Sizes are bytes.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the fields carry the kernel's names and say what they are")]
pub enum Def<'a> {
    Void,
    /// `bits` wide, starting `offset` bits into `size` bytes.
    Int {
        size: u32,
        bits: u8,
        offset: u8,
        encoding: IntEncoding,
    },
    Ptr(TypeId),
    Array {
        elem: TypeId,
        index: TypeId,
        count: u32,
    },
    Struct {
        size: u32,
        members: Members<'a>,
    },
    Union {
        size: u32,
        members: Members<'a>,
    },
    Enum {
        size: u32,
        signed: bool,
        values: EnumValues<'a>,
    },
    /// Of a union if `union`, else of a struct.
    Fwd {
        union: bool,
    },
    Typedef(TypeId),
    Volatile(TypeId),
    Const(TypeId),
    Restrict(TypeId),
    Func {
        proto: TypeId,
        linkage: FuncLinkage,
    },
    FuncProto {
        ret: TypeId,
        params: Params<'a>,
    },
    Var {
        ty: TypeId,
        linkage: VarLinkage,
    },
    Datasec {
        size: u32,
        vars: Secinfos<'a>,
    },
    Float {
        size: u32,
    },
    /// `component` is the index of a member or parameter, or -1 for the whole.
    DeclTag {
        target: TypeId,
        component: i32,
    },
    TypeTag(TypeId),
    Enum64 {
        size: u32,
        signed: bool,
        values: EnumValues<'a>,
    },
}

/// How the bits of an INT are read (`BTF_INT_SIGNED`, `_CHAR`, `_BOOL`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
pub struct IntEncoding(pub u8);

impl IntEncoding {
    /// Not signed, no character, no boolean.
    pub const UNSIGNED: IntEncoding = IntEncoding(0);
    /// Two's complement.
    pub const SIGNED: IntEncoding = IntEncoding(1);
    /// A character.
    pub const CHAR: IntEncoding = IntEncoding(2);
    /// A boolean.
    pub const BOOL: IntEncoding = IntEncoding(4);

    /// Whether the integer is signed.
    pub fn is_signed(self) -> bool {
        self.0 & Self::SIGNED.0 != 0
    }

    /// Whether it is a character; clang does not say so for `char`, GCC does.
    pub fn is_char(self) -> bool {
        self.0 & Self::CHAR.0 != 0
    }

    /// Whether it is a boolean.
    pub fn is_bool(self) -> bool {
        self.0 & Self::BOOL.0 != 0
    }
}

/// Who can see a function (`enum btf_func_linkage`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FuncLinkage {
    /// Its own object only.
    Static = 0,
    /// Every object; the verifier checks it on its own.
    Global = 1,
    /// Declared here, defined elsewhere: a kfunc.
    Extern = 2,
}

/// Who can see a variable (`BTF_VAR_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VarLinkage {
    /// Its own object only.
    Static = 0,
    /// Every object.
    Global = 1,
    /// Declared here, defined elsewhere.
    Extern = 2,
}

/// One member of a struct or union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// Empty for an anonymous struct or union.
    pub name: &'a str,
    /// Its type.
    pub ty: TypeId,
    /// Bits from the start of the struct.
    pub bit_offset: u32,
    /// Width in bits if it is a bitfield. Before kind_flag (Linux 5.0), the type of a bitfield is an INT of
    /// fewer bits instead, and this is `None`.
    pub bit_size: Option<u8>,
}

/// One value of an enumeration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnumValue<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value; holds both i64 and u64.
    pub value: i128,
}

/// One parameter of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// Empty in a prototype.
    pub name: &'a str,
    /// Its type; void in the last place stands for `...`.
    pub ty: TypeId,
}

/// One variable of a data section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Secinfo {
    /// The VAR, or the FUNC of an extern function.
    pub ty: TypeId,
    /// Bytes from the start of the section; clang leaves 0.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
}

/// Members of a struct or union.
pub type Members<'a> = List<'a, Member<'a>>;
/// Values of an enumeration.
pub type EnumValues<'a> = List<'a, EnumValue<'a>>;
/// Parameters of a function.
pub type Params<'a> = List<'a, Param<'a>>;
/// Variables of a data section.
pub type Secinfos<'a> = List<'a, Secinfo>;

/// Elements of a type, decoded while one iterates; `Copy`, so iterating does not use it up.
pub struct List<'a, T> {
    btf: &'a Btf,
    data: &'a [u8],
    stride: u8,
    flag: bool,
    /// Whether the names of elements are read.
    names: bool,
    element: PhantomData<fn() -> T>,
}

/// What a [`List`] can hold.
pub trait Element<'a>: Sized {
    /// Decodes one element of a list.
    #[doc(hidden)]
    fn read(list: &List<'a, Self>, data: &'a [u8]) -> Self;

    /// Offset of its name, if elements have one.
    #[doc(hidden)]
    fn name_offset(_: &'a Btf, _: &'a [u8]) -> Option<u32> {
        None
    }
}

impl<'a, T: Element<'a>> List<'a, T> {
    /// The n-th element.
    pub fn get(&self, n: usize) -> Option<T> {
        let stride = usize::from(self.stride);
        slice_at(self.data, n.checked_mul(stride)?, stride).map(|data| T::read(self, data))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// A word of the n-th element, without decoding the rest.
    pub(crate) fn word(&self, n: usize, at: usize) -> Option<u32> {
        let stride = usize::from(self.stride);
        slice_at(self.data, n.checked_mul(stride)?, stride)
            .and_then(|data| u32_at(data, at, self.btf.endian()))
    }

    /// The same with empty names: quicker.
    pub(crate) fn without_names(self) -> List<'a, T> {
        List { names: false, ..self }
    }

    /// The names of the elements as the bytes from where they start to the end of the strings: enough to look for a name,
    /// and much quicker than to find where each ends.
    pub(crate) fn name_tails(&self) -> impl Iterator<Item = &'a [u8]> + use<'a, T> {
        let btf = self.btf;
        self.data
            .chunks_exact(usize::from(self.stride.max(1)))
            .map(move |record| T::name_offset(btf, record).map_or(&[][..], |offset| btf.string_tail(offset)))
    }

    /// The name of an element that starts with its offset. Cannot miss if [`List::check_names`] has looked at each.
    fn name(&self, data: &'a [u8]) -> &'a str {
        if self.names { self.btf.string(word(self.btf, data, 0)).unwrap_or_default() } else { "" }
    }

    fn check_names(self) -> Result<List<'a, T>> {
        for record in self.data.chunks_exact(usize::from(self.stride.max(1))) {
            if let Some(offset) = T::name_offset(self.btf, record) {
                self.btf.check_string(offset)?;
            }
        }
        Ok(self)
    }
}

impl<T> Clone for List<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for List<'_, T> {}

#[expect(clippy::copy_iterator, reason = "a list is read many times; a loop over it must not use it up")]
impl<'a, T: Element<'a>> Iterator for List<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let (record, rest) =
            self.data.split_at_checked(usize::from(self.stride)).filter(|(r, _)| !r.is_empty())?;
        self.data = rest;
        Some(T::read(self, record))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.data.len() / usize::from(self.stride.max(1));
        (len, Some(len))
    }
}

impl<'a, T: Element<'a>> ExactSizeIterator for List<'a, T> {}

impl<'a, T: Element<'a> + fmt::Debug> fmt::Debug for List<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

impl<'a> Element<'a> for Member<'a> {
    fn read(list: &List<'a, Self>, data: &'a [u8]) -> Self {
        let offset = word(list.btf, data, 8);
        let (bit_offset, bits) =
            if list.flag { (offset & 0x00ff_ffff, (offset >> 24) as u8) } else { (offset, 0) };
        Member {
            name: list.name(data),
            ty: TypeId(word(list.btf, data, 4)),
            bit_offset,
            bit_size: (bits != 0).then_some(bits),
        }
    }

    fn name_offset(btf: &'a Btf, data: &'a [u8]) -> Option<u32> {
        Some(word(btf, data, 0))
    }
}

impl<'a> Element<'a> for EnumValue<'a> {
    fn read(list: &List<'a, Self>, data: &'a [u8]) -> Self {
        let low = word(list.btf, data, 4);
        let value = match (u32_at(data, 8, list.btf.endian()), list.flag) {
            (None, false) => i128::from(low),
            (None, true) => i128::from(low as i32),
            (Some(high), false) => i128::from(u64::from(high) << 32 | u64::from(low)),
            (Some(high), true) => i128::from((u64::from(high) << 32 | u64::from(low)) as i64),
        };
        EnumValue { name: list.name(data), value }
    }

    fn name_offset(btf: &'a Btf, data: &'a [u8]) -> Option<u32> {
        Some(word(btf, data, 0))
    }
}

impl<'a> Element<'a> for Param<'a> {
    fn read(list: &List<'a, Self>, data: &'a [u8]) -> Self {
        Param { name: list.name(data), ty: TypeId(word(list.btf, data, 4)) }
    }

    fn name_offset(btf: &'a Btf, data: &'a [u8]) -> Option<u32> {
        Some(word(btf, data, 0))
    }
}

impl<'a> Element<'a> for Secinfo {
    fn read(list: &List<'a, Self>, data: &'a [u8]) -> Self {
        let word = |at| word(list.btf, data, at);
        Secinfo { ty: TypeId(word(0)), offset: word(4), size: word(8) }
    }
}

/// Cannot miss: the record was cut to its length by the caller.
fn word(btf: &Btf, data: &[u8], at: usize) -> u32 {
    u32_at(data, at, btf.endian()).unwrap_or_default()
}

/// How much of a type is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// All of it.
    Full,
    /// Names are read, those of elements not checked: empty if there is something wrong with them. For CO-RE, where a type
    /// with many elements may be passed many times.
    Name,
    /// No strings: all names are empty. For sizes.
    NoNames,
}

/// Decodes the type that starts at `start` of the type section.
pub(crate) fn decode(btf: &Btf, id: TypeId, start: usize, look: Look) -> Result<Type<'_>> {
    let cut = || Error::from(What::Truncated("type"));
    let section = btf.type_bytes();
    let endian = btf.endian();
    let at = |offset: usize| u32_at(section, start + offset, endian).ok_or_else(cut);
    let (name_off, info, size_or_type) = (at(0)?, at(4)?, at(8)?);
    let number = (info >> 24) & 0x7f;
    let Some(kind) = Kind::from_number(number) else { return Err(What::Kind(number).into()) };
    let vlen = info & 0x00ff_ffff;
    let shape = kind.info();
    let len = usize::from(shape.fixed) + vlen as usize * usize::from(shape.element);
    let Some(payload) = slice_at(section, start + TYPE_LEN, len) else {
        return Err(What::Truncated(shape.name).into());
    };
    let kind_flag = info >> 31 != 0;
    let raw = Raw { btf, vlen, kind_flag, size_or_type, payload, stride: shape.element, endian, look };
    let name = if look == Look::NoNames { "" } else { btf.string(name_off)? };
    Ok(Type { id, name, kind, kind_flag, def: raw.def(kind)? })
}

/// The parts of an encoded type.
struct Raw<'a> {
    btf: &'a Btf,
    vlen: u32,
    kind_flag: bool,
    size_or_type: u32,
    payload: &'a [u8],
    stride: u8,
    endian: Endian,
    look: Look,
}

impl<'a> Raw<'a> {
    fn def(&self, kind: Kind) -> Result<Def<'a>> {
        let (ty, size, signed) = (TypeId(self.size_or_type), self.size_or_type, self.kind_flag);
        Ok(match kind {
            Kind::Void => return Err(What::Kind(0).into()),
            Kind::Int => self.int(),
            Kind::Ptr => Def::Ptr(ty),
            Kind::Array => {
                Def::Array { elem: TypeId(self.word(0)), index: TypeId(self.word(4)), count: self.word(8) }
            }
            Kind::Struct => Def::Struct { size, members: self.list()? },
            Kind::Union => Def::Union { size, members: self.list()? },
            Kind::Enum => Def::Enum { size, signed, values: self.list()? },
            Kind::Fwd => Def::Fwd { union: self.kind_flag },
            Kind::Typedef => Def::Typedef(ty),
            Kind::Volatile => Def::Volatile(ty),
            Kind::Const => Def::Const(ty),
            Kind::Restrict => Def::Restrict(ty),
            Kind::Func => Def::Func { proto: ty, linkage: func_linkage(self.vlen)? },
            Kind::FuncProto => Def::FuncProto { ret: ty, params: self.list()? },
            Kind::Var => Def::Var { ty, linkage: var_linkage(self.word(0))? },
            Kind::Datasec => Def::Datasec { size, vars: self.list()? },
            Kind::Float => Def::Float { size },
            Kind::DeclTag => Def::DeclTag { target: ty, component: self.word(0) as i32 },
            Kind::TypeTag => Def::TypeTag(ty),
            Kind::Enum64 => Def::Enum64 { size, signed, values: self.list()? },
        })
    }

    fn int(&self) -> Def<'a> {
        let [encoding, offset, _, bits] = self.word(0).to_be_bytes();
        Def::Int { size: self.size_or_type, bits, offset, encoding: IntEncoding(encoding & 0x0f) }
    }

    /// Cannot miss: the payload was cut to the length of its kind.
    fn word(&self, at: usize) -> u32 {
        u32_at(self.payload, at, self.endian).unwrap_or_default()
    }

    fn list<T: Element<'a>>(&self) -> Result<List<'a, T>> {
        let (btf, data, stride, flag) = (self.btf, self.payload, self.stride, self.kind_flag);
        let names = self.look != Look::NoNames;
        let list = List { btf, data, stride, flag, names, element: PhantomData };
        if self.look == Look::Full { list.check_names() } else { Ok(list) }
    }
}

fn func_linkage(number: u32) -> Result<FuncLinkage> {
    match number {
        0 => Ok(FuncLinkage::Static),
        1 => Ok(FuncLinkage::Global),
        2 => Ok(FuncLinkage::Extern),
        other => Err(Error::shape(format!("FUNC linkage is {other}, 2 is the last known"))),
    }
}

fn var_linkage(number: u32) -> Result<VarLinkage> {
    match number {
        0 => Ok(VarLinkage::Static),
        1 => Ok(VarLinkage::Global),
        2 => Ok(VarLinkage::Extern),
        other => Err(Error::shape(format!("VAR linkage is {other}, 2 is the last known"))),
    }
}
