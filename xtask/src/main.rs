#![forbid(unsafe_code)]
//! Everything a person runs by hand.
fn main() {}
