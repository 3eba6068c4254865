//! ELF: what is refused, and what is said of it.

use onebpf_btf::Endian;
use onebpf_object::{Error, ParseOptions, Spec, parse};
use std::path::Path;

fn bytes(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/obj").join(name);
    std::fs::read(path).unwrap()
}

fn read(bytes: &[u8]) -> Result<Spec, Error> {
    parse(bytes, &ParseOptions::default())
}

fn said(bytes: &[u8]) -> String {
    let error = read(bytes).unwrap_err();
    format!("{} {error}", error.code())
}

/// An object with some bytes changed.
fn patched(at: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = bytes("empty.o");
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

#[test]
fn other_files_are_named() {
    assert_eq!(said(b""), "E0101 not a BPF object: the file is empty");
    assert_eq!(said(b"int main() {}"), "E0101 not a BPF object: this is not an ELF file");
    assert!(said(b"!<arch>\n/ 0").contains("this is an archive"));
    assert!(said(b"BC\xc0\xde....").contains("LLVM bitcode"));
    assert!(said(&bytes("bad_machine.x86.o")).contains("x86-64"));
    assert!(said(&patched(4, &[1])).contains("32-bit"));
    assert!(said(&patched(16, &[2, 0])).contains("executable"));
    assert!(said(&patched(16, &[3, 0])).contains("shared object"));
    assert!(said(&patched(18, &[183, 0])).contains("arm64"));
    assert!(said(b"\x7fELF\x02").starts_with("E0102"), "cut off in the header");
    let hints = read(b"").unwrap_err().hints();
    assert!(hints.iter().any(|hint| hint.contains("-target bpf")));
}

#[test]
fn machine_none_is_an_old_compilers_bpf() {
    assert!(read(&bytes("empty.none.o")).is_ok());
    let mut object = bytes("prog_several.o");
    object[18..20].copy_from_slice(&[0, 0]);
    assert_eq!(read(&object).unwrap(), read(&bytes("prog_several.o")).unwrap());
}

#[test]
fn both_byte_orders_say_the_same() {
    let (little, big) = (read(&bytes("prog_several.o")).unwrap(), read(&bytes("prog_several.eb.o")).unwrap());
    assert_eq!((little.endian, big.endian), (Endian::Little, Endian::Big));
    assert_eq!(little.programs, big.programs);
    let shape =
        |spec: &Spec| spec.functions.iter().map(|f| (f.name.clone(), f.insns.len())).collect::<Vec<_>>();
    assert_eq!(shape(&little), shape(&big));
}

#[test]
fn any_alignment_of_the_bytes_will_do() {
    let object = bytes("prog_several.o");
    let mut shifted = vec![0];
    shifted.extend(&object);
    assert_eq!(read(&shifted[1..]).unwrap(), read(&object).unwrap());
}

#[test]
fn cut_files_are_damaged() {
    let object = bytes("prog_several.o");
    for len in (64..object.len()).step_by(97) {
        assert_eq!(read(&object[..len]).unwrap_err().code(), "E0102", "{len} of {} bytes", object.len());
    }
}

#[test]
fn huge_sections_are_refused() {
    let mut object = bytes("data_bss_only.o");
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let (table, count) = (word(&object, 40), usize::from(u16::from_le_bytes([object[60], object[61]])));
    let bss = (0..count).map(|n| table + 64 * n).find(|at| object[at + 4..at + 8] == [8, 0, 0, 0]).unwrap();
    object[bss + 32..bss + 40].copy_from_slice(&(1u64 << 40).to_le_bytes());
    let error = read(&object).unwrap_err();
    assert_eq!(error.code(), "E0146");
    assert_eq!(error.place().section.as_deref(), Some(".bss"));
}
