//! What each dialect reads from clang's output, map by map.

use std::fmt::Write;
use std::path::Path;

use onebpf_object::{
    Contents, Dialect, Entry, ExternKind, Layout, MapSpec, ParseOptions, Pinning, Slot, SlotTarget, Spec,
    parse,
};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/obj");

/// Objects and their maps: name, dialect, type, key, value, entries, then what is not the default.
const MAPS: &[(&str, &[&str])] = &[
    (
        "btf_members",
        &[
            "flows btf hash 16:flow_key 16:flow 1024 flags=0x5 node=0",
            "any_order btf hash 4:u32 8:u64 8",
            "seen btf bloom_filter 0 4:u32 100 extra=3",
            "said_twice btf array 4:u32 16:flow 2",
            "by_size btf percpu_array 4 24 4",
        ],
    ),
    (
        "btf_enumerators",
        &["seen btf bloom_filter 0 4:u32 100 extra=5", "recent btf lru_hash 4:u32 4:verdict 64"],
    ),
    ("btf_function_static", &["first.twin btf array 4:u32 8:u64 1", "second.twin btf array 4:u32 8:u64 1"]),
    ("btf_pinned", &["fix_pinned btf array 4:u32 8:u64 4 ByName"]),
    ("btf_static", &["second btf array 4:u32 8:u64 4", "first btf hash 4:u32 8:u64 8"]),
    (
        "btf_map_in_map",
        &[
            "inner_a btf array 4:u32 8:u64 2",
            "inner_b btf array 4:u32 8:u64 2",
            "outer_array btf array_of_maps 4 4 4 [0=inner_a 2=inner_b] (outer_array.inner btf array 4:u32 8:u64 2)",
            "outer_hash btf hash_of_maps 4:u32 4:u32 5 [1=inner_a 3=inner_b] (outer_hash.inner btf array 4:u32 8:u64 2)",
            "outer_template btf hash_of_maps 4:u32 4 5 (outer_template.inner btf hash 4:u32 4:u32 7)",
        ],
    ),
    ("btf_prog_array", &["jumps btf prog_array 4 4 4 [0=handle_a() 2=handle_b()]"]),
    (
        "values_plain",
        &[
            "points btf-values array 4:int 16:point 4",
            "sparse btf-values hash 8:u64 4:u32 100 flags=0x5 node=0",
            "events btf-values perf_event_array 4 4 0",
            "small btf-values array 4:u32 8:u64 1",
            "large btf-values lru_hash 4:u32 8:u64 4096",
            "unseen btf-values hash 4:u32 8:u64 2",
        ],
    ),
    ("values_pinned", &["fix_values_pinned btf-values array 4:u32 8:u64 2 ByName"]),
    (
        "values_2019",
        &[
            "plain btf-values array 4:int 8:u64 4",
            "btf_inner btf-values array 4:u32 8:u64 2",
            "btf_other btf-values array 4:u32 8:u64 2",
            "by_nested btf-values hash_of_maps 4:int 4 3 (by_nested.inner btf-values hash 4:u32 4:u32 7)",
            "by_shared btf-values array_of_maps 4:int 4 3 (by_shared.inner btf-values array 4:u32 8:u64 11)",
            "by_pointer btf-values array_of_maps 4:int 4 3 (by_pointer.inner btf-values array 4:u32 8:u64 2)",
            "by_slots btf-values array_of_maps 4:int 4 2 [0=btf_inner 1=btf_other] \
             (by_slots.inner btf-values array 4:u32 8:u64 2)",
            "jumps btf-values prog_array 4:int 4 3 [0=handle_a() 2=handle_b()]",
        ],
    ),
    (
        "values_map_slots",
        &[
            "map1 btf-values array 4:u32 8:u64 3",
            "map2 btf-values array 4:u32 8:u64 3",
            "outer_array btf-values array_of_maps 4:int 4 2 [0=map1 1=map2] (outer_array.inner btf-values array 4:u32 8:u64 3)",
            "outer_hash btf-values hash_of_maps 4:u32 4 10 [0=map1 2=map2] (outer_hash.inner btf-values array 4:u32 8:u64 3)",
        ],
    ),
    (
        "values_prog_array",
        &[
            "jumps btf-values prog_array 4:int 4 5 [0=handle_a() 2=handle_b()]",
            "jumps_void btf-values prog_array 4 4 3 [1=handle_b()]",
        ],
    ),
    (
        "values_mixed",
        &[
            "half btf-values hash 4:u32 8:u64 12 flags=0x1",
            "outer btf-values array_of_maps 4:int 4 2 (outer.inner btf-values array 4:u32 8:u64 4)",
            "types_only btf array 4:u32 8:u64 3",
        ],
    ),
    (
        "btf_entries",
        &[
            "limits btf array 4:u32 16:limit 4 \
             {00000000:e8030000000000000a00000000000000 02000000:b80b0000000000001e00000000000000}",
            "seeds btf percpu_array 4 4:u32 3 {00000000:07000000 01000000:08000000 02000000:09000000}",
            "ports btf hash 2:u16 16:limit 8 {5000:64000000000000000100000000000000 \
             bb01:c8000000000000000200000000000000 0000:00000000000000000000000000000000}",
            "counts btf percpu_hash 4:u32 4:u32 2 {05000000:32000000}",
            "recent btf lru_hash 1:u8 1:u8 64 {01:02 03:04 05:06}",
            "routes btf lpm_trie 8:prefix 4:u32 8 flags=0x1 {080000000a000000:01000000 10000000c0a80000:02000000}",
            "ways btf devmap 4 4:u32 4 {02000000:01000000}",
            "cpus btf cpumap 4 4:u32 1 {00000000:c0000000}",
            "unlisted btf hash 1:u8 1:u8 8",
        ],
    ),
    (
        "values_entries",
        &[
            "limits btf-values array 4:int 16:limit 4 {01000000:d0070000000000001400000000000000}",
            "totals btf-values percpu_array 4:u32 8:u64 2 {00000000:0500000000000000 01000000:0600000000000000}",
            "bytes btf-values array 4:int 1:u8 2 {00000000:01 01000000:02}",
            "ports btf-values hash 4:u32 8:u64 2 {50000000:0100000000000000 bb010000:0200000000000000}",
        ],
    ),
    (
        "values_outer_first",
        &[
            "early_outer btf-values array_of_maps 4:int 4 3 (early_outer.inner btf-values array 4:u32 8:u64 8)",
            "late_inner btf-values array 4:u32 8:u64 8",
        ],
    ),
    (
        "def_plain",
        &[
            "counters bpf_map_def array 4 8 4",
            "peers bpf_map_def hash 8 4 128 flags=0x1",
            "events bpf_map_def perf_event_array 4 4 0",
        ],
    ),
    ("def_long", &["one bpf_map_def array 4 8 3", "two bpf_map_def hash 8 4 9 flags=0x1"]),
    (
        "def_sections",
        &[
            "first bpf_map_def hash 4 4 16",
            "fix_aya_pinned bpf_map_def array 4 8 2 ByName",
            "third bpf_map_def percpu_array 4 8 1",
        ],
    ),
    ("def_annotated", &["pairs bpf_map_def hash 4:u32 8:pair 32", "bare bpf_map_def array 4 8 1"]),
    (
        "elf_pins",
        &[
            "fix_private bpf_elf_map array 4 8 2 id=1",
            "fix_object bpf_elf_map array 4 8 2 Object id=2",
            "fix_global bpf_elf_map array 4 8 2 Global id=3",
            "fix_custom bpf_elf_map array 4 8 2 Custom(11) id=4",
        ],
    ),
    ("elf_28", &["fix_elf_28 bpf_elf_map array 4 8 2 Global id=5", "fix_other_28 bpf_elf_map hash 4 8 16"]),
    ("elf_annotated", &["flows bpf_elf_map hash 4:u32 16:flow 64 id=7"]),
    ("elf_notype.nog", &["first bpf_elf_map array 4 8 2 id=1", "second bpf_elf_map hash 4 8 16 id=2"]),
    ("elf_static.nog", &["open bpf_elf_map array 4 8 2 id=1", "closed bpf_elf_map hash 4 8 16 id=2"]),
    (
        "elf_inner",
        &[
            "outer bpf_elf_map array_of_maps 4 4 8 id=41 inner_id=42 [3=inner] (outer.inner bpf_elf_map array 4 4 1)",
            "inner bpf_elf_map array 4 4 1 id=42 inner_idx=3",
            "by_name bpf_elf_map hash_of_maps 4 4 4 id=43 inner_id=44 (by_name.inner bpf_elf_map hash 4 8 16)",
            "template bpf_elf_map hash 4 8 16 id=44 inner_idx=-1",
        ],
    ),
    (
        "elf_tail",
        &[
            "jumps bpf_elf_map prog_array 4 4 4 id=1 [0=first() 2=second()]",
            "other bpf_elf_map prog_array 4 4 1 Object id=11259066 [0=third()]",
        ],
    ),
    (
        "mix_def_btf_values",
        &[
            "oldest bpf_map_def array 4 8 2",
            "first_form btf-values hash 4:u32 8:u64 2",
            "today btf lru_hash 4:u32 8:u64 2",
            "fixture.data data array 4 8:.data 1 {2800000000000000}",
        ],
    ),
    (
        "data_sections",
        &[
            "fixture.rodata data array 4 21:.rodata 1 flags=0x480 {07000000...} frozen",
            "fixture.data data array 4 44:.data 1 flags=0x400 {2a000000...}",
            ".rodata.custom data array 4 4:.rodata.custom 1 flags=0x480 {63000000} frozen",
            ".data.custom data array 4 4:.data.custom 1 flags=0x400 {62000000}",
            "fixture.bss data array 4 144:.bss 1 flags=0x400 {00000000...}",
            ".bss.custom data array 4 4:.bss.custom 1 flags=0x400 {00000000}",
        ],
    ),
    ("data_bss_only.nog", &["fixture.bss data array 4 24 1 {00000000...}"]),
    ("data_arena.v4", &["arena btf arena 0 0 4 flags=0x400 {01000000...}"]),
    ("extern_kconfig", &["fixture.kconfig kconfig array 4 54:.kconfig 1 flags=0x480 {00000000...} frozen"]),
    (
        "struct_ops",
        &[
            "registered struct_ops struct_ops 4 48:tcp_congestion_ops 1 <0=fixture_ssthresh() 8=fixture_avoid() 16=fixture_undo()>",
            "linked struct_ops struct_ops 4 48:tcp_congestion_ops 1 flags=0x2000 <0=fixture_ssthresh() 8=fixture_avoid() 16=fixture_undo()>",
        ],
    ),
];

#[test]
fn maps_are_read_as_they_are_written() {
    let mut wrong = String::new();
    for (object, expected) in MAPS {
        let found = render(&read(object, &ParseOptions::default()));
        for (found, expected) in found.iter().zip(*expected).filter(|(found, expected)| found != expected) {
            let _ = writeln!(wrong, "{object}:\n  expected {expected}\n  found    {found}");
        }
        if found.len() != expected.len() {
            let _ = writeln!(wrong, "{object}: {} maps, not {}: {found:#?}", found.len(), expected.len());
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn byte_order_changes_nothing() {
    let big: Vec<_> = std::fs::read_dir(FIXTURES)
        .unwrap()
        .filter_map(|entry| {
            entry.unwrap().file_name().into_string().ok()?.strip_suffix(".eb.o").map(str::to_owned)
        })
        .collect();
    assert!(big.len() > 5, "{big:?}");
    for object in big {
        let without_data = |spec: &Spec| {
            let lines = render(spec);
            lines.iter().map(|line| line.split('{').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
        };
        let options = ParseOptions::default();
        let (little, big) = (read(&object, &options), read(&format!("{object}.eb"), &options));
        assert_eq!(without_data(&little), without_data(&big), "{object}");
        let names =
            |spec: &Spec| spec.variables.keys().chain(spec.externs.keys()).cloned().collect::<Vec<_>>();
        assert_eq!(names(&little), names(&big), "{object}");
    }
}

#[test]
fn a_tie_names_both_readings_and_an_option_settles_it() {
    let bytes = std::fs::read(Path::new(FIXTURES).join("maps_tie.o")).unwrap();
    let tie = parse(&bytes, &ParseOptions::default()).unwrap_err();
    assert_eq!(tie.code(), "E0112");
    assert!(tie.to_string().contains("bpf_map_def") && tie.to_string().contains("bpf_elf_map"), "{tie}");
    assert_eq!(tie.notes().len(), 2, "{:?}", tie.notes());

    let read_as =
        |dialect| render(&read("maps_tie", &ParseOptions { dialect: Some(dialect), ..Default::default() }));
    assert_eq!(
        read_as(Dialect::BpfElfMap),
        ["one bpf_elf_map hash 4 8 16 flags=0x1 id=1", "two bpf_elf_map array 4 8 2"]
    );
    assert_eq!(
        read_as(Dialect::BpfMapDef),
        ["one bpf_map_def hash 4 8 16 flags=0x1 id=1", "two bpf_map_def array 4 8 2"]
    );

    let samples = ParseOptions { dialect: Some(Dialect::BpfMapDef), ..Default::default() };
    assert_eq!(
        render(&read("def_samples_inner", &samples))[2],
        "outer bpf_map_def array_of_maps 4 4 8 (outer.inner bpf_map_def hash 4 8 64)"
    );
}

#[test]
fn errors_show_both_sides_and_the_place() {
    let bytes = std::fs::read(Path::new(FIXTURES).join("btf_bad_key_conflict.o")).unwrap();
    let error = parse(&bytes, &ParseOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "map `faulty`: conflicting key sizes, 4 and 8");
    assert_eq!(error.place().section.as_deref(), Some(".maps"));
    assert_eq!(error.place().symbol.as_deref(), Some("faulty"));
    assert_eq!(error.notes().len(), 2, "{:?}", error.notes());
}

#[test]
fn relaxed_reads_what_it_knows() {
    let relaxed = ParseOptions { relaxed: true, ..Default::default() };
    for (object, code, word) in [
        ("btf_bad_member", "W0101", "colour"),
        ("values_bad_member", "W0101", "colour"),
        ("def_bad_tail", "W0102", "0x4d"),
    ] {
        let spec = read(object, &relaxed);
        let warning = spec.warnings.iter().find(|warning| warning.code == code).expect(object);
        assert!(warning.message.contains(word), "{warning:?}");
        assert!(!spec.maps.is_empty());
    }
    let spec = read("def_bad_annotation", &ParseOptions::default());
    assert_eq!(spec.warnings.iter().filter(|warning| warning.code == "W0105").count(), 1);
    assert_eq!(spec.maps["pairs"].value, Layout { size: 8, btf: None });
}

#[test]
fn variables_are_where_the_compiler_put_them() {
    let spec = read("data_sections", &ParseOptions::default());
    let place = |name: &str| {
        let variable = &spec.variables[name];
        (variable.map.as_str(), variable.offset, variable.size, variable.global)
    };
    assert_eq!(place("limits"), ("fixture.rodata", 4, 16, true));
    assert_eq!(place("static_data"), ("fixture.data", 40, 4, false));
    assert_eq!(place("custom_zero"), (".bss.custom", 0, 4, true));
    let spec = read("data_bss_only", &ParseOptions::default());
    assert!(!spec.variables["hidden_total"].global && spec.variables["weak_total"].global);
}

/// libbpf's order (`cmp_externs`): large alignment first, small sizes first, then by name.
#[test]
fn configuration_values_are_laid_out_as_libbpf_does() {
    let spec = read("extern_kconfig", &ParseOptions::default());
    let place = |name: &str| match spec.externs[name].kind {
        ExternKind::Kconfig { offset, size } => (offset, size),
        _ => panic!("{name} is no value"),
    };
    assert_eq!(place("CONFIG_NO_SUCH_OPTION"), (0, 8));
    assert_eq!(place("CONFIG_BTRFS_FS"), (8, 4));
    assert_eq!(place("CONFIG_HZ"), (12, 4));
    assert_eq!(place("LINUX_KERNEL_VERSION"), (16, 4));
    assert_eq!(place("CONFIG_BPF"), (20, 1));
    assert_eq!(place("LINUX_HAS_SYSCALL_WRAPPER"), (21, 1));
    assert_eq!(place("CONFIG_DEFAULT_HOSTNAME"), (22, 32));
    assert!(spec.externs["CONFIG_NO_SUCH_OPTION"].weak && !spec.externs["CONFIG_HZ"].weak);
}

fn read(object: &str, options: &ParseOptions) -> Spec {
    let bytes = std::fs::read(Path::new(FIXTURES).join(format!("{object}.o"))).expect(object);
    let options = ParseOptions { name: "fixture".into(), ..options.clone() };
    parse(&bytes, &options).unwrap_or_else(|error| panic!("{object}: {} {error}", error.code()))
}

fn render(spec: &Spec) -> Vec<String> {
    spec.maps.values().map(|map| render_map(spec, map)).collect()
}

fn render_map(spec: &Spec, map: &MapSpec) -> String {
    let layout = |layout: Layout| {
        let ty = layout.btf.and_then(|id| Some(spec.btf.as_ref()?.get(id).ok()?.name.to_owned()));
        ty.map_or(layout.size.to_string(), |ty| format!("{}:{ty}", layout.size))
    };
    let mut words = vec![map.name.clone(), map.dialect.to_string(), map.kind.to_string()];
    words.extend([layout(map.key), layout(map.value), map.max_entries.to_string()]);
    let mut more = |wanted: bool, what: String| words.extend(wanted.then_some(what));
    more(map.flags != 0, format!("flags={:#x}", map.flags));
    more(map.extra != 0, format!("extra={}", map.extra));
    more(map.numa_node.is_some(), format!("node={}", map.numa_node.unwrap_or_default()));
    more(map.pinning != Pinning::None, format!("{:?}", map.pinning));
    more(map.id.unwrap_or_default() != 0, format!("id={}", map.id.unwrap_or_default()));
    more(map.inner_id.is_some(), format!("inner_id={}", map.inner_id.unwrap_or_default()));
    let index = map.inner_idx.unwrap_or_default();
    more(index != 0, format!("inner_idx={index}"));
    match &map.contents {
        Contents::Empty => {}
        Contents::Ops(ops) => {
            let member = |(offset, program): (&u32, &String)| format!("{offset}={program}()");
            more(true, format!("<{}>", ops.programs.iter().map(member).collect::<Vec<_>>().join(" ")));
        }
        Contents::Data(data) => {
            let end = if data.len() > 8 { "..." } else { "" };
            let shown = if data.len() > 8 { &data[..4] } else { data };
            let hex: Vec<_> = shown.iter().map(|byte| format!("{byte:02x}")).collect();
            more(true, format!("{{{}{end}}}", hex.concat()));
        }
        Contents::Slots(slots) => {
            let slot = |slot: &Slot| match &slot.target {
                SlotTarget::Map(name) => format!("{}={name}", slot.index),
                SlotTarget::Program(name) => format!("{}={name}()", slot.index),
            };
            more(true, format!("[{}]", slots.iter().map(slot).collect::<Vec<_>>().join(" ")));
        }
        Contents::Entries(entries) => {
            let hex =
                |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
            let entry = |entry: &Entry| format!("{}:{}", hex(&entry.key), hex(&entry.value));
            more(true, format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(" ")));
        }
    }
    more(map.read_only, "frozen".to_owned());
    if let Some(inner) = &map.inner {
        more(true, format!("({})", render_map(spec, inner)));
    }
    words.join(" ")
}
