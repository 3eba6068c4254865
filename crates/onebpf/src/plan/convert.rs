//! Keys and values of one layout made into another: member by member, by name.

use crate::layout::{Field, Scalar, TypeLayout};
use std::fmt;

/// How bytes of one layout become bytes of another.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Conversion {
    /// Bytes before.
    pub from: u32,
    /// Bytes after. What no move writes is zero.
    pub to: u32,
    /// Nothing changes.
    pub same: bool,
    moves: Vec<Move>,
    /// What becomes of members that are not simply copied.
    pub notes: Vec<String>,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
struct Move {
    path: String,
    from: Bits,
    to: Option<Bits>,
}

/// Where some bits of a number are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
struct Bits {
    at: u32,
    width: u32,
    signed: bool,
    /// Elements.
    count: u32,
    /// Numbers are widened and narrowed; other bits are copied as they are.
    number: bool,
}

/// What cannot be kept of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The member.
    pub path: String,
    /// Why.
    pub why: &'static str,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, why } = self;
        if path.is_empty() { write!(f, "a number {why}") } else { write!(f, "`{path}` {why}") }
    }
}

impl Conversion {
    /// Bytes that stay as they are.
    pub fn same(size: u32) -> Self {
        Self { from: size, to: size, same: true, moves: Vec::new(), notes: Vec::new() }
    }

    /// Members of the same name keep their values: numbers are widened or narrowed, arrays made longer or shorter.
    /// Members that only one side has are dropped or zero.
    pub fn new(old: &TypeLayout, new: &TypeLayout) -> Self {
        if old.size == new.size && old.fields == new.fields {
            return Self::same(new.size);
        }
        let mut conversion =
            Self { from: old.size, to: new.size, same: false, moves: Vec::new(), notes: Vec::new() };
        for field in &new.fields {
            let name = &field.path;
            match old.field(name) {
                None => conversion.notes.push(format!("`{name}` is new and zero")),
                Some(before) => {
                    if (before.kind, before.bits, before.count) != (field.kind, field.bits, field.count) {
                        conversion.notes.push(format!("`{name}` was {before}, is {field}"));
                    }
                    let (from, to) = (Bits::of(before), Bits::of(field));
                    let alike = from.number == to.number && (from.number || from.width == to.width);
                    conversion.moves.push(Move { path: name.clone(), from, to: alike.then_some(to) });
                }
            }
        }
        for field in old.fields.iter().filter(|field| new.field(&field.path).is_none()) {
            conversion.notes.push(format!("`{}` is dropped", field.path));
        }
        conversion
    }

    /// Writes `old`, converted, to `new`, and says what did not fit; the rest is written all the same.
    pub fn apply(&self, old: &[u8], new: &mut [u8]) -> Vec<Loss> {
        new.fill(0);
        if self.same {
            let length = old.len().min(new.len());
            if let (Some(to), Some(from)) = (new.get_mut(..length), old.get(..length)) {
                to.copy_from_slice(from);
            }
            return Vec::new();
        }
        let mut losses = Vec::new();
        for one in &self.moves {
            if let Some(why) = one.run(old, new) {
                losses.push(Loss { path: one.path.clone(), why });
            }
        }
        losses
    }
}

impl Move {
    fn run(&self, old: &[u8], new: &mut [u8]) -> Option<&'static str> {
        let mut why = None;
        for index in 0..self.from.count {
            let number = self.from.element(index).and_then(|from| from.read(old)).unwrap_or_default();
            let to = self.to.filter(|to| index < to.count).and_then(|to| to.element(index));
            why = match to {
                None if number == 0 => why,
                None if self.to.is_none() => Some("changed its type"),
                None => Some("does not fit the shorter array"),
                Some(to) if to.write(new, number) => why,
                Some(_) => Some("does not fit its new type"),
            };
        }
        why
    }
}

impl Bits {
    fn of(field: &Field) -> Self {
        let number =
            matches!(field.kind, Scalar::Unsigned | Scalar::Signed | Scalar::Pointer) && field.bits <= 64;
        let signed = field.kind == Scalar::Signed;
        if number {
            return Self { at: field.bit_offset, width: field.bits, signed, count: field.count, number };
        }
        // Bytes move one by one; a union or a long number is an array of them that has to keep its length.
        let bytes = field.bits.div_ceil(8);
        match field.kind {
            Scalar::Float => {
                Self { at: field.bit_offset, width: field.bits.min(64), signed, count: field.count, number }
            }
            _ => Self {
                at: field.bit_offset,
                width: 8,
                signed,
                count: bytes.saturating_mul(field.count),
                number,
            },
        }
    }

    fn element(self, index: u32) -> Option<Self> {
        let at = self.at.checked_add(index.checked_mul(self.width)?)?;
        Some(Self { at, count: 1, ..self })
    }

    /// The bytes around the bits, and how far the bits are from their least significant end.
    fn span(self) -> Option<(usize, usize, u32)> {
        let (first, inside) = (self.at / 8, self.at % 8);
        let bytes = inside.checked_add(self.width)?.div_ceil(8);
        let shift = if cfg!(target_endian = "little") { inside } else { bytes * 8 - inside - self.width };
        (bytes <= 16).then_some((first as usize, bytes as usize, shift))
    }

    fn mask(self) -> u128 {
        (1u128 << self.width.min(64)) - 1
    }

    fn read(self, data: &[u8]) -> Option<i128> {
        let (first, bytes, shift) = self.span()?;
        let word = load(data.get(first..first.checked_add(bytes)?)?);
        let value = (word >> shift) & self.mask();
        let negative = self.signed && self.width > 0 && value >> (self.width - 1) & 1 == 1;
        Some(if negative { value as i128 - (1i128 << self.width) } else { value as i128 })
    }

    /// False if the number does not fit; what does is written.
    fn write(self, data: &mut [u8], number: i128) -> bool {
        let Some((first, bytes, shift)) = self.span() else { return false };
        let Some(place) = first.checked_add(bytes).and_then(|end| data.get_mut(first..end)) else {
            return false;
        };
        let kept = number as u128 & self.mask();
        let word = load(place) & !(self.mask() << shift) | kept << shift;
        store(place, word);
        self.read(data) == Some(number)
    }
}

fn load(bytes: &[u8]) -> u128 {
    let push = |word: u128, byte: &u8| word << 8 | u128::from(*byte);
    if cfg!(target_endian = "little") { bytes.iter().rev().fold(0, push) } else { bytes.iter().fold(0, push) }
}

fn store(bytes: &mut [u8], mut word: u128) {
    let mut put = |byte: &mut u8| {
        *byte = word as u8;
        word >>= 8;
    };
    if cfg!(target_endian = "little") {
        bytes.iter_mut().for_each(&mut put);
    } else {
        bytes.iter_mut().rev().for_each(&mut put);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(path: &str, bit_offset: u32, bits: u32, count: u32, kind: Scalar) -> Field {
        Field { path: path.into(), bit_offset, bits, count, kind }
    }

    fn layout(size: u32, fields: Vec<Field>) -> TypeLayout {
        TypeLayout { name: String::new(), size, fields }
    }

    #[test]
    fn members_move_widen_and_narrow() {
        use Scalar::{Signed, Unsigned};
        let old = layout(
            16,
            vec![
                field("a", 0, 32, 1, Signed),
                field("b", 32, 32, 1, Unsigned),
                field("gone", 64, 32, 1, Unsigned),
                field("name", 96, 8, 4, Signed),
            ],
        );
        let new = layout(
            24,
            vec![
                field("b", 0, 16, 1, Unsigned),
                field("a", 64, 64, 1, Signed),
                field("name", 128, 8, 2, Signed),
                field("new", 160, 32, 1, Unsigned),
            ],
        );
        let conversion = Conversion::new(&old, &new);
        assert_eq!(conversion.notes.len(), 5, "{:?}", conversion.notes);
        let mut before = Vec::new();
        before.extend((-5i32).to_ne_bytes());
        before.extend(7u32.to_ne_bytes());
        before.extend(9u32.to_ne_bytes());
        before.extend(*b"ab\0\0");
        let mut after = vec![0xff; 24];
        assert_eq!(conversion.apply(&before, &mut after), []);
        assert_eq!(after[..2], 7u16.to_ne_bytes());
        assert_eq!(after[8..16], (-5i64).to_ne_bytes());
        assert_eq!(&after[16..24], b"ab\0\0\0\0\0\0");

        before[4..8].copy_from_slice(&0x1_0000u32.to_ne_bytes());
        before[14] = b'c';
        let losses: Vec<String> =
            conversion.apply(&before, &mut after).iter().map(ToString::to_string).collect();
        assert_eq!(losses, ["`b` does not fit its new type", "`name` does not fit the shorter array"]);
    }

    #[test]
    fn bitfields_and_unions() {
        use Scalar::{Bytes, Unsigned};
        let old = layout(8, vec![field("x", 3, 5, 1, Unsigned), field("u", 32, 32, 1, Bytes)]);
        let new = layout(8, vec![field("x", 32, 9, 1, Unsigned), field("u", 0, 32, 1, Bytes)]);
        let conversion = Conversion::new(&old, &new);
        let (mut before, mut after) = ([0; 8], [0; 8]);
        old.fields.iter().for_each(|_| ());
        assert!(Bits::of(&old.fields[0]).write(&mut before, 21));
        before[4..].copy_from_slice(&[1, 2, 3, 4]);
        assert_eq!(conversion.apply(&before, &mut after), []);
        assert_eq!((Bits::of(&new.fields[0]).read(&after), &after[..4]), (Some(21), &[1u8, 2, 3, 4][..]));
    }

    #[test]
    fn sign_matters() {
        let old = layout(4, vec![field("", 0, 32, 1, Scalar::Signed)]);
        let new = layout(8, vec![field("", 0, 64, 1, Scalar::Unsigned)]);
        let mut after = [0; 8];
        let losses = Conversion::new(&old, &new).apply(&(-1i32).to_ne_bytes(), &mut after);
        assert_eq!(losses.len(), 1, "{losses:?}");
    }
}
