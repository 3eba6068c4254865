//! `onebpf ip`: ip's command lines about BPF programs; all others are the system's.

mod address;
mod link;
mod metrics;
mod route;
#[cfg(test)]
mod tests;

use crate::exit::Outcome;
use crate::iproute::options::{IP, Options};
use crate::iproute::verb;
use crate::iproute::words::{Words, matches};
use crate::out::Out;
use onebpf::Kernel;
use std::sync::Arc;

/// What ip does with BPF programs, by its own command lines; the rest is handed to ip
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// `link set dev eth0 xdp obj FILE sec NAME`, `route add ... encap bpf out obj FILE ...`, ...
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// A command line that is ours.
#[derive(Debug, PartialEq)]
enum Request {
    Link(link::Request),
    Route(Box<route::Request>),
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Outcome {
    verb::run(IP, &args.words, &parse, &perform, out)
}

/// Reads what follows ip's options. `None`: it is the system's.
fn parse(mut words: Words<'_>, options: &Options) -> Outcome<Option<Request>> {
    // In ip's order, up to those that are ours: `r` is route, `l` is link.
    const OBJECTS: [&str; 8] =
        ["address", "addrlabel", "maddress", "route", "rule", "neighbor", "neighbour", "link"];
    let object = words.next().and_then(|word| OBJECTS.iter().find(|full| matches(word, full)));
    Ok(match object {
        Some(&"link") => link::parse(words, options.force)?.map(Request::Link),
        Some(&"route") => route::parse(words, options.ipv6)?.map(|request| Request::Route(Box::new(request))),
        _ => None,
    })
}

fn perform(kernel: &Arc<dyn Kernel>, request: &Request, out: &mut Out) -> Outcome {
    match request {
        Request::Link(request) => link::run(kernel, request, out),
        Request::Route(request) => route::run(kernel, request, out),
    }
}
