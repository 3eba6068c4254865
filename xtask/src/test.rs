//! `test`: everything. Tests that need root make private namespaces of their own; without root they say that they skip.

use crate::need::{self, Need};
use crate::{Outcome, run};

/// Runs all tests; arguments go to the test runner.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let chosen = arguments.iter().any(|argument| argument == "-p" || argument == "--package");
    let mut workspace = if chosen { vec![] } else { vec!["--workspace"] };
    if !run::is_root() {
        println!(
            "SKIPPED without root: every test that calls bpf(2), mounts bpffs or makes a network namespace"
        );
    }
    if let Err(message) = need::ensure(&[Need::Compiler, Need::KernelTools]) {
        println!("SKIPPED: tests that compile C or ask bpftool and tc; {message}");
    }
    if let Err(message) = need::ensure(&[Need::OracleBuild]) {
        println!("SKIPPED: crate `oracle`, the comparison with libbpf; {message}");
        if !chosen {
            workspace.extend(["--exclude", "oracle"]);
        }
    }
    if need::find_cargo_tool("cargo-nextest").is_some() {
        // nextest runs no doctests; they go first, so that its summary comes last.
        let with = |words: &[&str]| run::show(run::cargo().args(words).args(&workspace).args(arguments));
        let documents = with(&["test", "--quiet", "--doc"]);
        return with(&["nextest", "run", "--no-fail-fast"]).and(documents);
    }
    run::show(run::cargo().args(["test", "--no-fail-fast"]).args(&workspace).args(arguments))
}
