//! What the caller wants of a load. Changes of the object itself are made in the [`Spec`](crate::Spec).

use onebpf_object::ProgramType;
use std::collections::BTreeMap;
use std::path::PathBuf;

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
    /// Maps to take from a pin instead of creating them, by name.
    pub reuse: BTreeMap<String, PathBuf>,
    /// Verifier log level for every load: 0 asks for the log only after a refusal; 1 or 2 keep it; 4 is statistics only.
    pub log_level: u32,
    /// How many programs to load at once; 0: one for each CPU.
    pub jobs: usize,
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
    /// What to do when a pinned map is not what the object declares.
    pub on_mismatch: Mismatch,
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
