//! The table of sections against libbpf's: every name, near misses, and whatever follows a name.

use onebpf_object::{SECTIONS, SectionRule};
use oracle::libbpf::{self, Keep};
use std::collections::BTreeSet;

/// Rows of libbpf 1.8 that the linked libbpf (1.7) does not have.
const NEWER: [&str; 11] = [
    "tracepoint.s+",
    "tp.s+",
    "raw_tracepoint.s+",
    "raw_tp.s+",
    "tp_btf.s+",
    "fentry.multi+",
    "fexit.multi+",
    "fsession.multi+",
    "fentry.multi.s+",
    "fexit.multi.s+",
    "fsession.multi.s+",
];

/// libbpf lists its whole table, patterns and order, when it does not know a name.
#[test]
fn every_row_of_libbpf_is_there_and_in_its_order() {
    libbpf::keep_log(Keep::Everything);
    assert_eq!(libbpf::types_by_section("no such section"), None);
    let log = libbpf::take_log();
    let listed = log.split_once("names are:").expect("libbpf lists its sections").1;
    let listed: Vec<&str> = listed.lines().next().unwrap_or_default().split_whitespace().collect();
    let ours = SECTIONS.iter().map(|rule| &*rule.pattern).filter(|pattern| !NEWER.contains(pattern));
    assert_eq!(listed, ours.collect::<Vec<_>>());
    assert!(NEWER.iter().all(|newer| SECTIONS.iter().any(|rule| rule.pattern == *newer)));
}

#[test]
fn names_and_near_misses_mean_what_they_mean_to_libbpf() {
    let mut names: BTreeSet<String> =
        ["", "/", "+", "?tc", " tc", "tc ", "maps", ".text", "xdpx", "tc/x", "kprobe+", "cls", "prog", "1/0"]
            .map(str::to_owned)
            .into();
    for rule in SECTIONS {
        let stem = rule.pattern.trim_end_matches('+');
        let cut = stem.get(..stem.len() - 1).unwrap_or_default();
        names.extend([stem, cut].map(str::to_owned));
        names.extend(
            [
                "/", "/x", "//", "/a/b", "+", "x", ".", ".s", ".s/x", ".multi", ".multi/x", "?", "/ingress",
                " ",
            ]
            .map(|end| format!("{stem}{end}")),
        );
        names.insert(stem.to_uppercase());
    }
    for name in &names {
        agrees(name);
    }
    assert!(names.len() > 1000, "{}", names.len());
}

#[test]
fn random_endings_mean_what_they_mean_to_libbpf() {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz/._+*?:0123456789 -";
    // xorshift64: the same names on each run.
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for _ in 0..20_000 {
        let stem = SECTIONS[next(SECTIONS.len())].pattern.trim_end_matches('+');
        let kept = if next(4) == 0 { next(stem.len() + 1) } else { stem.len() };
        let mut name = stem[..kept].to_owned();
        for _ in 0..next(8) {
            name.push(char::from(LETTERS[next(LETTERS.len())]));
        }
        agrees(&name);
    }
}

fn agrees(name: &str) {
    let found = SectionRule::find(name);
    let ours = found.map(|(rule, _)| (rule.kind.0, rule.attach.0));
    let theirs = libbpf::types_by_section(name);
    if found.is_some_and(|(rule, _)| NEWER.contains(&&*rule.pattern)) {
        assert_eq!(theirs, None, "`{name}`: this libbpf knows the row; take it off the list");
    } else {
        assert_eq!(ours, theirs, "`{name}`");
    }
}
