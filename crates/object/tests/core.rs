//! CO-RE on compiled objects: against their own types, and against damaged ones.

use onebpf_btf::{Btf, CoreReloKind, Endian, Matcher};
use onebpf_object::insn::INSN_SIZE;
use onebpf_object::{
    CODES, LinkedProgram, POISON_HELPER, ParseOptions, Spec, link, parse, relocate_core, resolve_core,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;
use testing::cpu_time;

const OBJECTS: [&str; 2] = ["core_records.o", "core_records.eb.o"];

fn object(name: &str) -> Spec {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/obj").join(name);
    parse(&std::fs::read(path).unwrap(), &ParseOptions { name: "o".into(), ..ParseOptions::default() })
        .unwrap()
}

fn programs(spec: &Spec) -> Vec<LinkedProgram> {
    spec.programs.keys().map(|name| link(spec, name).unwrap()).collect()
}

/// All fixtures, and what is in the directory `$ONEBPF_OBJECTS`.
#[test]
fn relocating_against_its_own_types_changes_nothing() {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/obj");
    let more = std::env::var_os("ONEBPF_OBJECTS").map(PathBuf::from);
    let mut relocations = 0;
    for directory in std::iter::once(fixtures).chain(more) {
        for file in std::fs::read_dir(directory).unwrap() {
            let path = file.unwrap().path();
            let options = ParseOptions { name: "o".into(), ..ParseOptions::default() };
            let Ok(spec) = parse(&std::fs::read(&path).unwrap(), &options) else { continue };
            relocations += own_types_change_nothing(&spec, &path.display().to_string());
        }
    }
    println!("{relocations} relocations");
    assert!(relocations >= 28, "{relocations}");
}

/// How many relocations were applied.
fn own_types_change_nothing(spec: &Spec, file: &str) -> usize {
    let Some(local) = spec.btf.as_ref() else { return 0 };
    let mut count = 0;
    for name in spec.programs.keys() {
        let Ok(program) = link(spec, name) else { continue };
        let (mut matcher, mut relocated) = (Matcher::new(local, &[local]), program.clone());
        let poisons = resolve_core(spec, &[&program], &mut matcher)
            .and_then(|()| relocate_core(spec, &mut relocated, &mut matcher));
        match poisons {
            Ok(poisons) => assert_eq!(poisons, [], "{file}: {name}"),
            // Flavours that are there for different kernels contradict each other in one BTF.
            Err(error) => {
                assert!(
                    error.code() == "E0216" && error.to_string().contains("___"),
                    "{file}: {name}: {error}"
                );
                continue;
            }
        }
        assert_eq!(bitfields(&program), bitfields(&relocated), "{file}: {name}");
        for relo in &program.core {
            let at = relo.insn_off as usize;
            // Which bytes are read to get at some bits is a choice: clang's is another than libbpf's.
            if !matcher.resolve(relo).unwrap().validate && spec.endian == Endian::Little {
                relocated.insns[at] = program.insns[at];
            }
        }
        assert_eq!(relocated, program, "{file}: {name}");
        count += program.core.len();
    }
    count
}

/// Of each bitfield that a program extracts: where its first bit is, by the instructions that read it. That is said by the
/// offset of the bytes that are read, and by the two shifts that drop the bits above and below.
fn bitfields(program: &LinkedProgram) -> BTreeMap<(u32, u32), BTreeSet<i64>> {
    let values = |kind: CoreReloKind, of: (u32, u32)| -> Vec<i64> {
        let records = program
            .core
            .iter()
            .filter(|relo| relo.kind == kind && of == (relo.type_id.0, relo.access_str_off));
        let insns = records.map(|relo| program.insns[relo.insn_off as usize]);
        insns
            .map(|insn| if matches!(insn.code & 7, 1..=3) { insn.off.into() } else { insn.imm.into() })
            .collect()
    };
    let mut found = BTreeMap::new();
    for relo in program.core.iter().filter(|relo| relo.kind == CoreReloKind::FieldLshiftU64) {
        let of = (relo.type_id.0, relo.access_str_off);
        let starts = found.entry(of).or_insert_with(BTreeSet::new);
        for offset in values(CoreReloKind::FieldByteOffset, of) {
            for left in values(CoreReloKind::FieldLshiftU64, of) {
                let rights = values(CoreReloKind::FieldRshiftU64, of);
                starts.extend(rights.into_iter().map(|right| offset * 8 + right - left));
            }
        }
    }
    found
}

#[test]
fn what_the_kernel_lacks_is_poisoned_and_named() {
    for name in OBJECTS {
        let spec = object(name);
        let local = spec.btf.as_ref().unwrap();
        let empty = onebpf_btf::Builder::new(spec.endian).build().unwrap();
        let empty = Btf::from_vec(empty).unwrap();
        let mut program = programs(&spec).remove(0);
        let mut matcher = Matcher::new(local, &[&empty]);
        let poisons = relocate_core(&spec, &mut program, &mut matcher).unwrap();
        // Existence, sizes and ids of types are 0 then; a value or an offset nobody knows.
        let kinds: Vec<CoreReloKind> = program
            .core
            .iter()
            .filter(|relo| poisons.iter().any(|it| it.insn == relo.insn_off))
            .map(|relo| relo.kind)
            .collect();
        assert_eq!(kinds.len(), 7, "{kinds:?}");
        for poison in &poisons {
            assert_eq!(program.insns[poison.insn as usize].imm, POISON_HELPER);
            assert!(poison.why.starts_with("the kernel has no type `"), "{poison:?}");
        }
        let field = poisons.iter().find(|it| it.what == "struct task_struct.pid").unwrap();
        assert_eq!(field.why, "the kernel has no type `struct task_struct`");
    }
}

#[test]
fn contradicting_candidates_are_named_with_the_source_line() {
    let spec = object("core_ambiguous.o");
    let local = spec.btf.as_ref().unwrap();
    let program = programs(&spec).remove(0);
    let error = resolve_core(&spec, &[&program], &mut Matcher::new(local, &[local])).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.code(), "E0216", "{text}");
    assert!(text.contains("`struct callback_head.next` (byte_off) has two meanings in the kernel"), "{text}");
    assert!(text.contains("`struct callback_head___shuffled.next`: 8"), "{text}");
    let source = error.place().source.as_ref().expect("a source line");
    assert!(source.file.ends_with("core_ambiguous.bpf.c") && source.line > 0, "{source:?}");
}

#[test]
fn an_instruction_that_is_not_what_its_record_says_is_refused() {
    let spec = object("core_records.o");
    let local = spec.btf.as_ref().unwrap();
    let mut program = programs(&spec).remove(0);
    let at = program.core[0].insn_off;
    program.insns[at as usize].imm = 4711;
    let error = relocate_core(&spec, &mut program, &mut Matcher::new(local, &[local])).unwrap_err();
    assert_eq!(error.code(), "E0148");
    assert!(error.to_string().contains("struct task_struct.pid"), "{error}");
    assert!(
        error
            .place()
            .source
            .as_ref()
            .is_some_and(|line| line.file.ends_with("core_records.bpf.c") && line.line > 0)
    );
    assert_eq!(error.place().offset, Some(u64::from(at) * INSN_SIZE as u64));
}

#[test]
fn damaged_types_do_no_harm() {
    const ROUNDS: u32 = 4000;
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut below = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize % limit
    };
    let mut done = 0;
    for round in 0..ROUNDS {
        let mut spec = object(OBJECTS[round as usize % 2]);
        let sound = spec.btf.clone().unwrap();
        let mut damaged = || {
            let mut bytes = sound.bytes().to_vec();
            for _ in 0..=below(8) {
                let at = below(bytes.len());
                bytes[at] = below(24) as u8;
            }
            Btf::from_vec(bytes).ok()
        };
        let (Some(local), Some(target)) = (damaged(), damaged()) else { continue };
        let start = cpu_time();
        for mut program in programs(&spec) {
            if round % 3 == 0 {
                spec.btf = Some(local.clone());
            }
            let local = spec.btf.as_ref().unwrap();
            let mut matcher = Matcher::new(local, &[&target]);
            match relocate_core(&spec, &mut program, &mut matcher) {
                Ok(_) => done += 1,
                Err(error) => {
                    let codes = CODES.iter().chain(onebpf_btf::CODES);
                    assert!(codes.map(|row| row.0).any(|code| code == error.code()));
                }
            }
            for relo in &program.core {
                let _ = (matcher.explain(relo), matcher.describe(relo));
            }
        }
        assert!(cpu_time().saturating_sub(start) < Duration::from_secs(5), "round {round}");
    }
    assert!(done > ROUNDS / 4, "{done} of {ROUNDS} went through");
}
