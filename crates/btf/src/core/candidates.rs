//! Which types of the target a local type may stand for: those of the same essential name and kind.

use std::collections::HashMap;

use super::{essential, is_flavour, same_kind};
use crate::error::Result;
use crate::read::types::Look;
use crate::{Btf, Kind, Type, TypeId};

/// A type of a target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) btf: &'a Btf,
    pub(super) id: TypeId,
}

/// The targets, and what was found in them.
pub(super) struct Candidates<'a> {
    targets: Vec<&'a Btf>,
    found: HashMap<TypeId, Vec<Candidate<'a>>>,
}

impl<'a> Candidates<'a> {
    pub(super) fn new(targets: &[&'a Btf]) -> Candidates<'a> {
        Candidates { targets: targets.to_vec(), found: HashMap::new() }
    }

    /// The candidates for a local type that has a name. The kernel's win: modules are looked at if it has none (libbpf
    /// `bpf_core_find_cands`).
    pub(super) fn of(&mut self, local: &Type<'_>) -> Result<&[Candidate<'a>]> {
        if !self.found.contains_key(&local.id) {
            let mut found = Vec::new();
            if let Some((main, modules)) = self.targets.split_first() {
                search(main, local, &mut found)?;
                if found.is_empty() {
                    modules.iter().try_for_each(|module| search(module, local, &mut found))?;
                }
            }
            self.found.insert(local.id, found);
        }
        Ok(self.found.get(&local.id).map_or(&[], Vec::as_slice))
    }

    /// Only these are left.
    pub(super) fn keep(&mut self, local: TypeId, fitting: Vec<Candidate<'a>>) {
        self.found.insert(local, fitting);
    }
}

fn search<'a>(btf: &'a Btf, local: &Type<'_>, found: &mut Vec<Candidate<'a>>) -> Result<()> {
    let wanted = essential(local.name);
    let functions = local.kind == Kind::Func;
    // The essential name itself may have a flavour (`a___b` of `a___b___c`): then a type of that name has another.
    let exact = if essential(wanted) == wanted { btf.named_own(wanted, functions) } else { Vec::new() };
    let flavoured = btf.names().flavoured.get_or_init(|| flavoured(btf));
    let others =
        flavoured.iter().copied().filter(|id| name(btf, *id).is_some_and(|name| essential(name) == wanted));
    let mut ids: Vec<TypeId> = exact.into_iter().chain(others).collect();
    ids.sort_unstable();
    for id in ids {
        if same_kind(btf.look_at(id, Look::NoNames)?.kind, local.kind) {
            found.push(Candidate { btf, id });
        }
    }
    Ok(())
}

fn name(btf: &Btf, id: TypeId) -> Option<&str> {
    btf.look_at(id, Look::Name).ok().map(|ty| ty.name)
}

/// Own types whose names have a flavour.
fn flavoured(btf: &Btf) -> Vec<TypeId> {
    let spots = spots(btf.strings());
    if spots.is_empty() {
        return Vec::new();
    }
    let first = btf.first_own_string();
    // A name may start in the middle of another string, so what counts is whether its end comes after the mark.
    let has_mark = |offset: u32| {
        let at = offset.saturating_sub(first) as usize;
        let next = spots.partition_point(|(_, mark)| *mark < at);
        spots.get(next).is_some_and(|(start, _)| *start <= at)
    };
    let types = btf.own_names().filter(|(_, offset)| *offset >= first && has_mark(*offset));
    types.map(|(id, _)| id).filter(|id| name(btf, *id).is_some_and(|name| essential(name) != name)).collect()
}

/// Where a flavour's mark stands in the strings, and where the string around it starts.
fn spots(strings: &[u8]) -> Vec<(usize, usize)> {
    let mut spots: Vec<(usize, usize)> = Vec::new();
    // Three underscores in a row cover one offset that is a multiple of three, and there one has a neighbour.
    let firsts = strings.chunks_exact(3).enumerate().filter(|(_, chunk)| chunk.first() == Some(&b'_'));
    let is_mark = |at: Option<usize>| at.and_then(|at| strings.get(at)) == Some(&b'_');
    let firsts = firsts.map(|(n, _)| n * 3).filter(|at| is_mark(at.checked_sub(1)) || is_mark(Some(at + 1)));
    for at in firsts {
        for before in at.saturating_sub(3)..at {
            if is_flavour(strings, before) && spots.last().is_none_or(|(_, last)| *last < before) {
                let head = strings.get(..before).unwrap_or_default();
                let start = head.iter().rposition(|byte| *byte == 0).map_or(0, |nul| nul + 1);
                spots.push((start, before));
            }
        }
    }
    spots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_wherever_they_stand() {
        for shift in 0..6 {
            let mut strings = vec![0u8; shift];
            strings.extend(b"\0plain\0foo___bar\0____x\0___y\0z___\0a___b___c\0");
            let found = spots(&strings);
            let texts: Vec<&[u8]> = found.iter().map(|(start, at)| &strings[*start..=*at]).collect();
            assert_eq!(texts, [&b"foo"[..], b"a", b"a___b"], "shift {shift}");
        }
    }
}
