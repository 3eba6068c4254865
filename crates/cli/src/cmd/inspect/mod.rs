//! `onebpf inspect`: what an object holds. Asks no kernel.

mod json;
mod text;

use crate::exit::Outcome;
use crate::load_args::ReadArgs;
use crate::out::Out;
use std::path::PathBuf;

/// What an object holds: maps, programs, variables, externs, CO-RE relocations, warnings.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// A compiled BPF object
    file: PathBuf,
    #[command(flatten)]
    read: ReadArgs,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Outcome {
    let spec = args.read.object(&args.file)?.spec;
    if out.json { out.json(&json::Object::from(&spec)) } else { text::print(&spec, &args.file, out) }
}
