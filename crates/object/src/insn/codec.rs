//! Instructions from and to bytes.

use super::{INSN_SIZE, Insn};
use crate::error::Kind;
use crate::{Place, Result};
use onebpf_btf::Endian;

impl Insn {
    /// Decodes one slot.
    pub fn from_bytes(bytes: [u8; INSN_SIZE], endian: Endian) -> Self {
        let [code, regs, off0, off1, imm0, imm1, imm2, imm3] = bytes;
        let (low, high) = (regs & 0xf, regs >> 4);
        match endian {
            Endian::Little => Self {
                code,
                dst: low,
                src: high,
                off: i16::from_le_bytes([off0, off1]),
                imm: i32::from_le_bytes([imm0, imm1, imm2, imm3]),
            },
            // The registers are bit fields: a big endian compiler fills them from the high end.
            Endian::Big => Self {
                code,
                dst: high,
                src: low,
                off: i16::from_be_bytes([off0, off1]),
                imm: i32::from_be_bytes([imm0, imm1, imm2, imm3]),
            },
        }
    }

    /// Encodes one slot. Of registers the low four bits count.
    pub fn to_bytes(self, endian: Endian) -> [u8; INSN_SIZE] {
        let (dst, src) = (self.dst & 0xf, self.src & 0xf);
        let (regs, [off0, off1], [imm0, imm1, imm2, imm3]) = match endian {
            Endian::Little => (src << 4 | dst, self.off.to_le_bytes(), self.imm.to_le_bytes()),
            Endian::Big => (dst << 4 | src, self.off.to_be_bytes(), self.imm.to_be_bytes()),
        };
        [self.code, regs, off0, off1, imm0, imm1, imm2, imm3]
    }
}

/// Decodes a function's code. The last instruction must be whole: 8 bytes, or 16 for ld_imm64.
pub fn decode(bytes: &[u8], endian: Endian) -> Result<Vec<Insn>> {
    let (slots, rest) = bytes.as_chunks::<INSN_SIZE>();
    if !rest.is_empty() {
        let what = format!("{} bytes of code are not a whole number of 8-byte instructions", bytes.len());
        return Err(Kind::Insn(what).at(Place::default()));
    }
    let insns: Vec<_> = slots.iter().map(|slot| Insn::from_bytes(*slot, endian)).collect();
    let mut index = 0;
    while let Some(insn) = insns.get(index) {
        index += if insn.is_ld_imm64() { 2 } else { 1 };
    }
    if index > insns.len() {
        let what =
            "the last instruction is the first half of a 64-bit load; the second half is cut off".to_owned();
        return Err(Kind::Insn(what).at(Place { offset: Some(bytes.len() as u64 - 8), ..Place::default() }));
    }
    Ok(insns)
}

/// Encodes instructions.
pub fn encode(insns: &[Insn], endian: Endian) -> Vec<u8> {
    insns.iter().flat_map(|insn| insn.to_bytes(endian)).collect()
}
