//! Which functions are programs.

use super::SectionRule;
use super::functions::Code;
use crate::error::Kind;
use crate::maps;
use crate::{AttachType, FuncId, Function, Linkage, ProgramSpec, ProgramType, Result};
use indexmap::IndexMap;
use indexmap::map::Entry;

/// Where subprograms live: nothing here is a program, whatever else there is (libbpf's `prog_is_subprog`).
const SUBPROGRAMS: &str = ".text";

/// The entry points: every function of a section other than `.text` that is not static. (libbpf refuses an object with
/// static ones there; here they are functions to be called.)
pub(super) fn points(code: &Code, own: &[SectionRule]) -> Result<IndexMap<String, ProgramSpec>> {
    let mut programs = IndexMap::new();
    for (index, function) in code.functions.iter().enumerate() {
        if function.linkage == Linkage::Static || function.section == SUBPROGRAMS {
            continue;
        }
        match programs.entry(function.name.clone()) {
            Entry::Vacant(entry) => entry.insert(program(FuncId(index), function, own)),
            Entry::Occupied(_) => {
                let what = "is not the only program of that name".to_owned();
                let name = function.name.clone();
                return Err(Kind::Function { name, what }.at(function.place.clone()));
            }
        };
    }
    Ok(programs)
}

fn program(id: FuncId, function: &Function, own: &[SectionRule]) -> ProgramSpec {
    let (section, autoload) = match function.section.strip_prefix('?') {
        Some(section) => (section, false),
        None => (function.section.as_str(), true),
    };
    let rule = SectionRule::find_with(own, section);
    ProgramSpec {
        name: function.name.clone(),
        section: section.to_owned(),
        function: id,
        kind: rule.map_or(ProgramType::UNSPEC, |(rule, _)| rule.kind),
        attach: rule.map_or(AttachType(0), |(rule, _)| rule.attach),
        attach_target: rule.and_then(|(_, target)| target).map(str::to_owned),
        flags: rule.map_or(0, |(rule, _)| rule.program_flags()),
        autoload,
        tail: maps::tail_section(section),
    }
}
