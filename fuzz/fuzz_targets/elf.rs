//! Whole objects: ELF, BTF and instructions together, as strict and as relaxed as the parser can be.

#![no_main]

use libfuzzer_sys::fuzz_target;
use onebpf_object::{Dialect, ParseOptions, parse};

fuzz_target!(|bytes: &[u8]| {
    let strict = ParseOptions { name: "fuzz".into(), ..ParseOptions::default() };
    let relaxed = ParseOptions { relaxed: true, dialect: Some(Dialect::BpfElfMap), ..strict.clone() };
    // The same bytes and options give the same answer, and no answer is a panic.
    assert_eq!(parse(bytes, &strict).ok(), parse(bytes, &strict).ok());
    if let Err(error) = parse(bytes, &relaxed) {
        assert!(!error.to_string().is_empty());
    }
});
