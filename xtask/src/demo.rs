//! `demo`: a guided tour with a real program. Each step prints the command that a person would type, and what it answers.
//!
//! As root the tour goes on inside private mount and network namespaces with a bpffs of its own, so nothing of it is seen
//! outside or outlives it. The process starts itself again for that: `unshare` must run before the tour does.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::need::{self, CLANG, Need};
use crate::{Outcome, run};

/// Set for the second half of the tour, which runs inside the namespaces.
const INSIDE: &str = "--inside";
/// Where the private bpffs is mounted.
const BPFFS: &str = "/sys/fs/bpf";
/// Pin of the program, under [`BPFFS`].
const PROGRAM: &str = "/sys/fs/bpf/demo/count";
/// Pin of the map that outlives the first load: by name, so that the next load finds it.
const COUNTERS: &str = "/sys/fs/bpf/by_protocol";

/// The whole tour.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    match arguments {
        [] => outside(),
        [flag] if flag == INSIDE => Tour::new(5)?.inside(),
        _ => Err("usage: demo".into()),
    }
}

fn outside() -> Outcome {
    need::ensure(&[Need::Compiler])?;
    println!("building onebpf");
    run::show(run::cargo().args(["build", "--quiet", "-p", "onebpf-cli"]))?;
    let mut tour = Tour::new(1)?;
    tour.prepare()?;
    tour.parse_only()?;
    if !run::is_root() {
        println!(
            "\nSKIPPED: loading, packets and pins, for bpf(2) wants root. Run the demo again as root to see them."
        );
        return Ok(());
    }
    if let Err(why) = run::capture(&mut run::command("unshare", ["--mount", "--net", "--", "true"])) {
        println!("\nSKIPPED: loading, packets and pins, for this root may not make namespaces: {why}");
        return Ok(());
    }
    println!("\nFrom here on in private mount and network namespaces, with a bpffs of their own.");
    let me = std::env::current_exe().map_err(|error| format!("where am I? {error}"))?;
    let mut unshare = run::command("unshare", ["--mount", "--net", "--"]);
    run::show(unshare.arg(me).args(["demo", INSIDE]))?;
    println!("\nThe namespaces are gone, and the maps and programs with them.");
    Ok(())
}

/// Where the tour stands.
struct Tour {
    step: u32,
    folder: PathBuf,
    onebpf: PathBuf,
}

impl Tour {
    fn new(step: u32) -> Result<Self, String> {
        let target = run::target()?;
        Ok(Self { step, folder: target.join("demo"), onebpf: target.join("debug/onebpf") })
    }

    fn prepare(&mut self) -> Outcome {
        let fixtures = run::root().join("fixtures");
        let failed = |error: std::io::Error| format!("{}: {error}", self.folder.display());
        fs::create_dir_all(&self.folder).map_err(failed)?;
        for file in ["src/demo.bpf.c", "include/bpf.h", "include/maps_btf.h", "include/maps_legacy.h"] {
            let name = file.rsplit('/').next().unwrap_or(file);
            fs::copy(fixtures.join(file), self.folder.join(name)).map_err(failed)?;
        }
        fs::copy(fixtures.join("obj/rejected_packet.o"), self.folder.join("rejected.bpf.o"))
            .map_err(failed)?;
        for packet in PACKETS {
            fs::write(self.folder.join(packet.file), packet.bytes()).map_err(failed)?;
        }
        self.say(
            "A BPF program in C: it counts packets by protocol. Its maps are declared in four dialects:",
        );
        println!("  .maps    by_protocol  BTF-defined, as one writes it today; pinned by name");
        println!("  .maps    by_size      the first form of BTF-defined maps, of 2019");
        println!("  maps     dropped      iproute2's struct bpf_elf_map");
        println!("  .rodata  max_len      a constant that the loader sets; .bss  seen  a global variable");
        let mut clang = self.command(Path::new(CLANG));
        clang.args(["-O2", "-g", "-target", "bpf", "-c", "demo.bpf.c", "-o", "demo.bpf.o"]);
        Self::show(&mut clang, true)
    }

    fn parse_only(&mut self) -> Outcome {
        self.say("What does the object hold? (Needs no root: pure parsing.)");
        self.onebpf("inspect demo.bpf.o")?;
        self.say("A faulty object: the error says which map, where, and both claims.");
        let conflict = run::root().join("fixtures/obj/btf_bad_key_conflict.o");
        fs::copy(conflict, self.folder.join("conflict.bpf.o")).map_err(|error| error.to_string())?;
        self.onebpf_fails("inspect conflict.bpf.o")?;
        self.say("Each error code has its long story.");
        self.onebpf("explain E0103")
    }

    fn inside(mut self) -> Outcome {
        let mut mount = run::command("mount", ["-t", "bpf", "onebpf-demo", BPFFS]);
        run::capture(&mut mount)?;
        // And state of its own, which goes with it.
        run::capture(&mut run::command("mount", ["-t", "tmpfs", "onebpf-demo", "/run"]))?;
        self.first_load()?;
        self.second_load()?;
        self.refused()?;
        self.say("Clean-up: the pins go, and what only they held.");
        self.shell("rm -r /sys/fs/bpf/demo /sys/fs/bpf/by_protocol")
    }

    fn first_load(&mut self) -> Outcome {
        self.say("What would a load do? A plan is data; no call into the kernel changes anything.");
        self.onebpf(&format!("plan demo.bpf.o {LOAD}"))?;
        self.say("Do it: all or nothing. The programs are pinned under demo/, by_protocol by its name.");
        self.onebpf(&format!("load demo.bpf.o {LOAD}"))?;
        self.say("Packets through the program: the kernel's test run, as often as each line says.");
        self.packets()?;
        self.say("The counters, read by their BTF types.");
        self.onebpf(&format!("map dump {COUNTERS}"))?;
        for map in ["by_size", "dropped", "demo_bss"] {
            self.onebpf(&format!("map dump {BPFFS}/demo/{map}"))?;
        }
        Ok(())
    }

    fn second_load(&mut self) -> Outcome {
        self.say("The first load is gone but for its pin by name ...");
        self.shell("rm -r /sys/fs/bpf/demo")?;
        self.say("... and a second load finds it: by_protocol is reused and keeps its id.");
        self.onebpf(&format!("load demo.bpf.o {LOAD}"))?;
        self.say("The same packets again: the counters go on from where they were.");
        self.packets()?;
        self.onebpf(&format!("map dump {COUNTERS}"))
    }

    fn refused(&mut self) -> Outcome {
        self.say("A program that the verifier refuses: the C line, the instruction, its last words; nothing stays behind.");
        self.onebpf_fails("load rejected.bpf.o")
    }

    fn packets(&self) -> Outcome {
        for packet in PACKETS {
            let Packet { file, times, .. } = packet;
            self.onebpf(&format!("prog run {PROGRAM} --data {file} --repeat {times}"))?;
        }
        Ok(())
    }

    fn say(&mut self, text: &str) {
        println!("\n\n{}. {text}\n", self.step);
        self.step += 1;
    }

    fn onebpf(&self, line: &str) -> Outcome {
        Self::show(self.command(&self.onebpf).args(line.split(' ')), true)
    }

    fn onebpf_fails(&self, line: &str) -> Outcome {
        Self::show(self.command(&self.onebpf).args(line.split(' ')), false)
    }

    fn shell(&self, line: &str) -> Outcome {
        let (program, rest) = line.split_once(' ').unwrap_or((line, ""));
        Self::show(self.command(Path::new(program)).args(rest.split(' ')), true)
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).stdin(Stdio::null());
        command
    }

    /// Prints the command and runs it; its success must be `expected`.
    fn show(command: &mut Command, expected: bool) -> Outcome {
        let line = run::describe(command);
        let short = line.rsplit_once("/onebpf ").map_or(line.clone(), |(_, rest)| format!("onebpf {rest}"));
        println!("$ {short}");
        command.stderr(stdout()?);
        let status = command.status().map_err(|error| format!("cannot run {short}: {error}"))?;
        match (status.success(), expected) {
            (true, true) | (false, false) => Ok(()),
            (true, false) => Err(format!("`{short}` was meant to fail")),
            (false, true) => Err(format!("`{short}`: {status}")),
        }
    }
}

/// Standard output for standard error, so that errors stand where they belong when the tour goes into a file.
fn stdout() -> Result<OwnedFd, String> {
    io::stdout().as_fd().try_clone_to_owned().map_err(|error| format!("standard output: {error}"))
}

/// What both loads and the plan are told.
const LOAD: &str = "--pin-root /sys/fs/bpf --pin /sys/fs/bpf/demo --set var.max_len=1400";

/// A packet of the demo: an Ethernet frame with an IPv4 header and zeros.
struct Packet {
    file: &'static str,
    protocol: u8,
    length: usize,
    times: u32,
}

const PACKETS: &[Packet] = &[
    Packet { file: "udp.bin", protocol: 17, length: 90, times: 5 },
    Packet { file: "tcp.bin", protocol: 6, length: 1000, times: 3 },
    Packet { file: "icmp.bin", protocol: 1, length: 98, times: 2 },
    Packet { file: "too-long.bin", protocol: 17, length: 1500, times: 1 },
];

impl Packet {
    fn bytes(&self) -> Vec<u8> {
        const ETHERNET: usize = 14;
        let mut bytes = vec![0; ETHERNET];
        // EtherType IPv4; version 4, header of 5 words; total length; time to live and protocol.
        bytes.splice(12..14, [0x08, 0x00]);
        let total = (self.length - ETHERNET) as u16;
        bytes.extend([0x45, 0x00, (total >> 8) as u8, total as u8, 0, 0, 0, 0, 64, self.protocol]);
        bytes.resize(self.length, 0);
        bytes
    }
}
