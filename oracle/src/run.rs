//! Starts the two sides, each as a command of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The argument with which a binary of this crate becomes the libbpf side: `--judge FILE`.
pub const JUDGE: &str = "--judge";

/// As [`JUDGE`], for [`crate::inspect::load_flags`].
pub const FLAGS: &str = "--flags";

/// As [`JUDGE`], for [`crate::kernel::by_libbpf`].
pub const LOAD: &str = "--judge-load";

/// As [`JUDGE`], for [`crate::kernel::by_onebpf`]; `$ONEBPF` names the command.
pub const LOAD_ONEBPF: &str = "--judge-load-onebpf";

/// Seconds after which either side is given up.
const PATIENCE: &str = "60";

/// Cargo's directories for binaries.
const PROFILES: [&str; 2] = ["release", "debug"];

/// Pins go to a bpffs, and journals to a /run, that only this process sees, mounted over the host's.
const PRIVATE: &str = "mount -t bpf bpf /sys/fs/bpf && mount -t tmpfs tmpfs /run && exec \"$@\"";

/// Kernel BTF that both sides relocate against, instead of the running kernel's: `$ORACLE_BTF`.
pub fn kernel_btf() -> Option<PathBuf> {
    std::env::var_os("ORACLE_BTF").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Whether this process may load: then the libbpf side relocates too.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0)
}

/// What libbpf makes of the object (see [`crate::judge::judge`]). `exe` is a binary that knows [`JUDGE`] and [`FLAGS`].
pub fn libbpf(exe: &Path, object: &Path) -> Result<Value, String> {
    let mut judged = json(&mut isolated(exe, JUDGE, object))?;
    let flags = json(&mut isolated(exe, FLAGS, object)).unwrap_or_default();
    let programs = judged["inspect"]["programs"].as_array_mut();
    for (at, program) in programs.into_iter().flatten().enumerate() {
        program["flags"] = flags[at].clone();
    }
    Ok(judged)
}

/// What the kernel holds after libbpf loaded the object, or why that failed.
pub fn load_by_libbpf(exe: &Path, object: &Path) -> Result<Value, String> {
    loaded(&mut isolated(exe, LOAD, object))
}

/// What the kernel holds after onebpf loaded the object, or why that failed.
pub fn load_by_onebpf(exe: &Path, onebpf: &Path, object: &Path) -> Result<Value, String> {
    loaded(isolated(exe, LOAD_ONEBPF, object).env("ONEBPF", onebpf))
}

fn loaded(command: &mut Command) -> Result<Value, String> {
    let answer = json(command)?;
    answer.as_str().map_or_else(|| Ok(answer.clone()), |why| Err(why.to_owned()))
}

/// A child in a mount namespace of its own, that is ended when it takes too long.
fn isolated(exe: &Path, verb: &str, object: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", PATIENCE]);
    if is_root() {
        command.args(["unshare", "-m", "--propagation", "private", "sh", "-c", PRIVATE, "sh"]);
    }
    command.arg(exe).arg(verb).arg(object);
    command
}

/// Runs `onebpf VERB --json OBJECT` with further arguments.
pub fn onebpf(onebpf: &Path, verb: &str, object: &Path, more: &[&str]) -> Result<Value, String> {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", PATIENCE]);
    command.arg(onebpf).arg(verb).arg("--json").args(more);
    if let Some(btf) = kernel_btf().filter(|_| verb == "relocate") {
        command.arg("--btf").arg(btf);
    }
    json(command.arg(object))
}

/// The onebpf command: `$ONEBPF`, or the newest of those in the target directory that this binary stands in.
pub fn find_onebpf() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("ONEBPF").filter(|path| !path.is_empty()) {
        return Some(path.into());
    }
    let target = target_dir()?;
    let candidates = PROFILES.map(|profile| target.join(profile).join("onebpf"));
    let built = |path: &PathBuf| path.metadata().and_then(|it| it.modified()).ok();
    candidates.into_iter().filter(|path| path.is_file()).max_by_key(built)
}

/// The target directory that this binary stands in.
pub fn target_dir() -> Option<PathBuf> {
    let exe = std::env::current_exe().ok()?;
    let profile = exe.ancestors().find(|dir| PROFILES.iter().any(|name| dir.ends_with(name)))?;
    profile.parent().map(Path::to_owned)
}

fn json(command: &mut Command) -> Result<Value, String> {
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    let document: Result<Value, _> = serde_json::from_slice(&stdout);
    match document {
        Ok(document) if status.success() => Ok(document),
        Ok(document) => Err(error_of(&document)),
        Err(_) if !stderr.is_empty() => Err(format!("{status}: {}", String::from_utf8_lossy(&stderr).trim())),
        Err(error) => Err(format!("{status}, {error}")),
    }
}

/// Code and message of a command's error document.
pub(crate) fn error_of(document: &Value) -> String {
    let of = |name: &str| document["error"][name].as_str().unwrap_or("?");
    format!("{} {}", of("code"), of("message"))
}
