//! Programs that attach to a function of another program: libbpf's `libbpf_find_attach_btf_id()` with a target.

use super::Attach;
use super::draft::Draft;
use crate::error::{Code, Error, Result};
use crate::{Options, Target, TargetProgram};
use onebpf_object::{AttachType, Place, ProgramSpec, ProgramType};
use std::cmp::Reverse;

/// How many names a note lists.
const LISTED: usize = 12;

/// The program in the kernel that the options have for a program of the object.
pub(super) fn of<'a>(
    options: &'a Options,
    program: &str,
    types: (ProgramType, AttachType),
) -> Option<&'a TargetProgram> {
    let all = options.attach_to.all.as_ref().filter(|_| takes(types));
    options.attach_to.of.get(program).or(all)
}

/// Whether the kernel lets such programs attach to another (`bpf_check_attach_target()`). One that is named for a single
/// program is left to the kernel.
fn takes((kind, attach): (ProgramType, AttachType)) -> bool {
    let traced = [AttachType::TRACE_FENTRY, AttachType::TRACE_FEXIT, AttachType::TRACE_FSESSION];
    kind == ProgramType::EXT || (kind == ProgramType::TRACING && traced.contains(&attach))
}

/// The function that a program attaches to, in the program that was observed.
pub(super) fn attach(
    draft: &mut Draft<'_>,
    program: &ProgramSpec,
    kind: ProgramType,
    place: &Place,
) -> Result<Attach> {
    let fail = |code: Code, text: String| {
        Err(Error::new(code, format!("program `{}` {text}", program.name)).at(place))
    };
    // `bpf_prog_load_check_attach()`.
    if kind != ProgramType::EXT && kind != ProgramType::TRACING {
        return fail(Code::NoTarget, format!("is of type {kind}, which attaches to no other program"));
    }
    let Some(function) = program.attach_target.as_deref() else {
        return Err(nameless(program, place));
    };
    let facts = draft.facts;
    let Some(target) = facts.targets.get(&program.name) else {
        let text = format!("attaches to the function `{function}` of another program, ");
        return match of(draft.options, &program.name, (kind, program.attach)) {
            Some(target) => fail(Code::NoTarget, format!("{text}of which ({target}) the facts say nothing")),
            None => fail(Code::Untargeted, format!("{text}and nothing says of which"))
                .map_err(|error| error.hint("say it with `--attach-to`: an id, a pinned path, or a name")),
        };
    };
    let Target { id, name, functions, .. } = target;
    let Some(functions) = functions else {
        let text = format!("attaches to program `{name}` (id {id}), which was loaded without BTF");
        return fail(Code::TargetFunction, text)
            .map_err(|error| error.hint("compile that one with `-g`, and load it with its function types"));
    };
    let Some(&btf_id) = functions.get(function) else {
        let text = format!("attaches to the function `{function}`, which program `{name}` (id {id}) lacks");
        let near = near(function, functions.keys().map(String::as_str));
        return fail(Code::TargetFunction, text).map_err(|error| error.note(near));
    };
    let slot = draft.target(target);
    Ok(Attach { name: function.to_owned(), btf_id, module: None, program: Some(slot) })
}

/// Refuses `SEC("fentry")`, where nothing names a function.
pub(super) fn nameless(program: &ProgramSpec, place: &Place) -> Error {
    let text =
        format!("program `{}`: section `{}` does not say what it attaches to", program.name, program.section);
    let hint = format!("name it after a slash: SEC(\"{}/NAME\")", program.section);
    Error::new(Code::NoTarget, text).at(place).hint(hint)
}

/// Says which functions there are, those first that begin most like the one that is not.
fn near<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> String {
    let alike = |name: &str| wanted.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
    let mut names: Vec<&str> = names.collect();
    names.sort_by_key(|name| Reverse(alike(name)));
    let listed: Vec<String> = names.iter().take(LISTED).map(|name| format!("`{name}`")).collect();
    let more = names.len().saturating_sub(LISTED);
    let more = if more == 0 { String::new() } else { format!(", and {more} more") };
    let listed = if listed.is_empty() { "none".to_owned() } else { listed.join(", ") };
    format!("its functions: {listed}{more}")
}
