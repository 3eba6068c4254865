//! Values of BPF memory as a person types them.
//!
//! What can be typed: `12`, `-1`, `0xff`, `true`, `'a'`, an enumerator, text for a char array, JSON for structs and
//! arrays (`{"packets": 1}`), and `hex:00ff…` for anything at all.

mod encode;

pub(crate) use encode::encode;

/// How deep values may nest.
const MAX_DEPTH: u32 = 24;

/// `12`, `-1`, `0xff`, `0b101`, with `_` between digits.
pub(crate) fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let digits = digits.replace('_', "");
    let number = if let Some(hex) = digits.strip_prefix("0x") {
        u64::from_str_radix(hex, 16).ok()
    } else if let Some(binary) = digits.strip_prefix("0b") {
        u64::from_str_radix(binary, 2).ok()
    } else if digits.starts_with(|c: char| c.is_ascii_digit()) {
        digits.parse().ok()
    } else {
        None
    }?;
    Some(if negative { -i128::from(number) } else { i128::from(number) })
}

/// Bytes as hex digits without blanks.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Hex digits as bytes; blanks, colons and commas between them are skipped.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| !c.is_whitespace() && !matches!(c, ':' | ','))
        .map(|c| c.to_digit(16))
        .collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    Some(pairs.map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | *digit as u8)).collect())
}

/// Where a bitfield's first bit lies in the bytes around it: BTF counts from the most significant bit on
/// big-endian machines (kernel: `btf_bitfield_show`).
fn bit_position(endian: onebpf::btf::Endian, bytes: usize, first: u32, width: u32) -> Option<u32> {
    match endian {
        onebpf::btf::Endian::Little => Some(first),
        onebpf::btf::Endian::Big => (bytes as u32 * 8).checked_sub(first.checked_add(width)?),
    }
}

/// An unsigned integer of up to 16 bytes.
fn read_uint(bytes: &[u8], endian: onebpf::btf::Endian) -> Option<u128> {
    if bytes.len() > 16 {
        return None;
    }
    let join = |value: u128, byte: &u8| value << 8 | u128::from(*byte);
    Some(match endian {
        onebpf::btf::Endian::Little => bytes.iter().rev().fold(0, join),
        onebpf::btf::Endian::Big => bytes.iter().fold(0, join),
    })
}

/// Writes the low bytes of an integer.
fn write_uint(target: &mut [u8], value: u128, endian: onebpf::btf::Endian) {
    let bytes = value.to_le_bytes();
    let low = bytes.iter().copied().chain(std::iter::repeat(0));
    match endian {
        onebpf::btf::Endian::Little => target.iter_mut().zip(low).for_each(|(to, from)| *to = from),
        onebpf::btf::Endian::Big => target.iter_mut().rev().zip(low).for_each(|(to, from)| *to = from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onebpf::btf::{
        Btf, Builder, Endian, IntEncoding, OwnedDef, OwnedMember, OwnedType, TypeId, ValueStyle,
    };

    /// `struct { int a; char name[4]; unsigned b:3; unsigned c:5; enum { ONE = 1, TWO } e; }` of 16 bytes, last id.
    fn sample(endian: Endian) -> (Btf, TypeId) {
        let mut builder = Builder::new(endian);
        let int = builder.push(OwnedType::int("int", 4, IntEncoding::SIGNED));
        let unsigned = builder.push(OwnedType::int("unsigned int", 4, IntEncoding::UNSIGNED));
        let character = builder.push(OwnedType::int("char", 1, IntEncoding::SIGNED));
        let text =
            builder.push(OwnedType::new("", OwnedDef::Array { elem: character, index: int, count: 4 }));
        let value = |name: &str, value| onebpf::btf::OwnedEnumValue { name: name.to_owned(), value };
        let values = vec![value("ONE", 1), value("TWO", 2)];
        let choice = builder.push(OwnedType::new("", OwnedDef::Enum { size: 4, signed: false, values }));
        let member = |name: &str, ty, bit_offset, bit_size| OwnedMember {
            name: name.to_owned(),
            ty,
            bit_offset,
            bit_size,
        };
        let members = vec![
            member("a", int, 0, None),
            member("name", text, 32, None),
            member("b", unsigned, 64, Some(3)),
            member("c", unsigned, 67, Some(5)),
            member("e", choice, 96, None),
        ];
        let id = builder.push(OwnedType::new("sample", OwnedDef::Struct { size: 16, members }));
        (Btf::from_vec(builder.build().expect("fits")).expect("is BTF"), id)
    }

    #[test]
    fn what_is_typed_comes_back() {
        for endian in [Endian::Little, Endian::Big] {
            let (btf, id) = sample(endian);
            let typed = r#"{"a": -2, "name": "abc", "b": 5, "c": 9, "e": "TWO"}"#;
            let bytes = encode(Some((&btf, id)), typed, 16, endian).expect("is a value");
            let shown = btf.render_value(id, &bytes, &ValueStyle::default()).expect("is a value").to_string();
            assert_eq!(shown, r#"{ .a = -2, .name = "abc", .b = 5, .c = 9, .e = TWO }"#, "{endian:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (btf, id) = sample(Endian::Little);
        let refuse = |typed: &str| encode(Some((&btf, id)), typed, 16, Endian::Little).expect_err(typed);
        assert!(refuse(r#"{"a": 4294967296}"#).contains("does not fit"));
        assert!(refuse(r#"{"b": 8}"#).contains("does not fit"));
        assert!(refuse(r#"{"nope": 1}"#).contains("no member `nope`"));
        assert!(refuse(r#"{"e": "THREE"}"#).contains("THREE"));
        assert!(refuse("hex:00").contains("16 bytes"));
        assert!(refuse("12").contains("struct"));
    }

    #[test]
    fn without_types_integers_and_hex() {
        assert_eq!(encode(None, "0x0102", 2, Endian::Big), Ok(vec![1, 2]));
        assert_eq!(encode(None, "-1", 4, Endian::Little), Ok(vec![255; 4]));
        assert_eq!(encode(None, "hex:01 02:03", 3, Endian::Little), Ok(vec![1, 2, 3]));
        assert!(encode(None, "1", 3, Endian::Little).is_err());
        assert_eq!(integer("1_000"), Some(1000));
        assert_eq!(integer("zero"), None);
        assert_eq!(from_hex("abc"), None);
    }
}
