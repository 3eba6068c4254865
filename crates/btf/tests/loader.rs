//! What a loader does to BTF before the kernel sees it: DATASEC fixup and downgrade.

mod support;

use std::borrow::Cow;

use onebpf_btf::*;
use support::{FIXTURES, every_kind};

fn def(btf: &Btf, kind: Kind) -> OwnedType {
    OwnedType::from(btf.get(TypeId(kind as u32)).expect("decodes"))
}

fn lacking(change: impl Fn(&mut BtfFeatures)) -> Btf {
    let btf = Btf::from_vec(every_kind(Endian::Big).build().unwrap()).unwrap();
    let mut features = BtfFeatures::all();
    change(&mut features);
    let new = downgrade(&btf, &features).expect("downgraded");
    assert!(matches!(new, Cow::Owned(_)));
    new.validate().expect("still valid");
    assert_eq!(new.endian(), Endian::Big);
    new.into_owned()
}

#[test]
fn nothing_to_do_borrows() {
    let btf = Btf::from_vec(every_kind(Endian::Little).build().unwrap()).unwrap();
    assert!(matches!(downgrade(&btf, &BtfFeatures::all()), Ok(Cow::Borrowed(_))));
    let no_layout = BtfFeatures { layout: false, ..BtfFeatures::all() };
    assert!(matches!(downgrade(&btf, &no_layout), Ok(Cow::Borrowed(_))));
}

#[test]
fn variables_and_sections() {
    let btf = lacking(|f| f.datasec = false);
    assert_eq!(def(&btf, Kind::Var), OwnedType::int("v", 1, IntEncoding::UNSIGNED));
    let members = vec![OwnedMember { name: "v".into(), ty: TypeId(14), bit_offset: 64, bit_size: None }];
    assert_eq!(def(&btf, Kind::Datasec), OwnedType::new("__data", OwnedDef::Struct { size: 32, members }));

    let btf = lacking(|f| f.qmark_datasec = false);
    assert_eq!(btf.get(TypeId(Kind::Datasec as u32)).unwrap().name, "_.data");
    assert_eq!(btf.get(TypeId(Kind::Datasec as u32)).unwrap().kind, Kind::Datasec);
}

#[test]
fn functions() {
    let btf = lacking(|f| f.func = false);
    assert_eq!(def(&btf, Kind::Func), OwnedType::new("f", OwnedDef::Typedef(TypeId(13))));
    let value = |name: &str, value| OwnedEnumValue { name: name.into(), value };
    let values = vec![value("p", 2), value("arg1", 0)];
    assert_eq!(
        def(&btf, Kind::FuncProto),
        OwnedType::new("", OwnedDef::Enum { size: 4, signed: false, values })
    );
    let btf = lacking(|f| f.func_global = false);
    let linkage = FuncLinkage::Static;
    assert_eq!(def(&btf, Kind::Func), OwnedType::new("f", OwnedDef::Func { proto: TypeId(13), linkage }));
}

#[test]
fn floats_tags_and_enumerations() {
    let btf = lacking(|f| f.float = false);
    assert_eq!(def(&btf, Kind::Float), OwnedType::new("", OwnedDef::Struct { size: 4, members: vec![] }));
    let btf = lacking(|f| f.type_tag = false);
    assert_eq!(def(&btf, Kind::TypeTag), OwnedType::new("", OwnedDef::Const(TypeId(1))));
    let btf = lacking(|f| f.decl_tag = false);
    assert_eq!(def(&btf, Kind::DeclTag), OwnedType::int("note", 1, IntEncoding::UNSIGNED));
    let btf = lacking(|f| f.enum64 = false);
    assert_eq!(btf.type_count(), 21, "one placeholder");
    assert_eq!(btf.get(TypeId(20)).unwrap().name, "enum64_placeholder");
    let members = vec![OwnedMember { name: "BIG".into(), ty: TypeId(20), bit_offset: 0, bit_size: None }];
    assert_eq!(def(&btf, Kind::Enum64), OwnedType::new("e64", OwnedDef::Union { size: 8, members }));
    let OwnedDef::Enum { signed: false, values, .. } = def(&btf, Kind::Enum).def else {
        panic!("an unsigned ENUM")
    };
    assert_eq!(values[0].value, i128::from(u32::MAX));
}

#[test]
fn the_oldest_kernel_gets_only_what_it_knows() {
    for fixture in FIXTURES {
        let mut builder = Builder::from_btf(&fixture.parse()).unwrap();
        let symbol = |_: &str, _: &str| Some(VarSymbol { offset: 0, hidden: false });
        fix_datasecs(&mut builder, &|_| Some(512), &symbol).expect("fixed");
        let kconfig = builder.find(".kconfig", Kind::Datasec).expect("there");
        if let OwnedDef::Datasec { size, .. } = &mut builder.get_mut(kconfig).expect("own").def {
            *size = 8; // externs are placed by whoever resolves them
        }
        let btf = Btf::from_vec(builder.build().unwrap()).unwrap();
        let old = downgrade(&btf, &BtfFeatures::none()).expect("downgraded");
        old.validate().expect("valid");
        assert!(old.types().all(|ty| ty.expect("decodes").kind.since() == (4, 18)));
        assert_eq!(old.type_count(), btf.type_count() + 1);
        let again = downgrade(&old, &BtfFeatures::none()).expect("once more");
        assert!(matches!(again, Cow::Borrowed(_)), "nothing is left to rewrite");
    }
}

#[test]
fn steps_are_listed() {
    for step in DOWNGRADE_STEPS {
        assert!(!(step.has)(&BtfFeatures::none()) && (step.has)(&BtfFeatures::all()), "{}", step.rewrites);
        assert!(step.since > (4, 18));
    }
}

#[test]
fn datasecs_get_sizes_offsets_and_order() {
    let mut builder = Builder::from_btf(&FIXTURES[0].parse()).unwrap();
    let sizes = |section: &str| Some(if section == ".data" { 176 } else { 24 });
    // In the wrong order, so that sorting shows.
    let symbols = |_: &str, name: &str| {
        let offset = match name {
            "counter" => 172,
            "shy" => 168,
            _ => 0,
        };
        Some(VarSymbol { offset, hidden: name == "shy" })
    };
    fix_datasecs(&mut builder, &sizes, &symbols).expect("fixed");
    let get =
        |name: &str, kind| builder.get(builder.find(name, kind).expect("there")).expect("own").def.clone();
    let OwnedDef::Datasec { size: 176, vars } = get(".data", Kind::Datasec) else { panic!("size") };
    assert_eq!(vars.iter().map(|var| var.offset).collect::<Vec<_>>(), [0, 168, 172]);
    assert!(matches!(get("shy", Kind::Var), OwnedDef::Var { linkage: VarLinkage::Static, .. }));
    assert!(matches!(get("counter", Kind::Var), OwnedDef::Var { linkage: VarLinkage::Global, .. }));
    assert!(matches!(get("CONFIG_HZ", Kind::Var), OwnedDef::Var { linkage: VarLinkage::Extern, .. }));
    assert!(matches!(get(".kconfig", Kind::Datasec), OwnedDef::Datasec { size: 0, .. }));
    Btf::from_vec(builder.build().unwrap()).unwrap().validate().expect("valid");

    let fixed = builder.clone();
    fix_datasecs(&mut builder, &|_| None, &|_, _| Some(VarSymbol { offset: 1, hidden: false }))
        .expect("again");
    assert_eq!(builder, fixed, "what has a size stays as it is");
}

#[test]
fn datasecs_that_do_not_agree_with_the_file() {
    let fresh = || Builder::from_btf(&FIXTURES[0].parse()).unwrap();
    let mut builder = fresh();
    let error = fix_datasecs(&mut builder, &|_| None, &|_, _| None).expect_err("no section");
    assert_eq!(error.code(), "E0214");
    assert!(error.to_string().contains("data section `.bss`: the file has no such section"), "{error}");
    let error = fix_datasecs(&mut fresh(), &|_| Some(8), &|_, _| None).expect_err("no symbol");
    assert!(error.to_string().contains("`.data`: variable `counter` has no symbol"), "{error}");
}

#[test]
fn externs_become_what_the_kernel_accepts() {
    let mut builder = Builder::from_btf(&FIXTURES[1].parse()).unwrap();
    let helper = builder.find("helper", Kind::Func).unwrap();
    let Some(OwnedDef::Func { proto, .. }) = builder.get(helper).map(|ty| ty.def.clone()) else {
        panic!("a FUNC")
    };
    let unnamed = OwnedDef::FuncProto {
        ret: TypeId::VOID,
        params: vec![
            OwnedParam { name: String::new(), ty: proto },
            OwnedParam { name: String::new(), ty: TypeId(0) },
        ],
    };
    let unnamed = builder.push(OwnedType::new("", unnamed));
    let linkage = FuncLinkage::Extern;
    let kfunc = builder.push(OwnedType::new("bpf_kfunc", OwnedDef::Func { proto: unnamed, linkage }));
    let ksym = OwnedDef::Var { ty: TypeId::VOID, linkage: VarLinkage::Extern };
    let ksym = builder.push(OwnedType::new("bpf_prog_active", ksym));
    let vars = [kfunc, ksym].map(|ty| Secinfo { ty, offset: 0, size: 0 }).to_vec();
    let ksyms = builder.push(OwnedType::new(".ksyms", OwnedDef::Datasec { size: 0, vars }));

    fix_externs(&mut builder, &|name| (name == "CONFIG_HZ").then_some(16)).expect("fixed");
    let def = |id| &builder.get(id).expect("own").def;
    let int = builder.find("int", Kind::Int).unwrap();
    let dummy = builder.find("dummy_ksym", Kind::Var).expect("a stand-in");
    let vars = vec![Secinfo { ty: dummy, offset: 0, size: 4 }, Secinfo { ty: ksym, offset: 4, size: 4 }];
    assert_eq!(*def(ksyms), OwnedDef::Datasec { size: 8, vars });
    assert_eq!(*def(ksym), OwnedDef::Var { ty: int, linkage: VarLinkage::Global });
    assert_eq!(*def(kfunc), OwnedDef::Func { proto: unnamed, linkage: FuncLinkage::Global });
    let OwnedDef::FuncProto { params, .. } = def(unnamed) else { panic!("a prototype") };
    assert_eq!((params[0].name.as_str(), params[1].name.as_str()), ("dummy_ksym", ""), "the last is `...`");
    let OwnedDef::Datasec { size: 24, vars } = def(builder.find(".kconfig", Kind::Datasec).unwrap()) else {
        panic!("size")
    };
    assert_eq!(vars[0].offset, 16);

    fix_functions(&mut builder, &|name| name == "helper");
    let OwnedDef::Func { linkage, .. } = builder.get(helper).expect("own").def else { panic!("a FUNC") };
    assert_eq!(linkage, FuncLinkage::Static);
    let error = fix_externs(&mut builder, &|_| None).expect_err("no offset");
    assert!(error.to_string().contains("`.kconfig`: `CONFIG_HZ` has no offset"), "{error}");
}
