//! Every error code of the crate, triggered, with what it says.

mod support;

use onebpf_btf::ext::BtfExt;
use onebpf_btf::*;
use support::every_kind;

fn build(types: Vec<OwnedType>) -> Vec<u8> {
    let mut builder = Builder::new(Endian::Little);
    builder.types = types;
    builder.build().expect("builds")
}

fn parse(bytes: Vec<u8>) -> Btf {
    Btf::from_vec(bytes).expect("parses")
}

/// The valid blob with one byte changed.
fn with(at: usize, byte: u8) -> Vec<u8> {
    let mut bytes = every_kind(Endian::Little).build().unwrap();
    bytes[at] = byte;
    bytes
}

fn invalid(types: Vec<OwnedType>) -> Error {
    parse(build(types)).validate().expect_err("invalid")
}

fn chain(links: u32) -> Vec<OwnedType> {
    let mut types = vec![OwnedType::int("int", 4, IntEncoding::SIGNED)];
    types.extend((1..links).map(|id| OwnedType::new("", OwnedDef::Const(TypeId(id)))));
    types
}

#[test]
fn every_code_is_triggered() {
    let valid = every_kind(Endian::Little).build().unwrap();
    let parse_error = |bytes: Vec<u8>| Btf::from_vec(bytes).expect_err("refused");
    let size = |types: Vec<OwnedType>| {
        let last = TypeId(types.len() as u32);
        parse(build(types)).size_of(last).expect_err("no size")
    };
    let array = |elem| OwnedType::new("", OwnedDef::Array { elem, index: TypeId(1), count: u32::MAX });
    let mut builder = every_kind(Endian::Little);
    let cases = [
        (parse_error(vec![]), "E0201", "BTF header: shorter than its magic"),
        (parse_error(valid[..20].to_vec()), "E0201", "BTF header: shorter than 24 bytes"),
        (
            parse_error(valid[..100].to_vec()),
            "E0201",
            "byte 0x8: BTF header: the type section ends outside the data",
        ),
        (parse_error(with(4, 23)), "E0201", "byte 0x4: BTF header: hdr_len is less than 24"),
        (parse_error(with(0, 0)), "E0202", "not BTF: magic 0xeb00, expected 0xeb9f in either byte order"),
        (parse_error(with(2, 2)), "E0202", "byte 0x2: BTF version 2, only version 1 is known"),
        (parse_error(with(valid.len() - 1, 1)), "E0203", "string section: does not end with NUL"),
        (
            parse(with(26, 9)).get(TypeId(1)).unwrap_err(),
            "E0203",
            "[1] at byte 0x18: string offset 589825 is outside",
        ),
        (
            parse(valid.clone()).get(TypeId(20)).unwrap_err(),
            "E0204",
            "there is no type [20], the last one is [19]",
        ),
        (
            invalid(vec![OwnedType::new("", OwnedDef::Ptr(TypeId(7)))]),
            "E0204",
            "BTF type [1]: there is no type [7]",
        ),
        (parse(with(31, 99)).validate().unwrap_err(), "E0205", "BTF type [1] at byte 0x18: unknown kind 99"),
        (parse(with(12, valid[12] - 4)).validate().unwrap_err(), "E0206", "ENUM64 is cut short"),
        (
            invalid(vec![OwnedType::new("x", OwnedDef::Float { size: 3 })]),
            "E0207",
            "BTF type [1]: FLOAT of 3 bytes",
        ),
        (size(chain(34)), "E0208", "types nest deeper than 32 levels, or in a circle"),
        (
            invalid(vec![OwnedType::new("t", OwnedDef::Typedef(TypeId(1)))]),
            "E0208",
            "[1]: holds itself by value",
        ),
        (size(vec![array(TypeId(2)), array(TypeId(1))]), "E0209", "size is over 4 GiB"),
        (parse(valid.clone()).size_of(TypeId::VOID).unwrap_err(), "E0210", "BTF type [0]: VOID has no size"),
        (BtfExt::parse(&[], Endian::Little).unwrap_err(), "E0211", ".BTF.ext: header is cut short"),
        (
            parse(valid).render_value(TypeId(1), &[0], &ValueStyle::default()).unwrap_err(),
            "E0212",
            "BTF type [1]: value: 1 bytes, but the type has 4",
        ),
        (
            too_far().build().unwrap_err(),
            "E0213",
            "bit offset of a member is 16777216, the encoding ends at 16777215",
        ),
        (
            fix_datasecs(&mut builder, &|_| None, &|_, _| None).err().unwrap_or_else(not_a_variable),
            "E0214",
            "no variable",
        ),
    ];
    for (error, code, text) in &cases {
        assert_eq!(error.code(), *code, "{error}");
        assert!(error.to_string().contains(text), "`{error}` does not say `{text}`");
        assert!(!error.to_string().contains('\n'));
    }
    // Those of CO-RE: core.rs.
    let elsewhere = ["E0215", "E0216"];
    for (code, title) in CODES.iter().filter(|(code, _)| !elsewhere.contains(code)) {
        assert!(cases.iter().any(|case| case.1 == *code), "{code} ({title}) is not triggered");
    }
}

/// A bitfield further out than 24 bits can say.
fn too_far() -> Builder {
    let mut builder = every_kind(Endian::Little);
    let id = builder.find("s", Kind::Struct).expect("the struct");
    if let OwnedDef::Struct { members, .. } = &mut builder.get_mut(id).expect("own").def {
        members[1].bit_offset = 1 << 24;
    }
    builder
}

fn not_a_variable() -> Error {
    let mut builder = Builder::new(Endian::Little);
    let int = builder.push(OwnedType::int("int", 4, IntEncoding::SIGNED));
    let vars = vec![Secinfo { ty: int, offset: 0, size: 4 }];
    builder.push(OwnedType::new(".data", OwnedDef::Datasec { size: 4, vars }));
    fix_datasecs(&mut builder, &|_| None, &|_, _| None).expect_err("no variable")
}

#[test]
fn rules_of_single_kinds() {
    let int = || OwnedType::int("int", 4, IntEncoding::SIGNED);
    let member = |ty, bit_offset| OwnedMember { name: "m".into(), ty, bit_offset, bit_size: None };
    let one = TypeId(1);
    let cases = [
        (
            OwnedDef::Int { size: 1, bits: 8, offset: 1, encoding: IntEncoding::UNSIGNED },
            "cannot hold 8 bits at bit 1",
        ),
        (OwnedDef::Enum { size: 3, signed: false, values: vec![] }, "ENUM of 3 bytes"),
        (OwnedDef::Array { elem: TypeId::VOID, index: one, count: 1 }, "ARRAY of void"),
        (
            OwnedDef::Struct { size: 4, members: vec![member(one, 8)] },
            "member `m` ends at bit 40, the type has 4 bytes",
        ),
        (OwnedDef::Union { size: 8, members: vec![member(TypeId(2), 0)] }, "holds itself"),
        (
            OwnedDef::Func { proto: one, linkage: FuncLinkage::Static },
            "FUNC of [1], which is INT, not FUNC_PROTO",
        ),
        (
            OwnedDef::Datasec { size: 0, vars: vec![Secinfo { ty: one, offset: 0, size: 4 }] },
            "DATASEC holds [1]",
        ),
        (OwnedDef::DeclTag { target: one, component: 0 }, "DECL_TAG of part 0 of [1], which has 0"),
    ];
    for (def, text) in cases {
        let error = invalid(vec![int(), OwnedType::new("t", def)]);
        assert!(error.to_string().contains(text), "`{error}` does not say `{text}`");
        assert_eq!(error.place().type_id, Some(TypeId(2)));
    }
    let mut bytes =
        build(vec![int(), OwnedType::new("v", OwnedDef::Var { ty: one, linkage: VarLinkage::Extern })]);
    let linkage = 24 + 16 + 12;
    bytes[linkage] = 3;
    assert_eq!(parse(bytes).get(TypeId(2)).unwrap_err().code(), "E0207");
    let wide = OwnedDef::Enum {
        size: 4,
        signed: true,
        values: vec![OwnedEnumValue { name: "X".into(), value: 1 << 31 }],
    };
    let mut builder = Builder::new(Endian::Little);
    builder.push(OwnedType::new("e", wide));
    assert!(
        builder.build().expect_err("too large").to_string().contains("`X` = 2147483648 does not fit 32 bits")
    );
}

#[test]
fn names_that_are_not_text() {
    let mut bytes = build(vec![
        OwnedType::int("ab", 4, IntEncoding::SIGNED),
        OwnedType::int("cd", 4, IntEncoding::SIGNED),
    ]);
    let at = bytes.len() - 6;
    bytes[at] = 0xff;
    let btf = parse(bytes);
    assert_eq!(btf.get(TypeId(1)).expect_err("not UTF-8").code(), "E0203");
    assert_eq!(btf.get(TypeId(2)).expect("text").name, "cd");
    assert_eq!(btf.find("cd", Kind::Int), Some(TypeId(2)));
}
