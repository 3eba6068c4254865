//! `onebpf verify`: what the verifier says of each program, alone.

mod compare;
mod show;

use crate::exit::{Failure, Outcome};
use crate::load_args::LoadArgs;
use crate::out::Out;
use crate::report::ErrorJson;
use onebpf::{Kernel, Linux, Options, Report, Stats, Verdict};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Load each program alone and keep nothing: verdict, instructions, states, stack, time.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Compiled BPF objects
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Sort by this column instead of file and name, greatest first
    #[arg(long, value_name = "COLUMN", value_parser = ["verdict", "insns", "states", "peak", "stack", "time"])]
    sort: Option<String>,
    /// Only programs whose name fits: `*` is anything, `?` one character
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// Print comma-separated values
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Compare with what `verify --json` said before
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    #[command(flatten)]
    load: LoadArgs,
}

#[derive(Serialize)]
struct Document {
    objects: Vec<Object>,
}

#[derive(Serialize)]
struct Object {
    file: PathBuf,
    error: Option<ErrorJson>,
    programs: Vec<Program>,
    #[serde(skip)]
    report: Option<Box<Report>>,
}

#[derive(Serialize)]
struct Program {
    name: String,
    ok: bool,
    errno: Option<onebpf::sys::Errno>,
    code: Option<&'static str>,
    message: Option<String>,
    insns_processed: u64,
    total_states: u64,
    peak_states: u64,
    stack_depth: u64,
    verification_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<compare::Before>,
    #[serde(skip)]
    report: Option<Box<Report>>,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Outcome {
    let options = args.load.options();
    let before = args.compare.as_deref().map(compare::read).transpose()?;
    let mut objects = verify_all(args, &options)?;
    for object in &mut objects {
        object.programs.retain(|program| args.filter.as_deref().is_none_or(|glob| fits(glob, &program.name)));
        for program in &mut object.programs {
            program.before = before.as_ref().and_then(|before| before.find(&object.file, &program.name));
        }
    }
    let refused = objects.iter().any(|o| o.error.is_some() || o.programs.iter().any(|program| !program.ok));
    let document = Document { objects };
    if out.json {
        out.json(&document)?;
    } else if args.csv {
        show::csv(&document, out)?;
    } else {
        show::table(&document, args.sort.as_deref(), before.is_some(), out)?;
    }
    if refused { Err(Failure::Refused) } else { Ok(()) }
}

/// Files side by side, `--jobs` at a time; the answer is in the order of the arguments.
fn verify_all(args: &Args, options: &Options) -> Outcome<Vec<Object>> {
    let kernel: Arc<dyn Kernel> = Arc::new(Linux);
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = if options.jobs == 0 { cpus } else { options.jobs };
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some((at, file)) = take(&args.files, &next) {
            let object = verify_one(&kernel, file, args, options);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((at, object));
        }
    };
    std::thread::scope(|scope| (0..jobs.min(args.files.len())).for_each(|_| drop(scope.spawn(work))));
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, object)| object).collect()
}

fn take<'a>(files: &'a [PathBuf], next: &AtomicUsize) -> Option<(usize, &'a Path)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    files.get(at).map(|file| (at, file.as_path()))
}

/// What is wrong with one file does not stop the others.
fn verify_one(kernel: &Arc<dyn Kernel>, file: &Path, args: &Args, options: &Options) -> Outcome<Object> {
    let verdicts = || -> Outcome<Vec<Verdict>> {
        let spec = args.load.object(file)?.spec;
        Ok(onebpf::verify(kernel, &spec, options)?)
    };
    let mut object = Object { file: file.to_owned(), error: None, programs: Vec::new(), report: None };
    match verdicts() {
        Ok(verdicts) => object.programs = verdicts.into_iter().map(Program::from).collect(),
        Err(Failure::Failed { report, .. }) => {
            object.error = Some(ErrorJson::from(&*report));
            object.report = Some(report);
        }
        Err(other) => return Err(other),
    }
    Ok(object)
}

impl From<Verdict> for Program {
    fn from(verdict: Verdict) -> Self {
        let (stats, report) = match &verdict.result {
            Ok(stats) => (*stats, None),
            Err(error) => {
                let stats = error.report().log.as_deref().map_or_else(Stats::default, onebpf::stats);
                (stats, Some(Box::new(error.report().clone())))
            }
        };
        Self {
            name: verdict.program,
            ok: report.is_none(),
            errno: report.as_ref().and_then(|report| report.errno),
            code: report.as_ref().map(|report| report.code),
            message: report.as_ref().map(|report| report.message.clone()),
            insns_processed: stats.insns_processed,
            total_states: stats.total_states,
            peak_states: stats.peak_states,
            stack_depth: stats.stack_depth,
            verification_ns: stats.verification_ns,
            before: None,
            report,
        }
    }
}

/// Whether a name fits a pattern of `*` and `?`.
fn fits(glob: &str, name: &str) -> bool {
    let (glob, name): (Vec<char>, Vec<char>) = (glob.chars().collect(), name.chars().collect());
    // One row of the usual table: whether the pattern so far fits the first n characters.
    let mut row: Vec<bool> = (0..=name.len()).map(|n| n == 0).collect();
    for wanted in glob {
        let mut next = vec![wanted == '*' && row.first() == Some(&true)];
        for (at, found) in name.iter().enumerate() {
            let fits = |n: usize, row: &[bool]| row.get(n).copied().unwrap_or_default();
            next.push(if wanted == '*' {
                fits(at, &next) || fits(at + 1, &row)
            } else {
                fits(at, &row) && (wanted == '?' || wanted == *found)
            });
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn patterns_fit_whole_names() {
        for (glob, name) in
            [("*", ""), ("in*", "ingress"), ("*gr*s", "ingress"), ("?a", "xa"), ("x", "x"), ("a*b*c", "abc")]
        {
            assert!(fits(glob, name), "{glob} {name}");
        }
        for (glob, name) in [("", "x"), ("?", ""), ("in", "ingress"), ("*z", "ingress"), ("a*b*c", "acb")] {
            assert!(!fits(glob, name), "{glob} {name}");
        }
    }
}
