//! Dialect `btf`: section `.maps`, and BTF says everything.
//!
//! ```c
//! struct {
//!     __uint(type, BPF_MAP_TYPE_HASH);      // int (*type)[1]
//!     __uint(max_entries, 1024);
//!     __type(key, struct flow_key);         // struct flow_key *key
//!     __type(value, struct flow);
//! } flows SEC(".maps");
//! ```
//!
//! `.maps` is shared with dialect `btf-values`: each variable is written in the one or the other. A definition may mix
//! members of both; it is `btf-values` then, for it cannot be read without its data.

use super::definition::{Form, read_section};
use super::{Claim, Found, Input};
use crate::elf::SectionKind;
use crate::{Dialect, Result};

pub(super) fn claims(input: &Input<'_>) -> Claim {
    if input.section.kind == SectionKind::BtfMaps { Claim::Part } else { Claim::No }
}

pub(super) fn maps(input: &Input<'_>) -> Result<Found> {
    read_section(input, Form::Types, Dialect::Btf)
}
