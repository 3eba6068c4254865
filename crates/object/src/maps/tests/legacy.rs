//! Section `maps`: which dialect, and what its words mean.

use super::Object;
use crate::elf::SectionKind;
use crate::maps::fill_tail_slots;
use crate::{Contents, Dialect, FuncId, MapSpec, Pinning, ProgramSpec, ProgramType, Slot, SlotTarget};
use indexmap::IndexMap;

const HASH: u32 = 1;
const ARRAY: u32 = 2;
const PROG_ARRAY: u32 = 3;
const ARRAY_OF_MAPS: u32 = 12;
const HASH_OF_MAPS: u32 = 13;
const NUMA_NODE: u32 = 4;

/// A section of definitions of some words each, named `m0`, `m1`, ...
fn section(name: &str, definitions: &[&[u32]]) -> Object {
    let mut object = Object::new();
    let bytes =
        definitions.iter().flat_map(|words| words.iter().flat_map(|word| word.to_le_bytes())).collect();
    let index = object.section(name, SectionKind::LegacyMaps, bytes);
    let mut offset = 0;
    for (n, words) in definitions.iter().enumerate() {
        let size = words.len() as u64 * 4;
        object.symbol(&format!("m{n}"), Some(index), offset, size);
        offset += size;
    }
    object
}

fn maps(definitions: &[&[u32]]) -> Object {
    section("maps", definitions)
}

fn first(object: &Object) -> MapSpec {
    object.collect().expect("a map").maps[0].clone()
}

fn dialect(object: &Object) -> Result<Dialect, &'static str> {
    object.collect().map(|all| all.maps[0].dialect).map_err(|error| error.code())
}

#[test]
fn evidence_decides() {
    use Dialect::{BpfElfMap, BpfMapDef};
    let table: &[(&[u32], Result<Dialect, &str>)] = &[
        (&[HASH, 4, 8, 1], Ok(BpfMapDef)),
        (&[HASH, 4, 8, 1, 0], Ok(BpfMapDef)),
        (&[HASH, 4, 8, 1, 0, 0], Ok(BpfMapDef)),
        (&[HASH, 4, 8, 1, 0, 9], Ok(BpfElfMap)),
        (&[HASH, 4, 8, 1, 0, 0, 0], Ok(BpfMapDef)),
        (&[HASH, 4, 8, 1, 0, 0, 2], Ok(BpfElfMap)),
        (&[HASH, 4, 8, 1, 0, 5, 3], Ok(BpfElfMap)),
        (&[HASH, 4, 8, 1, NUMA_NODE, 0, 2], Ok(BpfMapDef)),
        (&[HASH, 4, 8, 1, 0, 0, 1], Ok(BpfMapDef)),
        (&[HASH, 4, 8, 1, 0, 1, 0], Err("E0112")),
        (&[HASH, 4, 8, 1, 0, 1, 1], Err("E0112")),
        (&[HASH, 4, 8, 1, 0, 0, 0, 3], Ok(BpfElfMap)),
        (&[HASH, 4, 8, 1, 0, 0, 0, 0, 0], Ok(BpfElfMap)),
        (&[HASH, 4, 8, 1, 0, 0, 0, 0, 0, 0], Ok(BpfMapDef)),
        (&[HASH, 4, 8, 1, 0, 0, 0, 0, 0, 1], Err("E0111")),
        (&[HASH, 4, 8], Err("E0110")),
        (&[0, 4, 8, 1, 0], Err("E0106")),
    ];
    for (words, expected) in table {
        assert_eq!(dialect(&maps(&[words])), *expected, "{words:?}");
        assert_eq!(dialect(&maps(&[words, words])), *expected, "two of {words:?}");
    }
}

#[test]
fn a_tail_section_settles_a_tie() {
    let words: &[u32] = &[PROG_ARRAY, 4, 4, 2, 0, 1, 0];
    assert_eq!(dialect(&maps(&[words])), Err("E0112"));
    let mut object = maps(&[words]);
    object.section("1/0", SectionKind::Program, vec![0; 8]);
    assert_eq!(dialect(&object), Ok(Dialect::BpfElfMap));
    let mut other = maps(&[words]);
    other.section("2/0", SectionKind::Program, vec![0; 8]);
    assert_eq!(dialect(&other), Err("E0112"));
}

#[test]
fn an_option_settles_a_tie_and_more() {
    let words: &[u32] = &[HASH, 4, 8, 1, 0, 1, 1];
    let elf = first(&maps(&[words]).dialect(Dialect::BpfElfMap));
    assert_eq!((elf.dialect, elf.id, elf.pinning), (Dialect::BpfElfMap, Some(1), Pinning::Object));
    let def = first(&maps(&[words]).dialect(Dialect::BpfMapDef));
    assert_eq!((def.dialect, def.id, def.pinning), (Dialect::BpfMapDef, Some(1), Pinning::ByName));
    assert_eq!(dialect(&maps(&[&[HASH, 4, 8, 1, 0]]).dialect(Dialect::BpfElfMap)), Ok(Dialect::BpfElfMap));
    // A dialect that cannot be is no reading.
    assert_eq!(dialect(&maps(&[&[HASH, 4, 8, 1, 0]]).dialect(Dialect::Btf)), Ok(Dialect::BpfMapDef));
    assert_eq!(dialect(&section("maps/m0", &[words]).dialect(Dialect::BpfElfMap)), Ok(Dialect::BpfMapDef));
}

#[test]
fn words_of_bpf_map_def() {
    let node = first(&maps(&[&[HASH, 4, 8, 1, NUMA_NODE, 0, 2]]));
    assert_eq!((node.numa_node, node.pinning), (Some(2), Pinning::None));
    let aya = first(&section("maps/m0", &[&[HASH, 4, 8, 1, 0, 3, 1]]));
    assert_eq!((aya.id, aya.pinning), (Some(3), Pinning::ByName));
    assert_eq!(section("maps/m0", &[&[HASH, 4, 8, 1, 0, 3, 2]]).code(), "E0107");

    // Word 5 without word 6 is neither the samples' nor aya's.
    assert_eq!(section("maps/m0", &[&[HASH, 4, 8, 1, 0, 3]]).code(), "E0111");
    let relaxed = section("maps/m0", &[&[HASH, 4, 8, 1, 0, 3, 0, 77]]).relaxed().collect().unwrap();
    assert_eq!(relaxed.warnings.len(), 1);
    assert_eq!(relaxed.warnings[0].code, "W0102");

    let template = |index: u32| {
        maps(&[&[HASH, 4, 8, 1, 0, 0, 0], &[ARRAY_OF_MAPS, 4, 0, 1, 0, index, 0]]).dialect(Dialect::BpfMapDef)
    };
    let samples = template(0).collect().unwrap();
    let inner = samples.maps[1].inner.as_ref().expect("a template");
    assert_eq!((inner.name.as_str(), inner.value.size, samples.maps[1].value.size), ("m1.inner", 8, 4));
    assert_eq!(template(1).code(), "E0108");
    assert_eq!(template(2).code(), "E0108");
    // Five words: the template is the user's business, as it was in libbpf.
    assert!(first(&maps(&[&[ARRAY_OF_MAPS, 4, 4, 1, 0]])).inner.is_none());
}

#[test]
fn places_that_make_no_sense_are_errors() {
    let with = |value: u64, size: u64| {
        let mut object = maps(&[&[HASH, 4, 8, 1, 0], &[HASH, 4, 8, 1, 0]]);
        object.elf.symbols[1].value = value;
        object.elf.symbols[1].size = size;
        object
    };
    assert!(with(20, 20).collect().is_ok());
    for (value, size) in
        [(20, 21), (20, u64::MAX), (21, 19), (40, 20), (u64::MAX, 20), (u64::MAX - 3, 0), (36, 4)]
    {
        assert_eq!(with(value, size).code(), "E0110", "{value} {size}");
    }
    let mut nameless = maps(&[&[HASH, 4, 8, 1, 0]]);
    nameless.elf.symbols.clear();
    assert_eq!(nameless.code(), "E0110");
    // Two names for one map: the first counts.
    assert_eq!(with(0, 20).collect().unwrap().maps.len(), 1);
}

#[test]
fn inner_maps_of_bpf_elf_map() {
    let slots = |outer: &MapSpec| match &outer.contents {
        Contents::Slots(slots) => slots.iter().map(|slot| (slot.index, slot.target.clone())).collect(),
        _ => Vec::new(),
    };
    let map = |name: &str| SlotTarget::Map(name.to_owned());
    // Two outer maps before and after three inner ones of one id, the second of which is a template only.
    let all = maps(&[
        &[ARRAY_OF_MAPS, 4, 0, 8, 0, 1, 0, 42, 0],
        &[ARRAY, 4, 4, 1, 0, 42, 0, 0, 3],
        &[ARRAY, 4, 4, 1, 0, 42, 0, 0, u32::MAX],
        &[ARRAY, 4, 8, 1, 0, 42, 0, 0, 0],
        &[HASH_OF_MAPS, 4, 9, 8, 0, 2, 0, 42, 0],
    ])
    .collect()
    .unwrap();
    for outer in ["m0", "m4"] {
        let outer = &all.maps[outer];
        assert_eq!(slots(outer), [(0, map("m3")), (3, map("m1"))], "{}", outer.name);
        let inner = outer.inner.as_ref().expect("a template");
        assert_eq!((inner.value.size, inner.id, outer.value.size), (4, None, 4), "the first of the id");
    }

    // The later of two for one slot gets it.
    let both = maps(&[
        &[ARRAY_OF_MAPS, 4, 4, 8, 0, 1, 0, 42, 0],
        &[ARRAY, 4, 4, 1, 0, 42, 0, 0, 3],
        &[ARRAY, 4, 4, 1, 0, 42, 0, 0, 3],
    ]);
    assert_eq!(slots(&first(&both)), [(3, map("m2"))]);

    let outer = |pinning: u32, inner_id: u32, idx: u32, inner: u32| {
        maps(&[&[ARRAY_OF_MAPS, 4, 4, 8, 0, 1, pinning, inner_id, 0], &[inner, 4, 4, 1, 0, 42, 0, 0, idx]])
    };
    assert_eq!(outer(0, 43, 0, ARRAY).code(), "E0108");
    assert_eq!(outer(0, 0, 0, ARRAY).code(), "E0108");
    assert_eq!(outer(0, 42, 8, ARRAY).code(), "E0109");
    assert_eq!(outer(0, 42, 0x8000_0000, ARRAY).code(), "E0109");
    assert_eq!(outer(0, 42, 0, ARRAY_OF_MAPS).code(), "E0108");
    // Itself.
    assert_eq!(outer(0, 1, 0, ARRAY).code(), "E0108");
    let pinned = outer(2, 43, 0, ARRAY).collect().unwrap();
    assert_eq!(pinned.warnings[0].code, "W0103");
}

#[test]
fn tail_programs_go_into_the_first_array_of_their_id() {
    let mut all = maps(&[
        &[HASH, 4, 4, 4, 0, 7, 0, 0, 0],
        &[PROG_ARRAY, 4, 4, 4, 0, 7, 0, 0, 0],
        &[PROG_ARRAY, 4, 4, 4, 0, 7, 0, 0, 0],
        &[PROG_ARRAY, 4, 4, 4, 0, 0, 0, 0, 0],
    ])
    .collect()
    .unwrap();
    let programs = |tails: &[(u32, u32)]| -> IndexMap<String, ProgramSpec> {
        tails
            .iter()
            .enumerate()
            .map(|(n, tail)| (format!("p{n}"), program(&format!("p{n}"), *tail)))
            .collect()
    };
    let warnings =
        fill_tail_slots(&mut all.maps, &programs(&[(7, 3), (7, 0), (0, 1), (7, 3), (99, 0)])).unwrap();
    assert_eq!(warnings.iter().map(|warning| warning.code.as_str()).collect::<Vec<_>>(), ["W0104"]);
    let slot = |index: u32, name: &str| Slot { index, target: SlotTarget::Program(name.to_owned()) };
    assert_eq!(all.maps["m1"].contents, Contents::Slots(vec![slot(0, "p1"), slot(3, "p3")]));
    assert_eq!(all.maps["m2"].contents, Contents::Empty);
    assert_eq!(all.maps["m3"].contents, Contents::Slots(vec![slot(1, "p2")]));
    let error = fill_tail_slots(&mut all.maps, &programs(&[(7, 4)])).unwrap_err();
    assert_eq!(error.code(), "E0118");
    assert!(error.to_string().contains("key 4") && error.to_string().contains("id 7"), "{error}");
}

fn program(name: &str, tail: (u32, u32)) -> ProgramSpec {
    ProgramSpec {
        name: name.to_owned(),
        section: format!("{}/{}", tail.0, tail.1),
        function: FuncId(0),
        kind: ProgramType::UNSPEC,
        attach: crate::AttachType::default(),
        attach_target: None,
        flags: 0,
        autoload: true,
        tail: Some(tail),
    }
}
