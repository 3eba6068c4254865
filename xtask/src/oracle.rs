//! `bench` and `conformance`: binaries of the crate `oracle`, which links libbpf; only what they need is arranged here.

use crate::need::{self, Need};
use crate::{Outcome, run};

/// Load times, with one thread and with two; `--smoke` only proves that the benchmark runs.
pub(crate) fn bench(arguments: &[String]) -> Outcome {
    binary("bench", &[], arguments)
}

/// Compares what onebpf makes of the kernel's own BPF selftests with what libbpf makes of them.
pub(crate) fn conformance(arguments: &[String]) -> Outcome {
    binary("conformance", &[Need::Selftests], arguments)
}

fn binary(name: &str, also: &[Need], arguments: &[String]) -> Outcome {
    need::ensure(&[&[Need::Compiler, Need::KernelTools, Need::OracleBuild], also].concat())?;
    // Both run the command as people use it.
    run::show(run::cargo().args(["build", "--quiet", "--release", "-p", "onebpf-cli"]))?;
    let mut cargo = run::cargo();
    cargo.env("ONEBPF", run::target()?.join("release/onebpf"));
    cargo.args(["run", "--quiet", "--release", "-p", "oracle", "--bin", name, "--"]).args(arguments);
    run::show(&mut cargo)
}
