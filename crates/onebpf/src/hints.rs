//! What to do about a refusal: a pure table. Nothing is asked of anybody here; what the host is was observed before.

use crate::plan::{CreateMap, LoadProgram};
use onebpf_object::MapType;
use onebpf_sys::{Errno, Host, Release};

/// A step that the kernel refused, and all that is known about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal<'a> {
    pub(crate) what: What<'a>,
    pub(crate) errno: Errno,
    pub(crate) host: Option<&'a Host>,
    pub(crate) log: &'a str,
}

/// The kind of step.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What<'a> {
    Btf,
    Map(&'a CreateMap),
    Program(&'a LoadProgram),
    Fill,
    Pin,
}

/// The hints that apply, most telling first.
pub(crate) fn hints(refusal: &Refusal<'_>) -> Vec<String> {
    ROWS.iter().filter(|row| (row.when)(refusal)).map(|row| row.hint.to_owned()).collect()
}

struct Row {
    when: fn(&Refusal<'_>) -> bool,
    hint: &'static str,
}

const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_F_MMAPABLE: u32 = 1 << 10;

const ROWS: &[Row] = &[
    Row {
        when: |r| r.errno == Errno::PERM && r.host.is_some_and(|host| !host.privileged),
        hint: "run as root, or with CAP_BPF (before Linux 5.8: CAP_SYS_ADMIN) and what the program type needs: \
               CAP_NET_ADMIN for networking, CAP_PERFMON for tracing",
    },
    Row {
        when: |r| r.errno == Errno::PERM && r.host.is_some_and(|host| host.privileged && before(host, 5, 11)),
        hint: "before Linux 5.11 BPF memory counts as locked memory: raise RLIMIT_MEMLOCK (`ulimit -l unlimited`)",
    },
    Row {
        when: |r| {
            r.errno == Errno::PERM && r.host.is_some_and(|host| host.privileged && !before(host, 5, 11))
        },
        hint: "something above the capabilities says no: a container's seccomp filter, an LSM, or kernel lockdown \
               (see /sys/kernel/security/lockdown)",
    },
    // `bpf_check_attach_target()`: the types of static functions say nothing of how they are called.
    Row {
        when: |r| program(r).is_some() && r.log.contains("Cannot replace static functions"),
        hint: "what is replaced must be a global function that is not hidden, or a program whose argument is its context by type",
    },
    Row {
        when: |r| program(r).is_some() && r.log.contains("Subprog ") && r.log.contains("doesn't exist"),
        hint: "the function belongs to another program of that object: `--attach-to` one that calls it",
    },
    Row {
        when: |r| map(r).is_some_and(|map| r.host.is_some_and(|host| too_new(map, host))),
        hint: "this kernel is older than that map type",
    },
    // `bpf_prog_map_compatible()` looks after the verifier is done, and says nothing.
    Row {
        when: |r| r.errno == Errno::INVAL && program(r).is_some() && r.log.starts_with("processed "),
        hint: "the verifier had no complaint: a program array that it uses holds programs of another type, or \
               (since Linux 6.18, and in older stable kernels) of another expected attach type",
    },
    Row {
        when: |r| r.errno == Errno::INVAL && matches!(r.what, What::Fill),
        hint: "a program array takes programs of one type and, since Linux 6.18, of one expected attach type; an outer \
               map takes maps like its template",
    },
    Row {
        when: |r| {
            map(r).is_some_and(|map| MapType(map.map_type) == MapType::ARENA)
                && matches!(r.errno, Errno::TOOBIG | Errno::RANGE)
        },
        hint: "an arena has `max_entries` pages, 4 GiB at most, and no multiple of 4 GiB may lie between its first and its \
               last byte (`map_extra`)",
    },
    Row {
        when: |r| {
            r.errno == Errno::TOOBIG && map(r).is_some_and(|map| MapType(map.map_type) != MapType::ARENA)
        },
        hint: "too many bytes for one allocation, or an attribute that this kernel is too old for",
    },
    Row {
        when: |r| r.errno == Errno::TOOBIG && program(r).is_some() && r.log.is_empty(),
        hint: "this kernel is too old for an attribute of the load, or the program has too many instructions \
               (4096 before Linux 5.2)",
    },
    Row {
        when: |r| map_inval(r, &["arena"]),
        hint: "an arena needs the flag BPF_F_MMAPABLE and pages (`max_entries`), has neither keys nor values, and begins at \
               a page (`map_extra`)",
    },
    Row {
        when: |r| {
            map_inval(r, &["lpm_trie", "sk_storage", "inode_storage", "task_storage", "cgrp_storage"])
                && map(r).is_some_and(|map| map.flags & BPF_F_NO_PREALLOC == 0)
        },
        hint: "maps of this type must have the flag BPF_F_NO_PREALLOC: `__uint(map_flags, BPF_F_NO_PREALLOC)`",
    },
    Row {
        when: |r| {
            map_inval(r, &["sk_storage", "inode_storage", "task_storage", "cgrp_storage"])
                && map(r).is_some_and(|map| map.btf.is_none())
        },
        hint: "maps of this type need BTF for key and value: compile with `-g`, and declare them with `__type`",
    },
    Row {
        when: |r| {
            map_inval(r, &["sk_storage", "inode_storage", "task_storage", "cgrp_storage"])
                && map(r).is_some_and(|map| map.max_entries != 0)
        },
        hint: "maps of this type have no max_entries: leave it out",
    },
    Row {
        when: |r| {
            map_inval(r, &["ringbuf", "user_ringbuf"])
                && map(r).is_some_and(|map| map.key_size != 0 || map.value_size != 0)
        },
        hint: "ring buffers have neither key nor value: leave `key` and `value` out",
    },
    Row {
        when: |r| {
            r.errno == Errno::INVAL && map(r).is_some_and(|map| map.max_entries == 0 && needs_entries(map))
        },
        hint: "max_entries is 0: set it, in the source or with `--set map.NAME.max_entries=N`",
    },
    Row {
        when: |r| r.errno == Errno::INVAL && map(r).is_some_and(|map| key_is_index(map) && map.key_size != 4),
        hint: "the key of an array is an index of 4 bytes",
    },
    Row {
        when: |r| {
            map_inval(r, &["prog_array", "perf_event_array", "cgroup_array", "array_of_maps", "hash_of_maps"])
                && map(r).is_some_and(|map| map.value_size != 4)
        },
        hint: "a value of this type is an fd: value_size must be 4",
    },
    Row {
        when: |r| r.errno == Errno::INVAL && map(r).is_some_and(|map| map.flags & BPF_F_MMAPABLE != 0),
        hint: "BPF_F_MMAPABLE works for arrays from Linux 5.5 on",
    },
    Row {
        when: |r| {
            r.errno == Errno::INVAL && map(r).is_some_and(|map| map.value_size == 0 && key_is_index(map))
        },
        hint: "a value of 0 bytes: declare `value` or `value_size`",
    },
    Row {
        when: |r| r.errno == Errno::NOMEM && map(r).is_some(),
        hint: "not enough memory for that many entries: lower max_entries, or give the flag BPF_F_NO_PREALLOC",
    },
    Row {
        when: |r| r.errno == Errno::NOENT && matches!(r.what, What::Pin),
        hint: "a directory is missing, or no BPF filesystem is mounted: `mount -t bpf bpf /sys/fs/bpf`",
    },
    Row {
        when: |r| matches!(r.errno, Errno::PERM | Errno::INVAL) && matches!(r.what, What::Pin),
        hint: "pins live on a BPF filesystem (`mount -t bpf bpf /sys/fs/bpf`), and their names hold no dot",
    },
    Row {
        when: |r| r.errno == Errno::TOOBIG && matches!(r.what, What::Fill),
        hint: "the map has fewer entries than that: raise max_entries",
    },
    Row {
        when: |r| {
            program(r).is_some()
                && (says(r, "cannot call GPL") || says(r, "GPL-restricted") || says(r, "GPL-compatible"))
        },
        hint: "that helper or function is for GPL programs: `char LICENSE[] SEC(\"license\") = \"GPL\";`",
    },
    Row {
        when: |r| program(r).is_some() && says(r, "map_value_or_null"),
        hint: "a map look-up gives NULL when there is no such key: compare the pointer with NULL before using it",
    },
    Row {
        when: |r| program(r).is_some() && (says(r, "ringbuf_mem_or_null") || says(r, "mem_or_null")),
        hint: "the pointer may be NULL: compare it with NULL before using it",
    },
    Row {
        when: |r| program(r).is_some() && says(r, "invalid access to packet"),
        hint: "compare with `data_end` before the access, and for the very bytes that are accessed",
    },
    Row {
        when: |r| program(r).is_some() && says(r, "invalid access to map value"),
        hint: "the offset may lie outside the value: bound it with a comparison (or `&` a mask) right before the access",
    },
    Row {
        when: |r| {
            program(r).is_some() && (says(r, "back-edge from insn") || says(r, "infinite loop detected"))
        },
        hint: "the loop has no bound that the verifier can see (before Linux 5.3: loops must be unrolled); \
               bpf_loop() takes long ones",
    },
    Row {
        when: |r| {
            program(r).is_some()
                && (says(r, "BPF program is too large")
                    || says(r, "too many states")
                    || says(r, "jumps is too complex"))
        },
        hint: "too much for the verifier: use bpf_loop(), split into global functions (`__noinline`, verified on \
               their own) or tail calls",
    },
    Row {
        when: |r| program(r).is_some() && says(r, "combined stack size"),
        hint: "512 bytes of stack for all frames of a call chain: move large variables into a per-CPU array",
    },
    Row {
        when: |r| program(r).is_some() && (says(r, "unknown func") || says(r, "invalid func")),
        hint: "this kernel, or this program type, has no such helper: `onebpf facts` says what the kernel is",
    },
    Row {
        when: |r| {
            program(r).is_some() && (says(r, "BPF_STX uses reserved fields") || says(r, "unknown opcode"))
        },
        hint: "this kernel is older than that instruction (atomic operations other than add: Linux 5.12): compile \
               with a lower `-mcpu`",
    },
    Row {
        when: |r| program(r).is_some() && says(r, "BPF_CALL uses reserved fields"),
        hint: "this kernel is older than that kind of call: BPF functions are called from Linux 4.16 on, kernel \
               functions from 5.13 on",
    },
    Row {
        when: |r| program(r).is_some() && says(r, "failed to find the address for kernel symbol"),
        hint: "this kernel knows the type of that variable but not its address: it has to be built with \
               CONFIG_KALLSYMS_ALL",
    },
    Row {
        when: |r| program(r).is_some() && says(r, "type=ctx expected=fp"),
        hint: "the helper wants a pointer to the stack: copy the value into a local variable first",
    },
    Row {
        when: |r| program(r).is_some() && says(r, "R0 !read_ok"),
        hint: "a path ends without a return value: return one on every path",
    },
    Row {
        when: |r| program(r).is_some() && r.errno == Errno::INVAL && r.log.is_empty(),
        hint: "the kernel did not even look at the code: it may lack the program type, the attach type or a flag",
    },
];

fn says(refusal: &Refusal<'_>, words: &str) -> bool {
    // The complaint is at the end: what an earlier path says is not what it failed for.
    let tail = refusal.log.lines().rev().take(8);
    tail.into_iter().any(|line| line.contains(words))
}

fn map<'a>(refusal: &Refusal<'a>) -> Option<&'a CreateMap> {
    if let What::Map(map) = refusal.what { Some(map) } else { None }
}

fn program<'a>(refusal: &Refusal<'a>) -> Option<&'a LoadProgram> {
    if let What::Program(program) = refusal.what { Some(program) } else { None }
}

fn map_inval(refusal: &Refusal<'_>, types: &[&str]) -> bool {
    let named = |map: &CreateMap| MapType(map.map_type).name().is_some_and(|name| types.contains(&name));
    refusal.errno == Errno::INVAL && map(refusal).is_some_and(named)
}

/// Map types that came after the oldest kernels still in use; the first release of each.
const NEWER: [(&str, (u32, u32)); 12] = [
    ("queue", (4, 20)),
    ("stack", (4, 20)),
    ("sk_storage", (5, 2)),
    ("devmap_hash", (5, 4)),
    ("struct_ops", (5, 6)),
    ("ringbuf", (5, 8)),
    ("inode_storage", (5, 10)),
    ("task_storage", (5, 11)),
    ("bloom_filter", (5, 16)),
    ("user_ringbuf", (6, 1)),
    ("cgrp_storage", (6, 2)),
    ("arena", (6, 9)),
];

fn too_new(map: &CreateMap, host: &Host) -> bool {
    let row = |name| NEWER.iter().find(|row| row.0 == name);
    let since = MapType(map.map_type).name().and_then(row).map(|row| row.1);
    since.is_some_and(|(major, minor)| before(host, major, minor))
}

fn key_is_index(map: &CreateMap) -> bool {
    let arrays = ["array", "prog_array", "perf_event_array", "percpu_array", "cgroup_array", "array_of_maps"];
    MapType(map.map_type).name().is_some_and(|name| arrays.contains(&name))
}

fn needs_entries(map: &CreateMap) -> bool {
    !MapType(map.map_type).name().is_some_and(|name| name.ends_with("_storage") || name == "struct_ops")
}

/// By the release's number; only to choose words, never to choose steps.
fn before(host: &Host, major: u32, minor: u32) -> bool {
    host.release.parse::<Release>().is_ok_and(|release| release < Release::new(major, minor))
}

#[cfg(test)]
mod tests;
