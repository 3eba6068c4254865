//! Which types of the target a local type may stand for: those of the same essential name and kind.

use std::collections::HashMap;

use super::{essential, is_flavour, same_kind};
use crate::error::Result;
use crate::{Btf, Kind, Type, TypeId};

/// A type of a target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) btf: &'a Btf,
    pub(super) id: TypeId,
}

/// The targets, and what was found in them.
pub(super) struct Candidates<'a> {
    targets: Vec<Target<'a>>,
    found: HashMap<TypeId, Vec<Candidate<'a>>>,
}

struct Target<'a> {
    btf: &'a Btf,
    /// Types whose name has a flavour: few or none in a kernel. Found in one pass over the strings, when first needed.
    flavoured: Option<Vec<(&'a str, TypeId)>>,
}

impl<'a> Candidates<'a> {
    pub(super) fn new(targets: &[&'a Btf]) -> Candidates<'a> {
        let targets = targets.iter().map(|btf| Target { btf, flavoured: None }).collect();
        Candidates { targets, found: HashMap::new() }
    }

    /// The candidates for a local type that has a name. The kernel's win: modules are looked at if it has none (libbpf
    /// `bpf_core_find_cands`).
    pub(super) fn of(&mut self, local: &Type<'_>) -> Result<&[Candidate<'a>]> {
        if !self.found.contains_key(&local.id) {
            let mut found = Vec::new();
            if let Some((main, modules)) = self.targets.split_first_mut() {
                main.search(local, &mut found)?;
                if found.is_empty() {
                    modules.iter_mut().try_for_each(|module| module.search(local, &mut found))?;
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

impl<'a> Target<'a> {
    fn search(&mut self, local: &Type<'_>, found: &mut Vec<Candidate<'a>>) -> Result<()> {
        let btf = self.btf;
        let wanted = essential(local.name);
        let flavoured = self.flavoured.get_or_insert_with(|| flavoured(btf));
        let functions = local.kind == Kind::Func;
        // The essential name itself may have a flavour (`a___b` of `a___b___c`): then a type of that name has another.
        let exact = if essential(wanted) == wanted { btf.named_own(wanted, functions) } else { Vec::new() };
        let others = flavoured.iter().filter(|(name, _)| *name == wanted).map(|(_, id)| *id);
        let mut ids: Vec<TypeId> = exact.into_iter().chain(others).collect();
        ids.sort_unstable();
        for id in ids {
            if same_kind(btf.get(id)?.kind, local.kind) {
                found.push(Candidate { btf, id });
            }
        }
        Ok(())
    }
}

/// Own types whose names have a flavour, by essential name.
fn flavoured(btf: &Btf) -> Vec<(&str, TypeId)> {
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
    let name = |id: TypeId| btf.get(id).ok().map(|ty| ty.name);
    let types = btf.own_names().filter(|(_, offset)| *offset >= first && has_mark(*offset));
    types
        .filter_map(|(id, _)| Some((name(id)?, id)))
        .filter(|(name, _)| essential(name) != *name)
        .map(|(name, id)| (essential(name), id))
        .collect()
}

/// Where a flavour's mark stands in the strings, and where the string around it starts.
fn spots(strings: &[u8]) -> Vec<(usize, usize)> {
    let mut spots: Vec<(usize, usize)> = Vec::new();
    // Three underscores in a row cover one offset that is a multiple of three.
    for at in (0..strings.len()).step_by(3).filter(|at| strings.get(*at) == Some(&b'_')) {
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
            strings.extend(b"\0plain\0foo___bar\0____x\0a___b___c\0");
            let found = spots(&strings);
            let texts: Vec<&[u8]> = found.iter().map(|(start, at)| &strings[*start..=*at]).collect();
            assert_eq!(texts, [&b"foo"[..], b"a", b"a___b"], "shift {shift}");
        }
    }
}
