//! The first form of BTF-defined maps (2019), as somebody else sees it: what is loaded is asked of Debian's bpftool.

mod common;

use common::{in_private, options, spec};
use onebpf::{Kernel, Linux, Loaded, load_spec};
use serde_json::Value;
use std::process::Command;
use std::sync::Arc;

#[test]
fn bpftool_sees_the_maps_of_2019() {
    in_private("bpftool_sees_the_maps_of_2019", || {
        if bpftool(&["version"]).is_none() {
            eprintln!("skipped: there is no bpftool");
            return;
        }
        let kernel: Arc<dyn Kernel> = Arc::new(Linux);
        let loaded = load_spec(&kernel, &spec("values_2019"), &options()).unwrap();
        shapes(&loaded);
        templates(&loaded);
        slots(&loaded);
    });
}

/// Types and sizes: name, type, key, value, entries.
fn shapes(loaded: &Loaded) {
    let expected = [
        ("plain", "array", 4, 8, 4),
        ("btf_inner", "array", 4, 8, 2),
        ("by_nested", "hash_of_maps", 4, 4, 3),
        ("by_shared", "array_of_maps", 4, 4, 3),
        ("by_pointer", "array_of_maps", 4, 4, 3),
        ("by_slots", "array_of_maps", 4, 4, 2),
        ("jumps", "prog_array", 4, 4, 3),
    ];
    for (name, kind, key, value, entries) in expected {
        let shown = bpftool(&["map", "show", "id", &id(loaded, name)]).unwrap();
        let number = |field: &str| shown[field].as_u64();
        assert_eq!(shown["type"], kind, "{shown}");
        assert_eq!(number("bytes_key"), Some(key), "{shown}");
        assert_eq!(number("bytes_value"), Some(value), "{shown}");
        assert_eq!(number("max_entries"), Some(entries), "{shown}");
    }
}

/// A map of the template's shape goes into the outer map, another does not.
fn templates(loaded: &Loaded) {
    for (outer, inner, takes) in [
        ("by_pointer", "btf_inner", true),
        ("by_pointer", "plain", false),
        ("by_shared", "btf_inner", false),
        ("by_nested", "btf_inner", false),
    ] {
        let (outer_id, inner_id) = (id(loaded, outer), id(loaded, inner));
        let key = ["key", "0", "0", "0", "0", "value", "id", &inner_id];
        let taken = bpftool(&[&["map", "update", "id", &outer_id], key.as_slice()].concat()).is_some();
        assert_eq!(taken, takes, "{inner} into {outer}");
    }
}

/// The filled slots hold what the initialiser says, and the NULL slot nothing.
fn slots(loaded: &Loaded) {
    let inner = ["btf_inner", "btf_other"].map(|name| id(loaded, name));
    assert_eq!(dump(loaded, "by_slots"), [(0, inner[0].clone()), (1, inner[1].clone())]);
    let programs = ["handle_a", "handle_b"].map(|name| loaded.programs[name].info().unwrap().id.to_string());
    assert_eq!(dump(loaded, "jumps"), [(0, programs[0].clone()), (2, programs[1].clone())]);
}

/// Entries of a map of maps or programs: slot and id.
fn dump(loaded: &Loaded, name: &str) -> Vec<(u32, String)> {
    let dumped = bpftool(&["map", "dump", "id", &id(loaded, name)]).unwrap();
    let entries = dumped.as_array().unwrap().iter();
    entries.map(|entry| (word(&entry["key"]), word(&entry["value"]).to_string())).collect()
}

/// Four bytes as bpftool prints them: `["0x01", "0x00", "0x00", "0x00"]`.
fn word(bytes: &Value) -> u32 {
    let byte = |value: &Value| u8::from_str_radix(value.as_str()?.trim_start_matches("0x"), 16).ok();
    let bytes: Vec<u8> = bytes.as_array().unwrap().iter().filter_map(byte).collect();
    u32::from_ne_bytes(bytes.try_into().unwrap())
}

fn id(loaded: &Loaded, name: &str) -> String {
    loaded.maps[name].info().unwrap().id.to_string()
}

/// What `bpftool -j` answers; `None` if it fails or is not there.
fn bpftool(arguments: &[&str]) -> Option<Value> {
    let output = Command::new("bpftool").arg("-j").args(arguments).output().ok()?;
    let answer = if output.stdout.is_empty() {
        Some(Value::Null)
    } else {
        serde_json::from_slice(&output.stdout).ok()
    };
    answer.filter(|_| output.status.success())
}
