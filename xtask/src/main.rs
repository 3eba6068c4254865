#![forbid(unsafe_code)]
//! Everything a person runs by hand: `cargo xtask COMMAND`. One file per command, one row per command here.

mod ci;
mod conformance;
mod demo;
mod docs;
mod fixtures;
mod fuzz;
mod manifest;
mod need;
mod oracle;
mod run;
mod test;
mod vm;

use std::fmt::Write as _;
use std::process::ExitCode;

/// What a command returns: nothing, or the sentence to print.
type Outcome = Result<(), String>;

struct Command {
    name: &'static str,
    usage: &'static str,
    about: &'static str,
    run: Run,
}

enum Run {
    /// Succeeds or fails.
    Plain(fn(&[String]) -> Outcome),
    /// Ends as what it runs does, and says itself what went wrong.
    Status(fn(&[String]) -> ExitCode),
}

const COMMANDS: &[Command] = &[
    Command {
        name: "demo",
        usage: "",
        about: "a guided tour: compile, inspect, plan, load, count packets, reuse a pin",
        run: Run::Plain(demo::run),
    },
    Command { name: "test", usage: "[ARGUMENTS]", about: "run all tests", run: Run::Plain(test::run) },
    Command {
        name: "ci",
        usage: "",
        about: "all that must pass before a merge; ends with the tests",
        run: Run::Plain(ci::run),
    },
    Command {
        name: "fixtures",
        usage: "[--check]",
        about: "compile fixtures/src into fixtures/obj; --check only compares",
        run: Run::Plain(fixtures::run),
    },
    Command {
        name: "docs",
        usage: "",
        about: "write the pages that are made from tables",
        run: Run::Plain(docs::run),
    },
    Command {
        name: "fuzz",
        usage: "[--seconds N] [TARGET]",
        about: "fuzz the parsers and CO-RE, a minute each",
        run: Run::Plain(fuzz::run),
    },
    Command {
        name: "bench",
        usage: "[--smoke]",
        about: "measure loading, with one thread and with two",
        run: Run::Plain(oracle::bench),
    },
    Command {
        name: "conformance",
        usage: "[ARGUMENTS]",
        about: "compare with libbpf on the kernel's own BPF programs",
        run: Run::Plain(conformance::run),
    },
    Command {
        name: "vm",
        usage: "--kernel K COMMAND...",
        about: "run a command, the tests or the conformance on another kernel, in a virtual machine",
        run: Run::Status(vm::run),
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        print!("{}", usage());
        return ExitCode::SUCCESS;
    };
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        eprint!("xtask: no command `{name}`\n\n{}", usage());
        return ExitCode::from(2);
    };
    match command.run {
        Run::Status(run) => run(rest),
        Run::Plain(run) => match run(rest) {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => {
                eprintln!("xtask {name}: {message}");
                ExitCode::FAILURE
            }
        },
    }
}

fn usage() -> String {
    let mut text = String::from("cargo xtask COMMAND\n\n");
    for command in COMMANDS {
        let _ = writeln!(text, "  {:<12} {:<24} {}", command.name, command.usage, command.about);
    }
    text
}
