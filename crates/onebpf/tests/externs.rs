//! What an object expects of the kernel: on a kernel in memory, and on the one that the tests run on.

mod common;

use common::{in_private, options, spec, with_kernel_types};
use onebpf::object::insn::{Insn, decode, pseudo};
use onebpf::plan::{LoadProgram, Step};
use onebpf::sys::{Errno, Feature, ObjectKind, ProgRun};
use onebpf::{Error, Facts, Kernel, Linux, Loaded, Options, Spec, load_spec, observe, plan};
use onebpf_fake::FakeKernel;
use std::sync::Arc;

fn linux() -> Arc<dyn Kernel> {
    Arc::new(Linux)
}

fn only(program: &str) -> Options {
    Options { programs: vec![program.into()], ..options() }
}

fn refused(kernel: &FakeKernel, name: &str, options: &Options) -> Error {
    let spec = spec(name);
    let planned = observe(kernel, &spec, options).and_then(|facts| plan(&spec, options, &facts));
    planned.map(|plan| plan.to_string()).expect_err(name)
}

/// A global variable of a loaded object, with its size in bytes.
fn global(spec: &Spec, loaded: &Loaded, name: &str) -> Vec<u8> {
    let variable = &spec.variables[name];
    let value = loaded.maps[&variable.map].lookup(&[0; 4]).unwrap().unwrap();
    value[variable.offset as usize..][..variable.size as usize].to_vec()
}

fn number(spec: &Spec, loaded: &Loaded, name: &str) -> u64 {
    u64::from_ne_bytes(global(spec, loaded, name).try_into().unwrap())
}

#[test]
fn values_of_the_configuration_reach_the_map() {
    let fake = FakeKernel::new();
    let kernel: Arc<dyn Kernel> = Arc::new(fake.clone());
    let spec = spec("extern_config");
    let loaded = load_spec(&kernel, &spec, &options()).unwrap();
    let map = spec.maps.values().find(|map| map.section == ".kconfig").unwrap();
    let held = loaded.maps[&map.name].lookup(&[0; 4]).unwrap().unwrap();
    let info = loaded.maps[&map.name].info().unwrap();
    assert_eq!((info.flags, info.frozen, info.value_size as usize), (0x480, true, held.len()));
    let value = |name: &str| {
        let onebpf::object::ExternKind::Kconfig { offset, size } = spec.externs[name].kind else {
            panic!("{name}")
        };
        held[offset as usize..][..size as usize].to_vec()
    };
    assert_eq!(value("LINUX_KERNEL_VERSION"), (6u32 << 16 | 18 << 8).to_ne_bytes());
    assert_eq!(value("LINUX_HAS_BPF_COOKIE"), [1]);
    assert_eq!(value("LINUX_HAS_SYSCALL_WRAPPER"), [1]);
    assert_eq!(value("LINUX_HAS_SOMETHING_NEW"), [0; 8]);
    assert_eq!(value("CONFIG_BPF"), 1u32.to_ne_bytes());
    assert_eq!(value("CONFIG_NET"), *b"y");
    assert_eq!(value("CONFIG_HZ"), 250i16.to_ne_bytes());
    assert_eq!(value("CONFIG_DEFAULT_HOSTNAME"), *b"(none)\0\0");
    assert_eq!(value("CONFIG_LOCALVERSION"), *b"-f\0");
    assert_eq!(value("CONFIG_NO_SUCH_OPTION"), [0; 4]);
}

#[test]
fn what_programs_read_is_what_the_kernel_was_built_with() {
    in_private("what_programs_read_is_what_the_kernel_was_built_with", || {
        let Some(config) = running_config() else {
            eprintln!("skipped: this kernel's configuration cannot be read");
            return;
        };
        let spec = spec("extern_config");
        let loaded = load_spec(&linux(), &spec, &options()).unwrap();
        let run = loaded.programs["read_all"].run(ProgRun { data_in: &[0; 64], ..ProgRun::default() });
        assert_eq!(run.unwrap().retval, 0);
        let option = |name: &str| config.get(name).map_or("", String::as_str);
        let read = |name: &str| number(&spec, &loaded, name);
        assert_eq!(read("version"), u64::from(Linux.host().unwrap().version_code));
        assert_eq!((read("bpf_syscall"), read("bpf"), read("net")), (1, 1, u64::from(b'y')));
        assert_eq!(read("hz").to_string(), option("CONFIG_HZ"));
        assert_eq!(read("shift").to_string(), option("CONFIG_LOG_BUF_SHIFT"));
        assert_eq!((read("none"), read("something")), (0, 0));
        let has = |feature| u64::from(onebpf::sys::probe(&Linux, feature) == onebpf::sys::Support::Yes);
        assert_eq!(read("cookie"), has(Feature::BpfCookie));
        assert_eq!(read("wrapper"), has(Feature::SyscallWrapper));
        let text = |name: &str| {
            let bytes = global(&spec, &loaded, name);
            assert_eq!(bytes.last(), Some(&0));
            String::from_utf8(bytes.split(|byte| *byte == 0).next().unwrap().to_vec()).unwrap()
        };
        assert!(option("CONFIG_DEFAULT_HOSTNAME").trim_matches('"').starts_with(&text("hostname")));
        assert!(option("CONFIG_LOCALVERSION").trim_matches('"').starts_with(&text("localversion")));
    });
}

/// The running kernel's own words, not by the way that a load takes.
fn running_config() -> Option<std::collections::BTreeMap<String, String>> {
    let path = std::path::Path::new("/proc/config.gz");
    onebpf::parse_config(&std::fs::read(path).ok()?).ok()
}

#[test]
fn given_values_count_more_than_the_hosts() {
    let kernel = FakeKernel::new();
    let (spec, mut options) = (spec("extern_config"), options());
    let given = [("CONFIG_HZ", "-5"), ("CONFIG_NO_SUCH_OPTION", "0x10"), ("LINUX_KERNEL_VERSION", "4711")];
    options.kconfig = given.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let facts = observe(&kernel, &spec, &options).unwrap();
    let asked: Vec<&String> = facts.config.as_ref().unwrap().options.keys().collect();
    assert!(!asked.iter().any(|name| *name == "CONFIG_HZ"), "{asked:?}");
    let plan = plan(&spec, &options, &facts).unwrap().to_string();
    for said in ["CONFIG_HZ: -5", "CONFIG_NO_SUCH_OPTION: 0x10", "LINUX_KERNEL_VERSION: 4711"] {
        assert!(plan.contains(&format!("extern {said}\n")), "{plan}");
    }
    options.kconfig.insert("CONFIG_LOCALVERSION".into(), "x".into());
    let error = onebpf::plan(&spec, &options, &facts).unwrap_err();
    assert!(error.report().hints[0].contains("quotes"), "{:#?}", error.report());
}

#[test]
fn nobody_reads_a_configuration_that_no_program_asks_for() {
    let facts = observe(&FakeKernel::new(), &spec("demo"), &options()).unwrap();
    assert_eq!(facts.config, None);
    let facts = observe(&FakeKernel::new(), &spec("extern_bad_config"), &only("no_option")).unwrap();
    assert_eq!(facts.config.unwrap().options.len(), 2);
}

#[test]
fn values_that_cannot_be_had_are_errors_of_the_program_that_reads_them() {
    let fake = FakeKernel::new();
    for (program, code, said) in [
        ("missing", "E0317", "`CONFIG_NO_SUCH_OPTION` is not set in the kernel's configuration"),
        ("wrong_type", "E0318", "`CONFIG_HZ`: `250` is a number, and the variable is a boolean"),
        ("no_option", "E0317", "`HZ` is no value of the kernel's configuration"),
    ] {
        let error = refused(&fake, "extern_bad_config", &only(program));
        let report = error.report();
        assert_eq!((report.code, report.message.as_str()), (code, said));
        let source = report.place.source.as_ref().unwrap();
        assert!(source.file.ends_with("extern_bad_config.bpf.c") && source.line > 10, "{report:#?}");
        assert!(!report.hints.is_empty(), "{report:#?}");
    }
    // Without a configuration nobody knows what a weak value is, either.
    let bare = FakeKernel::linux("5.4").with_file("/boot/config-5.4.0-fake", "CONFIG_HZ\n");
    let error = refused(&bare, "extern_config", &options());
    assert!(
        error.to_string().contains("/boot/config-5.4.0-fake: line 1, `CONFIG_HZ`, has no value"),
        "{error}"
    );
}

#[test]
fn saved_facts_hold_the_options() {
    let (kernel, spec) = (FakeKernel::new(), spec("extern_config"));
    let facts = observe(&kernel, &spec, &options()).unwrap();
    let saved = Facts::from_json(&facts.to_json()).unwrap();
    let here = plan(&spec, &options(), &facts).unwrap();
    assert_eq!(plan(&spec, &options(), &saved).unwrap(), here);
    assert!(
        serde_json::to_string(&here)
            .unwrap()
            .contains(r#"{"name":"CONFIG_HZ","kind":"kconfig","value":"250"}"#)
    );
    let unasked = Facts { config: None, ..saved };
    let error = plan(&spec, &options(), &unasked).unwrap_err();
    assert!(error.to_string().contains("the facts say nothing of it"), "{error}");
}

fn planned(facts: &Facts, spec: &Spec, options: &Options) -> LoadProgram {
    let plan = plan(spec, options, facts).unwrap_or_else(|e| panic!("{:#?}", e.report()));
    let loads = plan.steps.into_iter().filter_map(|step| match step {
        Step::LoadProgram(load) => Some(*load),
        _ => None,
    });
    loads.last().unwrap()
}

/// A type of the imitated kernel, or of a module.
fn id_of(facts: &Facts, name: &str) -> i32 {
    let (_, found) = facts.named.iter().find(|(known, _)| known.name == name).unwrap();
    found.as_ref().unwrap().btf_id as i32
}

const SYMBOLS: &str = "ffffffff81000000 T _text\nffffffff81234560 T schedule\n";

#[test]
fn functions_and_variables_are_found_by_the_kernels_types() {
    let kernel = with_kernel_types(FakeKernel::new()).with_file("/proc/kallsyms", SYMBOLS);
    let spec = spec("extern_ksyms");
    let facts = observe(&kernel, &spec, &options()).unwrap();
    let program = planned(&facts, &spec, &options());
    let calls: Vec<&Insn> = program.insns.iter().filter(|insn| insn.is_call() && insn.src == 2).collect();
    let called: Vec<(i32, i16)> = calls.iter().map(|insn| (insn.imm, insn.off)).collect();
    assert_eq!(called, [(id_of(&facts, "bpf_task_from_pid"), 0), (id_of(&facts, "bpf_task_release"), 0)]);
    let loads = |src: u8| program.insns.iter().filter(move |insn| insn.is_ld_imm64() && insn.src == src);
    let variable = loads(pseudo::BTF_ID).next().unwrap();
    assert_eq!(variable.imm, id_of(&facts, "bpf_prog_active"));
    let address = program.insns.windows(2).find(|pair| pair[0].imm as u32 == 0x8123_4560).unwrap();
    assert_eq!((address[0].src, address[1].imm as u32), (0, 0xffff_ffff));
    // The weak function that is not there: its address is 0, and its call, which nobody reaches, has libbpf's number.
    assert_eq!(program.poisons.len(), 1);
    assert_eq!(program.poisons[0].what, "no_such_kfunc");
    assert_eq!(program.insns[program.poisons[0].insn as usize].imm, 2_002_000_003);
    load_spec(&(Arc::new(kernel) as Arc<dyn Kernel>), &spec, &options()).unwrap();
}

#[test]
fn what_a_module_has_is_numbered_and_held_by_its_fd() {
    let fake = with_kernel_types(FakeKernel::new());
    let spec = spec("extern_module");
    let facts = observe(&fake, &spec, &options()).unwrap();
    let program = planned(&facts, &spec, &options());
    let calls: Vec<(i32, i16)> = program
        .insns
        .iter()
        .filter(|insn| insn.is_call() && insn.src == pseudo::KFUNC_CALL)
        .map(|insn| (insn.imm, insn.off))
        .collect();
    // By name, `bpf_another_call` is the first.
    let (extra, another) = (id_of(&facts, "bpf_extra_call"), id_of(&facts, "bpf_another_call"));
    assert_eq!(calls, [(extra, 2), (another, 1)]);
    let kernel: Arc<dyn Kernel> = Arc::new(fake.clone());
    let loaded = load_spec(&kernel, &spec, &options()).unwrap();
    let held = &fake.programs()[0];
    assert_eq!(held.modules, ["another", "extra"]);
    let insns = decode(&held.insns, spec.endian).unwrap();
    let variable = insns.windows(2).find(|pair| pair[0].imm == id_of(&facts, "extra_counter")).unwrap();
    assert_eq!(variable[0].src, pseudo::BTF_ID);
    assert_ne!(variable[1].imm, 0, "the second immediate was the fd of the module's BTF");
    drop(loaded);
    assert!(fake.live().is_empty(), "{:?}", fake.live());

    // Facts that were saved, and hold no types, give the same plan.
    let saved = Facts::from_json(&facts.to_json()).unwrap();
    assert_eq!(plan(&spec, &options(), &saved).unwrap(), plan(&spec, &options(), &facts).unwrap());
    let text = plan(&spec, &options(), &saved).unwrap().to_string();
    assert!(text.contains("open BTF") && text.contains(&format!("function [{extra}] of extra\n")), "{text}");
    assert!(text.contains("extern bpf_gone_call: not in this kernel, 0\n"), "{text}");
}

#[test]
fn flavours_choose_among_prototypes() {
    let kernel = with_kernel_types(FakeKernel::new()).with_file("/proc/kallsyms", SYMBOLS);
    let spec = spec("extern_flavours");
    let facts = observe(&kernel, &spec, &options()).unwrap();
    let program = planned(&facts, &spec, &options());
    assert_eq!(program.poisons[0].what, "bpf_task_from_pid___two");
    let why = "this kernel has it as `struct task_struct *bpf_task_from_pid(int pid)`";
    assert_eq!(program.poisons[0].why, why);
    // The one call of it that is not guarded is named when the verifier refuses it.
    let unguarded = planned(&facts, &spec, &only("unguarded"));
    let at = unguarded.poisons[0].insn;
    let log = format!("{at}: (85) call unknown#2002000001\ninvalid func unknown#2002000001\n");
    kernel.reject("unguarded", Errno::INVAL, &log);
    let error = load_spec(&(Arc::new(kernel) as Arc<dyn Kernel>), &spec, &only("unguarded")).unwrap_err();
    assert!(
        error.to_string().contains(&format!("`bpf_task_from_pid___two` is called, but {why}")),
        "{error}"
    );
    assert!(error.report().hints[0].contains("bpf_ksym_exists(bpf_task_from_pid___two)"));
}

#[test]
fn what_the_kernel_lacks_or_has_otherwise_is_named() {
    let kernel = with_kernel_types(FakeKernel::new()).with_file("/proc/kallsyms", SYMBOLS);
    for (program, code, said, more) in [
        (
            "missing_function",
            "E0319",
            "`bpf_task_from_pib` is neither in this kernel nor in a module",
            "`bpf_task_from_pid`",
        ),
        (
            "wrong_signature",
            "E0320",
            "`bpf_task_release` has another type",
            "int bpf_task_release(struct task_struct *, int)",
        ),
        ("wrong_type", "E0320", "`bpf_prog_active` has another type", "`int bpf_prog_active`"),
        ("missing_variable", "E0319", "variable `no_such_variable` is neither", "__weak"),
        ("missing_symbol", "E0319", "no symbol `no_such_symbol`", "/proc/kallsyms"),
    ] {
        let error = refused(&kernel, "extern_bad_ksyms", &only(program));
        let report = error.report();
        assert_eq!(report.code, code, "{report:#?}");
        let all = [report.notes.clone(), report.hints.clone()].concat().join("\n");
        assert!(report.message.contains(said) && all.contains(more), "{report:#?}");
        let source = report.place.source.as_ref().unwrap();
        assert!(source.file.ends_with("extern_bad_ksyms.bpf.c") && source.line > 20, "{report:#?}");
    }
    // Weak and not there: nothing to say before the verifier does.
    let facts = observe(&kernel, &spec("extern_bad_ksyms"), &only("unguarded")).unwrap();
    assert_eq!(planned(&facts, &spec("extern_bad_ksyms"), &only("unguarded")).poisons.len(), 1);
}

#[test]
fn symbols_that_are_hidden_or_stand_twice_are_no_addresses() {
    let text = |symbols: &str| {
        let kernel = with_kernel_types(FakeKernel::new()).with_file("/proc/kallsyms", symbols);
        refused(&kernel, "extern_ksyms", &options()).to_string()
    };
    let hidden = text("0000000000000000 T _text\n0000000000000000 T schedule\n");
    assert!(hidden.contains("`schedule`: this kernel hides the addresses"), "{hidden}");
    let twice = text("ffffffff81000000 T schedule\nffffffffc0000000 t schedule\t[extra]\n");
    assert!(
        twice.contains("several symbols `schedule`: at 0xffffffff81000000, at 0xffffffffc0000000"),
        "{twice}"
    );
    let damaged = text("ffffffff81000000 T\n");
    assert!(damaged.contains("E0408"), "{damaged}");
}

#[test]
fn nobody_looks_for_what_no_program_needs() {
    // No BTF, no kallsyms: `demo` needs neither, and a kernel whose modules may not be listed has none.
    let facts = observe(&FakeKernel::new(), &spec("demo"), &options()).unwrap();
    assert_eq!((facts.symbols, facts.named.len(), facts.unlike.len()), (None, 0, 0));
    let kernel = with_kernel_types(FakeKernel::new());
    assert!(kernel.next_id(ObjectKind::Btf, 0).unwrap().is_some());
    let error = refused(&FakeKernel::new(), "extern_module", &options());
    assert!(error.to_string().contains("this kernel has no BTF"), "{error}");
}

#[test]
fn programs_see_the_running_kernels_addresses() {
    in_private("programs_see_the_running_kernels_addresses", || {
        let spec = spec("extern_flavours");
        let loaded = match load_spec(&linux(), &spec, &options()) {
            Ok(loaded) => loaded,
            Err(error) if error.code() == "E0319" => return eprintln!("skipped: {error}"),
            Err(error) => panic!("{:#?}", error.report()),
        };
        loaded.programs["call"].run(ProgRun::default()).unwrap();
        let read = |name: &str| number(&spec, &loaded, name);
        assert_eq!((read("one"), read("two"), read("found")), (1, 0, 1), "this thread is there");
        assert_eq!((read("variable"), read("missing")), (0, 0));
        let symbols = std::fs::read_to_string("/proc/kallsyms").unwrap();
        let line = symbols.lines().find(|line| line.ends_with(" T schedule")).unwrap();
        assert_eq!(read("address"), u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap());
    });
}
