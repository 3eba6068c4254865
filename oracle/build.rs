//! Lets `src/libbpf.rs` stand between libbpf and the system call that makes a map.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg=-Wl,--wrap=bpf_map_create");
}
