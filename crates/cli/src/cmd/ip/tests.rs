//! Command lines as people have them, and what they mean.

use super::*;

fn ours(line: &str) -> String {
    let line: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    match parse(Words::new(&line), &Options::default()) {
        Ok(Some(request)) => format!("{request:?}"),
        Ok(None) => "the system's".to_owned(),
        Err(crate::exit::Failure::Usage(text)) => format!("usage: {text}"),
        Err(other) => format!("{other:?}"),
    }
}

#[test]
fn lines_mean_what_they_say() {
    let table: &[(&str, &[&str])] = &[
        ("link set dev em1 xdp obj prog.o", &["device: \"em1\", mode: Any", "\"prog.o\"", "others: []"]),
        (
            "link set em1 xdpgeneric obj prog.o sec foo verbose",
            &["mode: Generic", "Some(\"foo\")", "verbose: true"],
        ),
        ("l s dev em1 xdpdrv pinned m:p", &["mode: Driver", "Pinned(\"m:p\")"]),
        ("link set dev em1 xdp off", &["source: None"]),
        ("link set dev em1 xdp none", &["source: None"]),
        (
            "link set dev xdp up xdp fd /p mtu 1400",
            &["device: \"xdp\"", "[\"up\", \"mtu\", \"1400\"]", "Pinned(\"/p\")"],
        ),
        (
            "route add 192.168.253.2/32 encap bpf out obj lwt_len_hist_kern.o section len_hist dev veth0",
            &[
                "verb: Add",
                "192.168.253.2), 32",
                "output: Some(Object",
                "device: Some(\"veth0\")",
                "scope: 253",
            ],
        ),
        (
            "route replace default via 10.0.0.1 dev e encap bpf xmit obj x.o sec a headroom 14 table 100 proto static metric 5",
            &[
                "verb: Replace",
                "to: (None, 0)",
                "via: Some(10.0.0.1)",
                "headroom: Some(14)",
                "table: 100",
                "protocol: 4",
                "metric: Some(5)",
                "scope: 0",
            ],
        ),
        ("r a fd00::/64 encap bpf in pinned /p out pinned /q verb dev e", &["usage: "]),
        (
            "route append local 10.1/16 dev lo encap bpf in obj x.o src 10.1.0.1 mtu lock 1300",
            &["verb: Append", "kind: 2", "table: 255", "scope: 254", "source: Some(10.1.0.1)", "lock: true"],
        ),
        (
            "route chg to unicast fd00::/64 dev e encap bpf in pinned /p",
            &["verb: Change", "ipv6: true", "scope: 0"],
        ),
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
        "addr add 10.0.0.1/24 dev x",
        "link set dev x up",
        "link set dev x master xdp",
        "link add x type veth",
        "link show dev x xdp",
        "route add 10.0.0.0/8 via 10.1.1.1",
        "route del 10.0.0.0/8 encap bpf out obj x.o",
        "rule add from all",
        "",
    ] {
        assert_eq!(ours(line), "the system's", "{line}");
    }
}

#[test]
fn nonsense_is_refused() {
    for line in [
        "link set dev x xdp obj",
        "link set dev x xdp obj a.o xdp obj b.o",
        "route add encap bpf out obj x.o",
        "route add 10/8 encap bpf",
        "route add 10/8 encap bpf out",
        "route add 10/8 10/9 encap bpf out obj x.o",
        "route add 10/8 encap bpf out obj x.o out obj x.o",
        "route add 10/8 via fd00::1 src fd00::2 encap bpf out obj x.o headroom 0",
        "route add 10/8 nhid 4 encap bpf out obj x.o",
    ] {
        assert!(ours(line).starts_with("usage: "), "{line}: {}", ours(line));
    }
}
