//! The walk of a relocation, taken again through a type of the target.

use super::access::{Family, MAX_LEN, Spec, Step};
use super::candidates::Candidate;
use super::compat::{self, Pair};
use super::{Steps, essential, types_match};
use crate::bytes::is_string;
use crate::error::{Result, What};
use crate::read::types::Look;
use crate::{CoreReloKind, Def, TypeId};

/// Where the local walk leads in a candidate; nothing if it does not fit (libbpf `bpf_core_spec_match`).
pub(super) fn target_spec<'a>(
    local: &Spec<'_>,
    candidate: Candidate<'a>,
    steps: &mut Steps,
) -> Result<Option<Spec<'a>>> {
    let target = Spec::of_target(candidate.btf, candidate.id, local.kind);
    match Family::of(local.kind)? {
        Family::Type => {
            let pair = Pair { local: (local.btf, local.root), target: (candidate.btf, candidate.id) };
            let fits = match local.kind {
                CoreReloKind::TypeMatches => types_match::matches(pair, steps)?,
                _ => compat::types(pair, steps)?,
            };
            Ok(fits.then_some(target))
        }
        Family::Enumerator => enumerator(local, target, steps),
        Family::Field => field(local, target, steps),
    }
}

/// The enumerator of the same essential name.
fn enumerator<'a>(local: &Spec<'_>, mut target: Spec<'a>, steps: &mut Steps) -> Result<Option<Spec<'a>>> {
    let ty = target.btf.strip(target.root)?;
    let (Def::Enum { values, .. } | Def::Enum64 { values, .. }) = ty.def else { return Ok(None) };
    let wanted = local.steps.first().and_then(|step| step.name).map_or("", essential);
    for (index, value) in values.enumerate() {
        steps.take()?;
        if essential(value.name) == wanted {
            target.steps.push(Step { ty: ty.id, index: index as u32, name: Some(value.name) });
            return Ok(Some(target));
        }
    }
    Ok(None)
}

/// Member by member, element by element.
fn field<'a>(local: &Spec<'_>, mut target: Spec<'a>, steps: &mut Steps) -> Result<Option<Spec<'a>>> {
    let mut id = target.root;
    for (n, step) in local.steps.iter().enumerate() {
        if step.name.is_some() {
            let Some(wanted) = Wanted::of(local, step)? else { return Ok(None) };
            match wanted.seek(&mut target, id, steps)? {
                Some(next) => id = next,
                None => return Ok(None),
            }
            continue;
        }
        let ty = target.btf.strip_looking(id, Look::NoNames)?;
        id = ty.id;
        // The first number counts from the pointer that is followed, not in an array.
        if n > 0 {
            let Def::Array { elem, count, .. } = ty.def else { return Ok(None) };
            if step.index >= count && !target.ends_in_flexible_array(count)? {
                return Ok(None);
            }
            id = target.btf.strip_looking(elem, Look::NoNames)?.id;
        }
        enter(&mut target)?;
        target.steps.push(Step { ty: id, index: step.index, name: None });
        target.add_elements(id, step.index)?;
    }
    Ok(Some(target))
}

/// A named member of a local struct.
struct Wanted<'a> {
    name: &'a str,
    local: (&'a crate::Btf, TypeId),
}

impl<'l> Wanted<'l> {
    fn of(local: &Spec<'l>, step: &Step<'l>) -> Result<Option<Wanted<'l>>> {
        let (Def::Struct { members, .. } | Def::Union { members, .. }) =
            local.btf.look_at(step.ty, Look::Name)?.def
        else {
            return Ok(None);
        };
        let member = members.get(step.index as usize);
        Ok(member.map(|member| Wanted { name: member.name, local: (local.btf, member.ty) }))
    }

    /// Looks for the member in a struct and in the anonymous ones within it. If it is found and its type will do, the walk
    /// is longer by it, and its type is returned (libbpf `bpf_core_match_member`). Depth is bounded by [`MAX_LEN`].
    fn seek(&self, spec: &mut Spec<'_>, id: TypeId, steps: &mut Steps) -> Result<Option<TypeId>> {
        let ty = spec.btf.strip_looking(id, Look::Name)?;
        let (Def::Struct { members, .. } | Def::Union { members, .. }) = ty.def else { return Ok(None) };
        let (bits, depth) = (spec.bit_offset, spec.depth);
        for (index, name) in members.name_tails().enumerate() {
            steps.take()?;
            if depth >= MAX_LEN {
                return Err(What::Depth(MAX_LEN as u32).into());
            }
            let anonymous = name.first() == Some(&0);
            if !anonymous && !is_string(name, self.name.as_bytes()) {
                continue;
            }
            let Some(member) = members.get(index) else { continue };
            enter(spec)?;
            spec.add_bits(member.bit_offset)?;
            if anonymous {
                if let Some(found) = self.seek(spec, member.ty, steps)? {
                    return Ok(Some(found));
                }
            } else if compat::fields(Pair { local: self.local, target: (spec.btf, member.ty) })? {
                spec.steps.push(Step { ty: ty.id, index: index as u32, name: Some(member.name) });
                return Ok(Some(member.ty));
            } else {
                (spec.bit_offset, spec.depth) = (bits, depth);
                return Ok(None);
            }
            (spec.bit_offset, spec.depth) = (bits, depth);
        }
        Ok(None)
    }
}

/// One more number in the target's access string.
fn enter(spec: &mut Spec<'_>) -> Result<()> {
    if spec.depth >= MAX_LEN {
        return Err(What::Depth(MAX_LEN as u32).into());
    }
    spec.depth += 1;
    Ok(())
}
