//! What can be typed.

use crate::cmd;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// One loader for every BPF object.
#[derive(Debug, Parser)]
#[command(
    name = "onebpf",
    version,
    disable_help_subcommand = true,
    after_help = "Exit status: 0 done, 1 it failed, 2 wrong usage.",
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Options of every verb.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Global {
    /// Print one JSON document instead of text.
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,
    /// Show more.
    #[arg(short, long, global = true, help_heading = "Output")]
    pub(crate) verbose: bool,
    /// When to use colours; NO_COLOR counts as `never` in `auto`.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = "Output")]
    pub(crate) color: ColorChoice,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    #[default]
    Auto,
    Always,
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// What an object holds: maps, programs, variables, externs, CO-RE relocations, warnings
    Inspect(cmd::inspect::Args),
    /// The final instructions of each program, as the kernel would get them, and what they refer to
    Relocate(cmd::relocate::Args),
    /// What this host offers: features, limits, CPUs, kernel release, BTF
    Facts(cmd::facts::Args),
    /// The steps that `load` would take, and how they differ from what is pinned now
    Plan(cmd::plan::Args),
    /// Load an object: create, load, fill, pin, all or nothing
    Load(cmd::load::Args),
    /// Load each program alone and keep nothing: verdict, instructions, states, stack, time
    Verify(cmd::verify::Args),
    /// List, show, dump, look up, update, delete from, and pin maps
    #[command(subcommand)]
    Map(cmd::map::Verb),
    /// List, show, run, and pin programs
    #[command(subcommand)]
    Prog(cmd::prog::Verb),
    /// Type information
    #[command(subcommand)]
    Btf(cmd::btf::Verb),
    /// The long story of an error code
    Explain(cmd::explain::Args),
    /// Completions for a shell, or the manual page
    #[command(hide = true)]
    Completions(cmd::completions::Args),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_agree_with_each_other() {
        Cli::command().debug_assert();
    }
}
