//! Hostile objects: the fixtures with bytes changed, cut off, or sections swapped, through `parse` and `plan`.
//!
//! No input may make them panic, compute for a second, or ask for more than 64 MiB at once. The last is held by the kernel:
//! the test gives itself that much address space and no more, so that a larger allocation aborts it.
//!
//! `ONEBPF_MUTATIONS=N` says how many; `ONEBPF_MUTATION=N` runs one of them alone.
#![forbid(unsafe_code)]

use onebpf::{Facts, Options, ParseOptions, parse, plan};
use std::path::Path;
use std::time::Duration;
use testing::cpu_time;

const DEFAULT: u64 = 100_000;
/// What the process may grow by: one allocation of 64 MiB on top of what one case otherwise needs.
const HEADROOM: u64 = (64 + 32) << 20;
const LONGEST: Duration = Duration::from_secs(1);

#[test]
fn mutated_objects_are_refused_or_planned() {
    let objects = fixtures();
    let cases = number("ONEBPF_MUTATIONS").unwrap_or(DEFAULT);
    let range = number("ONEBPF_MUTATION").map_or(0..cases, |one| one..one + 1);
    limit_address_space();
    let (mut parsed, mut planned, mut slowest) = (0u64, 0u64, (Duration::ZERO, 0));
    for case in range.clone() {
        let mut random = Random(case.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (name, original) = &objects[random.below(objects.len())];
        let bytes = mutate(original, &mut random);
        let start = cpu_time();
        let outcome = std::panic::catch_unwind(|| through(&bytes));
        let took = cpu_time().saturating_sub(start);
        let (did_parse, did_plan) = outcome.unwrap_or_else(|_| panic!("case {case} ({name}) panicked"));
        parsed += u64::from(did_parse);
        planned += u64::from(did_plan);
        assert!(took < LONGEST, "case {case} ({name}) took {took:?}");
        slowest = slowest.max((took, case));
    }
    println!(
        "{} cases: {parsed} parsed, {planned} planned, slowest {:?} (case {})",
        range.count(),
        slowest.0,
        slowest.1
    );
}

/// Parses, and plans with nothing known of the host; whether each succeeded.
fn through(bytes: &[u8]) -> (bool, bool) {
    let options = ParseOptions { name: "mutated".to_owned(), ..ParseOptions::default() };
    let Ok(spec) = parse(bytes, &options) else { return (false, false) };
    (true, plan::plan(&spec, &Options::default(), &Facts::default()).is_ok())
}

fn mutate(original: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = original.to_vec();
    match random.below(10) {
        0 => bytes.truncate(random.below(original.len())),
        1 => swap_sections(&mut bytes, random),
        _ => {
            for _ in 0..=random.below(8) {
                let at = random.below(bytes.len());
                bytes[at] = match random.below(4) {
                    0 => 0,
                    1 => 0xff,
                    2 => bytes[at] ^ (1 << random.below(8)),
                    _ => random.next() as u8,
                };
            }
        }
    }
    bytes
}

/// Exchanges two section headers: names, contents and links point elsewhere.
fn swap_sections(bytes: &mut [u8], random: &mut Random) {
    const HEADER: usize = 64;
    let little = bytes[5] == 1;
    let word = |at: usize| {
        let raw: [u8; 8] = bytes[at..at + 8].try_into().expect("8 bytes");
        if little { u64::from_le_bytes(raw) } else { u64::from_be_bytes(raw) }
    };
    let table = word(40) as usize;
    let count = (bytes.len().saturating_sub(table) / HEADER).max(1);
    let (a, b) = (table + random.below(count) * HEADER, table + random.below(count) * HEADER);
    if a.max(b) + HEADER <= bytes.len() {
        for n in 0..HEADER {
            bytes.swap(a + n, b + n);
        }
    }
}

fn fixtures() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/obj");
    let mut found: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder)
        .expect("fixtures/obj")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "o"))
        .map(|path| (path.display().to_string(), std::fs::read(&path).expect("fixture")))
        .filter(|(_, bytes)| bytes.len() > 64 && bytes.starts_with(b"\x7fELF"))
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

fn limit_address_space() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).expect("VmSize");
    let kib: u64 = size.trim().trim_end_matches(" kB").parse().expect("a number");
    let mut limit = getrlimit(Resource::As);
    limit.current = Some((kib << 10) + HEADROOM);
    setrlimit(Resource::As, limit).expect("lowering a limit needs no privilege");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// xorshift64: the same cases everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}
