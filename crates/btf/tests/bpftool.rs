//! bpftool as an oracle: what it prints of the running kernel's BTF is what we read there.

use std::collections::HashMap;
use std::process::Command;
use std::sync::Arc;

use onebpf_btf::{Btf, Def, Kind, TypeId};

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

#[test]
fn definitions_read_as_bpftool_prints_them() {
    let Some((btf, text)) = dump(&["format", "c"]) else { return };
    let (mut same, mut other) = (0, Vec::new());
    for (head, block) in blocks(&text) {
        let (word, name) = head.split_once(' ').expect("a tag and a name");
        let kinds: &[Kind] = match word {
            "struct" => &[Kind::Struct],
            "union" => &[Kind::Union],
            _ => &[Kind::Enum, Kind::Enum64],
        };
        let ids: Vec<TypeId> =
            btf.find_all(name).filter(|id| kinds.contains(&btf.get(*id).unwrap().kind)).collect();
        let [id] = ids[..] else { continue };
        let ours = normal(&btf.definition(id).expect("a definition"));
        if ours == normal(&block) {
            same += 1;
        } else {
            other.push(format!("--- bpftool\n{block}\n--- onebpf\n{ours}"));
        }
    }
    println!("{same} definitions compared");
    assert!(same > 1000, "only {same} definitions compared");
    assert!(other.is_empty(), "{} differ, such as\n{}", other.len(), other.first().expect("one"));
}

/// Without what bpftool adds for the sake of a header that compiles, and what only newer ones say.
fn normal(definition: &str) -> String {
    let mut text = definition.replace(" __attribute__((mode(byte)))", "");
    while let Some(at) = text.find("___") {
        let digits = text[at + 3..].chars().take_while(char::is_ascii_digit).count();
        text.replace_range(at..at + 3 + digits, if digits > 0 { "" } else { "_" });
    }
    text
}

/// Top-level definitions by what stands before the brace, without the padding that bpftool adds.
fn blocks(text: &str) -> HashMap<&str, String> {
    let mut blocks = HashMap::new();
    let mut open: Option<(&str, String)> = None;
    for line in text.lines() {
        if let Some((_, block)) = &mut open {
            if !is_padding(line) {
                block.push('\n');
                block.push_str(line);
            }
            if line.starts_with('}') {
                blocks.extend(open.take());
            }
        } else if let Some(head) = line.strip_suffix(" {")
            && ["struct ", "union ", "enum "].iter().any(|word| head.starts_with(word))
        {
            open = Some((head, line.to_owned()));
        }
    }
    blocks
}

fn is_padding(line: &str) -> bool {
    let words = line.trim_start().trim_end_matches(';').split_once(": ");
    words.is_some_and(|(ty, bits)| {
        ["long", "int", "short", "char"].contains(&ty) && bits.parse::<u32>().is_ok()
    })
}

#[test]
fn sizes_and_offsets_are_those_of_bpftool() {
    let Some((btf, text)) = dump(&[]) else { return };
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let number = |value: &serde_json::Value, field: &str| value[field].as_u64().unwrap_or_default();
    let mut members_seen = 0;
    for row in json["types"].as_array().expect("types") {
        let ty = btf.get(TypeId(number(row, "id") as u32)).expect("decodes");
        assert_eq!(row["kind"].as_str(), Some(ty.kind.name()), "{}", ty.id);
        if !ty.name.is_empty() {
            assert_eq!(row["name"].as_str(), Some(ty.name));
        }
        match ty.def {
            Def::Struct { size, members } | Def::Union { size, members } => {
                assert_eq!(number(row, "size"), u64::from(size));
                let rows = row["members"].as_array().expect("members");
                assert_eq!(rows.len(), members.len());
                for (row, member) in rows.iter().zip(members) {
                    assert_eq!(number(row, "type_id"), u64::from(member.ty.0));
                    assert_eq!(number(row, "bits_offset"), u64::from(member.bit_offset));
                    assert_eq!(number(row, "bitfield_size"), member.bit_size.map_or(0, u64::from));
                    members_seen += 1;
                }
            }
            Def::Enum { size, values, .. } | Def::Enum64 { size, values, .. } => {
                assert_eq!(number(row, "size"), u64::from(size));
                for (row, value) in row["values"].as_array().expect("values").iter().zip(values) {
                    // bpftool 7.1 sign-extends unsigned values of 32 bits.
                    let number = row["val"].as_i64().map(|val| val as u64).or(row["val"].as_u64());
                    let bits = if ty.kind == Kind::Enum { u64::from(u32::MAX) } else { u64::MAX };
                    assert_eq!(number.map(|n| n & bits), Some(value.value as u64 & bits), "{}", value.name);
                }
            }
            Def::Array { elem, count, .. } => {
                assert_eq!((number(row, "type_id"), number(row, "nr_elems")), (elem.0.into(), count.into()));
            }
            Def::Int { size, bits, .. } => {
                assert_eq!((number(row, "size"), number(row, "nr_bits")), (size.into(), bits.into()));
            }
            _ => {}
        }
    }
    println!("{} types, {members_seen} members", btf.type_count());
}

/// The kernel's BTF and what bpftool prints of it.
fn dump(format: &[&str]) -> Option<(Btf, String)> {
    let btf = std::fs::read(VMLINUX).map_err(|e| eprintln!("skipped: {VMLINUX}: {e}")).ok()?;
    let json: &[&str] = if format.is_empty() { &["-j"] } else { &[] };
    let output =
        Command::new("bpftool").args(json).args(["btf", "dump", "file", VMLINUX]).args(format).output();
    let output = output.map_err(|e| eprintln!("skipped: bpftool: {e}")).ok()?;
    if !output.status.success() {
        eprintln!("skipped: bpftool cannot read this kernel's BTF");
        return None;
    }
    Some((Btf::parse(Arc::new(btf)).expect("parses"), String::from_utf8_lossy(&output.stdout).into_owned()))
}
