//! What is needed from outside: one table of Debian packages and the files that tell whether they are there.
//! As root the missing ones are installed; otherwise the command to type is printed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::run;

/// A Debian package, and what shows that it (or its like from elsewhere) is there: a program, or a file if it has a `/`.
struct Package {
    name: &'static str,
    probe: &'static str,
}

const fn package(name: &'static str, probe: &'static str) -> Package {
    Package { name, probe }
}

/// The compiler whose output is committed. Another version compiles the demo just as well, but not to the same bytes.
pub(crate) const CLANG: &str = "clang-19";
/// Strips DWARF, keeps BTF.
pub(crate) const STRIP: &str = "llvm-strip-19";

/// Takes sections out of an object.
pub(crate) const OBJCOPY: &str = "llvm-objcopy-19";

/// What a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Compile BPF objects from C.
    Compiler,
    /// Look at the kernel with somebody else's tools: tests compare with them.
    KernelTools,
    /// Build the `oracle` crate: libbpf, libelf and zlib, in C, as the crate libbpf-sys carries them.
    OracleBuild,
    /// The kernel's BPF selftests, in source.
    Selftests,
    /// Those of an older kernel.
    Selftests61,
    /// Build the fuzz targets: libFuzzer, in C++.
    FuzzBuild,
    /// Boot Debian's kernels.
    VirtualMachine,
    /// Give a guest the host's files, where QEMU's own package no longer brings the means.
    Virtiofsd,
}

impl Need {
    fn packages(self) -> &'static [Package] {
        const COMPILER: &[Package] = &[package("clang-19", CLANG), package("llvm-19", STRIP)];
        const KERNEL_TOOLS: &[Package] =
            &[package("bpftool", "bpftool"), package("iproute2", "tc"), package("util-linux", "unshare")];
        const ORACLE_BUILD: &[Package] = &[
            package("gcc", "cc"),
            package("make", "make"),
            package("pkg-config", "pkg-config"),
            package("autoconf", "autoconf"),
            package("automake", "automake"),
            package("autopoint", "autopoint"),
            package("bison", "bison"),
            package("flex", "flex"),
            package("gawk", "gawk"),
            package("gettext", "gettext"),
        ];
        const SELFTESTS: &[Package] = &[
            package("linux-source-6.12", "/usr/src/linux-source-6.12.tar.xz"),
            package("xz-utils", "xz"),
            package("python3", "python3"),
        ];
        const SELFTESTS_6_1: &[Package] = &[
            package("linux-source-6.1", "/usr/src/linux-source-6.1.tar.xz"),
            package("xz-utils", "xz"),
            package("python3", "python3"),
        ];
        const FUZZ_BUILD: &[Package] = &[package("g++", "c++")];
        const VIRTUAL_MACHINE: &[Package] = &[
            package("qemu-system-x86", "qemu-system-x86_64"),
            package("busybox-static", "busybox"),
            package("kmod", "depmod"),
            package("xz-utils", "xz"),
            package("util-linux", "setpriv"),
        ];
        const VIRTIOFSD: &[Package] = &[package("virtiofsd", "/usr/libexec/virtiofsd")];
        match self {
            Self::Compiler => COMPILER,
            Self::KernelTools => KERNEL_TOOLS,
            Self::OracleBuild => ORACLE_BUILD,
            Self::Selftests => SELFTESTS,
            Self::Selftests61 => SELFTESTS_6_1,
            Self::FuzzBuild => FUZZ_BUILD,
            Self::VirtualMachine => VIRTUAL_MACHINE,
            Self::Virtiofsd => VIRTIOFSD,
        }
    }
}

/// Makes sure that everything in `needs` is there; installs what is missing if it may.
pub(crate) fn ensure(needs: &[Need]) -> Outcome {
    let missing = missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    let line = format!("apt-get install --no-install-recommends {}", missing.join(" "));
    if !run::is_root() {
        return Err(format!("needs packages that are not installed; as root: {line}"));
    }
    if find("apt-get").is_none() {
        return Err(format!("needs, by their Debian names: {}", missing.join(" ")));
    }
    println!("installing {}", missing.join(" "));
    run::capture(&mut apt(&["update", "-qq"]))?;
    let mut install = apt(&["install", "-y", "-qq", "--no-install-recommends"]);
    run::capture(install.args(&missing))?;
    Ok(())
}

/// Debian names of what is not there.
pub(crate) fn missing(needs: &[Need]) -> Vec<&'static str> {
    let packages = needs.iter().flat_map(|need| need.packages());
    packages.filter(|package| find(package.probe).is_none()).map(|package| package.name).collect()
}

/// Where a program (in the search path, or where Debian keeps root's) or a file is.
pub(crate) fn find(probe: &str) -> Option<PathBuf> {
    if probe.contains('/') {
        return Path::new(probe).exists().then(|| PathBuf::from(probe));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(extra).map(|folder| folder.join(probe)).find(|file| file.is_file())
}

/// Where a tool that `cargo install` made is: in the search path, or where cargo puts them.
pub(crate) fn find_cargo_tool(name: &str) -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
    find(name).or_else(|| Some(home.join("bin").join(name)).filter(|file| file.is_file()))
}

fn apt(arguments: &[&str]) -> Command {
    let mut command = run::command("apt-get", arguments);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}
