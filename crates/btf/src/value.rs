//! Bytes read by their BTF type, into a plain tree.

use crate::bytes::slice_at;
use crate::error::{Error, Result, What};
use crate::read::types::{Def, EnumValues, IntEncoding, Members, Secinfos, Type};
use crate::read::walk::MAX_DEPTH;
use crate::{Btf, Endian, TypeId};

/// A value, read by its type. `Display` writes it as a C initialiser, `Serialize` as JSON would have it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An integer of up to 128 bits.
    Int(i128),
    /// A boolean that is 0 or 1; others are read as integers.
    Bool(bool),
    /// A character.
    Char(u8),
    /// A value of an enumeration, with its name if it has one.
    Enum {
        /// The first name with this value.
        name: Option<String>,
        /// The value itself.
        value: i128,
    },
    /// A `float` or `double`.
    Float(f64),
    /// An address.
    Ptr(u64),
    /// An array of characters that holds text: ended by NUL and then only NULs, or filled.
    Text(String),
    /// Elements of an array.
    Array(Vec<Value>),
    /// Members by name, those of anonymous structs and unions among them; for a DATASEC, variables.
    Struct(Vec<(String, Value)>),
    /// What has no better reading: a floating-point number of an odd size.
    Bytes(Vec<u8>),
}

/// How bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueStyle {
    /// Reads arrays of `char` as text where they hold text.
    pub text: bool,
    /// Values that one tree may have, at most; names count a little, too.
    pub max_values: usize,
}

impl Default for ValueStyle {
    fn default() -> ValueStyle {
        ValueStyle { text: true, max_values: 1 << 20 }
    }
}

impl Btf {
    /// Reads `bytes` as a value of this type, in the byte order of the BTF. A flexible array at the end takes what
    /// is left; other bytes past the end are ignored. A VAR is read as its type, a DATASEC as its variables.
    ///
    /// ```
    /// # use onebpf_btf::{Btf, Builder, Endian, IntEncoding, OwnedDef, OwnedMember, OwnedType, ValueStyle};
    /// let mut builder = Builder::new(Endian::Little);
    /// let u64_ = builder.push(OwnedType::int("unsigned long long", 8, IntEncoding::UNSIGNED));
    /// let member = |name: &str, bit_offset| OwnedMember { name: name.into(), ty: u64_, bit_offset, bit_size: None };
    /// let members = vec![member("packets", 0), member("bytes", 64)];
    /// let stats = builder.push(OwnedType::new("stats", OwnedDef::Struct { size: 16, members }));
    /// let btf = Btf::from_vec(builder.build()?)?;
    ///
    /// let bytes = [3, 0, 0, 0, 0, 0, 0, 0, 0xa4, 1, 0, 0, 0, 0, 0, 0];
    /// let value = btf.render_value(stats, &bytes, &ValueStyle::default())?;
    /// assert_eq!(value.to_string(), "{ .packets = 3, .bytes = 420 }");
    /// # Ok::<(), onebpf_btf::Error>(())
    /// ```
    ///
    /// # Errors
    /// E0212 if there are fewer bytes than the type has, or more values than the style allows; E0208 and E0210 for
    /// types that nest too deeply or have no size; as [`Btf::get`].
    pub fn render_value(&self, id: TypeId, bytes: &[u8], style: &ValueStyle) -> Result<Value> {
        let size = self.size_of(id)?;
        if size > bytes.len() as u64 {
            let have = bytes.len();
            return Err(bad(format!("{have} bytes, but the type has {size}")).in_type(id));
        }
        let mut reader = Reader { btf: self, bytes, style, left: style.max_values };
        reader.value(id, At { bit: 0, bits: None, depth: 0, tail: true }).map_err(|e| e.in_type(id))
    }
}

struct Reader<'a> {
    btf: &'a Btf,
    bytes: &'a [u8],
    style: &'a ValueStyle,
    left: usize,
}

/// Where a value is, and in what.
#[derive(Clone, Copy)]
struct At {
    /// Bits from the start of the bytes.
    bit: u64,
    /// Width of a bitfield.
    bits: Option<u8>,
    depth: u32,
    /// Whether nothing follows in the outermost struct, so that a flexible array may take the rest.
    tail: bool,
}

impl<'a> Reader<'a> {
    fn value(&mut self, id: TypeId, at: At) -> Result<Value> {
        self.spend("")?;
        let ty = self.btf.strip(id)?;
        let deeper = At { depth: at.depth + 1, ..at };
        if deeper.depth > MAX_DEPTH {
            return Err(What::Depth(MAX_DEPTH).into());
        }
        match ty.def {
            Def::Int { size, bits, offset, encoding } => self.int(size, bits, offset, encoding, ty.name, at),
            Def::Enum { size, signed, values } | Def::Enum64 { size, signed, values } => {
                self.enumeration(size, signed, values, at)
            }
            Def::Ptr(_) => {
                let address = self.unsigned(at.bit, u64::from(self.btf.pointer_size()) * 8)?;
                Ok(Value::Ptr(address as u64))
            }
            Def::Float { size } => self.float(size, at),
            Def::Array { elem, count, .. } => self.array(elem, count, deeper),
            Def::Struct { size, members } | Def::Union { size, members } => {
                let mut fields = Vec::new();
                self.members(&ty, members, size, deeper, &mut fields)?;
                Ok(Value::Struct(fields))
            }
            Def::Var { ty: to, .. } => self.value(to, deeper),
            Def::Datasec { vars, .. } => self.section(vars, deeper),
            _ => Err(What::Sizeless(ty.kind.name()).into()),
        }
    }

    fn int(
        &mut self,
        size: u32,
        bits: u8,
        offset: u8,
        encoding: IntEncoding,
        name: &str,
        at: At,
    ) -> Result<Value> {
        // Before kind_flag, the INT itself says which of its bits a bitfield has.
        let whole = u64::from(bits) == u64::from(size) * 8;
        let (start, width) = match at.bits {
            Some(bits) => (at.bit, u64::from(bits)),
            None if whole || bits == 0 => (at.bit, u64::from(size) * 8),
            None => (at.bit + u64::from(offset), u64::from(bits)),
        };
        let raw = self.unsigned(start, width)?;
        if encoding.is_bool() && raw <= 1 {
            return Ok(Value::Bool(raw == 1));
        }
        if is_char(size, encoding, name) && at.bits.is_none() {
            return Ok(Value::Char(raw as u8));
        }
        if encoding.is_signed() {
            return Ok(Value::Int(sign_extend(raw, width)));
        }
        Ok(i128::try_from(raw).map_or_else(|_| Value::Bytes(raw.to_be_bytes().to_vec()), Value::Int))
    }

    fn enumeration(&mut self, size: u32, signed: bool, values: EnumValues<'_>, at: At) -> Result<Value> {
        let width = at.bits.map_or(u64::from(size) * 8, u64::from);
        let raw = self.unsigned(at.bit, width)?;
        let value = if signed { sign_extend(raw, width) } else { raw as i128 };
        // Values are written with 32 or 64 bits, the enumeration itself may have fewer.
        let mask = if width >= 128 { u128::MAX } else { (1u128 << width) - 1 };
        self.spend_many(values.len() / 64)?;
        let mut names = values;
        let name = names
            .find(|known| known.value as u128 & mask == raw)
            .map(|known| known.name)
            .filter(|name| !name.is_empty());
        self.spend(name.unwrap_or_default())?;
        Ok(Value::Enum { name: name.map(str::to_owned), value })
    }

    fn float(&mut self, size: u32, at: At) -> Result<Value> {
        Ok(match size {
            4 => Value::Float(f64::from(f32::from_bits(self.unsigned(at.bit, 32)? as u32))),
            8 => Value::Float(f64::from_bits(self.unsigned(at.bit, 64)? as u64)),
            _ => Value::Bytes(self.slice(at.bit, u64::from(size))?.to_vec()),
        })
    }

    fn array(&mut self, elem: TypeId, count: u32, at: At) -> Result<Value> {
        let size = self.btf.size_of(elem)?;
        let start = at.bit / 8;
        let count = match count {
            0 if at.tail && size > 0 => (self.bytes.len() as u64).saturating_sub(start) / size,
            count => u64::from(count),
        };
        let ty = self.btf.strip(elem)?;
        if let (Def::Int { size, encoding, .. }, true) = (ty.def, self.style.text)
            && is_char(size, encoding, ty.name)
            && let Some(text) = text_of(self.slice(at.bit, count)?)
        {
            self.spend(text)?;
            return Ok(Value::Text(text.to_owned()));
        }
        let mut values = Vec::new();
        for n in 0..count {
            let bit = n.checked_mul(size * 8).and_then(|bits| at.bit.checked_add(bits)).ok_or(What::Size)?;
            values.push(self.value(elem, At { bit, bits: None, depth: at.depth, tail: false })?);
        }
        Ok(Value::Array(values))
    }

    /// Members of anonymous structs and unions are taken in with those around them, as C sees them.
    fn members(
        &mut self,
        ty: &Type<'_>,
        members: Members<'_>,
        size: u32,
        at: At,
        fields: &mut Vec<(String, Value)>,
    ) -> Result<()> {
        if at.depth > MAX_DEPTH {
            return Err(What::Depth(MAX_DEPTH).into());
        }
        let union = matches!(ty.def, Def::Union { .. });
        for (n, member) in members.enumerate() {
            let bit = at.bit.checked_add(u64::from(member.bit_offset)).ok_or(What::Size)?;
            let last = union || n + 1 == members.len();
            let tail = at.tail && last && bit / 8 <= at.bit / 8 + u64::from(size);
            let inside = At { bit, bits: member.bit_size, depth: at.depth, tail };
            if !member.name.is_empty() {
                self.spend(member.name)?;
                fields.push((member.name.to_owned(), self.value(member.ty, inside)?));
                continue;
            }
            self.spend("")?;
            let inner = self.btf.strip(member.ty)?;
            if let Def::Struct { size, members } | Def::Union { size, members } = inner.def {
                self.members(&inner, members, size, At { depth: at.depth + 1, ..inside }, fields)?;
            }
        }
        Ok(())
    }

    fn section(&mut self, vars: Secinfos<'_>, at: At) -> Result<Value> {
        let mut fields = Vec::new();
        for var in vars {
            let ty = self.btf.get(var.ty)?;
            if !matches!(ty.def, Def::Var { .. }) {
                continue;
            }
            self.spend(ty.name)?;
            let bit = at.bit.checked_add(u64::from(var.offset) * 8).ok_or(What::Size)?;
            // A flexible array at the end of a variable ends with the variable.
            let all = self.bytes;
            let end = (bit / 8).saturating_add(u64::from(var.size)).min(all.len() as u64);
            self.bytes = slice_at(all, 0, end as usize).unwrap_or_default();
            let value = self.value(var.ty, At { bit, tail: true, ..at });
            self.bytes = all;
            fields.push((ty.name.to_owned(), value?));
        }
        Ok(Value::Struct(fields))
    }

    /// `width` bits from `bit` on. Bits count from the least significant in little endian, from the most
    /// significant in big endian, as compilers lay out bitfields.
    fn unsigned(&self, bit: u64, width: u64) -> Result<u128> {
        let (first, skip) = (bit / 8, bit % 8);
        let len = (skip + width).div_ceil(8);
        let bytes = self.slice(first * 8, len)?;
        if width == 0 || len > 16 {
            return Err(bad(format!("a number of {width} bits")));
        }
        let fold = |number: u128, byte: &u8| number << 8 | u128::from(*byte);
        let number = match self.btf.endian() {
            Endian::Little => bytes.iter().rev().fold(0, fold) >> skip,
            Endian::Big => bytes.iter().fold(0, fold) >> (len * 8 - skip - width),
        };
        Ok(if width == 128 { number } else { number & ((1 << width) - 1) })
    }

    /// `len` bytes from a bit that starts a byte.
    fn slice(&self, bit: u64, len: u64) -> Result<&'a [u8]> {
        let start = bit / 8;
        let range = usize::try_from(start).ok().zip(usize::try_from(len).ok());
        range.and_then(|(start, len)| slice_at(self.bytes, start, len)).ok_or_else(|| {
            bad(format!(
                "{} bytes, but a part of the type ends at {}",
                self.bytes.len(),
                start.saturating_add(len)
            ))
        })
    }

    fn spend(&mut self, name: &str) -> Result<()> {
        self.spend_many(1 + name.len() / 32)
    }

    fn spend_many(&mut self, cost: usize) -> Result<()> {
        self.left = self.left.checked_sub(cost).ok_or_else(|| {
            bad(format!("more than {} values (ValueStyle::max_values)", self.style.max_values))
        })?;
        Ok(())
    }
}

/// clang does not mark `char` as such, so its name counts (as in libbpf's `btf_dump_array_data`).
fn is_char(size: u32, encoding: IntEncoding, name: &str) -> bool {
    size == 1 && !encoding.is_bool() && (encoding.is_char() || name == "char")
}

/// The text in an array of characters, if there is nothing else in it.
fn text_of(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (text, rest) = bytes.split_at_checked(end)?;
    let text = std::str::from_utf8(text).ok()?;
    let printable = text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t' | '\r'));
    (printable && rest.iter().all(|byte| *byte == 0)).then_some(text)
}

fn sign_extend(raw: u128, width: u64) -> i128 {
    let unused = 128 - width.min(128) as u32;
    (raw << unused) as i128 >> unused
}

fn bad(what: String) -> Error {
    Error::from(What::Value(what))
}
