//! Programs that replace or trace a function of another program: on a kernel in memory, and on the real one.

mod common;

use common::{in_private, options, spec};
use onebpf::btf::{Btf, Kind};
use onebpf::object::AttachType;
use onebpf::plan::Step;
use onebpf::sys::{Errno, Feature, ObjectKind};
use onebpf::{
    AttachTo, Error, Facts, Kernel, Linux, Loaded, Options, PinOptions, Spec, TargetProgram, load_spec,
    observe, plan,
};
use onebpf_fake::FakeKernel;
use std::os::fd::AsFd;
use std::sync::Arc;

fn to(target: TargetProgram) -> Options {
    Options { attach_to: AttachTo { all: Some(target), ..AttachTo::default() }, ..options() }
}

fn only(name: &str, program: &str) -> Spec {
    let mut spec = spec(name);
    spec.programs.retain(|found, _| found == program);
    spec
}

/// A kernel with the target in it, pinned.
fn with_target(fake: FakeKernel) -> (FakeKernel, Arc<dyn Kernel>, Loaded) {
    let kernel: Arc<dyn Kernel> = Arc::new(fake.clone());
    let pins = PinOptions { everything_under: Some("/sys/fs/bpf/t".into()), ..PinOptions::default() };
    let target = load_spec(&kernel, &spec("ext_target"), &Options { pins, ..options() });
    let target = target.unwrap_or_else(|e| panic!("{e}\n{:#?}", e.report()));
    (fake, kernel, target)
}

/// The id of a function in the BTF that the kernel has for a program.
fn function(kernel: &dyn Kernel, program: &Loaded, name: &str) -> u32 {
    let info = program.programs["target"].info().unwrap();
    let fd = kernel.open_id(ObjectKind::Btf, info.btf_id).unwrap();
    let btf = Btf::from_vec(kernel.btf_info(fd.as_fd()).unwrap().data).unwrap();
    btf.find(name, Kind::Func).unwrap().0
}

#[test]
fn a_target_is_an_id_a_path_or_a_name() {
    let (fake, kernel, target) = with_target(FakeKernel::new());
    let id = target.programs["target"].info().unwrap().id;
    for named in [
        TargetProgram::Id(id),
        TargetProgram::Pinned("/sys/fs/bpf/t/target".into()),
        TargetProgram::Name("target".into()),
    ] {
        let loaded = load_spec(&kernel, &spec("ext_programs"), &to(named)).unwrap();
        let got: Vec<(String, u32, u32)> = fake
            .programs()
            .into_iter()
            .filter(|p| p.attach_prog_id != 0)
            .map(|p| (p.name, p.attach_prog_id, p.attach_btf_id))
            .collect();
        let wanted = [("new_answer", "answer"), ("before_target", "target"), ("after_internal", "internal")];
        let wanted = wanted.map(|(name, of)| (name.to_owned(), id, function(&*kernel, &target, of)));
        assert_eq!(got, wanted);
        drop(loaded);
    }
}

#[test]
fn the_plan_says_so_and_is_the_same_elsewhere() {
    let (fake, _kernel, _target) = with_target(FakeKernel::new());
    let (spec, options) = (spec("ext_programs"), to(TargetProgram::Pinned("/sys/fs/bpf/t/target".into())));
    let facts = observe(&fake, &spec, &options).unwrap();
    let here = plan(&spec, &options, &facts).unwrap();
    let there = plan(&spec, &options, &Facts::from_json(&facts.to_json()).unwrap()).unwrap();
    assert_eq!(here, there);
    let opened = |step: &&Step| matches!(step, Step::OpenProgram { name, .. } if name == "target");
    assert_eq!(here.steps.iter().filter(opened).count(), 1, "one for all three");
    let text = here.to_string();
    assert!(text.contains("open program  target"), "{text}");
    assert!(text.contains(", for answer ["), "{text}");
}

#[test]
fn what_does_not_fit_is_said_before_anything_is_loaded() {
    let (_fake, kernel, _target) = with_target(FakeKernel::new());
    let by_name = || to(TargetProgram::Name("target".into()));
    let error = |spec: &Spec, options: &Options| load_spec(&kernel, spec, options).unwrap_err();
    let said = |error: &Error| [error.report().notes.concat(), error.report().hints.concat()].concat();

    let untold = error(&only("ext_programs", "new_answer"), &options());
    assert_eq!(untold.code(), "E0303");
    assert!(said(&untold).contains("--attach-to"), "{untold:?}");

    let mut other = only("ext_programs", "new_answer");
    other.programs[0].attach_target = Some("answers".into());
    let lacking = error(&other, &by_name());
    assert_eq!(lacking.code(), "E0331");
    assert!(said(&lacking).starts_with("its functions: `answer`, "), "{lacking:?}");
    other.programs[0].attach_target = None;
    assert_eq!(error(&other, &by_name()).code(), "E0308", "of no function");

    for gone in [TargetProgram::Id(4711), TargetProgram::Name("none".into())] {
        assert_eq!(error(&spec("ext_programs"), &to(gone)).code(), "E0411");
    }
    let map = to(TargetProgram::Pinned("/sys/fs/bpf/t/ext_targ.bss".into()));
    assert_eq!(error(&spec("ext_programs"), &map).code(), "E0411", "a map");

    let of = |name: &str| {
        let of = [(name.to_owned(), TargetProgram::Name("target".into()))].into();
        Options { attach_to: AttachTo { of, ..AttachTo::default() }, ..options() }
    };
    assert_eq!(error(&spec("ext_programs"), &of("nobody")).code(), "E0301");
    let xdp = error(&spec("ext_target"), &of("target"));
    assert_eq!(xdp.code(), "E0308");
    assert!(xdp.to_string().contains("of type xdp"), "{xdp}");
}

#[test]
fn a_target_without_btf_is_none() {
    let (_fake, kernel, _target) = with_target(FakeKernel::new().without(Feature::BtfFunc));
    let error =
        load_spec(&kernel, &spec("ext_programs"), &to(TargetProgram::Name("target".into()))).unwrap_err();
    assert_eq!(error.code(), "E0331");
    assert!(error.to_string().contains("without BTF"), "{error}");
}

/// The kernel's checks, in its order: an extension of an extension, a function of another program of the object.
#[test]
fn the_kernel_has_the_last_word() {
    let (_fake, kernel, _target) = with_target(FakeKernel::new());
    let options = to(TargetProgram::Name("target".into()));
    let _first = load_spec(&kernel, &only("ext_programs", "new_answer"), &options).unwrap();
    let mut again = only("ext_programs", "new_answer");
    again.programs[0].attach_target = Some("new_answer".into());
    let refused = |spec: &Spec, options: &Options| load_spec(&kernel, spec, options).unwrap_err();
    let nested = refused(&again, &to(TargetProgram::Name("new_answer".into())));
    let log = nested.report().log.clone().unwrap_or_default();
    assert_eq!((nested.errno(), log.trim()), (Some(Errno::INVAL), "Cannot recursively attach"));

    again.programs[0].attach_target = Some("before_target".into());
    let strange = refused(&again, &to(TargetProgram::Name("new_answer".into())));
    let log = strange.report().log.clone().unwrap_or_default();
    assert_eq!(log.trim(), "Subprog before_target doesn't exist");
    assert!(strange.report().hints.iter().any(|hint| hint.contains("another program of that object")));

    let mut raw = only("ext_programs", "before_target");
    raw.programs[0].attach = AttachType::TRACE_RAW_TP;
    let of = [("before_target".to_owned(), TargetProgram::Name("target".into()))].into();
    let named = Options { attach_to: AttachTo { of, ..AttachTo::default() }, ..common::options() };
    let raw = load_spec(&kernel, &raw, &named).unwrap_err();
    assert!(raw.report().log.as_deref().unwrap_or_default().contains("Only FENTRY/FEXIT"), "{raw:?}");
}

/// Where there are no trampolines the kernel refuses such programs, but not for anything that was sent wrong: EINVAL is
/// what a wrong program, a wrong id or a missing one get.
#[test]
fn the_real_kernel_takes_them_or_has_no_trampolines() {
    in_private("the_real_kernel_takes_them_or_has_no_trampolines", || {
        let kernel: Arc<dyn Kernel> = Arc::new(Linux);
        let target = load_spec(&kernel, &spec("ext_target"), &options()).unwrap();
        let id = target.programs["target"].info().unwrap().id;
        for program in ["new_answer", "before_target", "after_internal"] {
            let loaded = load_spec(&kernel, &only("ext_programs", program), &to(TargetProgram::Id(id)));
            match loaded {
                Ok(loaded) => assert_eq!(loaded.programs.len(), 1),
                Err(error) => {
                    eprintln!("{program}: {error}");
                    let no_trampolines = [Errno::PERM, Errno::OPNOTSUPP, Errno(524)];
                    assert!(error.errno().is_some_and(|errno| no_trampolines.contains(&errno)), "{error:?}");
                }
            }
        }
    });
}
