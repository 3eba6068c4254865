//! Builds the kernel's BPF selftests, as their own Makefile does, from Debian's packages `linux-source-RELEASE`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

const CLANG: &str = "clang-19";
/// Compiles at a time.
const WORKERS: usize = 2;
/// What the build needs of the tree.
const PARTS: [&str; 4] =
    ["tools/include", "tools/lib/bpf", "tools/testing/selftests/bpf", "scripts/bpf_doc.py"];
/// The two objects that the Makefile compiles with `-fno-inline`.
const NO_INLINE: [&str; 2] = ["test_l4lb_noinline", "test_xdp_noinline"];

/// Objects that the Makefile links from several (`LINKED_SKELS`); alone, their parts lack definitions.
const LINKED: [(&str, &[&str]); 7] = [
    ("test_static_linked.linked", &["test_static_linked1", "test_static_linked2"]),
    ("linked_funcs.linked", &["linked_funcs1", "linked_funcs2"]),
    ("linked_vars.linked", &["linked_vars1", "linked_vars2"]),
    ("linked_maps.linked", &["linked_maps1", "linked_maps2"]),
    ("test_subskeleton.linked", &["test_subskeleton_lib2", "test_subskeleton_lib", "test_subskeleton"]),
    ("test_subskeleton_lib.linked", &["test_subskeleton_lib2", "test_subskeleton_lib"]),
    ("test_usdt.linked", &["test_usdt", "test_usdt_multispec"]),
];

/// One source file and what became of it.
#[derive(Debug)]
pub struct Built {
    /// The file's name without `.c`.
    pub name: String,
    /// The object, or the compiler's first error.
    pub object: Result<PathBuf, String>,
}

/// Whose selftests.
#[derive(Debug)]
pub enum Source {
    /// Those of Debian's package `linux-source-RELEASE`; that is also the name of the tree inside it.
    Debian(String),
    /// Those of a kernel source tree.
    Tree(PathBuf),
}

impl Source {
    /// Headers and objects of each source stand in a directory of their own.
    fn cache(&self, target: &Path) -> PathBuf {
        match self {
            Self::Debian(release) if release == "6.12" => target.join("conformance"),
            Self::Debian(release) => target.join(format!("conformance-{release}")),
            Self::Tree(tree) => target.join(format!("conformance-{}", stem(tree))),
        }
    }
}

/// What is compiled for.
#[derive(Debug)]
pub struct Target {
    /// clang's `-mcpu`: v1 to v4.
    pub mcpu: String,
    /// Byte order; headers and types stay those of this machine.
    pub big_endian: bool,
}

/// Compiles every `progs/*.c` whose name holds `filter`, under the directory `place`. Objects newer than their source are
/// kept.
pub fn build(place: &Path, source: &Source, target: &Target, filter: &str) -> Result<Vec<Built>, String> {
    let cache = source.cache(place);
    let tree = match source {
        Source::Tree(tree) => tree.canonicalize().map_err(|error| format!("{}: {error}", tree.display()))?,
        Source::Debian(release) => unpack(&cache, &format!("linux-source-{release}"))?,
    };
    let include = headers(&cache, &tree)?;
    let objects =
        cache.join(format!("objects-{}{}", target.mcpu, if target.big_endian { "-big" } else { "" }));
    make_dir(&objects)?;
    let flags = flags(&tree, &include, target)?;
    let sources = sources(&tree.join("tools/testing/selftests/bpf/progs"), filter)?;
    let newest = modified(&include.join("vmlinux.h")).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut built = in_parallel(&sources, |source| compile(source, &objects, &flags, newest));
    let linked = LINKED.iter().filter(|(name, parts)| {
        name.contains(filter) && parts.iter().all(|part| objects.join(format!("{part}.bpf.o")).is_file())
    });
    built.extend(linked.map(|(name, parts)| link(name, parts, &objects)));
    Ok(built)
}

/// Runs `job` over `items` on two threads; results in the order of the items.
pub fn in_parallel<T: Sync, R: Send>(items: &[T], job: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return done };
            done.push((at, job(item)));
        }
    };
    let mut all: Vec<(usize, R)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|it| it.join().unwrap_or_default()).collect()
    });
    all.sort_by_key(|it| it.0);
    all.into_iter().map(|it| it.1).collect()
}

fn unpack(cache: &Path, package: &str) -> Result<PathBuf, String> {
    let tree = cache.join(package);
    let done = tree.join(".unpacked");
    if done.is_file() {
        return Ok(tree);
    }
    let archive = format!("/usr/src/{package}.tar.xz");
    if !Path::new(&archive).is_file() {
        return Err(format!("{archive} is missing: apt-get install {package}, or --src with a kernel tree"));
    }
    make_dir(cache)?;
    eprintln!("unpacking {archive}");
    run(Command::new("tar")
        .args(["-xJf", &archive, "-C"])
        .arg(cache)
        .args(PARTS.map(|part| format!("{package}/{part}"))))?;
    fs::write(&done, "").map_err(|error| format!("{}: {error}", done.display()))?;
    Ok(tree)
}

/// `vmlinux.h` of the running kernel and `bpf/*.h` of the tree's libbpf.
fn headers(cache: &Path, tree: &Path) -> Result<PathBuf, String> {
    let include = cache.join("include");
    make_dir(&include.join("bpf"))?;
    let write = |path: PathBuf, output: Output| {
        fs::write(&path, output.stdout).map_err(|error| format!("{}: {error}", path.display()))
    };
    let vmlinux = include.join("vmlinux.h");
    if !vmlinux.is_file() {
        let from = "/sys/kernel/btf/vmlinux";
        write(vmlinux, run(Command::new("bpftool").args(["btf", "dump", "file", from, "format", "c"]))?)?;
    }
    for name in ["bpf_helpers.h", "bpf_core_read.h", "bpf_endian.h", "bpf_tracing.h", "usdt.bpf.h"] {
        let to = include.join("bpf").join(name);
        fs::copy(tree.join("tools/lib/bpf").join(name), &to).map_err(|error| format!("{name}: {error}"))?;
    }
    let mut doc = Command::new("python3");
    doc.arg(tree.join("scripts/bpf_doc.py")).arg("--header").arg("--file");
    write(include.join("bpf/bpf_helper_defs.h"), run(doc.arg(tree.join("tools/include/uapi/linux/bpf.h")))?)?;
    Ok(include)
}

/// `BPF_CFLAGS` and `CLANG_CFLAGS` of the selftests' Makefile, without `-Werror`.
fn flags(tree: &Path, include: &Path, target: &Target) -> Result<Vec<String>, String> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "x86",
        "aarch64" => "arm64",
        other => other,
    };
    let endian = if target.big_endian { "-mbig-endian" } else { "-mlittle-endian" };
    let selftests = tree.join("tools/testing/selftests/bpf");
    let mut flags: Vec<String> = ["-g", "-O2", "--target=bpf", endian, "-Wno-compare-distinct-pointer-types"]
        .into_iter()
        .map(str::to_owned)
        .collect();
    flags.extend([
        format!("-mcpu={}", target.mcpu),
        format!("-D__TARGET_ARCH_{arch}"),
        "-DENABLE_ATOMICS_TESTS".into(),
    ]);
    for dir in [include, &selftests, &tree.join("tools/include/uapi")] {
        flags.push(format!("-I{}", dir.display()));
    }
    let said = run(Command::new(CLANG).args(["-v", "-E", "-x", "c", "/dev/null"]))?.stderr;
    let said = String::from_utf8_lossy(&said);
    let listed = said.lines().skip_while(|line| !line.starts_with("#include <...>")).skip(1);
    for dir in listed.take_while(|line| line.starts_with(' ')) {
        flags.extend(["-idirafter".to_owned(), dir.trim().to_owned()]);
    }
    Ok(flags)
}

fn sources(dir: &Path, filter: &str) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|it| it == "c") && stem(path).contains(filter))
        .collect();
    found.sort();
    Ok(found)
}

fn compile(source: &Path, objects: &Path, flags: &[String], newest: SystemTime) -> Built {
    let name = stem(source);
    let object = objects.join(format!("{name}.bpf.o"));
    let log = objects.join(format!("{name}.log"));
    let since = modified(source).unwrap_or(newest).max(newest);
    let fresh = |path: &Path| modified(path).is_some_and(|it| it >= since);
    if !fresh(&object) && !fresh(&log) {
        let mut clang = Command::new("nice");
        clang.arg(CLANG).args(flags).arg("-c").arg(source).arg("-o").arg(&object);
        if NO_INLINE.contains(&name.as_str()) {
            clang.arg("-fno-inline");
        }
        // The Makefile compiles in the selftests' directory, and some includes are relative to it.
        if let Some(dir) = source.parent().and_then(Path::parent) {
            clang.current_dir(dir);
        }
        let failed = run(&mut clang).err();
        let _ = fs::remove_file(&log);
        if let Some(why) = failed {
            let _ = fs::remove_file(&object);
            let _ = fs::write(&log, why);
        }
    }
    let object = if object.is_file() { Ok(object) } else { Err(first_error(&log)) };
    Built { name, object }
}

/// `bpftool gen object`, twice, as the Makefile does: a second pass repairs what the first leaves of extern maps.
fn link(name: &str, parts: &[&str], objects: &Path) -> Built {
    let first = objects.join(format!("{name}.pass1"));
    let object = objects.join(format!("{name}.o"));
    let parts = parts.iter().map(|part| objects.join(format!("{part}.bpf.o")));
    let gen_object = |to: &Path| {
        let mut bpftool = Command::new("bpftool");
        bpftool.args(["gen", "object"]).arg(to);
        bpftool
    };
    let result = run(gen_object(&first).args(parts)).and_then(|_| run(gen_object(&object).arg(&first)));
    let _ = fs::remove_file(&first);
    Built { name: name.to_owned(), object: result.map(|_| object) }
}

/// The compiler's first error, without the directory.
fn first_error(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let line = text.lines().find(|line| line.contains("error:")).or_else(|| text.lines().next());
    let line = line.unwrap_or_default();
    line.rsplit_once("/progs/").map_or(line, |(_, rest)| rest).to_owned()
}

fn run(command: &mut Command) -> Result<Output, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        Ok(output)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn make_dir(dir: &Path) -> Result<(), String> {
    fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|it| it.modified()).ok()
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default()
}
