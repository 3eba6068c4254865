//! The probes against the running kernel.

mod common;

use onebpf_sys::{Feature, Linux, Release, Support, probe_all};

/// A release that should have a feature has it, and no probe is inconclusive. The other way round proves
/// nothing: distributions carry features back.
#[test]
fn answers_agree_with_the_release() {
    let Some(host) = common::privileged("answers_agree_with_the_release") else { return };
    let release: Release = host.release.parse().expect("a release");
    let found = probe_all(&Linux);
    for feature in Feature::all() {
        eprintln!("{feature:22} since {:5} {:?}", feature.since().to_string(), found.get(feature));
        assert_ne!(found.get(feature), Support::Unknown, "{feature}: no answer from a privileged probe");
        if release >= feature.since() {
            assert_eq!(found.get(feature), Support::Yes, "{feature} should be in {}", host.release);
        }
    }
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
