//! Every error code of this crate, each by something that a user may meet.

mod common;

use common::{options, spec};
use onebpf::btf::Endian;
use onebpf::object::{Contents, MapSpec, MapType, Pinning, Slot, SlotTarget};
use onebpf::plan::{Object, Step};
use onebpf::sys::{Errno, Feature, ObjectKind, Op, ProgRun};
use onebpf::{
    AttachTo, CODES, Error, Facts, Kernel, Map, Mismatch, Options, Plan, Spec, TargetProgram, apply,
    load_spec, observe, plan,
};
use onebpf_fake::{FakeKernel, Faulty};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn fake() -> Arc<dyn Kernel> {
    Arc::new(FakeKernel::new())
}

fn load_error(spec: &Spec) -> Error {
    load_spec(&fake(), spec, &options()).unwrap_err()
}

fn load_only(name: &str, program: &str) -> Error {
    let options = Options { programs: vec![program.into()], ..options() };
    load_spec(&fake(), &spec(name), &options).unwrap_err()
}

/// Loads with a kernel that refuses one kind of operation for ever.
fn refused(op: Op, errno: Errno, name: &str, options: &Options) -> Error {
    // One fault inside another: each makes the next try fail as well, and the probes after it.
    let kernel = (0..64).fold(fake(), |inner, _| {
        Arc::new(Faulty::new(inner, 1, errno).only(move |o| o == op)) as Arc<dyn Kernel>
    });
    load_spec(&kernel, &spec(name), options).unwrap_err()
}

fn plan_of(kernel: &Arc<dyn Kernel>, spec: &Spec, options: &Options) -> Plan {
    plan(spec, options, &observe(&**kernel, spec, options).unwrap()).unwrap()
}

/// A fixture with one thing changed.
fn edited(name: &str, edit: impl FnOnce(&mut Spec)) -> Spec {
    let mut spec = spec(name);
    edit(&mut spec);
    spec
}

type Case = (&'static str, fn() -> Error);

const PLANNING: [Case; 22] = [
    ("E0301", || {
        let options = Options { sections: vec!["nowhere".into()], ..options() };
        load_spec(&fake(), &spec("demo"), &options).unwrap_err()
    }),
    ("E0302", || load_spec(&fake(), &spec("elf_prog"), &Options::default()).unwrap_err()),
    ("E0303", || load_only("ext_programs", "new_answer")),
    ("E0304", || load_error(&edited("demo", |spec| spec.maps[0].kind = MapType::STRUCT_OPS))),
    ("E0305", || {
        let kernel = fake();
        let _first = load_spec(&kernel, &spec("btf_pinned"), &options()).unwrap();
        let other = edited("btf_pinned", |spec| spec.maps[0].value.size += 4);
        let mut options = options();
        options.pins.on_mismatch = Mismatch::Fail;
        load_spec(&kernel, &other, &options).unwrap_err()
    }),
    ("E0306", || {
        let options = Options { reuse: [("dropped".into(), "/sys/fs/bpf/none".into())].into(), ..options() };
        load_spec(&fake(), &spec("demo"), &options).unwrap_err()
    }),
    ("E0307", || {
        let kernel = FakeKernel::new().with_file("/etc/iproute2/bpf_pinning", "11 ../../etc\n");
        load_spec(&(Arc::new(kernel) as Arc<dyn Kernel>), &spec("elf_pins"), &options()).unwrap_err()
    }),
    ("E0308", || {
        load_error(&edited("prog_sections", |spec| {
            spec.programs.retain(|_, p| p.section == "fentry/do_nanosleep");
        }))
    }),
    ("E0309", || {
        let old: Arc<dyn Kernel> = Arc::new(FakeKernel::new().without(Feature::GlobalData));
        load_spec(&old, &spec("demo"), &options()).unwrap_err()
    }),
    ("E0310", || {
        load_error(&edited("btf_prog_array", |spec| {
            let target = SlotTarget::Program(spec.programs.keys().next().unwrap().clone());
            spec.maps[0].contents = Contents::Slots(vec![Slot { index: u32::MAX, target }]);
        }))
    }),
    ("E0311", || {
        load_error(&edited("demo", |spec| {
            spec.endian = if spec.endian == Endian::Little { Endian::Big } else { Endian::Little };
        }))
    }),
    ("E0312", || Facts::from_json("[1, 2").unwrap_err()),
    ("E0313", || onebpf::load("/no/such/file.bpf.o").unwrap_err()),
    ("E0314", || {
        load_error(&edited("btf_map_in_map", |spec| {
            let filled = |map: &&mut MapSpec| matches!(map.contents, Contents::Slots(_));
            spec.maps.values_mut().find(filled).unwrap().inner.as_mut().unwrap().value.size += 4;
        }))
    }),
    ("E0315", || {
        let kernel = fake();
        let _first = load_spec(&kernel, &spec("btf_pinned"), &options()).unwrap();
        let other = edited("btf_pinned", |spec| spec.maps[0].kind = MapType::RINGBUF);
        load_spec(&kernel, &other, &migrating()).unwrap_err()
    }),
    ("E0316", || load_error(&spec("core_records"))),
    ("E0317", || load_only("extern_bad_config", "missing")),
    ("E0318", || load_only("extern_bad_config", "wrong_type")),
    ("E0319", || load_only("extern_bad_ksyms", "missing_symbol")),
    ("E0320", || {
        let kernel = common::with_kernel_types(FakeKernel::new());
        let options = Options { programs: vec!["wrong_signature".into()], ..options() };
        load_spec(&(Arc::new(kernel) as Arc<dyn Kernel>), &spec("extern_bad_ksyms"), &options).unwrap_err()
    }),
    ("E0330", || load_error(&spec("struct_ops"))),
    ("E0331", || {
        let kernel = fake();
        let _target = load_spec(&kernel, &spec("demo"), &options()).unwrap();
        let attach_to = AttachTo { all: Some(TargetProgram::Name("count".into())), ..AttachTo::default() };
        load_spec(&kernel, &spec("ext_programs"), &Options { attach_to, ..options() }).unwrap_err()
    }),
];

const STATE: &str = "/run/onebpf";

const APPLYING: [Case; 19] = [
    ("E0401", || {
        let kernel = fake();
        let spec = spec("data_bss_only");
        let plan = plan_of(&kernel, &spec, &options());
        let old: Arc<dyn Kernel> = Arc::new(FakeKernel::linux("5.0"));
        apply(&plan, &old, 1).unwrap_err()
    }),
    ("E0402", || refused(Op::MapCreate, Errno::NOMEM, "data_bss_only", &options())),
    ("E0403", || {
        let kernel = FakeKernel::new();
        kernel.reject(
            "count",
            Errno::ACCES,
            "3: (79) r1 = *(u64 *)(r0 +0)\nR0 invalid mem access 'scalar'\n",
        );
        load_spec(&(Arc::new(kernel) as Arc<dyn Kernel>), &spec("demo"), &options()).unwrap_err()
    }),
    ("E0404", || refused(Op::ProgLoad, Errno::PERM, "data_bss_only", &options())),
    ("E0405", || refused(Op::MapFreeze, Errno::BUSY, "demo", &options())),
    ("E0406", || refused(Op::Pin, Errno::NOMEM, "btf_pinned", &options())),
    ("E0407", || {
        // Planned with a pin that is gone when the plan is applied.
        let kernel = fake();
        let loaded = load_spec(&kernel, &spec("btf_pinned"), &options()).unwrap();
        let plan = plan_of(&kernel, &spec("btf_pinned"), &options());
        kernel.unlink(loaded.maps[0].pinned().unwrap()).unwrap();
        apply(&plan, &kernel, 1).unwrap_err()
    }),
    ("E0408", || refused(Op::HostRead, Errno::ACCES, "demo", &options())),
    ("E0409", || {
        let loaded = load_spec(&fake(), &spec("demo"), &options()).unwrap();
        loaded.maps["demo.bss"].lookup(&[0; 8]).unwrap_err()
    }),
    ("E0410", || {
        let kernel =
            Arc::new(Faulty::new(fake(), 1, Errno::NOTSUPP).only(|op| op == Op::ProgRun)) as Arc<dyn Kernel>;
        let loaded = load_spec(&kernel, &spec("demo"), &options()).unwrap();
        loaded.programs[0].run(ProgRun::default()).unwrap_err()
    }),
    ("E0411", || Map::open_id(&fake(), 4711).unwrap_err()),
    ("E0412", || {
        let kernel = fake();
        let mut plan = plan_of(&kernel, &spec("btf_pinned"), &options());
        let object = Object::Map(onebpf::plan::Slot::new(4711));
        plan.steps.push(Step::Stage { object, name: "ghost".into(), path: "/sys/fs/bpf/ghost".into() });
        apply(&plan, &kernel, 1).unwrap_err()
    }),
    ("E0413", || {
        let kernel = fake();
        let name = spec("btf_pinned").maps[0].name.clone();
        let first = load_spec(&kernel, &spec("btf_pinned"), &options()).unwrap();
        let info = first.maps[0].info().unwrap().clone();
        for n in 0..2u8 {
            let (mut key, value) = (vec![0; info.key_size as usize], vec![1; info.value_size as usize]);
            key[0] = n;
            first.maps[&name].update(&key, &value, 0).unwrap();
        }
        let smaller = edited("btf_pinned", |spec| spec.maps[0].max_entries = 1);
        load_spec(&kernel, &smaller, &migrating()).unwrap_err()
    }),
    ("E0414", || {
        let kernel = fake();
        let loaded = load_spec(&kernel, &spec("data_bss_only"), &options()).unwrap();
        kernel.pin(loaded.maps[0].as_fd(), Path::new("/sys/fs/bpf/pinned:next")).unwrap();
        let other = edited("data_bss_only", |spec| {
            spec.maps[0].pinning = Pinning::ByName;
            spec.maps[0].name = "pinned".into();
        });
        load_spec(&kernel, &other, &options()).unwrap_err()
    }),
    ("E0415", || {
        let options = Options { state: Some("/nowhere/at/all".into()), ..options() };
        load_spec(&fake(), &spec("btf_pinned"), &options).unwrap_err()
    }),
    ("E0416", || {
        // Killed before the commit point; then what it has staged cannot be removed.
        let kernel = fake();
        let spec = spec("btf_pinned");
        let stopped = Faulty::stopping(kernel.clone(), 2, || panic!("killed")).only(|op| op == Op::WriteFile);
        let stopped: Arc<dyn Kernel> = Arc::new(stopped);
        assert!(catch_unwind(AssertUnwindSafe(|| load_spec(&stopped, &spec, &options()))).is_err());
        let faulty = Faulty::new(kernel, 1, Errno::ACCES).only(|op| op == Op::Unlink);
        onebpf::recover(&faulty, Path::new(STATE), false, &[]).unwrap_err()
    }),
    ("E0417", || onebpf::rollback(&*fake(), Path::new(STATE), "demo").unwrap_err()),
    ("E0418", || {
        let kernel = fake();
        kernel.mkdir(Path::new(STATE)).unwrap();
        let _lock = kernel.lock_file(&Path::new(STATE).join("lock")).unwrap();
        let options = Options { lock_wait: Some(Duration::from_millis(20)), ..options() };
        load_spec(&kernel, &spec("btf_pinned"), &options).unwrap_err()
    }),
    ("E0419", || {
        let token = onebpf::Token::From("/sys/fs/bpf".into());
        load_spec(&fake(), &spec("btf_pinned"), &Options { token, ..options() }).unwrap_err()
    }),
];

fn migrating() -> Options {
    let mut options = options();
    options.pins.on_mismatch = Mismatch::Migrate;
    options
}

#[test]
fn every_code_is_met() {
    let cases: Vec<Case> = PLANNING.into_iter().chain(APPLYING).collect();
    for (code, meet) in &cases {
        let error = meet();
        assert_eq!(error.code(), *code, "{error}");
        assert!(!error.report().message.is_empty());
    }
    let met: Vec<&str> = cases.iter().map(|(code, _)| *code).collect();
    let all: Vec<&str> = CODES.iter().map(|(code, _)| *code).collect();
    assert_eq!(met, all);
}

#[test]
fn without_privilege_the_hint_says_so() {
    let kernel: Arc<dyn Kernel> = Arc::new(FakeKernel::new().unprivileged());
    let error = load_spec(&kernel, &spec("data_bss_only"), &options()).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::PERM));
    assert!(error.report().hints[0].contains("CAP_BPF"), "{error:?}");
}

#[test]
fn objects_are_listed() {
    let kernel = fake();
    let loaded =
        load_spec(&kernel, &edited("demo", |s| s.maps[0].pinning = Pinning::None), &options()).unwrap();
    let ids: Vec<u32> = onebpf::list(&*kernel, ObjectKind::Map).map(Result::unwrap).collect();
    let ours: Vec<u32> = loaded.maps.values().map(|map| map.info().unwrap().id).collect();
    assert!(ours.iter().all(|id| ids.contains(id)), "{ids:?} {ours:?}");
}

#[test]
fn per_cpu_values_are_sized_by_the_kernel() {
    let kernel: Arc<dyn Kernel> = Arc::new(FakeKernel::new().with_cpus(3));
    let spec = edited("def_plain", |spec| {
        for map in spec.maps.values_mut() {
            map.kind = onebpf::object::MapType::from_name("percpu_array").unwrap();
            (map.key.size, map.value.size, map.max_entries, map.flags) = (4, 12, 5, 0);
        }
    });
    let loaded = load_spec(&kernel, &spec, &options()).unwrap();
    let map = &loaded.maps[0];
    assert_eq!(map.lookup(&[0; 4]).unwrap().unwrap().len(), 3 * 16);
    assert_eq!(map.update(&[0; 4], &[0; 12], 0).unwrap_err().code(), "E0409");
    let clone = map.try_clone().unwrap();
    drop(loaded);
    assert_eq!(clone.entries().unwrap().count(), clone.info().unwrap().max_entries as usize);
}
