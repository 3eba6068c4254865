//! Which programs of an object are loaded for a hook, and as what.
//!
//! iproute2 takes the type from the hook, not from the section, and gives no expected attach type: kernels compare it among
//! the programs of an array, and arrays are shared with programs that iproute2 has loaded.

use super::hook::Hook;
use super::source::ObjectSource;
use crate::exit::{Failure, Outcome};
use onebpf::Spec;
use onebpf::object::{AttachType, Contents, Dialect, ProgramSpec, ProgramType, SlotTarget};
use std::collections::HashSet;

/// Leaves in `spec` what is to be loaded, with the types of the hook, and gives the name of the program to be attached.
///
/// That is the first program of the section (or the one named by `program`), and all that program arrays of the object
/// hold. The attached program is not put into the slot that its own section names. All maps stay, used or not.
pub(crate) fn prepare(spec: &mut Spec, hook: &Hook, source: &ObjectSource) -> Outcome<String> {
    let main = choose(spec, hook, source)?;
    for map in spec.maps.values_mut() {
        // Tables of the kernel's own are no part of a packet's way.
        map.autocreate &= map.dialect != Dialect::StructOps;
        if let (Dialect::BpfElfMap, Contents::Slots(slots)) = (map.dialect, &mut map.contents) {
            slots.retain(|slot| !matches!(&slot.target, SlotTarget::Program(name) if *name == main));
        }
    }
    let slots = spec.maps.values().filter_map(|map| match &map.contents {
        Contents::Slots(slots) => Some(slots),
        _ => None,
    });
    let in_slots = slots.flatten().filter_map(|slot| match &slot.target {
        SlotTarget::Program(name) => Some(name.clone()),
        SlotTarget::Map(_) => None,
    });
    let in_slots: HashSet<String> = in_slots.collect();
    let fits = |program: &ProgramSpec| program.kind == ProgramType::UNSPEC || program.kind == hook.kind;
    spec.programs.retain(|name, program| *name == main || (in_slots.contains(name) && fits(program)));
    for program in spec.programs.values_mut() {
        if program.kind != hook.kind {
            // Flags come with the section's own type (BPF_F_XDP_HAS_FRAGS of `xdp.frags`).
            program.flags = 0;
        }
        program.kind = hook.kind;
        program.attach = AttachType(0);
        program.attach_target = None;
        program.autoload = true;
    }
    Ok(main)
}

/// The section that is asked for, or the hook's.
pub(crate) fn section<'a>(hook: &Hook, source: &'a ObjectSource) -> &'a str {
    source.section.as_deref().unwrap_or(hook.section)
}

fn choose(spec: &Spec, hook: &Hook, source: &ObjectSource) -> Outcome<String> {
    let section = section(hook, source);
    let here = |program: &&ProgramSpec| program.section.trim_start_matches('?') == section;
    if let Some(name) = &source.program {
        let found = spec.programs.get(name).filter(|program| source.section.is_none() || here(program));
        return found
            .map(|program| program.name.clone())
            .ok_or_else(|| missing(spec, source, "program", name));
    }
    let first = spec.programs.values().filter(here).min_by_key(|program| {
        spec.functions.get(program.function.0).map_or(u64::MAX, |function| function.offset)
    });
    first.map(|program| program.name.clone()).ok_or_else(|| missing(spec, source, "section", section))
}

fn missing(spec: &Spec, source: &ObjectSource, what: &str, name: &str) -> Failure {
    let failure = Failure::new("E0301", format!("there is no program in {what} `{name}`"));
    let failure = if what == "program" {
        Failure::new("E0301", format!("there is no program `{name}`"))
    } else {
        failure
    };
    let sections: Vec<String> = spec
        .programs
        .values()
        .map(|program| format!("`{}` (section `{}`)", program.name, program.section))
        .collect();
    let there = if sections.is_empty() { "no program at all".to_owned() } else { sections.join(", ") };
    let failure = failure.hint(format!("the object has {there}"));
    let failure = if source.section.is_none() && what == "section" {
        failure.hint("`sec NAME` names another section")
    } else {
        failure
    };
    failure.about(&source.file)
}
