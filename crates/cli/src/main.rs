#![forbid(unsafe_code)]
//! The `onebpf` command.
fn main() {}
