//! Which types of the target a local type may stand for: those of the same essential name and kind.

use std::collections::HashMap;

use memchr::{memmem, memrchr};

use super::{essential, is_flavour, same_kind};
use crate::error::Result;
use crate::read::index::Mark;
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

    /// Whether there is one. A type of just this name and kind in the kernel is found without looking at all others.
    pub(super) fn exist(&mut self, local: &Type<'_>) -> Result<bool> {
        let plain = essential(local.name) == local.name;
        let found = |main: &&Btf| plain && main.find_own(local.name, local.kind).is_some();
        Ok(self.targets.first().is_some_and(found) || !self.of(local)?.is_empty())
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
    let chain = std::iter::successors(Some(btf), |btf| btf.base());
    let some = chain
        .map(|btf| (btf.strings(), marks_of(btf)))
        .any(|(strings, marks)| marks.iter().any(|mark| mark.ends(strings, wanted)));
    let flavoured = if some { btf.names().flavoured.get_or_init(|| flavoured(btf)).as_slice() } else { &[] };
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

impl Mark {
    /// Whether a name that this one flavours may be the wanted one.
    fn ends(&self, strings: &[u8], wanted: &str) -> bool {
        strings.get(self.start..=self.before).is_some_and(|name| name.ends_with(wanted.as_bytes()))
    }
}

/// Own types whose names have a flavour.
fn flavoured(btf: &Btf) -> Vec<TypeId> {
    // A name may start in the middle of another string, so what counts is whether its end comes after the mark.
    let has_mark = |offset: u32| {
        let owner = btf.string_owner(offset);
        let (marks, at) = (marks_of(owner), offset.saturating_sub(owner.first_own_string()) as usize);
        let next = marks.partition_point(|mark| mark.before < at);
        marks.get(next).is_some_and(|mark| mark.start <= at)
    };
    let types = btf.own_names().filter(|(_, offset)| has_mark(*offset));
    types.map(|(id, _)| id).filter(|id| name(btf, *id).is_some_and(|name| essential(name) != name)).collect()
}

fn marks_of(btf: &Btf) -> &[Mark] {
    btf.names().marks.get_or_init(|| marks(btf.strings()))
}

fn marks(strings: &[u8]) -> Vec<Mark> {
    let found = memmem::find_iter(strings, "___").filter_map(|at| at.checked_sub(1));
    let flavours = found.filter(|before| is_flavour(strings, *before));
    let start = |before| memrchr(0, strings.get(..before).unwrap_or_default()).map_or(0, |nul| nul + 1);
    flavours.map(|before| Mark { start: start(before), before }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_wherever_they_stand() {
        for shift in 0..6 {
            let mut strings = vec![0u8; shift];
            strings.extend(b"\0plain\0foo___bar\0____x\0___y\0z___\0a___b___c\0");
            let found = marks(&strings);
            let texts: Vec<&[u8]> = found.iter().map(|mark| &strings[mark.start..=mark.before]).collect();
            assert_eq!(texts, [&b"foo"[..], b"a", b"a___b"], "shift {shift}");
        }
    }
}
