//! Initial entries of maps that hold plain values: a form of onebpf's own.
//!
//! | C, last in the struct | maps | what it is |
//! |---|---|---|
//! | `struct v values[]` or `struct v value[]` | indexed by a number | element n is the value of key n |
//! | `struct { K key; V value; } entries[]` | with keys of any kind | each element is one entry |
//!
//! The array is flexible, so BTF's struct ends where it begins; the DATASEC says the size of the variable with its
//! initialiser, as the symbol table does (clang 19).

use super::{Definition, Reading, walk};
use crate::error::{Kind, MapFault};
use crate::{Contents, Entry, Error, MapType, Place, Result};
use onebpf_btf::{Def, Endian, Member, TypeId};
use std::collections::HashSet;
use std::ops::Range;

/// Most entries that an object may list: one for each number of 16 bits. Larger tables are better written by their users.
const MAX_ENTRIES: usize = 1 << 16;
/// Maps with keys of their own.
const BY_KEY: [MapType; 6] = [
    MapType::HASH,
    MapType::PERCPU_HASH,
    MapType::LRU_HASH,
    MapType::LRU_PERCPU_HASH,
    MapType::LPM_TRIE,
    MapType::DEVMAP_HASH,
];

/// An array of initial entries.
pub(super) struct Listed {
    /// Where in the variable; a flexible array ends with the variable.
    at: Range<u64>,
    /// Bytes of an element.
    size: usize,
    /// The key in an element; `None`: the element's index is the key.
    key: Option<Range<usize>>,
    value: Range<usize>,
}

impl Reading<'_> {
    /// `value[]` or `values[]` whose elements are values.
    pub(super) fn values_by_index(
        &self,
        member: &Member<'_>,
        elem: TypeId,
        count: u32,
        definition: &mut Definition,
    ) -> Result<()> {
        if !definition.kind.is_plain_array() {
            let other = if BY_KEY.contains(&definition.kind) { "; list `entries[]`, with keys" } else { "" };
            let what = format!("lists `{}` by index, which no {} has{other}", member.name, definition.kind);
            return Err(self.slot_fault(&what));
        }
        let size = self.size_in(member, elem)?;
        self.said_size("key", 4, "an index has 4 bytes".to_owned(), &mut definition.key)?;
        let note = format!("an element of `{}` is BTF type {elem} of {size} bytes", member.name);
        self.said_size("value", size, note, &mut definition.value)?;
        definition.value.btf.get_or_insert(elem);
        let size = size as usize;
        self.list(member, count, Listed { at: 0..0, size, key: None, value: 0..size }, definition)
    }

    /// `entries[]`.
    pub(super) fn entries_by_key(&self, member: &Member<'_>, definition: &mut Definition) -> Result<()> {
        if !BY_KEY.contains(&definition.kind) {
            let other = if definition.kind.is_plain_array() { "; list `values[]`, by index" } else { "" };
            return Err(self.slot_fault(&format!(
                "lists `entries` with keys, which no {} takes{other}",
                definition.kind
            )));
        }
        let Def::Array { elem, count, .. } = self.btf.strip(member.ty)?.def else {
            return Err(self.member(member, "is no array".to_owned()));
        };
        if count != 0 {
            let what = "has a length, so that unused elements would be entries: write `entries[]`";
            return Err(self.member(member, what.to_owned()));
        }
        let (mut key, mut value) = (None, None);
        if let Def::Struct { members, .. } = self.btf.strip(elem)?.def
            && members.len() == 2
        {
            for part in members {
                let (side, what) = match part.name {
                    "key" => (&mut key, "key"),
                    "value" => (&mut value, "value"),
                    _ => continue,
                };
                if part.bit_size.is_some() {
                    continue;
                }
                let said = if what == "key" { &mut definition.key } else { &mut definition.value };
                let size = self.size_in(member, part.ty)?;
                let note = format!("`{what}` in `entries` is BTF type {} of {size} bytes", part.ty);
                self.said_size(what, size, note, said)?;
                said.btf.get_or_insert(part.ty);
                let start = (part.bit_offset / 8) as usize;
                *side = Some(start..start.saturating_add(size as usize));
            }
        }
        let (Some(key), Some(value)) = (key, value) else {
            let what = "is no array of `struct { K key; V value; }`".to_owned();
            return Err(self.member(member, what));
        };
        let size = self.size_in(member, elem)? as usize;
        self.list(member, count, Listed { at: 0..0, size, key: Some(key), value }, definition)
    }

    /// Takes note of an array, once.
    fn list(
        &self,
        member: &Member<'_>,
        count: u32,
        listed: Listed,
        definition: &mut Definition,
    ) -> Result<()> {
        if self.nested && self.base.is_some() {
            return Err(
                self.member(member, "lists entries of a template, which is nothing but a shape".to_owned())
            );
        }
        let start = u64::from(member.bit_offset / 8);
        let length = u64::from(count).saturating_mul(listed.size as u64);
        let end = if count == 0 { u64::MAX } else { start.saturating_add(length) };
        if definition.listed.replace(Listed { at: start..end, ..listed }).is_some() {
            return Err(self.member(member, "is the second list of initial values".to_owned()));
        }
        Ok(())
    }

    fn size_in(&self, member: &Member<'_>, ty: TypeId) -> Result<u32> {
        let size = self.btf.size_of(ty).map_err(|e| self.member(member, format!("says no size: {e}")))?;
        u32::try_from(size)
            .ok()
            .filter(|size| *size != 0)
            .ok_or_else(|| self.member(member, format!("has elements of {size} bytes")))
    }

    /// The entries that the variable's `size` bytes hold; BTF says that `declared` are the struct's without the array.
    pub(super) fn initial(
        &self,
        definition: &Definition,
        offset: u64,
        size: u64,
        declared: u64,
    ) -> Result<Contents> {
        let Some(listed) = &definition.listed else { return Ok(Contents::Empty) };
        let end = size.min(listed.at.end);
        let length = end.saturating_sub(listed.at.start);
        let start = offset.saturating_add(listed.at.start);
        let section = self.input.section;
        if let Some(reloc) = walk::relocs_in(section, start, length).first() {
            let element = (reloc.offset.saturating_sub(start)) / listed.size as u64;
            let what = format!("element {element} of its initial values has an address: they are plain data");
            let place = Place::at(section.name, reloc.offset).symbol(&self.name);
            return Err(Kind::Map(MapFault::Slot { map: self.name.clone(), what }).at(place));
        }
        // A section without bytes in the file lists nothing.
        let range = usize::try_from(start).ok().zip(usize::try_from(start.saturating_add(length)).ok());
        let bytes = range.and_then(|(from, to)| section.data.get(from..to)).unwrap_or_default();
        let mut elements: Vec<&[u8]> = bytes.chunks_exact(listed.size).take(MAX_ENTRIES + 1).collect();
        if end <= declared && listed.at.end == u64::MAX {
            // Within the struct's own padding nothing says how long the list is, or that there is one.
            let last = elements.iter().rposition(|element| !is_zero(element));
            elements.truncate(last.map_or(0, |last| last.saturating_add(1)));
        }
        self.check_count(elements.len(), definition.max_entries)?;
        let entries = match &listed.key {
            None => by_index(&elements, self.input.elf.endian),
            Some(key) => self.by_key(&elements, key, &listed.value)?,
        };
        Ok(if entries.is_empty() { Contents::Empty } else { Contents::Entries(entries) })
    }

    /// A map whose `max_entries` is 0 gets its size later, from its user.
    fn check_count(&self, count: usize, max_entries: u32) -> Result<()> {
        if count > MAX_ENTRIES {
            let what = format!("list of initial values of map `{}`", self.name);
            let kind = Kind::TooLarge { what, limit: MAX_ENTRIES as u64, unit: "elements" };
            return Err(kind.at(self.place.clone()));
        }
        if max_entries != 0 && count > max_entries as usize {
            return Err(
                self.slot_fault(&format!("has {count} initial values, but max_entries is {max_entries}"))
            );
        }
        Ok(())
    }

    fn by_key(&self, elements: &[&[u8]], key: &Range<usize>, value: &Range<usize>) -> Result<Vec<Entry>> {
        let mut seen = HashSet::with_capacity(elements.len());
        let mut entries = Vec::with_capacity(elements.len());
        for (index, element) in elements.iter().enumerate() {
            let (Some(key), Some(value)) = (element.get(key.clone()), element.get(value.clone())) else {
                return Err(self.slot_fault("has entries whose key or value lies outside of them"));
            };
            if !seen.insert(key) {
                return Err(self.slot_fault(&format!("entry {index} has the key of an earlier one")));
            }
            entries.push(Entry { key: key.to_vec(), value: value.to_vec() });
        }
        Ok(entries)
    }

    pub(super) fn slot_fault(&self, what: &str) -> Error {
        self.fault(MapFault::Slot { map: self.name.clone(), what: what.to_owned() })
    }
}

/// Elements of zeros are what arrays begin with; in devmaps and cpumaps they mean "no device" and "no queue".
fn by_index(elements: &[&[u8]], endian: Endian) -> Vec<Entry> {
    let key = |index: u32| match endian {
        Endian::Little => index.to_le_bytes().to_vec(),
        Endian::Big => index.to_be_bytes().to_vec(),
    };
    let written = (0..).zip(elements).filter(|(_, element)| !is_zero(element));
    written.map(|(index, element)| Entry { key: key(index), value: element.to_vec() }).collect()
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
