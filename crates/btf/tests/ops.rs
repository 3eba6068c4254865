//! Tables of functions: an object's struct in a kernel's.

use onebpf_btf::{
    Btf, Builder, Endian, IntEncoding, KernelMember, OwnedDef, OwnedMember, OwnedType, TypeId, lay_out_ops,
    ops_value_name,
};

/// A BTF with `int`, `char`, a function, a pointer to it, and one to `int`.
struct Types(Builder);

const INT: TypeId = TypeId(1);
const CHAR: TypeId = TypeId(2);
const FUNCTION: TypeId = TypeId(4);
const ADDRESS: TypeId = TypeId(5);

impl Types {
    fn new() -> Self {
        let mut builder = Builder::new(Endian::native());
        builder.push(OwnedType::int("int", 4, IntEncoding::SIGNED));
        builder.push(OwnedType::int("char", 1, IntEncoding::SIGNED));
        let proto = builder.push(OwnedType::new("", OwnedDef::FuncProto { ret: INT, params: Vec::new() }));
        builder.push(OwnedType::new("", OwnedDef::Ptr(proto)));
        builder.push(OwnedType::new("", OwnedDef::Ptr(INT)));
        Self(builder)
    }

    fn record(&mut self, name: &str, size: u32, members: &[(&str, TypeId, u32, Option<u8>)]) -> TypeId {
        let member = |&(name, ty, at, bits): &(&str, TypeId, u32, Option<u8>)| OwnedMember {
            name: name.into(),
            ty,
            bit_offset: at,
            bit_size: bits,
        };
        let members = members.iter().map(member).collect();
        self.0.push(OwnedType::new(name, OwnedDef::Struct { size, members }))
    }

    fn build(self) -> Btf {
        Btf::from_vec(self.0.build().unwrap()).unwrap()
    }
}

#[test]
fn members_are_found_by_name_wherever_they_are() {
    let mut local = Types::new();
    let table = local.record(
        "ops___old",
        40,
        &[
            ("call", FUNCTION, 0, None),
            ("flags", INT, 64, None),
            ("gone", INT, 96, None),
            ("owner", ADDRESS, 128, None),
            ("wide", INT, 192, None),
            ("kind", INT, 224, None),
            ("bits", INT, 256, Some(3)),
        ],
    );
    let local = local.build();

    let mut kernel = Types::new();
    let ops = kernel.record(
        "ops",
        48,
        &[
            ("flags", INT, 0, None),
            ("owner", ADDRESS, 64, None),
            ("call", FUNCTION, 128, None),
            ("wide", CHAR, 192, None),
            ("kind", ADDRESS, 256, None),
            ("bits", INT, 320, Some(3)),
        ],
    );
    let value =
        kernel.record("bpf_struct_ops_ops", 64, &[("common", INT, 0, None), ("data", ops, 128, None)]);
    let other = kernel.record("bpf_struct_ops_other", 64, &[("data", INT, 0, None)]);
    let kernel = kernel.build();

    assert_eq!(ops_value_name("ops___old"), "bpf_struct_ops_ops");
    let layout = lay_out_ops(&local, table, &kernel, value).unwrap().unwrap();
    assert_eq!((layout.table, layout.value_size), (ops, 64));
    let found = |name: &str| {
        let member = layout.members.iter().find(|member| member.name == name).unwrap();
        (member.offset, member.size, member.pointer, member.kernel.clone())
    };
    let at = |index, offset, function| KernelMember::At { index, offset, function };
    let unlike = |why: &str| KernelMember::Unlike(why.into());
    assert_eq!(found("call"), (0, 8, true, at(2, 32, true)));
    assert_eq!(found("flags"), (8, 4, false, at(0, 16, false)));
    assert_eq!(found("gone"), (12, 4, false, KernelMember::Absent));
    assert_eq!(found("owner"), (16, 8, true, at(1, 24, false)));
    assert_eq!(found("wide").3, unlike("it has 4 bytes here and 1 in the kernel"));
    assert_eq!(found("kind").3, unlike("it is INT here and PTR in the kernel"));
    assert_eq!(found("bits").3, unlike("it is a bit-field, which has no place of its own"));

    // A value that holds no such struct, and types that are no structs.
    assert_eq!(lay_out_ops(&local, table, &kernel, other), Ok(None));
    assert_eq!(lay_out_ops(&local, INT, &kernel, value), Ok(None));
    assert_eq!(lay_out_ops(&local, TypeId(99), &kernel, value).unwrap_err().code(), "E0204");
}
