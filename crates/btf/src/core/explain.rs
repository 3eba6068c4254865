//! What to tell people about a relocation that does not work out.

use super::access::{Family, Spec, type_name};
use super::{Fixup, Matcher, Steps, essential, matching};
use crate::error::Result;
use crate::{CoreRelo, CoreReloKind};

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
                Some(name) => format!("the kernel's `{taken}` has no member `{name}` of a fitting type"),
                None => format!("the kernel's `{taken}` has no element {}", next.index),
            });
        }
    }
    Ok(format!("the kernel's `{there}` is not of the same shape"))
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
