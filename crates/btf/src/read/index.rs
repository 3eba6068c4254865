//! Where types start, and which have a name: both found out when first asked for.

use std::ffi::CStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::bytes::{Endian, is_string, u32_at};
use crate::error::{Error, Result, What};
use crate::{Btf, Kind, TypeId};

/// Bytes that every type starts with: name_off, info, size_or_type.
pub(crate) const TYPE_LEN: usize = 12;

/// A linear search costs less than an index until about this many lookups.
const LOOKUPS_BEFORE_INDEX: u32 = 2;

/// The offset of each type in the type section.
pub(crate) struct Offsets {
    starts: Vec<u32>,
    /// Why reading stopped early, if it did.
    stop: Option<Error>,
}

impl Offsets {
    pub(crate) fn scan(btf: &Btf) -> Offsets {
        let (section, endian) = (btf.type_bytes(), btf.endian());
        let shapes: [Option<(u8, u8)>; 128] = std::array::from_fn(|kind| btf.shape(kind as u32));
        let mut offsets = Offsets { starts: Vec::with_capacity(section.len() / 24), stop: None };
        let mut at = 0;
        while at < section.len() {
            match type_len(&shapes, section, at, endian) {
                Ok(len) => {
                    offsets.starts.push(at as u32);
                    at += len;
                }
                Err(what) => {
                    let id = TypeId(btf.first_own_id().0.saturating_add(offsets.starts.len() as u32));
                    offsets.stop = Some(Error::from(what).in_type(id).at(btf.types_start() + at));
                    break;
                }
            }
        }
        offsets
    }

    /// Number of types, the one where reading stopped included.
    pub(crate) fn count(&self) -> u32 {
        self.starts.len() as u32 + u32::from(self.stop.is_some())
    }

    /// Start of the n-th type in the section; `id` and `last` are for the error.
    pub(crate) fn start(&self, n: u32, id: TypeId, last: u32) -> Result<usize> {
        match (self.starts.get(n as usize), &self.stop) {
            (Some(start), _) => Ok(*start as usize),
            (None, Some(stop)) if n as usize == self.starts.len() => Err(stop.clone()),
            _ => Err(What::TypeId(id, last).into()),
        }
    }

    /// An error unless every type was found.
    pub(crate) fn complete(&self) -> Result<()> {
        self.stop.clone().map_or(Ok(()), Err)
    }
}

/// Length of the type at `at` with its payload.
fn type_len(
    shapes: &[Option<(u8, u8)>; 128],
    section: &[u8],
    at: usize,
    endian: Endian,
) -> std::result::Result<usize, What> {
    let Some(info) = u32_at(section, at + 4, endian) else { return Err(What::Truncated("type")) };
    let (kind, vlen) = ((info >> 24) & 0x7f, info & 0x00ff_ffff);
    let shape = shapes.get(kind as usize).copied().flatten();
    let Some((fixed, element)) = shape else { return Err(What::Kind(kind)) };
    let len = TYPE_LEN + fixed as usize + vlen as usize * element as usize;
    if len > section.len() - at {
        return Err(What::Truncated(Kind::from_number(kind).map_or("type of unknown kind", Kind::name)));
    }
    Ok(len)
}

/// Indexes from name to id: one for functions, which are half of a kernel's names and are seldom asked for
/// together with types, and one for all others.
#[derive(Default)]
pub(crate) struct Names {
    functions: Index,
    others: Index,
    long_size: OnceLock<u32>,
    decl_tags: OnceLock<Vec<TypeId>>,
    /// Types whose name has a flavour: few or none in a kernel.
    pub(crate) flavoured: OnceLock<Vec<TypeId>>,
}

/// How compilers write `long` and `unsigned long`.
const LONG_NAMES: [&str; 11] = [
    "long int",
    "long unsigned int",
    "unsigned long",
    "long",
    "int long",
    "long unsigned",
    "unsigned long int",
    "unsigned int long",
    "long int unsigned",
    "int unsigned long",
    "int long unsigned",
];

#[derive(Default)]
struct Index {
    lookups: AtomicU32,
    /// (hash of name, id), sorted.
    rows: OnceLock<Vec<(u32, u32)>>,
}

impl Btf {
    /// The first type of this name and kind, searched in the base first.
    pub fn find(&self, name: &str, kind: Kind) -> Option<TypeId> {
        self.base().and_then(|base| base.find(name, kind)).or_else(|| self.find_own(name, kind))
    }

    /// The first type of this name and kind that is not the base's.
    pub fn find_own(&self, name: &str, kind: Kind) -> Option<TypeId> {
        if name.is_empty() {
            return None;
        }
        let heads = Heads::of(self);
        let index = self.index(kind == Kind::Func);
        let wanted =
            |id: &TypeId| heads.kind(*id) == Some(kind as u32) && self.is_named(&heads, *id, name.as_bytes());
        if index.rows.get().is_none() && index.lookups.fetch_add(1, Ordering::Relaxed) < LOOKUPS_BEFORE_INDEX
        {
            return heads.ids().find(wanted);
        }
        self.candidates(name, kind == Kind::Func).find(wanted)
    }

    /// Every type of this name, whatever its kind, that of the base first.
    pub fn find_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = TypeId> + 'a {
        let chain = std::iter::successors(Some(self), |btf| btf.base()).collect::<Vec<_>>();
        chain.into_iter().rev().filter(|_| !name.is_empty()).flat_map(move |btf| {
            let others = btf.candidates(name, false);
            let heads = Heads::of(btf);
            let wanted = move |id: &TypeId| btf.is_named(&heads, *id, name.as_bytes());
            others.chain(btf.candidates(name, true)).filter(wanted)
        })
    }

    /// Own types of exactly this name, whatever their kind: functions, or all others. In order of id.
    pub(crate) fn named_own(&self, name: &str, functions: bool) -> Vec<TypeId> {
        let heads = Heads::of(self);
        let is_function = |id: TypeId| heads.kind(id) == Some(Kind::Func as u32);
        let wanted =
            |id: &TypeId| self.is_named(&heads, *id, name.as_bytes()) && is_function(*id) == functions;
        let index = self.index(functions);
        if name.is_empty() {
            return Vec::new();
        }
        if index.rows.get().is_none() && index.lookups.fetch_add(1, Ordering::Relaxed) < LOOKUPS_BEFORE_INDEX
        {
            return heads.ids().filter(wanted).collect();
        }
        self.candidates(name, functions).filter(wanted).collect()
    }

    /// The own types that are tags on declarations, in order: found in one pass, when first asked for.
    pub fn decl_tags(&self) -> &[TypeId] {
        self.names().decl_tags.get_or_init(|| {
            let heads = Heads::of(self);
            heads.ids().filter(|id| heads.kind(*id) == Some(Kind::DeclTag as u32)).collect()
        })
    }

    /// Own types with the offsets of their names, not decoded.
    pub(crate) fn own_names(&self) -> impl Iterator<Item = (TypeId, u32)> + '_ {
        let heads = Heads::of(self);
        heads.ids().filter_map(move |id| Some((id, heads.name_offset(id)?)))
    }

    /// Bytes of the C type `long`, and so of a pointer, in the program that the types are of: 4 or 8, by the first
    /// integer of one of its names (libbpf `determine_ptr_size`); 8 if there is none.
    pub(crate) fn long_size(&self) -> u32 {
        if let Some(base) = self.base() {
            return base.long_size();
        }
        *self.names().long_size.get_or_init(|| {
            let heads = Heads::of(self);
            let size = |id| {
                let size = heads.word(id, 8).filter(|size| matches!(size, 4 | 8))?;
                let int = heads.kind(id) == Some(Kind::Int as u32);
                let is_long = int && LONG_NAMES.iter().any(|name| self.is_named(&heads, id, name.as_bytes()));
                is_long.then_some(size)
            };
            heads.ids().find_map(size).unwrap_or(8)
        })
    }

    /// Own types whose name may be this one, in order of id.
    fn candidates(&self, name: &str, functions: bool) -> impl Iterator<Item = TypeId> + '_ {
        let rows = self.index(functions).rows.get_or_init(|| self.index_rows(functions));
        let hash = hash(name.as_bytes());
        let from = rows.partition_point(|row| row.0 < hash);
        rows.iter().skip(from).take_while(move |row| row.0 == hash).map(|row| TypeId(row.1))
    }

    fn index_rows(&self, functions: bool) -> Vec<(u32, u32)> {
        let heads = Heads::of(self);
        let mut rows = Vec::new();
        for id in heads.ids() {
            let Some(kind) = heads.kind(id) else { continue };
            if (kind == Kind::Func as u32) != functions {
                continue;
            }
            let name = heads.name_offset(id).and_then(|offset| heads.string(self, offset));
            if let Some(name) = name.filter(|name| !name.is_empty()) {
                rows.push((hash(name), id.0));
            }
        }
        rows.sort_unstable();
        rows.shrink_to_fit();
        rows
    }

    fn index(&self, functions: bool) -> &Index {
        if functions { &self.names().functions } else { &self.names().others }
    }

    /// Compares in place, and so is faster than finding the end of the name.
    fn is_named(&self, heads: &Heads<'_>, id: TypeId, name: &[u8]) -> bool {
        let tail = heads.name_offset(id).map_or(&[][..], |offset| heads.tail(self, offset));
        is_string(tail, name)
    }
}

/// The first words of the own types, and the own strings: what a search passes over without decoding. The slices are
/// taken once, which matters in a loop over 100,000 types.
struct Heads<'a> {
    first: u32,
    starts: &'a [u32],
    section: &'a [u8],
    endian: Endian,
    first_string: u32,
    strings: &'a [u8],
}

impl<'a> Heads<'a> {
    fn of(btf: &'a Btf) -> Heads<'a> {
        Heads {
            first: btf.first_own_id().0,
            starts: &btf.offsets().starts,
            section: btf.type_bytes(),
            endian: btf.endian(),
            first_string: btf.first_own_string(),
            strings: btf.strings(),
        }
    }

    fn ids(&self) -> impl Iterator<Item = TypeId> + use<> {
        (self.first..self.first.saturating_add(self.starts.len() as u32)).map(TypeId)
    }

    fn word(&self, id: TypeId, at: usize) -> Option<u32> {
        let start = *self.starts.get(id.0.checked_sub(self.first)? as usize)?;
        u32_at(self.section, start as usize + at, self.endian)
    }

    fn kind(&self, id: TypeId) -> Option<u32> {
        self.word(id, 4).map(|info| (info >> 24) & 0x7f)
    }

    fn name_offset(&self, id: TypeId) -> Option<u32> {
        self.word(id, 0)
    }

    /// The strings from this offset on.
    fn tail(&self, btf: &'a Btf, offset: u32) -> &'a [u8] {
        match offset.checked_sub(self.first_string) {
            Some(at) => self.strings.get(at as usize..).unwrap_or_default(),
            None => btf.string_tail(offset),
        }
    }

    fn string(&self, btf: &'a Btf, offset: u32) -> Option<&'a [u8]> {
        CStr::from_bytes_until_nul(self.tail(btf, offset)).ok().map(CStr::to_bytes)
    }
}

/// FNV-1a: short, and good enough for names; equal hashes are told apart by comparing.
fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
