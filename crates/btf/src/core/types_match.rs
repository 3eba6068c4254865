//! `bpf_core_type_matches`: the strictest question, whether all that the local type declares is in the target, too.

use super::compat::Pair;
use super::{Steps, essential, name};
use crate::error::{Result, What};
use crate::read::types::{EnumValues, Members};
use crate::read::walk::MAX_DEPTH;
use crate::{Def, Type, TypeId};

/// Whether the local type matches the target type (libbpf `bpf_core_types_match`). Root names are the caller's business.
pub(super) fn matches(pair: Pair<'_>, steps: &mut Steps) -> Result<bool> {
    within(pair, false, MAX_DEPTH, steps)
}

/// `behind_ptr`: a pointer was followed, from where on structs are told apart by name and kind only.
fn within(mut pair: Pair<'_>, mut behind_ptr: bool, level: u32, steps: &mut Steps) -> Result<bool> {
    if level == 0 {
        return Err(What::Depth(MAX_DEPTH).into());
    }
    for _ in 0..MAX_DEPTH {
        steps.take()?;
        let (local, target) = pair.strip()?;
        if !same_name(name(&local), name(&target)) {
            return Ok(false);
        }
        match (local.def, target.def) {
            (Def::Ptr(one), Def::Ptr(other)) => {
                behind_ptr = true;
                pair = pair.with(one, other);
            }
            (Def::Array { elem, count, .. }, Def::Array { elem: other, count: n, .. }) => {
                if count != n {
                    return Ok(false);
                }
                pair = pair.with(elem, other);
            }
            (Def::FuncProto { ret, params }, Def::FuncProto { ret: other, params: others }) => {
                if params.len() != others.len() {
                    return Ok(false);
                }
                for (one, other) in params.zip(others) {
                    if !within(pair.with(one.ty, other.ty), behind_ptr, level - 1, steps)? {
                        return Ok(false);
                    }
                }
                pair = pair.with(ret, other);
            }
            (Def::Struct { members, .. }, Def::Struct { members: others, .. })
            | (Def::Union { members, .. }, Def::Union { members: others, .. })
                if !behind_ptr =>
            {
                return composites(pair, members, others, level, steps);
            }
            _ => return ends(&local, &target, behind_ptr, steps),
        }
    }
    Err(What::Depth(MAX_DEPTH).into())
}

/// Types that lead to no others, or are not to be entered.
fn ends(local: &Type<'_>, target: &Type<'_>, behind_ptr: bool, steps: &mut Steps) -> Result<bool> {
    // What a forward declaration declares: a union or else a struct.
    let declared = |ty: &Type<'_>| match ty.def {
        Def::Fwd { union } => Some(union),
        _ => None,
    };
    let is_union = |ty: &Type<'_>| match ty.def {
        Def::Struct { .. } => Some(false),
        Def::Union { .. } => Some(true),
        _ => None,
    };
    Ok(match (local.def, target.def) {
        (Def::Void, Def::Void) => true,
        (Def::Fwd { union }, _) => {
            declared(target) == Some(union) || (behind_ptr && is_union(target) == Some(union))
        }
        (Def::Struct { .. } | Def::Union { .. }, _) => {
            behind_ptr && (local.kind == target.kind || is_union(local) == declared(target))
        }
        (
            Def::Enum { size, values, .. } | Def::Enum64 { size, values, .. },
            Def::Enum { size: n, values: others, .. } | Def::Enum64 { size: n, values: others, .. },
        ) => size == n && enumerators(values, others, steps)?,
        (Def::Int { size, encoding, .. }, Def::Int { size: n, encoding: other, .. }) => {
            size == n && encoding.is_signed() == other.is_signed()
        }
        _ => false,
    })
}

/// Every local enumerator has one of its name in the target; values are not compared.
fn enumerators(local: EnumValues<'_>, target: EnumValues<'_>, steps: &mut Steps) -> Result<bool> {
    if local.len() > target.len() {
        return Ok(false);
    }
    for one in local {
        let mut found = false;
        for other in target {
            steps.take()?;
            found = same_name(one.name, other.name);
            if found {
                break;
            }
        }
        if !found {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Every local member has one of its name in the target, and their types match.
fn composites(
    pair: Pair<'_>,
    local: Members<'_>,
    target: Members<'_>,
    level: u32,
    steps: &mut Steps,
) -> Result<bool> {
    if local.len() > target.len() {
        return Ok(false);
    }
    for one in local {
        let mut found = false;
        for other in target {
            steps.take()?;
            found = same_name(one.name, other.name) && member(pair, one.ty, other.ty, level, steps)?;
            if found {
                break;
            }
        }
        if !found {
            return Ok(false);
        }
    }
    Ok(true)
}

fn member(pair: Pair<'_>, one: TypeId, other: TypeId, level: u32, steps: &mut Steps) -> Result<bool> {
    within(pair.with(one, other), false, level - 1, steps)
}

/// libbpf `bpf_core_names_match`.
fn same_name(local: &str, target: &str) -> bool {
    if target.is_empty() { local.is_empty() } else { essential(local) == essential(target) }
}
