//! Bytes read by their types: what clang put into `.data`, in both byte orders, and odd cases by hand.

mod support;

use onebpf_btf::*;
use support::{FIXTURES, every_kind};

const SAMPLE: &str = "{ .name = \"eth0\", .once = 0x0, .apart = 0x0, .far = 0x0, .callback = 0x0, \
    .stamp = 8589934593, LOW_HIGH, .bits = { .a = 5, .b = -3, .c = 78187493530, .s = MINUS, .flag = true }, \
    .number = { .whole = 16909060, .bytes = BYTES }, .tight = { .head = 7, .body = 8 }, .color = GREEN, \
    .huge = LARGE, .f = 1.5, .d = -0.25, .grid = [[1, 2, 3], [4, 5, 6]], .user = 0x0, .tagged = 77, \
    .tail = [11, 12] }";

#[test]
fn a_global_variable_reads_as_it_was_initialised() {
    for fixture in FIXTURES {
        let btf = fixture.parse();
        let id = btf.find("sample", Kind::Var).expect("there");
        let value = btf.render_value(id, &fixture.data[8..], &ValueStyle::default()).expect("a value");
        // In a union, the byte order shows.
        let expected = match fixture.endian {
            Endian::Little => {
                SAMPLE.replace("LOW_HIGH", ".low = 1, .high = 2").replace("BYTES", "[4, 3, 2, 1]")
            }
            Endian::Big => SAMPLE.replace("LOW_HIGH", ".low = 2, .high = 1").replace("BYTES", "[1, 2, 3, 4]"),
        };
        assert_eq!(value.to_string(), expected);

        let json = serde_json::to_value(&value).expect("JSON");
        assert_eq!(json["name"], "eth0");
        assert_eq!(json["huge"], "LARGE");
        assert_eq!(json["far"], "0x0");
        assert_eq!(json["bits"]["flag"], true);
        assert_eq!(json["tail"], serde_json::json!([11, 12]));
    }
}

#[test]
fn a_data_section_reads_as_its_variables() {
    for fixture in FIXTURES {
        let mut builder = Builder::from_btf(&fixture.parse()).unwrap();
        let offset =
            |name: &str| ["counter", "shy", "sample"].iter().position(|n| *n == name).unwrap_or_default() * 4;
        let symbol = |_: &str, name: &str| Some(VarSymbol { offset: offset(name) as u32, hidden: false });
        fix_datasecs(&mut builder, &|section| Some(if section == ".data" { 176 } else { 24 }), &symbol)
            .expect("fixed");
        let btf = Btf::from_vec(builder.build().unwrap()).unwrap();
        let id = btf.find(".data", Kind::Datasec).expect("there");
        let Value::Struct(fields) = btf.render_value(id, fixture.data, &ValueStyle::default()).unwrap()
        else {
            panic!("not a struct")
        };
        assert_eq!(fields[0], ("counter".into(), Value::Int(3)));
        assert_eq!(fields[1], ("shy".into(), Value::Int(9)));
        let sample = fields[2].1.to_string();
        assert!(fields[2].0 == "sample" && sample.ends_with(".tail = [11, 12] }"), "{sample}");
    }
}

#[test]
fn several_lines_with_the_alternate_form() {
    let value = Value::Struct(vec![
        ("a".into(), Value::Int(-1)),
        ("b".into(), Value::Array(vec![Value::Char(b'x'), Value::Char(0)])),
        (
            "c".into(),
            Value::Array(vec![Value::Struct(vec![]), Value::Struct(vec![("d".into(), Value::Bool(true))])]),
        ),
        ("e".into(), Value::Bytes(vec![0xde, 0xad])),
    ]);
    assert_eq!(
        format!("{value:#}"),
        "{\n    .a = -1,\n    .b = ['x', '\\x00'],\n    .c = [\n        {},\n        {\n            .d = true,\n        \
         },\n    ],\n    .e = 0xdead,\n}"
    );
    assert_eq!(value.to_string(), "{ .a = -1, .b = ['x', '\\x00'], .c = [{}, { .d = true }], .e = 0xdead }");
}

fn one(def: OwnedDef, extra: &[OwnedType]) -> (Btf, TypeId) {
    let mut builder = Builder::new(Endian::Little);
    for ty in extra {
        builder.push(ty.clone());
    }
    let id = builder.push(OwnedType::new("", def));
    (Btf::from_vec(builder.build().unwrap()).unwrap(), id)
}

#[test]
fn characters_and_text() {
    let char_type = OwnedType::int("char", 1, IntEncoding::SIGNED);
    let array = OwnedDef::Array { elem: TypeId(1), index: TypeId(1), count: 4 };
    let (btf, id) = one(array, &[char_type]);
    let read = |bytes: &[u8]| btf.render_value(id, bytes, &ValueStyle::default()).unwrap();
    assert_eq!(read(b"ab\0\0"), Value::Text("ab".into()));
    assert_eq!(read(b"abcd"), Value::Text("abcd".into()));
    assert_eq!(read(b"a\0b\0").to_string(), "['a', '\\x00', 'b', '\\x00']");
    assert_eq!(read(b"\xff\xfe\0\0").to_string(), "['\\xff', '\\xfe', '\\x00', '\\x00']");
    let style = ValueStyle { text: false, ..ValueStyle::default() };
    assert!(matches!(btf.render_value(id, b"abcd", &style), Ok(Value::Array(values)) if values.len() == 4));
    assert_eq!(serde_json::to_string(&read(b"a\0b\0")).unwrap(), "[97,0,98,0]");
}

#[test]
fn wide_and_old_integers() {
    let (btf, id) = one(OwnedDef::Int { size: 16, bits: 128, offset: 0, encoding: IntEncoding::SIGNED }, &[]);
    let value = btf.render_value(id, &(-5i128).to_le_bytes(), &ValueStyle::default()).unwrap();
    assert_eq!(value, Value::Int(-5));
    let big = btf.render_value(id, &i128::MAX.to_le_bytes(), &ValueStyle::default()).unwrap();
    assert_eq!(serde_json::to_string(&big).unwrap(), format!("\"{}\"", i128::MAX));

    // A bitfield as before kind_flag: an INT of 3 bits, 4 bits into its byte.
    let (btf, id) = one(OwnedDef::Int { size: 1, bits: 3, offset: 4, encoding: IntEncoding::UNSIGNED }, &[]);
    assert_eq!(btf.render_value(id, &[0b0101_1111], &ValueStyle::default()), Ok(Value::Int(5)));

    let values = vec![OwnedEnumValue { name: "NO".into(), value: -1 }];
    let (btf, id) = one(OwnedDef::Enum { size: 1, signed: true, values }, &[]);
    let read = |byte: u8| btf.render_value(id, &[byte], &ValueStyle::default()).unwrap();
    assert_eq!(read(0xff), Value::Enum { name: Some("NO".into()), value: -1 });
    assert_eq!(read(0x7f), Value::Enum { name: None, value: 127 });
}

#[test]
fn what_cannot_be_read_says_so() {
    let btf = Btf::from_vec(every_kind(Endian::Little).build().unwrap()).unwrap();
    let style = ValueStyle::default();
    let error = |kind: Kind, bytes: &[u8]| btf.render_value(TypeId(kind as u32), bytes, &style).unwrap_err();
    assert_eq!(error(Kind::Struct, &[0; 15]).code(), "E0212");
    assert_eq!(
        error(Kind::Struct, &[0; 15]).to_string(),
        "BTF type [4]: value: 15 bytes, but the type has 16"
    );
    assert_eq!(error(Kind::Func, &[]).code(), "E0210");
    assert_eq!(error(Kind::Void, &[]).code(), "E0210");

    // An array of 4 G elements of no size ends at the limit, not in an hour.
    let empty = OwnedType::new("nothing", OwnedDef::Struct { size: 0, members: vec![] });
    let (btf, id) = one(OwnedDef::Array { elem: TypeId(1), index: TypeId(1), count: u32::MAX }, &[empty]);
    let style = ValueStyle { max_values: 1000, ..style };
    let error = btf.render_value(id, &[], &style).expect_err("too many");
    assert!(error.to_string().contains("more than 1000 values"), "{error}");
}
