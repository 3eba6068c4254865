//! `fuzz`: cargo-fuzz on the parsers and on CO-RE, from a corpus of the fixtures and of the kernel's own texts.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::need::{self, Need, OBJCOPY};
use crate::{Outcome, run};

/// A target, `fuzz/fuzz_targets/NAME.rs`, and what its corpus starts with.
struct Target {
    name: &'static str,
    seed: Seed,
}

/// Inputs to start from.
enum Seed {
    /// The fixtures.
    Whole,
    /// A section of each.
    Section(&'static str),
    /// Text in the form of a file of the kernel.
    Text(&'static str),
}

const TARGETS: &[Target] = &[
    Target { name: "elf", seed: Seed::Whole },
    Target { name: "btf", seed: Seed::Section(".BTF") },
    Target { name: "insn", seed: Seed::Section("tc") },
    // Its bytes are drawn from, not read: those of any kind will do.
    Target { name: "core", seed: Seed::Section(".BTF") },
    Target { name: "ops", seed: Seed::Section(".BTF") },
    Target {
        name: "kallsyms",
        seed: Seed::Text(
            "0000000000000000 A fixed_percpu_data\nffffffff81000000 T _text\nffffffff81000010 t x\nffffffff81000020 d \
             x.llvm.12\nffffffff81000030 T schedule\nffffffffc0000000 t schedule\t[nf_nat]\n",
        ),
    },
    Target {
        name: "kconfig",
        seed: Seed::Text(
            "# CONFIG_X is not set\nCONFIG_HZ=250\nCONFIG_BPF=y\nCONFIG_BTRFS_FS=m\nCONFIG_BASE=0xffff\nCONFIG_LOW=-12\n\
             CONFIG_LOCALVERSION=\"-x\"\n",
        ),
    },
];

/// What one input may take, in seconds and MiB. The time is generous, for a loaded machine and the sanitizer are slow.
const LIMITS: &[&str] = &[
    "-timeout=10",
    "-rss_limit_mb=2048",
    "-malloc_limit_mb=64",
    "-max_len=65536",
    "-verbosity=0",
    "-print_final_stats=1",
];

/// Fuzzes one target or all, each for some seconds.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let (seconds, targets) = parse(arguments)?;
    need::ensure(&[Need::Compiler, Need::FuzzBuild])?;
    if need::find_cargo_tool("cargo-fuzz").is_none() {
        run::show(run::cargo().args(["install", "--quiet", "--locked", "cargo-fuzz"]))?;
    }
    for target in targets {
        seed(target)?;
        println!("fuzzing `{}` for {seconds} s", target.name);
        let mut cargo = cargo_fuzz();
        cargo.args(["run", target.name, "--"]).args(LIMITS);
        run::show(cargo.arg(format!("-max_total_time={seconds}")))?;
    }
    Ok(())
}

fn parse(arguments: &[String]) -> Result<(u32, Vec<&'static Target>), String> {
    let usage = || "usage: fuzz [--seconds N] [elf|btf|insn|core|ops|kallsyms|kconfig]".to_owned();
    let (mut seconds, mut targets) = (60, Vec::new());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--seconds" {
            seconds = rest.next().and_then(|text| text.parse().ok()).ok_or_else(usage)?;
        } else {
            targets.push(TARGETS.iter().find(|target| target.name == argument).ok_or_else(usage)?);
        }
    }
    Ok((seconds, if targets.is_empty() { TARGETS.iter().collect() } else { targets }))
}

/// The sanitizer needs flags that a stable compiler takes only when told to behave as the nightly one.
fn cargo_fuzz() -> Command {
    let mut cargo = run::cargo();
    let rustc = run::capture(&mut run::command("rustc", ["--version"])).unwrap_or_default();
    if !rustc.contains("nightly") {
        cargo.env("RUSTC_BOOTSTRAP", "1");
    }
    cargo.arg("fuzz");
    cargo
}

/// Fills the target's corpus. A fixture without the section that it wants gives nothing.
fn seed(target: &Target) -> Outcome {
    let fixtures = run::root().join("fixtures/obj");
    let corpus = run::root().join("fuzz/corpus").join(target.name);
    let failed = |error: std::io::Error| format!("{}: {error}", corpus.display());
    fs::create_dir_all(&corpus).map_err(failed)?;
    if let Seed::Text(text) = target.seed {
        return fs::write(corpus.join("seed"), text).map_err(failed);
    }
    for entry in fs::read_dir(fixtures).map_err(failed)?.flatten() {
        let seed = corpus.join(entry.file_name());
        match target.seed {
            Seed::Section(section) => dump(&entry.path(), section, &seed),
            _ => drop(fs::copy(entry.path(), seed).map_err(failed)?),
        }
    }
    Ok(())
}

fn dump(object: &Path, section: &str, output: &Path) {
    let mut objcopy = run::command(OBJCOPY, ["--dump-section"]);
    objcopy.arg(format!("{section}={}", output.display())).arg(object).arg("/dev/null");
    // It fails where there is no such section.
    let _ = run::capture(&mut objcopy);
}
