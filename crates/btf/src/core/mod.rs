//! CO-RE: what an instruction that was compiled against one BTF has to become for another.
//!
//! The rules are those of libbpf (`relo_core.c`, 1.7), which people have written their programs against: which types are
//! candidates, when a candidate fits, what each kind of relocation asks, and when two answers contradict each other.
//! Everything here is pure; what to do with an instruction, `onebpf-object` knows.

mod access;
mod candidates;
mod compat;
mod explain;
mod extern_type;
mod fixup;
mod matching;
mod types_match;

use std::collections::HashMap;

use crate::core::access::Spec;
use crate::core::candidates::{Candidate, Candidates};
use crate::error::{Result, What};
use crate::read::types::Look;
use crate::{Btf, CoreRelo, CoreReloKind, Kind, Type, TypeId};

pub use extern_type::{essential_name, near_names, types_are_compatible};
pub use fixup::Fixup;

/// Steps that one relocation may take before its types count as hostile: comparing two enumerations of the largest
/// kernels takes well under a million.
const MAX_STEPS: u32 = 1 << 24;

/// Answers relocations of one object against the BTF of a kernel. What it has found out about a local type it keeps, so
/// that each is looked up once, however many programs ask.
///
/// Candidates that an earlier relocation of the same type has ruled out are out for later ones, too (libbpf
/// `bpf_core_calc_relo_insn`): ask in the order of the object.
pub struct Matcher<'a> {
    local: &'a Btf,
    candidates: Candidates<'a>,
    answers: HashMap<(TypeId, u32, CoreReloKind), Fixup>,
}

impl<'a> Matcher<'a> {
    /// Relocates `local` against `targets`: the kernel, then its modules, in which a type is sought only if the kernel
    /// has none of its name. Nothing is read yet.
    pub fn new(local: &'a Btf, targets: &[&'a Btf]) -> Matcher<'a> {
        Matcher { local, candidates: Candidates::new(targets), answers: HashMap::new() }
    }

    /// The BTF that is relocated.
    pub fn local(&self) -> &'a Btf {
        self.local
    }

    /// What becomes of the instruction of this record.
    ///
    /// # Errors
    /// E0215 for a record that says nothing sensible about its type, E0216 if candidates contradict each other, E0208 if
    /// types nest too deeply; also what is wrong with a type on the way.
    pub fn resolve(&mut self, relo: &CoreRelo) -> Result<Fixup> {
        let key = (relo.type_id, relo.access_str_off, relo.kind);
        if let Some(known) = self.answers.get(&key) {
            return Ok(*known);
        }
        let fixup = self.work_out(relo).map_err(|e| e.in_type(relo.type_id))?;
        self.answers.insert(key, fixup);
        Ok(fixup)
    }

    fn work_out(&mut self, relo: &CoreRelo) -> Result<Fixup> {
        let spec = Spec::parse(self.local, relo)?;
        if relo.kind == CoreReloKind::TypeIdLocal {
            return Ok(Fixup::of_local_type(relo.type_id));
        }
        let local = self.local.look_at(relo.type_id, Look::Name)?;
        if name(&local).is_empty() {
            return Err(What::Core(format!("{} of a type without a name", relo.kind)).into());
        }
        let found = self.candidates.of(&local)?.to_vec();
        let mut chosen: Option<(Spec<'_>, Fixup)> = None;
        let mut fitting = Vec::new();
        for candidate in found {
            let mut steps = Steps::new();
            let Some(target) = matching::target_spec(&spec, candidate, &mut steps)? else { continue };
            let fixup = fixup::calculate(relo.kind, &spec, Some(&target))?;
            match &chosen {
                None => chosen = Some((target, fixup)),
                Some((other, agreed)) => {
                    let differ = target.bit_offset != other.bit_offset
                        || (fixup.poison, fixup.new_value) != (agreed.poison, agreed.new_value);
                    if differ {
                        let text = explain::ambiguous(&spec, (other, agreed), (&target, &fixup));
                        return Err(What::CoreAmbiguous(text).into());
                    }
                }
            }
            fitting.push(candidate);
        }
        if !fitting.is_empty() {
            self.candidates.keep(relo.type_id, fitting);
        }
        match chosen {
            Some((_, fixup)) => Ok(fixup),
            None => fixup::calculate(relo.kind, &spec, None),
        }
    }

    /// Whether a target has types that this local one may stand for, by name and kind.
    ///
    /// # Errors
    /// E0204 and others for a local type that is not there or cannot be decoded.
    pub fn has_candidates(&mut self, local: TypeId) -> Result<bool> {
        let local = self.local.look_at(local, Look::Name)?;
        self.candidates.exist(&local)
    }

    /// Why a relocation finds nothing in the target, in one line: `no kernel type has the name ...`.
    pub fn explain(&mut self, relo: &CoreRelo) -> String {
        explain::missing(self, relo).unwrap_or_else(|error| error.to_string())
    }

    /// What a relocation is about, as C would say it: `struct task_struct.mm.pgd`; nothing for a record that is damaged.
    pub fn describe(&self, relo: &CoreRelo) -> String {
        Spec::parse(self.local, relo)
            .map_or_else(|_| format!("type {}", relo.type_id), |spec| spec.to_string())
    }

    fn found(&mut self, id: TypeId) -> Result<&[Candidate<'a>]> {
        let local = self.local.look_at(id, Look::Name)?;
        self.candidates.of(&local)
    }
}

/// Bounds the work for one relocation.
struct Steps(u32);

impl Steps {
    fn new() -> Steps {
        Steps(MAX_STEPS)
    }

    fn take(&mut self) -> Result<()> {
        self.0 = self.0.checked_sub(1).ok_or(What::CoreWork(MAX_STEPS))?;
        Ok(())
    }
}

/// The name as the encoding has it: that of void is empty.
fn name<'a>(ty: &Type<'a>) -> &'a str {
    if ty.kind == Kind::Void { "" } else { ty.name }
}

/// A name without its flavour: `task_struct` of `task_struct___old` (libbpf `bpf_core_essential_name_len`).
pub(crate) fn essential(name: &str) -> &str {
    let bytes = name.as_bytes();
    let at = (0..bytes.len().saturating_sub(4)).rev().find(|at| is_flavour(bytes, *at));
    at.and_then(|at| name.get(..=at)).unwrap_or(name)
}

/// Exactly three underscores after the byte at `at`, and something else behind them; in a section of many strings, all that
/// within one of them.
fn is_flavour(bytes: &[u8], at: usize) -> bool {
    let other = |byte: u8| byte != b'_' && byte != 0;
    matches!(bytes.get(at..at + 5), Some([a, b'_', b'_', b'_', z]) if other(*a) && other(*z))
}

/// Whether types of these kinds can stand for each other (libbpf `btf_kind_core_compat`).
fn same_kind(a: Kind, b: Kind) -> bool {
    let is_enum = |kind| matches!(kind, Kind::Enum | Kind::Enum64);
    a == b || (is_enum(a) && is_enum(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flavour_is_what_follows_exactly_three_underscores() {
        for (name, wanted) in [
            ("task_struct", "task_struct"),
            ("task_struct___old", "task_struct"),
            ("a___b___c", "a___b"),
            ("___a", "___a"),
            ("a___", "a___"),
            ("a____b", "a____b"),
            ("a__b", "a__b"),
            ("", ""),
            ("ä___é", "ä"),
        ] {
            assert_eq!(essential(name), wanted, "{name}");
        }
    }
}
