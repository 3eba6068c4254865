//! Command lines as people have them, and what they mean.

use super::*;
use crate::iproute::words::Words;

fn read(line: &str) -> Outcome<Option<Request>> {
    let line: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    parse(Words::new(&line), None)
}

/// The same with the fields that matter, on one line.
fn ours(line: &str) -> String {
    match read(line) {
        Ok(Some(request)) => format!("{request:?}"),
        Ok(None) => "the system's".to_owned(),
        Err(crate::exit::Failure::Usage(text)) => format!("usage: {text}"),
        Err(other) => format!("{other:?}"),
    }
}

#[test]
fn filters_mean_what_they_say() {
    // (command line, what its request holds)
    let table: &[(&str, &[&str])] = &[
        (
            "filter add dev em1 ingress bpf da obj bpf.o",
            &[
                "verb: Add",
                "\"em1\"",
                "parent: 4294967282",
                "protocol: 3",
                "direct_action: true",
                "\"bpf.o\"",
            ],
        ),
        (
            "filter add dev em1 egress bpf object-file bpf.o sec my-classifier verb direct-action",
            &[
                "parent: 4294967283",
                "section: Some(\"my-classifier\")",
                "verbose: true",
                "direct_action: true",
            ],
        ),
        (
            "filter replace dev veth0 parent ffff: protocol ip prio 1 handle 0x1 bpf da obj x.o section cls",
            &["verb: Replace", "parent: 4294901760", "protocol: 2048", "priority: 1", "handle: 1"],
        ),
        ("f c dev x parent 1:10 pref 10 proto ipv6 h 1 bpf obj x.o", &["the system's"]),
        (
            "f ch dev x parent 1:10 pref 10 proto ipv6 handle 1 bpf obj x.o",
            &["verb: Change", "parent: 65552", "protocol: 34525", "priority: 10"],
        ),
        ("filter del dev x ingress pref 1 handle 1 bpf", &["verb: Delete", "protocol: 0", "body: None"]),
        ("filter delete dev x egress bpf", &["verb: Delete"]),
        (
            "filter add dev x ingress bpf run obj x.o exp /tmp/s classid 1:1 skip_hw",
            &["export: Some(\"/tmp/s\")", "classid: Some(65537)", "skip_hw: true"],
        ),
        (
            "filter add dev x ingress bpf obj x.o flowid 1: action bpf obj y.o sec act ok",
            &["classid: Some(65536)", "section: Some(\"act\")", "control: 0"],
        ),
        (
            "filter add dev x ingress bpf obj x.o action bpf index 5 action drop action mirred egress redirect dev y",
            &[
                "Bpf(None), control: 3, index: 5",
                "Control, control: 2",
                "device: \"y\", ingress: false, copy: false",
            ],
        ),
        ("filter add dev x ingress bpf da object-pinned /sys/fs/bpf/p", &["Pinned(\"/sys/fs/bpf/p\")"]),
        ("filter add dev x ingress bpf da pinned m:globals/p", &["Pinned(\"m:globals/p\")"]),
        ("filter add dev x ingress bpf fd m:p da", &["Pinned(\"m:p\")", "direct_action: true"]),
        (
            "filter add block 3 chain 7 bpf da obj x.o program main",
            &["block: Some(3)", "chain: Some(7)", "program: Some(\"main\")"],
        ),
        ("filter add dev x root bpf obj x.o", &["parent: 4294967295"]),
        (
            "actions add action bpf obj x.o sec action",
            &["replace: false", "section: Some(\"action\")", "control: 3"],
        ),
        ("action replace action bpf pinned /p pass index 9", &["replace: true", "control: 0, index: 9"]),
    ];
    for (line, wanted) in table {
        let found = ours(line);
        for part in *wanted {
            assert!(found.contains(part), "{line}: no `{part}` in {found}");
        }
    }
}

#[test]
fn what_is_not_about_bpf_is_the_systems() {
    for line in [
        "qdisc add dev x clsact",
        "filter show dev x ingress",
        "filter add dev x ingress u32 match u32 0 0 action bpf obj x.o",
        "filter add dev x ingress bpf bytecode 1,6_0_0_0",
        "filter add dev x ingress bpf run bytecode-file f",
        "filter add dev x ingress bpf help",
        "filter del dev x ingress",
        "filter add dev bpf ingress matchall",
        "actions show action bpf",
        "actions add action gact drop",
        "exec foo",
        "monitor",
        "",
    ] {
        assert_eq!(ours(line), "the system's", "{line}");
    }
}

#[test]
fn exec_bpf() {
    let table = [
        ("exec bpf graft m:globals/jmp key 1 obj x.o sec a verb", "map: \"m:globals/jmp\", key: Some(1)"),
        ("exec bpf graft /p/jmp obj x.o type xdp sec 1/2", "word: \"xdp\""),
        ("e bpf gr m:j k 0x2 fd /p", "key: Some(2), source: Pinned(\"/p\")"),
        ("exec bpf import /tmp/s", "socket: \"/tmp/s\", command: [\"/bin/sh\"]"),
        ("exec bpf import /tmp/s run agent -x y", "command: [\"agent\", \"-x\", \"y\"]"),
        ("exec bpf dbg", "Debug"),
        ("exec bpf debug", "Debug"),
    ];
    for (line, part) in table {
        let found = ours(line);
        assert!(found.contains(part), "{line}: no `{part}` in {found}");
    }
}

#[test]
fn nonsense_is_refused() {
    for line in [
        "filter add ingress bpf da obj x.o",
        "filter add dev x dev y ingress bpf obj x.o",
        "filter add dev x ingress egress bpf obj x.o",
        "filter add dev x ingress bpf obj",
        "filter add dev x ingress bpf obj x.o sec",
        "filter add dev x ingress bpf obj x.o sec a sec b",
        "filter add dev x ingress bpf obj x.o nonsense",
        "filter add dev x ingress pref 65536 bpf obj x.o",
        "filter add dev x ingress bpf obj x.o action nat",
        "filter add dev x ingress bpf obj x.o action",
        "exec bpf graft m:j",
        "exec bpf graft m:j obj x.o type nothing",
        "exec bpf import",
        "exec bpf import s run",
        "exec bpf import s walk",
    ] {
        assert!(ours(line).starts_with("usage: "), "{line}: {}", ours(line));
    }
}

#[test]
fn the_environment_says_where_maps_go_once() {
    let line: Vec<String> = "filter add dev x ingress bpf obj x.o".split(' ').map(str::to_owned).collect();
    let words = || Words::new(&line);
    let found = parse(words(), Some(Path::new("/s"))).unwrap().unwrap();
    assert!(format!("{found:?}").contains("export: Some(\"/s\")"));
    let twice = [line.clone(), vec!["export".to_owned(), "/t".to_owned()]].concat();
    assert!(parse(Words::new(&twice), Some(Path::new("/s"))).is_err());
}

/// Whichever call fails, nothing is attached: the filter is asked for last, and only if all went well.
#[test]
fn a_failed_call_attaches_nothing() {
    use onebpf::sys::Errno;
    use onebpf_fake::{FakeKernel, Faulty};

    const RTM_NEWTFILTER: [u8; 2] = [44, 0];
    let object = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/obj/tc_jumps.o");
    let line = ["filter", "add", "dev", "x", "ingress", "bpf", "da", "obj", object].map(str::to_owned);
    let request = parse(Words::new(&line), None).unwrap().unwrap();
    let run = |kernel: Arc<Faulty>| {
        let kernel: Arc<dyn Kernel> = kernel;
        perform(&kernel, &request, &mut Out::new(crate::out::Global::default()))
    };
    let filters =
        |fake: &FakeKernel| fake.requests().iter().filter(|sent| sent[4..6] == RTM_NEWTFILTER).count();

    let fake = FakeKernel::new();
    let counting = Arc::new(Faulty::counting(Arc::new(fake.clone())));
    run(counting.clone()).unwrap();
    assert_eq!(filters(&fake), 1);
    let calls = counting.calls();
    assert!(calls > 10, "{calls}");
    let mut failed = 0;
    for n in 1..=calls {
        let fake = FakeKernel::new();
        let faulty = Arc::new(Faulty::new(Arc::new(fake.clone()), n, Errno::NOMEM).sparing_clean_up());
        if run(faulty.clone()).is_err() {
            failed += 1;
            assert_eq!(filters(&fake), 0, "call {n} of {calls}");
            // What is pinned stays when the filter itself is refused, as with iproute2: the load was done.
            assert!(!fake.live().programs.contains(&"classify".to_owned()), "call {n} of {calls}");
        } else {
            assert_eq!(filters(&fake), 1, "call {n} of {calls}");
        }
    }
    assert!(failed > calls / 2, "{failed} of {calls}");
}

/// Lines that are cut off anywhere are refused or understood, and nothing panics.
#[test]
fn lines_may_end_anywhere() {
    let lines = [
        "filter replace dev x parent ffff: protocol ip prio 1 chain 2 handle 0x1 bpf da obj x.o sec c program p export s verb \
         classid 1:1 skip_hw action bpf obj y.o sec act ok index 5 action mirred egress redirect dev y action gact drop",
        "actions add action bpf run obj x.o sec a pipe index 7 action mirred ingress mirror dev z",
        "exec bpf graft m:j key 1 obj x.o type act sec 1/2 verb",
        "exec bpf import s run a b",
    ];
    for line in lines {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        assert!(parse(Words::new(&words), None).unwrap().is_some(), "{line}");
        for at in 0..words.len() {
            let _ = parse(Words::new(&words[..at]), None);
            for odd in ["", ":", "-1", "0x", "action", "dev", "m:", "99999999999"] {
                let mut words = words.clone();
                words[at] = odd.to_owned();
                let _ = parse(Words::new(&words), None);
            }
        }
    }
}
