//! Shared by the tests: BTF that holds one of every kind, made by clang and made by hand.
#![allow(dead_code, reason = "each test uses a part")]

use std::path::{Path, PathBuf};

use onebpf_btf::*;

/// What clang 19 made of `data/kinds.c`.
pub(crate) struct Fixture {
    pub(crate) endian: Endian,
    pub(crate) target: &'static str,
    pub(crate) btf: &'static [u8],
    pub(crate) ext: &'static [u8],
    /// Contents of `.data`.
    pub(crate) data: &'static [u8],
}

pub(crate) const FIXTURES: [Fixture; 2] = [
    Fixture {
        endian: Endian::Little,
        target: "bpfel",
        btf: include_bytes!("../data/kinds.bpfel.btf"),
        ext: include_bytes!("../data/kinds.bpfel.btf.ext"),
        data: include_bytes!("../data/kinds.bpfel.data"),
    },
    Fixture {
        endian: Endian::Big,
        target: "bpfeb",
        btf: include_bytes!("../data/kinds.bpfeb.btf"),
        ext: include_bytes!("../data/kinds.bpfeb.btf.ext"),
        data: include_bytes!("../data/kinds.bpfeb.data"),
    },
];

impl Fixture {
    pub(crate) fn parse(&self) -> Btf {
        Btf::from_vec(self.btf.to_vec()).expect("clang's BTF")
    }
}

pub(crate) fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kinds.c")
}

/// One type of every kind, in the order of the kinds: the id is the kind's number, `void` aside.
pub(crate) fn every_kind(endian: Endian) -> Builder {
    let mut b = Builder::new(endian);
    let id = |kind: Kind| TypeId(kind as u32);
    let member =
        |name: &str, ty, bit_offset, bit_size| OwnedMember { name: name.into(), ty, bit_offset, bit_size };
    let value = |name: &str, value| OwnedEnumValue { name: name.into(), value };
    let int = id(Kind::Int);
    let members = vec![
        member("a", int, 0, Some(3)),
        member("b", int, 3, Some(20)),
        member("next", id(Kind::Ptr), 64, None),
    ];
    let both = vec![member("i", int, 0, None), member("f", id(Kind::Float), 0, None)];
    let params = vec![
        OwnedParam { name: "p".into(), ty: id(Kind::Ptr) },
        OwnedParam { name: String::new(), ty: TypeId::VOID },
    ];
    let vars = vec![Secinfo { ty: id(Kind::Var), offset: 8, size: 16 }];
    for ty in [
        OwnedType::int("int", 4, IntEncoding::SIGNED),
        OwnedType::new("", OwnedDef::Ptr(id(Kind::Struct))),
        OwnedType::new("", OwnedDef::Array { elem: int, index: int, count: 4 }),
        OwnedType::new("s", OwnedDef::Struct { size: 16, members }),
        OwnedType::new("u", OwnedDef::Union { size: 4, members: both }),
        OwnedType::new(
            "e",
            OwnedDef::Enum { size: 4, signed: true, values: vec![value("LESS", -1), value("MORE", 1)] },
        ),
        OwnedType::new("far", OwnedDef::Fwd { union: true }),
        OwnedType::new("t", OwnedDef::Typedef(id(Kind::Const))),
        OwnedType::new("", OwnedDef::Volatile(int)),
        OwnedType::new("", OwnedDef::Const(id(Kind::Volatile))),
        OwnedType::new("", OwnedDef::Restrict(id(Kind::Ptr))),
        OwnedType::new("f", OwnedDef::Func { proto: id(Kind::FuncProto), linkage: FuncLinkage::Global }),
        OwnedType::new("", OwnedDef::FuncProto { ret: int, params }),
        OwnedType::new("v", OwnedDef::Var { ty: id(Kind::Struct), linkage: VarLinkage::Static }),
        OwnedType::new("?.data", OwnedDef::Datasec { size: 32, vars }),
        OwnedType::new("float", OwnedDef::Float { size: 4 }),
        OwnedType::new("note", OwnedDef::DeclTag { target: id(Kind::Struct), component: 2 }),
        OwnedType::new("user", OwnedDef::TypeTag(int)),
        OwnedType::new(
            "e64",
            OwnedDef::Enum64 { size: 8, signed: false, values: vec![value("BIG", i128::from(u64::MAX))] },
        ),
    ] {
        let kind = ty.def.kind();
        assert_eq!(b.push(ty), id(kind));
    }
    b
}
