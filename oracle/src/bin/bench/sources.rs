//! Objects that differ in size only: C generated for the running kernel, compiled by clang as people compile it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use onebpf_btf::{Btf, Def, Kind};

/// How much an object holds.
pub(crate) struct Size {
    pub(crate) name: &'static str,
    maps: usize,
    programs: usize,
    /// CO-RE relocations of each program.
    relocations: usize,
    /// How many of [`RECORDS`] they are about.
    records: usize,
}

pub(crate) const SIZES: [Size; 4] = [
    Size { name: "plain", maps: 1, programs: 1, relocations: 0, records: 0 },
    Size { name: "one", maps: 1, programs: 1, relocations: 1, records: 1 },
    Size { name: "medium", maps: 10, programs: 10, relocations: 10, records: 34 },
    Size { name: "large", maps: 50, programs: 200, relocations: 10, records: 48 },
];

/// Structures that tracing programs look into.
const RECORDS: [&str; 48] = [
    "task_struct",
    "mm_struct",
    "vm_area_struct",
    "file",
    "inode",
    "dentry",
    "super_block",
    "sk_buff",
    "sock",
    "tcp_sock",
    "inet_sock",
    "net_device",
    "net",
    "socket",
    "cred",
    "signal_struct",
    "sighand_struct",
    "pid",
    "cfs_rq",
    "sched_entity",
    "cgroup",
    "css_set",
    "request",
    "request_queue",
    "bio",
    "gendisk",
    "page",
    "folio",
    "address_space",
    "vfsmount",
    "qstr",
    "nsproxy",
    "user_namespace",
    "kobject",
    "device",
    "module",
    "work_struct",
    "timer_list",
    "hrtimer",
    "files_struct",
    "fdtable",
    "fs_struct",
    "bpf_prog",
    "bpf_map",
    "perf_event",
    "neighbour",
    "dst_entry",
    "pipe_inode_info",
];

const HEAD: &str = r#"
#define SEC(NAME) __attribute__((section(NAME), used))
#define __uint(NAME, VALUE) int (*NAME)[VALUE]
#define __type(NAME, TYPE) typeof(TYPE) *NAME
static void *(*lookup)(void *, const void *) = (void *)1;
static long (*probe_read_kernel)(void *, unsigned int, const void *) = (void *)113;
#define READ(TYPE, FIELD) do { unsigned long long value = 0; \
    probe_read_kernel(&value, sizeof(value), __builtin_preserve_access_index(&((TYPE *)ctx[0])->FIELD)); \
    sum += value; } while (0)
char LICENSE[] SEC("license") = "GPL";
"#;

/// Compiles the objects into a directory, and tells where they are.
pub(crate) fn objects(directory: &Path, vmlinux: &Path) -> Result<Vec<(&'static Size, PathBuf)>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
    fs::create_dir_all(directory).map_err(failed)?;
    let header =
        run(Command::new("bpftool").args(["btf", "dump", "file"]).arg(vmlinux).args(["format", "c"]))?;
    fs::write(directory.join("vmlinux.h"), header).map_err(failed)?;
    let btf = Btf::from_vec(fs::read(vmlinux).map_err(failed)?).map_err(|error| error.to_string())?;
    let fields = fields(&btf);
    let mut objects = Vec::new();
    for size in &SIZES {
        let (source, object) =
            (directory.join(format!("{}.c", size.name)), directory.join(format!("{}.o", size.name)));
        fs::write(&source, text(size, &fields)).map_err(failed)?;
        let options = ["-g", "-O2", "-target", "bpf", "-mcpu=v3", "-Wno-everything", "-c", "-o"];
        run(Command::new("clang-19").args(options).arg(&object).arg(&source))?;
        run(Command::new("llvm-strip-19").arg("-g").arg(&object))?;
        objects.push((size, object));
    }
    Ok(objects)
}

/// Members of each structure that eight bytes can hold, by name.
fn fields(btf: &Btf) -> Vec<(&'static str, Vec<String>)> {
    let members = |record: &&'static str| {
        let Def::Struct { members, .. } = btf.get(btf.find(record, Kind::Struct)?).ok()?.def else {
            return None;
        };
        let plain = members.filter(|member| {
            !member.name.is_empty()
                && member.bit_size.is_none()
                && btf.size_of(member.ty).is_ok_and(|size| size <= 8)
        });
        let names: Vec<String> = plain.map(|member| member.name.to_owned()).collect();
        (!names.is_empty()).then_some((*record, names))
    };
    RECORDS.iter().filter_map(members).collect()
}

fn text(size: &Size, fields: &[(&str, Vec<String>)]) -> String {
    let mut text = String::new();
    if size.relocations > 0 {
        text += "#include \"vmlinux.h\"\n";
    }
    text += HEAD;
    for map in 0..size.maps {
        let _ = writeln!(
            text,
            "struct {{ __uint(type, 2); __uint(max_entries, 16); __type(key, unsigned int); __type(value, unsigned long long); }} map_{map} SEC(\".maps\");"
        );
    }
    let mut next = 0;
    for program in 0..size.programs {
        let _ = writeln!(text, "SEC(\"raw_tp/sys_enter\") int program_{program}(unsigned long long *ctx) {{");
        let _ = writeln!(text, "    unsigned int key = 0; unsigned long long sum = 0, *slot;");
        for _ in 0..size.relocations {
            let records = fields.len().min(size.records);
            let (record, names) = &fields[next % records];
            let _ = writeln!(text, "    READ(struct {record}, {});", names[next / records % names.len()]);
            next += 1;
        }
        let _ = writeln!(text, "    slot = lookup(&map_{}, &key);", program % size.maps);
        let _ = writeln!(text, "    if (slot) *slot += sum;\n    return 0;\n}}");
    }
    text
}

fn run(command: &mut Command) -> Result<Vec<u8>, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}
