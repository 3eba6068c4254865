//! Each row of the table, by a refusal that it is for.

use super::*;
use crate::plan::Slot;
use onebpf_sys::Errno as E;

/// A map of a type, otherwise as good as an array.
fn map(kind: &str) -> CreateMap {
    let kind = MapType::from_name(kind).expect("a map type");
    CreateMap {
        out: Slot::new(1),
        name: "m".into(),
        kernel_name: "m".into(),
        map_type: kind.0,
        key_size: 4,
        value_size: 4,
        max_entries: 1,
        flags: 0,
        extra: 0,
        numa_node: None,
        device: None,
        token: None,
        btf: None,
        kernel_value: None,
        inner: None,
        globals: None,
        template: false,
        on_refusal: Vec::new(),
        like: Box::default(),
        place: onebpf_object::Place::default(),
    }
}

fn program() -> LoadProgram {
    LoadProgram {
        out: Slot::new(1),
        name: "p".into(),
        kernel_name: "p".into(),
        section: "tc".into(),
        prog_type: 3,
        expected_attach_type: 0,
        flags: 0,
        license: "GPL".into(),
        kernel_version: 0,
        insns: [].into(),
        patches: Vec::new(),
        poisons: Vec::new(),
        btf: None,
        func_info: [].into(),
        line_info: [].into(),
        functions: Vec::new(),
        attach: None,
        modules: Vec::new(),
        device: None,
        token: None,
        log_level: 0,
        place: onebpf_object::Place::default(),
    }
}

fn host(release: &str, privileged: bool) -> Host {
    Host { release: release.into(), privileged, ..Host::default() }
}

/// Says that the first hint for this refusal holds these words.
#[track_caller]
fn says_first(what: What<'_>, errno: Errno, host: Option<&Host>, log: &str, words: &str) {
    let all = hints(&Refusal { what, errno, host, log });
    assert!(all.first().is_some_and(|hint| hint.contains(words)), "wanted `{words}`: {all:?}");
}

#[test]
fn permission_depends_on_the_host() {
    for what in [What::Btf, What::Map(&map("array")), What::Program(&program())] {
        says_first(what, E::PERM, Some(&host("6.1.0", false)), "", "CAP_BPF");
        says_first(what, E::PERM, Some(&host("5.10.0-32-amd64", true)), "", "RLIMIT_MEMLOCK");
        says_first(what, E::PERM, Some(&host("6.1.0", true)), "", "lockdown");
    }
}

#[test]
fn maps_have_rules() {
    let with = |kind, edit: fn(&mut CreateMap)| {
        let mut map = map(kind);
        edit(&mut map);
        map
    };
    let cases: [(CreateMap, Errno, &str); 13] = [
        (with("array", |_| ()), E::TOOBIG, "one allocation"),
        (with("lpm_trie", |_| ()), E::INVAL, "BPF_F_NO_PREALLOC"),
        (with("sk_storage", |m| m.flags = 1), E::INVAL, "need BTF"),
        (with("task_storage", |m| (m.flags, m.btf) = (1, Some(types()))), E::INVAL, "no max_entries"),
        (with("ringbuf", |_| ()), E::INVAL, "neither key nor value"),
        (with("hash", |m| m.max_entries = 0), E::INVAL, "max_entries is 0"),
        (with("percpu_array", |m| m.key_size = 8), E::INVAL, "index of 4 bytes"),
        (with("prog_array", |m| m.value_size = 8), E::INVAL, "value_size must be 4"),
        (with("array", |m| m.flags = BPF_F_MMAPABLE), E::INVAL, "Linux 5.5"),
        (with("array", |m| m.value_size = 0), E::INVAL, "0 bytes"),
        (with("hash", |_| ()), E::NOMEM, "not enough memory"),
        (with("user_ringbuf", |m| m.key_size = 0), E::INVAL, "neither key nor value"),
        (with("cgrp_storage", |_| ()), E::INVAL, "BPF_F_NO_PREALLOC"),
    ];
    for (map, errno, words) in &cases {
        says_first(What::Map(map), *errno, None, "", words);
    }
}

#[test]
fn a_map_type_can_be_too_new() {
    says_first(
        What::Map(&map("bloom_filter")),
        E::INVAL,
        Some(&host("5.10.0", true)),
        "",
        "older than that map type",
    );
    let refusal = Refusal {
        what: What::Map(&map("bloom_filter")),
        errno: E::INVAL,
        host: Some(&host("6.1.0", true)),
        log: "",
    };
    assert_eq!(hints(&refusal), Vec::<String>::new());
}

fn types() -> crate::plan::MapBtfRef {
    crate::plan::MapBtfRef { btf: Slot::new(1), key: 1, value: 2 }
}

#[test]
fn pins_and_slots_have_rules() {
    says_first(What::Pin, E::NOENT, None, "", "mount -t bpf");
    says_first(What::Pin, E::PERM, None, "", "no dot");
    says_first(What::Fill, E::TOOBIG, None, "", "fewer entries");
    says_first(What::Fill, E::INVAL, None, "", "template");
}

#[test]
fn the_verifier_is_translated() {
    let program = program();
    let cases = [
        ("cannot call GPL-restricted function from non-GPL compatible program", "GPL"),
        ("R0 invalid mem access 'map_value_or_null'", "compare the pointer with NULL"),
        ("R0 invalid mem access 'ringbuf_mem_or_null'", "may be NULL"),
        ("invalid access to packet, off=14 size=1, R1(id=0,off=14,r=1)", "data_end"),
        ("invalid access to map value, value_size=4 off=4 size=4", "outside the value"),
        ("back-edge from insn 3 to 1", "bpf_loop"),
        ("infinite loop detected at insn 3", "bpf_loop"),
        ("BPF program is too large. Processed 1000001 insn", "split"),
        ("The sequence of 8193 jumps is too complex.", "split"),
        ("combined stack size of 2 calls is 544. Too large", "512 bytes"),
        ("unknown func bpf_loop#181", "no such helper"),
        ("BPF_STX uses reserved fields", "-mcpu"),
        ("BPF_CALL uses reserved fields", "4.16"),
        ("R2 type=ctx expected=fp", "local variable"),
        ("R0 !read_ok", "return one"),
        ("Cannot replace static functions", "a global function"),
        ("Subprog f doesn't exist", "another program of that object"),
    ];
    for (log, words) in cases {
        says_first(What::Program(&program), E::INVAL, None, log, words);
    }
    says_first(What::Program(&program), E::TOOBIG, None, "", "too old");
    says_first(What::Program(&program), E::INVAL, None, "", "did not even look");
}

#[test]
fn what_an_earlier_path_says_does_not_count() {
    let log = format!("unknown func\n{}", "0: (95) exit\n".repeat(20));
    let refusal = Refusal { what: What::Program(&program()), errno: E::ACCES, host: None, log: &log };
    assert_eq!(hints(&refusal), Vec::<String>::new());
}
