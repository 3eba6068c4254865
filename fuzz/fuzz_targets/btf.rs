//! BTF: what parses must be walkable to its end, and what is written again must be the same types.

#![no_main]

use libfuzzer_sys::fuzz_target;
use onebpf_btf::{Btf, BtfExt, Builder, Endian, TypeId};

fuzz_target!(|bytes: &[u8]| {
    for endian in [Endian::Little, Endian::Big] {
        if let Ok(ext) = BtfExt::parse(bytes, endian) {
            ext.func_infos().for_each(drop);
            ext.line_infos().for_each(drop);
            ext.core_relos().for_each(drop);
        }
    }
    let Ok(btf) = Btf::from_vec(bytes.to_vec()) else { return };
    for id in 0..btf.type_count() {
        walk(&btf, TypeId(id));
    }
    if let Ok(builder) = Builder::from_btf(&btf)
        && let Ok(written) = builder.build()
    {
        let again = Btf::from_vec(written).expect("what was written can be read");
        assert_eq!(again.type_count(), btf.type_count());
    }
});

/// Asks everything of one type; errors are fine, panics and endless walks are not.
fn walk(btf: &Btf, id: TypeId) {
    let _ = btf.get(id);
    let _ = btf.strip(id);
    let _ = btf.size_of(id);
    let _ = btf.align_of(id);
}
