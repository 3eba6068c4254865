//! The probes against the running kernel.

use std::collections::BTreeSet;

use onebpf_sys::{Feature, Linux, Release, Support, probe_all};

/// A release that should have a feature has it, and no probe is inconclusive. The other way round proves
/// nothing: distributions carry features back.
#[test]
fn answers_agree_with_the_release() {
    let Some(host) = testing::privileged("answers_agree_with_the_release") else { return };
    let release: Release = host.release.parse().expect("a release");
    let found = probe_all(&Linux);
    let kprobes = std::path::Path::new("/sys/bus/event_source/devices/kprobe").exists();
    for feature in Feature::all() {
        eprintln!("{feature:22} since {:5} {:?}", feature.since().to_string(), found.get(feature));
        assert_ne!(found.get(feature), Support::Unknown, "{feature}: no answer from a privileged probe");
        if release >= feature.since() && (kprobes || feature != Feature::SyscallWrapper) {
            assert_eq!(found.get(feature), Support::Yes, "{feature} should be in {}", host.release);
        }
    }
}

/// Debian's kernels as `cargo xtask vm` boots them, and exactly what they lack: a probe that says no where it should not
/// is as wrong as one that says yes. Held against libbpf's own probes where libbpf has them.
const LACK: &[(&str, &[Feature])] = &[
    ("6.12", &[Feature::BtfLayout]),
    ("6.1", &[Feature::BtfLayout, Feature::BtfQmarkDatasec, Feature::ArgCtxTag]),
    (
        "5.10",
        &[
            Feature::BtfQmarkDatasec,
            Feature::BtfFloat,
            Feature::BtfDeclTag,
            Feature::BtfTypeTag,
            Feature::BtfEnum64,
            Feature::BtfLayout,
            Feature::MemcgAccount,
            Feature::Callbacks,
            Feature::ArgCtxTag,
        ],
    ),
];

#[test]
fn known_kernels_have_what_they_have() {
    let Ok(release) = std::env::var("ONEBPF_VM") else {
        return eprintln!("skipped: not in a virtual machine");
    };
    let Some((_, lack)) = LACK.iter().find(|(known, _)| *known == release) else {
        return eprintln!("skipped: {release} has no row");
    };
    let host = testing::privileged("known_kernels_have_what_they_have").expect("root in a virtual machine");
    assert!(host.release.starts_with(&release), "{} is no {release}", host.release);
    let found = probe_all(&Linux);
    let missing: BTreeSet<Feature> = Feature::all().filter(|it| found.get(*it) == Support::No).collect();
    assert_eq!(missing, lack.iter().copied().collect(), "what {} lacks", host.release);
}

#[test]
fn names_are_those_of_json() {
    for feature in Feature::all() {
        let mut set = onebpf_sys::FeatureSet::default();
        set.0.insert(feature, Support::No);
        assert!(!set.may(feature));
        assert_eq!(format!("\"{feature}\""), serde_json::to_string(&feature).expect("json"));
    }
}
