//! Symbols of the kernel: any text is looked through or refused; what is found stands in it, however the lines are ordered.

#![no_main]

use libfuzzer_sys::fuzz_target;
use onebpf::{KernelSymbols, Symbol};

const WANTED: [&str; 4] = ["schedule", "_text", "x", ""];

fuzz_target!(|bytes: &[u8]| {
    let Ok(found) = KernelSymbols::scan(bytes, WANTED.into_iter()) else { return };
    assert_eq!(found.found.len(), WANTED.len());
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    lines.reverse();
    let backwards = lines.join(&b'\n');
    let backwards = KernelSymbols::scan(&backwards, WANTED.into_iter()).expect("the same lines");
    assert_eq!(found.hidden, backwards.hidden);
    for (name, symbol) in &found.found {
        match (symbol, backwards.found.get(name)) {
            (Symbol::Ambiguous(..), Some(Symbol::Ambiguous(..))) => {}
            (one, other) => assert_eq!(Some(one), other, "{name}"),
        }
    }
});
