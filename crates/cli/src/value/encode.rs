//! From what a person types to bytes.

use super::{MAX_DEPTH, bit_position, from_hex, integer, read_uint, write_uint};
use onebpf::btf::{Btf, Def, Endian, Member, TypeId};
use serde_json::Value;

/// The bytes of a value of `size` bytes; the reason if what was typed is none.
pub(crate) fn encode(
    types: Option<(&Btf, TypeId)>,
    typed: &str,
    size: usize,
    endian: Endian,
) -> Result<Vec<u8>, String> {
    if let Some(digits) = typed.strip_prefix("hex:") {
        let bytes = from_hex(digits).ok_or_else(|| format!("`{typed}` is not pairs of hex digits"))?;
        return if bytes.len() == size {
            Ok(bytes)
        } else {
            Err(format!("{} bytes given, it has {size} bytes", bytes.len()))
        };
    }
    let mut bytes = vec![0; size];
    match types {
        Some((btf, id)) => {
            let parsed = serde_json::from_str(typed)
                .ok()
                .filter(|value: &Value| value.is_object() || value.is_array());
            let value = parsed.unwrap_or_else(|| Value::String(typed.trim_matches('"').to_owned()));
            Encoder { btf, endian }.put(id, &value, &mut bytes, 0)?;
        }
        None if matches!(size, 1 | 2 | 4 | 8) => {
            let number = integer(typed)
                .ok_or_else(|| format!("`{typed}` is not an integer; raw bytes are typed as hex:…"))?;
            put_integer(&mut bytes, number, number < 0, endian)?;
        }
        None => return Err(format!("its type is not known; type its {size} bytes as hex:…")),
    }
    Ok(bytes)
}

struct Encoder<'a> {
    btf: &'a Btf,
    endian: Endian,
}

impl Encoder<'_> {
    fn put(&self, id: TypeId, value: &Value, target: &mut [u8], depth: u32) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err("its type nests too deeply".to_owned());
        }
        let ty = self.btf.strip(id).map_err(|error| error.to_string())?;
        match ty.def {
            Def::Int { encoding, .. } => {
                put_integer(target, number(value)?, encoding.is_signed(), self.endian)
            }
            Def::Ptr(_) => put_integer(target, number(value)?, false, self.endian),
            Def::Enum { signed, values, .. } | Def::Enum64 { signed, values, .. } => {
                let named =
                    value.as_str().and_then(|name| values.into_iter().find(|known| known.name == name));
                let number = named.map_or_else(|| number(value), |found| Ok(found.value));
                put_integer(target, number?, signed, self.endian)
            }
            Def::Float { .. } => put_float(target, value, self.endian),
            Def::Array { elem, count, .. } => self.put_array(elem, count, value, target, depth),
            Def::Struct { members, .. } | Def::Union { members, .. } => {
                let Value::Object(fields) = value else {
                    return Err(format!(
                        "{} is typed as {{\"member\": value, …}}",
                        kind(ty.kind.name(), ty.name)
                    ));
                };
                for (name, field) in fields {
                    let Some(member) = members.into_iter().find(|member| member.name == name) else {
                        return Err(format!("{} has no member `{name}`", kind(ty.kind.name(), ty.name)));
                    };
                    self.put_member(&member, field, target, depth)
                        .map_err(|why| format!("`{name}`: {why}"))?;
                }
                Ok(())
            }
            _ => Err(format!("a {} cannot be typed", ty.kind.name())),
        }
    }

    fn put_array(
        &self,
        elem: TypeId,
        count: u32,
        value: &Value,
        target: &mut [u8],
        depth: u32,
    ) -> Result<(), String> {
        let size = self.btf.size_of(elem).map_err(|error| error.to_string())? as usize;
        match value {
            Value::String(text) if size == 1 => match target.get_mut(..text.len()) {
                Some(place) => place.copy_from_slice(text.as_bytes()),
                None => return Err(format!("`{text}` is longer than {count} bytes")),
            },
            Value::Array(items) if items.len() as u64 <= u64::from(count) && size > 0 => {
                for (item, place) in items.iter().zip(target.chunks_exact_mut(size)) {
                    self.put(elem, item, place, depth + 1)?;
                }
            }
            Value::Array(items) => return Err(format!("{} items for an array of {count}", items.len())),
            _ => return Err("an array is typed as [value, …]".to_owned()),
        }
        Ok(())
    }

    fn put_member(
        &self,
        member: &Member<'_>,
        value: &Value,
        target: &mut [u8],
        depth: u32,
    ) -> Result<(), String> {
        const OUTSIDE: &str = "it lies outside its struct";
        let Some(width) = member.bit_size.filter(|width| *width > 0).map(u32::from) else {
            let size = self.btf.size_of(member.ty).map_err(|error| error.to_string())? as usize;
            let start = (member.bit_offset / 8) as usize;
            let place = target.get_mut(start..start.saturating_add(size)).ok_or(OUTSIDE)?;
            return self.put(member.ty, value, place, depth + 1);
        };
        let (start, first) = ((member.bit_offset / 8) as usize, member.bit_offset % 8);
        let bytes = (first + width).div_ceil(8) as usize;
        let mut full = vec![0; self.btf.size_of(member.ty).map_err(|error| error.to_string())? as usize];
        self.put(member.ty, value, &mut full, depth + 1)?;
        let number = read_uint(&full, self.endian).ok_or(OUTSIDE)?;
        let signed = matches!(self.btf.strip(member.ty).map(|ty| ty.def), Ok(Def::Int { encoding, .. }) if encoding.is_signed());
        let mask = u128::MAX >> (128 - width.min(128));
        let sign_bits =
            u128::MAX >> (128 - (full.len() as u32 * 8).clamp(1, 128)) & !(mask >> u32::from(signed));
        if number & sign_bits != 0 && !(signed && number & sign_bits == sign_bits) {
            return Err(format!("{value} does not fit {width} bits"));
        }
        let place = target.get_mut(start..start.saturating_add(bytes)).ok_or(OUTSIDE)?;
        let shift = bit_position(self.endian, bytes, first, width).ok_or(OUTSIDE)?;
        let old = read_uint(place, self.endian).ok_or(OUTSIDE)?;
        write_uint(place, old & !(mask << shift) | (number & mask) << shift, self.endian);
        Ok(())
    }
}

fn kind(kind: &str, name: &str) -> String {
    format!("{} {}", kind.to_lowercase(), if name.is_empty() { "(anonymous)" } else { name })
}

/// A number, from JSON or from text.
fn number(value: &Value) -> Result<i128, String> {
    let parsed = match value {
        Value::Bool(yes) => Some(i128::from(*yes)),
        Value::Number(number) => number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from)),
        Value::String(text) => match text.as_str() {
            "true" => Some(1),
            "false" => Some(0),
            text => integer(text).or_else(|| character(text)),
        },
        _ => None,
    };
    parsed.ok_or_else(|| format!("{value} is not a value of its type"))
}

/// `'a'`.
fn character(text: &str) -> Option<i128> {
    let mut inner = text.strip_prefix('\'')?.strip_suffix('\'')?.chars();
    let found = inner.next().filter(char::is_ascii)?;
    inner.next().is_none().then_some(i128::from(found as u32))
}

fn put_integer(target: &mut [u8], number: i128, signed: bool, endian: Endian) -> Result<(), String> {
    let bits = target.len() as u32 * 8;
    if (1..=64).contains(&bits) {
        let (low, high) = if signed {
            (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)
        } else {
            (0, (1i128 << bits) - 1)
        };
        if number < low || number > high {
            return Err(format!("{number} does not fit {} bytes", target.len()));
        }
    }
    write_uint(target, number as u128, endian);
    Ok(())
}

fn put_float(target: &mut [u8], value: &Value, endian: Endian) -> Result<(), String> {
    let number = value.as_f64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
    let number: f64 = number.ok_or_else(|| format!("{value} is not a number"))?;
    let bits = match target.len() {
        4 => u128::from((number as f32).to_bits()),
        8 => u128::from(number.to_bits()),
        size => return Err(format!("floats of {size} bytes cannot be typed")),
    };
    write_uint(target, bits, endian);
    Ok(())
}
