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
        let mut layout = Self { name, size, fields: Vec::new() };
        add(btf, id, "", 0, &mut layout.fields, 0)?;
        Some(layout)
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

fn add(btf: &Btf, id: TypeId, path: &str, at: u32, out: &mut Vec<Field>, depth: usize) -> Option<()> {
    if depth > DEEPEST || out.len() > MOST {
        return None;
    }
    let ty = btf.strip(id).ok()?;
    match ty.def {
        Def::Struct { members, .. } => {
            for member in members {
                add_member(btf, &member, path, at, out, depth)?;
            }
            Some(())
        }
        Def::Array { elem, count, .. } => match scalar(btf, elem) {
            Some((kind, bits)) => push(out, path, at, (kind, bits), count),
            None => {
                let bits = u32::try_from(btf.size_of(elem).ok()?).ok()?.checked_mul(8)?;
                for index in 0..count {
                    let at = at.checked_add(index.checked_mul(bits)?)?;
                    add(btf, elem, &format!("{path}[{index}]"), at, out, depth + 1)?;
                }
                Some(())
            }
        },
        _ => match scalar(btf, id) {
            Some(scalar) => push(out, path, at, scalar, 1),
            None => {
                let bits = u32::try_from(btf.size_of(id).ok()?).ok()?.checked_mul(8)?;
                push(out, path, at, (Scalar::Bytes, bits), 1)
            }
        },
    }
}

fn add_member(
    btf: &Btf,
    member: &Member<'_>,
    path: &str,
    at: u32,
    out: &mut Vec<Field>,
    depth: usize,
) -> Option<()> {
    let at = at.checked_add(member.bit_offset)?;
    let path = match (path, member.name) {
        // The members of an anonymous struct belong to the one around it. A union needs a name of its own.
        (path, "") => match btf.strip(member.ty).ok()?.def {
            Def::Union { members, .. } => {
                let names: Vec<&str> = members.iter().map(|member| member.name).collect();
                join(path, &format!("<{}>", names.join("|")))
            }
            _ => path.to_owned(),
        },
        (path, name) => join(path, name),
    };
    match (member.bit_size, scalar(btf, member.ty)) {
        (Some(bits), Some((kind, _))) => push(out, &path, at, (kind, u32::from(bits)), 1),
        _ => add(btf, member.ty, &path, at, out, depth + 1),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn push(out: &mut Vec<Field>, path: &str, at: u32, (kind, bits): (Scalar, u32), count: u32) -> Option<()> {
    if out.len() >= MOST {
        return None;
    }
    out.push(Field { path: path.to_owned(), bit_offset: at, bits, count, kind });
    Some(())
}

/// What a scalar type is, and how wide.
fn scalar(btf: &Btf, id: TypeId) -> Option<(Scalar, u32)> {
    let sign = |signed: bool| if signed { Scalar::Signed } else { Scalar::Unsigned };
    Some(match btf.strip(id).ok()?.def {
        Def::Int { bits, offset: 0, encoding, .. } => (sign(encoding.is_signed()), u32::from(bits)),
        Def::Enum { size, signed, .. } | Def::Enum64 { size, signed, .. } => (sign(signed), size.checked_mul(8)?),
        Def::Ptr(_) => (Scalar::Pointer, btf.pointer_size().checked_mul(8)?),
        Def::Float { size } => (Scalar::Float, size.checked_mul(8)?),
        _ => return None,
    })
}
