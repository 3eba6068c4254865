//! `.BTF.ext`: which function and which source line each instruction belongs to, and CO-RE relocations.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use crate::TypeId;
use crate::bytes::{Endian, slice_at, u16_at, u32_at};
use crate::error::{Error, Result, What};
use crate::read::MAGIC;

/// A parsed `.BTF.ext` section. Its string offsets are into the strings of the `.BTF` section beside it.
///
/// Headers and section lengths are checked by [`BtfExt::parse`]; records are decoded while one iterates.
#[derive(Clone, Copy, Debug)]
pub struct BtfExt<'a> {
    endian: Endian,
    funcs: Table<'a>,
    lines: Table<'a>,
    relos: Table<'a>,
}

/// Start of a function (`struct bpf_func_info`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct FuncInfo {
    /// In an ELF file bytes from the start of the section; for the kernel instructions from the start of the program.
    pub insn_off: u32,
    /// The FUNC.
    pub type_id: TypeId,
}

/// Source line of an instruction and those after it (`struct bpf_line_info`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct LineInfo {
    /// As in [`FuncInfo`].
    pub insn_off: u32,
    /// String offset of the file's name.
    pub file_name_off: u32,
    /// String offset of the text of the line.
    pub line_off: u32,
    /// Line and column; see [`LineInfo::line`].
    pub line_col: u32,
}

impl LineInfo {
    /// Line number, from 1.
    pub fn line(&self) -> u32 {
        self.line_col >> 10
    }

    /// Column, from 1; 0 if not known.
    pub fn column(&self) -> u32 {
        self.line_col & 0x3ff
    }
}

/// An instruction to be adjusted to the types of the target (`struct bpf_core_relo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct CoreRelo {
    /// Bytes from the start of the section.
    pub insn_off: u32,
    /// The local type that the access starts from.
    pub type_id: TypeId,
    /// String offset of the access path, such as `0:1:2`.
    pub access_str_off: u32,
    /// What the instruction wants to know.
    pub kind: CoreReloKind,
}

/// What a CO-RE relocation asks of the target (`enum bpf_core_relo_kind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are the kernel's, and `name` spells them out")]
pub enum CoreReloKind {
    FieldByteOffset,
    FieldByteSize,
    FieldExists,
    FieldSigned,
    FieldLshiftU64,
    FieldRshiftU64,
    TypeIdLocal,
    TypeIdTarget,
    TypeExists,
    TypeSize,
    EnumvalExists,
    EnumvalValue,
    TypeMatches,
    /// A number that this crate does not know.
    Unknown(u32),
}

impl CoreReloKind {
    /// All known kinds in the order of their numbers, with libbpf's names (`core_relo_kind_str`).
    pub const ALL: [(CoreReloKind, &'static str); 13] = [
        (CoreReloKind::FieldByteOffset, "byte_off"),
        (CoreReloKind::FieldByteSize, "byte_sz"),
        (CoreReloKind::FieldExists, "field_exists"),
        (CoreReloKind::FieldSigned, "signed"),
        (CoreReloKind::FieldLshiftU64, "lshift_u64"),
        (CoreReloKind::FieldRshiftU64, "rshift_u64"),
        (CoreReloKind::TypeIdLocal, "local_type_id"),
        (CoreReloKind::TypeIdTarget, "target_type_id"),
        (CoreReloKind::TypeExists, "type_exists"),
        (CoreReloKind::TypeSize, "type_size"),
        (CoreReloKind::EnumvalExists, "enumval_exists"),
        (CoreReloKind::EnumvalValue, "enumval_value"),
        (CoreReloKind::TypeMatches, "type_matches"),
    ];

    /// The kind with this number.
    pub fn from_number(number: u32) -> CoreReloKind {
        CoreReloKind::ALL.get(number as usize).map_or(CoreReloKind::Unknown(number), |row| row.0)
    }

    /// Its number in the encoding.
    pub fn number(self) -> u32 {
        match self {
            CoreReloKind::Unknown(number) => number,
            known => CoreReloKind::ALL.iter().position(|row| row.0 == known).unwrap_or_default() as u32,
        }
    }

    /// libbpf's name: `byte_off`.
    pub fn name(self) -> &'static str {
        CoreReloKind::ALL.get(self.number() as usize).map_or("unknown", |row| row.1)
    }
}

impl fmt::Display for CoreReloKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CoreReloKind::Unknown(number) => write!(f, "unknown({number})"),
            known => f.write_str(known.name()),
        }
    }
}

/// The records of one ELF section.
#[derive(Clone, Copy, Debug)]
pub struct ExtSection<'a, R: Record> {
    /// String offset of the ELF section's name.
    pub name_off: u32,
    /// Its records, in the order of the file.
    pub records: Records<'a, R>,
}

/// Records, decoded while one iterates; `Copy`, so iterating does not use it up.
pub struct Records<'a, R> {
    data: &'a [u8],
    size: usize,
    endian: Endian,
    record: PhantomData<fn() -> R>,
}

/// A kind of `.BTF.ext` record.
pub trait Record: Sized {
    /// Bytes that this crate knows; a record in a file may be longer.
    const SIZE: usize;
    /// Decodes; fields past the end of `data` are 0.
    #[doc(hidden)]
    fn read(data: &[u8], endian: Endian) -> Self;
    /// The words to write.
    #[doc(hidden)]
    fn words(&self) -> [u32; 4];
}

impl<'a> BtfExt<'a> {
    /// Takes the section's bytes; `endian` is that of the ELF file. Records longer than known are accepted and
    /// their tails ignored.
    ///
    /// # Errors
    /// E0211 for a header, record size or section that is cut short or does not fit.
    pub fn parse(data: &'a [u8], endian: Endian) -> Result<BtfExt<'a>> {
        let word = |at: usize| u32_at(data, at, endian).ok_or_else(|| ext("header is cut short", data.len()));
        match u16_at(data, 0, endian) {
            Some(MAGIC) => {}
            Some(_) => return Err(ext("wrong magic for this byte order", 0)),
            None => return Err(ext("header is cut short", 0)),
        }
        if data.get(2) != Some(&1) {
            return Err(ext("unknown version", 2));
        }
        let header = word(4)? as usize;
        if header < 24 {
            return Err(ext("hdr_len is less than 24", 4));
        }
        let table = |at: usize, known: usize| -> Result<Table<'a>> {
            let start = header.saturating_add(word(at)? as usize);
            let len = word(at + 4)? as usize;
            Table::parse(data, start..start.saturating_add(len), known, endian)
        };
        Ok(BtfExt {
            endian,
            funcs: table(8, FuncInfo::SIZE)?,
            lines: table(16, LineInfo::SIZE)?,
            relos: if header >= 32 { table(24, CoreRelo::SIZE)? } else { Table::default() },
        })
    }

    /// Functions, per ELF section.
    pub fn func_infos(&self) -> impl Iterator<Item = ExtSection<'a, FuncInfo>> + use<'a> {
        self.funcs.sections(self.endian)
    }

    /// Source lines, per ELF section.
    pub fn line_infos(&self) -> impl Iterator<Item = ExtSection<'a, LineInfo>> + use<'a> {
        self.lines.sections(self.endian)
    }

    /// CO-RE relocations, per ELF section.
    pub fn core_relos(&self) -> impl Iterator<Item = ExtSection<'a, CoreRelo>> + use<'a> {
        self.relos.sections(self.endian)
    }
}

/// Records as the kernel takes them in `BPF_PROG_LOAD`: one array, [`Record::SIZE`] bytes each.
pub fn write_records<R: Record>(records: &[R], endian: Endian) -> Vec<u8> {
    let words = records.iter().flat_map(|record| record.words().into_iter().take(R::SIZE / 4));
    words.flat_map(|word| endian.put_u32(word)).collect()
}

/// The sections of one kind of record, with the word that holds the record size taken off.
#[derive(Clone, Copy, Debug, Default)]
struct Table<'a> {
    data: &'a [u8],
    record_size: usize,
}

impl<'a> Table<'a> {
    /// Checks that the sections fill the range (libbpf `btf_ext_parse_sec_info`).
    fn parse(data: &'a [u8], range: Range<usize>, known: usize, endian: Endian) -> Result<Table<'a>> {
        if range.is_empty() {
            return Ok(Table::default());
        }
        let (start, end) = (range.start, range.end);
        if !start.is_multiple_of(4) {
            return Err(ext("records are not aligned to 4 bytes", start));
        }
        let data = data.get(range).ok_or_else(|| ext("records end outside the section", start))?;
        let record_size =
            u32_at(data, 0, endian).ok_or_else(|| ext("record size is cut short", start))? as usize;
        if record_size < known || !record_size.is_multiple_of(4) {
            return Err(ext(format!("record size is {record_size}, at least {known} is needed"), start));
        }
        let table = Table { data: data.get(4..).unwrap_or_default(), record_size };
        let mut rest = table.data;
        while !rest.is_empty() {
            let (_, _, tail) = split_section(rest, record_size, endian).ok_or_else(|| {
                ext("the records of an ELF section are cut short or none", end - rest.len())
            })?;
            rest = tail;
        }
        Ok(table)
    }

    fn sections<R: Record>(self, endian: Endian) -> impl Iterator<Item = ExtSection<'a, R>> + use<'a, R> {
        let size = self.record_size;
        let mut rest = self.data;
        std::iter::from_fn(move || {
            let (name_off, data, tail) = split_section(rest, size, endian)?;
            rest = tail;
            Some(ExtSection { name_off, records: Records { data, size, endian, record: PhantomData } })
        })
    }
}

/// The name, the records and what follows of the first section in `data`; none if they do not fit.
fn split_section(data: &[u8], record_size: usize, endian: Endian) -> Option<(u32, &[u8], &[u8])> {
    let (name, count) = (u32_at(data, 0, endian)?, u32_at(data, 4, endian)? as usize);
    let len = record_size.checked_mul(count).filter(|len| *len > 0)?;
    let records = slice_at(data, 8, len)?;
    Some((name, records, data.get(8 + len..)?))
}

impl<R: Record> Records<'_, R> {
    /// The n-th record.
    pub fn get(&self, n: usize) -> Option<R> {
        slice_at(self.data, n.checked_mul(self.size)?, self.size).map(|data| R::read(data, self.endian))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }
}

impl<R> Clone for Records<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Records<'_, R> {}

#[expect(
    clippy::copy_iterator,
    reason = "records are read many times; a loop over them must not use them up"
)]
impl<R: Record> Iterator for Records<'_, R> {
    type Item = R;

    fn next(&mut self) -> Option<R> {
        let (record, rest) =
            self.data.split_at_checked(self.size).filter(|(record, _)| !record.is_empty())?;
        self.data = rest;
        Some(R::read(record, self.endian))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.data.len() / self.size.max(1);
        (len, Some(len))
    }
}

impl<R: Record> ExactSizeIterator for Records<'_, R> {}

impl<R: Record + fmt::Debug> fmt::Debug for Records<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

impl Record for FuncInfo {
    const SIZE: usize = 8;

    fn read(data: &[u8], endian: Endian) -> FuncInfo {
        FuncInfo { insn_off: word(data, 0, endian), type_id: TypeId(word(data, 4, endian)) }
    }

    fn words(&self) -> [u32; 4] {
        [self.insn_off, self.type_id.0, 0, 0]
    }
}

impl Record for LineInfo {
    const SIZE: usize = 16;

    fn read(data: &[u8], endian: Endian) -> LineInfo {
        LineInfo {
            insn_off: word(data, 0, endian),
            file_name_off: word(data, 4, endian),
            line_off: word(data, 8, endian),
            line_col: word(data, 12, endian),
        }
    }

    fn words(&self) -> [u32; 4] {
        [self.insn_off, self.file_name_off, self.line_off, self.line_col]
    }
}

impl Record for CoreRelo {
    const SIZE: usize = 16;

    fn read(data: &[u8], endian: Endian) -> CoreRelo {
        CoreRelo {
            insn_off: word(data, 0, endian),
            type_id: TypeId(word(data, 4, endian)),
            access_str_off: word(data, 8, endian),
            kind: CoreReloKind::from_number(word(data, 12, endian)),
        }
    }

    fn words(&self) -> [u32; 4] {
        [self.insn_off, self.type_id.0, self.access_str_off, self.kind.number()]
    }
}

fn word(data: &[u8], at: usize, endian: Endian) -> u32 {
    u32_at(data, at, endian).unwrap_or_default()
}

fn ext(what: impl Into<String>, at: usize) -> Error {
    Error::from(What::Ext(what.into())).at(at)
}
