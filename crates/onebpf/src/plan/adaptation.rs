//! What the kernel gets otherwise than the object has it.

use onebpf_sys::Feature;
use std::fmt;

/// Something that a load leaves out or does in another way, because this kernel cannot take it as the object has it.
/// Nothing is adapted silently: each is in [`Plan::adaptations`](super::Plan::adaptations) or, where only the refusal
/// showed it, in [`Loaded::adaptations`](crate::Loaded::adaptations).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Adaptation {
    /// What the kernel lacks, if that is known.
    pub lacks: Option<Feature>,
    /// What is otherwise.
    pub what: String,
}

impl fmt::Display for Adaptation {
    /// One line: what is otherwise, and which Linux would not need it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.lacks.map_or(Ok(()), |lacks| write!(f, " (no `{lacks}`, which Linux {} has)", lacks.since()))
    }
}
