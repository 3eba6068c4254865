//! All that planning knows of a host, as one value that can be saved and carried to another machine.

use onebpf_sys::{Errno, FeatureSet, Host, MapInfo, ObjectKind};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A host, as far as a plan depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Facts {
    /// Release, CPUs, page size, privilege.
    pub host: Host,
    /// What the kernel can do. What is not known is assumed, and asked for only when the kernel refuses.
    pub features: FeatureSet,
    /// Whether the kernel has BTF of its own.
    pub kernel_btf: bool,
    /// What is at the paths that a load would pin to or reuse.
    pub pins: BTreeMap<PathBuf, Pinned>,
    /// Kernel BTF ids that programs attach to.
    pub targets: Vec<(BtfTarget, Option<u32>)>,
}

/// A kernel type or function that a program attaches to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct BtfTarget {
    /// Prefix and name as kernel BTF has it, e.g. `btf_trace_sched_switch`, `bpf_iter_task`.
    pub name: String,
    /// A FUNC, or else a TYPEDEF (tracepoints).
    pub function: bool,
}

/// What is at a path on a BPF filesystem.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pinned {
    /// Nothing (ENOENT, and only that).
    Absent,
    /// A map.
    Map(MapInfo),
    /// Something else that can be pinned.
    Other(ObjectKind),
    /// It could not be looked at.
    Unreadable(Errno),
}
