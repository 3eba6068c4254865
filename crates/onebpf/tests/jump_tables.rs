//! Jump tables: maps of instructions that only their program uses.

mod common;

use common::{in_private, options, spec};
use onebpf::object::{LinkedTable, MapType, link};
use onebpf::sys::{Feature, ProgRun, Support};
use onebpf::{Kernel, Linux, Options, load_spec, observe, plan, plan::Operand, plan::Step};
use onebpf_fake::FakeKernel;
use std::collections::BTreeMap;
use std::sync::Arc;

#[test]
fn each_program_has_maps_of_its_own() {
    let spec = spec("prog_jump_tables");
    let facts = observe(&FakeKernel::linux("6.19"), &spec, &options()).unwrap();
    let plan = plan(&spec, &options(), &facts).unwrap();
    assert!(plan.assumed.contains(&Feature::InsnArray), "the kernel was not asked");
    let (mut names, mut written, mut frozen) = (BTreeMap::new(), BTreeMap::<_, Vec<u32>>::new(), Vec::new());
    for step in &plan.steps {
        match step {
            Step::CreateMap(map) => {
                assert_eq!(
                    (map.map_type, map.key_size, map.value_size),
                    (MapType::INSN_ARRAY.0, 4, 16),
                    "{map:?}"
                );
                assert_eq!((map.kernel_name.as_str(), map.flags, map.template), (".jumptables", 0, true));
                names.insert(map.out.number(), (map.name.clone(), map.max_entries));
            }
            Step::Write { map, key, value, .. } => {
                let targets = written.entry(map.number()).or_default();
                assert_eq!(**key, (targets.len() as u32).to_ne_bytes());
                assert!(value.len() == 16 && value[4..].iter().all(|byte| *byte == 0));
                targets.push(u32::from_ne_bytes(value[..4].try_into().unwrap()));
            }
            Step::Freeze { map, .. } => frozen.push(map.number()),
            Step::LoadProgram(program) => {
                let linked = link(&spec, &program.name).unwrap().jump_tables();
                let patched = |LinkedTable { name, targets, insns }: &LinkedTable| {
                    let map = program.patches.iter().find(|patch| patch.insn == insns[0]).unwrap().operand;
                    assert!(insns.iter().all(|insn| {
                        program.patches.iter().any(|it| it.insn == *insn && it.operand == map)
                    }));
                    let Operand::MapFd(map) = map else { panic!("{map:?}") };
                    assert_eq!(names.remove(&map.number()), Some((name.clone(), targets.len() as u32)));
                    assert_eq!(written.remove(&map.number()).as_ref(), Some(targets));
                    assert!(frozen.contains(&map.number()));
                };
                linked.iter().for_each(patched);
                assert_eq!(linked.len(), if program.name == "first" { 2 } else { 3 });
            }
            _ => {}
        }
    }
    assert!(names.is_empty() && written.is_empty(), "maps that no program uses");
}

#[test]
fn a_newer_kernel_loads_them() {
    let fake = FakeKernel::linux("6.19");
    let kernel: Arc<dyn Kernel> = Arc::new(fake.clone());
    let loaded = load_spec(&kernel, &spec("prog_jump_tables"), &options()).unwrap();
    assert_eq!(loaded.programs.len(), 2);
    assert!(loaded.maps.is_empty(), "the tables are no part of the object");
    let maps = |name: &str| loaded.program(name).unwrap().info().unwrap().map_ids.len();
    assert_eq!((maps("first"), maps("second")), (2, 3));
    drop(loaded);
    let left = common::left(&fake);
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn one_program_makes_its_own_tables_only() {
    let spec = spec("prog_jump_tables");
    let options = Options { programs: ["first".to_owned()].into(), ..options() };
    let facts = observe(&FakeKernel::linux("6.19"), &spec, &options).unwrap();
    let text = plan(&spec, &options, &facts).unwrap().to_string();
    assert!(text.contains("BPF.JT.0.0  insn_array, key 4, value 16, 4 entries (jump table)"), "{text}");
    assert!(text.contains("BPF.JT.2.0") && !text.contains("BPF.JT.1."), "{text}");
}

#[test]
fn an_older_kernel_is_told_from_a_wrong_object() {
    in_private("an_older_kernel_is_told_from_a_wrong_object", || {
        let kernel: Arc<dyn Kernel> = Arc::new(Linux);
        let spec = spec("prog_jump_tables");
        match load_spec(&kernel, &spec, &options()) {
            Ok(loaded) => {
                let packet = [0; 64];
                let run = ProgRun { data_in: &packet, ..ProgRun::default() };
                assert_eq!(loaded.program("first").unwrap().run(run).unwrap().retval, 0);
            }
            Err(error) => {
                assert_eq!(error.code(), "E0309", "{:#?}", error.report());
                assert_eq!(
                    error.report().message,
                    "program `first` has jump tables, which this kernel lacks"
                );
                assert!(error.report().hints.iter().any(|hint| hint == "that needs Linux 6.19"));
            }
        }
    });
    // What nobody can be asked for: facts say it.
    let spec = spec("prog_jump_tables");
    let mut facts = observe(&FakeKernel::linux("6.18"), &spec, &options()).unwrap();
    facts.features.0.insert(Feature::InsnArray, Support::No);
    assert_eq!(plan(&spec, &options(), &facts).unwrap_err().code(), "E0309");
}
