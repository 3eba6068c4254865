//! CO-RE: a random graph of types against another that was made from it. See `graphs.rs` for what is random.

#![no_main]

#[path = "../../crates/btf/tests/support/graphs.rs"]
mod graphs;

use graphs::{Case, Shape};
use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use onebpf_btf::{Btf, CoreRelo, Endian, Fixup, Matcher, TypeId};

type Answer = Result<Fixup, String>;

fuzz_target!(|bytes: &[u8]| {
    let mut u = Unstructured::new(bytes);
    let shape = u.choose(&[Shape::Crowded, Shape::Plain, Shape::Wild]).copied().unwrap_or(Shape::Wild);
    let endian = if u.ratio(1u32, 8u32).unwrap_or(false) { Endian::Big } else { Endian::Little };
    let Ok(case) = Case::arbitrary(&mut u, shape, endian) else { return };
    let first = ask(&case.local, &case.target, &case.relos);
    assert_eq!(first, ask(&case.local, &case.target, &case.relos), "the same questions, the same answers");
    types_do_not_meddle(&case, &first);
    if shape == Shape::Plain {
        finds_itself(&case);
    }
});

fn ask(local: &Btf, target: &Btf, relos: &[CoreRelo]) -> Vec<Answer> {
    let mut matcher = Matcher::new(local, &[target]);
    let answer = |relo| {
        assert!(!matcher.describe(relo).is_empty() && !matcher.explain(relo).is_empty());
        matcher.resolve(relo).map_err(|error| error.to_string())
    };
    relos.iter().map(answer).collect()
}

/// Relocations of one local type depend on each other's order, for they narrow its candidates; those of another do not.
fn types_do_not_meddle(case: &Case, first: &[Answer]) {
    let ids: std::collections::BTreeSet<TypeId> = case.relos.iter().map(|relo| relo.type_id).collect();
    for id in ids {
        let own = |n: &usize| case.relos[*n].type_id == id;
        let places: Vec<usize> = (0..case.relos.len()).filter(own).collect();
        let relos: Vec<CoreRelo> = places.iter().map(|n| case.relos[*n]).collect();
        let alone = ask(&case.local, &case.target, &relos);
        let together: Vec<Answer> = places.iter().map(|n| first[*n].clone()).collect();
        assert_eq!(alone, together, "relocations of other types change nothing");
    }
}

fn finds_itself(case: &Case) {
    for (relo, answer) in case.relos.iter().zip(ask(&case.local, &case.local, &case.relos)) {
        if let Ok(fixup) = answer {
            let same = fixup.new_value == fixup.orig_value && fixup.new_size == fixup.orig_size;
            assert!(
                same && !fixup.poison && !fixup.fail_memsz_adjust,
                "{relo:?} in its own types: {fixup:?}"
            );
        }
    }
}
