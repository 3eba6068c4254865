//! Reading the verifier's log: text for people, written by a kernel of any age. Nothing in it is trusted.

use onebpf_btf::{Btf, LineInfo};
use onebpf_object::SourceLine;
use std::collections::BTreeMap;

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
    /// The longest walk back to mark what is read.
    pub mark_read: u64,
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
                stats.verification_ns = number(time).saturating_mul(1000);
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
                stats.mark_read = after("mark_read");
            }
            _ => {}
        }
    }
    stats
}

/// How often each instruction is walked in a log of level 2, which tells of every path.
pub(crate) fn walked(log: &str) -> BTreeMap<u32, u64> {
    let mut counts = BTreeMap::new();
    for insn in log.lines().filter_map(instruction) {
        *counts.entry(insn).or_default() += 1;
    }
    counts
}

/// Finds the complaint that ended a verification; `None` if the log holds none.
pub(crate) fn complaint(log: &str) -> Option<Complaint> {
    let lines: Vec<&str> = log.lines().map(str::trim_end).filter(|line| !is_summary(line)).collect();
    let last = *lines.last()?;
    let walked = lines.iter().rposition(|line| instruction(line).is_some());
    // Registers and source lines that follow the instruction are not what the verifier complains of.
    let after = |at: usize| lines.iter().skip(at + 1).find(|line| is_words(line));
    let words = walked.and_then(after).unwrap_or(&last);
    let insn = named_instruction(words).or_else(|| instruction(lines.get(walked?)?));
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

#[cfg(test)]
mod tests {
    use super::*;

    // Linux 6.18, fixtures/src/rejected_null.bpf.c.
    const NULL: &str = "0: R1=ctx() R10=fp0
; u32 key = skb->len; @ rejected_null.bpf.c:26
0: (61) r1 = *(u32 *)(r1 +0)          ; R1=scalar(smin=0,smax=umax=0xffffffff)
; u64 *value = bpf_map_lookup_elem(&fix_undo, &key); @ rejected_null.bpf.c:27
4: (18) r1 = 0xffff88810434f000       ; R1=map_ptr(map=fix_undo,ks=4,vs=8)
6: (85) call bpf_map_lookup_elem#1    ; R0=map_value_or_null(id=1,map=fix_undo,ks=4,vs=8)
; *value += 1; @ rejected_null.bpf.c:28
7: (79) r1 = *(u64 *)(r0 +0)
R0 invalid mem access 'map_value_or_null'
processed 7 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
";

    #[test]
    fn the_last_words_are_found() {
        let found = complaint(NULL).unwrap();
        assert_eq!(found.message, "R0 invalid mem access 'map_value_or_null'");
        assert_eq!(found.insn, Some(7));
        assert_eq!(found.tail.len(), 3);
        assert!(found.tail[0].starts_with("; *value += 1;"));
    }

    #[test]
    fn words_about_the_packet_come_before_their_consequence() {
        let log = "14: (71) r0 = *(u8 *)(r1 +14)\n\
            invalid access to packet, off=14 size=1, R1(id=0,off=14,r=1)\n\
            R1 offset is outside of the packet\nprocessed 12 insns (limit 1000000) ...\n";
        let found = complaint(log).unwrap();
        assert_eq!(found.insn, Some(14));
        assert!(found.message.starts_with("invalid access to packet"));
        assert_eq!(found.tail.len(), 3);
    }

    #[test]
    fn a_complaint_can_name_its_instruction() {
        for (log, insn) in [
            ("func#0 @0\nunreachable insn 3\nprocessed 0 insns", 3),
            ("back-edge from insn 9 to 2\n", 9),
            ("jump out of range from insn 1 to 77\n", 1),
            ("12: (05) goto pc-3\ninfinite loop detected at insn 10\ncur state: R0=1\n", 10),
        ] {
            assert_eq!(complaint(log).unwrap().insn, Some(insn), "{log}");
        }
    }

    #[test]
    fn odd_logs_are_read_without_harm() {
        for log in [
            "",
            "\n\n",
            "processed 1 insns",
            "99999999999999999999: (85) call",
            ": (",
            "insn ",
            "; ",
            "R=",
            "\u{fffd}: (",
        ] {
            let _ = (complaint(log), stats(log));
        }
        assert_eq!(complaint("processed 7 insns (limit 1000000)\n"), None);
        let long = format!("0: (95) exit\n{}", "ä".repeat(100_000));
        assert!(complaint(&long).unwrap().tail.iter().all(|line| line.chars().count() <= 201));
    }

    #[test]
    fn statistics_are_read() {
        let log = "verification time 42 usec\nstack depth 32+8\n\
            processed 12 insns (limit 1000000) max_states_per_insn 1 total_states 2 peak_states 3 mark_read 4\n";
        let wanted = Stats {
            insns_processed: 12,
            total_states: 2,
            peak_states: 3,
            max_states_per_insn: 1,
            mark_read: 4,
            stack_depth: 40,
            verification_ns: 42_000,
        };
        assert_eq!(stats(log), wanted);
    }
}
