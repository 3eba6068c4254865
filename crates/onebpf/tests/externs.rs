//! What an object expects of the kernel: on a kernel in memory, and on the one that the tests run on.

mod common;

use common::{in_private, options, spec};
use onebpf::sys::{Feature, ProgRun};
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
