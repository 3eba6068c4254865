//! CO-RE: the instructions of the chosen programs, relocated against the types that were observed.

use super::programs::{Chosen, select};
use crate::error::{Code, Error, Result};
use crate::{Facts, Options, Spec};
use onebpf_btf::{CoreReloKind, Matcher};
use onebpf_object::{FuncId, LinkedProgram, Place, Ref, relocate_core, resolve_core};
use std::collections::HashSet;

/// Whether a chosen program has a relocation that asks for a kernel's types: local type ids do not.
pub(crate) fn needs_kernel_types(spec: &Spec, options: &Options) -> Result<bool> {
    let asks = |function: &onebpf_object::Function| {
        function.core.iter().any(|relo| relo.kind != CoreReloKind::TypeIdLocal)
    };
    if !spec.functions.iter().any(asks) {
        return Ok(false);
    }
    let mut seen = HashSet::new();
    let mut next: Vec<FuncId> = select(spec, options)?.iter().map(|program| program.function).collect();
    while let Some(id) = next.pop() {
        let Some(function) = spec.functions.get(id.0).filter(|_| seen.insert(id)) else { continue };
        if asks(function) {
            return Ok(true);
        }
        next.extend(function.refs.values().filter_map(|to| match to {
            Ref::Call(id) | Ref::Func(id) => Some(*id),
            _ => None,
        }));
    }
    Ok(false)
}

/// Relocates all chosen programs together: what is found out about a type serves each of them.
pub(super) fn relocate(spec: &Spec, facts: &Facts, programs: &mut [Chosen<'_>]) -> Result<()> {
    let Some(local) = spec.btf.as_ref().filter(|_| programs.iter().any(|it| !it.linked.core.is_empty()))
    else {
        return Ok(());
    };
    let types = facts.types.as_ref().and_then(|types| types.btf.as_ref());
    if let (None, Some(program)) = (types, programs.iter().find(|it| it.linked.needs_kernel_types())) {
        return Err(no_types(spec, facts, program));
    }
    let targets: Vec<_> = types.into_iter().collect();
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
