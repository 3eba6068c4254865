//! Old releases refuse what they do not know.

mod common;

use common::{ARRAY, HASH, INT, RINGBUF, attr, btf, errno, load, map, returns_0, uses};
use onebpf_fake::FakeKernel;
use onebpf_sys::{
    BtfLoad, Errno, Feature, Kernel, Log, MapCreate, ProgLoad, ProgRun, ProgRunResult, Release, Support,
    probe, probe_all,
};
use std::os::fd::{AsFd, AsRawFd};

#[test]
fn every_probe_answers_by_the_table() {
    let releases =
        [(4, 14), (4, 15), (4, 19), (5, 0), (5, 4), (5, 10), (5, 15), (6, 1), (6, 6), (6, 18), (7, 0)];
    for release in releases.map(|(major, minor)| Release::new(major, minor)) {
        let found = probe_all(&FakeKernel::of(release));
        for feature in Feature::all() {
            let expected = if feature.since() <= release { Support::Yes } else { Support::No };
            assert_eq!(found.get(feature), expected, "{feature} on {release}");
        }
    }
}

#[test]
fn each_feature_can_be_taken_and_given() {
    for feature in Feature::all() {
        let newest = FakeKernel::linux("7.0").without(feature);
        assert_eq!(probe(&newest, feature), Support::No, "{feature}");
    }
    let old = FakeKernel::linux("5.4").with(Feature::BtfFloat);
    assert_eq!(probe(&old, Feature::BtfFloat), Support::Yes);
    assert_eq!(probe(&FakeKernel::new().unprivileged(), Feature::Btf), Support::Unknown);
}

#[test]
fn names() {
    let create = |release: &str, name| {
        errno(FakeKernel::linux(release).map_create(&MapCreate { name, ..attr(ARRAY, 4, 4, 1) })).map(drop)
    };
    assert_eq!(create("4.14", "x"), Err(Errno::TOOBIG));
    assert_eq!(create("4.19", ".rodata"), Err(Errno::INVAL));
    assert_eq!(create("5.2", ".rodata"), Ok(()));
    assert_eq!(create("6.1", "a-b"), Err(Errno::INVAL));
}

#[test]
fn types_and_flags() {
    let create = |release: &str, attr| errno(FakeKernel::linux(release).map_create(&attr)).map(drop);
    assert_eq!(create("5.4", attr(RINGBUF, 0, 0, 4096)), Err(Errno::INVAL));
    assert_eq!(create("5.8", attr(RINGBUF, 0, 0, 4096)), Ok(()));
    assert_eq!(create("5.8", attr(RINGBUF, 0, 0, 5000)), Err(Errno::INVAL));
    let read_only_for_programs = MapCreate { flags: 1 << 7, ..attr(ARRAY, 4, 4, 1) };
    assert_eq!(create("5.1", read_only_for_programs.clone()), Err(Errno::INVAL));
    assert_eq!(create("5.2", read_only_for_programs), Ok(()));
    let xdp = |release: &str| {
        let attr = ProgLoad { prog_type: 6, insns: &returns_0(), license: "", ..ProgLoad::default() };
        errno(FakeKernel::linux(release).prog_load(attr)).map(drop)
    };
    assert_eq!((xdp("4.7"), xdp("4.8")), (Err(Errno::INVAL), Ok(())));
}

#[test]
fn memlock_bites_before_5_11() {
    let big = attr(HASH, 4, 64, 4096);
    let old = FakeKernel::linux("5.10");
    assert_eq!(errno(old.map_create(&big)).err(), Some(Errno::PERM));
    old.lift_memlock().expect("lift");
    old.map_create(&big).expect("now it fits");
    FakeKernel::linux("5.11").map_create(&big).expect("charged to the cgroup");
}

#[test]
fn rejections_have_a_log() {
    let fake = FakeKernel::linux("6.1");
    fake.reject("bad", Errno::ACCES, "0: R0 !read_ok\n");
    let attempt = |name, size: usize| {
        let mut buffer = vec![0xff; size];
        let log = Some(Log { level: 1, buffer: &mut buffer });
        let attr =
            ProgLoad { prog_type: 1, insns: &returns_0(), license: "GPL", name, log, ..ProgLoad::default() };
        let outcome = errno(fake.prog_load(attr)).map(drop);
        let end = buffer.iter().position(|byte| *byte == 0).expect("NUL");
        (outcome, String::from_utf8_lossy(&buffer[..end]).into_owned())
    };
    assert_eq!(attempt("bad", 64), (Err(Errno::ACCES), "0: R0 !read_ok\n".to_owned()));
    assert_eq!(attempt("bad", 6), (Err(Errno::NOSPC), "0: R0".to_owned()));
    let (outcome, text) = attempt("good", 64);
    assert!(outcome.is_ok() && text.starts_with("processed 2 insns"), "{text}");
}

#[test]
fn programs_are_kept_and_runs_answered() {
    let fake = FakeKernel::new();
    let data = map(&fake, "data");
    let prog = load(&fake, "prog", &uses(data.as_raw_fd())).expect("load");
    let kept = fake.programs();
    assert_eq!((kept.len(), kept[0].insns.len(), kept[0].license.as_str()), (1, 32, "GPL"));
    assert_eq!(errno(fake.prog_run(prog.as_fd(), ProgRun::default())).err(), Some(Errno::NOTSUPP));
    let answer = ProgRunResult { retval: 7, ..ProgRunResult::default() };
    fake.answer_runs("prog", answer.clone());
    assert_eq!(fake.prog_run(prog.as_fd(), ProgRun::default()), Ok(answer));
}

#[test]
fn hostile_btf_is_refused_not_panicked_at() {
    let fake = FakeKernel::new();
    let good = btf(&INT, b"\0int\0");
    for cut in 0..good.len() {
        assert!(fake.btf_load(BtfLoad { data: &good[..cut], ..BtfLoad::default() }).is_err(), "{cut} bytes");
    }
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            let _ = fake.btf_load(BtfLoad { data: &bad, ..BtfLoad::default() });
        }
    }
    // An array of itself, and a typedef to itself.
    let circles = btf(&[0, 3 << 24, 0, 1, 1, 4, 1, 8 << 24, 2], b"\0t\0");
    let _ = fake.btf_load(BtfLoad { data: &circles, ..BtfLoad::default() });
    assert!(fake.live().is_empty());
}
