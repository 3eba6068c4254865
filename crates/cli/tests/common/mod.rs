//! Runs the command on the fixtures.
#![allow(dead_code, reason = "each test file uses its part")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where the fixtures' objects are.
pub(crate) fn objects() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/obj")
}

/// The binary under test.
pub(crate) fn onebpf() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onebpf"));
    command.current_dir(objects()).env("COLUMNS", "80").env_remove("NO_COLOR");
    command
}

/// Runs a line of words.
pub(crate) fn run(line: &str) -> Output {
    onebpf().args(line.split_whitespace()).output().expect("the command starts")
}

/// Exit status.
pub(crate) fn status(output: &Output) -> i32 {
    output.status.code().expect("it was not killed")
}

/// Standard output as text.
pub(crate) fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("output is UTF-8")
}

/// Standard error as text.
pub(crate) fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("messages are UTF-8")
}

/// The result of a run that succeeds.
pub(crate) fn ok(line: &str) -> String {
    let output = run(line);
    assert_eq!(status(&output), 0, "{line}: {}", err(&output));
    out(&output)
}

/// The JSON document of a run, whatever its status.
pub(crate) fn json(line: &str) -> Value {
    let output = run(line);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{line}: {error}: {}", err(&output)))
}

/// Runs a shell script in which `onebpf` is the command and /sys/fs/bpf a new BPF filesystem.
pub(crate) fn shell(script: &str) -> Option<Output> {
    let setup = "mount -t bpf bpf /sys/fs/bpf && mount -t tmpfs tmpfs /mnt && mount -t tmpfs tmpfs /run";
    let script = format!("set -e; {setup}; onebpf() {{ \"$ONEBPF\" \"$@\"; }}; {script}");
    let mut command = testing::private_shell("sh", "mount -t bpf bpf /sys/fs/bpf", &script)?;
    command.current_dir(objects()).env("ONEBPF", env!("CARGO_BIN_EXE_onebpf"));
    command.env("COLUMNS", "80").env("NO_COLOR", "1");
    Some(command.output().expect("sh starts"))
}

/// The documents that a script printed.
pub(crate) fn documents(output: &Output) -> Vec<Value> {
    let stream = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
    stream.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{error}: {}", out(output)))
}

/// The script came to its end.
pub(crate) fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}\n{}", out(output), err(output));
}

/// The names of all objects among the fixtures.
pub(crate) fn all_objects() -> Vec<String> {
    let files = std::fs::read_dir(objects()).expect("fixtures are there");
    let names = files.map(|file| file.expect("readable").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> =
        names.filter(|name| Path::new(name).extension().is_some_and(|end| end == "o")).collect();
    names.sort();
    assert!(names.len() > 50, "few fixtures: {names:?}");
    names
}
