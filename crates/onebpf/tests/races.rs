//! Two processes on the real kernel, one of which is stopped at each of its calls while the other loads. Needs root.

mod common;

use common::{in_private, options, spec, sweep};
use onebpf::object::Spec;
use onebpf::sys::Op;
use onebpf::{Kernel, Linux, LockHolder, Map, Options, load_spec, lock_holder};
use onebpf_fake::Faulty;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// For the child: what to do.
const DO: &str = "ONEBPF_TEST_DO";
/// Its exit status where the lock is taken.
const LOCKED: i32 = 18;
const STATE: &str = "/run/onebpf";

fn linux() -> Arc<dyn Kernel> {
    Arc::new(Linux)
}

/// Pins of both dialects: global, for the object, by name.
fn object() -> Spec {
    spec("mix_pins")
}

fn impatient() -> Options {
    Options { lock_wait: Some(Duration::ZERO), jobs: 1, ..options() }
}

/// This binary again, in the same namespaces, for the test that is no test by itself.
fn child(task: &str) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "in_a_process_of_its_own", "--nocapture"]).env(DO, task);
    child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

#[test]
fn in_a_process_of_its_own() {
    match std::env::var(DO).as_deref() {
        Ok("load") => match load_spec(&linux(), &object(), &impatient()) {
            Err(error) if error.code() == "E0418" => std::process::exit(LOCKED),
            other => drop(other.unwrap()),
        },
        Ok("hold") => {
            let _lock = Linux.lock_file(&Path::new(STATE).join("lock")).unwrap();
            println!("held");
            let _ = std::io::stdin().read_line(&mut String::new());
        }
        _ => {}
    }
}

/// Ids of what is pinned.
fn pinned() -> BTreeMap<PathBuf, u32> {
    let files = common::tree(Path::new("/sys/fs/bpf")).into_iter().filter(|path| {
        let is_link = |path: &Path| path.is_symlink();
        path.is_file() && !path.ancestors().any(is_link) && !path.to_str().unwrap().contains(".debug")
    });
    files.map(|path| (path.clone(), Map::open_pin(&linux(), &path).unwrap().info().unwrap().id)).collect()
}

/// Check 51 of iproute2's (its E12 and E13): a name that was free when the host was observed is taken by the time of
/// pinning. Whoever was first, his map is used by both; at each call of one load the other one runs as a whole.
#[test]
fn whoever_is_first_has_the_name() {
    in_private("whoever_is_first_has_the_name", || {
        let (mut first, mut locked) = (0, 0);
        for n in 1.. {
            sweep();
            let winner: Arc<Mutex<Option<BTreeMap<PathBuf, u32>>>> = Arc::default();
            let seen = winner.clone();
            let let_another_go = move || {
                let status = child("load").wait().unwrap();
                assert!(status.success() || status.code() == Some(LOCKED), "{status}");
                *seen.lock().unwrap() = status.success().then(pinned);
            };
            let kernel = Arc::new(Faulty::stopping(linux(), n, let_another_go));
            let result = load_spec(&(kernel.clone() as Arc<dyn Kernel>), &object(), &impatient());
            let loaded = result.unwrap_or_else(|e| panic!("call {n}: {e} {:#?}", e.report()));
            if !kernel.fired() {
                break;
            }
            // One map for each name, and it is the one that was loaded.
            let there = pinned();
            let own = there.keys().filter(|path| !path.ends_with("mix_next:prev"));
            assert_eq!(own.count(), 5, "call {n}: {there:?}");
            // The links of the tree come last of all, and without the lock: what runs there runs after this load.
            let after = kernel.ops().get(n - 1) == Some(&Op::Symlink);
            for map in loaded.maps.values().filter(|map| !after || map.name() != "mix_next") {
                let Some(path) = map.pinned() else { continue };
                assert_eq!(there[path], map.info().unwrap().id, "call {n}: {}", map.name());
            }
            match winner.lock().unwrap().take() {
                Some(theirs) => {
                    first += 1;
                    // The program array of `.maps` comes anew with each load.
                    let kept = |(path, _): &(&PathBuf, &u32)| !path.ends_with("mix_next");
                    let kept: Vec<_> = theirs.iter().filter(kept).collect();
                    assert!(
                        kept.iter().all(|(path, id)| there[*path] == **id),
                        "call {n}: {theirs:?} {there:?}"
                    );
                    let reused = loaded.maps.values().filter(|map| map.reused()).count();
                    assert_eq!(reused, if after { 0 } else { 4 }, "call {n}");
                }
                None => locked += 1,
            }
        }
        eprintln!("another process went first {first} times, found the lock taken {locked} times");
        assert!(first > 20 && locked > 20, "{first} {locked}");
    });
}

#[test]
fn who_has_the_lock_is_named() {
    use std::io::{BufRead, BufReader};
    in_private("who_has_the_lock_is_named", || {
        drop(load_spec(&linux(), &object(), &options()).unwrap());
        let state = Path::new(STATE);
        assert_eq!(lock_holder(&Linux, state), None);
        let mut holding = child("hold");
        let mut lines = BufReader::new(holding.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("held")));
        let name = std::fs::read_to_string(format!("/proc/{}/comm", holding.id())).unwrap();
        let name = Some(name.trim_end().to_owned());
        assert_eq!(lock_holder(&Linux, state), Some(LockHolder { pid: holding.id(), name }));
        let error = load_spec(&linux(), &object(), &impatient()).unwrap_err();
        assert_eq!(error.code(), "E0418");
        assert!(error.report().message.contains(&format!("process {} (", holding.id())), "{error}");
        // A kill lets go of it.
        let waiting = Options { lock_wait: None, ..options() };
        std::thread::scope(|scope| {
            let load = scope.spawn(|| load_spec(&linux(), &object(), &waiting).map(drop));
            std::thread::sleep(Duration::from_millis(100));
            holding.kill().unwrap();
            holding.wait().unwrap();
            load.join().unwrap().unwrap();
        });
    });
}
