//! ELF: what is refused, and what is said of it.

use onebpf_btf::Endian;
use onebpf_object::{Error, ParseOptions, Spec, link, parse};
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

/// Compilers before LLVM 4 marked no function: the section is the function, named by the symbol at its start.
#[test]
fn sections_without_functions_are_functions() {
    let mut object = bytes("prog_no_license.nog.o");
    for symbol in symbols(&object) {
        if object[symbol + 4] & 0xf == 2 {
            object[symbol + 4] &= 0xf0;
        }
    }
    let spec = read(&object).unwrap();
    let names: Vec<_> = spec.programs.values().map(|p| (p.name.as_str(), p.section.as_str())).collect();
    assert_eq!(names, [("free_helper", "tc"), ("gpl_helper", "tc")]);
    for symbol in symbols(&object) {
        object[symbol + 4] &= 0x0f; // all local: no name is left but the section's
    }
    let spec = read(&object).unwrap();
    assert_eq!(spec.programs.keys().collect::<Vec<_>>(), ["tc", "?tc"]);
}

#[test]
fn addends_count() {
    // `main` calls `second`, the function at byte 16 of `.text`, by the section's symbol and an addend.
    let code = [[0x85, 0x10, 0, 0, 0xff, 0xff, 0xff, 0xff], [0x95, 0, 0, 0, 0, 0, 0, 0]].concat();
    let text = [[0xb7, 0, 0, 0, 1, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]].concat().repeat(2);
    let rela = [0u64, CALL_BY_TEXT, 16].map(u64::to_le_bytes).concat();
    let object = made(&code, &text, 4, &rela, 24);
    let spec = read(&object).unwrap();
    let linked = link(&spec, "main").unwrap();
    let names: Vec<_> = linked.functions.iter().map(|(_, id)| spec.functions[id.0].name.as_str()).collect();
    assert_eq!(names, ["main", "second"]);
    assert_eq!(linked.insns.len(), 4);
    assert_eq!(linked.insns[0].imm, 1);
}

#[test]
fn bad_relocations_are_located() {
    let code = [[0x85, 0x10, 0, 0, 0xff, 0xff, 0xff, 0xff], [0x95, 0, 0, 0, 0, 0, 0, 0]].concat();
    let text = [[0xb7, 0, 0, 0, 1, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]].concat().repeat(2);
    let with = |offset: u64, info: u64| {
        read(&made(&code, &text, 9, &[offset, info].map(u64::to_le_bytes).concat(), 16))
    };
    assert!(with(0, CALL_BY_TEXT).is_ok());
    let fails = |offset, info| {
        let error = with(offset, info).unwrap_err();
        (error.code(), error.place().to_string())
    };
    assert_eq!(fails(8, CALL_BY_TEXT), ("E0142", "tc+0x8 <main>".to_owned()), "exit takes no relocation");
    assert_eq!(fails(4, CALL_BY_TEXT), ("E0142", "tc+0x4".to_owned()), "in the middle of an instruction");
    assert_eq!(fails(64, CALL_BY_TEXT).0, "E0102", "past the section");
    assert_eq!(fails(0, 0x4d_0000_000a).0, "E0102", "no such symbol");
    assert_eq!(fails(0, 0x3_0000_0063).0, "E0102", "no such type");
    assert_eq!(fails(0, 10), ("E0142", "tc+0x0 <main>".to_owned()), "the null symbol");
}

/// `R_BPF_64_32` by the symbol of `.text` in [`made`].
const CALL_BY_TEXT: u64 = 0x3_0000_000a;

/// Name, type, flags, contents, link, info, size of an entry.
type Row<'a> = (u32, u32, u64, &'a [u8], u32, u32, u64);

/// An object with `main` in section `tc`, `first` and `second` in `.text`, and one relocation section for `tc`.
fn made(code: &[u8], text: &[u8], rel_type: u32, rel: &[u8], entry: u64) -> Vec<u8> {
    let names = b"\0.text\0tc\0.symtab\0.strtab\0.rel\0main\0first\0second\0".to_vec();
    let name = |wanted: &str| {
        let wanted = [b"\0", wanted.as_bytes(), b"\0"].concat();
        names.windows(wanted.len()).position(|w| w == wanted).unwrap() as u32 + 1
    };
    let symbol = |name: u32, info: u8, section: u16, value: u64, size: u64| {
        [
            &name.to_le_bytes()[..],
            &[info, 0],
            &section.to_le_bytes(),
            &value.to_le_bytes(),
            &size.to_le_bytes(),
        ]
        .concat()
    };
    let symbols = [
        vec![0; 24],
        symbol(name("first"), 0x02, 2, 0, 16),
        symbol(name("second"), 0x02, 2, 16, 16),
        symbol(0, 0x03, 2, 0, 0),
        symbol(name("main"), 0x12, 1, 0, 16),
    ]
    .concat();
    let sections: [Row<'_>; 6] = [
        (0, 0, 0, &[], 0, 0, 0),
        (name("tc"), 1, 6, code, 0, 0, 0),
        (name(".text"), 1, 6, text, 0, 0, 0),
        (name(".symtab"), 2, 0, &symbols, 4, 4, 24),
        (name(".strtab"), 3, 0, &names, 0, 0, 0),
        (name(".rel"), rel_type, 0, rel, 3, 1, entry),
    ];
    let (mut headers, mut contents) = (Vec::new(), Vec::new());
    for (name, kind, flags, data, link, info, entry) in sections {
        headers.extend([name.to_le_bytes(), kind.to_le_bytes()].concat());
        headers
            .extend([flags, 0, 64 + contents.len() as u64, data.len() as u64].map(u64::to_le_bytes).concat());
        headers.extend([link.to_le_bytes(), info.to_le_bytes()].concat());
        headers.extend([8, entry].map(u64::to_le_bytes).concat());
        contents.extend(data);
    }
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\xf7\0\x01\0\0\0".to_vec();
    file.extend([0, 0, 64 + contents.len() as u64].map(u64::to_le_bytes).concat());
    file.extend([0u16, 0, 64, 0, 0, 64, 6, 4].map(u16::to_le_bytes).concat());
    assert_eq!(file.len(), 64, "header");
    [file, contents, headers].concat()
}

/// Where the symbols of an object are in the file.
fn symbols(object: &[u8]) -> Vec<usize> {
    let word = |at: usize| u64::from_le_bytes(object[at..at + 8].try_into().unwrap()) as usize;
    let count = usize::from(u16::from_le_bytes([object[60], object[61]]));
    let table =
        (0..count).map(|n| word(40) + 64 * n).find(|at| object[at + 4..at + 8] == [2, 0, 0, 0]).unwrap();
    let (start, size) = (word(table + 24), word(table + 32));
    (start..start + size).step_by(24).collect()
}
