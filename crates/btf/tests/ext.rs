//! `.BTF.ext`: clang's, and what is wrong with others.

mod support;

use onebpf_btf::ext::{BtfExt, CoreRelo, CoreReloKind, FuncInfo, LineInfo, write_records};
use onebpf_btf::*;
use support::FIXTURES;

#[test]
fn clang_records_are_read_in_both_byte_orders() {
    for fixture in FIXTURES {
        let btf = fixture.parse();
        let ext = BtfExt::parse(fixture.ext, fixture.endian).expect("clang's .BTF.ext");
        let mut functions = Vec::new();
        for section in ext.func_infos() {
            let name = btf.string(section.name_off).expect("a section's name");
            for info in section.records {
                functions.push((name, info.insn_off, btf.get(info.type_id).expect("a FUNC").name));
            }
        }
        assert_eq!(functions, [(".text", 0, "helper"), ("tc", 0, "entry")]);

        let source = std::fs::read_to_string(support::source()).expect("the source");
        let mut count = 0;
        for info in ext.line_infos().flat_map(|section| section.records) {
            assert_eq!(btf.string(info.file_name_off), Ok("./kinds.c"));
            let text = btf.string(info.line_off).expect("the line");
            let line = source.lines().nth(info.line() as usize - 1);
            assert_eq!(line.map(str::trim_end), Some(text.trim_end()), "line {}", info.line());
            assert!(info.column() as usize <= text.len());
            count += 1;
        }
        assert!(count > 4);

        let relos: Vec<CoreRelo> = ext.core_relos().flat_map(|section| section.records).collect();
        let relos: Vec<_> = relos
            .iter()
            .map(|relo| (relo.kind, relo.type_id, btf.string(relo.access_str_off).unwrap()))
            .collect();
        let find = |name, kind| btf.find(name, kind).expect("there");
        let everything = (CoreReloKind::FieldByteOffset, find("everything", Kind::Struct), "0:9");
        assert_eq!(relos, [everything, (CoreReloKind::EnumvalValue, find("huge", Kind::Enum64), "1")]);
    }
}

#[test]
fn written_records_are_read_back() {
    let func = FuncInfo { insn_off: 3, type_id: TypeId(9) };
    let line = LineInfo { insn_off: 1, file_name_off: 2, line_off: 3, line_col: 7 << 10 | 5 };
    assert_eq!((line.line(), line.column()), (7, 5));
    for endian in [Endian::Little, Endian::Big] {
        assert_eq!(write_records(&[func, func], endian).len(), 16);
        assert_eq!(write_records(&[line], endian).len(), 16);
    }
    assert_eq!(write_records(&[func], Endian::Big), [0, 0, 0, 3, 0, 0, 0, 9]);
    let relo =
        CoreRelo { insn_off: 8, type_id: TypeId(1), access_str_off: 0, kind: CoreReloKind::TypeMatches };
    assert_eq!(write_records(&[relo], Endian::Little)[12..], [12, 0, 0, 0]);
}

#[test]
fn relocation_kinds_have_numbers_and_names() {
    for (number, (kind, name)) in CoreReloKind::ALL.into_iter().enumerate() {
        assert_eq!(CoreReloKind::from_number(number as u32), kind);
        assert_eq!((kind.number(), kind.name()), (number as u32, name));
    }
    assert_eq!(CoreReloKind::from_number(13), CoreReloKind::Unknown(13));
    assert_eq!(CoreReloKind::Unknown(13).to_string(), "unknown(13)");
}

#[test]
fn string_offsets_outlive_editing() {
    let fixture = &FIXTURES[0];
    let before = fixture.parse();
    let mut builder = Builder::from_btf(&before).unwrap();
    let note = builder.add_string("return 0;").expect("added");
    builder.push(OwnedType::new("a_new_name", OwnedDef::Typedef(TypeId(2))));
    let built = Btf::from_vec(builder.build().unwrap()).unwrap();
    let old = BtfFeatures { func: false, ..BtfFeatures::all() };
    let after = downgrade(&built, &old).expect("downgraded");
    let ext = BtfExt::parse(fixture.ext, fixture.endian).unwrap();
    for line in ext.line_infos().flat_map(|section| section.records) {
        assert_eq!(after.string(line.line_off), before.string(line.line_off));
        assert_eq!(after.string(line.file_name_off), Ok("./kinds.c"));
    }
    assert_eq!(after.string(note), Ok("return 0;"));
    assert_eq!(builder.add_string(""), Ok(0));
    assert_eq!(builder.add_string("a\0b").expect_err("a NUL").code(), "E0207");
}

/// A header of 24 bytes, one section of functions with this record size and this many bytes of records.
fn ext(record_size: u32, count: u32, bytes: usize) -> Vec<u8> {
    let mut out = vec![0x9f, 0xeb, 1, 0];
    let len = 12 + bytes as u32;
    for word in [24, 0, len, len, 0, record_size, 1, count] {
        out.extend(word.to_le_bytes());
    }
    out.extend((0..bytes).map(|n| n as u8));
    out
}

#[test]
fn longer_records_are_cut_and_shorter_ones_refused() {
    let long = ext(16, 2, 32);
    let parsed = BtfExt::parse(&long, Endian::Little).expect("accepted");
    let section = parsed.func_infos().next().expect("a section");
    assert_eq!((section.name_off, section.records.len()), (1, 2));
    assert_eq!(
        section.records.get(1),
        Some(FuncInfo { insn_off: 0x1312_1110, type_id: TypeId(0x1716_1514) })
    );
    assert_eq!(section.records.get(2), None);
    assert_eq!((parsed.line_infos().count(), parsed.core_relos().count()), (0, 0));

    for (bytes, what) in [
        (ext(4, 2, 8), "record size is 4"),
        (ext(10, 1, 10), "record size is 10"),
        (ext(8, 3, 16), "cut short"),
        (ext(8, 0, 0), "none"),
        (ext(8, 1, 8)[..40].to_vec(), "end outside"),
        (ext(8, 1, 8)[..10].to_vec(), "header is cut short"),
        (vec![1, 2, 3, 4], "magic"),
        (vec![0x9f, 0xeb, 2, 0], "version"),
    ] {
        let error = BtfExt::parse(&bytes, Endian::Little).expect_err(what);
        assert_eq!(error.code(), "E0211");
        assert!(error.to_string().contains(what), "{error} is not about {what}");
    }
    assert!(BtfExt::parse(FIXTURES[0].ext, Endian::Big).is_err(), "the other byte order");
}
