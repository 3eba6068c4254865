//! For every n: the n-th kernel call of a load fails, and nothing is left behind. On the fake, and on the real kernel.

mod common;

use common::recording::Recording;
use common::{in_private, loadable, open_fds, options, spec, tree};
use onebpf::sys::{Errno, Op};
use onebpf::{Kernel, Linux, Map, Program, apply, load_spec, observe, plan};
use onebpf_fake::{FakeKernel, Faulty};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Errors that a kernel may give for any reason.
const ERRNOS: [Errno; 3] = [Errno::NOMEM, Errno::INVAL, Errno::PERM];

#[test]
fn on_the_fake_kernel() {
    for fixture in loadable() {
        let spec = common::read(&fixture.path);
        let options = options();
        let run = |kernel: Arc<dyn Kernel>| load_spec(&kernel, &spec, &options);
        let counting = Arc::new(Faulty::counting(Arc::new(FakeKernel::new())).sparing_clean_up());
        if run(counting.clone()).is_err() {
            // A map type that the fake does not imitate.
            continue;
        }
        // 200 programs are 200 times the same.
        let most = if fixture.name == "many" { 10 } else { usize::MAX };
        for n in 1..=counting.calls().min(most) {
            let fake = FakeKernel::new();
            let errno = ERRNOS[n % ERRNOS.len()];
            let faulty = Arc::new(Faulty::new(Arc::new(fake.clone()), n, errno).sparing_clean_up());
            let result = run(faulty.clone());
            assert!(faulty.fired(), "{} call {n}", fixture.name);
            // A fallback or a second try may have made up for it.
            if result.is_err() {
                let left = common::left(&fake);
                assert!(left.is_empty(), "{} call {n}: {left:?}", fixture.name);
            }
        }
    }
}

#[test]
fn on_the_real_kernel() {
    in_private("on_the_real_kernel", || {
        // Before Linux 5.11 objects that are on their way out still count against the limit.
        let _ = Linux.lift_memlock();
        for name in ["demo", "values_2019", "btf_prog_array", "btf_map_in_map", "rejected_null"] {
            every_call_fails_once(name);
        }
    });
}

fn every_call_fails_once(name: &str) {
    let linux: Arc<dyn Kernel> = Arc::new(Linux);
    let spec = spec(name);
    let mut options = options();
    options.pins.everything_under = Some(format!("/sys/fs/bpf/{name}").into());
    // A single worker: the n-th call is the same call each time.
    options.jobs = 1;
    let facts = observe(&*linux, &spec, &options).unwrap();
    let plan = plan(&spec, &options, &facts).unwrap();
    let recording = Arc::new(Recording::new(linux));
    let linux: Arc<dyn Kernel> = recording.clone();
    let before = (tree(Path::new("/sys/fs/bpf")), open_fds());
    // The first load makes the state directory, too.
    clean_up(apply(&plan, &linux, 1).ok());
    let counting = Arc::new(Faulty::counting(linux.clone()).sparing_clean_up());
    let result = apply(&plan, &(counting.clone() as Arc<dyn Kernel>), 1);
    assert_eq!(result.is_ok(), name != "rejected_null");
    clean_up(result.ok());
    for n in 1..=counting.calls() {
        let faulty = Arc::new(Faulty::new(linux.clone(), n, Errno::NOMEM).sparing_clean_up());
        let result = apply(&plan, &(faulty.clone() as Arc<dyn Kernel>), 1);
        assert!(faulty.fired(), "{name} call {n}");
        if let Err(error) = &result {
            assert!(error.report().notes.iter().all(|note| !note.contains("undoing")), "{error:?}");
        }
        // A load that fails once without a log is tried again with one, and may pass then.
        let spared = |op: &&Op| !matches!(op, Op::Unlink | Op::Rmdir);
        let op = *faulty.ops().iter().filter(spared).nth(n - 1).unwrap();
        assert!(result.is_err() || matches!(op, Op::ProgLoad | Op::BtfLoad), "{name} call {n}: {op}");
        clean_up(result.ok());
        assert_eq!((tree(Path::new("/sys/fs/bpf")), open_fds()), before, "{name} call {n}");
    }
    nothing_is_left(&recording);
}

/// Takes a good load away again.
fn clean_up(loaded: Option<onebpf::Loaded>) {
    let Some(loaded) = loaded else { return };
    let paths = loaded.maps.values().map(Map::pinned).chain(loaded.programs.values().map(Program::pinned));
    let paths: Vec<_> = paths.flatten().map(Path::to_owned).collect();
    for path in &paths {
        std::fs::remove_file(path).unwrap();
    }
    for dir in paths.iter().filter_map(|path| path.parent()) {
        // The last pin's directory is made by the load; /sys/fs/bpf itself stays.
        let _ = std::fs::remove_dir(dir);
    }
}

/// Nothing that was made is alive. The kernel may take a moment to let go (RCU, work queues).
fn nothing_is_left(made: &Recording) {
    let deadline = Instant::now() + Duration::from_mins(2);
    while !made.alive().is_empty() {
        assert!(Instant::now() < deadline, "still there: {:?}", made.alive());
        std::thread::sleep(Duration::from_millis(100));
    }
}
