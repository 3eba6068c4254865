#![forbid(unsafe_code)]
//! The `onebpf` command: printing lives only here; all else is in the libraries.

mod args;
mod cmd;
mod core_path;
mod errors;
mod exit;
mod iproute;
mod listing;
mod load_args;
mod names;
mod out;
mod patience;
mod render;
mod report;
mod status;
mod table;
mod target;
mod value;

use clap::{CommandFactory, Parser};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = args::Cli::parse_from(args::typed(std::env::args_os()));
    let mut out = out::Out::new(cli.global);
    let outcome = cmd::run(cli.verb, args::Cli::command(), &mut out).and_then(|()| out.finish());
    status::code(outcome, &mut out)
}
