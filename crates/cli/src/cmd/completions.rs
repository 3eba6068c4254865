//! `onebpf completions`: for shells, and the manual page.

use crate::exit::Outcome;
use crate::out::Out;
use clap::{Command, ValueEnum};
use clap_complete::Shell;

/// Completions for a shell, or the manual page.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// For which shell, or `man` for the manual page
    target: Target,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Target {
    Bash,
    Elvish,
    Fish,
    Zsh,
    Man,
}

pub(crate) fn run(args: &Args, mut command: Command, out: &mut Out) -> Outcome {
    let shell = match args.target {
        Target::Bash => Shell::Bash,
        Target::Elvish => Shell::Elvish,
        Target::Fish => Shell::Fish,
        Target::Zsh => Shell::Zsh,
        Target::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            return out.raw(&page);
        }
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "onebpf", &mut script);
    out.raw(&script)
}
