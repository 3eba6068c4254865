//! The verbs, one file each.

pub(crate) mod btf;
pub(crate) mod completions;
pub(crate) mod explain;
pub(crate) mod facts;
pub(crate) mod inspect;
pub(crate) mod load;
pub(crate) mod map;
pub(crate) mod plan;
pub(crate) mod prog;
pub(crate) mod relocate;
pub(crate) mod verify;

use crate::args::Verb;
use crate::exit::Outcome;
use crate::out::Out;

/// Does what was asked.
pub(crate) fn run(verb: Verb, out: &mut Out) -> Outcome {
    match verb {
        Verb::Inspect(args) => inspect::run(&args, out),
        Verb::Relocate(args) => relocate::run(&args, out),
        Verb::Facts(args) => facts::run(&args, out),
        Verb::Plan(args) => plan::run(&args, out),
        Verb::Load(args) => load::run(&args, out),
        Verb::Verify(args) => verify::run(&args, out),
        Verb::Map(verb) => map::run(&verb, out),
        Verb::Prog(verb) => prog::run(&verb, out),
        Verb::Btf(verb) => btf::run(&verb, out),
        Verb::Explain(args) => explain::run(&args, out),
        Verb::Completions(args) => completions::run(&args, out),
    }
}
