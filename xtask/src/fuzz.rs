//! `fuzz`: cargo-fuzz on the parsers, from a corpus of the fixtures.

use std::fs;
use std::path::Path;

use crate::need::{self, Need};
use crate::{Outcome, run};

/// The targets: `fuzz/fuzz_targets/NAME.rs`.
const TARGETS: &[&str] = &["elf", "btf", "insn"];

/// What a parser may take of one input. libFuzzer stops on the first input that is slower or larger.
const LIMITS: &[&str] = &["-timeout=1", "-rss_limit_mb=1024", "-malloc_limit_mb=64", "-max_len=65536"];

/// Fuzzes one target or all, each for some seconds.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let (seconds, targets) = parse(arguments)?;
    need::ensure(&[Need::FuzzBuild])?;
    if need::find_cargo_tool("cargo-fuzz").is_none() {
        run::show(run::cargo().args(["install", "--quiet", "--locked", "cargo-fuzz"]))?;
    }
    let fixtures = run::root().join("fixtures/obj");
    for target in targets {
        let corpus = run::root().join("fuzz/corpus").join(target);
        seed(&fixtures, &corpus).map_err(|error| format!("{}: {error}", corpus.display()))?;
        println!("fuzzing `{target}` for {seconds} s");
        let mut cargo = cargo_fuzz();
        cargo.args(["run", target, "--"]).args(LIMITS);
        cargo.args([format!("-max_total_time={seconds}"), "-print_final_stats=1".into()]);
        run::show(&mut cargo)?;
    }
    Ok(())
}

fn parse(arguments: &[String]) -> Result<(u32, Vec<&'static str>), String> {
    let usage = || format!("usage: fuzz [--seconds N] [{}]", TARGETS.join("|"));
    let (mut seconds, mut targets) = (60, Vec::new());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--seconds" {
            seconds = rest.next().and_then(|text| text.parse().ok()).ok_or_else(usage)?;
        } else {
            targets.push(*TARGETS.iter().find(|target| *target == argument).ok_or_else(usage)?);
        }
    }
    Ok((seconds, if targets.is_empty() { TARGETS.to_vec() } else { targets }))
}

/// The sanitizers need flags that a stable compiler takes only when told to behave as the nightly one.
fn cargo_fuzz() -> std::process::Command {
    let mut cargo = run::cargo();
    let rustc = run::capture(&mut run::command("rustc", ["--version"])).unwrap_or_default();
    if !rustc.contains("nightly") {
        cargo.env("RUSTC_BOOTSTRAP", "1");
    }
    cargo.arg("fuzz");
    cargo
}

/// Puts every fixture into the corpus: whole, for each parser finds its part in an ELF file.
fn seed(fixtures: &Path, corpus: &Path) -> std::io::Result<()> {
    fs::create_dir_all(corpus)?;
    for entry in fs::read_dir(fixtures)?.flatten() {
        fs::copy(entry.path(), corpus.join(entry.file_name()))?;
    }
    Ok(())
}
