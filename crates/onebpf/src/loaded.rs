//! What a load gives.

use crate::plan::Adaptation;
use crate::{Map, Program, StructOps};
use indexmap::IndexMap;
use onebpf_object::Warning;

/// An object in the kernel: handles that own what they stand for.
///
/// A plain structure to take apart: a [`Map`] or [`Program`] can be moved out and lives on. What is not pinned and
/// not used by anything else goes when its handle is dropped.
#[derive(Debug)]
pub struct Loaded {
    /// Maps by name, created or reused.
    pub maps: IndexMap<String, Map>,
    /// Programs by name.
    pub programs: IndexMap<String, Program>,
    /// Tables of functions (struct_ops), by the name of their map.
    pub tables: IndexMap<String, StructOps>,
    /// What became of the entries of pinned maps that new ones replaced, by map.
    pub migrated: IndexMap<String, Migrated>,
    /// Oddities that did not stop the load.
    pub warnings: Vec<Warning>,
    /// What the kernel got otherwise than the object has it.
    pub adaptations: Vec<Adaptation>,
}

/// What became of a pinned map's entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Migrated {
    /// Entries that are in the new map as they were.
    pub copied: u64,
    /// Entries that are in the new map, converted.
    pub converted: u64,
    /// Entries that are not in the new map, or not whole. Without the caller's consent there are none, but for those
    /// that an LRU map drops by itself.
    pub dropped: u64,
    /// What became of members that are not simply copied, and why entries were dropped.
    pub reasons: Vec<String>,
}

impl Loaded {
    /// The map of that name.
    pub fn map(&self, name: &str) -> Option<&Map> {
        self.maps.get(name)
    }

    /// The program of that name.
    pub fn program(&self, name: &str) -> Option<&Program> {
        self.programs.get(name)
    }
}
