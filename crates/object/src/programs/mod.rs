//! Programs: which functions there are, what they refer to, and how they are put together.

mod core;
mod entry;
mod functions;
mod info;
mod link;
mod refs;
mod sections;
mod tables;

pub use core::{POISON_HELPER, Poison, relocate_core, resolve_core};
pub use link::{LinkedProgram, LinkedTable, link};
pub use sections::{SECTIONS, SectionFlags, SectionRule};

use crate::elf::Elf;
use crate::maps::Places;
use crate::{Extern, Function, ProgramSpec, Result, Warning};
use indexmap::IndexMap;
use onebpf_btf::Btf;

/// All code of an object.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) functions: Vec<Function>,
    pub(crate) programs: IndexMap<String, ProgramSpec>,
    pub(crate) warnings: Vec<Warning>,
}

/// Reads the functions and programs of an object whose maps and externs are known.
pub(crate) fn collect(
    elf: &Elf<'_>,
    btf: Option<&Btf>,
    places: &Places,
    externs: &IndexMap<String, Extern>,
    sections: &[SectionRule],
) -> Result<Collected> {
    let mut code = functions::collect(elf)?;
    let warnings = info::attach(elf, btf, &mut code)?;
    refs::resolve(&refs::Context { elf, places, externs }, &mut code)?;
    let programs = entry::points(&code, sections)?;
    Ok(Collected { functions: code.functions, programs, warnings })
}
