//! What is not about BPF is done by the system's own `tc` and `ip`.

use crate::exit::{Failure, Outcome};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus};

/// Becomes the system's tool, with the same words. Returns only if there is none.
pub(crate) fn become_it(tool: &str, words: &[String]) -> Failure {
    missing(tool, &Command::new(tool).args(words).exec())
}

/// Runs the system's tool and waits for it.
pub(crate) fn run(tool: &str, words: &[String]) -> Outcome<ExitStatus> {
    Command::new(tool).args(words).status().map_err(|error| missing(tool, &error))
}

fn missing(tool: &str, error: &std::io::Error) -> Failure {
    Failure::new("E0912", format!("the system's `{tool}` cannot be run: {}", crate::load_args::reason(error)))
        .hint(format!("this is not about BPF, so it is handed to `{tool}` of iproute2"))
}
