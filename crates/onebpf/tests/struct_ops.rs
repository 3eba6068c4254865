//! Tables of functions (struct_ops): on the real kernel, with TCP congestion controls that nobody uses, and on the fake.

mod common;

use common::{in_private, options, spec, sweep};
use onebpf::sys::{Errno, Op};
use onebpf::{Error, Kernel, Linux, Loaded, Options, Spec, load_spec, observe, plan};
use onebpf_fake::{FakeKernel, Faulty};
use std::path::Path;
use std::sync::Arc;

fn linux() -> Arc<dyn Kernel> {
    Arc::new(Linux)
}

/// A fixture whose tables have names of their own: the kernel's list of congestion controls is one for all.
fn named(fixture: &str, names: &[(&str, &str)]) -> Spec {
    let mut spec = spec(fixture);
    for (table, name) in names {
        spec.set_member(table, "name", name).unwrap();
    }
    spec
}

fn load(spec: &Spec) -> Loaded {
    load_spec(&linux(), spec, &options()).unwrap_or_else(|e| panic!("{e}\n{:#?}", e.report()))
}

fn registered(name: &str) -> bool {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control").unwrap();
    text.split_whitespace().any(|word| word == name)
}

#[test]
fn a_table_is_registered_by_its_value_until_that_is_deleted() {
    in_private("a_table_is_registered_by_its_value_until_that_is_deleted", || {
        let loaded = load(&named("struct_ops", &[("registered", "onebpf_value")]));
        let table = &loaded.tables["registered"];
        assert!(!table.takes_link() && !registered("onebpf_value"));
        table.register().unwrap();
        assert!(registered("onebpf_value"));
        let again = table.register().unwrap_err();
        assert_eq!((again.code(), again.report().errno), ("E0405", Some(Errno::BUSY)), "{again}");
        table.unregister().unwrap();
        assert!(!registered("onebpf_value"));
    });
}

#[test]
fn a_link_registers_another_table_in_place_of_one() {
    in_private("a_link_registers_another_table_in_place_of_one", || {
        let first = load(&named("struct_ops", &[("linked", "onebpf_link")]));
        let error = first.tables["linked"].register().unwrap_err();
        assert!(error.to_string().contains("by a link"), "{error}");
        let mut link = first.tables["linked"].link().unwrap();
        assert!(registered("onebpf_link"));
        // The kernel wants the same name for an update (`tcp_update_congestion_control()`).
        let second = load(&named("struct_ops_flavour", &[("flavoured", "onebpf_link")]));
        link.update(&second.tables["flavoured"]).unwrap();
        let map = second.maps["flavoured"].info().unwrap().id;
        let info = Linux.link_info(std::os::fd::AsFd::as_fd(&link)).unwrap();
        assert_eq!((info.map_id, info.prog_id), (map, 0));
        drop(first);
        assert!(registered("onebpf_link"));
        drop(link);
        assert!(!registered("onebpf_link"));
    });
}

#[test]
fn a_load_registers_and_pins_or_leaves_nothing() {
    in_private("a_load_registers_and_pins_or_leaves_nothing", || {
        let dir = Path::new("/sys/fs/bpf/ops");
        let mut options = Options { register: true, ..options() };
        options.pins.everything_under = Some(dir.into());
        let spec = named("struct_ops", &[("registered", "onebpf_pin_1"), ("linked", "onebpf_pin_2")]);
        let loaded = load_spec(&linux(), &spec, &options).unwrap();
        let link = loaded.tables["linked"].made_link().unwrap().pinned().unwrap().to_owned();
        assert_eq!(link, dir.join("linked_link"));
        loaded.tables["registered"].unregister().unwrap();
        drop(loaded);
        assert!(registered("onebpf_pin_2") && !registered("onebpf_pin_1"));
        for pin in std::fs::read_dir(dir).unwrap() {
            std::fs::remove_file(pin.unwrap().path()).unwrap();
        }
        assert!(!registered("onebpf_pin_2"));

        // The second table's name is taken: the first one is not registered, either, and nothing is pinned.
        let taken = named("struct_ops", &[("registered", "onebpf_pin_1"), ("linked", "cubic")]);
        let error = load_spec(&linux(), &taken, &options).unwrap_err();
        assert_eq!((error.code(), error.report().errno), ("E0405", Some(Errno::EXIST)), "{error}");
        assert!(!registered("onebpf_pin_1"));
        assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0);
        sweep();
    });
}

#[test]
fn every_call_of_a_registering_load_fails_once() {
    in_private("every_call_of_a_registering_load_fails_once", || {
        let mut options = Options { register: true, jobs: 1, ..options() };
        options.pins.everything_under = Some("/sys/fs/bpf/faults".into());
        let spec = named("struct_ops", &[("registered", "onebpf_fault_1"), ("linked", "onebpf_fault_2")]);
        let mut n = 0;
        loop {
            n += 1;
            let faulty = Arc::new(Faulty::new(linux(), n, Errno::NOMEM).sparing_clean_up());
            let kernel: Arc<dyn Kernel> = faulty.clone();
            match load_spec(&kernel, &spec, &options) {
                Err(error) => {
                    assert!(
                        !registered("onebpf_fault_1") && !registered("onebpf_fault_2"),
                        "call {n}: {error}"
                    );
                }
                Ok(loaded) => {
                    // The call that fails may be this one.
                    let table = &loaded.tables["registered"];
                    table.unregister().or_else(|_| table.unregister()).unwrap();
                    drop(loaded);
                    let pins = std::fs::read_dir("/sys/fs/bpf/faults").unwrap();
                    pins.for_each(|pin| std::fs::remove_file(pin.unwrap().path()).unwrap());
                }
            }
            if !faulty.fired() {
                break;
            }
        }
        assert!(n > 20, "{n}");
        sweep();
    });
}

#[test]
fn flavours_and_missing_members() {
    in_private("flavours_and_missing_members", || {
        let mut spec = spec("struct_ops_flavour");
        let loaded = load(&spec);
        assert_eq!(loaded.tables.keys().collect::<Vec<_>>(), ["flavoured"]);
        assert_eq!(loaded.programs.len(), 3, "{:?}", loaded.programs.keys());
        // The optional table has a function that this kernel would never call.
        spec.maps["optional"].autocreate = true;
        let error = load_spec(&linux(), &spec, &options()).unwrap_err();
        assert_eq!(error.code(), "E0330");
        assert_eq!(
            error.report().message,
            "struct_ops `optional`: member `not_yet`: this kernel's struct has no such member"
        );
        // Without it the table is fine, and the program is not loaded.
        spec.set("ops.optional.not_yet", "none").unwrap();
        let loaded = load(&spec);
        assert_eq!((loaded.tables.len(), loaded.programs.len()), (2, 3));
        let error = spec.set("ops.optional.not_yet", "nobody").unwrap_err();
        assert_eq!(error.code(), "E0130");
        spec.set("ops.optional.not_yet_either", "7").unwrap();
        assert_eq!(
            refused(&spec),
            "struct_ops `optional`: member `not_yet_either`: this kernel's struct has no such member"
        );
    });
}

fn refused(spec: &Spec) -> String {
    load_spec(&linux(), spec, &options()).unwrap_err().report().message.clone()
}

#[test]
fn what_does_not_fit_is_named() {
    in_private("what_does_not_fit_is_named", || {
        let mut twice = spec("struct_ops");
        twice.set("ops.linked.undo_cwnd", "fixture_ssthresh").unwrap();
        assert_eq!(
            refused(&twice),
            "struct_ops `linked`: member `undo_cwnd`: program `fixture_ssthresh` is for `tcp_congestion_ops.ssthresh` \
             already, and can be for one thing only"
        );
        let mut nowhere = spec("struct_ops");
        nowhere.maps.clear();
        assert_eq!(refused(&nowhere), "program `fixture_ssthresh` is in no table of functions");
        let mut lost = spec("struct_ops_flavour");
        lost.set("ops.flavoured.undo_cwnd", "flavour_not_yet").unwrap();
        assert!(
            !lost.programs["flavour_undo"].autoload
                || lost.maps["optional"].autocreate
                || load(&lost).programs.len() == 3
        );
    });
}

/// Kernels without the struct, without BTF, and too old for struct_ops.
#[test]
fn kernels_that_lack_it_say_so() {
    let fail = |kernel: FakeKernel| -> Error {
        let kernel: Arc<dyn Kernel> = Arc::new(kernel);
        load_spec(&kernel, &spec("struct_ops"), &options()).unwrap_err()
    };
    let none = fail(FakeKernel::new());
    assert_eq!(
        none.to_string().lines().next(),
        Some("E0330: struct_ops `registered`: this kernel has no BTF")
    );
    let empty = onebpf::btf::Builder::new(spec("struct_ops").endian).build().unwrap();
    let lacks = fail(FakeKernel::new().with_kernel_btf(empty));
    assert!(
        lacks.report().message.ends_with(
            "takes no functions for `struct tcp_congestion_ops` (it has no `struct bpf_struct_ops_tcp_congestion_ops`)"
        ),
        "{lacks}"
    );
}

/// With the running kernel's types, on the fake: the calls, in order.
#[test]
fn the_fake_registers_too() {
    let Ok(types) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        return eprintln!("skipped: no kernel BTF");
    };
    let fake = FakeKernel::new().with_kernel_btf(types);
    let kernel: Arc<dyn Kernel> = Arc::new(fake.clone());
    let options = Options { register: true, ..options() };
    let spec = spec("struct_ops");
    let facts = observe(&*kernel, &spec, &options).unwrap();
    let text = plan(&spec, &options, &facts).unwrap().to_string();
    assert!(text.contains("register") && text.contains("for tcp_congestion_ops.ssthresh ["), "{text}");
    let loaded = load_spec(&kernel, &spec, &options).unwrap();
    assert_eq!(fake.live().links, 1);
    drop(loaded);
    assert!(fake.live().is_empty(), "{:?}", fake.live());
    let refusing: Arc<dyn Kernel> =
        Arc::new(Faulty::new(kernel, 1, Errno::INVAL).only(|op| op == Op::LinkCreate));
    let error = load_spec(&refusing, &spec, &options).unwrap_err();
    assert_eq!(error.code(), "E0405");
    assert!(fake.live().is_empty(), "{:?}", fake.live());
}
