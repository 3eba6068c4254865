//! `vm`: runs a command on one of Debian's kernels, in a virtual machine that is gone afterwards.
//!
//! The guest sees the host's files under a layer in its memory, at their own paths, so that every tool and library of the
//! host is there; what it writes is lost, but for the repository and the target directory, which are shared.

mod apt;
mod cpio;
mod kernel;
mod machine;
mod modules;
mod options;
mod verbs;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::need::{self, Need};
use crate::{Outcome, run};
use kernel::Kernel;
use machine::{End, Guest};
use options::{Options, What};

/// As timeout(1).
const TIMED_OUT: u8 = 124;
const DIED: u8 = 125;
const SETUP: u8 = 126;

/// The kernel of [`smoke`].
const SMOKE: &str = "6.12";

/// Variables that a guest's command has of ours.
const VARIABLES: [&str; 8] =
    ["PATH", "HOME", "LD_LIBRARY_PATH", "RUST_", "CARGO_", "NEXTEST_", "ONEBPF", "ORACLE_"];

/// Ends as the command does; else with 124 (timeout), 125 (the guest died) or 126 (no guest could be set up).
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    match Options::parse(arguments).and_then(|options| ended(&options)) {
        Ok(End::Exit(status)) => ExitCode::from(status),
        Ok(End::Timeout) => {
            eprintln!("vm: stopped after the time given");
            ExitCode::from(TIMED_OUT)
        }
        Ok(End::Died { console, .. }) => {
            eprintln!("vm: the guest died; the end of its console:\n{console}");
            ExitCode::from(DIED)
        }
        Err(why) => {
            eprintln!("vm: {why}");
            ExitCode::from(SETUP)
        }
    }
}

/// A short test run on another kernel. Where no guest can be had, that is said and is no failure.
pub(crate) fn smoke() -> Outcome {
    if let Err(why) = prepare(SMOKE) {
        println!("SKIPPED: tests on Linux {SMOKE}, in a virtual machine; {why}");
        return Ok(());
    }
    let words = ["--kernel", SMOKE, "test", "-p", "onebpf-sys", "--test", "probes"];
    let options = Options::parse(&words.map(str::to_owned))?;
    match ended(&options)? {
        End::Exit(0) => Ok(()),
        other => Err(format!("on Linux {SMOKE}: {other:?}")),
    }
}

/// The file with the BTF of Debian's kernel of that release.
pub(crate) fn kernel_btf(release: &str) -> Result<PathBuf, String> {
    verbs::kernel_btf(&Options::parse(&["--kernel", release, "btf"].map(str::to_owned))?)
}

fn ended(options: &Options) -> Result<End, String> {
    match &options.what {
        What::Command(command) => in_guest(options, &script(options, command)?),
        What::Verb(verb, rest) => verbs::run(verb, options, rest),
    }
}

fn prepare(release: &str) -> Result<Kernel, String> {
    if !run::is_root() {
        return Err("needs root: virtiofsd serves the host's files".into());
    }
    need::ensure(&[Need::VirtualMachine])?;
    if !machine::VIRTIOFSD.iter().any(|path| Path::new(path).exists()) {
        // A package of its own since Debian 13, part of qemu-system-common before.
        need::ensure(&[Need::Virtiofsd])?;
    }
    Kernel::of(release)
}

fn in_guest(options: &Options, script: &str) -> Result<End, String> {
    let kernel = prepare(&options.kernel)?;
    let mut shares = vec![run::root(), run::target()?];
    shares.extend(options.shares.iter().cloned());
    let outer = |share: &PathBuf| !shares.iter().any(|other| share != other && share.starts_with(other));
    let shares: Vec<PathBuf> = shares.iter().filter(|share| outer(share)).cloned().collect();
    let guest = Guest {
        kernel: &kernel,
        script,
        shares: &shares,
        modules: &options.modules,
        memory: &options.memory,
        append: &options.append,
        timeout: options.timeout,
        console: options.console.as_deref(),
    };
    guest.run()
}

/// A command as a script: our variables and those asked for, the directory, the command.
fn script(options: &Options, command: &[String]) -> Result<String, String> {
    let here = std::env::current_dir().map_err(|error| format!("where am I? {error}"))?;
    let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    Ok(format!("{}cd {}\nexec {}\n", variables(options), quoted(&here.to_string_lossy()), words.join(" ")))
}

/// The lines that set variables; `ONEBPF_VM` is the kernel's release.
fn variables(options: &Options) -> String {
    let wanted = |name: &str| VARIABLES.iter().any(|prefix| name.starts_with(prefix));
    let ours = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let ours =
        ours.filter(|(name, _)| wanted(name) && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_'));
    let own = [("ONEBPF_VM".to_owned(), options.kernel.clone())];
    let all = ours.chain(own).chain(options.env.iter().cloned());
    all.fold(String::new(), |lines, (name, value)| format!("{lines}export {name}={}\n", quoted(&value)))
}

/// A word for sh(1).
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A directory that goes when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, String> {
        Self::at(&std::env::temp_dir().join("onebpf-vm"))
    }

    /// On the same file system as `path`.
    fn beside(path: &Path) -> Result<Self, String> {
        Self::at(&path.with_file_name(".fetching"))
    }

    fn at(path: &Path) -> Result<Self, String> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let turn = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = path.with_added_extension(format!("{}-{turn}", std::process::id()));
        fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn quotes() {
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }
}
