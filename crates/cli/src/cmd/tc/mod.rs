//! `onebpf tc`: tc's command lines about BPF programs; all others are the system's.

mod action;
mod exec;
mod filter;
#[cfg(test)]
mod tests;

use crate::exit::Outcome;
use crate::iproute::options::TC;
use crate::iproute::source::EXPORT_VARIABLE;
use crate::iproute::verb;
use crate::iproute::words::{Words, matches};
use crate::out::Out;
use onebpf::Kernel;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What tc does with BPF programs, by its own command lines; the rest is handed to tc
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// `filter add dev eth0 ingress bpf da obj FILE sec NAME`, ...
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// A command line that is ours.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    Filter(filter::Request),
    Actions(action::Request),
    Exec(exec::Request),
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Outcome {
    let export = std::env::var_os(EXPORT_VARIABLE).map(PathBuf::from);
    let parse = |words: Words<'_>, _: &_| parse(words, export.as_deref());
    verb::run(TC, &args.words, &parse, &perform, out)
}

/// Reads what follows tc's options. `None`: it is the system's.
fn parse(mut words: Words<'_>, export: Option<&Path>) -> Outcome<Option<Request>> {
    // In tc's order: `c` is class, `f` is filter.
    const OBJECTS: [&str; 7] = ["qdisc", "class", "filter", "chain", "actions", "monitor", "exec"];
    let object = words.next().and_then(|word| OBJECTS.iter().find(|full| matches(word, full)));
    Ok(match object {
        Some(&"filter") => filter::parse(words, export)?.map(Request::Filter),
        Some(&"actions") => action::parse(words, export)?.map(Request::Actions),
        Some(&"exec") => exec::parse(words)?.map(Request::Exec),
        _ => None,
    })
}

fn perform(kernel: &Arc<dyn Kernel>, request: &Request, out: &mut Out) -> Outcome {
    match request {
        Request::Filter(request) => filter::run(kernel, request, out),
        Request::Actions(request) => action::run(kernel, request, out),
        Request::Exec(request) => exec::run(kernel, request, out),
    }
}
