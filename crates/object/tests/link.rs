//! Linking: which functions go into a program, in which order, and what moves along.

use onebpf_object::insn::{Insn, pseudo, text};
use onebpf_object::{FuncId, Linkage, LinkedProgram, ParseOptions, ProgramType, Ref, Spec, link, parse};
use std::path::Path;

fn fixture(name: &str) -> Spec {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/obj").join(name);
    let options = ParseOptions { name: "fixture".into(), ..ParseOptions::default() };
    parse(&std::fs::read(path).unwrap(), &options).unwrap()
}

fn names(spec: &Spec, linked: &LinkedProgram) -> Vec<String> {
    linked.functions.iter().map(|(_, FuncId(index))| spec.functions[*index].name.clone()).collect()
}

/// Builds: little and big endian, without BTF, with 32-bit jumps and `gotol`.
const SUBPROGRAMS: [&str; 4] =
    ["prog_subprogs.o", "prog_subprogs.eb.o", "prog_subprogs.nog.o", "prog_subprogs.v4.o"];

#[test]
fn functions_are_appended_when_first_called() {
    for object in SUBPROGRAMS {
        let spec = fixture(object);
        let all = link(&spec, "all").unwrap();
        assert_eq!(
            names(&spec, &all),
            ["all", "global_add", "weak_add", "hidden_add", "static_add"],
            "{object}"
        );
        let one = link(&spec, "one").unwrap();
        assert_eq!(names(&spec, &one), ["one", "hidden_add"], "{object}");
    }
}

#[test]
fn calls_lead_to_where_functions_are() {
    for object in
        SUBPROGRAMS.into_iter().chain(["prog_several.o", "prog_several.eb.o", "prog_cross_section.o"])
    {
        let spec = fixture(object);
        for program in spec.programs.keys() {
            let linked = link(&spec, program).unwrap();
            let mut calls = 0;
            for (at, target) in &linked.refs {
                let Ref::Call(target) = target else { continue };
                let insn = linked.insns[*at as usize];
                let (start, _) = linked.functions.iter().find(|(_, id)| id == target).unwrap();
                assert_eq!(
                    i64::from(*at) + 1 + i64::from(insn.imm),
                    i64::from(*start),
                    "{object}: {program}: {at}"
                );
                assert_eq!(insn.src, pseudo::CALL);
                calls += 1;
            }
            let local = linked.insns.iter().filter(|insn| insn.is_local_call()).count();
            assert_eq!(calls, local, "{object}: {program}: every call is known");
        }
    }
}

#[test]
fn functions_of_any_section_can_be_called() {
    let spec = fixture("prog_cross_section.o");
    assert_eq!(names(&spec, &link(&spec, "outside").unwrap()), ["outside", "elsewhere"]);
    assert_eq!(names(&spec, &link(&spec, "caller").unwrap()), ["caller", "shared"]);
    assert_eq!(
        spec.programs.keys().collect::<Vec<_>>(),
        ["shared", "outside", "caller"],
        "static ones are no programs"
    );
}

#[test]
fn callbacks_are_functions_by_address() {
    for object in ["prog_callback.o", "prog_callback.eb.o", "prog_callback.v4.o"] {
        let spec = fixture(object);
        let walk = link(&spec, "walk").unwrap();
        assert_eq!(names(&spec, &walk)[0], "walk");
        let pointers: Vec<_> =
            walk.refs.iter().filter(|(_, target)| matches!(target, Ref::Func(_))).collect();
        assert_eq!(pointers.len(), 2, "{object}");
        for (at, target) in pointers {
            let insn = walk.insns[*at as usize];
            let start = walk.functions.iter().find(|(_, id)| Ref::Func(*id) == *target).unwrap().0;
            assert_eq!(insn.src, pseudo::FUNC);
            assert_eq!(i64::from(*at) + 1 + i64::from(insn.imm), i64::from(start));
        }
    }
}

#[test]
fn records_move_along() {
    for object in ["prog_subprogs.o", "prog_subprogs.eb.o", "prog_several.v4.o", "prog_callback.o"] {
        let spec = fixture(object);
        for program in spec.programs.keys() {
            let linked = link(&spec, program).unwrap();
            let starts: Vec<u32> = linked.functions.iter().map(|(start, _)| *start).collect();
            let records: Vec<u32> = linked.func_info.iter().map(|info| info.insn_off).collect();
            assert_eq!(starts, records, "{object}: {program}: a type for each function");
            assert!(linked.line_info.is_sorted_by_key(|line| line.insn_off));
            assert!(starts.iter().all(|start| linked.line_info.iter().any(|line| line.insn_off == *start)));
            assert!(linked.refs.is_sorted_by_key(|(at, _)| *at));
            assert!(
                linked.line_info.last().is_some_and(|line| (line.insn_off as usize) < linked.insns.len())
            );
        }
    }
    let spec = fixture("prog_subprogs.nog.o");
    let linked = link(&spec, "all").unwrap();
    assert!(linked.func_info.is_empty() && linked.line_info.is_empty());
}

#[test]
fn an_instruction_has_a_source_line() {
    let spec = fixture("prog_subprogs.o");
    let linked = link(&spec, "one").unwrap();
    let call = linked.insns.iter().position(|insn| insn.is_local_call()).unwrap();
    let line = linked.source_line(&spec, call as u32).unwrap();
    assert!(line.file.ends_with("prog_subprogs.bpf.c"), "{}", line.file);
    assert!(line.text.contains("return hidden_add(skb->mark, 1);"), "{}", line.text);
    let (start, _) = linked.functions[1];
    let line = linked.source_line(&spec, start).unwrap();
    assert!(line.text.contains("hidden_add"), "{}", line.text);
    assert_eq!(
        linked.source_line(&spec, u32::MAX).map(|line| line.line > 0),
        Some(true),
        "past the end: the last line"
    );
}

#[test]
fn references_are_marked_for_the_kernel() {
    let spec = fixture("data_sections.o");
    let mut seen = 0;
    for program in spec.programs.keys() {
        let linked = link(&spec, program).unwrap();
        for (at, target) in &linked.refs {
            let Some([first, second, ..]) = linked.insns.get(*at as usize..) else { continue };
            match target {
                Ref::Data { map, offset } => {
                    assert!(spec.maps.contains_key(map));
                    assert_eq!((first.src, first.imm, second.imm), (pseudo::MAP_VALUE, 0, *offset as i32));
                    seen += 1;
                }
                Ref::Map(map) => {
                    assert!(spec.maps.contains_key(map));
                    assert_eq!((first.src, first.imm), (pseudo::MAP_FD, 0));
                }
                _ => {}
            }
        }
    }
    assert!(seen > 3, "{seen} references to data");
}

#[test]
fn kernel_functions_and_symbols_stay_references() {
    let spec = fixture("extern_ksyms.o");
    let linked = link(&spec, "call").unwrap();
    let insn = |wanted: &Ref| -> Insn {
        let (at, _) = linked.refs.iter().find(|(_, target)| target == wanted).unwrap();
        linked.insns[*at as usize]
    };
    assert_eq!(insn(&Ref::Kfunc("bpf_task_from_pid".into())).src, pseudo::KFUNC_CALL);
    assert_eq!(insn(&Ref::Kfunc("bpf_task_from_pid".into())).imm, 0);
    assert_eq!(insn(&Ref::Ksym("bpf_prog_active".into())).src, pseudo::BTF_ID, "typed: by BTF id");
    assert_eq!(insn(&Ref::Ksym("schedule".into())).src, 0, "untyped: by address");
    assert_eq!(insn(&Ref::Ksym("no_such_kfunc".into())).src, pseudo::BTF_ID, "a function's address");
}

#[test]
fn a_map_that_is_not_created_poisons_what_refers_to_it() {
    let mut spec = fixture("prog_callback.o");
    spec.maps.get_mut("items").unwrap().autocreate = false;
    let linked = link(&spec, "walk").unwrap();
    let (at, _) = linked.refs.iter().find(|(_, target)| *target == Ref::Map("items".into())).unwrap();
    let pair = &linked.insns[*at as usize..][..2];
    assert_eq!(text(pair[0], None), "call helper#2001000000");
    assert_eq!(pair[0], pair[1]);
}

#[test]
fn sections_say_what_programs_are() {
    let spec = fixture("prog_sections.o");
    let program = |name: &str| &spec.programs[name];
    assert_eq!(program("p_kprobe").attach_target.as_deref(), Some("do_nanosleep"));
    assert_eq!(program("p_uprobe").attach_target.as_deref(), Some("/bin/true:main"));
    assert_eq!(program("p_tp").attach_target.as_deref(), Some("sched/sched_switch"));
    assert_eq!(program("p_fexit_sleepable").flags, 1 << 4);
    assert_eq!(program("p_xdp_frags").flags, 1 << 5);
    assert_eq!(program("p_xdp").kind, ProgramType::XDP);
    assert_eq!(program("p_xdp").attach.name(), Some("xdp"));
    let optional = fixture("prog_optional.o");
    assert!(!optional.programs["refused"].autoload && optional.programs["accepted"].autoload);
    assert_eq!(optional.programs["refused"].section, "tc");
    assert_eq!(optional.programs["refused"].kind, ProgramType::SCHED_CLS);
    let tail = fixture("elf_tail.o");
    assert!(tail.programs.values().any(|program| program.tail.is_some()));
}

#[test]
fn linkage_is_that_of_the_symbol() {
    let spec = fixture("prog_subprogs.o");
    let linkage = |name: &str| spec.functions.iter().find(|f| f.name == name).unwrap().linkage;
    assert_eq!(linkage("global_add"), Linkage::Global);
    assert_eq!(linkage("weak_add"), Linkage::Weak);
    assert_eq!(linkage("hidden_add"), Linkage::Hidden);
    assert_eq!(linkage("static_add"), Linkage::Static);
}

#[test]
fn whole_object_sections() {
    assert_eq!(fixture("prog_version.o").kernel_version, 0x0006_1200);
    assert_eq!(fixture("prog_license_open.o").license, "GPL");
    assert_eq!(fixture("prog_no_license.o").license, "");
    assert_eq!(link(&fixture("prog_version.o"), "nobody").map_err(|e| e.code()), Err("E0145"));
}

#[test]
fn jump_tables_count_from_the_program() {
    for object in ["prog_jump_tables.o", "prog_jump_tables.nog.o", "prog_jump_tables.v4.o"] {
        let spec = fixture(object);
        let tables = |program| {
            let linked = link(&spec, program).unwrap();
            for table in linked.jump_tables() {
                for at in table.insns {
                    let load = &linked.insns[at as usize];
                    assert_eq!((load.src, load.off, load.imm), (pseudo::MAP_VALUE, 0, 0), "{object}: {at}");
                }
            }
            let shown = |it: onebpf_object::LinkedTable| (it.name, it.targets, it.insns.len());
            linked.jump_tables().into_iter().map(shown).collect::<Vec<_>>()
        };
        // `choose` comes after 17 instructions of `first`, and after 32 of `second` and `before`.
        let table = |name: &str, targets: &[u32], uses| (name.to_owned(), targets.to_vec(), uses);
        assert_eq!(
            tables("first"),
            [table("BPF.JT.0.0", &[9, 11, 13, 11], 1), table("BPF.JT.2.0", &[24, 26], 1)],
            "{object}"
        );
        assert_eq!(
            tables("second"),
            [
                table("BPF.JT.1.0", &[13, 20], 2),
                table("BPF.JT.1.1", &[28, 28], 1),
                table("BPF.JT.2.0", &[39, 41], 1)
            ],
            "{object}"
        );
    }
}
