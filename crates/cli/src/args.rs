//! What can be typed.

use crate::cmd::Verb;
use crate::out::Global;
use clap::Parser;

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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_agree_with_each_other() {
        Cli::command().debug_assert();
    }
}
