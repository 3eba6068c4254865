//! Binaries of the crate `oracle`, which links libbpf: `bench` and `conformance`. Only what they need is arranged here.

use std::process::Command;

use crate::need::{self, Need};
use crate::{Outcome, run};

/// Load times, with one thread and with two; `--smoke` only proves that the benchmark runs.
pub(crate) fn bench(arguments: &[String]) -> Outcome {
    let mut command = binary("bench", Need::Compiler)?;
    command.env("ONEBPF", run::target()?.join("release/onebpf")).args(arguments);
    run::show(&mut command)
}

/// The comparison as a command for a kernel where nothing can be built: the objects are built here.
pub(crate) fn conformance_elsewhere(arguments: &[String]) -> Result<Vec<String>, String> {
    let mut arguments = arguments.to_vec();
    if !arguments.iter().any(|argument| argument == "--objects") {
        let mut build = conformance_command(&arguments)?;
        let directory = run::capture(build.arg("--build-only"))?;
        arguments.extend(["--objects".to_owned(), directory.trim().to_owned()]);
    }
    let command = conformance_command(&arguments)?;
    let words = [command.get_program()].into_iter().chain(command.get_args());
    Ok(words.map(|word| word.to_string_lossy().into_owned()).collect())
}

/// Compares what onebpf makes of the kernel's own BPF selftests with what libbpf makes of them.
pub(crate) fn conformance_command(arguments: &[String]) -> Result<Command, String> {
    let older = arguments.windows(2).any(|pair| pair == ["--linux", "6.1"]);
    let mut command = binary("conformance", if older { Need::Selftests61 } else { Need::Selftests })?;
    if !arguments.iter().any(|argument| argument == "--onebpf") {
        command.arg("--onebpf").arg(run::target()?.join("release/onebpf"));
    }
    command.args(arguments);
    Ok(command)
}

/// A binary of the crate, built as people use it, beside the command, which it tests. What is missing is installed.
fn binary(name: &str, also: Need) -> Result<Command, String> {
    need::ensure(&[Need::Compiler, Need::KernelTools, Need::OracleBuild, also])?;
    run::show(run::cargo().args(["build", "--quiet", "--release", "-p", "onebpf-cli"]))?;
    run::show(run::cargo().args(["build", "--quiet", "--release", "-p", "oracle", "--bin", name]))?;
    let path = run::target()?.join("release").join(name);
    Ok(Command::new(path))
}
