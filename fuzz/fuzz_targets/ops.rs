//! struct_ops: tables and kernel structs of random types. What is found lies inside both.

#![no_main]

#[path = "../../crates/btf/tests/support/graphs.rs"]
#[allow(dead_code, reason = "the relocations are CO-RE's")]
mod graphs;

use graphs::{Case, Shape};
use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use onebpf_btf::{
    Btf, Builder, Def, Endian, KernelMember, Kind, OPS_VALUE_PREFIX, OwnedDef, OwnedMember, OwnedType,
    TypeId, lay_out_ops, ops_value_name,
};

/// Structs that are tried.
const MOST: usize = 32;

fuzz_target!(|bytes: &[u8]| {
    let mut u = Unstructured::new(bytes);
    let shape = u.choose(&[Shape::Crowded, Shape::Plain, Shape::Wild]).copied().unwrap_or(Shape::Wild);
    let Ok(case) = Case::arbitrary(&mut u, shape, Endian::Little) else { return };
    let Ok(kernel) = with_values(&case.target) else { return };
    let tables: Vec<TypeId> = structs(&case.local).take(MOST).collect();
    for table in tables {
        let Ok(name) = case.local.get(table).map(|ty| ops_value_name(ty.name)) else { continue };
        let Some(value) = kernel.find(&name, Kind::Struct) else { continue };
        let Ok(Some(layout)) = lay_out_ops(&case.local, table, &kernel, value) else { continue };
        let fields = case.local.get(table).expect("it was read").def;
        let Def::Struct { members, .. } = fields else { panic!("a table that is no struct") };
        assert_eq!(layout.members.len(), members.count());
        for member in layout.members {
            if let KernelMember::At { offset, .. } = member.kernel {
                assert!(offset >= HEAD / 8, "before the table's own place in the value");
            }
        }
    }
});

/// Bits of what a kernel has before the table.
const HEAD: u32 = 64;

/// The types, and for each struct one that holds it, as a kernel has them.
fn with_values(target: &Btf) -> onebpf_btf::Result<Btf> {
    let mut builder = Builder::from_btf(target)?;
    for id in structs(target).take(MOST) {
        let ty = target.get(id)?;
        let size = u32::try_from(target.size_of(id)?).unwrap_or(u32::MAX).saturating_add(HEAD / 8);
        let data = OwnedMember { name: "data".into(), ty: id, bit_offset: HEAD, bit_size: None };
        let def = OwnedDef::Struct { size, members: vec![data] };
        builder.push(OwnedType::new(format!("{OPS_VALUE_PREFIX}{}", ty.name), def));
    }
    Btf::from_vec(builder.build()?)
}

fn structs(btf: &Btf) -> impl Iterator<Item = TypeId> + '_ {
    btf.types().flatten().filter(|ty| ty.kind == Kind::Struct).map(|ty| ty.id)
}
