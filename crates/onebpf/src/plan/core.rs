//! CO-RE: the instructions of the chosen programs, relocated against the types that were observed.

use super::programs::{Chosen, select};
use crate::error::{Code, Error, Result};
use crate::kernel_types::KernelTypes;
use crate::{Facts, Options, Spec};
use onebpf_btf::{Btf, CoreRelo, CoreReloKind, Matcher, TypeId};
use onebpf_object::{FuncId, Function, LinkedProgram, Place, Ref, relocate_core, resolve_core};
use std::collections::HashSet;

/// The relocations of the chosen programs, and of the functions that they need, which ask for a kernel's types: local type
/// ids do not.
pub(crate) fn kernel_relocations<'a>(spec: &'a Spec, options: &Options) -> Result<Vec<&'a CoreRelo>> {
    let asks = |relo: &&CoreRelo| relo.kind != CoreReloKind::TypeIdLocal;
    if !spec.functions.iter().any(|function| function.core.iter().any(|relo| asks(&relo))) {
        return Ok(Vec::new());
    }
    Ok(reached(spec, options)?.into_iter().flat_map(|function| function.core.iter().filter(asks)).collect())
}

/// The chosen programs' functions, and those that they call or hand out.
pub(super) fn reached<'a>(spec: &'a Spec, options: &Options) -> Result<Vec<&'a Function>> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    let mut next: Vec<FuncId> = select(spec, options)?.iter().map(|program| program.function).collect();
    while let Some(id) = next.pop() {
        let Some(function) = spec.functions.get(id.0).filter(|_| seen.insert(id)) else { continue };
        found.push(function);
        next.extend(function.refs.values().filter_map(|to| match to {
            Ref::Call(id) | Ref::Func(id) => Some(*id),
            _ => None,
        }));
    }
    Ok(found)
}

/// Whether one of these relocations is about a type of which the kernel itself has none of that name: then modules are
/// searched. What is wrong with a relocation is said when it is applied.
pub(crate) fn lacks_type(spec: &Spec, kernel: Option<&Btf>, relocations: &[&CoreRelo]) -> bool {
    let Some((local, kernel)) = spec.btf.as_ref().zip(kernel) else { return false };
    let targets = [kernel];
    let mut matcher = Matcher::new(local, &targets);
    let mut types: Vec<TypeId> = relocations.iter().map(|relo| relo.type_id).collect();
    types.sort_unstable();
    types.dedup();
    types.into_iter().any(|id| matcher.has_candidates(id).is_ok_and(|has| !has))
}

/// Relocates all chosen programs together: what is found out about a type serves each of them.
pub(super) fn relocate(spec: &Spec, facts: &Facts, programs: &mut [Chosen<'_>]) -> Result<()> {
    let Some(local) = spec.btf.as_ref().filter(|_| programs.iter().any(|it| !it.linked.core.is_empty()))
    else {
        return Ok(());
    };
    let targets = facts.types.as_ref().map(KernelTypes::all).unwrap_or_default();
    if let (None, Some(program)) =
        (targets.first(), programs.iter().find(|it| it.linked.needs_kernel_types()))
    {
        return Err(no_types(spec, facts, program));
    }
    let mut matcher = Matcher::new(local, &targets);
    let linked: Vec<&LinkedProgram> = programs.iter().map(|program| &program.linked).collect();
    resolve_core(spec, &linked, &mut matcher)?;
    for program in programs {
        program.poisons = relocate_core(spec, &mut program.linked, &mut matcher)?;
    }
    Ok(())
}

fn no_types(spec: &Spec, facts: &Facts, program: &Chosen<'_>) -> Error {
    let place = |id: FuncId| spec.functions.get(id.0).map(|function| function.place.clone());
    let place: Place = place(program.spec.function).unwrap_or_default();
    let count = program.linked.core.len();
    let why = match &facts.types {
        Some(types) if facts.kernel_btf == Some(false) || facts.kernel_btf.is_none() => {
            format!("there is none at {}", types.source.display())
        }
        Some(types) => format!("the facts name {} but do not hold it", types.source.display()),
        None => "the facts say nothing of it".to_owned(),
    };
    let text = format!(
        "program `{}` has {count} CO-RE relocations and needs a kernel's BTF: {why}",
        program.spec.name
    );
    Error::new(Code::NoTypes, text).at(&place).hint("give the BTF of the kernel with `--btf PATH`")
}
