//! Every fixture that libbpf accepts: `onebpf inspect` agrees with it field by field, `onebpf relocate` byte by byte.

use std::path::{Path, PathBuf};
use std::process::Command;

use oracle::report::{Load, Report, Sides};
use oracle::run;
use serde_json::Value;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures");
/// libbpf opens this many of the valid fixtures at least; fewer means that the test compares nothing.
const AT_LEAST: usize = 30;

#[test]
fn agree_with_libbpf() {
    let sides =
        Sides { judge: env!("CARGO_BIN_EXE_conformance").into(), onebpf: Some(onebpf()), load: Load::No };
    let mut report = Report::of(&valid(), &sides);
    report.allow(include_str!("../allowed.txt"));
    let count = |name: &str| report.counts().iter().find(|it| it.0.trim() == name).map_or(0, |it| it.1);
    assert!(count("opened by libbpf") >= AT_LEAST, "{report}");
    if run::is_root() {
        assert!(count("relocation compared") >= AT_LEAST, "{report}");
    } else {
        eprintln!("relocation is not compared: libbpf's needs root");
    }
    assert!(report.differences().is_empty(), "{report}");
}

/// Externs: what the kernel holds after libbpf's load and after onebpf's, instructions included (by their tags).
#[test]
fn externs_are_loaded_alike() {
    if !run::is_root() {
        eprintln!("skipped: loading needs root");
        return;
    }
    let sides =
        Sides { judge: env!("CARGO_BIN_EXE_conformance").into(), onebpf: Some(onebpf()), load: Load::Only };
    let names = ["extern_config", "extern_kconfig", "extern_flavours", "extern_ksyms"];
    let objects: Vec<PathBuf> =
        names.iter().map(|name| Path::new(FIXTURES).join(format!("obj/{name}.o"))).collect();
    let report = Report::of(&objects, &sides);
    assert!(report.differences().is_empty(), "{report}");
}

/// The objects that the manifest calls valid.
fn valid() -> Vec<PathBuf> {
    let root = Path::new(FIXTURES);
    let text = std::fs::read_to_string(root.join("MANIFEST.json")).expect("fixtures/MANIFEST.json");
    let manifest: Value = serde_json::from_str(&text).expect("the manifest is JSON");
    let fixtures = manifest["fixtures"].as_array().expect("a list of fixtures");
    let valid = fixtures.iter().filter(|it| it["expect"] == "valid");
    valid.map(|it| root.join(it["object"].as_str().expect("a path"))).collect()
}

/// The command, built now so that it is not an old one.
fn onebpf() -> PathBuf {
    if std::env::var_os("ONEBPF").is_none() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo).args(["build", "--quiet", "-p", "onebpf-cli"]).status();
        assert!(built.is_ok_and(|status| status.success()), "onebpf-cli does not build");
    }
    run::find_onebpf().expect("the onebpf command")
}
