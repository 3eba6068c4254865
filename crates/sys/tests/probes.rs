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

/// A kernel that `cargo xtask vm` boots is as its release says: Debian carries no feature back, and builds them all in. So
/// here a probe that says no where it should not is as wrong as one that says yes.
#[test]
fn known_kernels_have_what_they_have() {
    let Ok(release) = std::env::var("ONEBPF_VM") else {
        return eprintln!("skipped: not in a virtual machine");
    };
    let host = testing::privileged("known_kernels_have_what_they_have").expect("root in a virtual machine");
    assert!(host.release.starts_with(&release), "{} is no {release}", host.release);
    let found = probe_all(&Linux);
    let release: Release = release.parse().expect("a release");
    let lacking = Feature::all().filter(|feature| feature.since() > release).collect();
    let missing: BTreeSet<Feature> = Feature::all().filter(|it| found.get(*it) == Support::No).collect();
    assert_eq!(missing, lacking, "what {} lacks", host.release);
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
