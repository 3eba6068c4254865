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
    let text = match what {
        "program" => format!("there is no program `{name}`"),
        _ => format!("there is no program in {what} `{name}`"),
    };
    let failure = Failure::new("E0301", text);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iproute::hook::{CLASSIFIER, LWT_OUT, XDP};

    fn spec(object: &str) -> Spec {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/obj").join(object);
        onebpf::read(&path, &onebpf::ParseOptions::default()).expect(object)
    }

    /// Main program, and all that are loaded.
    fn prepared(
        object: &str,
        hook: &Hook,
        section: Option<&str>,
        program: Option<&str>,
    ) -> Option<(String, Vec<String>)> {
        let mut spec = spec(object);
        let words = |word: Option<&str>| word.map(str::to_owned);
        let source =
            ObjectSource { section: words(section), program: words(program), ..ObjectSource::default() };
        let main = prepare(&mut spec, hook, &source).ok()?;
        for program in spec.programs.values() {
            assert_eq!((program.kind, program.attach, program.autoload), (hook.kind, AttachType(0), true));
        }
        Some((main, spec.programs.keys().cloned().collect()))
    }

    #[test]
    fn the_hook_says_what_is_loaded() {
        let main =
            |object, hook, section, program| prepared(object, hook, section, program).map(|found| found.0);
        let all = |object, hook, section, program| prepared(object, hook, section, program).unwrap().1;
        assert_eq!(all("elf_plain.o", CLASSIFIER, None, None), ["ingress"]);
        assert_eq!(all("elf_tail.o", CLASSIFIER, None, None), ["first", "second", "third", "entry"]);
        assert_eq!(all("tc_jumps.o", LWT_OUT, None, None), ["slot_0", "slot_2", "slot_4", "pass"]);
        assert_eq!(main("elf_plain.o", XDP, None, None), None, "the section is `prog`, not `xdp`");
        assert_eq!(main("elf_plain.o", XDP, Some("xdp"), None).as_deref(), Some("device"));
        assert_eq!(main("elf_plain.o", XDP, Some("action"), None).as_deref(), Some("mark"));
        assert_eq!(main("tc_modern.o", CLASSIFIER, Some("tc"), None).as_deref(), Some("tc_jump"));
        assert_eq!(
            main("tc_modern.o", CLASSIFIER, Some("tc"), Some("tc_second")).as_deref(),
            Some("tc_second")
        );
        assert_eq!(main("tc_modern.o", CLASSIFIER, Some("xdp"), Some("tc_second")), None);
        assert_eq!(all("tc_modern.o", CLASSIFIER, None, Some("tc_entry")), ["tc_jump", "tc_entry"]);
        assert_eq!(all("tc_modern.o", XDP, Some("xdp"), None), ["device"], "the array is for another type");
    }

    #[test]
    fn the_main_program_leaves_its_slot() {
        let mut spec = spec("tc_jumps.o");
        let source = ObjectSource { section: Some("1/0".to_owned()), ..ObjectSource::default() };
        assert_eq!(prepare(&mut spec, CLASSIFIER, &source).unwrap(), "slot_0");
        let Contents::Slots(slots) = &spec.maps["tc_jumps"].contents else { panic!("slots") };
        assert_eq!(slots.iter().map(|slot| slot.index).collect::<Vec<_>>(), [2, 4]);
        assert_eq!(spec.programs.len(), 3);
    }
}
