//! Dialect `btf-values`: section `.maps`, the first form of BTF-defined maps (in the kernel's tree from 17 June to 5 July
//! 2019, in no release). BTF says what members there are, the variable's initialiser says what numbers they have.
//!
//! ```c
//! struct {
//!     int type;
//!     int max_entries;
//!     int *key;
//!     struct flow *value;
//! } flows SEC(".maps") = {
//!     .type = BPF_MAP_TYPE_ARRAY,
//!     .max_entries = 16,
//! };
//! ```
//!
//! Inner maps and slots by value: see [`super::definition`]. `.maps` is shared with dialect `btf`.

use super::definition::{Form, read_section};
use super::{Claim, Found, Input};
use crate::elf::SectionKind;
use crate::{Dialect, Result};

pub(super) fn claims(input: &Input<'_>) -> Claim {
    if input.section.kind == SectionKind::BtfMaps { Claim::Part } else { Claim::No }
}

pub(super) fn maps(input: &Input<'_>) -> Result<Found> {
    read_section(input, Form::Values, Dialect::BtfValues)
}
