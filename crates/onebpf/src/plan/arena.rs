//! Arenas: where their variables are, and how they get there.

use super::draft::Draft;
use super::{Slot, Step, object};
use crate::error::{Code, Error, Result};
use crate::{Facts, Spec};
use onebpf_object::{Contents, MapSpec, MapType};
use onebpf_sys::{Feature, Support};
use std::collections::BTreeSet;
use std::sync::Arc;

/// `BPF_F_SEGV_ON_FAULT`.
const SEGV_ON_FAULT: u32 = 1 << 17;

/// Features that a plan must know, for a kernel does not refuse what a wrong guess leads to: variables of an arena at a
/// place where other users of the arena do not look for them.
pub(crate) fn asks(spec: &Spec) -> BTreeSet<Feature> {
    let asks = spec.maps.values().any(|map| map.autocreate && !variables(map).is_empty());
    asks.then_some(Feature::LdImm64FullRange).into_iter().collect()
}

/// Where an arena's variables begin, in bytes; `None` for other maps. As libbpf has it: in the last pages, where the kernel
/// takes any offset in ld_imm64 (Linux 7.0, 12a1fe6e12db); before that in the first. What cannot be found out counts as no.
pub(super) fn globals(facts: &Facts, map: &MapSpec) -> Option<u32> {
    let at_end = facts.features.get(Feature::LdImm64FullRange) == Support::Yes;
    arena_globals(map, facts.host.page_size, at_end)
}

/// Where an arena's variables begin, in bytes: in its last pages if `at_end`, else in its first. `None` for other maps.
pub fn arena_globals(map: &MapSpec, page: u32, at_end: bool) -> Option<u32> {
    if map.kind != MapType::ARENA {
        return None;
    }
    let needed = (variables(map).len() as u64).next_multiple_of(u64::from(page.max(1)));
    let start = (u64::from(map.max_entries) * u64::from(page)).saturating_sub(needed);
    Some(if at_end { u32::try_from(start).unwrap_or(0) } else { 0 })
}

fn variables(map: &MapSpec) -> &[u8] {
    match &map.contents {
        Contents::Data(data) if map.kind == MapType::ARENA => data,
        _ => &[],
    }
}

/// Adds the step that maps a new arena and writes its variables. Zeros, too: the page of a variable that nobody has touched
/// is free for `bpf_arena_alloc_pages()`.
pub(super) fn fill(draft: &mut Draft<'_>, name: &str, map: &MapSpec, slot: Slot<object::Map>) -> Result<()> {
    let data = variables(map);
    if data.is_empty() && map.extra != 0 {
        return Ok(());
    }
    let page = draft.facts.host.page_size;
    let size = u64::from(map.max_entries) * u64::from(page);
    let wrong = if map.flags & SEGV_ON_FAULT != 0 {
        "with BPF_F_SEGV_ON_FAULT cannot be filled, nor be given an address without `map_extra`".to_owned()
    } else if data.len() as u64 > size {
        let (pages, len) = (map.max_entries, data.len());
        format!("of {pages} pages of {page} bytes (`max_entries`) is too small for variables of {len} bytes")
    } else {
        let (name, data) = (name.to_owned(), Arc::from(data));
        let offset = globals(draft.facts, map).unwrap_or_default();
        draft.push(Step::MapArena { map: slot, name, offset, data });
        return Ok(());
    };
    Err(Error::new(Code::Contents, format!("arena `{name}` {wrong}")).at(&map.place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use onebpf_object::ParseOptions;

    #[test]
    fn variables_are_in_the_last_pages() {
        let object = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/obj/data_arena.v4.o");
        let mut spec =
            onebpf_object::parse(&std::fs::read(object).unwrap(), &ParseOptions::default()).unwrap();
        let arena = spec.maps.get_mut("arena").unwrap();
        let len = variables(arena).len();
        assert!((1..4096).contains(&len), "{len}");
        for (pages, at) in [(4, 3 << 12), (1, 0), (0, 0), (1 << 20, u32::MAX - 4095)] {
            arena.max_entries = pages;
            assert_eq!(arena_globals(arena, 4096, true), Some(at), "{pages} pages");
            assert_eq!(arena_globals(arena, 4096, false), Some(0));
        }
        arena.kind = MapType::ARRAY;
        assert_eq!(arena_globals(arena, 4096, true), None);
    }
}
