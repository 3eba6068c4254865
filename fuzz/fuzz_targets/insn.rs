//! Instructions: any eight bytes decode, encode to the same eight, and have a text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use onebpf_btf::Endian;
use onebpf_object::insn;

fuzz_target!(|bytes: &[u8]| {
    for endian in [Endian::Little, Endian::Big] {
        let Ok(insns) = insn::decode(bytes, endian) else { continue };
        assert_eq!(insn::encode(&insns, endian), bytes);
        for (index, insn) in insns.iter().enumerate() {
            assert!(!insn::text(*insn, insns.get(index + 1).copied()).is_empty());
        }
    }
});
