//! Values of the kernel's configuration: which types variables in `.kconfig` may have, and what the text of an option means
//! to each of them. libbpf: `find_kcfg_type`, `set_kcfg_value_tri`, `set_kcfg_value_str`, `set_kcfg_value_num`.

use crate::Result;
use onebpf_btf::{Btf, Def, Endian, TypeId};

/// The type of a variable in `.kconfig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigType {
    /// `bool`.
    Bool,
    /// One byte: `y`, `n` or `m` as a character, or a number.
    Char {
        /// Its numbers may be below zero.
        signed: bool,
    },
    /// An integer of 2, 4 or 8 bytes.
    Int {
        /// Bytes.
        size: u32,
        /// Its numbers may be below zero.
        signed: bool,
    },
    /// `enum libbpf_tristate`: 0 no, 1 yes, 2 module.
    Tristate {
        /// Bytes.
        size: u32,
    },
    /// An array of characters, with a NUL at the end.
    Text {
        /// Bytes, the NUL included.
        size: u32,
    },
}

impl ConfigType {
    /// What a variable of this BTF type takes; `None`: the configuration has no such values.
    ///
    /// # Errors
    /// E02xx for a type that cannot be followed.
    pub fn of(btf: &Btf, ty: TypeId) -> Result<Option<Self>> {
        let ty = btf.strip(ty)?;
        Ok(match ty.def {
            Def::Int { size, encoding, .. } if encoding.is_bool() => (size == 1).then_some(Self::Bool),
            Def::Int { size: 1, encoding, .. } => Some(Self::Char { signed: encoding.is_signed() }),
            Def::Int { size: size @ (2 | 4 | 8), encoding, .. } => {
                Some(Self::Int { size, signed: encoding.is_signed() })
            }
            Def::Enum { size: 4, .. } | Def::Enum64 { .. } if ty.name == "libbpf_tristate" => {
                Some(Self::Tristate { size: btf.size_of(ty.id)? as u32 })
            }
            Def::Array { elem, count, .. } if count != 0 => match btf.strip(elem)?.def {
                Def::Int { size: 1, encoding, .. } if !encoding.is_bool() => Some(Self::Text { size: count }),
                _ => None,
            },
            _ => None,
        })
    }

    /// The bytes for an option's text, as it stands behind `=` in the kernel's configuration. Text that is too long is
    /// cut.
    ///
    /// # Errors
    /// Why this type cannot hold it, to follow the text: `is a tristate, and the variable is a boolean`.
    pub fn encode(self, text: &str, endian: Endian) -> std::result::Result<Vec<u8>, String> {
        match text.as_bytes() {
            [answer @ (b'y' | b'n' | b'm')] => self.answer(*answer, endian),
            [b'"', inner @ .., b'"'] => match self {
                Self::Text { size } => {
                    let mut bytes = vec![0; size as usize];
                    // The last byte stays 0.
                    bytes.iter_mut().rev().skip(1).rev().zip(inner).for_each(|(to, from)| *to = *from);
                    Ok(bytes)
                }
                _ => Err(format!("is text, and the variable is {self}")),
            },
            [b'"', ..] => Err("has no closing quote".to_owned()),
            _ => {
                let number = parse(text)?;
                match self {
                    Self::Char { .. } | Self::Int { .. } => self.number(number, endian),
                    _ => Err(format!("is a number, and the variable is {self}")),
                }
            }
        }
    }

    fn answer(self, answer: u8, endian: Endian) -> std::result::Result<Vec<u8>, String> {
        let value = match answer {
            b'n' => 0,
            b'y' => 1,
            _ => 2,
        };
        match self {
            Self::Bool if value == 2 => Err(format!("is a tristate, and the variable is {self}")),
            Self::Bool => Ok(vec![value]),
            Self::Char { .. } => Ok(vec![answer]),
            Self::Tristate { size } => Ok(bytes(u64::from(value), size, endian)),
            _ => Err(format!("is a boolean or tristate, and the variable is {self}")),
        }
    }

    /// The bytes for a number: 64 bits, a negative one in two's complement.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn number(self, number: u64, endian: Endian) -> std::result::Result<Vec<u8>, String> {
        let (size, signed) = match self {
            Self::Bool if number > 1 => return Err(format!("is more than 1, and the variable is {self}")),
            Self::Bool => (1, false),
            Self::Char { signed } => (1, signed),
            Self::Int { size, signed } => (size, signed),
            _ => return Err(format!("is a number, and the variable is {self}")),
        };
        let bits = size * 8;
        let fits = match (bits, signed) {
            (64.., _) => true,
            (_, true) => number.wrapping_add(1 << (bits - 1)) < 1 << bits,
            (_, false) => number >> bits == 0,
        };
        if fits {
            Ok(bytes(number, size, endian))
        } else {
            Err(format!("does not fit: the variable is {self}"))
        }
    }
}

impl std::fmt::Display for ConfigType {
    /// With its article: `a signed integer of 4 bytes`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = |signed: &bool| if *signed { "a signed" } else { "an unsigned" };
        match self {
            Self::Bool => f.write_str("a boolean"),
            Self::Char { signed } => write!(f, "{} character", sign(signed)),
            Self::Int { size, signed } => write!(f, "{} integer of {size} bytes", sign(signed)),
            Self::Tristate { .. } => f.write_str("a tristate"),
            Self::Text { size } => write!(f, "text of {size} bytes"),
        }
    }
}

/// The low bytes of a number.
fn bytes(number: u64, size: u32, endian: Endian) -> Vec<u8> {
    let size = (size as usize).min(8);
    let mut bytes = number.to_le_bytes();
    let low = bytes.get_mut(..size).unwrap_or_default();
    if endian == Endian::Big {
        low.reverse();
    }
    low.to_vec()
}

/// A number as C's `strtoull` reads it with base 0: `0x` is hexadecimal, a leading 0 octal, a sign may come first.
fn parse(text: &str) -> std::result::Result<u64, String> {
    let fault = || "is neither y, n, m, a number nor text in quotes".to_owned();
    let text = text.trim_start();
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let (base, digits) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => (16, digits),
        None if digits.len() > 1 && digits.starts_with('0') => (8, digits),
        None => (10, digits),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(base)) {
        return Err(fault());
    }
    let number = u64::from_str_radix(digits, base).map_err(|_| "has more than 64 bits".to_owned())?;
    Ok(if negative { number.wrapping_neg() } else { number })
}

#[cfg(test)]
mod tests {
    use super::ConfigType::{self, Bool, Char, Int, Text, Tristate};
    use onebpf_btf::Endian::{Big, Little};

    const INT: ConfigType = Int { size: 4, signed: true };
    const TRI: ConfigType = Tristate { size: 4 };

    #[test]
    fn text_becomes_bytes_as_with_libbpf() {
        for (kind, text, wanted) in [
            (Bool, "y", vec![1]),
            (Bool, "n", vec![0]),
            (TRI, "m", vec![2, 0, 0, 0]),
            (TRI, "y", vec![1, 0, 0, 0]),
            (TRI, "n", vec![0; 4]),
            (Tristate { size: 8 }, "m", vec![2, 0, 0, 0, 0, 0, 0, 0]),
            (Char { signed: true }, "m", vec![b'm']),
            (Char { signed: true }, "-128", vec![0x80]),
            (Char { signed: false }, "255", vec![0xff]),
            (INT, "250", vec![250, 0, 0, 0]),
            (INT, "-1", vec![0xff; 4]),
            (INT, "0x10", vec![16, 0, 0, 0]),
            (INT, "010", vec![8, 0, 0, 0]),
            (INT, "+0", vec![0; 4]),
            (Int { size: 8, signed: false }, "0xffffffffffffffff", vec![0xff; 8]),
            (Int { size: 8, signed: false }, "-1", vec![0xff; 8]),
            (Int { size: 2, signed: false }, "65535", vec![0xff; 2]),
            (Text { size: 4 }, "\"ab\"", b"ab\0\0".to_vec()),
            (Text { size: 4 }, "\"abcdef\"", b"abc\0".to_vec()),
            (Text { size: 2 }, "\"\"", vec![0; 2]),
        ] {
            assert_eq!(kind.encode(text, Little), Ok(wanted), "{text} for {kind}");
        }
        assert_eq!(INT.encode("1", Big), Ok(vec![0, 0, 0, 1]));
        assert_eq!(TRI.encode("m", Big), Ok(vec![0, 0, 0, 2]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (kind, text, why) in [
            (Bool, "m", "is a tristate, and the variable is a boolean"),
            (Bool, "1", "is a number"),
            (INT, "y", "is a boolean or tristate, and the variable is a signed integer of 4 bytes"),
            (INT, "0x80000000", "does not fit"),
            (INT, "-0x80000001", "does not fit"),
            (Int { size: 4, signed: false }, "-1", "does not fit: the variable is an unsigned integer"),
            (Int { size: 2, signed: false }, "65536", "does not fit"),
            (Char { signed: true }, "128", "does not fit"),
            (INT, "\"250\"", "is text"),
            (INT, "12x", "is neither"),
            (INT, "09", "is neither"),
            (INT, "0x", "is neither"),
            (INT, "- 1", "is neither"),
            (INT, "", "is neither"),
            (INT, "0x10000000000000000", "more than 64 bits"),
            (Text { size: 8 }, "abc", "is neither"),
            (Text { size: 8 }, "5", "is a number, and the variable is text of 8 bytes"),
            (Text { size: 8 }, "\"abc", "no closing quote"),
            (Text { size: 8 }, "\"", "no closing quote"),
            (TRI, "1", "is a number"),
        ] {
            let said = kind.encode(text, Little).unwrap_err();
            assert!(said.contains(why), "{text} for {kind}: {said}");
        }
        assert!(Bool.number(2, Little).is_err() && Bool.number(1, Little) == Ok(vec![1]));
        assert!(TRI.number(1, Little).is_err());
    }
}
