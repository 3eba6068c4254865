//! The verbs, one file each.

pub(crate) mod btf;
pub(crate) mod completions;
pub(crate) mod explain;
pub(crate) mod facts;
pub(crate) mod inspect;
pub(crate) mod ip;
pub(crate) mod load;
pub(crate) mod map;
pub(crate) mod plan;
pub(crate) mod prog;
pub(crate) mod recover;
pub(crate) mod relocate;
pub(crate) mod rollback;
pub(crate) mod status;
pub(crate) mod tc;
pub(crate) mod verify;

use crate::exit::Outcome;
use crate::out::Out;
use clap::Subcommand;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// What an object holds: maps, programs, variables, externs, CO-RE relocations, warnings
    Inspect(inspect::Args),
    /// The final instructions of each program, as the kernel would get them, and what they refer to
    Relocate(relocate::Args),
    /// What this host offers: features, limits, CPUs, kernel release, BTF
    Facts(facts::Args),
    /// The steps that `load` would take, and how they differ from what is pinned now
    Plan(plan::Args),
    /// Load an object: create, load, fill, pin, all or nothing
    Load(load::Args),
    /// What is loaded, as manifests say it, held against what is pinned
    Status(status::Args),
    /// Finish or undo loads that were killed
    Recover(recover::Args),
    /// Back to what the last `load --keep-previous` has replaced, all or nothing
    Rollback(rollback::Args),
    /// Load each program alone and keep nothing: verdict, instructions, states, stack, time
    Verify(verify::Args),
    /// List, show, dump, look up, update, delete from, and pin maps
    #[command(subcommand)]
    Map(map::Verb),
    /// List, show, run, and pin programs
    #[command(subcommand)]
    Prog(prog::Verb),
    /// Type information
    #[command(subcommand)]
    Btf(btf::Verb),
    /// What tc does with BPF programs, by its own command lines; the rest is handed to tc
    Tc(tc::Args),
    /// What ip does with BPF programs, by its own command lines; the rest is handed to ip
    Ip(ip::Args),
    /// The long story of an error code
    Explain(explain::Args),
    /// Completions for a shell, or the manual page
    #[command(hide = true)]
    Completions(completions::Args),
}

/// Does what was asked; `command` is the grammar that it was asked in.
pub(crate) fn run(verb: Verb, command: clap::Command, out: &mut Out) -> Outcome {
    match verb {
        Verb::Inspect(args) => inspect::run(&args, out),
        Verb::Relocate(args) => relocate::run(&args, out),
        Verb::Facts(args) => facts::run(&args, out),
        Verb::Plan(args) => plan::run(&args, out),
        Verb::Load(args) => load::run(&args, out),
        Verb::Status(args) => status::run(&args, out),
        Verb::Recover(args) => recover::run(&args, out),
        Verb::Rollback(args) => rollback::run(&args, out),
        Verb::Verify(args) => verify::run(&args, out),
        Verb::Map(verb) => map::run(&verb, out),
        Verb::Prog(verb) => prog::run(&verb, out),
        Verb::Btf(verb) => btf::run(&verb, out),
        Verb::Tc(args) => tc::run(&args, out),
        Verb::Ip(args) => ip::run(&args, out),
        Verb::Explain(args) => explain::run(&args, out),
        Verb::Completions(args) => completions::run(&args, command, out),
    }
}
