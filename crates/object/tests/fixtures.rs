//! Every fixture reads as the head of its C source says: it is valid, wrong in a certain way, or to be read in two ways.

use std::path::Path;

use onebpf_object::{Dialect, ParseOptions, Spec, parse};
use serde_json::Value;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures");

#[test]
fn every_fixture_reads_as_its_head_says() {
    let wrong: Vec<String> = rows().iter().filter_map(|row| check(row).err()).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_code_that_a_file_can_cause_has_a_fixture() {
    // E0130, E0131 and E0145 are of edits and of names asked for; E0146 needs a file too large to commit; E0148 is of
    // linking against a kernel's types, see core.rs.
    let without_file = ["E0130", "E0131", "E0145", "E0146", "E0148"];
    let rows = rows();
    let expected: Vec<&str> = rows.iter().filter_map(|row| row["expect"].as_str()).collect();
    let has = |code: &str| {
        expected.iter().any(|expect| expect.ends_with(code) || (*expect == "tie" && code == "E0112"))
    };
    let codes = onebpf_object::CODES.iter().map(|(code, _)| *code);
    let missing: Vec<&str> = codes.filter(|code| !without_file.contains(code) && !has(code)).collect();
    assert!(missing.is_empty(), "codes that no fixture causes: {missing:?}");
}

fn rows() -> Vec<Value> {
    let text = std::fs::read_to_string(Path::new(FIXTURES).join("MANIFEST.json")).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    manifest["fixtures"].as_array().unwrap().clone()
}

fn check(row: &Value) -> Result<(), String> {
    let object = row["object"].as_str().unwrap();
    let bytes = std::fs::read(Path::new(FIXTURES).join(object)).unwrap();
    let read = |options: ParseOptions| {
        let options = ParseOptions { name: "fixture".into(), ..options };
        parse(&bytes, &options).map_err(|error| format!("{} {error}", error.code()))
    };
    let strict = read(ParseOptions::default());
    let expect = row["expect"].as_str().unwrap();
    let as_expected = match expect {
        "valid" => strict.is_ok(),
        "tie" => is_tie(&strict, &read),
        _ => expect.strip_prefix("error ").is_some_and(|code| is_error(&strict, code)),
    };
    if !as_expected {
        let found = strict.map_or_else(|error| error, |_| "valid".into());
        return Err(format!("{object}: expected {expect}, found {found}"));
    }
    if row.get("relaxed").is_some() {
        let relaxed = read(ParseOptions { relaxed: true, ..ParseOptions::default() });
        return match relaxed {
            Ok(spec) if !spec.warnings.is_empty() => Ok(()),
            Ok(_) => Err(format!("{object}: relaxed, it has no warning")),
            Err(error) => Err(format!("{object}: relaxed, {error}")),
        };
    }
    Ok(())
}

fn is_error(result: &Result<Spec, String>, code: &str) -> bool {
    result.as_ref().is_err_and(|error| error.starts_with(code))
}

/// A tie is an error, and naming a dialect settles it (a wrong one may find other faults).
fn is_tie(strict: &Result<Spec, String>, read: &dyn Fn(ParseOptions) -> Result<Spec, String>) -> bool {
    let settles = |dialect| read(ParseOptions { dialect: Some(dialect), ..ParseOptions::default() }).is_ok();
    is_error(strict, "E0112") && (settles(Dialect::BpfMapDef) || settles(Dialect::BpfElfMap))
}
