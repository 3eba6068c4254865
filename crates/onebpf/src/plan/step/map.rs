//! A map to create.

use super::{Slot, object};
use crate::layout::TypeLayout;
use onebpf_object::{MapType, Place};

/// A map to create, in the kernel's terms.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct CreateMap {
    /// Filled by this step.
    pub out: Slot<object::Map>,
    /// Map name in the object.
    pub name: String,
    /// Name given to the kernel; empty if it takes none.
    pub kernel_name: String,
    /// `enum bpf_map_type`.
    pub map_type: u32,
    /// Bytes in a key.
    pub key_size: u32,
    /// Bytes in a value.
    pub value_size: u32,
    /// Entries.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// `map_extra`.
    pub extra: u64,
    /// NUMA node.
    pub numa_node: Option<u32>,
    /// The network device whose hardware holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<u32>,
    /// Key and value types.
    pub btf: Option<MapBtfRef>,
    /// By whose right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Slot<object::Token>>,
    /// The kernel's type that its value has (struct_ops).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_value: Option<KernelValueRef>,
    /// Template for the maps that it will hold.
    pub inner: Option<Slot<object::Map>>,
    /// Arenas: where the object's variables begin, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub globals: Option<u32>,
    /// True for a template, and for a jump table: it is not part of the loaded object and is closed after use.
    pub template: bool,
    /// What to leave out, in order, if the kernel refuses. Only in a plan that assumes nothing
    /// ([`Plan::assumed`](crate::plan::Plan::assumed) is empty): else the refusal may have a better answer.
    pub on_refusal: Vec<Fallback>,
    /// What a pinned map has to be like, to be used in its place.
    #[serde(skip)]
    pub like: Box<Likeness>,
    /// Where the object declares it, for messages.
    #[serde(skip)]
    pub place: Place,
}

impl CreateMap {
    /// Whether, as an inner map, it must have as many entries as the template: since Linux 5.10 only arrays must, and
    /// not those with BPF_F_INNER_MAP (`array_map_meta_equal()`).
    pub fn fixed_entries(&self) -> bool {
        const BPF_F_INNER_MAP: u32 = 1 << 12;
        let array = matches!(MapType(self.map_type), MapType::ARRAY | MapType::PERCPU_ARRAY);
        array && self.flags & BPF_F_INNER_MAP == 0
    }
}

/// What a pinned map has to be like, beyond what its creation needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Likeness {
    /// Flags that do not count: the kernel sets or lacks them.
    pub ignored_flags: u32,
    /// What the maps in it are like.
    pub inner: Option<Box<CreateMap>>,
    /// The type of the programs that go into it.
    pub owner: Option<u32>,
    /// Whether this kernel compiles them.
    pub jited: Option<bool>,
    /// Members of the key.
    pub key: Option<TypeLayout>,
    /// Members of the value.
    pub value: Option<TypeLayout>,
}

/// BTF types of a map to be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MapBtfRef {
    /// The loaded BTF.
    pub btf: Slot<object::Btf>,
    /// Key type id.
    pub key: u32,
    /// Value type id.
    pub value: u32,
}

/// The kernel's type of a map's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct KernelValueRef {
    /// Type id.
    pub type_id: u32,
    /// The module's BTF, if it is a module's type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<Slot<object::Btf>>,
}

/// What a step may leave out when the kernel refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// Create the map without key and value types.
    DropBtf,
}
