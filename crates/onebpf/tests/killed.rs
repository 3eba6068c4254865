//! Loads on the real kernel that are killed at any call, and two processes that load the same object. Needs root.

mod common;

use common::upgrade::{self, ROOT, STATE, is_whole, seen, state_is_clean};
use common::{in_private, open_fds, sweep, tree};
use onebpf::sys::ProgRun;
use onebpf::{Kernel, Linux, Options, Program, load_spec, recover, rollback, status};
use onebpf_fake::Faulty;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// For the child: which call is its last, or how often it loads.
const KILL_AT: &str = "ONEBPF_TEST_KILL_AT";
const LOADS: &str = "ONEBPF_TEST_LOADS";

/// How often two processes begin with nothing.
const ROUNDS: usize = 5;

fn linux() -> Arc<dyn Kernel> {
    Arc::new(Linux)
}

fn number(variable: &str) -> Option<usize> {
    std::env::var(variable).ok()?.parse().ok()
}

/// This binary again, in the same namespaces, for the test that is no test by itself.
fn child(variable: &str, value: usize) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "in_a_process_of_its_own", "--nocapture"]).env(variable, value.to_string());
    child.stdout(std::process::Stdio::null()).spawn().unwrap()
}

#[test]
fn in_a_process_of_its_own() {
    if let Some(n) = number(KILL_AT) {
        let die = || {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
            std::thread::sleep(std::time::Duration::from_mins(1));
        };
        let kernel: Arc<dyn Kernel> = Arc::new(Faulty::stopping(linux(), n, die));
        upgrade::load(&kernel, 2).unwrap();
    }
    for n in 0..number(LOADS).unwrap_or_default() {
        if let Err(error) = upgrade::load(&linux(), 1) {
            panic!("load {n}: {error} {:#?}", error.report());
        }
    }
}

/// What a program returns.
fn run(program: &Program) -> u32 {
    program.run(ProgRun { data_in: &[0; 64], ..ProgRun::default() }).unwrap().retval
}

fn pinned_entry() -> Program {
    Program::open_pin(&linux(), format!("{ROOT}/up/entry")).unwrap()
}

/// The old generation, alone on the BPF filesystem: its entry program.
fn begin() -> Program {
    sweep();
    let mut loaded = upgrade::load(&linux(), 1).unwrap_or_else(|e| panic!("{e} {:#?}", e.report()));
    loaded.programs.shift_remove("entry").unwrap()
}

#[test]
fn wherever_it_is_killed_all_is_old_or_new() {
    in_private("wherever_it_is_killed_all_is_old_or_new", || {
        let mut ends = [0, 0];
        for n in 1.. {
            let entry = begin();
            let before = seen(&Linux);
            let fds = open_fds();
            if child(KILL_AT, n).wait().unwrap().success() {
                break;
            }
            // Before anybody recovers: no name is missing, and old programs jump to old or new ones.
            let now = seen(&Linux);
            assert!(before.keys().all(|name| now.contains_key(name)), "call {n}: {before:?}\n{now:?}");
            assert!([1, 2].contains(&run(&entry)) && [1, 2].contains(&run(&pinned_entry())), "call {n}");
            recover(&Linux, Path::new(STATE), false, &[]).unwrap();
            let when = format!("killed at call {n}");
            let which = is_whole(&before, &seen(&Linux), &when);
            assert_eq!((run(&entry), run(&pinned_entry())), (which, which), "{when}");
            state_is_clean(&Linux, &when);
            let there = tree(Path::new(ROOT));
            assert!(there.iter().all(|path| !path.to_str().unwrap().contains(':')), "{when}: {there:?}");
            assert_eq!(there.contains(&format!("{ROOT}/new").into()), which == 2, "{when}");
            assert_eq!(open_fds(), fds, "{when}");
            ends[which as usize - 1] += 1;
        }
        eprintln!("killed {} times: {ends:?} old and new", ends[0] + ends[1]);
        assert!(ends[0] > 60 && ends[1] > 10, "{ends:?}");
    });
}

#[test]
fn two_processes_come_to_one_result() {
    in_private("two_processes_come_to_one_result", || {
        let loads = number("ONEBPF_TEST_RACES").unwrap_or(if cfg!(debug_assertions) { 60 } else { 1000 });
        for _ in 0..ROUNDS {
            // Both find nothing, or half of it.
            sweep();
            let children = [child(LOADS, loads / ROUNDS), child(LOADS, loads / ROUNDS)];
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let watch = scope.spawn(|| never_missing(&done));
                let good = children.map(|mut child| child.wait().unwrap().success());
                done.store(true, Ordering::Relaxed);
                assert_eq!(good, [true, true]);
                assert!(watch.join().unwrap() > 0, "nobody looked");
            });
            let now = seen(&Linux);
            assert_eq!(run(&pinned_entry()), 1);
            for (slot, pin) in
                [("calls[0]", "up/tail_a"), ("calls[2]", "up/tail_b"), ("outer[0]", "up/inner_a")]
            {
                assert_eq!(now[slot], now[pin], "{now:?}");
            }
            assert!(now.keys().all(|name| !name.contains(':')), "{now:?}");
            state_is_clean(&Linux, "two processes");
            let all = status(&Linux, Path::new(STATE), &[ROOT.into()]).unwrap();
            assert!(all.objects.len() == 1 && all.objects[0].pins.iter().all(|pin| pin.same), "{all:?}");
        }
    });
}

/// Looks at names that were there once, until `done`: they are there, and lead to a program that runs. How often.
fn never_missing(done: &AtomicBool) -> usize {
    let paths = ["kept", "calls", "up/entry"].map(|name| format!("{ROOT}/{name}"));
    let mut there = [false; 3];
    let mut looked = 0;
    while !done.load(Ordering::Relaxed) {
        for (path, there) in paths.iter().zip(&mut there) {
            match Linux.open_pin(Path::new(path)) {
                Ok(_) => *there = true,
                Err(e) => assert!(!*there, "{path}: {e}"),
            }
        }
        if there == [true; 3] {
            looked += 1;
            assert_eq!(run(&pinned_entry()), 1);
        }
        std::thread::yield_now();
    }
    looked
}

#[test]
fn what_is_kept_comes_back() {
    in_private("what_is_kept_comes_back", || {
        let entry = begin();
        let before = seen(&Linux);
        let options = Options { keep_previous: true, ..upgrade::options(2) };
        drop(load_spec(&linux(), &upgrade::spec(2), &options).unwrap());
        assert_eq!((run(&entry), run(&pinned_entry())), (2, 2));
        rollback(&Linux, Path::new(STATE), "upgrade").unwrap();
        assert_eq!((run(&entry), run(&pinned_entry())), (1, 1));
        let mut rolled = seen(&Linux);
        rolled.retain(|name, _| !name.contains(':') && name != "new/b");
        assert_eq!(rolled, before);
        rollback(&Linux, Path::new(STATE), "upgrade").unwrap();
        assert_eq!((run(&entry), run(&pinned_entry())), (2, 2));
        state_is_clean(&Linux, "rolled back");
    });
}
