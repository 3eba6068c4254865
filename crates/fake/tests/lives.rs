//! What keeps objects alive, and what lets go of them.

mod common;

use common::{ARRAY, ARRAY_OF_MAPS, INT, PROG_ARRAY, attr, btf, errno, load, map, returns_0, uses};
use onebpf_fake::{FakeKernel, Faulty, Live};
use onebpf_sys::{BtfLoad, Errno, Kernel, MapBtf, MapCreate, ObjectKind, Op, probe_all};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[test]
fn fds_and_their_copies() {
    let fake = FakeKernel::new();
    let one = map(&fake, "one");
    let copy = fake.duplicate(one.as_fd()).expect("dup");
    let id = fake.map_info(copy.as_fd()).expect("info").id;
    drop(one);
    assert_eq!(fake.live().maps, ["one"]);
    assert_eq!(fake.map_info(copy.as_fd()).expect("info").id, id);
    let by_id = fake.open_id(ObjectKind::Map, id).expect("open_id");
    drop(copy);
    assert_eq!(fake.fd_kind(by_id.as_fd()), Ok(Some(ObjectKind::Map)));
    drop(by_id);
    assert!(fake.live().is_empty());
    assert_eq!(errno(fake.open_id(ObjectKind::Map, id)).err(), Some(Errno::NOENT));
    assert_eq!(fake.next_id(ObjectKind::Map, 0), Ok(None));
}

#[test]
fn pins() {
    let fake = FakeKernel::new();
    let (one, pin) = (map(&fake, "one"), Path::new("/sys/fs/bpf/dir/one"));
    fake.mkdir(Path::new("/sys/fs/bpf/dir")).expect("mkdir");
    fake.pin(one.as_fd(), pin).expect("pin");
    drop(one);
    let expected = Live {
        maps: vec!["one".into()],
        pins: vec![pin.into()],
        dirs: vec![PathBuf::from("/sys/fs/bpf/dir")],
        ..Live::default()
    };
    assert_eq!(fake.live(), expected);
    let opened = fake.open_pin(pin).expect("open_pin");
    fake.unlink(pin).expect("unlink");
    assert_eq!(fake.live().maps, ["one"]);
    drop(opened);
    assert_eq!(fake.live().maps.len(), 0);
}

#[test]
fn programs_hold_their_maps_and_btf() {
    let fake = FakeKernel::new();
    let blob = btf(&INT, b"\0int\0");
    let types = fake.btf_load(BtfLoad { data: &blob, ..BtfLoad::default() }).expect("btf");
    let typed = Some(MapBtf { fd: types.as_fd(), key_type: 1, value_type: 1 });
    let data = fake.map_create(&MapCreate { btf: typed, name: "data", ..attr(ARRAY, 4, 4, 1) }).expect("map");
    let prog = load(&fake, "prog", &uses(data.as_raw_fd())).expect("prog");
    let used = fake.map_info(data.as_fd()).expect("info");
    assert_eq!(fake.prog_info(prog.as_fd()).expect("info").map_ids, [used.id]);
    drop((types, data));
    let live = fake.live();
    assert_eq!((live.maps, live.programs, live.btfs), (vec!["data".to_owned()], vec!["prog".to_owned()], 1));
    drop(prog);
    assert!(fake.live().is_empty());
}

#[test]
fn outer_maps_hold_inner_maps_but_not_templates() {
    let fake = FakeKernel::new();
    let (template, inner) = (map(&fake, "template"), map(&fake, "inner"));
    let outer = MapCreate { inner: Some(template.as_fd()), name: "outer", ..attr(ARRAY_OF_MAPS, 4, 4, 2) };
    let outer = fake.map_create(&outer).expect("outer");
    fake.map_update_object(outer.as_fd(), &[0; 4], inner.as_fd(), 0).expect("slot");
    drop((template, inner));
    assert_eq!(fake.live().maps, ["inner", "outer"]);
    fake.map_delete(outer.as_fd(), &[0; 4]).expect("delete");
    assert_eq!(fake.live().maps, ["outer"]);
}

/// A program that jumps through an array which holds it: the array lets go when user space does.
#[test]
fn program_arrays_make_no_immortal_circles() {
    let fake = FakeKernel::new();
    let tails = fake.map_create(&attr(PROG_ARRAY, 4, 4, 2)).expect("tails");
    let prog = load(&fake, "self", &uses(tails.as_raw_fd())).expect("prog");
    fake.map_update_object(tails.as_fd(), &[0; 4], prog.as_fd(), 0).expect("slot");
    let other = load(&fake, "other", &returns_0()).expect("prog");
    fake.map_update_object(tails.as_fd(), &[1, 0, 0, 0], other.as_fd(), 0).expect("slot");
    drop((prog, other));
    assert_eq!(fake.live().programs, ["self", "other"]);
    drop(tails);
    assert!(fake.live().is_empty(), "{:?}", fake.live());
}

#[test]
fn probes_leave_nothing() {
    let fake = Arc::new(FakeKernel::new());
    let counting = Faulty::counting(fake.clone());
    probe_all(&counting);
    assert!(fake.live().is_empty(), "{:?}", fake.live());
    for n in 1..=counting.calls() {
        probe_all(&Faulty::new(fake.clone(), n, Errno::NOMEM));
        assert!(fake.live().is_empty(), "call {n}: {:?}", fake.live());
    }
}

#[test]
fn faults_strike_once_and_are_logged() {
    let fake = Arc::new(FakeKernel::new());
    let faulty = Faulty::new(fake.clone(), 2, Errno::NOMEM).sparing_clean_up();
    assert_eq!(errno(faulty.unlink(Path::new("/sys/fs/bpf/x"))), Err(Errno::NOENT));
    faulty.mkdir(Path::new("/sys/fs/bpf/a")).expect("first counted call");
    let error = faulty.mkdir(Path::new("/sys/fs/bpf/b")).expect_err("second");
    assert_eq!((error.op, error.errno, faulty.fired()), (Op::Mkdir, Errno::NOMEM, true));
    faulty.mkdir(Path::new("/sys/fs/bpf/b")).expect("third");
    assert_eq!(faulty.ops(), [Op::Unlink, Op::Mkdir, Op::Mkdir, Op::Mkdir]);
    assert_eq!(faulty.calls(), 3);
}

#[test]
fn faults_strike_real_kernels_too() {
    let faulty = Faulty::new(Arc::new(onebpf_sys::Linux), 1, Errno::NOMEM);
    assert_eq!(errno(faulty.host()).err(), Some(Errno::NOMEM));
    assert_eq!(faulty.host(), onebpf_sys::Linux.host());
}

#[test]
fn threads_share_a_kernel() {
    let fake = FakeKernel::new();
    let shared = map(&fake, "shared");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let own = map(&fake, "own");
                    load(&fake, "p", &uses(own.as_raw_fd())).expect("load");
                    fake.map_update(shared.as_fd(), &[0; 4], &[1; 4], 0).expect("update");
                }
            });
        }
    });
    assert_eq!(fake.live().maps, ["shared"]);
}

#[test]
fn a_lock_is_one_mans_and_goes_with_its_last_copy() {
    let dir = std::env::temp_dir().join(format!("onebpf-lock-{}", std::process::id()));
    let fake: Arc<dyn Kernel> = Arc::new(FakeKernel::new());
    // The fake's tree and the host's: the same is seen in both.
    let linux: Arc<dyn Kernel> = Arc::new(onebpf_sys::Linux);
    for (kernel, dir) in [(fake, Path::new("/run/locks")), (linux, dir.as_path())] {
        let path = dir.join("lock");
        assert_eq!(kernel.lock_file(&path).expect_err("no directory").errno, Errno::NOENT);
        assert_eq!(kernel.lock_holder(&path).expect_err("no file").errno, Errno::NOENT);
        kernel.mkdir(dir).expect("mkdir");
        let first = kernel.lock_file(&path).expect("free");
        let copy = kernel.duplicate(first.as_fd()).expect("dup");
        drop(first);
        assert_eq!(kernel.lock_file(&path).expect_err("taken").errno, Errno::AGAIN);
        assert_eq!(kernel.lock_holder(&path).expect("known"), Some(std::process::id()));
        drop(copy);
        assert_eq!(kernel.lock_holder(&path).expect("known"), None);
        drop(kernel.lock_file(&path).expect("free again"));
        kernel.unlink(&path).expect("unlink");
        kernel.rmdir(dir).expect("rmdir");
    }
}
