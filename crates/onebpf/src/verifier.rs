//! Reading the verifier's log: text for people, written by a kernel of any age. Nothing in it is trusted.

use onebpf_btf::{Btf, LineInfo};
use onebpf_object::SourceLine;

/// How much work a program was for the verifier; 0 where the log does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Stats {
    /// Instructions walked, each path counted.
    pub insns_processed: u64,
    /// States kept.
    pub total_states: u64,
    /// The most states kept at one time.
    pub peak_states: u64,
    /// The most states kept for one instruction.
    pub max_states_per_insn: u64,
    /// Bytes of stack, all frames together.
    pub stack_depth: u64,
    /// Time that the verifier took, in nanoseconds.
    pub verification_ns: u64,
}

/// Why the verifier refused a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// Its last words that say something.
    pub(crate) message: String,
    /// The instruction that they are about.
    pub(crate) insn: Option<u32>,
    /// Source line, instruction, registers and complaint, as the log has them.
    pub(crate) tail: Vec<String>,
}

/// How many lines of the log are shown.
const TAIL: usize = 6;

/// Reads the statistics at the end of a log: `processed 5 insns (limit 1000000) max_states_per_insn 0 ...`,
/// `stack depth 32+0`, `verification time 42 usec` (kernel/bpf/verifier.c, `print_verification_stats()`).
pub fn stats(log: &str) -> Stats {
    let mut stats = Stats::default();
    for line in log.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["verification", "time", time, "usec", ..] => {
                stats.verification_ns = number(time).saturating_mul(1000)
            }
            ["stack", "depth", depths, ..] => {
                stats.stack_depth = depths.split('+').map(number).fold(0, u64::saturating_add);
            }
            ["processed", insns, "insns", ..] => {
                stats.insns_processed = number(insns);
                let pairs = || words.iter().zip(words.iter().skip(1));
                let after =
                    |name| pairs().find(|(word, _)| **word == name).map_or(0, |(_, next)| number(next));
                stats.max_states_per_insn = after("max_states_per_insn");
                stats.total_states = after("total_states");
                stats.peak_states = after("peak_states");
            }
            _ => {}
        }
    }
    stats
}

/// Finds the complaint that ended a verification; `None` if the log holds none.
pub(crate) fn complaint(log: &str) -> Option<Complaint> {
    let lines: Vec<&str> = log.lines().map(str::trim_end).filter(|line| !is_summary(line)).collect();
    let last = *lines.last()?;
    let walked = lines.iter().rposition(|line| instruction(line).is_some());
    let insn = named_instruction(last).or_else(|| instruction(lines.get(walked?)?));
    // Registers and source lines that follow the instruction are not what the verifier complains of.
    let words = lines.iter().skip(walked.map_or(0, |n| n + 1)).find(|line| is_words(line)).unwrap_or(&last);
    let start = walked.map_or(0, |at| source_line_above(&lines, at)).max(lines.len().saturating_sub(TAIL));
    let tail = lines.get(start..).unwrap_or_default();
    Some(Complaint {
        message: words.trim().to_owned(),
        insn,
        tail: tail.iter().map(|line| shorten(line)).collect(),
    })
}

/// The source line of an instruction: that of the last record at or before it.
pub(crate) fn source(strings: Option<&Btf>, lines: &[LineInfo], insn: u32) -> Option<SourceLine> {
    let record = lines.iter().filter(|line| line.insn_off <= insn).max_by_key(|line| line.insn_off)?;
    let btf = strings?;
    let file = btf.string(record.file_name_off).ok()?;
    let text = btf.string(record.line_off).ok()?;
    Some(SourceLine {
        file: file.to_owned(),
        line: record.line(),
        column: record.column(),
        text: text.to_owned(),
    })
}

/// Lines that come after any complaint, or say nothing.
fn is_summary(line: &str) -> bool {
    let starts = ["processed ", "verification time ", "stack depth ", "-- END", "-- BEGIN"];
    line.trim().is_empty() || starts.iter().any(|start| line.starts_with(start))
}

/// A line of prose, not of the walk: instructions, registers, source lines, jumps, and marks of back-tracking.
fn is_words(line: &str) -> bool {
    let line = line.trim_start();
    let walk =
        ["; ", "from ", "mark_precise:", "last_idx ", "first_idx ", "parent ", "regs=", "caller:", "callee:"];
    let registers =
        line.starts_with('R') && line.chars().skip(1).take_while(char::is_ascii_digit).count() > 0;
    let dump = registers && line.split_whitespace().next().is_some_and(|word| word.contains('='));
    let numbered = line.split_once(": ").is_some_and(|(n, _)| n.parse::<u32>().is_ok());
    !numbered
        && !dump
        && line != "Live regs before insn:"
        && !walk.iter().any(|start| line.starts_with(start))
}

/// The index in `12: (85) call bpf_map_lookup_elem#1`.
fn instruction(line: &str) -> Option<u32> {
    let (index, rest) = line.trim_start().split_once(": ")?;
    rest.starts_with('(').then(|| index.parse().ok())?
}

/// The index that the complaint itself names: `unreachable insn 7`, `back-edge from insn 5 to 2`.
fn named_instruction(line: &str) -> Option<u32> {
    let (_, rest) = line.split_once("insn ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// From an instruction back over its registers to the `; source` line above it.
fn source_line_above(lines: &[&str], at: usize) -> usize {
    let above = lines.get(..at).unwrap_or_default();
    above.iter().rposition(|line| line.starts_with("; ")).unwrap_or(at)
}

/// Register dumps can be very long.
fn shorten(line: &str) -> String {
    const LONGEST: usize = 200;
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line.to_owned(),
    }
}

fn number(text: &str) -> u64 {
    text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0)
}
