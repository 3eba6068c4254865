//! Where types start, and which have a name: both found out when first asked for.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::bytes::{Endian, u32_at};
use crate::error::{Error, Result, What};
use crate::{Btf, Kind, TypeId};

/// Bytes that every type starts with: name_off, info, size_or_type.
pub(crate) const TYPE_LEN: usize = 12;

/// A linear search costs less than an index until about this many lookups.
const LOOKUPS_BEFORE_INDEX: u32 = 4;

/// The offset of each type in the type section.
pub(crate) struct Offsets {
    starts: Vec<u32>,
    /// Why reading stopped early, if it did.
    stop: Option<Error>,
}

impl Offsets {
    pub(crate) fn scan(btf: &Btf) -> Offsets {
        let (section, endian) = (btf.type_bytes(), btf.endian());
        let mut offsets = Offsets { starts: Vec::with_capacity(section.len() / 24), stop: None };
        let mut at = 0;
        while at < section.len() {
            match type_len(btf, section, at, endian) {
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
fn type_len(btf: &Btf, section: &[u8], at: usize, endian: Endian) -> std::result::Result<usize, What> {
    let info = u32_at(section, at + 4, endian).ok_or(What::Truncated("type"))?;
    let (kind, vlen) = ((info >> 24) & 0x7f, info & 0x00ff_ffff);
    let (fixed, element) = btf.shape(kind).ok_or(What::Kind(kind))?;
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
}

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
        let index = self.index(kind == Kind::Func);
        let wanted = |id: &TypeId| self.kind_number(*id) == Some(kind as u32) && self.is_named(*id, name);
        if index.rows.get().is_none() && index.lookups.fetch_add(1, Ordering::Relaxed) < LOOKUPS_BEFORE_INDEX
        {
            return self.own_ids().find(wanted);
        }
        self.candidates(name, kind == Kind::Func).find(wanted)
    }

    /// Every type of this name, whatever its kind, that of the base first.
    pub fn find_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = TypeId> + 'a {
        let chain = std::iter::successors(Some(self), |btf| btf.base()).collect::<Vec<_>>();
        chain.into_iter().rev().filter(|_| !name.is_empty()).flat_map(move |btf| {
            let others = btf.candidates(name, false);
            others.chain(btf.candidates(name, true)).filter(move |id| btf.is_named(*id, name))
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
        let mut rows = Vec::new();
        for id in self.own_ids() {
            let Some(kind) = self.kind_number(id) else { continue };
            if (kind == Kind::Func as u32) != functions {
                continue;
            }
            if let Some(name) = self.raw_name(id).filter(|name| !name.is_empty()) {
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

    fn own_ids(&self) -> impl Iterator<Item = TypeId> {
        (self.first_own_id().0..self.type_count()).map(TypeId)
    }

    /// A word of the three that each type starts with, without decoding the type.
    fn own_word(&self, id: TypeId, at: usize) -> Option<u32> {
        let n = id.0.checked_sub(self.first_own_id().0)?;
        u32_at(self.type_bytes(), *self.offsets().starts.get(n as usize)? as usize + at, self.endian())
    }

    fn kind_number(&self, id: TypeId) -> Option<u32> {
        self.own_word(id, 4).map(|info| (info >> 24) & 0x7f)
    }

    fn raw_name(&self, id: TypeId) -> Option<&[u8]> {
        self.raw_string(self.own_word(id, 0)?)
    }

    fn is_named(&self, id: TypeId, name: &str) -> bool {
        self.own_word(id, 0).is_some_and(|offset| self.string_is(offset, name.as_bytes()))
    }

    /// Whether the string at `offset` is `name`: compares in place, and so is faster than finding its end.
    fn string_is(&self, offset: u32, name: &[u8]) -> bool {
        let tail = self.string_tail(offset);
        tail.get(name.len()) == Some(&0) && tail.starts_with(name)
    }
}

/// FNV-1a: short, and good enough for names; equal hashes are told apart by comparing.
fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
