//! Plans as data, and what they do to a kernel in memory: releases old and new, refusals, races.

mod common;

use common::{options, spec};
use onebpf::object::Contents;
use onebpf::plan::{Fallback, Step};
use onebpf::sys::{Errno, Feature, Op, Support};
use onebpf::{Facts, Kernel, Options, Plan, load_spec, observe, plan};
use onebpf_fake::{FakeKernel, Faulty};
use std::sync::Arc;

fn plan_on(kernel: &FakeKernel, name: &str, options: &Options) -> Plan {
    let spec = spec(name);
    plan(&spec, options, &observe(kernel, &spec, options).unwrap()).unwrap()
}

/// A plan for a kernel whose every feature is known.
fn informed_plan(kernel: &FakeKernel, name: &str) -> Plan {
    let (spec, options) = (spec(name), options());
    let mut facts = observe(kernel, &spec, &options).unwrap();
    let assumed = plan(&spec, &options, &facts).unwrap().assumed;
    facts.probe(kernel, &assumed);
    plan(&spec, &options, &facts).unwrap()
}

#[test]
fn dry_runs_read_well() {
    let kernel = FakeKernel::new();
    for name in ["demo", "values_2019", "btf_map_in_map", "btf_prog_array", "data_sections"] {
        insta::assert_snapshot!(name, plan_on(&kernel, name, &options()).to_string());
    }
}

#[test]
fn a_plan_is_a_function_of_its_inputs() {
    let kernel = FakeKernel::new();
    let spec = spec("demo");
    let facts = observe(&kernel, &spec, &options()).unwrap();
    let here = plan(&spec, &options(), &facts).unwrap();
    let there = plan(&spec, &options(), &Facts::from_json(&facts.to_json()).unwrap()).unwrap();
    assert_eq!(here, there);
    assert!(serde_json::to_string(&here).unwrap().contains("\"create_map\""));
}

#[test]
fn tracing_programs_say_what_they_attach_to() {
    let refusal = |name: &str| {
        let mut spec = spec("prog_sections");
        spec.programs.retain(|found, _| found == name);
        spec.programs[0].attach_target = None;
        let facts = observe(&FakeKernel::new(), &spec, &options()).unwrap();
        plan(&spec, &options(), &facts).err().map(|error| error.code())
    };
    for name in ["p_fentry", "p_fexit_sleepable", "p_tp_btf", "p_lsm", "p_lsm_cgroup", "p_iter"] {
        assert_eq!(refusal(name), Some("E0308"), "{name}");
    }
    for name in ["p_kprobe", "p_tp", "p_raw_tp", "p_kprobe_multi", "p_xdp"] {
        assert_eq!(refusal(name), None, "{name}");
    }
}

#[test]
fn a_node_counts_only_with_its_flag() {
    let mut spec = spec("btf_members");
    let kernel = FakeKernel::new();
    let node = |spec: &onebpf::object::Spec, name: &str| {
        let plan = plan(spec, &options(), &observe(&kernel, spec, &options()).unwrap()).unwrap();
        let mut maps = plan.steps.iter().filter_map(|step| match step {
            Step::CreateMap(map) if map.name == name => Some(map.numa_node),
            _ => None,
        });
        maps.next().unwrap()
    };
    assert_eq!(node(&spec, "flows"), Some(0));
    spec.set("map.flows.flags", "0x1").unwrap();
    assert_eq!(node(&spec, "flows"), None, "libbpf hands it over, the kernel ignores it");
    spec.set("map.any_order.numa_node", "0").unwrap();
    assert_eq!(node(&spec, "any_order"), Some(0), "who asks for a node means it");
}

#[test]
fn nothing_is_probed_while_all_goes_well() {
    let counting = Arc::new(Faulty::counting(Arc::new(FakeKernel::new())));
    let kernel: Arc<dyn Kernel> = counting.clone();
    load_spec(&kernel, &spec("data_bss_only"), &options()).unwrap();
    assert_eq!(counting.ops(), [Op::HostRead, Op::BtfLoad, Op::MapCreate, Op::ProgLoad]);
}

#[test]
fn old_kernels_get_less() {
    for (release, name) in [
        ("6.1", "demo"),
        ("5.10", "demo"),
        ("5.4", "demo"),
        ("5.4", "btf_pinned"),
        ("5.4", "values_2019"),
        ("4.19", "def_plain"),
        ("4.19", "btf_prog_array"),
        ("4.14", "def_plain"),
        ("4.14", "prog_license_open"),
    ] {
        let fake = FakeKernel::linux(release);
        let kernel: Arc<dyn Kernel> = Arc::new(fake.clone());
        let loaded = load_spec(&kernel, &spec(name), &options());
        let loaded = loaded.unwrap_or_else(|e| panic!("{name} on {release}: {:#?}", e.report()));
        drop(loaded);
        assert!(fake.live().programs.is_empty(), "{name} on {release}: {:?}", fake.live());
    }
}

#[test]
fn a_plan_for_5_4_is_downgraded() {
    let plan = informed_plan(&FakeKernel::linux("5.4"), "demo");
    assert!(plan.assumed.is_empty(), "{:?}", plan.assumed);
    assert_eq!(plan.steps[0], Step::LiftMemlock);
    let data = plan.steps.iter().filter_map(|step| match step {
        Step::CreateMap(map) if map.name.starts_with("demo.") => Some(map),
        _ => None,
    });
    for map in data {
        assert_eq!(map.flags & 1 << 10, 0, "BPF_F_MMAPABLE came with 5.5");
        assert_eq!(map.on_refusal, [Fallback::DropBtf]);
    }
}

#[test]
fn global_data_needs_5_2() {
    let kernel: Arc<dyn Kernel> = Arc::new(FakeKernel::linux("4.19"));
    let error = load_spec(&kernel, &spec("demo"), &options()).unwrap_err();
    assert_eq!(error.code(), "E0309");
    assert!(error.report().hints[0].contains("5.2"), "{error}");
}

#[test]
fn what_a_kernel_lacks_is_named() {
    for (release, name, since) in [
        ("5.10", "prog_callback", "5.13"),
        ("4.14", "prog_several", "4.16"),
        ("5.4", "btf_kinds", "5.8"),
        ("6.18", "prog_jump_tables", "6.19"),
    ] {
        let kernel: Arc<dyn Kernel> = Arc::new(FakeKernel::linux(release));
        let error = load_spec(&kernel, &spec(name), &options()).unwrap_err();
        assert_eq!(error.code(), "E0309", "{name}: {error}");
        assert!(error.report().hints[0].contains(since), "{:?}", error.report().hints);
    }
}

#[test]
fn a_kernel_that_cannot_be_asked_still_falls_back() {
    // Facts with inconclusive answers: nothing is assumed any more, so fallbacks are allowed.
    let fake = FakeKernel::linux("5.0");
    let (spec, options) = (spec("def_annotated"), options());
    let mut facts = observe(&fake, &spec, &options).unwrap();
    for feature in plan(&spec, &options, &facts).unwrap().assumed {
        facts.features.0.insert(feature, Support::Unknown);
    }
    facts.features.0.insert(Feature::MemcgAccount, Support::No);
    let plan = plan(&spec, &options, &facts).unwrap();
    assert!(plan.assumed.is_empty());
    let kernel: Arc<dyn Kernel> = Arc::new(fake);
    let loaded = onebpf::apply(&plan, &kernel, 1);
    assert!(loaded.is_ok(), "{:#?}", loaded.unwrap_err().report());
}

#[test]
fn an_interrupted_load_is_tried_again() {
    let fake: Arc<dyn Kernel> = Arc::new(FakeKernel::new());
    let faulty = Arc::new(Faulty::new(fake, 1, Errno::AGAIN).only(|op| op == Op::ProgLoad));
    let kernel: Arc<dyn Kernel> = faulty.clone();
    load_spec(&kernel, &spec("data_bss_only"), &options()).unwrap();
    assert_eq!(faulty.calls(), 2);
}

#[test]
fn a_pin_that_appears_meanwhile_is_used() {
    // The first look finds nothing although the map is there: as if it were pinned right afterwards.
    let fake: Arc<dyn Kernel> = Arc::new(FakeKernel::new());
    let first = load_spec(&fake, &spec("btf_pinned"), &options()).unwrap();
    let faulty = Arc::new(Faulty::new(fake, 1, Errno::NOENT).only(|op| op == Op::OpenPin));
    let kernel: Arc<dyn Kernel> = faulty.clone();
    let second = load_spec(&kernel, &spec("btf_pinned"), &options()).unwrap();
    assert!(faulty.fired());
    let id = |loaded: &onebpf::Loaded| loaded.maps[0].info().unwrap().id;
    assert!(second.maps[0].reused());
    assert_eq!(id(&first), id(&second));
}

#[test]
fn a_reused_program_array_is_put_back_when_a_load_fails() {
    let fake = FakeKernel::new();
    let kernel: Arc<dyn Kernel> = Arc::new(fake.clone());
    let mut spec = spec("btf_prog_array");
    let name = spec.maps.keys().next().unwrap().clone();
    spec.maps[&name].pinning = onebpf::object::Pinning::ByName;
    let mut options = options();
    options.pins.program_arrays = Some(onebpf::ArrayRule::Reuse);
    let first = load_spec(&kernel, &spec, &options).unwrap();
    let held = |index: u32| first.maps[&name].lookup(&index.to_ne_bytes()).unwrap();
    let Contents::Slots(slots) = spec.maps[&name].contents.clone() else { panic!("slots") };
    let before: Vec<_> = slots.iter().map(|slot| held(slot.index)).collect();
    assert!(slots.len() > 1 && before.iter().all(Option::is_some));
    // The second slot cannot be written: the first one gets its program back.
    let faulty = Faulty::new(kernel, 2, Errno::NOMEM).only(|op| op == Op::MapUpdate);
    let error = load_spec(&(Arc::new(faulty) as Arc<dyn Kernel>), &spec, &options).unwrap_err();
    assert_eq!(error.code(), "E0405");
    let after: Vec<_> = slots.iter().map(|slot| held(slot.index)).collect();
    assert_eq!(after, before);
}

#[test]
fn only_what_is_asked_for_is_loaded() {
    let kernel = FakeKernel::new();
    let spec = spec("prog_several");
    let name = spec.programs.keys().next().unwrap().clone();
    let chosen = Options { programs: vec![name.clone()], ..options() };
    let plan = plan_on(&kernel, "prog_several", &chosen);
    let loads: Vec<_> = plan.steps.iter().filter(|step| matches!(step, Step::LoadProgram(_))).collect();
    assert_eq!(loads.len(), 1);
    let missing = Options { programs: vec!["nobody".into()], ..options() };
    let error = observe(&kernel, &spec, &missing)
        .and_then(|facts| onebpf::plan(&spec, &missing, &facts))
        .unwrap_err();
    assert_eq!(error.code(), "E0301");
    assert!(error.report().notes[0].contains(&name));
}

#[test]
fn a_hostile_map_name_leads_nowhere() {
    for name in ["../../etc/passwd", "..", "a/b", ""] {
        let mut spec = spec("btf_pinned");
        let (_, mut map) = spec.maps.shift_remove_index(0).unwrap();
        map.name = name.to_owned();
        spec.maps.insert(name.to_owned(), map);
        assert!(onebpf::pin_paths(&spec, &options(), &Facts::default()).is_empty(), "{name}");
    }
}

#[test]
fn later_issues_are_refused_by_name() {
    let kernel = FakeKernel::new();
    for (name, code) in [("core_records", "E0316"), ("extern_ksyms", "E0319")] {
        let spec = spec(name);
        let facts = observe(&kernel, &spec, &options()).unwrap();
        let error = plan(&spec, &options(), &facts).unwrap_err();
        assert_eq!(error.code(), code, "{name}: {error}");
        assert!(!error.report().hints.is_empty(), "{name}");
    }
    let untyped = plan_error("elf_prog", &Options::default());
    assert_eq!(untyped.code(), "E0302");
    assert!(untyped.report().message.contains("`prog`"), "{untyped}");
}

#[test]
fn core_needs_the_types_of_a_kernel_and_names_what_they_lack() {
    let spec = spec("core_records");
    let own = spec.btf.clone().unwrap().bytes().to_vec();
    let kernel = FakeKernel::new().with_kernel_btf(own);
    let facts = observe(&kernel, &spec, &options()).unwrap();
    let load = |facts: &Facts| {
        let steps = plan(&spec, &options(), facts).unwrap().steps;
        steps.into_iter().find_map(|step| match step {
            Step::LoadProgram(load) => Some(load),
            _ => None,
        })
    };
    let load_own = load(&facts).unwrap();
    assert_eq!(load_own.poisons, []);

    // Saved facts say where the types were, and that is not enough.
    let saved = Facts::from_json(&facts.to_json()).unwrap();
    assert_eq!(saved.types.as_ref().map(|types| &types.source), facts.types.as_ref().map(|it| &it.source));
    assert_eq!(plan(&spec, &options(), &saved).unwrap_err().code(), "E0316");

    let empty = onebpf::btf::Builder::new(spec.endian).build().unwrap();
    let lacking = FakeKernel::new().with_kernel_btf(empty);
    let load = load(&observe(&lacking, &spec, &options()).unwrap()).unwrap();
    assert!(load.poisons.iter().any(|it| it.why == "the kernel has no type `struct task_struct`"));

    // Nobody asks for types that no program needs.
    let facts = observe(&kernel, &common::spec("demo"), &options()).unwrap();
    assert_eq!((facts.types, facts.kernel_btf), (None, None));
}

fn plan_error(name: &str, options: &Options) -> onebpf::Error {
    let (kernel, spec) = (FakeKernel::new(), spec(name));
    plan(&spec, options, &observe(&kernel, &spec, options).unwrap()).unwrap_err()
}

#[test]
fn edits_that_leave_no_room_for_declared_entries_are_found() {
    type Edit = fn(&mut onebpf::Spec);
    let edits: [(&str, Edit); 3] = [
        ("beyond its 2 entries", |spec| spec.maps["limits"].max_entries = 2),
        ("max_entries is 1", |spec| spec.maps["ports"].max_entries = 1),
        ("4 + 4 bytes, where its keys and values have 4 + 8", |spec| spec.maps["ways"].value.size = 8),
    ];
    for (said, edit) in edits {
        let kernel = FakeKernel::new();
        let mut spec = spec("btf_entries");
        edit(&mut spec);
        let facts = observe(&kernel, &spec, &options()).unwrap();
        let error = plan(&spec, &options(), &facts).unwrap_err();
        assert_eq!(error.code(), "E0310");
        assert!(error.to_string().contains(said), "{error}");
    }
}
