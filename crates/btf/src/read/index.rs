//! Where types start, and which have a name: both found out when first asked for.

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
        // Of a kind that is not known, no type fits any section.
        let shapes: [(usize, usize); 128] = std::array::from_fn(|kind| match btf.shape(kind as u32) {
            Some((fixed, element)) => (TYPE_LEN + usize::from(fixed), usize::from(element)),
            None => (usize::MAX, 0),
        });
        let mut starts = Vec::with_capacity(section.len() / 24);
        let mut at = 0;
        while let Some(info) = u32_at(section, at + 4, endian) {
            let (fixed, element) = shapes.get(kind_of(info) as usize).copied().unwrap_or((usize::MAX, 0));
            let len = fixed.saturating_add(vlen_of(info) * element);
            if len > section.len() - at {
                break;
            }
            starts.push(at as u32);
            at += len;
        }
        let stop = (at < section.len()).then(|| {
            let id = TypeId(btf.first_own_id().0.saturating_add(starts.len() as u32));
            Error::from(misfit(btf, at)).in_type(id).at(btf.types_start() + at)
        });
        Offsets { starts, stop }
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

/// Why no type can be read at `at`.
fn misfit(btf: &Btf, at: usize) -> What {
    let Some(info) = u32_at(btf.type_bytes(), at + 4, btf.endian()) else { return What::Truncated("type") };
    match btf.shape(kind_of(info)) {
        None => What::Kind(kind_of(info)),
        Some(_) => {
            What::Truncated(Kind::from_number(kind_of(info)).map_or("type of unknown kind", Kind::name))
        }
    }
}

fn kind_of(info: u32) -> u32 {
    (info >> 24) & 0x7f
}

fn vlen_of(info: u32) -> usize {
    (info & 0x00ff_ffff) as usize
}

/// Indexes from name to id: one for functions, which are half of a kernel's names and are seldom asked for
/// together with types, and one for all others.
#[derive(Default)]
pub(crate) struct Names {
    functions: Index,
    others: Index,
    long_size: OnceLock<u32>,
    decl_tags: OnceLock<Vec<TypeId>>,
    /// Where flavours are in the own strings: few or none in a kernel.
    pub(crate) marks: OnceLock<Vec<Mark>>,
    /// Types whose name has a flavour.
    pub(crate) flavoured: OnceLock<Vec<TypeId>>,
}

/// Three underscores in the strings behind which a flavour is.
pub(crate) struct Mark {
    /// Where the string around it starts.
    pub(crate) start: usize,
    /// The last byte before it.
    pub(crate) before: usize,
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
    table: OnceLock<Table>,
}

/// A hash table of types by name. Numbers count own types from 1; 0 is none.
struct Table {
    /// The first type of each bucket; a power of two of them.
    buckets: Vec<u32>,
    /// The type after this one in its bucket.
    next: Vec<u32>,
}

impl Table {
    /// Of the own types of some kinds.
    fn of(btf: &Btf, functions: bool) -> Table {
        let heads = Heads::of(btf);
        let count = heads.starts.len();
        let buckets = vec![0; count.div_ceil(2).next_power_of_two()];
        let mut table = Table { buckets, next: vec![0; count] };
        // From the last one, so that in each bucket the first comes first.
        for ((before, start), next) in heads.starts.iter().enumerate().zip(&mut table.next).rev() {
            let Some(info) = heads.word_at(*start, 4) else { continue };
            if (kind_of(info) == Kind::Func as u32) != functions {
                continue;
            }
            let name = heads.word_at(*start, 0).map_or(&[][..], |offset| heads.tail(btf, offset));
            let bucket = hash(name) as usize & (table.buckets.len() - 1);
            if let Some(first) = table.buckets.get_mut(bucket) {
                *next = std::mem::replace(first, before as u32 + 1);
            }
        }
        table
    }

    /// The types that may have this name, in order.
    fn of_name(&self, name: &[u8]) -> impl Iterator<Item = u32> + '_ {
        let some = |number: Option<&u32>| number.copied().filter(|number| *number != 0);
        let first = some(self.buckets.get(hash(name) as usize & (self.buckets.len() - 1)));
        std::iter::successors(first, move |number| some(self.next.get(*number as usize - 1)))
    }
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
        if index.table.get().is_none() && index.lookups.fetch_add(1, Ordering::Relaxed) < LOOKUPS_BEFORE_INDEX
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
        if name.is_empty() {
            return Vec::new();
        }
        let heads = Heads::of(self);
        let wanted = |id: &TypeId| {
            self.is_named(&heads, *id, name.as_bytes())
                && heads.kind(*id).is_some_and(|kind| (kind == Kind::Func as u32) == functions)
        };
        let index = self.index(functions);
        if index.table.get().is_none() && index.lookups.fetch_add(1, Ordering::Relaxed) < LOOKUPS_BEFORE_INDEX
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
        let table = self.index(functions).table.get_or_init(|| Table::of(self, functions));
        let before = self.first_own_id().0 - 1;
        table.of_name(name.as_bytes()).map(move |number| TypeId(before + number))
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
        self.word_at(*self.starts.get(id.0.checked_sub(self.first)? as usize)?, at)
    }

    /// A word of the type that starts here.
    fn word_at(&self, start: u32, at: usize) -> Option<u32> {
        u32_at(self.section, start as usize + at, self.endian)
    }

    fn kind(&self, id: TypeId) -> Option<u32> {
        self.word(id, 4).map(kind_of)
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
}

/// Of what comes before the first NUL, eight bytes at a time: short, and good enough for names; equal hashes are told
/// apart by comparing.
fn hash(name: &[u8]) -> u32 {
    let mut hash = 0u64;
    for chunk in name.chunks(8) {
        let word = u64::from_le_bytes(chunk.first_chunk().copied().unwrap_or_else(|| {
            let mut padded = [0; 8];
            padded.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            padded
        }));
        // The highest bit of each NUL; above the first, others may have theirs.
        let nuls = word.wrapping_sub(0x0101_0101_0101_0101) & !word & 0x8080_8080_8080_8080;
        // The bytes below the first NUL; all if there is none.
        let kept = word & (nuls & nuls.wrapping_neg()).wrapping_shr(7).wrapping_sub(1);
        if kept != 0 {
            hash = (hash.rotate_left(5) ^ kept).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        if nuls != 0 {
            break;
        }
    }
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_ends_at_the_nul() {
        let name = b"a_name_of_24_bytes_it_is";
        for len in 0..=name.len() {
            let mut tail = name[..len].to_vec();
            tail.extend(b"\0\x01other\0");
            assert_eq!(hash(&tail), hash(&name[..len]), "{len}");
        }
        assert_ne!(hash(b"int"), hash(b"char"));
    }
}
