//! What goes into the slots of program arrays and maps of maps, and by which rule.

use super::draft::{Draft, MapSlot};
use super::scope::layout;
use super::{Object, Step, compare};
use crate::PinLayout;
use crate::error::{Code, Error, Result};
use crate::options::OuterRule;
use indexmap::IndexSet;
use onebpf_object::{Contents, MapSpec, MapType, ProgramType, SlotTarget};
use std::collections::BTreeMap;

/// Adds the steps that put maps and programs into slots: maps first, then programs. All that can be wrong with any
/// slot is found before the first step.
pub(super) fn steps(draft: &mut Draft<'_>, needed: &IndexSet<&str>) -> Result<()> {
    let spec = draft.spec;
    let mut maps = needed.iter().filter_map(|name| Some((*name, spec.maps.get(*name)?)));
    maps.try_for_each(|(name, map)| check(draft, name, map))?;
    for programs in [false, true] {
        for name in needed {
            let Some(map) = spec.maps.get(*name) else { continue };
            let Contents::Slots(slots) = &map.contents else { continue };
            let of_kind =
                |slot: &&onebpf_object::Slot| matches!(slot.target, SlotTarget::Program(_)) == programs;
            let rule = rule(draft, name, map, needed);
            for slot in slots.iter().filter(of_kind) {
                fill(draft, name, map, slot, rule);
            }
        }
    }
    for name in needed {
        prune(draft, name, needed);
    }
    Ok(())
}

/// Bounds, and whether what goes in fits.
fn check(draft: &Draft<'_>, name: &str, map: &MapSpec) -> Result<()> {
    let Contents::Slots(slots) = &map.contents else { return Ok(()) };
    let indexed = map.kind != MapType::HASH_OF_MAPS;
    let mut types = BTreeMap::new();
    for slot in slots {
        if map.key.size != 4 || (indexed && slot.index >= map.max_entries) {
            let text = format!(
                "map `{name}` has no slot {} (key of {} bytes, {} entries)",
                slot.index, map.key.size, map.max_entries
            );
            return Err(Error::new(Code::Contents, text).at(&map.place));
        }
        match &slot.target {
            SlotTarget::Map(inner) => fits(draft, name, slot.index, inner)?,
            SlotTarget::Program(program) => {
                if let Some(kind) = loaded_as(draft, program) {
                    types.entry(kind).or_insert(program);
                }
            }
        }
    }
    if types.len() < 2 {
        return Ok(());
    }
    // The kernel lets the first program decide (`bpf_prog_map_compatible()`).
    let programs: Vec<String> =
        types.iter().map(|(kind, program)| format!("`{program}` ({})", ProgramType(*kind))).collect();
    let text = format!("map `{name}` takes programs of one type, but would hold {}", programs.join(" and "));
    Err(Error::new(Code::Contents, text).at(&map.place))
}

fn loaded_as(draft: &Draft<'_>, program: &str) -> Option<u32> {
    let program =
        draft.spec.programs.get(program).filter(|program| draft.programs.contains_key(&program.name))?;
    Some(super::programs::typed(draft.spec, program, draft.options)?.0.0)
}

/// The kernel would only say EINVAL.
fn fits(draft: &Draft<'_>, name: &str, index: u32, inner: &str) -> Result<()> {
    let (Some(outer), Some(map)) = (draft.maps.get(name), draft.maps.get(inner)) else { return Ok(()) };
    let Some(template) = &outer.shape.like.inner else { return Ok(()) };
    let fields = compare::fits(template, &map.shape);
    if fields.is_empty() {
        return Ok(());
    }
    let text =
        format!("map `{inner}` does not fit into slot {index} of map `{name}`, which holds other maps");
    let table = compare::table(&fields, [&format!("`{inner}`"), "template"]);
    let error = Error::new(Code::Inner, text).at(&map.shape.place).note(table);
    Err(error.hint("declare it as the template of the outer map; BPF_F_INNER_MAP (Linux 5.10) lets arrays differ in length"))
}

/// Which slots of a map are written.
fn rule(draft: &Draft<'_>, name: &str, map: &MapSpec, needed: &IndexSet<&str>) -> OuterRule {
    let pins = &draft.options.pins;
    let reused = draft.maps.get(name).is_some_and(|map| map.reused);
    if !reused || !map.kind.holds_maps() {
        return OuterRule::Fill;
    }
    let by_layout = || match layout(map, draft.options) {
        // iproute2 writes to all outer maps as soon as one of them is new.
        PinLayout::Iproute2 if !another_is_new(draft, needed) => OuterRule::Keep,
        _ => OuterRule::Fill,
    };
    pins.outer_of.get(name).copied().or(pins.outer).unwrap_or_else(by_layout)
}

fn another_is_new(draft: &Draft<'_>, needed: &IndexSet<&str>) -> bool {
    let holds_maps = |name: &&&str| draft.spec.maps.get(**name).is_some_and(|map| map.kind.holds_maps());
    let mut outers = needed.iter().filter(holds_maps);
    outers.any(|name| draft.maps.get(*name).is_some_and(|map| !map.reused))
}

fn fill(draft: &mut Draft<'_>, name: &str, map: &MapSpec, slot: &onebpf_object::Slot, rule: OuterRule) {
    let Some(MapSlot { slot: outer, reused, .. }) = draft.maps.get(name) else { return };
    let (outer, live, index) = (*outer, *reused, slot.index);
    let (object, target) = match &slot.target {
        SlotTarget::Map(inner) => (draft.maps.get(inner).map(|map| Object::Map(map.slot)), inner),
        SlotTarget::Program(name) => (draft.programs.get(name).map(|slot| Object::Program(*slot)), name),
    };
    let Some(object) = object else {
        let text = format!("slot {index} of map `{name}` stays empty: `{target}` is not loaded");
        draft.warn("W0301", text, &map.place);
        return;
    };
    if rule == OuterRule::Keep {
        let text = format!("slot {index} of map `{name}` is left as it is: the map is reused");
        draft.warn("W0302", text, &map.place);
        return;
    }
    let (name, target) = (name.to_owned(), target.clone());
    draft.push(Step::Fill { map: outer, name, index, object, target, live });
}

/// `sync`: what the object does not declare goes.
fn prune(draft: &mut Draft<'_>, name: &str, needed: &IndexSet<&str>) {
    let Some(map) = draft.spec.maps.get(name).filter(|map| map.kind.holds_maps()) else { return };
    if rule(draft, name, map, needed) != OuterRule::Sync {
        return;
    }
    let keep = match &map.contents {
        Contents::Slots(slots) => slots.iter().map(|slot| slot.index).collect(),
        _ => std::collections::BTreeSet::new(),
    };
    let Some(map) = draft.maps.get(name).map(|map| map.slot) else { return };
    draft.push(Step::Prune { map, name: name.to_owned(), keep });
}
