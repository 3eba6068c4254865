//! `ci`: what must pass before a change is merged, cheapest first; the tests come last, so that their summary ends the output.

use std::time::Instant;

use crate::{Outcome, fixtures, fuzz, oracle, run, test, vm};

struct Stage {
    name: &'static str,
    run: fn() -> Outcome,
}

const STAGES: &[Stage] = &[
    Stage { name: "format", run: format },
    Stage { name: "build without a C compiler", run: build_without_c },
    Stage { name: "lints", run: lints },
    Stage { name: "documentation", run: documentation },
    Stage { name: "fixtures", run: || fixtures::run(&["--check".into()]) },
    Stage { name: "benchmark, smoke", run: || oracle::bench(&["--smoke".into()]) },
    Stage { name: "fuzz, half a minute each", run: || fuzz::run(&["--seconds".into(), "30".into()]) },
    Stage { name: "another kernel, smoke", run: vm::smoke },
    Stage { name: "tests", run: || test::run(&[]) },
];

/// Runs all stages, or up to the first that fails.
pub(crate) fn run(_: &[String]) -> Outcome {
    let mut times = Vec::new();
    for stage in STAGES {
        if stage.name == "tests" {
            for (name, seconds) in &times {
                println!("{seconds:>7.1} s  {name}");
            }
        }
        println!("\n== {} ==", stage.name);
        let start = Instant::now();
        (stage.run)().map_err(|message| format!("stage `{}`: {message}", stage.name))?;
        let seconds = start.elapsed().as_secs_f64();
        println!("== {}: {seconds:.1} s ==", stage.name);
        times.push((stage.name, seconds));
    }
    Ok(())
}

fn format() -> Outcome {
    run::show(run::cargo().args(["fmt", "--all", "--check"]))?;
    run::show(run::cargo().args(["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]))
}

/// The default members must build where there is no C compiler: every name under which one is looked for fails.
fn build_without_c() -> Outcome {
    let mut cargo = run::cargo();
    for name in ["CC", "CXX", "HOST_CC", "TARGET_CC", "CLANG"] {
        cargo.env(name, "/bin/false");
    }
    run::show(cargo.arg("build"))?;
    let tree = run::capture(run::cargo().args(["tree", "--edges", "normal,build", "--prefix", "none"]))?;
    let compilers = ["cc v", "bindgen v", "cmake v"];
    match tree.lines().find(|line| compilers.iter().any(|name| line.starts_with(name))) {
        Some(line) => Err(format!("the default members depend on `{line}`, which compiles C")),
        None => Ok(()),
    }
}

fn lints() -> Outcome {
    crate::need::ensure(&[crate::need::Need::OracleBuild])?;
    run::show(run::cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn documentation() -> Outcome {
    let mut cargo = run::cargo();
    cargo.env("RUSTDOCFLAGS", "-D warnings").args(["doc", "--workspace", "--no-deps", "--exclude", "oracle"]);
    run::show(&mut cargo)
}
