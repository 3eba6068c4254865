//! One boot: QEMU without acceleration, and virtiofsd, which gives the guest the host's files.
//!
//! `/dev/kvm` is never used: that it exists does not mean that it works, and emulation needs nothing of the host. QEMU
//! emulates the guest's processors in turn (`thread=single`), for with a thread each Linux was once seen to die patching
//! its own code.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Scratch;
use super::cpio::Archive;
use super::kernel::Kernel;
use super::modules;
use crate::{need, run};

/// Debian 12 has the first, later releases the second, which takes other arguments.
pub(super) const VIRTIOFSD: [&str; 2] = ["/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"];

const INIT: &[u8] = include_bytes!("init.sh");
const GUEST: &[u8] = include_bytes!("guest.sh");
/// What the guest needs before it sees the host's files, where it is not built in.
const EARLY_MODULES: [&str; 5] = ["virtio_pci", "virtio_rng", "virtio_console", "virtiofs", "overlay"];
/// What stands at the end of the console is shown when a guest dies.
const CONSOLE_LINES: usize = 25;

/// What to boot, and what to do there.
pub(super) struct Guest<'a> {
    pub(super) kernel: &'a Kernel,
    /// A script for sh(1): the command.
    pub(super) script: &'a str,
    /// Directories of the host that the guest may write to; everything else it sees, and writes go to its memory.
    pub(super) shares: &'a [PathBuf],
    /// Modules to load before the command.
    pub(super) modules: &'a [String],
    /// QEMU's `-m`.
    pub(super) memory: &'a str,
    /// Words for the kernel's command line.
    pub(super) append: &'a str,
    /// When to give up.
    pub(super) timeout: Duration,
    /// Where the console goes.
    pub(super) console: Option<&'a Path>,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The command's own status.
    Exit(u8),
    /// Stopped after the time given.
    Timeout,
    /// The guest ended without a word: a panic, or no boot. Whether the command had begun, and the console's end.
    Died { started: bool, console: String },
}

impl Guest<'_> {
    /// Boots, and once more if the guest dies before the command begins.
    pub(super) fn run(&self) -> Result<End, String> {
        match self.boot()? {
            End::Died { started: false, console } => {
                eprintln!("vm: the guest died before the command began; once more\n{console}");
                self.boot()
            }
            end => Ok(end),
        }
    }

    fn boot(&self) -> Result<End, String> {
        let scratch = Scratch::new()?;
        let place = |name: &str| scratch.0.join(name);
        let console = self.console.map_or_else(|| place("console"), Path::to_path_buf);
        let write = |name: &str, bytes: &[u8]| {
            fs::write(place(name), bytes).map_err(|error| format!("{}: {error}", place(name).display()))
        };
        write("initrd", &self.initramfs()?)?;
        write("result", &[])?;
        let socket = place("files.sock");
        let _files = serve_files(&socket, &place("files.log"))?;
        let mut qemu = Dying::spawn(&mut self.qemu(&scratch.0, &socket, &console)?)?;
        let finished = qemu.wait(self.timeout)?;
        let result = fs::read_to_string(place("result")).unwrap_or_default();
        if let Some(why) = result.lines().find_map(|line| line.strip_prefix("setup ")) {
            return Err(format!("the guest could not be set up: {why}"));
        }
        if let Some(end) = exit_of(&result) {
            return Ok(end);
        }
        if !finished {
            return Ok(End::Timeout);
        }
        let text = String::from_utf8_lossy(&fs::read(&console).unwrap_or_default()).replace('\r', "");
        let lines: Vec<&str> = text.lines().collect();
        let console = lines.get(lines.len().saturating_sub(CONSOLE_LINES)..).unwrap_or_default().join("\n");
        Ok(End::Died { started: result.contains("started"), console })
    }

    /// The first file system: busybox, the modules without which the host's files are out of reach, and what to do then.
    fn initramfs(&self) -> Result<Vec<u8>, String> {
        let read = |path: &Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        let mut archive = Archive::default();
        for directory in ["proc", "sys", "dev", "host", "memory", "root", "modules"] {
            archive.directory(directory);
        }
        let busybox = read(&need::find("busybox").ok_or("no busybox")?)?;
        if busybox.windows(8).take(4096).any(|bytes| bytes == b"ld-linux") {
            return Err("busybox must be the static one: apt-get install busybox-static".into());
        }
        archive.program("bin/busybox", &busybox);
        let early = modules::in_order(&self.kernel.modules(), &EARLY_MODULES)?;
        for (at, file) in early.iter().enumerate() {
            let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            archive.file(&format!("modules/{at:02}-{name}"), &modules::contents(file)?);
        }
        archive.program("init", INIT);
        archive.file("vm/guest.sh", GUEST);
        archive.file("vm/command", self.script.as_bytes());
        archive.file("vm/kernel", format!("{}\n", self.kernel.directory.display()).as_bytes());
        let lines = |all: &mut dyn Iterator<Item = String>| all.map(|line| line + "\n").collect::<String>();
        let shares = lines(&mut self.shares.iter().map(|share| share.display().to_string()));
        archive.file("vm/shares", shares.as_bytes());
        archive.file("vm/wanted", lines(&mut self.modules.iter().cloned()).as_bytes());
        Ok(archive.finish())
    }

    fn qemu(&self, scratch: &Path, socket: &Path, console: &Path) -> Result<Command, String> {
        let qemu = need::find("qemu-system-x86_64").ok_or("no qemu-system-x86_64")?;
        let mut command = mortal(&qemu.to_string_lossy());
        let memory = self.memory;
        let line = format!(
            "console=ttyS0 panic=-1 oops=panic loglevel=5 random.trust_cpu=on mitigations=off no_timer_check \
             clocksource=hpet {}",
            self.append
        );
        // Long linear addresses cost an emulator a walk more.
        command.args(["-accel", "tcg,thread=single", "-cpu", "max,la57=off", "-smp", "2", "-m", memory]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        command.arg("-kernel").arg(self.kernel.image()).arg("-initrd").arg(scratch.join("initrd"));
        command.args(["-append", &line]);
        command.arg("-serial").arg(format!("file:{}", console.display()));
        command.arg("-serial").arg(format!("file:{}", scratch.join("result").display()));
        command.args(["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]);
        command.args(["-chardev", "stdio,id=output,signal=off"]);
        command.args(["-device", "virtserialport,chardev=output,name=vm.output"]);
        // virtiofsd writes to the guest's memory.
        let backend = format!("memory-backend-memfd,id=memory,size={memory},share=on");
        command.args(["-object", &backend, "-machine", "pc,memory-backend=memory"]);
        command.arg("-chardev").arg(format!("socket,id=files,path={}", socket.display()));
        command.args(["-device", "vhost-user-fs-pci,chardev=files,tag=host"]);
        // At the end of its input QEMU takes the console for closed, and the guest's writes would wait for ever.
        command.stdin(Stdio::piped());
        Ok(command)
    }
}

/// `exit N` on the result line.
fn exit_of(result: &str) -> Option<End> {
    let status = result.lines().find_map(|line| line.trim_end().strip_prefix("exit "))?;
    status.parse().ok().map(End::Exit)
}

/// Serves `/` on a socket, until dropped.
fn serve_files(socket: &Path, log: &Path) -> Result<Dying, String> {
    let find = || VIRTIOFSD.iter().position(|path| Path::new(path).exists());
    let which = find().ok_or_else(|| format!("none of {VIRTIOFSD:?}"))?;
    let mut command = mortal(VIRTIOFSD[which]);
    command.arg(format!("--socket-path={}", socket.display())).arg("--thread-pool-size=2");
    if which == 0 {
        command.args(["-o", "source=/", "-o", "cache=auto", "-o", "sandbox=chroot", "-o", "xattr"]);
    } else {
        command.args(["--shared-dir=/", "--cache=auto", "--sandbox=chroot", "--xattr"]);
    }
    let file = fs::File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
    let same = file.try_clone().map_err(|error| error.to_string())?;
    let mut daemon = Dying::spawn(command.stdin(Stdio::null()).stdout(file).stderr(same))?;
    let start = Instant::now();
    while !socket.exists() {
        if start.elapsed() > Duration::from_secs(20) || daemon.has_ended()? {
            let said = fs::read_to_string(log).unwrap_or_default();
            return Err(format!("{} does not serve: {}", VIRTIOFSD[which], said.trim()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(daemon)
}

/// A command that ends when this process does, however that ends.
fn mortal(program: &str) -> Command {
    run::command("setpriv", ["--pdeathsig", "KILL", program])
}

/// A child that is killed when dropped.
struct Dying(Child);

impl Dying {
    fn spawn(command: &mut Command) -> Result<Self, String> {
        let line = run::describe(command);
        command.spawn().map(Self).map_err(|error| format!("cannot run {line}: {error}"))
    }

    fn has_ended(&mut self) -> Result<bool, String> {
        self.0.try_wait().map(|status| status.is_some()).map_err(|error| error.to_string())
    }

    /// Whether it ended in time.
    fn wait(&mut self, timeout: Duration) -> Result<bool, String> {
        let start = Instant::now();
        while !self.has_ended()? {
            if start.elapsed() > timeout {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(true)
    }
}

impl Drop for Dying {
    fn drop(&mut self) {
        let _: io::Result<()> = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::{End, exit_of};

    #[test]
    fn results() {
        assert_eq!(exit_of("started\r\nexit 7\r\n"), Some(End::Exit(7)));
        assert_eq!(exit_of("started\r\n"), None);
        assert_eq!(exit_of(""), None);
    }
}
