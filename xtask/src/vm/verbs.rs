//! What `vm` can do in a guest besides running a command: tests, the comparison with libbpf, the kernel's BTF.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::machine::End;
use super::options::Options;
use super::{in_guest, prepare, quoted, script, variables};
use crate::{oracle, run};

/// A row of the table.
#[derive(Debug)]
pub(super) struct Verb {
    pub(super) name: &'static str,
    pub(super) usage: &'static str,
    pub(super) about: &'static str,
    /// How long a guest may take for it.
    pub(super) timeout: Duration,
    run: fn(&Options, &[String]) -> Result<End, String>,
}

pub(super) const VERBS: &[Verb] = &[
    Verb {
        name: "test",
        usage: "[-p CRATE]... [--test NAME] [FILTER]",
        about: "run test binaries of the crates that call the kernel, all in one boot",
        timeout: Duration::from_hours(1),
        run: test,
    },
    Verb {
        name: "conformance",
        usage: "[ARGUMENTS]",
        about: "`cargo xtask conformance` there; objects are built here",
        timeout: Duration::from_hours(3),
        run: conformance,
    },
    Verb {
        name: "btf",
        usage: "",
        about: "print the path of the kernel's BTF, which is read out of a guest once",
        timeout: Duration::from_mins(2),
        run: btf,
    },
];

impl PartialEq for Verb {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Verb {}

pub(super) fn run(verb: &Verb, options: &Options, rest: &[String]) -> Result<End, String> {
    (verb.run)(options, rest)
}

/// The crates whose tests call the kernel.
const CRATES: [&str; 4] = ["onebpf-sys", "onebpf-fake", "onebpf", "onebpf-cli"];
/// Test binaries that ask no kernel, and take long where the processor is emulated: not run unless named.
const PURE: [&str; 3] = ["offline", "plans", "mutations"];
/// Seconds that one test binary may take.
const PATIENCE: u32 = 1200;

/// A test binary, and the directory in which cargo would run it.
struct Binary {
    krate: String,
    test: String,
    file: String,
    directory: PathBuf,
}

/// Builds the tests as cargo does, and runs them one binary after the other, one test at a time: they share one kernel.
fn test(options: &Options, rest: &[String]) -> Result<End, String> {
    let mut selection = Vec::new();
    let mut filters = Vec::new();
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-p" | "--package" | "--test" => {
                selection.push(word.as_str());
                selection.push(words.next().ok_or_else(|| format!("{word} needs a name"))?);
            }
            "--lib" | "--tests" | "--bins" => selection.push(word),
            _ => filters.push(quoted(word)),
        }
    }
    if !selection.iter().any(|word| *word == "-p" || *word == "--package") {
        selection.extend(CRATES.iter().flat_map(|name| ["-p", name]));
    }
    let named = selection.contains(&"--test");
    let mut binaries = build_tests(&selection)?;
    binaries.retain(|binary| named || !PURE.contains(&binary.test.as_str()));
    let mut script = variables(options);
    script += "export RUST_TEST_THREADS=1\nfailed=\n";
    for Binary { krate, test, file, directory } in &binaries {
        let directory = quoted(&directory.to_string_lossy());
        let (label, file) = (quoted(&format!("{krate}: {test}")), quoted(file));
        let arguments = filters.join(" ");
        let _ = writeln!(script, "printf '\\n== %s ==\\n' {label}; cd {directory}");
        let _ = writeln!(
            script,
            "timeout -s KILL {PATIENCE} {file} {arguments} || failed=\"$failed\n  \"{label}"
        );
    }
    let count = binaries.len();
    let _ =
        writeln!(script, "[ -z \"$failed\" ] && {{ printf '\\n{count} test binaries passed\\n'; exit 0; }}");
    let _ = writeln!(script, "printf '\\nof {count} test binaries failed:%s\\n' \"$failed\"; exit 101");
    in_guest(options, &script)
}

fn build_tests(selection: &[&str]) -> Result<Vec<Binary>, String> {
    let mut cargo = run::cargo();
    // As plain JSON, with the compiler's words on standard error.
    cargo.args(["test", "--no-run", "--message-format", "json-render-diagnostics"]).args(selection);
    let said = run::capture(&mut cargo)?;
    let messages = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let binary = |message: Value| {
        let file = message["executable"].as_str().filter(|_| message["profile"]["test"] == true)?;
        let package = PathBuf::from(message["manifest_path"].as_str()?).parent()?.to_path_buf();
        let krate = package.file_name()?.to_string_lossy().into_owned();
        let test = message["target"]["name"].as_str()?.to_owned();
        Some(Binary { krate, test, file: file.to_owned(), directory: package })
    };
    let mut binaries: Vec<Binary> = messages.filter_map(binary).collect();
    // Cargo names them as it is done with them. What lies below comes first.
    binaries.sort_by_key(|it| (CRATES.iter().position(|krate| krate.ends_with(&it.krate)), it.test.clone()));
    Ok(binaries)
}

fn conformance(options: &Options, rest: &[String]) -> Result<End, String> {
    in_guest(options, &script(options, &oracle::conformance_elsewhere(rest)?)?)
}

fn btf(options: &Options, _: &[String]) -> Result<End, String> {
    println!("{}", kernel_btf(options)?.display());
    Ok(End::Exit(0))
}

/// The BTF of a kernel, kept beside it.
pub(super) fn kernel_btf(options: &Options) -> Result<PathBuf, String> {
    let kernel = prepare(&options.kernel)?;
    let file = kernel.directory.join("btf/vmlinux");
    if file.is_file() {
        return Ok(file);
    }
    let made = kernel.directory.join("btf.new");
    std::fs::create_dir_all(&made).map_err(|error| format!("{}: {error}", made.display()))?;
    let mut options = options.clone();
    options.shares.push(kernel.directory.clone());
    match in_guest(&options, &format!("cp /sys/kernel/btf/vmlinux {}\n", quoted(&made.to_string_lossy())))? {
        End::Exit(0) => {}
        other => return Err(format!("cannot read the BTF of {}: {other:?}", kernel.version)),
    }
    let place = kernel.directory.join("btf");
    std::fs::rename(&made, &place).map_err(|error| format!("{}: {error}", place.display()))?;
    Ok(file)
}
