//! BPF tokens: taken when needed, when asked for, and never otherwise; and on the real kernel, in a user namespace.

mod common;

use common::{left, options, spec};
use onebpf::plan::Step;
use onebpf::sys::{Errno, Feature, Op};
use onebpf::{Kernel, Linux, Options, Token, load_spec, observe, plan};
use onebpf_fake::{FakeKernel, Faulty};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen, move_mount,
};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Arc;

const BPFFS: &str = "/sys/fs/bpf";

fn token(from: &str) -> Options {
    Options { token: Token::From(from.into()), ..options() }
}

#[test]
fn a_token_is_taken_when_the_kernel_wants_a_right() {
    for name in ["data_bss_only", "demo", "btf_map_in_map", "prog_subprogs"] {
        let fake = FakeKernel::new().delegating(BPFFS);
        let kernel: Arc<dyn Kernel> = Arc::new(fake.clone());
        let loaded = load_spec(&kernel, &spec(name), &options());
        let loaded = loaded.unwrap_or_else(|e| panic!("{name}: {:#?}", e.report()));
        assert_eq!(fake.live().tokens, 0, "it is closed");
        assert_eq!(loaded.programs.len(), fake.live().programs.len());
        let forbidden = Options { token: Token::Never, ..options() };
        let error = load_spec(&kernel, &spec(name), &forbidden).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::PERM), "{error}");
    }
}

#[test]
fn who_may_load_is_not_asked_for_a_token() {
    let counting = Arc::new(Faulty::counting(Arc::new(FakeKernel::new())));
    let kernel: Arc<dyn Kernel> = counting.clone();
    load_spec(&kernel, &spec("demo"), &options()).unwrap();
    assert!(!counting.ops().contains(&Op::TokenCreate));
    // Nor after a refusal of another kind.
    let old = Arc::new(Faulty::counting(Arc::new(FakeKernel::linux("5.4"))));
    let kernel: Arc<dyn Kernel> = old.clone();
    load_spec(&kernel, &spec("btf_pinned"), &options()).unwrap();
    assert!(!old.ops().contains(&Op::TokenCreate), "{:?}", old.ops());
}

#[test]
fn a_token_that_is_asked_for_comes_first() {
    let fake = FakeKernel::new().with_bpffs("/run/bpf").delegating("/run/bpf");
    let spec = spec("demo");
    let plan = plan(&spec, &token("/run/bpf"), &observe(&fake, &spec, &options()).unwrap()).unwrap();
    let Step::CreateToken { out, .. } = &plan.steps[0] else { panic!("{plan}") };
    for step in &plan.steps {
        let by = match step {
            Step::LoadBtf { token, .. } => *token,
            Step::CreateMap(map) => map.token,
            Step::LoadProgram(program) => program.token,
            _ => Some(*out),
        };
        assert_eq!(by, Some(*out), "{step}");
    }
    assert!(plan.to_string().contains("make token"), "{plan}");
    let kernel: Arc<dyn Kernel> = Arc::new(fake.clone());
    drop(load_spec(&kernel, &spec, &token("/run/bpf")).unwrap());
    let error = load_spec(&kernel, &spec, &options()).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::PERM), "nothing is delegated at {BPFFS}: {error}");
    let error = load_spec(&kernel, &spec, &token(BPFFS)).unwrap_err();
    assert_eq!(error.code(), "E0419");
    assert!(error.report().hints[0].contains("delegated"));
}

#[test]
fn features_are_asked_for_by_the_token() {
    let fake = FakeKernel::new().delegating(BPFFS).without(Feature::ArgCtxTag);
    let kernel: Arc<dyn Kernel> = Arc::new(fake);
    let loaded = load_spec(&kernel, &spec("prog_arg_ctx"), &options()).unwrap();
    assert!(loaded.adaptations.iter().any(|it| it.lacks == Some(Feature::ArgCtxTag)));
    let facts = onebpf::observe_host(&*kernel).unwrap();
    assert_eq!(facts.token, Some(true));
    assert_eq!(facts.features.get(Feature::ArgCtxTag), onebpf::sys::Support::No);
    assert_eq!(facts.features.get(Feature::Btf), onebpf::sys::Support::Yes);
}

#[test]
fn whichever_call_fails_no_token_is_left() {
    let calls = {
        let counting = Arc::new(Faulty::counting(Arc::new(FakeKernel::new().delegating(BPFFS))));
        let kernel: Arc<dyn Kernel> = counting.clone();
        load_spec(&kernel, &spec("demo"), &options()).unwrap();
        counting.calls()
    };
    for n in 1..=calls {
        let fake = FakeKernel::new().delegating(BPFFS);
        let kernel: Arc<dyn Kernel> = Arc::new(Faulty::new(Arc::new(fake.clone()), n, Errno::NOMEM));
        // Some are about what can be done without.
        if load_spec(&kernel, &spec("demo"), &options()).is_err() {
            assert!(left(&fake).is_empty(), "call {n}: {:?}", left(&fake));
        }
        assert_eq!(fake.live().tokens, 0, "call {n}");
    }
}

/// As a container gets it: the filesystem is opened in the user namespace, configured from outside, mounted inside.
#[test]
fn a_user_namespace_loads_by_a_token() {
    let Some(mut child) = testing::in_user_namespace("a_user_namespace_loads_by_a_token", inside) else {
        return;
    };
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let delegate = |number: i32| {
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        let filesystem = pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty())?;
        for what in ["delegate_cmds", "delegate_maps", "delegate_progs", "delegate_attachs"] {
            fsconfig_set_string(&filesystem, what, "any")?;
        }
        fsconfig_create(&filesystem)
    };
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let number = lines.by_ref().find_map(|line| line.rsplit_once("filesystem ")?.1.trim().parse().ok());
    let delegated = number.map(delegate);
    let answer = match delegated {
        Some(Ok(())) => "go",
        Some(Err(rustix::io::Errno::INVAL)) | None => {
            eprintln!("skipped: no BPF tokens (Linux 6.9), or no user namespaces");
            "stop"
        }
        Some(Err(error)) => panic!("delegating: {error}"),
    };
    let _ = writeln!(child.stdin.take().unwrap(), "{answer}");
    let rest: Vec<String> = lines.collect();
    let status = child.wait().unwrap();
    assert!(number.is_none() || status.success(), "{}", rest.join("\n"));
}

fn inside() {
    let filesystem = fsopen("bpf", FsOpenFlags::FSOPEN_CLOEXEC).expect("fsopen");
    println!("filesystem {}", filesystem.as_raw_fd());
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).unwrap();
    if answer.trim() != "go" {
        return;
    }
    let kernel: Arc<dyn Kernel> = Arc::new(Linux);
    let spec = spec("demo");
    let unpinned = common::spec("prog_subprogs");
    let error = load_spec(&kernel, &unpinned, &options()).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::PERM), "no token yet: {error}");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/run"]).status();
    assert!(mounted.expect("mount(8)").success(), "a state directory of its own");
    let mount =
        fsmount(&filesystem, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).expect("fsmount");
    move_mount(&mount, "", rustix::fs::CWD, BPFFS, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .expect("move_mount");
    for options in [options(), token(BPFFS)] {
        let loaded = load_spec(&kernel, &spec, &options);
        let loaded = loaded.unwrap_or_else(|e| panic!("{:#?}", e.report()));
        assert_eq!(loaded.programs.len(), spec.programs.len());
        assert!(loaded.adaptations.is_empty(), "{:?}", loaded.adaptations);
        load_spec(&kernel, &unpinned, &options).unwrap();
    }
    let facts = onebpf::observe_host(&*kernel).unwrap();
    assert_eq!(facts.token, Some(true));
    assert_eq!(facts.features.get(Feature::Btf), onebpf::sys::Support::Yes);
    let forbidden = Options { token: Token::Never, ..options() };
    assert_eq!(load_spec(&kernel, &unpinned, &forbidden).unwrap_err().errno(), Some(Errno::PERM));
}
