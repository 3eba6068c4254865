//! What to tell people about a relocation that does not work out.

use super::access::{Family, MAX_LEN, Spec, Step, type_name};
use super::{Fixup, Matcher, Steps, essential, matching};
use crate::error::Result;
use crate::{Btf, CoreRelo, CoreReloKind, Def, Member, Members, TypeId};

/// Longest declaration in a message; the body of an anonymous struct may be longer than anybody reads.
const LONGEST: usize = 100;
/// Members that are looked at to explain why one is missing; the largest structs have some hundreds.
const MEMBERS: u32 = 1 << 12;

/// Why nothing in the target fits: the first part of the walk that the candidates lack.
pub(super) fn missing(matcher: &mut Matcher<'_>, relo: &CoreRelo) -> Result<String> {
    let local = matcher.local;
    let spec = Spec::parse(local, relo)?;
    let root = local.get(relo.type_id)?;
    let found = matcher.found(relo.type_id)?;
    let Some(first) = found.first() else {
        let name = type_name(&root);
        return Ok(format!("the kernel has no type `{}`", name.replace(root.name, essential(root.name))));
    };
    let there = type_name(&first.btf.get(first.id)?);
    if Family::of(relo.kind)? == Family::Enumerator {
        let name = spec.steps.first().and_then(|step| step.name).unwrap_or_default();
        return Ok(format!("the kernel's `{there}` has no enumerator `{name}`"));
    }
    // The longest walk that some candidate takes, and the step after it.
    for len in (1..spec.steps.len()).rev() {
        let mut shorter = spec.clone();
        shorter.steps.truncate(len);
        let taken = found.iter().find_map(|candidate| {
            matching::target_spec(&shorter, *candidate, &mut Steps::new()).ok().flatten()
        });
        if let (Some(taken), Some(next)) = (taken, spec.steps.get(len)) {
            return Ok(match next.name {
                Some(name) => {
                    let what = other_type(&taken, &spec, next);
                    format!(
                        "the kernel's `{taken}` has {}",
                        what.unwrap_or_else(|| format!("no member `{name}`"))
                    )
                }
                None => format!("the kernel's `{taken}` has no element {}", next.index),
            });
        }
    }
    Ok(format!("the kernel's `{there}` is not of the same shape"))
}

/// Where a walk ends in the target there is a member of the name that comes next, but of a type that does not fit: both.
fn other_type(taken: &Spec<'_>, local: &Spec<'_>, next: &Step<'_>) -> Option<String> {
    let last = taken.steps.last()?;
    let end = match last.name {
        Some(_) => members(taken.btf, last.ty)?.get(last.index as usize)?.ty,
        None => last.ty,
    };
    let here = members(local.btf, next.ty)?.get(next.index as usize)?;
    let there = named(taken.btf, end, here.name, MAX_LEN, &mut Steps(MEMBERS))?;
    let text = |btf: &Btf, member: &Member<'_>| {
        btf.declare(member.ty, member.name).ok().filter(|text| text.len() <= LONGEST)
    };
    let (there, here) = (text(taken.btf, &there)?, text(local.btf, &here)?);
    Some(format!("`{there}` there, which cannot be read as `{here}`"))
}

/// A member of a struct, or of an anonymous one within it.
fn named<'a>(btf: &'a Btf, id: TypeId, name: &str, depth: usize, steps: &mut Steps) -> Option<Member<'a>> {
    let depth = depth.checked_sub(1)?;
    members(btf, id)?.find_map(|member| {
        steps.take().ok()?;
        if member.name.is_empty() {
            return named(btf, member.ty, name, depth, steps);
        }
        (member.name == name).then_some(member)
    })
}

fn members(btf: &Btf, id: TypeId) -> Option<Members<'_>> {
    match btf.strip(id).ok()?.def {
        Def::Struct { members, .. } | Def::Union { members, .. } => Some(members),
        _ => None,
    }
}

/// Two candidates that lead to different results.
pub(super) fn ambiguous(spec: &Spec<'_>, one: (&Spec<'_>, &Fixup), other: (&Spec<'_>, &Fixup)) -> String {
    let text = |(target, fixup): (&Spec<'_>, &Fixup)| {
        let id = target.root;
        if fixup.poison {
            format!("type {id} `{target}`: nothing")
        } else if Family::of(spec.kind) == Ok(Family::Field) && spec.kind != CoreReloKind::FieldByteOffset {
            format!("type {id} `{target}` at bit {}: {}", target.bit_offset, fixup.new_value)
        } else {
            format!("type {id} `{target}`: {}", fixup.new_value)
        }
    };
    format!("`{spec}` ({}) has two meanings in the kernel: {}; {}", spec.kind, text(one), text(other))
}
