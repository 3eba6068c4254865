//! Asking the verifier, and keeping nothing.

use crate::error::{Error, Result};
use crate::plan;
use crate::verifier::{self, Stats};
use crate::{Options, Program, Spec, load_spec};
use onebpf_object::SourceLine;
use onebpf_sys::{Errno, Kernel, ProgInfo};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What the verifier says of a program.
#[derive(Debug)]
pub struct Verdict {
    /// The program.
    pub program: String,
    /// How much work it was; of a refused program, as far as the verifier came.
    pub stats: Stats,
    /// What became of it in the kernel; nothing for a refused program.
    pub info: Option<ProgInfo>,
    /// The verifier's log; without [`Options::log_level`] the statistics, or why it refuses. Nothing if the kernel was
    /// not asked, or does not say.
    pub log: Option<String>,
    /// Why it is refused.
    pub result: std::result::Result<(), Error>,
}

/// `BPF_LOG_STATS`: a few lines at the end, and no more. Since Linux 5.2.
const LOG_STATS: u32 = 4;

/// Loads each chosen program alone, with the maps that it needs, and lets go of it again: [`Options::jobs`] of them side
/// by side. Nothing is pinned, and no pinned map is used except those that [`Options::reuse`] names.
///
/// # Errors
/// E0301 if `options` name a program that is not there. What is wrong with one program is in its [`Verdict`].
pub fn verify(kernel: &Arc<dyn Kernel>, spec: &Spec, options: &Options) -> Result<Vec<Verdict>> {
    let names: Vec<&str> =
        plan::select(spec, options)?.into_iter().map(|program| program.name.as_str()).collect();
    let jobs = match options.jobs {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        jobs => jobs,
    };
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(name) = names.get(at) else { break };
            let verdict = one(kernel, spec, options, name);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((at, verdict));
        }
    };
    std::thread::scope(|scope| {
        (1..jobs.min(names.len())).for_each(|_| drop(scope.spawn(work)));
        work();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    Ok(done.into_iter().map(|(_, verdict)| verdict).collect())
}

fn one(kernel: &Arc<dyn Kernel>, spec: &Spec, options: &Options, name: &str) -> Verdict {
    let mut alone = Options {
        programs: vec![name.to_owned()],
        sections: Vec::new(),
        jobs: 1,
        log_level: options.log_level | LOG_STATS,
        ..options.clone()
    };
    alone.pins.disabled = true;
    let mut result = load_spec(kernel, spec, &alone);
    if matches!(&result, Err(error) if error.code() == "E0404" && error.errno() == Some(Errno::INVAL)) {
        // Before Linux 5.2 there are no statistics alone, but the last line of a whole log.
        alone.log_level = options.log_level.max(1);
        result = load_spec(kernel, spec, &alone);
    }
    let (info, log, result) = match result {
        Ok(loaded) => {
            let program = loaded.program(name);
            let log = program.and_then(Program::log).map(str::to_owned);
            (program.and_then(|program| program.info().ok()), log, Ok(()))
        }
        Err(error) => (None, error.report().log.clone(), Err(error)),
    };
    let stats = log.as_deref().map(verifier::stats).unwrap_or_default();
    Verdict { program: name.to_owned(), stats, info, log, result }
}

impl Verdict {
    /// The lines of C that the verifier walked most, with how many instructions of each it walked, greatest first: every
    /// path counts. Wants a log of level 2 ([`Options::log_level`]) and an object with `.BTF.ext`.
    pub fn top_lines(&self, spec: &Spec) -> Vec<(SourceLine, u64)> {
        let Ok(linked) = onebpf_object::link(spec, &self.program) else { return Vec::new() };
        let Some((log, strings)) = self.log.as_deref().zip(spec.btf.as_ref()) else { return Vec::new() };
        let mut records: Vec<_> = linked.line_info.iter().collect();
        records.sort_by_key(|record| record.insn_off);
        let mut counts: BTreeMap<(u32, u32), (u32, u64)> = BTreeMap::new();
        for (insn, walked) in verifier::walked(log) {
            let above = records.partition_point(|record| record.insn_off <= insn);
            if let Some(record) = above.checked_sub(1).and_then(|at| records.get(at)) {
                // Columns of a line are one line here; its text is that of its first record.
                let line =
                    counts.entry((record.file_name_off, record.line())).or_insert((record.line_off, 0));
                line.1 += walked;
            }
        }
        let mut lines: Vec<(SourceLine, u64)> = counts
            .into_iter()
            .filter_map(|((file, line), (text, count))| {
                let [file, text] = [file, text].map(|offset| strings.string(offset).map(str::to_owned));
                Some((SourceLine { file: file.ok()?, line, column: 0, text: text.ok()? }, count))
            })
            .collect();
        lines.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        lines
    }
}
