//! What can be typed.

use crate::cmd::Verb;
use crate::out::Global;
use clap::Parser;
use std::ffi::OsString;

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

/// The command line, with a `--` after `tc` and `ip`: what follows them is theirs, also what looks like an option of ours.
pub(crate) fn typed(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.collect();
    let is_option = |at: usize| words.get(at).is_some_and(|word| word.as_encoded_bytes().starts_with(b"-"));
    let is_color = |at: usize| words.get(at).is_some_and(|word| word == "--color");
    let verb = (1..words.len()).find(|at| !is_option(*at) && !is_color(at - 1));
    let passes_on = |at: &usize| words.get(*at).is_some_and(|word| word == "tc" || word == "ip");
    if let Some(at) = verb.filter(passes_on)
        && words.get(at + 1).is_none_or(|word| word != "--help")
    {
        words.insert(at + 1, "--".into());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_agree_with_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_after_tc_and_ip_are_theirs() {
        let typed = |line: &str| {
            let words = typed(line.split(' ').map(OsString::from));
            words.join(std::ffi::OsStr::new(" ")).into_string().unwrap()
        };
        assert_eq!(typed("onebpf tc -s qdisc"), "onebpf tc -- -s qdisc");
        assert_eq!(typed("onebpf --color never ip --json link"), "onebpf --color never ip -- --json link");
        assert_eq!(typed("onebpf tc --help"), "onebpf tc --help");
        assert_eq!(typed("onebpf load tc"), "onebpf load tc");
        assert_eq!(typed("onebpf"), "onebpf");
    }
}
