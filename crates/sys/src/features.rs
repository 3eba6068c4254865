//! What a kernel can do, asked by trying, never by comparing version numbers.

use crate::{Kernel, Result};
use std::collections::BTreeMap;

/// Something that a kernel may lack and a plan can do without.
///
/// Each has a row in one table: its name, the first Linux that has it, and the probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// `prog_name` and `map_name` are taken. Linux 4.15.
    ObjectName,
    /// BTF at all. Linux 4.18.
    Btf,
    /// KIND_FUNC and FUNC_PROTO. Linux 5.0.
    BtfFunc,
    /// Global (not only static) FUNC linkage. Linux 5.6.
    BtfGlobalFunc,
    /// KIND_VAR and DATASEC. Linux 5.2.
    BtfDatasec,
    /// `?` in DATASEC names. Linux 6.4.
    BtfQmarkDatasec,
    /// KIND_FLOAT. Linux 5.13.
    BtfFloat,
    /// KIND_DECL_TAG. Linux 5.16.
    BtfDeclTag,
    /// KIND_TYPE_TAG. Linux 5.17.
    BtfTypeTag,
    /// KIND_ENUM64 and signed enums. Linux 6.0.
    BtfEnum64,
    /// The kind layout section in BTF's header. Linux 7.0.
    BtfLayout,
    /// Global data: direct map value access. Linux 5.2.
    GlobalData,
    /// BPF_F_MMAPABLE on arrays. Linux 5.5.
    ArrayMmap,
    /// BPF_MAP_FREEZE. Linux 5.2.
    MapFreeze,
    /// `expected_attach_type` at load. Linux 4.17.
    ExpectedAttachType,
    /// BPF memory is charged to the cgroup, not to RLIMIT_MEMLOCK. Linux 5.11.
    MemcgAccount,
    /// Ring buffer maps. Linux 5.8.
    RingBuffer,
    /// Calls between BPF functions that are not inlined. Linux 4.16.
    Bpf2Bpf,
    /// BPF_PSEUDO_FUNC: a BPF function's address as a callback. Linux 5.13.
    Callbacks,
}

/// Three outcomes: a probe that failed for a reason of its own proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Support {
    /// The kernel took it.
    Yes,
    /// The kernel refused it for want of the feature.
    No,
    /// Not asked, or the answer was not conclusive.
    #[default]
    Unknown,
}

/// What is known of a kernel's features; what is not in it is [`Support::Unknown`].
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct FeatureSet(pub BTreeMap<Feature, Support>);

impl FeatureSet {
    /// What is known of `feature`.
    pub fn get(&self, feature: Feature) -> Support {
        self.0.get(&feature).copied().unwrap_or_default()
    }

    /// True unless the feature is known to be missing: a plan is optimistic, and asks only after a refusal.
    pub fn may(&self, feature: Feature) -> bool {
        self.get(feature) != Support::No
    }
}

/// Asks `kernel` whether it has `feature`, by trying it.
pub fn probe(kernel: &dyn Kernel, feature: Feature) -> Result<Support> {
    let _ = (kernel, feature);
    Ok(Support::Unknown)
}

/// Asks for every feature.
pub fn probe_all(kernel: &dyn Kernel) -> FeatureSet {
    let _ = kernel;
    FeatureSet::default()
}
