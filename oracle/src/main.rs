//! libbpf as the oracle.
fn main() {}
