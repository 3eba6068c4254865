#![forbid(unsafe_code)]
//! What the tests of all crates share: places of their own on the running kernel, and reasons to skip.

use onebpf_sys::{Host, Kernel, Linux, Release};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Set in the process that is inside already.
const INSIDE: &str = "ONEBPF_TEST_INSIDE";

/// Runs `test` in mount and network namespaces of its own, with a BPF filesystem at /sys/fs/bpf and a /run that nobody else
/// sees: the test binary calls itself there. `name` is the test's own name. Skips, saying why, without root.
///
/// # Panics
///
/// If `test` does, inside.
pub fn in_private(name: &str, test: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        // The host's own first, or it would come to light, and to harm, when a test takes this one away.
        while unmount("/sys/fs/bpf", UnmountFlags::empty()).is_ok() {}
        for (kind, at) in [("bpf", "/sys/fs/bpf"), ("tmpfs", "/run")] {
            mount(kind, at, kind, MountFlags::empty(), None)
                .unwrap_or_else(|e| panic!("{kind} on {at}: {e}"));
        }
        return test();
    }
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: {name} needs root");
    }
    let me = std::env::current_exe().expect("this binary");
    let mut inside = unshare();
    inside.arg(me).args(["--exact", name, "--nocapture", "--test-threads=1"]).env(INSIDE, "1");
    let output = match inside.output() {
        Ok(output) => output,
        Err(e) => return eprintln!("skipped: {name}: no unshare(1): {e}"),
    };
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    eprint!("{err}");
    assert!(output.status.success(), "{name} failed inside:\n{out}\n{err}");
    assert!(out.contains("1 passed"), "no test {name} in this binary:\n{out}");
}

/// Runs `test` in a user namespace of its own, as root of that, with mount and network namespaces in it: the test binary calls
/// itself there. Outside, the process that does is given back, to talk to by its standard streams, unless there are no
/// user namespaces.
pub fn in_user_namespace(name: &str, test: fn()) -> Option<Child> {
    if std::env::var_os(INSIDE).is_some() {
        test();
        return None;
    }
    let mut inside = Command::new("unshare");
    inside.args(["--user", "--map-root-user", "--mount", "--net", "--propagation", "private", "--"]);
    inside.arg(std::env::current_exe().ok()?).args(["--exact", name, "--nocapture", "--test-threads=1"]);
    inside.env(INSIDE, "1").stdin(Stdio::piped()).stdout(Stdio::piped());
    inside.spawn().map_err(|e| eprintln!("skipped: {name}: no unshare(1): {e}")).ok()
}

/// As [`in_private`], for what kernels before `since` do not have: there it skips, saying so. A kernel that should have it
/// runs the test.
///
/// # Panics
///
/// If `test` does, inside.
pub fn in_private_since(since: Release, name: &str, test: fn()) {
    let release = Linux.host().expect("host").release;
    if release.parse::<Release>().is_ok_and(|release| release < since) {
        return eprintln!("skipped: {name} needs Linux {since}, this is {release}");
    }
    in_private(name, test);
}

/// A shell in mount and network namespaces of its own that will run `script`; nothing is mounted there yet. `None`, saying
/// why, where not even `probe` runs.
pub fn private_shell(shell: &str, probe: &str, script: &str) -> Option<Command> {
    let command = |script: &str| {
        let mut command = unshare();
        command.args([shell, "-c", script]);
        command
    };
    match command(probe).output() {
        Ok(output) if output.status.success() => Some(command(script)),
        Ok(output) => {
            eprintln!("skipped: {}", String::from_utf8_lossy(&output.stderr));
            None
        }
        Err(error) => {
            eprintln!("skipped: no unshare: {error}");
            None
        }
    }
}

/// The host, or `None` (and the reason) where bpf(2) is not for us.
///
/// # Panics
///
/// If the host cannot be asked.
pub fn privileged(test: &str) -> Option<Host> {
    let host = Linux.host().expect("host");
    if host.privileged {
        let _ = Linux.lift_memlock(); // before 5.11 freed maps are charged for a while
        return Some(host);
    }
    eprintln!("skipped {test}: needs CAP_BPF or CAP_SYS_ADMIN");
    None
}

/// What this thread has computed until now. Limits that are held in it hold on a busy machine, too.
///
/// # Panics
///
/// If the clock shows what no clock can.
pub fn cpu_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(now).expect("it began with 0")
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--propagation", "private", "--"]);
    command
}
