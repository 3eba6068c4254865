//! `Btf`: a parsed header over borrowed bytes, and the questions one can ask it.

pub(crate) mod index;
pub(crate) mod types;
pub(crate) mod walk;

use std::borrow::Cow;
use std::ffi::CStr;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use crate::bytes::{Endian, u16_at, u32_at};
use crate::error::{Error, Result, What};
use crate::read::index::{Names, Offsets};
use crate::read::types::{Look, Type, decode};
use crate::{Buffer, Kind, TypeId};

/// `BTF_MAGIC`.
pub(crate) const MAGIC: u16 = 0xeb9f;
/// Length of the header up to and with `str_len`; kernels before 7.1 know no more.
pub(crate) const HEADER_LEN: usize = 24;
/// Length of the header with `layout_off` and `layout_len`.
const HEADER_WITH_LAYOUT_LEN: usize = 32;

/// A BTF blob: the types of a BPF object, of the kernel, or of a module over its kernel. Cheap to clone.
#[derive(Clone)]
pub struct Btf(Arc<Inner>);

struct Inner {
    data: Buffer,
    endian: Endian,
    types: Range<usize>,
    strings: Range<usize>,
    layout: Range<usize>,
    base: Option<Btf>,
    first_own_id: u32,
    first_own_string: u32,
    offsets: OnceLock<Offsets>,
    names: Names,
    /// Whether the whole string section is UTF-8: then no name needs to be checked on its own.
    text: OnceLock<bool>,
}

impl Btf {
    /// Takes BTF in either byte order. Looks at the header and the ends of the string section only;
    /// see [`Btf::validate`] for the rest.
    ///
    /// # Errors
    /// E0201 to E0203 for a header or string section that is not one.
    pub fn parse(data: Buffer) -> Result<Btf> {
        parse_over(data, None)
    }

    /// Takes BTF whose ids and strings go on where those of `base` end: that of a kernel module over the
    /// kernel's.
    ///
    /// # Errors
    /// As [`Btf::parse`]; also what is wrong with the type section of `base`.
    pub fn parse_split(data: Buffer, base: &Btf) -> Result<Btf> {
        parse_over(data, Some(base.clone()))
    }

    /// [`Btf::parse`] of bytes that are handed over.
    ///
    /// # Errors
    /// As [`Btf::parse`].
    pub fn from_vec(data: Vec<u8>) -> Result<Btf> {
        Btf::parse(Arc::new(data))
    }

    /// The byte order of the blob.
    pub fn endian(&self) -> Endian {
        self.0.endian
    }

    /// What this is split from.
    pub fn base(&self) -> Option<&Btf> {
        self.0.base.as_ref()
    }

    /// The blob as it was given, header included.
    pub fn bytes(&self) -> &[u8] {
        (*self.0.data).as_ref()
    }

    /// One more than the last id, counting void and the base. If the type section is broken, the type
    /// where it breaks counts, and `get` of it says why.
    pub fn type_count(&self) -> u32 {
        self.0.first_own_id.saturating_add(self.offsets().count())
    }

    /// The first id that is not the base's: 1 without a base.
    pub fn first_own_id(&self) -> TypeId {
        TypeId(self.0.first_own_id)
    }

    /// Size of a pointer in the machine that the types are for: BPF has 64 bits.
    pub fn pointer_size(&self) -> u32 {
        8
    }

    /// Whether there is layout information (since Linux 7.1), by which unknown kinds can be skipped.
    pub fn has_layout(&self) -> bool {
        !self.0.layout.is_empty()
    }

    /// The type with this id, decoded. Its strings and the length of its payload are checked, so that
    /// iterating over members, values, parameters and variables cannot fail; ids in it are not checked.
    ///
    /// # Errors
    /// E0204 for an id that is not there, E0203 and E0205 to E0207 for a type that cannot be decoded.
    pub fn get(&self, id: TypeId) -> Result<Type<'_>> {
        self.look_at(id, Look::Full)
    }

    pub(crate) fn look_at(&self, id: TypeId, look: Look) -> Result<Type<'_>> {
        if id == TypeId::VOID {
            return Ok(Type::VOID);
        }
        let owner = self.owner(id);
        let start = owner.offsets().start(id.0 - owner.0.first_own_id, id, owner.type_count() - 1)?;
        decode(owner, id, start, look).map_err(|e| e.in_type(id).at(owner.0.types.start + start))
    }

    /// The types of this blob in order, without void and without those of the base. Ends after the first
    /// error in the type section.
    pub fn types(&self) -> impl Iterator<Item = Result<Type<'_>>> + '_ {
        (self.0.first_own_id..self.type_count()).map(|id| self.get(TypeId(id)))
    }

    /// The string at this offset; for a split BTF, offsets go on where the base's strings end.
    ///
    /// # Errors
    /// E0203 if the offset is outside, or the bytes are not UTF-8.
    pub fn string(&self, offset: u32) -> Result<&str> {
        let bytes = self.raw_string(offset).ok_or(What::StringOffset(offset))?;
        std::str::from_utf8(bytes).map_err(|_| What::StringUtf8(offset).into())
    }

    /// The string at this offset as bytes, without its final NUL.
    pub(crate) fn raw_string(&self, offset: u32) -> Option<&[u8]> {
        CStr::from_bytes_until_nul(self.string_tail(offset)).ok().map(CStr::to_bytes)
    }

    /// Checks an offset as [`Btf::string`] does, but faster where the section is known to be text.
    pub(crate) fn check_string(&self, offset: u32) -> Result<()> {
        let owner = self.string_owner(offset);
        let section = owner.strings();
        let text = *owner.0.text.get_or_init(|| std::str::from_utf8(section).is_ok());
        let first = section.get((offset - owner.0.first_own_string) as usize);
        // In valid UTF-8, a string that does not start with a continuation byte is valid, too. The section ends
        // with NUL, so that an offset inside it has an end.
        match first {
            Some(byte) if text && byte & 0xc0 != 0x80 => Ok(()),
            _ => self.string(offset).map(|_| ()),
        }
    }

    /// The string section from `offset` to its end; empty if the offset is outside.
    pub(crate) fn string_tail(&self, offset: u32) -> &[u8] {
        let owner = self.string_owner(offset);
        owner.strings().get((offset - owner.0.first_own_string) as usize..).unwrap_or_default()
    }

    pub(crate) fn string_owner(&self, offset: u32) -> &Btf {
        let mut owner = self;
        while let Some(base) = owner.base().filter(|_| offset < owner.0.first_own_string) {
            owner = base;
        }
        owner
    }

    fn owner(&self, id: TypeId) -> &Btf {
        let mut owner = self;
        while let Some(base) = owner.base().filter(|_| id.0 < owner.0.first_own_id) {
            owner = base;
        }
        owner
    }

    pub(crate) fn offsets(&self) -> &Offsets {
        self.0.offsets.get_or_init(|| Offsets::scan(self))
    }

    pub(crate) fn names(&self) -> &Names {
        &self.0.names
    }

    /// The type section.
    pub(crate) fn type_bytes(&self) -> &[u8] {
        self.bytes().get(self.0.types.clone()).unwrap_or_default()
    }

    /// Where the type section starts in the blob.
    pub(crate) fn types_start(&self) -> usize {
        self.0.types.start
    }

    /// The string section of this blob alone.
    pub(crate) fn strings(&self) -> &[u8] {
        self.bytes().get(self.0.strings.clone()).unwrap_or_default()
    }

    /// First string offset that is not the base's.
    pub(crate) fn first_own_string(&self) -> u32 {
        self.0.first_own_string
    }

    /// Payload shape (fixed bytes, bytes per element) of a kind by its number: from our table, or else from the
    /// layout section, or that of the base (libbpf `btf_type_size_unknown`).
    pub(crate) fn shape(&self, kind: u32) -> Option<(u8, u8)> {
        match Kind::from_number(kind) {
            Some(Kind::Void) => None,
            Some(known) => Some((known.info().fixed, known.info().element)),
            None => {
                let with_layout = if self.has_layout() { self } else { self.base()? };
                let section = with_layout.bytes().get(with_layout.0.layout.clone())?;
                let [fixed, element, ..] = *section.get(kind as usize * 4..)?.first_chunk::<4>()?;
                (fixed % 4 == 0 && element % 4 == 0).then_some((fixed, element))
            }
        }
    }
}

fn parse_over(data: Buffer, base: Option<Btf>) -> Result<Btf> {
    let bytes = (*data).as_ref();
    let endian = magic(bytes)?;
    let sections = sections(bytes, endian)?;
    check_strings(bytes.get(sections.strings.clone()).unwrap_or_default(), base.is_some())
        .map_err(|e| e.at(sections.strings.start))?;
    let (first_own_id, first_own_string) = match &base {
        None => (1, 0),
        Some(base) => {
            base.offsets().complete()?;
            let strings =
                base.first_own_string().checked_add(base.strings().len() as u32).ok_or(What::Size)?;
            (base.type_count(), strings)
        }
    };
    Ok(Btf(Arc::new(Inner {
        endian,
        types: sections.types,
        strings: sections.strings,
        layout: sections.layout,
        base,
        first_own_id,
        first_own_string,
        offsets: OnceLock::new(),
        names: Names::default(),
        text: OnceLock::new(),
        data,
    })))
}

fn magic(bytes: &[u8]) -> Result<Endian> {
    match u16_at(bytes, 0, Endian::Little) {
        Some(MAGIC) => Ok(Endian::Little),
        Some(magic) if magic.swap_bytes() == MAGIC => Ok(Endian::Big),
        Some(magic) => Err(What::Magic(magic).into()),
        None => Err(What::Header("shorter than its magic").into()),
    }
}

struct Sections {
    types: Range<usize>,
    strings: Range<usize>,
    layout: Range<usize>,
}

fn sections(bytes: &[u8], endian: Endian) -> Result<Sections> {
    let word = |at: usize| u32_at(bytes, at, endian).ok_or(What::Header("shorter than 24 bytes"));
    word(HEADER_LEN - 4)?;
    match bytes.get(2) {
        Some(1) => {}
        version => return Err(Error::from(What::Version(version.copied().unwrap_or_default())).at(2)),
    }
    let header_len = word(4)? as usize;
    if header_len < HEADER_LEN {
        return Err(Error::from(What::Header("hdr_len is less than 24")).at(4));
    }
    let section = |field: usize, what: &'static str| -> Result<Range<usize>> {
        let (offset, len) = (word(field)? as usize, word(field + 4)? as usize);
        let start = header_len.checked_add(offset);
        let range = start.and_then(|start| Some(start..start.checked_add(len)?));
        range.filter(|r| r.end <= bytes.len()).ok_or_else(|| Error::from(What::Header(what)).at(field))
    };
    let types = section(8, "the type section ends outside the data")?;
    let strings = section(16, "the string section ends outside the data")?;
    let layout = if header_len >= HEADER_WITH_LAYOUT_LEN {
        section(24, "the layout section ends outside the data")?
    } else {
        0..0
    };
    if !(types.start - header_len).is_multiple_of(4) {
        return Err(Error::from(What::Header("the type section is not aligned to 4 bytes")).at(8));
    }
    if types.end > strings.start {
        return Err(Error::from(What::Header("the string section starts before the types end")).at(16));
    }
    Ok(Sections { types, strings, layout })
}

/// As libbpf's `btf_parse_str_sec`: starts with an empty string (the base's does), ends with NUL.
fn check_strings(section: &[u8], split: bool) -> Result<()> {
    match (section.first(), section.last()) {
        (None, None) if split => Ok(()),
        (None, _) | (_, None) => Err(What::StringSection("empty").into()),
        (_, Some(last)) if *last != 0 => Err(What::StringSection("does not end with NUL").into()),
        (Some(first), _) if *first != 0 && !split => {
            Err(What::StringSection("does not start with an empty string").into())
        }
        _ if section.len() > i32::MAX as usize => Err(What::StringSection("longer than 2 GiB").into()),
        _ => Ok(()),
    }
}

/// Same bytes over the same base.
impl PartialEq for Btf {
    fn eq(&self, other: &Btf) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.bytes() == other.bytes() && self.base() == other.base())
    }
}

impl Eq for Btf {}

impl fmt::Debug for Btf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes().len();
        write!(f, "Btf({bytes} bytes, {:?}, from {})", self.0.endian, self.first_own_id())
    }
}

impl From<Btf> for Cow<'_, Btf> {
    fn from(btf: Btf) -> Self {
        Cow::Owned(btf)
    }
}
