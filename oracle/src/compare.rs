//! What the two sides say differently.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

/// One field on which libbpf and onebpf disagree.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Where: "map `flows`", "program `p` instruction 4".
    pub place: String,
    /// Which field of it.
    pub field: String,
    /// libbpf's answer.
    pub libbpf: Value,
    /// onebpf's answer; null when it has none.
    pub onebpf: Value,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: libbpf {}, onebpf {}", self.place, self.field, self.libbpf, self.onebpf)
    }
}

const MAP: [&str; 11] = [
    "section",
    "type",
    "type_id",
    "key_size",
    "value_size",
    "max_entries",
    "flags",
    "extra",
    "numa_node",
    "pinning",
    "slots",
];
/// An inner map has no section, pin or slots of its own, and its name is made up.
const INNER: [&str; 8] =
    ["type", "type_id", "key_size", "value_size", "max_entries", "flags", "extra", "numa_node"];
const PROGRAM: [&str; 8] =
    ["section", "type", "type_id", "attach_type", "attach_type_id", "flags", "autoload", "insns"];

/// Compares two `inspect` documents: license, externs, maps and programs, their order and every field.
pub fn inspect(libbpf: &Value, onebpf: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    differ("object", "license", &libbpf["license"], &onebpf["license"], &mut found);
    pair(
        "extern",
        &libbpf["externs"],
        &sorted(&onebpf["externs"]),
        &mut found,
        |place, left, right, found| {
            fields(place, left, right, &["kind", "weak"], found);
        },
    );
    pair("map", &libbpf["maps"], &onebpf["maps"], &mut found, |place, left, right, found| {
        fields(place, left, right, &MAP, found);
        let inner = format!("{place} inner");
        if left["inner"].is_object() && right["inner"].is_object() {
            fields(&inner, &left["inner"], &right["inner"], &INNER, found);
        } else {
            differ(
                &inner,
                "exists",
                &left["inner"].is_object().into(),
                &right["inner"].is_object().into(),
                found,
            );
        }
    });
    pair("program", &libbpf["programs"], &onebpf["programs"], &mut found, |place, left, right, found| {
        fields(place, left, right, &PROGRAM, found);
    });
    found
}

/// Compares what the kernel says of the maps and programs of two loads, field by field (see [`crate::kernel`]).
pub fn kernel(libbpf: &Value, onebpf: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    for what in ["map", "program"] {
        let list = format!("{what}s");
        let (left, right) = (&libbpf[&list], &onebpf[&list]);
        pair(&format!("loaded {what}"), left, right, &mut found, |place, left, right, found| {
            let names: Vec<&str> =
                left.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            fields(place, left, right, &names, found);
        });
    }
    found
}

/// Compares what [`crate::lines`] collects: each record. `onebpf` may list more programs.
pub fn lines(libbpf: &Value, onebpf: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    for program in list(libbpf) {
        let Some(other) = list(onebpf).iter().find(|other| other["name"] == program["name"]) else {
            continue;
        };
        for kind in ["func_info", "line_info"] {
            records(&format!("program {}", program["name"]), kind, &program[kind], &other[kind], &mut found);
        }
    }
    found
}

/// The first record that differs, and how many there are.
fn records(place: &str, kind: &str, left: &Value, right: &Value, found: &mut Vec<Difference>) {
    let (ours, theirs) = (list(left), list(right));
    differ(place, &format!("{kind} records"), &ours.len().into(), &theirs.len().into(), found);
    if let Some(at) = ours.iter().zip(theirs).position(|(one, other)| one != other) {
        differ(place, &format!("{kind} record {at}"), &ours[at], &theirs[at], found);
    }
}

/// Compares two `relocate` documents: each instruction and each reference.
pub fn relocate(libbpf: &Value, onebpf: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    pair("program", &libbpf["programs"], &onebpf["programs"], &mut found, |place, left, right, found| {
        instructions(place, left, right, found);
        references(place, &left["refs"], &without_core(right), found);
        let targets =
            |side: &Value| list(&side["jump_tables"]).iter().map(|it| it["targets"].clone()).collect();
        let (ours, theirs): (Vec<Value>, Vec<Value>) = (targets(left), targets(right));
        differ(place, "jump tables", &ours.into(), &theirs.into(), found);
    });
    found
}

/// References but for instructions that CO-RE has poisoned: libbpf does not list those, and their bytes are compared.
fn without_core(program: &Value) -> Value {
    let core = |it: &&Value| list(&program["core"]).iter().any(|relo| relo["insn"] == it["insn"]);
    list(&program["refs"]).iter().filter(|it| !(it["kind"] == "poison" && core(it))).cloned().collect()
}

/// Of a program with many different instructions, this many are listed.
const SHOWN: usize = 5;

fn instructions(place: &str, left: &Value, right: &Value, found: &mut Vec<Difference>) {
    let (ours, theirs) = (list(&left["insns"]), list(&right["insns"]));
    differ(place, "instructions", &ours.len().into(), &theirs.len().into(), found);
    // What a ksym or kfunc becomes depends on the kernel; which it is, the references tell.
    let hosts: BTreeSet<u64> = list(&left["refs"])
        .iter()
        .filter(|it| it["kind"] == "ksym")
        .filter_map(|it| it["insn"].as_u64())
        .collect();
    let mut count = 0;
    for (at, (one, other)) in ours.iter().zip(theirs).enumerate() {
        let same = if hosts.contains(&(at as u64)) { same_but_source(one, other) } else { one == other };
        count += usize::from(!same);
        if !same && count <= SHOWN {
            differ(&format!("{place} instruction {at}"), "bytes", one, other, found);
        }
    }
    if count > SHOWN {
        differ(place, "different instructions", &0.into(), &count.into(), found);
    }
}

/// A ksym's source register says whether libbpf found it in the kernel's BTF: byte 1, high half.
fn same_but_source(one: &Value, other: &Value) -> bool {
    let without = |value: &Value| {
        value.as_str().map(|hex| (hex.get(..2).map(str::to_owned), hex.get(3..).map(str::to_owned)))
    };
    without(one) == without(other)
}

fn references(place: &str, left: &Value, right: &Value, found: &mut Vec<Difference>) {
    let by_insn = |refs: &Value| -> BTreeMap<u64, Value> {
        list(refs).iter().filter_map(|it| Some((it["insn"].as_u64()?, it.clone()))).collect()
    };
    let (ours, theirs) = (by_insn(left), by_insn(right));
    let all: BTreeSet<u64> = ours.keys().chain(theirs.keys()).copied().collect();
    for at in all {
        let (one, other) = (ours.get(&at), theirs.get(&at));
        let field = |side: Option<&Value>, name: &str| side.map_or(Value::Null, |it| it[name].clone());
        let place = format!("{place} reference at {at}");
        for name in ["kind", "name", "offset"] {
            let (one, other) = (field(one, name), field(other, name));
            // `offset` is promised for `map_value` only, and libbpf does not tell the name of a jump table.
            let untold = name == "name" && field(ours.get(&at), "kind") == "jump_table";
            if !untold && (name != "offset" || !other.is_null()) {
                differ(&place, name, &one, &other, found);
            }
        }
    }
}

/// Pairs the elements of two lists by name (and by turn where names repeat), and compares their order.
fn pair(
    what: &str,
    left: &Value,
    right: &Value,
    found: &mut Vec<Difference>,
    each: impl Fn(&str, &Value, &Value, &mut Vec<Difference>),
) {
    let (ours, theirs) = (numbered(left), numbered(right));
    for (key, one) in &ours {
        let place = format!("{what} `{}`", key.0);
        match theirs.iter().find(|(other, _)| other == key) {
            Some((_, other)) => each(&place, one, other, found),
            None => differ(&place, "exists", &true.into(), &false.into(), found),
        }
    }
    for (key, _) in theirs.iter().filter(|(key, _)| !ours.iter().any(|(other, _)| other == key)) {
        differ(&format!("{what} `{}`", key.0), "exists", &false.into(), &true.into(), found);
    }
    let order = |list: &[((String, usize), &Value)]| list.iter().map(|it| it.0.clone()).collect::<Vec<_>>();
    let (mut one, mut other) = (order(&ours), order(&theirs));
    one.retain(|key| other.contains(key));
    other.retain(|key| one.contains(key));
    if one != other {
        let names =
            |keys: &[(String, usize)]| Value::from(keys.iter().map(|key| key.0.as_str()).collect::<Vec<_>>());
        differ(&format!("{what}s"), "order", &names(&one), &names(&other), found);
    }
}

/// By name.
fn sorted(list: &Value) -> Value {
    let mut all = self::list(list).to_vec();
    all.sort_by_key(|it| it["name"].as_str().map(str::to_owned));
    all.into()
}

/// (name, how many before it have that name) → element.
fn numbered(list: &Value) -> Vec<((String, usize), &Value)> {
    let mut seen = BTreeMap::new();
    self::list(list)
        .iter()
        .map(|it| {
            let name = it["name"].as_str().unwrap_or_default().to_owned();
            let turn = seen.entry(name.clone()).or_insert(0_usize);
            *turn += 1;
            ((name, *turn), it)
        })
        .collect()
}

fn fields(place: &str, left: &Value, right: &Value, names: &[&str], found: &mut Vec<Difference>) {
    for name in names {
        let (one, other) = (normal(name, &left[*name]), normal(name, &right[*name]));
        if *name == "max_entries" && is_ring(left) && rounds_to(&other, &one) {
            continue;
        }

        // libbpf does not tell the section of a `struct_ops` map, nor some programs' flags.
        if !matches!(*name, "section" | "flags") || !one.is_null() {
            differ(place, name, &one, &other, found);
        }
    }
}

/// `BPF_MAP_TYPE_RINGBUF`, `BPF_MAP_TYPE_USER_RINGBUF`.
fn is_ring(map: &Value) -> bool {
    matches!(map["type_id"].as_u64(), Some(27 | 31))
}

/// libbpf rounds a ring buffer's size as it parses (`adjust_ringbuf_sz`), by this host's page; onebpf when it plans.
fn rounds_to(declared: &Value, rounded: &Value) -> bool {
    let (Some(declared), Some(rounded)) = (declared.as_u64(), rounded.as_u64()) else { return false };
    [4096, 16384, 65536].iter().any(|page| (declared.div_ceil(*page)).next_power_of_two() * page == rounded)
}

/// Two spellings of one fact: no NUMA node is 0 for libbpf, no slots may be an absent list, slots have no order, and
/// libbpf takes off the `?` of `SEC("?...")` (`autoload` tells).
fn normal(field: &str, value: &Value) -> Value {
    match field {
        "numa_node" => value.as_u64().unwrap_or(0).into(),
        "section" => value.as_str().map(|name| name.trim_start_matches('?')).into(),
        "slots" => {
            let mut slots = list(value).to_vec();
            slots.sort_by_key(|slot| slot["index"].as_u64());
            slots.into()
        }
        _ => value.clone(),
    }
}

fn differ(place: &str, field: &str, libbpf: &Value, onebpf: &Value, found: &mut Vec<Difference>) {
    if libbpf != onebpf {
        let (libbpf, onebpf) = (libbpf.clone(), onebpf.clone());
        found.push(Difference { place: place.to_owned(), field: field.to_owned(), libbpf, onebpf });
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(found: &[Difference]) -> Vec<String> {
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn fields_order_and_absence() {
        let one =
            json!({"maps": [{"name": "a", "max_entries": 1}, {"name": "b"}, {"name": "c"}], "programs": []});
        let other = json!({"maps": [{"name": "b"}, {"name": "a", "max_entries": 2}], "programs": []});
        assert_eq!(
            lines(&inspect(&one, &other)),
            [
                "map `a`: max_entries: libbpf 1, onebpf 2",
                "map `c`: exists: libbpf true, onebpf false",
                r#"maps: order: libbpf ["a","b"], onebpf ["b","a"]"#,
            ]
        );
        assert!(inspect(&one, &one).is_empty());
    }

    #[test]
    fn bytes_and_references() {
        let one = json!({"programs": [{"name": "p", "insns": ["aa", "1832000000000000"],
            "refs": [{"insn": 1, "kind": "ksym", "name": "x"}, {"insn": 0, "kind": "map", "name": "m"}]}]});
        let other = json!({"programs": [{"name": "p", "insns": ["ab", "1802000000000000"],
            "refs": [{"insn": 1, "kind": "ksym", "name": "x"}]}]});
        assert_eq!(
            lines(&relocate(&one, &other)),
            [
                r#"program `p` instruction 0: bytes: libbpf "aa", onebpf "ab""#,
                r#"program `p` reference at 0: kind: libbpf "map", onebpf null"#,
                r#"program `p` reference at 0: name: libbpf "m", onebpf null"#,
            ]
        );
    }
}
