//! Maps: how elements behave. What may be created is in `create`.

mod arena;
mod batch;
mod create;

use crate::config::Config;
use crate::objects::{Body, Serial};
use crate::since::{self, Shape};
use onebpf_sys::{Errno, MapInfo};
use std::collections::BTreeMap;
use std::ops::Bound;

pub(crate) struct Map {
    pub(crate) info: MapInfo,
    pub(crate) shape: Shape,
    pub(crate) charge: u64,
    btf: Option<Serial>,
    /// What an inner map must look like; the template itself is not held, as in the kernel.
    template: Option<Template>,
    /// The type of the programs in a program array: the first one decides.
    owner: Option<u32>,
    values: BTreeMap<Vec<u8>, Value>,
    pub(crate) arena: Option<arena::Arena>,
}

enum Value {
    Bytes(Vec<u8>),
    /// An inner map or a program, and its id.
    Object(Serial, u32),
}

/// A map as `bpf_map_meta_equal` compares it; `max_entries` where it counts.
#[derive(PartialEq, Eq)]
pub(crate) struct Template {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    flags: u32,
    max_entries: Option<u32>,
}

/// BPF_NOEXIST and BPF_EXIST.
const NOEXIST: u64 = 1;
const EXIST: u64 = 2;

impl Map {
    /// Whether a program may take the address of what is at `offset` (`map_direct_value_addr`): the value of a plain array,
    /// all of an arena and its end, entries of 8 bytes of a jump table.
    pub(crate) fn direct_value(&self, offset: u32) -> Result<(), Errno> {
        let max_entries = self.info.max_entries;
        match (self.info.map_type, &self.arena) {
            (since::ARRAY, _) if max_entries != 1 => Err(Errno::NOTSUPP),
            (since::ARRAY, _) if offset < self.info.value_size => Ok(()),
            (since::INSN_ARRAY, _) if offset.is_multiple_of(8) && offset / 8 < max_entries => Ok(()),
            (_, Some(arena)) if u64::from(offset) <= arena.size() => Ok(()),
            (_, Some(_)) => Err(Errno::RANGE),
            _ => Err(Errno::INVAL),
        }
    }

    /// The highest instruction that a jump table names.
    pub(crate) fn last_target(&self) -> Option<u32> {
        let word = |value: &Value| match value {
            Value::Bytes(bytes) => bytes.get(..4)?.try_into().ok().map(u32::from_ne_bytes),
            Value::Object(..) => None,
        };
        self.values.values().filter_map(word).max()
    }

    /// Whether a link can register it: a table for links that has its value.
    pub(crate) fn is_complete_table(&self) -> bool {
        self.shape == Shape::Table && self.info.flags & since::LINK != 0 && !self.values.is_empty()
    }

    /// What the kernel would say of it, but for the id.
    pub(crate) fn info(&self) -> MapInfo {
        MapInfo { owner_prog_type: self.owner, owner_jited: self.owner.map(|_| true), ..self.info.clone() }
    }

    pub(crate) fn references(&self) -> Vec<Serial> {
        let mut held = Vec::from_iter(self.btf);
        if self.takes_objects() {
            held.extend(self.values.values().filter_map(|value| match value {
                Value::Object(serial, _) => Some(*serial),
                Value::Bytes(_) => None,
            }));
        }
        held
    }

    /// No fd and no pin is left, though a program may still hold the map.
    pub(crate) fn last_user_left(&mut self) {
        if self.info.map_type == since::PROG_ARRAY {
            self.values.clear();
        }
    }

    pub(crate) fn lookup(
        &self,
        key: &[u8],
        value: &mut [u8],
        flags: u64,
        config: &Config,
    ) -> Result<(), Errno> {
        self.check_sizes(key.len(), value.len(), config)?;
        self.check_readable()?;
        if flags != 0 {
            return Err(Errno::INVAL);
        }
        self.check_elements()?;
        match self.values.get(key) {
            Some(Value::Bytes(bytes)) => value.copy_from_slice(bytes),
            Some(Value::Object(_, id)) => value.copy_from_slice(&id.to_ne_bytes()),
            None if self.shape == Shape::Array && self.template.is_none() && self.in_bounds(key) => {
                value.fill(0);
            }
            None => return Err(Errno::NOENT),
        }
        Ok(())
    }

    pub(crate) fn check_update(&self, key: &[u8], value: usize, config: &Config) -> Result<(), Errno> {
        self.check_sizes(key.len(), value, config)?;
        self.check_writable()
    }

    pub(crate) fn update(&mut self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        self.check_elements()?;
        self.check_room(key, flags)?;
        // `bpf_struct_ops_map_update_elem`: a table is written once.
        if self.shape == Shape::Table && !self.values.is_empty() {
            return Err(Errno::BUSY);
        }
        self.values.insert(key.to_vec(), Value::Bytes(value.to_vec()));
        Ok(())
    }

    /// Whether slots take objects: inner maps or programs.
    pub(crate) fn takes_objects(&self) -> bool {
        self.template.is_some() || self.info.map_type == since::PROG_ARRAY
    }

    pub(crate) fn update_object(
        &mut self,
        key: &[u8],
        (serial, id, fit): (Serial, u32, Fit),
        flags: u64,
    ) -> Result<(), Errno> {
        if self.shape != Shape::Hash {
            match flags {
                0 if self.in_bounds(key) => {}
                0 => return Err(Errno::TOOBIG),
                _ => return Err(Errno::INVAL),
            }
        }
        self.check_object(&fit)?;
        if self.shape == Shape::Hash {
            self.check_room(key, flags)?;
        }
        if let Fit::Prog(prog_type) = fit {
            self.owner = Some(prog_type);
        }
        self.values.insert(key.to_vec(), Value::Object(serial, id));
        Ok(())
    }

    pub(crate) fn delete(&mut self, key: &[u8]) -> Result<(), Errno> {
        if key.len() != self.info.key_size as usize {
            return Err(Errno::INVAL);
        }
        self.check_writable()?;
        self.check_elements()?;
        if self.shape == Shape::Array && self.template.is_none() {
            return Err(Errno::INVAL);
        }
        if self.shape != Shape::Hash && !self.in_bounds(key) {
            return Err(Errno::TOOBIG);
        }
        if self.info.flags & since::LINK != 0 {
            return Err(Errno::OPNOTSUPP);
        }
        self.values.remove(key).map(drop).ok_or(Errno::NOENT)
    }

    pub(crate) fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<bool, Errno> {
        let size = self.info.key_size as usize;
        if next.len() != size || key.is_some_and(|key| key.len() != size) {
            return Err(Errno::INVAL);
        }
        if self.shape != Shape::Slots {
            self.check_elements()?;
        }
        if self.shape == Shape::Hash {
            let after = key.filter(|key| self.values.contains_key(*key));
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let found = self.values.range::<[u8], _>((from, Bound::Unbounded)).next();
            return Ok(found.map(|(found, _)| next.copy_from_slice(found)).is_some());
        }
        let last = self.info.max_entries.saturating_sub(1);
        let index = match key.and_then(index).filter(|index| *index <= last) {
            None => 0,
            Some(index) if index == last => return Ok(false),
            Some(index) => index + 1,
        };
        next.copy_from_slice(&index.to_ne_bytes());
        Ok(true)
    }

    pub(crate) fn freeze(&mut self, config: &Config) -> Result<(), Errno> {
        // Seen: EBUSY on 5.10 and 6.1, EPERM on 6.12 and later.
        if self.info.frozen && !config.at_least(6, 12) {
            return Err(Errno::BUSY);
        }
        self.check_writable()?;
        self.info.frozen = true;
        Ok(())
    }

    fn check_sizes(&self, key: usize, value: usize, config: &Config) -> Result<(), Errno> {
        let fits = key == self.info.key_size as usize && value == self.info.value_buffer_size(config.cpus);
        if fits { Ok(()) } else { Err(Errno::INVAL) }
    }

    fn check_readable(&self) -> Result<(), Errno> {
        if self.info.flags & since::WRONLY != 0 { Err(Errno::PERM) } else { Ok(()) }
    }

    fn check_writable(&self) -> Result<(), Errno> {
        let refused = self.info.frozen || self.info.flags & since::RDONLY != 0;
        if refused { Err(Errno::PERM) } else { Ok(()) }
    }

    /// ENOTSUPP for types whose elements are not modelled.
    fn check_elements(&self) -> Result<(), Errno> {
        match self.shape {
            Shape::Hash | Shape::Array | Shape::Table => Ok(()),
            Shape::Slots if self.info.map_type == since::PROG_ARRAY => Ok(()),
            _ => Err(Errno::NOTSUPP),
        }
    }

    /// Bounds, the EXIST flags, and room for one more. A full LRU map drops an entry.
    fn check_room(&mut self, key: &[u8], flags: u64) -> Result<(), Errno> {
        if flags > EXIST {
            return Err(Errno::INVAL);
        }
        if self.shape != Shape::Hash {
            return match flags {
                _ if !self.in_bounds(key) => Err(Errno::TOOBIG),
                NOEXIST => Err(Errno::EXIST),
                _ => Ok(()),
            };
        }
        match (self.values.contains_key(key), flags) {
            (true, NOEXIST) => return Err(Errno::EXIST),
            (false, EXIST) => return Err(Errno::NOENT),
            (true, _) => return Ok(()),
            (false, _) => {}
        }
        if self.values.len() < self.info.max_entries as usize {
            return Ok(());
        }
        match self.info.map_type {
            since::LRU_HASH | since::LRU_PERCPU_HASH => {
                self.values.pop_first();
                Ok(())
            }
            since::LPM_TRIE => Err(Errno::NOSPC),
            _ => Err(Errno::TOOBIG),
        }
    }

    fn check_object(&self, fit: &Fit) -> Result<(), Errno> {
        let fits = match (fit, &self.template) {
            (Fit::Map(map), Some(template)) => map == template,
            (Fit::Prog(prog_type), None) => self.owner.is_none_or(|owner| owner == *prog_type),
            _ => false,
        };
        if fits { Ok(()) } else { Err(Errno::INVAL) }
    }

    fn in_bounds(&self, key: &[u8]) -> bool {
        index(key).is_some_and(|index| index < self.info.max_entries)
    }
}

/// What decides whether an object may go into a slot.
pub(crate) enum Fit {
    Map(Template),
    /// A program of this type.
    Prog(u32),
}

impl Fit {
    /// `None` for what goes into no slot.
    pub(crate) fn of(body: &Body, config: &Config) -> Option<Self> {
        match body {
            Body::Map(map) => Some(Self::Map(Template::of(&map.info, config))),
            Body::Prog(prog) => Some(Self::Prog(prog.info.prog_type)),
            Body::Btf(_) | Body::Link(_) | Body::Token => None,
        }
    }
}

impl Template {
    fn of(info: &MapInfo, config: &Config) -> Self {
        // Since 5.10 only arrays compare it, and not those made with BPF_F_INNER_MAP (`array_map_meta_equal`).
        let array = matches!(info.map_type, since::ARRAY | since::PERCPU_ARRAY);
        let counts = !config.at_least(5, 10) || (array && info.flags & since::INNER_MAP == 0);
        Self {
            map_type: info.map_type,
            key_size: info.key_size,
            value_size: info.value_size,
            flags: info.flags,
            max_entries: counts.then_some(info.max_entries),
        }
    }
}

fn index(key: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(key.try_into().ok()?))
}
