//! Checked reads and writes of integers in either byte order.

/// Byte order of a BTF blob; its magic tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Endian {
    /// Least significant byte first (`bpfel`).
    Little,
    /// Most significant byte first (`bpfeb`).
    Big,
}

impl Endian {
    /// The order of the machine that this code was compiled for.
    pub const fn native() -> Endian {
        if cfg!(target_endian = "big") { Endian::Big } else { Endian::Little }
    }

    pub(crate) fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Endian::Little => u16::from_le_bytes(bytes),
            Endian::Big => u16::from_be_bytes(bytes),
        }
    }

    pub(crate) fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Endian::Little => u32::from_le_bytes(bytes),
            Endian::Big => u32::from_be_bytes(bytes),
        }
    }

    pub(crate) fn put_u16(self, value: u16) -> [u8; 2] {
        match self {
            Endian::Little => value.to_le_bytes(),
            Endian::Big => value.to_be_bytes(),
        }
    }

    pub(crate) fn put_u32(self, value: u32) -> [u8; 4] {
        match self {
            Endian::Little => value.to_le_bytes(),
            Endian::Big => value.to_be_bytes(),
        }
    }
}

/// The 16-bit integer at `at`, or `None` past the end.
pub(crate) fn u16_at(data: &[u8], at: usize, endian: Endian) -> Option<u16> {
    data.get(at..)?.first_chunk().map(|bytes| endian.u16(*bytes))
}

/// The 32-bit integer at `at`, or `None` past the end.
#[inline]
pub(crate) fn u32_at(data: &[u8], at: usize, endian: Endian) -> Option<u32> {
    data.get(at..)?.first_chunk().map(|bytes| endian.u32(*bytes))
}

/// The slice of `len` bytes at `at`, or `None` if it does not fit.
pub(crate) fn slice_at(data: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    data.get(at..at.checked_add(len)?)
}

/// Whether some bytes start with this string and its NUL.
pub(crate) fn is_string(bytes: &[u8], text: &[u8]) -> bool {
    bytes.get(text.len()) == Some(&0) && bytes.starts_with(text)
}
