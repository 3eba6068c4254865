//! What the caller wants of a load. Changes of the object itself are made in the [`Spec`](crate::Spec).

use crate::target::AttachTo;
use onebpf_object::ProgramType;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// How to load an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Only these programs, by name; with `sections`, the union; both empty: all that load by default.
    pub programs: Vec<String>,
    /// Only the programs of these sections.
    pub sections: Vec<String>,
    /// Type and attach type for programs whose section's name says nothing: a `SEC()` name such as `xdp` or `tc`.
    pub default_type: Option<DefaultType>,
    /// What is pinned where.
    pub pins: PinOptions,
    /// Kernel BTF for CO-RE: a file (BTF or ELF), or a directory with a file for each release; by default the running kernel's.
    pub btf: Option<PathBuf>,
    /// Values of the kernel's configuration that count more than the host's, by option: text as it stands behind `=` there
    /// (see [`parse_config`](crate::parse_config)).
    pub kconfig: BTreeMap<String, String>,
    /// Register the struct_ops tables that the load creates. Those for links stay registered while their link is pinned or
    /// open, the others until they are unregistered.
    pub register: bool,
    /// Programs in the kernel that the object's programs attach to, instead of to the kernel: always for `freplace`.
    pub attach_to: AttachTo,
    /// Maps to take from a pin instead of creating them, by name.
    pub reuse: BTreeMap<String, PathBuf>,
    /// What a load replaces stays beside it, under names that end in `:prev`: [`rollback`](crate::rollback) goes back to it.
    pub keep_previous: bool,
    /// Directory for the lock, journals of loads under way, and manifests; by default /run/onebpf. Nothing is written there
    /// unless something is pinned or a shared slot changes.
    pub state: Option<PathBuf>,
    /// How long to wait while another load changes pins; by default 60 s ([`LOCK_WAIT`](crate::LOCK_WAIT)). Then E0418.
    pub lock_wait: Option<Duration>,
    /// Verifier log level for every load: 0 asks for the log only after a refusal; 1 or 2 keep it; 4 is statistics only.
    pub log_level: u32,
    /// How many programs to load at once; 0: one for each CPU.
    pub jobs: usize,
    /// By whose right things are made, if not by this process's own.
    pub token: Token,
    /// Number of the network device for whose hardware everything is loaded: such programs run there and nowhere else.
    pub device: Option<u32>,
}

/// Where a BPF token comes from: the right to make maps, BTF and programs that somebody has delegated to this process's
/// user namespace with a BPF filesystem (mount options `delegate_cmds` and its siblings). Since Linux 6.9.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Token {
    /// From /sys/fs/bpf, if the kernel refuses something for want of privilege and a token can be had there. libbpf asks
    /// before every load.
    #[default]
    IfNeeded,
    /// From nowhere.
    Never,
    /// From the BPF filesystem at this path, or the load fails.
    From(PathBuf),
}

/// A program type given by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultType {
    /// `enum bpf_prog_type`.
    pub kind: ProgramType,
    /// `enum bpf_attach_type`.
    pub attach: onebpf_object::AttachType,
}

/// What is pinned, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PinOptions {
    /// Root for pins by name; by default the layout's.
    pub root: Option<PathBuf>,
    /// The tree's shape; by default that of the map's dialect.
    pub layout: Option<PinLayout>,
    /// Pin every program and every map without a pin of its own under this directory, by name.
    pub everything_under: Option<PathBuf>,
    /// Pin nothing, reuse nothing.
    pub disabled: bool,
    /// Where single maps are pinned, by name, whatever the object says; a map that has no pin gets one so.
    pub paths: BTreeMap<String, PathBuf>,
    /// Mount a BPF filesystem at the root if there is none. iproute2's layout does not ask.
    pub mount: bool,
    /// The BPF filesystem that iproute2's layout uses, and no other: what tc takes from `TC_BPF_MNT`.
    pub iproute2_mount: Option<PathBuf>,
    /// What to do when a pinned map is not what the object declares.
    pub on_mismatch: Mismatch,
    /// The same for single maps, by name.
    pub on_mismatch_of: BTreeMap<String, Mismatch>,
    /// Migrate although entries or numbers are lost by it; what is lost is counted.
    pub lossy: bool,
    /// What becomes of the slots of an outer map that is reused; by default the layout's rule.
    pub outer: Option<OuterRule>,
    /// The same for single maps, by name.
    pub outer_of: BTreeMap<String, OuterRule>,
    /// What becomes of a pinned program array that fits; by default the layout's rule.
    pub program_arrays: Option<ArrayRule>,
}

/// How pins are laid out on a BPF filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PinLayout {
    /// `<root>/<name>`, root /sys/fs/bpf.
    Libbpf,
    /// `<root>/tc/globals/<name>` and its siblings.
    Iproute2,
}

/// What a load writes into a map of maps that it found pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OuterRule {
    /// Nothing. iproute2's rule, unless another outer map of the object is new.
    Keep,
    /// The slots that the object declares. The rule for all but iproute2's maps.
    Fill,
    /// The slots that the object declares; all others are emptied.
    Sync,
}

/// What a load does with a program array that it found pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArrayRule {
    /// A new one, filled before anybody sees it, takes the name: programs of the old load keep the old one, which stays
    /// pinned as `NAME:prev` until a later load of the object, for else the kernel would empty it under them.
    Replace,
    /// Its slots are written, and running programs see that at once. The rule of iproute2's layout.
    Reuse,
}

impl PinOptions {
    /// The policy for a map.
    pub fn mismatch_of(&self, map: &str) -> Mismatch {
        self.on_mismatch_of.get(map).copied().unwrap_or(self.on_mismatch)
    }
}

/// What to do when a pinned map differs from the declared one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mismatch {
    /// Load nothing, and say what differs.
    #[default]
    Fail,
    /// A new map takes the name.
    Replace,
    /// A new map takes the name and the old one's entries.
    Migrate,
}
