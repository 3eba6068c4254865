//! What bytes of a key or value mean, as BTF says: its members, flat, by name and offset.

use onebpf_btf::{Btf, Def, Member, TypeId};
use std::fmt;

/// How deep structs may nest, and how many members there may be: types come from objects and are hostile.
const DEEPEST: usize = 16;
const MOST: usize = 4096;

/// The members of a type that hold something, in the order of their declaration.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TypeLayout {
    /// The type's name, e.g. `struct flow`.
    pub name: String,
    /// Bytes.
    pub size: u32,
    /// Its members; a type that is no struct has one without a name.
    pub fields: Vec<Field>,
}

/// A scalar, an array of scalars, or a union.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Field {
    /// `a.b[2].c`; empty for the whole.
    pub path: String,
    /// Bits from the start.
    pub bit_offset: u32,
    /// Bits of one element.
    pub bits: u32,
    /// Elements; 1 for what is no array.
    pub count: u32,
    /// What the bits are.
    pub kind: Scalar,
}

/// What an element's bits are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scalar {
    /// An integer, an enumeration or a boolean without a sign.
    Unsigned,
    /// The same with a sign.
    Signed,
    /// An address.
    Pointer,
    /// A number with a fraction.
    Float,
    /// A union, or something else that is only bytes.
    Bytes,
}

impl TypeLayout {
    /// The layout of type `id`; `None` for what has no size, nests too deeply or has too many members.
    pub fn of(btf: &Btf, id: TypeId) -> Option<Self> {
        let ty = btf.strip(id).ok()?;
        let name = match ty.def {
            Def::Struct { .. } => format!("struct {}", ty.name),
            Def::Union { .. } => format!("union {}", ty.name),
            _ => ty.name.to_owned(),
        };
        let size = u32::try_from(btf.size_of(id).ok()?).ok()?;
        let mut walk = Walk { btf, out: Vec::new(), budget: MOST };
        walk.add(id, "", 0, 0)?;
        Some(Self { name, size, fields: walk.out })
    }

    /// The field of that name.
    pub fn field(&self, path: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.path == path)
    }
}

impl fmt::Display for Field {
    /// `u32 at 8`, `s8[16] at 24`, `u3 at 12:5`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Scalar::Unsigned => write!(f, "u{}", self.bits)?,
            Scalar::Signed => write!(f, "s{}", self.bits)?,
            Scalar::Pointer => write!(f, "pointer")?,
            Scalar::Float => write!(f, "f{}", self.bits)?,
            Scalar::Bytes => write!(f, "{} bytes", self.bits.div_ceil(8))?,
        }
        if self.count != 1 {
            write!(f, "[{}]", self.count)?;
        }
        write!(f, " at {}", self.bit_offset / 8)?;
        if self.bit_offset.is_multiple_of(8) { Ok(()) } else { write!(f, ":{}", self.bit_offset % 8) }
    }
}

/// On the way through a type.
struct Walk<'a> {
    btf: &'a Btf,
    out: Vec<Field>,
    /// Types that may still be looked at: structs without members cost time, too.
    budget: usize,
}

impl Walk<'_> {
    fn add(&mut self, id: TypeId, path: &str, at: u32, depth: usize) -> Option<()> {
        self.budget = self.budget.checked_sub(1)?;
        if depth > DEEPEST {
            return None;
        }
        if let Some(scalar) = scalar(self.btf, id) {
            return self.push(path, at, scalar, 1);
        }
        match self.btf.strip(id).ok()?.def {
            Def::Struct { members, .. } => {
                members.into_iter().try_for_each(|member| self.member(&member, path, at, depth))
            }
            Def::Array { elem, count, .. } => {
                if let Some(scalar) = scalar(self.btf, elem) {
                    return self.push(path, at, scalar, count);
                }
                let bits = self.bits(elem)?;
                (0..count).try_for_each(|index| {
                    let at = at.checked_add(index.checked_mul(bits)?)?;
                    self.add(elem, &format!("{path}[{index}]"), at, depth + 1)
                })
            }
            _ => {
                let bits = self.bits(id)?;
                self.push(path, at, (Scalar::Bytes, bits), 1)
            }
        }
    }

    fn member(&mut self, member: &Member<'_>, path: &str, at: u32, depth: usize) -> Option<()> {
        let at = at.checked_add(member.bit_offset)?;
        let path = match member.name {
            // The members of an anonymous struct belong to the one around it. A union needs a name of its own.
            "" => match self.btf.strip(member.ty).ok()?.def {
                Def::Union { members, .. } => {
                    let names: Vec<&str> = members.into_iter().map(|member| member.name).collect();
                    join(path, &format!("<{}>", names.join("|")))
                }
                _ => path.to_owned(),
            },
            name => join(path, name),
        };
        match (member.bit_size, scalar(self.btf, member.ty)) {
            (Some(bits), Some((kind, _))) => self.push(&path, at, (kind, u32::from(bits)), 1),
            _ => self.add(member.ty, &path, at, depth + 1),
        }
    }

    fn bits(&self, id: TypeId) -> Option<u32> {
        u32::try_from(self.btf.size_of(id).ok()?).ok()?.checked_mul(8)
    }

    fn push(&mut self, path: &str, at: u32, (kind, bits): (Scalar, u32), count: u32) -> Option<()> {
        self.budget = self.budget.checked_sub(1)?;
        self.out.push(Field { path: path.to_owned(), bit_offset: at, bits, count, kind });
        Some(())
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// What a scalar type is, and how wide.
fn scalar(btf: &Btf, id: TypeId) -> Option<(Scalar, u32)> {
    let sign = |signed: bool| if signed { Scalar::Signed } else { Scalar::Unsigned };
    Some(match btf.strip(id).ok()?.def {
        Def::Int { bits, offset: 0, encoding, .. } => (sign(encoding.is_signed()), u32::from(bits)),
        Def::Enum { size, signed, .. } | Def::Enum64 { size, signed, .. } => {
            (sign(signed), size.checked_mul(8)?)
        }
        Def::Ptr(_) => (Scalar::Pointer, btf.pointer_size().checked_mul(8)?),
        Def::Float { size } => (Scalar::Float, size.checked_mul(8)?),
        _ => return None,
    })
}
