//! Instructions: the codec by property, the text against llvm-objdump.

use onebpf_btf::Endian;
use onebpf_object::insn::{self, Insn};
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn any_insn() -> impl Strategy<Value = Insn> {
    (any::<u8>(), 0u8..16, 0u8..16, any::<i16>(), any::<i32>()).prop_map(|(code, dst, src, off, imm)| Insn {
        code,
        dst,
        src,
        off,
        imm,
    })
}

proptest! {
    #[test]
    fn what_is_encoded_decodes(insn in any_insn(), big: bool) {
        let endian = if big { Endian::Big } else { Endian::Little };
        prop_assert_eq!(Insn::from_bytes(insn.to_bytes(endian), endian), insn);
    }

    #[test]
    fn what_is_decoded_encodes(bytes in proptest::collection::vec(any::<u8>(), 0..256), big: bool) {
        let endian = if big { Endian::Big } else { Endian::Little };
        match insn::decode(&bytes, endian) {
            Ok(insns) => prop_assert_eq!(insn::encode(&insns, endian), bytes),
            Err(error) => prop_assert_eq!(error.code(), "E0140"),
        }
    }

    #[test]
    fn everything_has_a_text(insn in any_insn(), next in proptest::option::of(any_insn())) {
        prop_assert!(!insn::text(insn, next).is_empty());
    }
}

#[test]
fn a_cut_off_load_is_an_error() {
    let half = [0x18, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(insn::decode(&half, Endian::Little).map_err(|e| e.code()), Err("E0140"));
    assert_eq!(insn::decode(&half[..7], Endian::Little).map_err(|e| e.code()), Err("E0140"));
    assert_eq!(insn::decode(&[half, half].concat(), Endian::Little).map(|insns| insns.len()).ok(), Some(2));
}

#[test]
fn big_endian_swaps_registers_too() {
    let insn = Insn { code: 0x61, dst: 1, src: 10, off: -4, imm: 0x0102_0304 };
    assert_eq!(insn.to_bytes(Endian::Little), [0x61, 0xa1, 0xfc, 0xff, 4, 3, 2, 1]);
    assert_eq!(insn.to_bytes(Endian::Big), [0x61, 0x1a, 0xff, 0xfc, 1, 2, 3, 4]);
}

#[test]
fn texts() {
    let text = |code, dst, src, off, imm| insn::text(Insn { code, dst, src, off, imm }, None);
    assert_eq!(text(0x79, 1, 6, 16, 0), "r1 = *(u64 *)(r6 + 16)");
    assert_eq!(text(0x25, 1, 0, 3, 5), "if r1 > 5 goto +3");
    assert_eq!(text(0x85, 0, 0, 0, 1), "call bpf_map_lookup_elem#1");
    assert_eq!(text(0x85, 0, 0, 0, 211), "call bpf_cgrp_storage_delete#211");
    assert_eq!(text(0x85, 0, 0, 0, 212), "call helper#212");
    assert_eq!(text(0x85, 0, 1, 0, -1), "call pc-1");
    assert_eq!(text(0x85, 0, 2, 0, 7), "call kernel-function#7");
    assert_eq!(text(0xe5, 0, 0, 5, 0), "may_goto +5");
    assert_eq!(text(0xdb, 1, 2, -8, 0x100), "r1 = load_acquire((u64 *)(r2 - 8))");
    assert_eq!(text(0xc3, 1, 2, -8, 0x110), "store_release((u32 *)(r1 - 8), w2)");
    assert_eq!(text(0xff, 1, 2, 3, 4), "unknown 0xff r1 r2 3 4");
    let load = Insn { code: 0x18, dst: 1, ..Insn::default() };
    assert_eq!(insn::text_with(load, None, Some("map flows")), "r1 = map flows ll");
}

#[test]
fn texts_are_those_of_objdump() {
    if !has("llvm-objdump-19") {
        eprintln!("skipped: llvm-objdump-19 is not installed");
        return;
    }
    let is_big = |path: &PathBuf| path.to_string_lossy().contains(".eb.");
    // One file that it cannot read, and objdump stops.
    let is_whole =
        |path: &PathBuf| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("bad_"));
    let (big, little): (Vec<_>, Vec<_>) = fixtures().into_iter().filter(is_whole).partition(is_big);
    let compared = compare(&little, Endian::Little) + compare(&big, Endian::Big);
    assert!(compared > 1000, "only {compared} instructions were compared");
    println!("{compared} instructions of the fixtures agree");
}

/// Every operation code with several operands, through the assembler as raw bytes.
#[test]
fn texts_of_all_operations_are_those_of_objdump() {
    if !has("clang-19") || !has("llvm-objdump-19") {
        eprintln!("skipped: clang-19 or llvm-objdump-19 is not installed");
        return;
    }
    let operands = [
        (2, 0, 5),
        (0, 0, 5),
        (2, 16, 0),
        (0, 16, 5),
        (0, -3, -5),
        (2, 1, 0),
        (2, 1, 65537),
        (2, 8, 0),
        (2, 32, 0),
    ];
    let byte_orders = [(0, 0, 16), (0, 0, 32), (0, 0, 64), (2, -32768, i32::MIN)];
    let atomics = [0, 1, 0x40, 0x41, 0x50, 0x51, 0xa0, 0xa1, 0xe1, 0xf1].map(|imm| (2, -8, imm));
    let mut source = ".text\n.globl f\n.type f,@function\nf:\n".to_owned();
    for code in 0..=255 {
        for (src, off, imm) in operands.iter().chain(&byte_orders).chain(&atomics).copied() {
            let mut bytes = Insn { code, dst: 1, src, off, imm }.to_bytes(Endian::Little).to_vec();
            if code == 0x18 {
                bytes.extend(Insn { imm: -2, ..Insn::default() }.to_bytes(Endian::Little));
            }
            let bytes: Vec<_> = bytes.iter().map(u8::to_string).collect();
            source += ".byte ";
            source += &bytes.join(",");
            source += "\n";
        }
    }
    let dir = std::env::temp_dir().join(format!("onebpf-insn-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let (input, object) = (dir.join("all.s"), dir.join("all.o"));
    fs::write(&input, source).unwrap();
    let made = Command::new("clang-19")
        .args(["-target", "bpfel", "-mcpu=v4", "-c"])
        .arg(&input)
        .arg("-o")
        .arg(&object)
        .status();
    assert!(made.unwrap().success());
    let compared = compare(&[object], Endian::Little);
    fs::remove_dir_all(&dir).unwrap();
    assert!(compared > 1000, "only {compared} instructions were compared");
}

/// Compares all instructions of some objects that objdump knows, and says how many those were.
fn compare(objects: &[PathBuf], endian: Endian) -> usize {
    let (plain, v4) = (objdump(objects, &[]), objdump(objects, &["--mcpu=v4"]));
    assert_eq!(plain.len(), v4.len());
    let mut compared = 0;
    for ((bytes, plain), (_, v4)) in plain.iter().zip(&v4) {
        if v4 == "<unknown>" {
            continue;
        }
        let insns = insn::decode(bytes, endian).unwrap();
        let insn = insns[0];
        // Without a cpu objdump names whole registers in loads, as the verifier does, but knows no 32-bit atomics.
        let is_atomic = insn.code & 0xe7 == 0xc3;
        let theirs = if plain == "<unknown>" || is_atomic { v4 } else { plain };
        if insn.code == 0x18 && insn.src != 0 {
            continue;
        }
        let ours = insn::text(insn, insns.get(1).copied());
        if is_atomic && ours.starts_with("unknown") {
            continue; // objdump looks at some bits only
        }
        let agree = match theirs.strip_prefix("call ") {
            // Helpers have names here, and calls within a program are marked.
            Some(number) => insn.imm.to_string() == number && ours.starts_with("call "),
            None => ours == *theirs,
        };
        assert!(agree, "{bytes:02x?}: ours `{ours}`, objdump's `{theirs}`");
        compared += 1;
    }
    compared
}

/// Bytes and text of each instruction.
fn objdump(objects: &[PathBuf], options: &[&str]) -> Vec<(Vec<u8>, String)> {
    let output = Command::new("llvm-objdump-19")
        .args(["-d", "--no-print-imm-hex"])
        .args(options)
        .args(objects)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<(Vec<u8>, String)> {
    let (_, rest) = line.split_once(":\t")?;
    let (bytes, text) = rest.split_once('\t')?;
    let bytes =
        bytes.split_whitespace().map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>().ok()?;
    let text = text.rsplit_once(" <").filter(|(_, rest)| rest.ends_with('>') && *rest != "unknown>");
    Some((bytes, text.map_or(line.rsplit_once(":\t")?.1.split_once('\t')?.1, |(text, _)| text).to_owned()))
}

fn has(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok()
}

fn fixtures() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/obj");
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "o"));
    paths.sort();
    paths
}
