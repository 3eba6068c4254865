//! Map, program and attach types: the kernel's numbers with libbpf's names.

use std::fmt;

/// `enum bpf_map_type`. A number without a row here is legal: a newer kernel may know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MapType(pub u32);

/// `enum bpf_prog_type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProgramType(pub u32);

/// `enum bpf_attach_type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttachType(pub u32);

#[allow(missing_docs)]
impl MapType {
    pub const HASH: Self = Self(1);
    pub const ARRAY: Self = Self(2);
    pub const PROG_ARRAY: Self = Self(3);
    pub const PERF_EVENT_ARRAY: Self = Self(4);
    pub const ARRAY_OF_MAPS: Self = Self(12);
    pub const HASH_OF_MAPS: Self = Self(13);
    pub const STRUCT_OPS: Self = Self(26);
    pub const RINGBUF: Self = Self(27);
    pub const USER_RINGBUF: Self = Self(31);
    pub const ARENA: Self = Self(33);

    /// libbpf's name (`libbpf_bpf_map_type_str`), if it has one.
    pub fn name(self) -> Option<&'static str> {
        MAP_TYPES.get(self.0 as usize).copied()
    }

    /// The type with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        MAP_TYPES.iter().position(|n| *n == name).map(|n| Self(n as u32))
    }

    /// Whether it holds maps.
    pub fn holds_maps(self) -> bool {
        self == Self::ARRAY_OF_MAPS || self == Self::HASH_OF_MAPS
    }
}

impl fmt::Display for MapType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "map_type_{}", self.0),
        }
    }
}

impl ProgramType {
    /// The section's name said nothing.
    pub const UNSPEC: Self = Self(0);
}

const MAP_TYPES: [&str; 36] = [
    "unspec",
    "hash",
    "array",
    "prog_array",
    "perf_event_array",
    "percpu_hash",
    "percpu_array",
    "stack_trace",
    "cgroup_array",
    "lru_hash",
    "lru_percpu_hash",
    "lpm_trie",
    "array_of_maps",
    "hash_of_maps",
    "devmap",
    "sockmap",
    "cpumap",
    "xskmap",
    "sockhash",
    "cgroup_storage",
    "reuseport_sockarray",
    "percpu_cgroup_storage",
    "queue",
    "stack",
    "sk_storage",
    "devmap_hash",
    "struct_ops",
    "ringbuf",
    "inode_storage",
    "task_storage",
    "bloom_filter",
    "user_ringbuf",
    "cgrp_storage",
    "arena",
    "insn_array",
    "rhash",
];
