//! A Spec is edited before it is loaded: variables and map fields, by name and from text.

use std::path::Path;

use onebpf_object::{MapType, ParseOptions, Pinning, Spec, parse};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/obj");

#[test]
fn variables_are_set_by_their_types() {
    let mut spec = read("data_sections");
    assert_eq!(spec.variable_bytes("threshold"), Some(&7u32.to_le_bytes()[..]));
    for (name, text, bytes) in [
        ("threshold", "0x10", &16u32.to_le_bytes()[..]),
        ("threshold", "4294967295", &[0xff; 4]),
        ("enabled", "0", &[0]),
        ("enabled", "'z'", b"z"),
        ("seed", "12", &12u32.to_le_bytes()),
        ("table", "1, 2,3,0xffffffffffffffff", &table(&[1, 2, 3, u64::MAX])),
        ("limits", "hex:00000000010000006162636465666768", b"\0\0\0\0\x01\0\0\0abcdefgh"),
    ] {
        spec.set(&format!("var.{name}"), text).unwrap_or_else(|error| panic!("{name}={text}: {error}"));
        assert_eq!(spec.variable_bytes(name), Some(bytes), "{name}={text}");
    }
    let mut big = read("data_sections.eb");
    big.set("var.threshold", "258").unwrap();
    assert_eq!(big.variable_bytes("threshold"), Some(&[0, 0, 1, 2][..]));
}

#[test]
fn parts_of_variables_are_set_as_in_c() {
    let mut spec = read("data_sections");
    for (name, text) in
        [("limits.hard", "0x15"), ("limits.name[0]", "70"), ("table[3]", "-0"), ("table[1]", "9")]
    {
        spec.set(&format!("var.{name}"), text).unwrap_or_else(|error| panic!("{name}={text}: {error}"));
    }
    assert_eq!(spec.variable_bytes("limits"), Some(&b"\x0a\0\0\0\x15\0\0\0Fixture\0"[..]));
    assert_eq!(spec.variable_bytes("table"), Some(&table(&[1, 9, 3, 0])[..]));
    for (name, code, why) in [
        ("limits.medium", "E0131", "it has `soft`, `hard`, `name`"),
        ("limits[0]", "E0131", "no array"),
        ("table[4]", "E0131", "4 elements"),
        ("table[x]", "E0131", "no number"),
        ("table[1", "E0131", "without a ]"),
        ("table.x", "E0131", "no struct"),
        ("table[1]x", "E0131", "neither"),
        ("limits.", "E0131", "no member"),
        ("limit.soft", "E0130", ""),
        ("table[0].", "E0131", "no struct"),
    ] {
        let error = spec.set_variable_text(name, "1").unwrap_err();
        assert!(error.code() == code && error.to_string().contains(why), "{name}: {error}");
    }
    assert_eq!(spec.set("var.limits.name[0]", "256").unwrap_err().code(), "E0131");
}

#[test]
fn a_variable_refuses_what_does_not_fit() {
    let mut spec = read("data_sections");
    for (name, text, why) in [
        ("threshold", "4294967296", "takes 0 to 4294967295, 4294967296 is outside"),
        ("threshold", "-1", "takes 0 to 4294967295"),
        ("threshold", "0x", "`0x` is no number"),
        ("threshold", "+1", "is no number"),
        ("threshold", "", "is no number"),
        ("threshold", "hex:0", "even number"),
        ("threshold", "hex:00", "needs 4 bytes, these are 1"),
        ("table", "1,2,3", "has 4 elements, the text has 3"),
        ("limits", "1", "hex:"),
    ] {
        let before = spec.clone();
        let error = spec.set_variable_text(name, text).unwrap_err();
        assert_eq!(error.code(), "E0131", "{name}={text}");
        assert!(
            error.to_string().contains(why) && error.to_string().contains(name),
            "{name}={text}: {error}"
        );
        assert_eq!(spec, before, "{name}={text}");
    }
    assert_eq!(spec.set_variable("threshold", &[1]).unwrap_err().code(), "E0131");
    assert_eq!(spec.set_variable("nobody", &[1]).unwrap_err().code(), "E0130");
    assert_eq!(spec.set("var.nobody", "1").unwrap_err().code(), "E0130");
    assert_eq!(spec.variable_bytes("nobody"), None);
}

#[test]
fn without_btf_a_variable_is_a_number_of_its_size() {
    let mut spec = read("data_sections.nog");
    spec.set("var.threshold", "-2").unwrap();
    assert_eq!(spec.variable_bytes("threshold"), Some(&[0xfe, 0xff, 0xff, 0xff][..]));
    assert_eq!(spec.set("var.threshold", "0x1ffffffff").unwrap_err().code(), "E0131");
    assert!(spec.set("var.table", "1").unwrap_err().to_string().contains("hex:"));
}

#[test]
fn map_fields_are_set_by_name() {
    let mut spec = read("btf_map_in_map");
    for (path, value) in [
        ("map.inner_a.max_entries", "77"),
        ("map.inner_a.type", "hash"),
        ("map.inner_a.flags", "0x1"),
        ("map.inner_a.map_extra", "0xffffffffff"),
        ("map.inner_a.numa_node", "1"),
        ("map.inner_a.pinning", "custom:7"),
        ("map.inner_a.key_size", "16"),
        ("map.inner_a.autocreate", "false"),
        ("map.outer_array.inner.max_entries", "9"),
        ("map.inner_b.type", "35"),
        ("map.inner_b.pinning", "by-name"),
    ] {
        spec.set(path, value).unwrap_or_else(|error| panic!("{path}={value}: {error}"));
    }
    let map = &spec.maps["inner_a"];
    assert_eq!((map.max_entries, map.kind, map.flags), (77, MapType::HASH, 1 | 4), "a node sets its flag");
    assert_eq!((map.extra, map.numa_node, map.pinning), (0xff_ffff_ffff, Some(1), Pinning::Custom(7)));
    assert_eq!((map.key.size, map.key.btf, map.autocreate), (16, None, false));
    assert_eq!(spec.maps["outer_array"].inner.as_ref().unwrap().max_entries, 9);
    assert_eq!((spec.maps["inner_b"].kind, spec.maps["inner_b"].pinning), (MapType(35), Pinning::ByName));

    for (path, value, code) in [
        ("map.nobody.max_entries", "1", "E0130"),
        ("map.inner_a.colour", "1", "E0130"),
        ("map.inner_a", "1", "E0130"),
        ("max_entries", "1", "E0130"),
        ("map.inner_a.inner.max_entries", "1", "E0130"),
        ("map.inner_a.max_entries", "4294967296", "E0131"),
        ("map.inner_a.max_entries", "-1", "E0131"),
        ("map.inner_a.type", "hashish", "E0131"),
        ("map.inner_a.pinning", "everywhere", "E0131"),
        ("map.inner_a.autocreate", "maybe", "E0131"),
    ] {
        assert_eq!(spec.set(path, value).unwrap_err().code(), code, "{path}={value}");
    }
}

#[test]
fn a_data_map_can_grow_but_not_lose_its_variables() {
    let mut spec = read("data_sections");
    spec.set("map.fixture.data.value_size", "4096").unwrap();
    let map = &spec.maps["fixture.data"];
    assert_eq!((map.value.size, map.value.btf), (4096, None));
    assert_eq!(spec.variable_bytes("static_data"), Some(&[5, 0, 0, 0][..]));
    assert_eq!(spec.set("map.fixture.data.value_size", "43").unwrap_err().code(), "E0131");
    assert_eq!(spec.set("map.fixture.data.value_size", "4000000000").unwrap_err().code(), "E0131");
    spec.set("map.fixture.data.pinning", "by-name").unwrap();

    let mut arena = read("data_arena.v4");
    arena.set("map.arena.max_entries", "8").unwrap();
    arena.set("var.counter", "3").unwrap();
}

fn table(elements: &[u64]) -> Vec<u8> {
    elements.iter().flat_map(|element| element.to_le_bytes()).collect()
}

fn read(object: &str) -> Spec {
    let bytes = std::fs::read(Path::new(FIXTURES).join(format!("{object}.o"))).expect(object);
    let options = ParseOptions { name: "fixture".into(), ..Default::default() };
    parse(&bytes, &options).unwrap_or_else(|error| panic!("{object}: {} {error}", error.code()))
}
