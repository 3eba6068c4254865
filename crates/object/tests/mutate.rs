//! Hostile input: damaged fixtures must give an error or an object that links or not, never a panic, and soon.

use onebpf_object::{ParseOptions, link, parse};
use std::path::{Path, PathBuf};
use std::time::Duration;
use testing::cpu_time;

/// Mutants in a normal run; `ONEBPF_MUTANTS` asks for more.
const MUTANTS: u32 = 20_000;

/// What a single mutant may take in a debug build.
const LIMIT: Duration = Duration::from_secs(1);

#[test]
fn damaged_objects_are_refused_or_read() {
    let objects: Vec<Vec<u8>> = fixtures().iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert!(objects.len() > 50);
    let count = std::env::var("ONEBPF_MUTANTS").ok().and_then(|n| n.parse().ok()).unwrap_or(MUTANTS);
    let mut random = Random(0x1234_5678_9abc_def1);
    let (mut read, mut linked) = (0, 0);
    for turn in 0..count {
        let mut bytes = objects[random.below(objects.len())].clone();
        mutate(&mut bytes, &mut random);
        let start = cpu_time();
        let options = ParseOptions { name: "m".into(), relaxed: turn % 2 == 0, ..ParseOptions::default() };
        match parse(&bytes, &options) {
            Ok(spec) => {
                read += 1;
                for name in spec.programs.keys() {
                    let Ok(program) = link(&spec, name) else { continue };
                    linked += 1;
                    for at in 0..program.insns.len() as u32 {
                        let _ = program.source_line(&spec, at);
                    }
                }
            }
            Err(error) => assert!(!error.to_string().is_empty() && error.code().starts_with("E0")),
        }
        let took = cpu_time().saturating_sub(start);
        assert!(took < LIMIT, "mutant {turn} took {took:?}");
    }
    println!("{count} mutants: {read} read, {linked} programs linked");
    assert!(read > count / 20, "mutants that cannot be read test little");
}

/// 1 to 8 bytes changed, or cut off, or two stretches swapped.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    match random.below(10) {
        0 => bytes.truncate(random.below(bytes.len() + 1)),
        1 => {
            let len = 1 + random.below(bytes.len() / 2);
            let (from, to) = (random.below(bytes.len() - len), random.below(bytes.len() - len));
            let stretch = bytes[from..from + len].to_vec();
            bytes.copy_within(to..to + len, from);
            bytes[to..to + len].copy_from_slice(&stretch);
        }
        kind => {
            for _ in 0..=random.below(8) {
                // Half of the changes hit the headers at the end and the start, where one byte does the most.
                let at = match kind % 4 {
                    0 => random.below(64.min(bytes.len())),
                    1 => bytes.len() - 1 - random.below((64 * 12).min(bytes.len())),
                    _ => random.below(bytes.len()),
                };
                let values = [0, 1, 0x7f, 0x80, 0xff, random.next() as u8, bytes[at].wrapping_add(1)];
                bytes[at] = values[random.below(values.len())];
            }
        }
    }
}

/// xorshift64: the same mutants in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

fn fixtures() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/obj");
    let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}
