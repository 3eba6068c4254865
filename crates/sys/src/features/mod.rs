//! What a kernel can do, asked by trying, never by comparing version numbers.

mod probes;

use crate::Kernel;
use probes::Asked;
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::str::FromStr;

/// Something that a kernel may lack and a plan can do without.
///
/// Each has a row in one table: its name, the first Linux that has it ([`Feature::since`]), and the probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// `prog_name` and `map_name` are taken.
    ObjectName,
    /// BTF at all.
    Btf,
    /// KIND_FUNC and FUNC_PROTO.
    BtfFunc,
    /// Global (not only static) FUNC linkage.
    BtfGlobalFunc,
    /// KIND_VAR and DATASEC.
    BtfDatasec,
    /// `?` in DATASEC names.
    BtfQmarkDatasec,
    /// KIND_FLOAT.
    BtfFloat,
    /// KIND_DECL_TAG.
    BtfDeclTag,
    /// KIND_TYPE_TAG.
    BtfTypeTag,
    /// KIND_ENUM64 and signed enums.
    BtfEnum64,
    /// The kind layout section in BTF's header.
    BtfLayout,
    /// Global data: direct map value access.
    GlobalData,
    /// BPF_F_MMAPABLE on arrays.
    ArrayMmap,
    /// BPF_MAP_FREEZE.
    MapFreeze,
    /// `expected_attach_type` at load.
    ExpectedAttachType,
    /// BPF memory is charged to the cgroup, not to RLIMIT_MEMLOCK.
    MemcgAccount,
    /// Ring buffer maps.
    RingBuffer,
    /// Calls between BPF functions that are not inlined.
    #[serde(rename = "bpf2bpf")]
    Bpf2Bpf,
    /// BPF_PSEUDO_FUNC: a BPF function's address as a callback.
    Callbacks,
    /// BPF_PROG_BIND_MAP: a program holds a map that its code does not name. Linux 5.10.
    ProgBindMap,
    /// The helpers `bpf_probe_read_kernel`, `bpf_probe_read_user` and their `_str` forms.
    ProbeReadKernel,
    /// `__arg_ctx`: the declaration tag `arg:ctx` on an argument of a global function.
    ArgCtxTag,
    /// `bpf_get_attach_cookie()`: what programs read as `LINUX_HAS_BPF_COOKIE`.
    BpfCookie,
    /// System calls take their arguments from registers that a wrapper was given: what programs read as
    /// `LINUX_HAS_SYSCALL_WRAPPER`. Known only where kprobes can be placed, as with libbpf.
    SyscallWrapper,
    /// ld_imm64 of a map's value takes offsets of 512 MiB and more. Linux 7.0.
    LdImm64FullRange,
    /// INSN_ARRAY maps: jump tables. Linux 6.19.
    InsnArray,
}

impl Feature {
    /// Every feature, in the order of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.feature)
    }

    /// Its name in JSON and on the command line, e.g. `btf_datasec`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The first Linux release that has it. Distributions carry features back: ask by [`probe`], and use
    /// this to tell a person what to upgrade to.
    pub fn since(self) -> Release {
        self.row().since
    }

    fn row(self) -> &'static Row {
        // A test holds that the rows stand in the enum's order.
        &TABLE[self as usize]
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A Linux release as people name it: `5.4`, `6.18`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Release {
    /// 5 in 5.4.
    pub major: u32,
    /// 4 in 5.4.
    pub minor: u32,
}

impl Release {
    /// `major.minor`.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Text that does not begin with a release number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a kernel release: it should begin like `5.4`")]
pub struct NotARelease;

impl FromStr for Release {
    type Err = NotARelease;

    /// Reads `5.4`, `5.4.17` and `uname -r`.
    fn from_str(text: &str) -> Result<Self, NotARelease> {
        let (major, rest) = text.split_once('.').ok_or(NotARelease)?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let minor = rest.get(..digits).unwrap_or_default();
        match (major.parse(), minor.parse()) {
            (Ok(major), Ok(minor)) => Ok(Self { major, minor }),
            _ => Err(NotARelease),
        }
    }
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

/// Asks `kernel` whether it has `feature`, by trying it. Nothing is left behind.
///
/// [`Support::No`] only when the errno proves it (EINVAL, E2BIG); EPERM, ENOMEM and the like say nothing
/// about the feature and give [`Support::Unknown`].
pub fn probe(kernel: &dyn Kernel, feature: Feature) -> Support {
    probe_with(kernel, None, feature)
}

/// [`probe`] by the right of a BPF token.
pub fn probe_with(kernel: &dyn Kernel, token: Option<BorrowedFd<'_>>, feature: Feature) -> Support {
    (feature.row().probe)(&Asked { kernel, token })
}

/// Asks for every feature.
pub fn probe_all(kernel: &dyn Kernel) -> FeatureSet {
    FeatureSet(Feature::all().map(|feature| (feature, probe(kernel, feature))).collect())
}

struct Row {
    feature: Feature,
    name: &'static str,
    since: Release,
    probe: fn(&Asked<'_>) -> Support,
}

const fn row(
    feature: Feature,
    name: &'static str,
    (major, minor): (u32, u32),
    probe: fn(&Asked<'_>) -> Support,
) -> Row {
    Row { feature, name, since: Release { major, minor }, probe }
}

const TABLE: &[Row] = &[
    row(Feature::ObjectName, "object_name", (4, 15), probes::object_name),
    row(Feature::Btf, "btf", (4, 18), probes::btf),
    row(Feature::BtfFunc, "btf_func", (5, 0), probes::btf_func),
    row(Feature::BtfGlobalFunc, "btf_global_func", (5, 6), probes::btf_global_func),
    row(Feature::BtfDatasec, "btf_datasec", (5, 2), probes::btf_datasec),
    row(Feature::BtfQmarkDatasec, "btf_qmark_datasec", (6, 9), probes::btf_qmark_datasec),
    row(Feature::BtfFloat, "btf_float", (5, 13), probes::btf_float),
    row(Feature::BtfDeclTag, "btf_decl_tag", (5, 16), probes::btf_decl_tag),
    row(Feature::BtfTypeTag, "btf_type_tag", (5, 17), probes::btf_type_tag),
    row(Feature::BtfEnum64, "btf_enum64", (6, 0), probes::btf_enum64),
    row(Feature::BtfLayout, "btf_layout", (7, 1), probes::btf_layout),
    row(Feature::GlobalData, "global_data", (5, 2), probes::global_data),
    row(Feature::ArrayMmap, "array_mmap", (5, 5), probes::array_mmap),
    row(Feature::MapFreeze, "map_freeze", (5, 2), probes::map_freeze),
    row(Feature::ExpectedAttachType, "expected_attach_type", (4, 17), probes::expected_attach_type),
    row(Feature::MemcgAccount, "memcg_account", (5, 11), probes::memcg_account),
    row(Feature::RingBuffer, "ring_buffer", (5, 8), probes::ring_buffer),
    row(Feature::Bpf2Bpf, "bpf2bpf", (4, 16), probes::bpf2bpf),
    row(Feature::Callbacks, "callbacks", (5, 13), probes::callbacks),
    row(Feature::ProgBindMap, "prog_bind_map", (5, 10), probes::prog_bind_map),
    row(Feature::ProbeReadKernel, "probe_read_kernel", (5, 5), probes::probe_read_kernel),
    row(Feature::ArgCtxTag, "arg_ctx_tag", (6, 8), probes::arg_ctx_tag),
    row(Feature::BpfCookie, "bpf_cookie", (5, 15), probes::bpf_cookie),
    row(Feature::SyscallWrapper, "syscall_wrapper", (4, 17), probes::syscall_wrapper),
    row(Feature::LdImm64FullRange, "ld_imm64_full_range", (7, 0), probes::ld_imm64_full_range),
    row(Feature::InsnArray, "insn_array", (6, 19), probes::insn_array),
];

#[cfg(test)]
mod tests {
    use super::{Feature, Release, TABLE};

    #[test]
    fn rows_stand_in_the_order_of_the_enum() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.feature as usize, index, "{}", row.name);
        }
        // The last variant: a new one without a row would index past the table.
        assert_eq!(Feature::InsnArray as usize + 1, TABLE.len());
    }

    #[test]
    fn releases() {
        assert_eq!("6.18.44-fc".parse(), Ok(Release::new(6, 18)));
        assert_eq!("5.4".parse(), Ok(Release::new(5, 4)));
        assert!("5".parse::<Release>().is_err() && "x.4".parse::<Release>().is_err());
        assert!(Release::new(5, 10) > Release::new(5, 4));
    }
}
