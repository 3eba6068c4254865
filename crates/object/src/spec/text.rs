//! A value written as text, as bytes: by its BTF type, or by its size alone.

use onebpf_btf::{Btf, Def, Endian, EnumValues, TypeId};

/// Arrays within arrays.
const MAX_DEPTH: u32 = 8;

/// What the bytes are for.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) btf: Option<&'a Btf>,
    pub(super) ty: Option<TypeId>,
    /// Bytes that there must be.
    pub(super) size: usize,
    pub(super) endian: Endian,
}

/// The bytes of a value: integers in decimal or `0x`, `true` and `false`, `'c'`, an enumerator's name, a string for an
/// array of char, elements with commas between them for other arrays, or `hex:` and all bytes in their order. The error
/// says what is wrong with the text.
pub(super) fn encode(target: Target<'_>, text: &str) -> Result<Vec<u8>, String> {
    let bytes = match (text.strip_prefix("hex:"), target.btf.zip(target.ty)) {
        (Some(digits), _) => hex(digits)?,
        (None, Some((btf, ty))) => by_type(btf, ty, target.endian, text, MAX_DEPTH)?,
        (None, None) => by_size(target.size, target.endian, text)?,
    };
    if bytes.len() != target.size {
        return Err(format!("needs {} bytes, these are {}", target.size, bytes.len()));
    }
    Ok(bytes)
}

fn by_type(btf: &Btf, ty: TypeId, endian: Endian, text: &str, depth: u32) -> Result<Vec<u8>, String> {
    let depth = depth.checked_sub(1).ok_or("is an array nested too deeply")?;
    let ty = btf.strip(ty).map_err(|e| e.to_string())?;
    match ty.def {
        Def::Int { size, encoding, .. } if encoding.is_bool() => put(boolean(text)?, size, false, endian),
        Def::Int { size: 1, .. } if character(text).is_some() => Ok(character(text).into_iter().collect()),
        Def::Int { size, encoding, .. } => put(integer(text)?, size, encoding.is_signed(), endian),
        Def::Enum { size, signed, values } | Def::Enum64 { size, signed, values } => {
            put(enumerator(values, text)?, size, signed, endian)
        }
        Def::Ptr(_) => put(integer(text)?, 8, false, endian),
        Def::Float { size } => float(text, size, endian),
        Def::Array { elem, count, .. } => array(btf, elem, count, endian, text, depth),
        _ => Err(format!("is {}, which is set by its bytes only: hex:...", ty.kind)),
    }
}

fn by_size(size: usize, endian: Endian, text: &str) -> Result<Vec<u8>, String> {
    match size {
        1 | 2 | 4 | 8 => {
            let number = integer(text)?;
            put(number, size as u32, number < 0, endian)
        }
        _ => Err(format!("has {size} bytes and no BTF type, and is set by its bytes only: hex:...")),
    }
}

fn array(
    btf: &Btf,
    elem: TypeId,
    count: u32,
    endian: Endian,
    text: &str,
    depth: u32,
) -> Result<Vec<u8>, String> {
    let element = btf.strip(elem).map_err(|e| e.to_string())?;
    if matches!(element.def, Def::Int { size: 1, .. }) && matches!(element.name, "char" | "signed char") {
        if text.len() > count as usize {
            return Err(format!("holds {count} bytes, the text has {}", text.len()));
        }
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(count as usize, 0);
        return Ok(bytes);
    }
    let elements: Vec<_> = text.split(',').map(str::trim).collect();
    if elements.len() != count as usize {
        return Err(format!("has {count} elements, the text has {}", elements.len()));
    }
    let mut bytes = Vec::new();
    for element in elements {
        bytes.extend(by_type(btf, elem, endian, element, depth)?);
    }
    Ok(bytes)
}

fn enumerator(values: EnumValues<'_>, text: &str) -> Result<i128, String> {
    let named = values.into_iter().find(|value| value.name == text).map(|value| value.value);
    let names = || values.take(8).map(|value| value.name).collect::<Vec<_>>().join(", ");
    named
        .map_or_else(|| integer(text).map_err(|_| format!("`{text}` is none of its values: {}", names())), Ok)
}

fn boolean(text: &str) -> Result<i128, String> {
    match text {
        "true" | "1" => Ok(1),
        "false" | "0" => Ok(0),
        _ => Err(format!("is a boolean, `{text}` is neither true nor false")),
    }
}

fn character(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [b'\'', character, b'\''] => Some(*character),
        _ => None,
    }
}

/// A number in decimal or hexadecimal, with a sign or without.
pub(super) fn integer(text: &str) -> Result<i128, String> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let (digits, radix) = hex.map_or((digits, 10), |digits| (digits, 16));
    let plain = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    let number = i128::from_str_radix(digits, radix).ok().filter(|_| plain);
    let number = number.ok_or_else(|| format!("`{text}` is no number"))?;
    Ok(if negative { -number } else { number })
}

/// A number in so many bytes, if it fits.
fn put(number: i128, size: u32, signed: bool, endian: Endian) -> Result<Vec<u8>, String> {
    // Integers of 128 bits take what text can say, which has 128 bits itself.
    if size <= 8 {
        let bits = size * 8;
        let (low, high) = match (signed, bits.checked_sub(1)) {
            (true, Some(magnitude)) => (-(1i128 << magnitude), (1i128 << magnitude) - 1),
            _ => (0, (1i128 << bits) - 1),
        };
        if !(low..=high).contains(&number) {
            return Err(format!("takes {low} to {high}, {number} is outside"));
        }
    }
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.truncate(size as usize);
    if endian == Endian::Big {
        bytes.reverse();
    }
    Ok(bytes)
}

fn float(text: &str, size: u32, endian: Endian) -> Result<Vec<u8>, String> {
    let number: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    let mut bytes = match size {
        4 => (number as f32).to_le_bytes().to_vec(),
        8 => number.to_le_bytes().to_vec(),
        _ => {
            return Err(format!(
                "is a floating-point number of {size} bytes, which is set by its bytes only: hex:..."
            ));
        }
    };
    if endian == Endian::Big {
        bytes.reverse();
    }
    Ok(bytes)
}

fn hex(digits: &str) -> Result<Vec<u8>, String> {
    let bad = || format!("`hex:{digits}` is no even number of hexadecimal digits");
    let nibble = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return Err(bad());
    }
    pairs
        .iter()
        .map(|[high, low]| Some(nibble(high)? << 4 | nibble(low)?))
        .collect::<Option<_>>()
        .ok_or_else(bad)
}
