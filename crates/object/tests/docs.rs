//! Pages that are made from tables. `cargo xtask docs` writes them; here they are held against what it would write.

use onebpf_object::{MapType, SECTIONS, SectionFlags, SectionRule};
use std::fmt::Write as _;
use std::path::Path;

#[test]
fn sections() {
    let mut page = String::from(SECTIONS_HEAD);
    for rule in SECTIONS {
        let _ = writeln!(page, "{}", row(rule));
    }
    held("sections.md", &page);
}

#[test]
fn maps() {
    let mut page = String::from(MAPS_HEAD);
    for kind in MapType::all() {
        let since = kind.since().map_or("-".to_owned(), |(major, minor)| format!("{major}.{minor}"));
        let btf = if kind.takes_btf() { "given" } else { "left out" };
        let name = kind.name().unwrap_or_default();
        let notes = MAP_NOTES.iter().filter(|(names, _)| names.split(' ').any(|one| one == name));
        let notes: Vec<&str> = notes.map(|(_, note)| *note).collect();
        let _ = writeln!(page, "| `{name}` | {since} | {btf} | {} |", notes.join("; "));
    }
    held("maps.md", &page);
}

const MAPS_HEAD: &str = "\
# Map types

Every map type that libbpf knows, and what onebpf does with a declaration before the kernel sees it: as libbpf does, unless
`differences.md` says otherwise. This page is made from `crates/object/src/spec/kinds.rs` by `cargo xtask docs`.

- Linux: the first release that has the type; `-` is later than 6.18. A type that is not here is given to the kernel as its number.
- BTF: whether types of key and value go to the kernel. Some map types refuse them. Where a map is refused with BTF that
  the kernel was free to ignore, it is created without, and the load says so.
- `map_flags` are given as declared. A map of global variables (`.data`, `.bss`, `.rodata`) is an `array` with
  `BPF_F_MMAPABLE` where the kernel has that (5.5), `.rodata` also with `BPF_F_RDONLY_PROG`, and is frozen.
- `numa_node` goes to the kernel only with its flag `BPF_F_NUMA_NODE`.

| type | Linux | BTF | what else |
|---|---|---|---|
";

const MAP_NOTES: &[(&str, &str)] = &[
    ("perf_event_array", "`max_entries` 0: one for each possible CPU"),
    ("ringbuf user_ringbuf", "`max_entries` is bytes: rounded up to a power of two of pages"),
    (
        "lru_hash lru_percpu_hash",
        "with `BPF_F_NO_COMMON_LRU` a pin is compared as the kernel rounds: to a multiple of the CPUs",
    ),
    ("array_of_maps hash_of_maps", "values of 4 bytes; the template is created first; slots from `values[]`"),
    ("prog_array", "slots from `values[]`, tail sections and tags"),
    ("devmap devmap_hash", "a pin may have `BPF_F_RDONLY_PROG`, which the kernel adds"),
    ("array percpu_array devmap cpumap", "initial values from `values[]`"),
    ("hash lru_hash percpu_hash lru_percpu_hash lpm_trie devmap_hash", "initial entries from `entries[]`"),
    ("lpm_trie", "wants `BPF_F_NO_PREALLOC`"),
    ("bloom_filter", "no key; `map_extra` is the number of hash functions; BTF of the value alone"),
    ("queue stack", "no key"),
    (
        "sk_storage inode_storage task_storage cgrp_storage",
        "wants BTF, keys of 4 bytes, `BPF_F_NO_PREALLOC`, no `max_entries`",
    ),
    (
        "cgroup_storage percpu_cgroup_storage",
        "no `max_entries`; keys of 8 bytes or `struct bpf_cgroup_storage_key`",
    ),
    ("inode_storage", "kernels with CONFIG_BPF_LSM"),
];

const SECTIONS_HEAD: &str = "\
# Sections

What a program's section says of it: the table of libbpf 1.8 (`section_defs`), whole and in its order; the first row that
fits counts. This page is made from `crates/object/src/programs/sections.rs` by `cargo xtask docs`; a test in `oracle`
holds each row against `libbpf_prog_type_by_name`.

- `name` is the section's whole name. `name[/...]` may be followed by a slash and what to attach to.
- A `?` before the name: the program is not loaded unless it is asked for (`--program`, `--section`, `verify --all`).
- *sleepable*: loaded with `BPF_F_SLEEPABLE`; *frags*: with `BPF_F_XDP_HAS_FRAGS`.
- *in BTF*: what follows the slash is a function or type that is looked up in the kernel's BTF, or in that of the program
  that is replaced. It must be there.
- *optional*: kernels before 4.17 know no attach type, and load such programs without.
- *uprobe.multi*: a USDT program, attached as `uprobe.multi` where the kernel has that.
- Linux: the first release that takes such programs; `-` is later than 6.18.

Sections with other names are read, and their programs load with a type that is given: `--type`, `--section-type
NAME=TYPE`, or `ParseOptions::sections` in a program. iproute2's tail sections (`ID/INDEX`) take the type of the programs
that call them.

| section | program type | attach type | | Linux |
|---|---|---|---|---|
";

fn row(rule: &SectionRule) -> String {
    let section = match rule.pattern.strip_suffix('+') {
        Some(stem) => format!("{stem}[/...]"),
        None => rule.pattern.to_string(),
    };
    let attach = if rule.attach.0 == 0 { "-".to_owned() } else { format!("`{}`", rule.attach) };
    let flags = [
        (SectionFlags::SLEEPABLE, "sleepable"),
        (SectionFlags::XDP_FRAGS, "frags"),
        (SectionFlags::ATTACH_BTF, "in BTF"),
        (SectionFlags::ATTACH_OPTIONAL, "optional"),
        (SectionFlags::USDT, "uprobe.multi"),
    ];
    let flags: Vec<&str> =
        flags.iter().filter(|(flag, _)| rule.flags.contains(*flag)).map(|(_, word)| *word).collect();
    let since = rule.since.map_or("-".to_owned(), |(major, minor)| format!("{major}.{minor}"));
    format!("| `{section}` | `{}` | {attach} | {} | {since} |", rule.kind, flags.join(", "))
}

/// Compares a page with the file, or writes it.
fn held(name: &str, page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    if std::env::var_os("ONEBPF_WRITE_DOCS").is_some() {
        std::fs::write(&path, page).expect("docs can be written");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == page, "docs/{name} is stale: `cargo xtask docs` writes it");
}
