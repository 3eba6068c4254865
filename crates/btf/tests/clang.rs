//! What the clang of this machine makes of `data/kinds.c` reads as what clang 19 made of it.

mod support;

use std::path::Path;
use std::process::Command;

use onebpf_btf::ext::BtfExt;
use onebpf_btf::{Btf, Builder, Endian};
use support::FIXTURES;

#[test]
fn fresh_objects_read_as_the_kept_ones() {
    let Some(clang) = ["clang-19", "clang"].into_iter().find(|name| runs(name)) else {
        eprintln!("skipped: no clang");
        return;
    };
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for fixture in FIXTURES {
        let object = directory.join(format!("kinds-{}-{}.o", fixture.target, std::process::id()));
        let status = Command::new(clang)
            .current_dir(support::source().parent().expect("a directory"))
            .args([
                "-O2",
                "-g",
                "-fdebug-compilation-dir=.",
                "-target",
                fixture.target,
                "-c",
                "kinds.c",
                "-o",
            ])
            .arg(&object)
            .status();
        assert!(status.expect("clang runs").success());
        let elf = std::fs::read(&object).expect("the object");
        std::fs::remove_file(&object).expect("removed");

        let btf = Btf::from_vec(section(&elf, ".BTF", fixture.endian).to_vec()).expect("parses");
        btf.validate().expect("valid");
        let ext = BtfExt::parse(section(&elf, ".BTF.ext", fixture.endian), fixture.endian).expect("parses");
        assert_eq!(ext.func_infos().map(|section| section.records.len()).sum::<usize>(), 2);
        if clang == "clang-19" {
            let kept = Builder::from_btf(&fixture.parse()).unwrap();
            assert_eq!(Builder::from_btf(&btf).unwrap().types, kept.types);
        }
    }
}

fn runs(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Contents of a section of an ELF64 file that is known to be sound.
fn section<'a>(elf: &'a [u8], name: &str, endian: Endian) -> &'a [u8] {
    let number = |at: usize, len: usize| {
        let fold = |n: usize, byte: &u8| n << 8 | usize::from(*byte);
        let bytes = &elf[at..at + len];
        if endian == Endian::Big { bytes.iter().fold(0, fold) } else { bytes.iter().rev().fold(0, fold) }
    };
    let headers = number(0x28, 8);
    let header = |n: usize| headers + n * 64;
    let contents = |n: usize| {
        let start = number(header(n) + 0x18, 8);
        &elf[start..start + number(header(n) + 0x20, 8)]
    };
    let names = contents(number(0x3e, 2));
    let named = |n: &usize| names[number(header(*n), 4)..].starts_with(format!("{name}\0").as_bytes());
    let found = (1..number(0x3c, 2)).find(named);
    contents(found.expect("the section"))
}
