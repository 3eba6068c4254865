//! The running kernel's own BTF, which is large and real.

use std::sync::Arc;

use onebpf_btf::{Btf, Builder, Kind};

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

fn vmlinux() -> Option<Btf> {
    match std::fs::read(VMLINUX) {
        Ok(bytes) => Some(Btf::parse(Arc::new(bytes)).expect("the kernel's own BTF")),
        Err(error) => {
            eprintln!("skipped: {VMLINUX}: {error}");
            None
        }
    }
}

#[test]
fn every_type_of_the_kernel_decodes_and_is_found() {
    let Some(btf) = vmlinux() else { return };
    let mut count = 1;
    for ty in btf.types() {
        let ty = ty.expect("decodes");
        assert_eq!(ty.id.0, count);
        count += 1;
        if !ty.name.is_empty() && count % 64 == 0 {
            let found = btf.find(ty.name, ty.kind).expect("found by its name");
            assert!(found <= ty.id);
            assert!(btf.find_all(ty.name).any(|id| id == ty.id));
        }
    }
    assert_eq!(count, btf.type_count());
    assert_eq!(btf.find("no_such_type_at_all", Kind::Struct), None);
}

#[test]
fn the_kernel_survives_a_round_trip_in_both_byte_orders() {
    let Some(btf) = vmlinux() else { return };
    let mut builder = Builder::from_btf(&btf).expect("owned");
    let flipped = match builder.endian() {
        onebpf_btf::Endian::Little => onebpf_btf::Endian::Big,
        onebpf_btf::Endian::Big => onebpf_btf::Endian::Little,
    };
    builder.set_endian(flipped);
    let other = Btf::from_vec(builder.build().expect("builds")).expect("parses");
    assert_eq!(other.endian(), flipped);
    let back = Builder::from_btf(&other).expect("owned again");
    assert!(back.types == builder.types, "a type changed on its way through the other byte order");
}

#[test]
fn the_kernel_validates() {
    let Some(btf) = vmlinux() else { return };
    btf.validate().expect("valid");
}
