//! Loads that change what others see, on the fake kernel: refused at any call, killed at any call, two at once; and the
//! way back.

mod common;

use common::upgrade::{self, STATE, Seen, is_whole, seen, state_is_clean};
use onebpf::sys::{Errno, Op};
use onebpf::{Kernel, Options, load_spec, recover, rollback, status};
use onebpf_fake::{FakeKernel, Faulty, Live};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Linux with RENAME_EXCHANGE on bpffs, and without.
const RELEASES: [&str; 2] = ["6.18", "5.10"];

fn arc(kernel: impl Kernel + 'static) -> Arc<dyn Kernel> {
    Arc::new(kernel)
}

/// A kernel with the old generation loaded, and what is seen there.
fn old(release: &str) -> (FakeKernel, Seen) {
    let fake = FakeKernel::linux(release);
    upgrade::load(&arc(fake.clone()), 1).unwrap_or_else(|e| panic!("{e} {:?}", e.report()));
    let seen = seen(&fake);
    (fake, seen)
}

/// What lives, in any order; without the state directory.
fn lives(fake: &FakeKernel) -> Live {
    let mut live = common::left(fake);
    live.files.retain(|path| !path.starts_with("/run/onebpf/objects"));
    live.maps.sort();
    live.programs.sort();
    // A load goes without BTF where it must.
    live.btfs = 0;
    live
}

/// What lives after a good old load, and after a good upgrade.
fn lives_when_good(release: &str) -> [Live; 2] {
    let (fake, seen_old) = old(release);
    let before = lives(&fake);
    upgrade::load(&arc(fake.clone()), 2).unwrap();
    assert_eq!(is_whole(&seen_old, &seen(&fake), "good"), 2);
    [before, lives(&fake)]
}

#[test]
fn whichever_call_fails_all_is_old_or_new() {
    for release in RELEASES {
        let good = lives_when_good(release);
        // What comes before the transaction is the same for all.
        let (mut n, mut failed) = (if release == RELEASES[0] { 0 } else { 90 }, 0);
        // Every call of a current kernel; of an old one, which swaps names by links, some.
        let step = if release == RELEASES[0] { 1 } else { 3 };
        loop {
            n += step;
            let (fake, before) = old(release);
            let faulty = Arc::new(Faulty::new(arc(fake.clone()), n, Errno::NOMEM));
            let result = upgrade::load(&(faulty.clone() as Arc<dyn Kernel>), 2);
            if !faulty.fired() {
                break;
            }
            let when = format!("{release}: call {n}, {}", faulty.ops()[n - 1]);
            if let Ok(loaded) = &result
                && loaded.warnings.iter().any(|warning| warning.code == "W0305")
            {
                recover(&fake, Path::new(STATE), false, &[]).unwrap();
            }
            let which = if result.is_ok() { 2 } else { 1 };
            failed += usize::from(result.is_err());
            drop(result);
            assert_eq!(is_whole(&before, &seen(&fake), &when), which, "{when}");
            assert_eq!(lives(&fake), good[which as usize - 1], "{when}");
            state_is_clean(&fake, &when);
        }
        assert!(failed > 10, "{failed} of {n} calls");
    }
}

/// Runs `doing` until its n-th call, where the process dies: what it holds goes, and nothing is undone. False if there
/// are fewer calls.
fn killed_at(fake: &FakeKernel, n: usize, doing: impl FnOnce(&Arc<dyn Kernel>)) -> bool {
    let stopping = Arc::new(Faulty::stopping(arc(fake.clone()), n, || resume_unwind(Box::new("killed"))));
    let kernel: Arc<dyn Kernel> = stopping.clone();
    let died = catch_unwind(AssertUnwindSafe(|| doing(&kernel))).is_err();
    assert_eq!(died, stopping.fired());
    died
}

#[test]
fn wherever_it_is_killed_all_is_old_or_new() {
    for release in RELEASES {
        let good = lives_when_good(release);
        let mut ends = [0, 0];
        let (first, step) = if release == RELEASES[0] { (1, 1) } else { (90, 3) };
        for n in (first..).step_by(step) {
            let (fake, before) = old(release);
            if !killed_at(&fake, n, |kernel| drop(upgrade::load(kernel, 2))) {
                break;
            }
            // No name is missing, whatever it stands for.
            let now = seen(&fake);
            assert!(
                before.keys().all(|name| name.contains('[') || now.contains_key(name)),
                "{release}: call {n}"
            );
            recover(&fake, Path::new(STATE), false, &[]).unwrap();
            let when = format!("{release}: killed at call {n}");
            let which = is_whole(&before, &seen(&fake), &when);
            ends[which as usize - 1] += 1;
            assert_eq!(lives(&fake), good[which as usize - 1], "{when}");
            state_is_clean(&fake, &when);
            assert_eq!(
                status(&fake, Path::new(STATE), &[upgrade::ROOT.into()]).unwrap().leftovers,
                [""; 0].map(PathBuf::from)
            );
        }
        assert!(ends[0] > 10 && ends[1] > 10, "{ends:?}");
    }
}

#[test]
fn a_recovery_may_be_killed_too() {
    let good = lives_when_good("5.10");
    // In the middle of the transaction, here and there; a recovery has about as many calls.
    for n in (100..).step_by(23) {
        for m in (1..).step_by(4) {
            let (fake, before) = old("5.10");
            if !killed_at(&fake, n, |kernel| drop(upgrade::load(kernel, 2))) {
                return;
            }
            let again = killed_at(&fake, m, |kernel| drop(recover(&**kernel, Path::new(STATE), false, &[])));
            recover(&fake, Path::new(STATE), false, &[]).unwrap();
            let when = format!("killed at call {n}, recovery at {m}");
            let which = is_whole(&before, &seen(&fake), &when);
            assert_eq!(lives(&fake), good[which as usize - 1], "{when}");
            state_is_clean(&fake, &when);
            if !again {
                break;
            }
        }
    }
}

#[test]
fn a_recovery_may_be_refused_and_tried_again() {
    for stop in [1, 2, 3] {
        for m in (1..).step_by(3) {
            let (fake, before) = old("6.18");
            // Before the commit point, at it, and just after it.
            let stopping = Faulty::stopping(arc(fake.clone()), stop, || resume_unwind(Box::new("killed")));
            let at = if stop == 3 { [Op::Rename, Op::Rename] } else { [Op::WriteFile, Op::MapDelete] };
            let kernel = arc(stopping.only(move |op| at.contains(&op)));
            assert!(catch_unwind(AssertUnwindSafe(|| upgrade::load(&kernel, 2))).is_err());
            let faulty = Faulty::new(arc(fake.clone()), m, Errno::NOMEM);
            let _ = recover(&faulty, Path::new(STATE), false, &[]);
            recover(&fake, Path::new(STATE), false, &[]).unwrap();
            let when = format!("stop {stop}, call {m} refused");
            is_whole(&before, &seen(&fake), &when);
            state_is_clean(&fake, &when);
            assert!(fake.live().pins.iter().all(|pin| !pin.to_str().unwrap().contains(':')), "{when}");
            if !faulty.fired() {
                break;
            }
        }
    }
}

#[test]
fn the_next_load_recovers() {
    for n in [70, 90, 110, 130] {
        let (fake, _) = old("6.18");
        killed_at(&fake, n, |kernel| drop(upgrade::load(kernel, 2)));
        upgrade::load(&arc(fake.clone()), 3).unwrap();
        state_is_clean(&fake, "after the next load");
        assert!(seen(&fake).keys().all(|name| !name.contains(':')), "{:?}", seen(&fake));
    }
}

#[test]
fn what_is_kept_comes_back() {
    for release in RELEASES {
        let (fake, before) = old(release);
        let kernel = arc(fake.clone());
        let options = Options { keep_previous: true, ..upgrade::options(2) };
        load_spec(&kernel, &upgrade::spec(2), &options).unwrap();
        let without_kept =
            |seen: Seen| -> Seen { seen.into_iter().filter(|(name, _)| !name.contains(':')).collect() };
        let after = without_kept(seen(&fake));
        assert_eq!(is_whole(&before, &after, "kept"), 2);
        let all = status(&*kernel, Path::new(STATE), &[upgrade::ROOT.into()]).unwrap();
        let [object] = all.objects.as_slice() else { panic!("{all:?}") };
        assert!(object.pins.iter().all(|pin| pin.same), "{object:?}");
        assert!(object.pins.iter().any(|pin| pin.can_roll_back) && all.leftovers.is_empty(), "{all:?}");

        let back = rollback(&*kernel, Path::new(STATE), "upgrade").unwrap();
        assert!(back.pins.contains(&"/sys/fs/bpf/changed".into()) && back.slots.len() == 4, "{back:?}");
        assert_eq!(
            back.kept,
            ["/sys/fs/bpf/new/b", "/sys/fs/bpf/outer", "/sys/fs/bpf/calls", "/sys/fs/bpf/kept"]
                .map(PathBuf::from)
        );
        let mut rolled = without_kept(seen(&fake));
        assert!(rolled.remove("new/b").is_some(), "a new name stays");
        assert_eq!(rolled, before);
        // And forward again.
        rollback(&*kernel, Path::new(STATE), "upgrade.json").unwrap();
        assert_eq!(without_kept(seen(&fake)), after);
        // A load that keeps nothing removes what was kept.
        upgrade::load(&kernel, 3).unwrap();
        assert!(seen(&fake).keys().all(|name| !name.contains(':')), "{:?}", seen(&fake));
        assert_eq!(rollback(&*kernel, Path::new(STATE), "upgrade").unwrap_err().code(), "E0417");
        assert_eq!(rollback(&*kernel, Path::new(STATE), "other").unwrap_err().code(), "E0417");
    }
}

#[test]
fn a_rollback_is_refused_or_killed_as_a_whole() {
    for kill in [false, true] {
        for n in (1..).step_by(3) {
            let (fake, _) = old("6.18");
            let options = Options { keep_previous: true, ..upgrade::options(2) };
            load_spec(&arc(fake.clone()), &upgrade::spec(2), &options).unwrap();
            let new = seen(&fake);
            let back = |kernel: &dyn Kernel| rollback(kernel, Path::new(STATE), "upgrade");
            let fired = if kill {
                killed_at(&fake, n, |kernel| drop(back(&**kernel)))
            } else {
                let faulty = Faulty::new(arc(fake.clone()), n, Errno::NOMEM);
                let _ = back(&faulty);
                faulty.fired()
            };
            if !fired {
                assert!(n > 100, "{n}");
                break;
            }
            recover(&fake, Path::new(STATE), false, &[]).unwrap();
            state_is_clean(&fake, "rollback");
            let now = seen(&fake);
            // All names have swapped with what is kept of them, or none.
            let swapped = |a: &str, b: &str| now.get(a) == new.get(b) && now.get(b) == new.get(a);
            let pins = ["changed", "up/entry", "up/tail_a", "up/inner_a"];
            let whole = now == new || pins.iter().all(|pin| swapped(pin, &format!("{pin}:prev")));
            assert!(whole, "kill {kill}, call {n}: {new:?}\n{now:?}");
            assert_eq!(now["calls[0]"], now["up/tail_a"], "kill {kill}, call {n}");
        }
    }
}

#[test]
fn two_loaders_come_to_one_result() {
    let fake = FakeKernel::new();
    std::thread::scope(|scope| {
        for generation in [1, 2] {
            let kernel = arc(fake.clone());
            scope.spawn(move || {
                for _ in 0..20 {
                    if let Err(error) = upgrade::load(&kernel, generation) {
                        panic!("{error} {:?}", error.report());
                    }
                }
            });
        }
    });
    let now = seen(&fake);
    assert_eq!(now["calls[0]"], now["up/tail_a"]);
    assert!(now.keys().all(|name| !name.contains(':')), "{now:?}");
    state_is_clean(&fake, "two loaders");
}

#[test]
fn one_object_under_two_roots_has_two_manifests() {
    let kernel = arc(FakeKernel::new());
    for root in ["/sys/fs/bpf/a", "/sys/fs/bpf/b", "/sys/fs/bpf/a"] {
        let mut options = upgrade::options(1);
        options.pins.root = Some(root.into());
        options.pins.everything_under = Some(root.into());
        load_spec(&kernel, &upgrade::spec(1), &options).unwrap();
    }
    let all = status(&*kernel, Path::new(STATE), &[]).unwrap();
    let files: Vec<_> = all.objects.iter().map(|object| object.file.file_name().unwrap()).collect();
    assert_eq!(files, ["upgrade.json", "upgrade~2.json"]);
    let error = rollback(&*kernel, Path::new(STATE), "upgrade").unwrap_err();
    assert!(error.report().hints[0].contains("upgrade~2.json"), "{error:?}");
}

#[test]
fn leftovers_without_a_journal_are_shown_and_removed_by_force() {
    let (fake, before) = old("6.18");
    let stopping = Faulty::stopping(arc(fake.clone()), 4, || resume_unwind(Box::new("killed")));
    let kernel = arc(stopping.only(|op| op == Op::Pin));
    assert!(catch_unwind(AssertUnwindSafe(|| upgrade::load(&kernel, 2))).is_err());
    let left: Vec<PathBuf> =
        fake.live().pins.into_iter().filter(|path| path.to_str().unwrap().contains(':')).collect();
    assert!(!left.is_empty());
    for file in fake.live().files.iter().filter(|path| path.to_str().unwrap().contains("txn-")) {
        fake.unlink(file).unwrap();
    }
    let roots = [PathBuf::from(upgrade::ROOT)];
    assert_eq!(status(&fake, Path::new(STATE), &roots).unwrap().leftovers, left);
    assert_eq!(upgrade::load(&arc(fake.clone()), 2).unwrap_err().code(), "E0414");
    assert_eq!(recover(&fake, Path::new(STATE), false, &roots).unwrap().removed, [""; 0].map(PathBuf::from));
    assert_eq!(recover(&fake, Path::new(STATE), true, &roots).unwrap().removed, left);
    assert_eq!(is_whole(&before, &seen(&fake), "forced"), 1);
    upgrade::load(&arc(fake), 2).unwrap();
}

#[test]
fn an_object_without_pins_is_forgotten() {
    let (fake, _) = old("6.18");
    let pins = || upgrade::pins(&fake, Path::new(upgrade::ROOT));
    let recover = || recover(&fake, Path::new(STATE), false, &[upgrade::ROOT.into()]).unwrap();
    let gone = || status(&fake, Path::new(STATE), &[]).unwrap().objects[0].gone;
    // One pin is enough to be remembered, and what Cilium has put aside is Cilium's.
    let aside = PathBuf::from("/sys/fs/bpf/calls:pending");
    for path in pins().iter().filter(|path| !path.ends_with("calls")) {
        fake.unlink(path).unwrap();
    }
    fake.rename(Path::new("/sys/fs/bpf/calls"), &aside, onebpf::sys::RenameMode::NoReplace).unwrap();
    fake.link(&aside, Path::new("/sys/fs/bpf/calls")).unwrap();
    assert!(!gone());
    assert_eq!(recover().forgotten, [""; 0]);
    fake.unlink(Path::new("/sys/fs/bpf/calls")).unwrap();
    assert!(gone());
    let recovered = recover();
    assert_eq!((recovered.forgotten, recovered.pending), (vec!["upgrade".to_owned()], vec![aside.clone()]));
    let now = status(&fake, Path::new(STATE), &[upgrade::ROOT.into()]).unwrap();
    assert!(now.objects.is_empty() && now.leftovers.is_empty() && now.pending == [aside.clone()], "{now:?}");
    let forced = onebpf::recover(&fake, Path::new(STATE), true, &[upgrade::ROOT.into()]).unwrap();
    assert_eq!((forced.removed, pins()), (Vec::new(), vec![aside]));
    // From where no BPF filesystem is seen nothing is known.
    let elsewhere = FakeKernel::new().without_bpffs(upgrade::ROOT);
    let (fake, _) = old("6.18");
    elsewhere.mkdir(Path::new(STATE)).unwrap();
    elsewhere.mkdir(Path::new("/run/onebpf/objects")).unwrap();
    let manifest = Path::new("/run/onebpf/objects/upgrade.json");
    elsewhere.write_file(manifest, &fake.read_file(manifest).unwrap()).unwrap();
    assert!(!status(&elsewhere, Path::new(STATE), &[]).unwrap().objects[0].gone);
}

#[test]
fn damaged_journals_and_manifests_are_not_believed() {
    let file = |text: &str| {
        let (fake, _) = old("6.18");
        fake.write_file(Path::new("/run/onebpf/txn-1-1.json"), text.as_bytes()).unwrap();
        let error = recover(&fake, Path::new(STATE), false, &[]).unwrap_err();
        assert_eq!(error.code(), "E0415", "{error}");
        // A load does not go on over it.
        assert_eq!(upgrade::load(&arc(fake.clone()), 2).unwrap_err().code(), "E0415");
        assert_eq!(status(&fake, Path::new(STATE), &[]).unwrap().damaged.len(), 1);
        recover(&fake, Path::new(STATE), true, &[]).unwrap();
        upgrade::load(&arc(fake), 2).unwrap();
    };
    file("");
    file("{}");
    file(&"[".repeat(100_000));
    let record = |pin: &str, name: &str, format: u32| {
        serde_json::json!({
            "phase": "prepared", "keep_previous": false, "rollback": false, "dirs": [], "stale": [],
            "manifest_name": name,
            "manifest": {
                "format": format, "object": "x", "hash": null, "time": 0, "previous_hash": null, "slots": [],
                "pins": [{"name": "x", "path": pin, "kind": "map", "id": 1, "reused": false, "previous": null}],
            },
        })
        .to_string()
    };
    file(&record("/sys/fs/bpf/../../../etc/passwd", "x.json", 1));
    file(&record("relative", "x.json", 1));
    file(&record("/sys/fs/bpf/x", "../x.json", 1));
    file(&record("/sys/fs/bpf/x", "x.json", 2));
    // A path that is not on a BPF filesystem is left alone.
    let fake = FakeKernel::new().with_file("/etc/motd:next", "hello");
    fake.mkdir(Path::new(STATE)).unwrap();
    let journal = record("/etc/motd", "x.json", 1);
    fake.write_file(Path::new("/run/onebpf/txn-1-1.json"), journal.as_bytes()).unwrap();
    assert_eq!(recover(&fake, Path::new(STATE), false, &[]).unwrap().undone, ["x"]);
    assert_eq!(fake.read_file(Path::new("/etc/motd:next")).unwrap(), b"hello");
    // A damaged manifest is shown, and makes way for the next one.
    let (fake, _) = old("6.18");
    fake.write_file(Path::new("/run/onebpf/objects/upgrade.json"), b"nonsense").unwrap();
    assert_eq!(status(&fake, Path::new(STATE), &[]).unwrap().damaged.len(), 1);
    upgrade::load(&arc(fake.clone()), 2).unwrap();
    assert_eq!(status(&fake, Path::new(STATE), &[]).unwrap().objects.len(), 1);
}

#[test]
fn what_cannot_be_cleaned_up_is_a_warning() {
    let (fake, before) = old("6.18");
    let counting = Faulty::counting(arc(fake.clone())).only(|op| op == Op::Unlink);
    let faulty = Faulty::new(arc(counting), 1, Errno::ACCES).only(|op| op == Op::Unlink);
    let loaded = upgrade::load(&arc(faulty), 2).unwrap();
    let codes: Vec<&str> = loaded.warnings.iter().map(|warning| warning.code.as_str()).collect();
    assert_eq!(codes, ["W0305"], "{:?}", loaded.warnings);
    drop(loaded);
    assert_eq!(recover(&fake, Path::new(STATE), false, &[]).unwrap().finished, ["upgrade"]);
    assert_eq!(is_whole(&before, &seen(&fake), "cleaned up"), 2);
}

#[test]
fn nothing_is_written_where_nothing_is_shared() {
    let fake = FakeKernel::new();
    let counting = Arc::new(Faulty::counting(arc(fake.clone())));
    let kernel: Arc<dyn Kernel> = counting.clone();
    let _loaded = load_spec(&kernel, &common::spec("data_bss_only"), &common::options()).unwrap();
    assert_eq!(counting.ops(), [Op::HostRead, Op::BtfLoad, Op::MapCreate, Op::ProgLoad]);
    let live = fake.live();
    assert!(live.dirs.is_empty() && live.files.is_empty(), "{live:?}");
}
