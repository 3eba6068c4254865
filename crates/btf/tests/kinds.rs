//! Every kind through writing, reading, sizes and text, in both byte orders; split BTF; unknown kinds.

mod support;

use std::sync::Arc;

use onebpf_btf::*;
use support::{FIXTURES, every_kind};

fn id(kind: Kind) -> TypeId {
    TypeId(kind as u32)
}

#[test]
fn every_kind_round_trips_in_both_byte_orders() {
    for endian in [Endian::Little, Endian::Big] {
        let builder = every_kind(endian);
        let btf = Btf::from_vec(builder.build().expect("builds")).expect("parses");
        btf.validate().expect("valid");
        assert_eq!(btf.endian(), endian);
        assert_eq!(btf.type_count(), 20);
        assert_eq!(Builder::from_btf(&btf).expect("owned"), builder);
        for kind in Kind::ALL {
            assert_eq!(btf.get(id(kind)).expect("decodes").kind, kind);
        }
    }
}

#[test]
fn clang_objects_round_trip_and_validate() {
    for fixture in FIXTURES {
        let btf = fixture.parse();
        btf.validate().expect("valid");
        assert_eq!(btf.endian(), fixture.endian);
        let builder = Builder::from_btf(&btf).expect("owned");
        let again = Btf::from_vec(builder.build().expect("builds")).expect("parses");
        assert_eq!(Builder::from_btf(&again).expect("owned"), builder);
        let mut seen: Vec<Kind> = btf.types().map(|ty| ty.expect("decodes").kind).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, Kind::ALL[1..], "the fixture holds every kind");
    }
}

#[test]
fn both_byte_orders_say_the_same() {
    let [little, big] = FIXTURES.map(|fixture| Builder::from_btf(&fixture.parse()).expect("owned"));
    assert_eq!(little.types, big.types);
}

#[test]
fn sizes_and_alignments_follow_libbpf() {
    let btf = FIXTURES[0].parse();
    let find = |name, kind| btf.find(name, kind).expect("there");
    let size = |name, kind| btf.size_of(find(name, kind)).expect("size");
    assert_eq!(size("everything", Kind::Struct), 152);
    assert_eq!(size("sample", Kind::Var), 152);
    assert_eq!(size("_license", Kind::Var), 4);
    assert_eq!(size("u64", Kind::Typedef), 8);
    assert_eq!(size("huge", Kind::Enum64), 8);
    let align = |name, kind| btf.align_of(find(name, kind)).expect("alignment");
    assert_eq!(align("everything", Kind::Struct), 8);
    assert_eq!(align("tight", Kind::Struct), 1);
    assert_eq!(align("number", Kind::Union), 4);
    for (name, kind) in [("unseen", Kind::Fwd), ("entry", Kind::Func)] {
        assert_eq!(btf.size_of(find(name, kind)).expect_err("no size").code(), "E0210");
    }
    assert_eq!(btf.strip(find("debug", Kind::Var)).expect("itself").kind, Kind::Var);
}

#[test]
fn names_are_found_with_and_without_the_index() {
    let btf = FIXTURES[0].parse();
    for _ in 0..10 {
        let entry = btf.find("entry", Kind::Func).expect("a function");
        assert_eq!(btf.find("entry", Kind::Struct), None);
        assert_eq!(btf.find_all("entry").collect::<Vec<_>>(), [entry]);
        assert_eq!(btf.find("", Kind::Ptr), None);
        assert_eq!(btf.find("everythin", Kind::Struct), None);
        assert_eq!(
            btf.find("everything", Kind::Struct).map(|id| btf.get(id).unwrap().name),
            Some("everything")
        );
    }
}

#[test]
fn clang_types_read_as_the_c_they_came_from() {
    let btf = FIXTURES[1].parse();
    let find = |name, kind| btf.find(name, kind).expect("there");
    let text = btf
        .definition_with(find("everything", Kind::Struct), DefinitionStyle { offsets: true })
        .expect("text");
    let expected = "struct everything {
\tchar name[16]; /* 0 */
\tvolatile const u32 *once; /* 16 */
\tu32 * restrict apart; /* 24 */
\tstruct unseen *far; /* 32 */
\tint (*callback)(struct everything *, const char *, ...); /* 40 */
\tunion {
\t\tu64 stamp; /* 48 */
\t\tstruct {
\t\t\tu32 low; /* 48 */
\t\t\tu32 high; /* 52 */
\t\t}; /* 48 */
\t}; /* 48 */
\tstruct bits bits; /* 56 */
\tunion number number; /* 64 */
\tstruct tight tight; /* 68 */
\tenum color color; /* 80 */
\tenum huge huge; /* 88 */
\tfloat f; /* 96 */
\tdouble d; /* 104 */
\tu32 grid[2][3]; /* 112 */
\tu32 __attribute__((btf_type_tag(\"user\"))) *user; /* 136 */
\tu32 tagged; /* 144 */
\tu64 tail[0]; /* 152 */
};";
    assert_eq!(text, expected);
    let definition = |name, kind| btf.definition(find(name, kind)).expect("text");
    assert_eq!(
        definition("bits", Kind::Struct),
        "struct bits {\n\tu32 a: 3;\n\tint b: 5;\n\tu64 c: 40;\n\tenum sign s: 2;\n\t_Bool flag;\n};"
    );
    assert_eq!(
        definition("tight", Kind::Struct),
        "struct tight {\n\tu8 head;\n\tu64 body;\n} __attribute__((packed));"
    );
    assert_eq!(definition("sign", Kind::Enum), "enum sign {\n\tMINUS = -1,\n\tPLUS = 1,\n};");
    assert_eq!(definition("u8", Kind::Typedef), "typedef unsigned char u8;");
    assert_eq!(definition("helper", Kind::Func), "int helper(struct everything *it, u32 unused);");
    assert_eq!(definition("CONFIG_HZ", Kind::Var), "extern u64 CONFIG_HZ;");
    assert_eq!(definition("hidden_total", Kind::Var), "static volatile u64 hidden_total;");
    assert_eq!(
        definition("flows", Kind::Var),
        "struct {\n\tint (*type)[2];\n\tu32 *key;\n\tstruct everything *value;\n} flows;"
    );
    assert_eq!(btf.declare(TypeId::VOID, "").expect("void"), "void");
}

#[test]
fn split_types_go_on_where_the_base_ends() {
    let base = Btf::from_vec(every_kind(Endian::Little).build().unwrap()).unwrap();
    let mut builder = Builder::over(&base);
    assert_eq!(builder.first_id(), TypeId(20));
    let pointer = builder.push(OwnedType::new("", OwnedDef::Ptr(id(Kind::Struct))));
    let alias = builder.push(OwnedType::new("alias", OwnedDef::Typedef(pointer)));
    let again = builder.push(OwnedType::new("s", OwnedDef::Typedef(alias)));

    let bytes = builder.build().unwrap();
    let split = Btf::parse_split(Arc::new(bytes.clone()), &base).unwrap();
    split.validate().unwrap();
    assert_eq!((split.type_count(), split.first_own_id()), (23, TypeId(20)));
    assert_eq!(split.types().count(), 3);
    assert_eq!(split.declare(alias, "x").unwrap(), "alias x");
    assert_eq!(split.definition(alias).unwrap(), "typedef struct s *alias;");
    assert_eq!(split.get(id(Kind::Struct)).unwrap().name, "s");
    assert_eq!(split.find("s", Kind::Struct), Some(id(Kind::Struct)));
    assert_eq!(split.find("s", Kind::Typedef), Some(again));
    assert_eq!(split.find_own("s", Kind::Struct), None);
    assert_eq!(split.find_all("s").collect::<Vec<_>>(), [id(Kind::Struct), again]);
    assert_eq!(Builder::from_btf(&split).unwrap(), builder);
    assert_ne!(Btf::from_vec(bytes), Ok(split), "over another base it is another BTF");
}

/// `every_kind` with a layout section, and the typedef changed into kind 21 of the same shape.
fn with_unknown_kind(endian: Endian, layout_rows: usize) -> Vec<u8> {
    with_layout(endian, layout_rows, 21)
}

/// `every_kind` with a layout section, and this number as the kind of the typedef.
fn with_layout(endian: Endian, layout_rows: usize, typedef_kind: u32) -> Vec<u8> {
    let plain = every_kind(endian).build().unwrap();
    let btf = Btf::from_vec(plain.clone()).unwrap();
    let word = |value: u32| if endian == Endian::Little { value.to_le_bytes() } else { value.to_be_bytes() };
    let get = |at: usize| {
        let bytes = plain[at..at + 4].try_into().unwrap();
        if endian == Endian::Little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }
    };
    let (types_len, strings_len) = (get(12), get(20));
    let mut out = plain[..4].to_vec();
    let layout_len = layout_rows as u32 * 4;
    for value in [32, 0, types_len, types_len + layout_len, strings_len, types_len, layout_len] {
        out.extend(word(value));
    }
    let mut types = plain[24..24 + types_len as usize].to_vec();
    let typedef = btf.get(id(Kind::Typedef)).unwrap();
    let at = types.windows(8).position(|w| w[4..] == word(8 << 24)).expect("the typedef");
    assert_eq!(typedef.name, "t");
    types[at + 4..at + 8].copy_from_slice(&word(typedef_kind << 24));
    out.extend(types);
    out.extend(std::iter::repeat_n([0u8; 4], layout_rows).flatten());
    out.extend(&plain[24 + types_len as usize..]);
    out
}

#[test]
fn unknown_kinds_are_passed_over_by_their_layout() {
    for endian in [Endian::Little, Endian::Big] {
        let btf = Btf::from_vec(with_unknown_kind(endian, 22)).expect("parses");
        assert!(btf.has_layout());
        assert_eq!(btf.type_count(), 20);
        assert_eq!(btf.get(id(Kind::Enum64)).expect("after the unknown one").name, "e64");
        let error = btf.get(id(Kind::Typedef)).expect_err("unknown");
        assert_eq!(error.code(), "E0205");
        assert!(error.to_string().contains("unknown kind 21"), "{error}");
        btf.validate().expect("passed over");
        assert_eq!(btf.find("e64", Kind::Enum64), Some(id(Kind::Enum64)));

        let btf = Btf::from_vec(with_unknown_kind(endian, 20)).expect("the header is fine");
        let error = btf.validate().expect_err("no layout of kind 21");
        assert_eq!((error.code(), error.place().type_id), ("E0205", Some(id(Kind::Typedef))));
        assert!(error.place().offset.is_some());
        assert_eq!(btf.type_count(), 9, "the type where reading stops counts");
        assert_eq!(btf.get(id(Kind::Fwd)).expect("before it").name, "far");
        assert_eq!(btf.get(id(Kind::Typedef)).expect_err("says why"), error);
    }
}

#[test]
fn the_layout_section_goes_if_the_kernel_does_not_know_it() {
    for endian in [Endian::Little, Endian::Big] {
        let btf = Btf::from_vec(with_layout(endian, 20, 8)).expect("parses");
        btf.validate().expect("valid");
        assert!(matches!(downgrade(&btf, &BtfFeatures::all()), Ok(std::borrow::Cow::Borrowed(_))));
        let old = downgrade(&btf, &BtfFeatures { layout: false, ..BtfFeatures::all() }).expect("downgraded");
        assert!(btf.has_layout() && !old.has_layout());
        assert_eq!(Builder::from_btf(&old), Builder::from_btf(&btf));
    }
}
