//! Every downgrade step, word for word: what libbpf's `bpf_object__sanitize_btf` makes of the same types.

use onebpf_btf::{Btf, BtfFeatures, Builder, DOWNGRADE_STEPS, DowngradeStep, downgrade};

const STRINGS: &[u8] = b"\0int\0v\0?.data\0f\0p\0tag\0float\0e\0A\0B\0";
const INT: u32 = 1;
const V: u32 = 5;
const SECTION: u32 = 7;
const F: u32 = 14;
const P: u32 = 16;
const TAG: u32 = 18;
const FLOAT: u32 = 22;
const E: u32 = 28;
const A: u32 = 30;
const B: u32 = 32;
/// Where the first new string goes.
const NEW: u32 = 34;
const KFLAG: u32 = 1 << 31;

const fn info(kind: u32, vlen: u32) -> u32 {
    kind << 24 | vlen
}

/// Type 1 in every case.
const THE_INT: [u32; 4] = [INT, 1 << 24, 4, 1 << 24 | 32];
/// What stands for a variable or a declaration tag: one byte, unsigned.
const fn byte(name: u32) -> [u32; 4] {
    [name, 1 << 24, 1, 8]
}

struct Case {
    step: &'static str,
    lacks: fn(&mut BtfFeatures),
    before: Vec<u32>,
    after: Vec<u32>,
    new_strings: &'static [u8],
}

fn case(
    step: &'static str,
    lacks: fn(&mut BtfFeatures),
    before: &[&[u32]],
    after: &[&[u32]],
    new_strings: &'static [u8],
) -> Case {
    Case { step, lacks, before: before.concat(), after: after.concat(), new_strings }
}

fn cases() -> Vec<Case> {
    sections().into_iter().chain(functions()).chain(kinds()).collect()
}

const A_VAR: &[u32] = &[V, info(14, 0), 1, 0];
const A_PROTO: &[u32] = &[0, info(13, 2), 1, P, 1, A, 1];

fn sections() -> Vec<Case> {
    let (var, proto) = (A_VAR, A_PROTO);
    let section: &[u32] = &[SECTION, info(15, 1), 16, 2, 8, 4];
    vec![
        case("VAR to INT", |f| f.datasec = false, &[var], &[&byte(V)], b""),
        case(
            "DATASEC to STRUCT",
            |f| f.datasec = false,
            &[var, section],
            &[&byte(V), &[NEW, info(4, 1), 16, V, 2, 64]],
            b"__data\0",
        ),
        case(
            "DECL_TAG to INT",
            |f| f.decl_tag = false,
            &[var, &[TAG, info(17, 0), 2, u32::MAX], proto, &[F, info(12, 1), 4], &[TAG, info(17, 0), 5, 1]],
            &[var, &byte(TAG), proto, &[F, info(12, 1), 4], &byte(TAG)],
            b"",
        ),
        case(
            "`?` of DATASEC names to `_`",
            |f| f.qmark_datasec = false,
            &[var, section],
            &[var, &[NEW, info(15, 1), 16, 2, 8, 4]],
            b"_.data\0",
        ),
    ]
}

fn functions() -> Vec<Case> {
    let proto = A_PROTO;
    let unnamed: &[u32] = &[0, info(13, 2), 0, 0, 1, 0, 0];
    let global: &[u32] = &[F, info(12, 1), 2];
    vec![
        case("FUNC_PROTO to ENUM", |f| f.func = false, &[proto], &[&[0, info(6, 2), 4, P, 1, A, 1]], b""),
        // libbpf leaves unnamed values here, which the kernel refuses.
        case(
            "FUNC_PROTO to ENUM",
            |f| f.func = false,
            &[unnamed],
            &[&[0, info(6, 2), 4, NEW, 1, NEW + 5, 0]],
            b"arg0\0arg1\0",
        ),
        case(
            "FUNC to TYPEDEF",
            |f| f.func = false,
            &[proto, global],
            &[&[0, info(6, 2), 4, P, 1, A, 1], &[F, info(8, 0), 2]],
            b"",
        ),
        case(
            "global FUNC to static",
            |f| f.func_global = false,
            &[proto, global, &[A, info(12, 2), 2], &[B, info(12, 0), 2]],
            &[proto, &[F, info(12, 0), 2], &[A, info(12, 0), 2], &[B, info(12, 0), 2]],
            b"",
        ),
    ]
}

fn kinds() -> Vec<Case> {
    vec![
        case(
            "FLOAT to STRUCT",
            |f| f.float = false,
            &[&[FLOAT, info(16, 0), 8]],
            &[&[0, info(4, 0), 8]],
            b"",
        ),
        case(
            "TYPE_TAG to CONST",
            |f| f.type_tag = false,
            &[&[TAG, info(18, 0), 1]],
            &[&[0, info(10, 0), 1]],
            b"",
        ),
        case(
            "ENUM64 to UNION, signed ENUM to unsigned",
            |f| f.enum64 = false,
            &[
                &[E, info(6, 2) | KFLAG, 4, A, u32::MAX, B, 1],
                &[0, info(19, 2) | KFLAG, 8, A, u32::MAX, u32::MAX, B, 1, 2],
            ],
            &[
                &[E, info(6, 2), 4, A, u32::MAX, B, 1],
                &[0, info(5, 2), 8, A, 4, 0, B, 4, 0],
                &[NEW, 1 << 24, 1, 8],
            ],
            b"enum64_placeholder\0",
        ),
    ]
}

#[test]
fn word_for_word() {
    for Case { step, lacks, before, after, new_strings } in cases() {
        let mut features = BtfFeatures::all();
        lacks(&mut features);
        let btf = Btf::from_vec(blob(&before, STRINGS)).unwrap();
        let new = downgrade(&btf, &features).unwrap();
        let wanted = blob(&after, &[STRINGS, new_strings].concat());
        assert_eq!(new.bytes(), wanted, "{step}");
        new.validate().unwrap();

        let rewrites = Builder::from_btf(&btf).unwrap().types;
        let mut found = rewrites.iter().filter_map(|ty| DowngradeStep::find(ty, &features));
        assert!(found.any(|found| found.rewrites == step), "{step}");
    }
}

#[test]
fn every_step_has_a_case() {
    let cases = cases();
    for step in DOWNGRADE_STEPS {
        assert!(cases.iter().any(|case| case.step == step.rewrites), "{}", step.rewrites);
    }
}

fn blob(types: &[u32], strings: &[u8]) -> Vec<u8> {
    let types: Vec<u8> = THE_INT.iter().chain(types).flat_map(|word| word.to_ne_bytes()).collect();
    let (type_len, str_len) = (types.len() as u32, strings.len() as u32);
    let header = [24, 0, type_len, type_len, str_len].map(u32::to_ne_bytes).concat();
    [&0xeb9f_u16.to_ne_bytes()[..], &[1, 0], &header, &types, strings].concat()
}
