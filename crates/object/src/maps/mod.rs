//! Map dialects: siblings with the same two functions, one row each in one table.
//!
//! A dialect sees borrowed views, returns specs or located errors, and never sees the others.

use crate::elf::{Elf, Section};
use crate::{MapSpec, ParseOptions, Result, Warning};
use onebpf_btf::Btf;

/// What a dialect is given: one section of one file.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    pub(crate) elf: &'a Elf<'a>,
    pub(crate) btf: Option<&'a Btf>,
    pub(crate) section: &'a Section<'a>,
    pub(crate) options: &'a ParseOptions,
}

/// What a dialect finds.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) maps: Vec<MapSpec>,
    pub(crate) warnings: Vec<Warning>,
}

/// Whether a section is written in a dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It cannot be.
    No,
    /// It can be; the evidence, and how much it weighs.
    Yes { weight: u32, evidence: String },
}

/// A dialect: what it says of a section, and how it reads one.
pub(crate) struct Reader {
    pub(crate) dialect: crate::Dialect,
    pub(crate) claims: fn(&Input<'_>) -> Claim,
    pub(crate) maps: fn(&Input<'_>) -> Result<Found>,
}
