//! Plans: what a load will do, as data.

mod step;

pub use step::{Attach, CreateMap, Change, Fallback, FieldDiff, LoadProgram, MapBtfRef, Object, Operand, Patch, PinDiff, Slot, Step};

use onebpf_sys::Feature;
use std::collections::BTreeSet;

/// The steps of a load, in order. A step's operands are slots that earlier steps fill.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Plan {
    /// What to do.
    pub steps: Vec<Step>,
    /// How it differs from what is pinned now.
    pub diff: Vec<PinDiff>,
    /// Features that the steps rely on though nobody asked the kernel for them. When a step is refused and this
    /// is not empty, ask for these and plan again: only then is a refusal the last word.
    pub assumed: BTreeSet<Feature>,
}
