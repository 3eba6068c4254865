//! Tail calls by section name: iproute2's `__section_tail(ID, IDX)`, section `ID/IDX`.

use crate::error::{Kind, MapFault};
use crate::{Contents, Dialect, MapSpec, MapType, ProgramSpec, Result, Slot, SlotTarget, Warning};
use indexmap::IndexMap;
use std::collections::HashMap;

/// Puts each program of a tail section into its slot: that of the first program array with its id. The later of two
/// programs for one slot gets it. iproute2 passes over ids that no map has; so does this, with a warning.
pub(crate) fn fill_tail_slots(
    maps: &mut IndexMap<String, MapSpec>,
    programs: &IndexMap<String, ProgramSpec>,
) -> Result<Vec<Warning>> {
    let mut warnings = Vec::new();
    let mut arrays = HashMap::new();
    for (at, map) in maps.values().enumerate() {
        if let (Dialect::BpfElfMap, MapType::PROG_ARRAY, Some(id)) = (map.dialect, map.kind, map.id) {
            arrays.entry(id).or_insert(at);
        }
    }
    for program in programs.values() {
        let Some((id, key)) = program.tail else { continue };
        let Some((_, map)) = arrays.get(&id).and_then(|at| maps.get_index_mut(*at)) else {
            let message = format!(
                "section `{}` of program `{}` names map id {id}, which no program array has",
                program.section, program.name
            );
            warnings.push(Warning {
                code: "W0104".to_owned(),
                message,
                place: crate::Place::at(&program.section, 0),
            });
            continue;
        };
        if key >= map.max_entries {
            let (program, entries) = (program.name.clone(), map.max_entries);
            let fault = MapFault::TailKey { program, map: map.name.clone(), id, key, entries };
            return Err(Kind::Map(fault).at(map.place.clone()));
        }
        set_slot(map, key, &program.name);
    }
    Ok(warnings)
}

pub(super) fn set_slot(map: &mut MapSpec, index: u32, program: &str) {
    let slot = Slot { index, target: SlotTarget::Program(program.to_owned()) };
    match &mut map.contents {
        Contents::Slots(slots) => match slots.binary_search_by_key(&index, |slot| slot.index) {
            Ok(at) => slots[at] = slot,
            Err(at) => slots.insert(at, slot),
        },
        other => *other = Contents::Slots(vec![slot]),
    }
}

/// A section's name as scanf's `%i/%i` reads it: decimal, hexadecimal (`0x`) or octal (`0`), with a sign, blanks before a
/// number and any text after the second.
pub(crate) fn parse(name: &str) -> Option<(u32, u32)> {
    let (id, rest) = integer(name)?;
    let (key, _) = integer(rest.strip_prefix('/')?)?;
    Some((id, key))
}

/// One `%i`: its value, as an unsigned number of the same bits, and what follows.
pub(super) fn integer(text: &str) -> Option<(u32, &str)> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (radix, digits) = match hex {
        Some(digits) => (16, digits),
        None if text.starts_with('0') => (8, text),
        None => (10, text),
    };
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at_checked(end)?;
    let value = i64::from_str_radix(digits, radix).ok()?;
    let value = if negative { value.checked_neg()? } else { value };
    Some((i32::try_from(value).map(|v| v as u32).or_else(|_| u32::try_from(value)).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sections_are_read_as_scanf_does() {
        // Observed with iproute2: the first eight match, the last four do not.
        for (name, expected) in [
            ("7/1", Some((7, 1))),
            ("7/0x2", Some((7, 2))),
            ("7/010", Some((7, 8))),
            ("07/3foo", Some((7, 3))),
            ("7/5/6", Some((7, 5))),
            (" 7/6", Some((7, 6))),
            ("7/ 9", Some((7, 9))),
            ("0xabccba/0", Some((0x00ab_ccba, 0))),
            ("7 /11", None),
            ("x7/12", None),
            ("7/", None),
            ("classifier", None),
        ] {
            assert_eq!(parse(name), expected, "{name:?}");
        }
        assert_eq!(parse("-1/0"), Some((u32::MAX, 0)));
        assert_eq!(parse("99999999999999999999/0"), None);
    }
}
