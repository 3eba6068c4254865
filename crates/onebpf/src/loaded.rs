//! What a load gives.

use crate::{Map, Program};
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
    /// Oddities that did not stop the load.
    pub warnings: Vec<Warning>,
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
