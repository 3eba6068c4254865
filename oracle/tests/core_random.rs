//! CO-RE on random types: libbpf relocates an object against a BTF file, onebpf does, and the instructions are the same.
//!
//! `$ORACLE_CASES` and `$ORACLE_SEED` say how many cases, and which comes first.

#[path = "../../crates/btf/tests/support/graphs.rs"]
mod graphs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arbitrary::{Result as Drawn, Unstructured};
use graphs::{Case, Shape};
use object::write::{Object as Elf, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};
use onebpf_btf::{Btf, Builder, CoreRelo, CoreReloKind, Endian, Matcher, write_records};
use onebpf_object::{LinkedProgram, ParseOptions, insn, link, parse, relocate_core, resolve_core};
use oracle::libbpf::{Keep, Object, Program, keep_log, take_log};
use oracle::run;

/// The section of the program, and the program.
const SECTION: &str = "socket";
const PROGRAM: &str = "probe";

#[test]
fn random_types_are_relocated_as_by_libbpf() {
    if !run::is_root() {
        eprintln!("not compared: libbpf's relocation needs root");
        return;
    }
    let number = |name: &str, otherwise: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    };
    let (cases, seed) = (number("ORACLE_CASES", 5_000), number("ORACLE_SEED", 1));
    let files = Files::new();
    keep_log(Keep::Nothing);
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    let mut different = Vec::new();
    for seed in seed..seed + cases {
        let (case, object) = draw(seed);
        let (theirs, ours) = (files.libbpf(&object, &case.target), onebpf(&object, &case.target));
        let code = ours.as_ref().map_or_else(|why| why.chars().take(5).collect(), |_| RELOCATED.to_owned());
        *outcomes.entry(code).or_default() += 1;
        let same = match (&theirs, &ours) {
            (Ok(theirs), Ok(ours)) => theirs == ours,
            (Err(_), Err(_)) => true,
            _ => false,
        };
        if !same {
            different.push(format!(
                "{}",
                Difference { seed, case: &case, theirs, ours, log: files.log(&object, &case.target) }
            ));
        }
    }
    println!("{cases} cases: {outcomes:?}");
    assert!(
        different.is_empty(),
        "{} of {cases} differ; the first:\n{}",
        different.len(),
        different.join("\n").chars().take(20_000).collect::<String>()
    );
    assert!(outcomes.get(RELOCATED).is_some_and(|count| count * 3 > cases), "what is compared? {outcomes:?}");
}

/// What is counted beside the codes of errors.
const RELOCATED: &str = "relocated";

/// The instructions at the end, or why there are none.
type Outcome = Result<Vec<[u8; 8]>, String>;

/// The case of this number, and an object with its records.
fn draw(seed: u64) -> (Case, Vec<u8>) {
    let bytes = random(seed, 4096);
    let mut u = Unstructured::new(&bytes);
    let shape = if u.ratio(1u32, 4u32).unwrap_or(false) { Shape::Plain } else { Shape::Crowded };
    let mut case = Case::arbitrary(&mut u, shape, Endian::Little).expect("enough bytes");
    let code = code(&mut u, &mut case).expect("enough bytes");
    let object = elf(&case, &code);
    (case, object)
}

/// Bytes by splitmix64.
fn random(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x2545_f491_4f6c_dd1d);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    };
    (0..len / 8).flat_map(|_| next().to_le_bytes()).collect()
}

/// For each record an instruction, which holds what the compiler would have written, most of the time.
fn code(u: &mut Unstructured<'_>, case: &mut Case) -> Drawn<Vec<[u8; 8]>> {
    const MOV: u8 = 0xb7;
    let mut code = Vec::new();
    let mut alone = Matcher::new(&case.local, &[]);
    for relo in &mut case.relos {
        let mut now = alone.resolve(relo).unwrap_or_default();
        if u.ratio(1u32, 60u32)? {
            now.orig_value = now.orig_value.wrapping_add(1);
        }
        relo.insn_off = code.len() as u32;
        let (value, offset) = (now.orig_value as u32, now.orig_value as u16);
        let width = [(1, 0x10), (2, 0x08), (4, 0x00)].iter().find(|row| row.0 == now.orig_size);
        let width = if u.ratio(1u32, 60u32)? { 0x08 } else { width.map_or(0x18, |row| row.1) };
        let access = relo.kind == CoreReloKind::FieldByteOffset;
        match u.int_in_range(0..=19)? {
            0..=9 if access => code.push(encode(0x61 | width, 0x12, offset, 0)),
            10 | 11 if access => code.push(encode(0x62 | width, 0x02, offset, 7)),
            12 | 13 if access => code.push(encode(0x63 | width, 0x12, offset, 0)),
            14 if u.ratio(1u32, 10u32)? => code.push(encode(0x85, 0, 0, 1)),
            15..=17 => {
                code.push(encode(0x18, 0x01, 0, value));
                code.push(encode(0, 0, 0, (now.orig_value >> 32) as u32));
            }
            _ => code.push(encode(MOV, 0x01, 0, value)),
        }
    }
    code.push(encode(MOV, 0, 0, 0));
    code.push(encode(0x95, 0, 0, 0));
    Ok(code)
}

fn encode(code: u8, registers: u8, off: u16, imm: u32) -> [u8; 8] {
    let (off, imm) = (off.to_le_bytes(), imm.to_le_bytes());
    [code, registers, off[0], off[1], imm[0], imm[1], imm[2], imm[3]]
}

/// An object with one program, its BTF and the records.
fn elf(case: &Case, code: &[[u8; 8]]) -> Vec<u8> {
    let mut elf = Elf::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let mut builder = Builder::from_btf(&case.local).expect("it was just built");
    let section_name = builder.add_string(SECTION).expect("a short string");
    let btf = builder.build().expect("it was built before");
    let mut add = |name: &str, kind, data: &[u8]| {
        let id = elf.add_section(Vec::new(), name.into(), kind);
        elf.append_section_data(id, data, 8);
        id
    };
    let text = add(SECTION, SectionKind::Text, code.as_flattened());
    add("license", SectionKind::Data, b"GPL\0");
    add(".BTF", SectionKind::Other, &btf);
    add(".BTF.ext", SectionKind::Other, &ext(case, section_name));
    elf.add_symbol(Symbol {
        name: PROGRAM.into(),
        value: 0,
        size: code.as_flattened().len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(text),
        flags: SymbolFlags::None,
    });
    elf.write().expect("an ELF file")
}

/// `.BTF.ext` with CO-RE records of one section, and nothing else.
fn ext(case: &Case, section_name: u32) -> Vec<u8> {
    const HEADER: u32 = 32;
    const RECORD: u32 = 16;
    // A record of a file counts bytes, ours instructions.
    let in_bytes = |relo: &CoreRelo| CoreRelo { insn_off: relo.insn_off * 8, ..*relo };
    let records = write_records(&case.relos.iter().map(in_bytes).collect::<Vec<_>>(), Endian::Little);
    let count = case.relos.len() as u32;
    let core = 12 + RECORD * count;
    let words = [0x0001_eb9f, HEADER, 0, 0, 0, 0, 0, core, RECORD, section_name, count];
    words.iter().flat_map(|word: &u32| word.to_le_bytes()).chain(records).collect()
}

/// Where libbpf, which reads files, finds them; removed when dropped.
struct Files {
    directory: PathBuf,
}

impl Files {
    fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("core-random-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory for the two files");
        Self { directory }
    }

    fn libbpf(&self, object: &[u8], target: &Btf) -> Outcome {
        let write = |name: &str, data: &[u8]| {
            let path = self.directory.join(name);
            std::fs::write(&path, data).map(|()| path).expect("a file in our directory")
        };
        let (path, btf) = (write("case.bpf.o", object), write("target.btf", target.bytes()));
        relocated(&path, &btf).map_err(|errno| format!("{errno:?}"))
    }

    /// What libbpf says on the way.
    fn log(&self, object: &[u8], target: &Btf) -> String {
        keep_log(Keep::Everything);
        take_log();
        let _ = self.libbpf(object, target);
        keep_log(Keep::Nothing);
        let log = take_log();
        let core: Vec<&str> =
            log.lines().filter(|line| line.contains("relo #") || line.starts_with('W')).collect();
        core.join("\n")
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn relocated(object: &Path, btf: &Path) -> Result<Vec<[u8; 8]>, oracle::libbpf::Errno> {
    let object = Object::open_against(object, Some(btf))?;
    object.prepare()?;
    Ok(object.programs().first().map(Program::insns).unwrap_or_default())
}

fn onebpf(object: &[u8], target: &Btf) -> Outcome {
    let relocate = || -> onebpf_object::Result<LinkedProgram> {
        let spec = parse(object, &ParseOptions { name: "case".to_owned(), ..ParseOptions::default() })?;
        let mut linked = link(&spec, PROGRAM)?;
        let local = spec.btf.as_ref().expect("the object has BTF");
        let mut matcher = Matcher::new(local, &[target]);
        resolve_core(&spec, &[&linked], &mut matcher)?;
        relocate_core(&spec, &mut linked, &mut matcher)?;
        Ok(linked)
    };
    let linked = relocate().map_err(|error| format!("{} {error}", error.code()))?;
    let bytes = insn::encode(&linked.insns, Endian::Little);
    Ok(bytes.as_chunks().0.to_vec())
}

/// All that one needs to know to find the cause.
struct Difference<'a> {
    seed: u64,
    case: &'a Case,
    theirs: Outcome,
    ours: Outcome,
    log: String,
}

impl std::fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "seed {}\n  libbpf {:02x?}\n  onebpf {:02x?}\n{}",
            self.seed, self.theirs, self.ours, self.log
        )?;
        for relo in &self.case.relos {
            writeln!(f, "  {relo:?} `{}`", self.case.local.string(relo.access_str_off).unwrap_or("?"))?;
        }
        for (what, btf) in [("local", &self.case.local), ("target", &self.case.target)] {
            for (n, ty) in Builder::from_btf(btf).expect("valid").types.iter().enumerate() {
                writeln!(f, "  {what} [{}] {:?} {:?}", n + 1, ty.name, ty.def)?;
            }
        }
        Ok(())
    }
}
