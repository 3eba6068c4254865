//! Changed bytes: no panic, no hang, whatever is asked.

mod support;

use std::sync::Arc;
use std::time::Duration;

use onebpf_btf::ext::BtfExt;
use onebpf_btf::*;
use support::{FIXTURES, every_kind};
use testing::cpu_time;

const ROUNDS: u32 = 20_000;

/// xorshift64*: the same blobs in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit.max(1)
    }
}

fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(8) {
        let at = random.below(bytes.len());
        // Small numbers keep more of the blob readable than any byte would.
        let byte = if random.below(2) == 0 { random.below(24) as u8 } else { random.next() as u8 };
        if let Some(old) = bytes.get_mut(at) {
            *old = byte;
        }
    }
    if random.below(16) == 0 {
        bytes.truncate(random.below(bytes.len()));
    }
}

#[test]
fn changed_blobs_are_read_or_refused() {
    let mut random = Random(0x0bad_5eed);
    let seeds: Vec<Vec<u8>> = FIXTURES
        .iter()
        .map(|fixture| fixture.btf.to_vec())
        .chain([Endian::Little, Endian::Big].map(|endian| every_kind(endian).build().unwrap()))
        .collect();
    let base = FIXTURES[0].parse();
    let (mut parsed, mut valid, mut slowest) = (0, 0, Duration::ZERO);
    for _ in 0..ROUNDS {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        mutate(&mut random, &mut bytes);
        let start = cpu_time();
        if random.below(8) == 0 {
            let _ = Btf::parse_split(Arc::new(bytes.clone()), &base).map(|btf| exercise(&btf));
        }
        if let Ok(btf) = Btf::from_vec(bytes) {
            parsed += 1;
            valid += u32::from(btf.validate().is_ok());
            exercise(&btf);
        }
        slowest = slowest.max(cpu_time().saturating_sub(start));
    }
    println!("{ROUNDS} blobs, {parsed} parsed, {valid} valid, the slowest took {slowest:?}");
    assert!(parsed > ROUNDS / 4, "the changes leave too little to look at");
    assert!(slowest < Duration::from_secs(1), "the slowest took {slowest:?}");
}

/// Everything that can be asked of a BTF.
fn exercise(btf: &Btf) {
    let _ = btf.validate();
    let zeros = [0u8; 256];
    let style = ValueStyle { max_values: 1 << 8, ..ValueStyle::default() };
    for id in (0..=btf.type_count()).map(TypeId) {
        if let Ok(ty) = btf.get(id) {
            assert!(ty.references().count() < 1 << 24);
            let _ = btf.find(ty.name, ty.kind);
        }
        let _ = (btf.size_of(id), btf.align_of(id), btf.strip(id).is_ok());
        let _ = (btf.declare(id, "x"), btf.definition_with(id, DefinitionStyle { offsets: true }));
        if let Ok(value) = btf.render_value(id, &zeros, &style) {
            assert!(!value.to_string().is_empty());
        }
    }
    let _ = downgrade(btf, &BtfFeatures::none()).map(|btf| btf.validate());
    if let Ok(mut builder) = Builder::from_btf(btf) {
        let again = Btf::from_vec(builder.build().expect("what was read can be written"));
        if btf.base().is_none() {
            assert_eq!(Builder::from_btf(&again.expect("and read")).expect("and owned"), builder);
        }
        let symbol = |_: &str, name: &str| Some(VarSymbol { offset: name.len() as u32, hidden: true });
        let _ = fix_datasecs(&mut builder, &|name| Some(name.len() as u32), &symbol);
        let _ = fix_externs(&mut builder, &|name| Some(name.len() as u32));
    }
}

#[test]
fn changed_ext_sections_are_read_or_refused() {
    let mut random = Random(0x0dd_ba11);
    for _ in 0..ROUNDS {
        let fixture = &FIXTURES[random.below(FIXTURES.len())];
        let mut bytes = fixture.ext.to_vec();
        mutate(&mut random, &mut bytes);
        let Ok(ext) = BtfExt::parse(&bytes, fixture.endian) else { continue };
        let functions: usize = ext.func_infos().map(|section| section.records.count()).sum();
        let lines: usize =
            ext.line_infos().map(|section| section.records.filter(|l| l.column() < 1024).count()).sum();
        let relos: usize = ext.core_relos().map(|section| section.records.count()).sum();
        assert!((functions + lines + relos) * 8 <= bytes.len() * 3);
    }
}

/// 2^32 structs by value, in 32 types: the walks end at their limits.
#[test]
fn wide_and_deep_types_are_bounded() {
    let mut builder = Builder::new(Endian::Little);
    let int = builder.push(OwnedType::int("int", 1, IntEncoding::SIGNED));
    let mut last = int;
    for _ in 0..31 {
        let member = |name: &str| OwnedMember { name: name.into(), ty: last, bit_offset: 0, bit_size: None };
        let members = vec![member("a"), member("b"), member("")];
        last = builder.push(OwnedType::new("", OwnedDef::Union { size: 1, members }));
    }
    let btf = Btf::from_vec(builder.build().unwrap()).unwrap();
    let start = cpu_time();
    btf.validate().expect("valid, if useless");
    assert_eq!(btf.align_of(last).expect_err("too many").code(), "E0208");
    assert_eq!(btf.definition(last).expect_err("too long").code(), "E0213");
    assert_eq!(btf.render_value(last, &[0], &ValueStyle::default()).expect_err("too many").code(), "E0212");
    let took = cpu_time().saturating_sub(start);
    assert!(took < Duration::from_secs(5), "took {took:?}");
}

/// Functions that take and return functions that do: each level of text is a call on the stack.
#[test]
fn deep_declarators_are_bounded() {
    let mut builder = Builder::new(Endian::Little);
    let mut last = builder.push(OwnedType::int("int", 4, IntEncoding::SIGNED));
    for _ in 0..200 {
        let params = vec![OwnedParam { name: "f".into(), ty: last }];
        last = builder.push(OwnedType::new("", OwnedDef::FuncProto { ret: last, params }));
        last = builder.push(OwnedType::new("", OwnedDef::Ptr(last)));
        last = builder.push(OwnedType::new("", OwnedDef::Array { elem: last, index: TypeId(1), count: 2 }));
    }
    let btf = Btf::from_vec(builder.build().unwrap()).unwrap();
    for id in (1..btf.type_count()).map(TypeId) {
        let text = btf.declare(id, "x");
        assert!(text.is_ok() || ["E0208", "E0213"].contains(&text.unwrap_err().code()));
        let _ = btf.definition(id);
    }
    assert!(btf.declare(last, "x").is_err());
}
