//! Maps.

use super::MapType;
use crate::Place;
use onebpf_btf::TypeId;
use std::collections::BTreeMap;

/// A map that an object declares.
#[derive(Clone, Debug, PartialEq)]
pub struct MapSpec {
    /// Symbol name; for data sections libbpf's name (`obj.rodata`, `.data.custom`). The kernel takes 15 characters of it:
    /// letters, digits, `_` and `.`.
    pub name: String,
    /// The section that declares it.
    pub section: String,
    /// How it is declared.
    pub dialect: Dialect,
    /// Map type.
    pub kind: MapType,
    /// Size and BTF type of a key.
    pub key: Layout,
    /// Size and BTF type of a value.
    pub value: Layout,
    /// How many entries fit.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// `map_extra`.
    pub extra: u64,
    /// NUMA node to live on.
    pub numa_node: Option<u32>,
    /// Where it is pinned.
    pub pinning: Pinning,
    /// Template of the maps that it holds.
    pub inner: Option<Box<MapSpec>>,
    /// What it holds at first.
    pub contents: Contents,
    /// iproute2's map id: what `__section_tail(ID, ...)` and `inner_id` speak of.
    pub id: Option<u32>,
    /// iproute2's `inner_id`: the id of the map that is this one's template.
    pub inner_id: Option<u32>,
    /// iproute2's `inner_idx`: the slot that this map takes in every outer map that names its id; -1 for none.
    pub inner_idx: Option<i32>,
    /// Frozen after it is filled (`.rodata*`).
    pub read_only: bool,
    /// False: not created (an optional struct_ops map, `?`).
    pub autocreate: bool,
    /// Where it is declared.
    pub place: Place,
}

/// Size and type of a key or value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Bytes.
    pub size: u32,
    /// BTF type in the object's BTF, if the declaration names one.
    pub btf: Option<TypeId>,
}

/// How a map is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Dialect {
    /// `.maps` with `__uint`, `__type`, `__array`.
    #[serde(rename = "btf")]
    Btf,
    /// `.maps` with initialised members, the first form of BTF-defined maps (Linux 5.3-rc, June 2019).
    #[serde(rename = "btf-values")]
    BtfValues,
    /// `maps` with libbpf's old `struct bpf_map_def`.
    #[serde(rename = "bpf_map_def")]
    BpfMapDef,
    /// `maps` with iproute2's `struct bpf_elf_map`.
    #[serde(rename = "bpf_elf_map")]
    BpfElfMap,
    /// Global variables.
    #[serde(rename = "data")]
    Data,
    /// `extern` variables that the kernel's configuration fills.
    #[serde(rename = "kconfig")]
    Kconfig,
    /// Tables of functions for the kernel to call.
    #[serde(rename = "struct_ops")]
    StructOps,
}

impl Dialect {
    /// Every dialect, in the order in which they are documented.
    pub const ALL: [Self; 7] = [
        Self::Btf,
        Self::BtfValues,
        Self::BpfMapDef,
        Self::BpfElfMap,
        Self::Data,
        Self::Kconfig,
        Self::StructOps,
    ];

    /// Its name, as `--dialect` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Btf => "btf",
            Self::BtfValues => "btf-values",
            Self::BpfMapDef => "bpf_map_def",
            Self::BpfElfMap => "bpf_elf_map",
            Self::Data => "data",
            Self::Kconfig => "kconfig",
            Self::StructOps => "struct_ops",
        }
    }

    /// The dialect with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.name() == name)
    }
}

impl std::fmt::Display for Dialect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Where a map is pinned, as the object says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pinning {
    /// Not at all.
    #[default]
    None,
    /// Under the pin root by its name (libbpf's `LIBBPF_PIN_BY_NAME`, 1 in `.maps`).
    ByName,
    /// Shared by loads of the same object file (iproute2's `PIN_OBJECT_NS`, 1 in `bpf_elf_map`).
    Object,
    /// Shared by all (iproute2's `PIN_GLOBAL_NS`, 2).
    Global,
    /// A number that `/etc/iproute2/bpf_pinning` explains.
    Custom(u32),
}

/// What a map holds at first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Contents {
    /// Nothing.
    #[default]
    Empty,
    /// The value of key 0: a data section's bytes. For an arena, the variables of `.addr_space.1`, to be copied to where
    /// libbpf puts them: the arena's last pages, or its first where the kernel takes no large offsets in ld_imm64.
    Data(Vec<u8>),
    /// Maps or programs in slots; a NULL slot is not listed.
    Slots(Vec<Slot>),
    /// Plain entries, each key once.
    Entries(Vec<Entry>),
    /// A table of functions for the kernel to call (struct_ops).
    Ops(OpsTable),
}

/// A table of functions and values, in the object's layout of the kernel's struct: that of the map's value type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpsTable {
    /// The struct's bytes; members that hold functions are not looked at.
    pub data: Vec<u8>,
    /// The program of each member that has one, by the member's offset.
    pub programs: BTreeMap<u32, String>,
}

impl Contents {
    /// The bytes, if it is one value of bytes.
    pub fn data(&self) -> Option<&[u8]> {
        if let Self::Data(data) = self { Some(data) } else { None }
    }
}

/// One initial entry of a map that holds plain values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key, as many bytes as the map's keys have; an index is in the byte order of the object.
    pub key: Vec<u8>,
    /// Its value; in maps with values for each CPU, that of every CPU.
    pub value: Vec<u8>,
}

/// One slot of a program array or a map of maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Key, as an index.
    pub index: u32,
    /// What goes there.
    pub target: SlotTarget,
}

/// What a slot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotTarget {
    /// Another map of the object.
    Map(String),
    /// A program of the object.
    Program(String),
}
