//! `onebpf verify`: what the verifier says of each program, alone.

mod column;
mod files;
mod record;
mod select;
mod show;

use crate::exit::{Failure, Outcome};
use crate::load_args::LoadArgs;
use crate::out::Out;
use onebpf::object::{MapSpec, MapType};
use onebpf::{Kernel, Linux, Options, Spec};
use record::{Object, Record, Run};
use select::{Filter, Order, Test};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Load each program alone and keep nothing: verdict, instructions, states, stack, time.
#[derive(clap::Args, Debug)]
#[command(after_help = after_help())]
pub(crate) struct Args {
    /// Compiled BPF objects, folders of them, or patterns such as `build/**/*.o`
    #[arg(required_unless_present = "replay")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    application: Application,
    /// Columns to show, instead of the usual ones
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',', value_parser = column_index, help_heading = "Verdicts")]
    columns: Vec<usize>,
    /// Sort by columns: names begin with the first, numbers with the greatest, unless `:asc` or `:desc` follows
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',', help_heading = "Verdicts")]
    sort: Vec<Order>,
    /// Only rows that fit: FILE/PROGRAM or the name of either with `*` and `?`, `!NAME` for all others, a comparison
    /// such as `insns>1000`, or `@FILE` for lines of these (repeatable: one of the names, every comparison)
    #[arg(long, value_name = "WHAT", help_heading = "Verdicts")]
    filter: Vec<String>,
    /// Show this many rows
    #[arg(long, value_name = "N", help_heading = "Verdicts")]
    top: Option<usize>,
    /// Print comma-separated values
    #[arg(long, conflicts_with = "json", help_heading = "Verdicts")]
    csv: bool,
    /// Compare with what `verify --json` or `--csv` said before
    #[arg(long, value_name = "FILE", help_heading = "Verdicts")]
    compare: Option<PathBuf>,
    /// Only rows whose verdict or a count differs from before, new and gone ones too
    #[arg(long, requires = "compare", help_heading = "Verdicts")]
    changed: bool,
    /// Verify nothing, show what `verify --json` or `--csv` said
    #[arg(long, value_name = "FILE", conflicts_with = "files", help_heading = "Verdicts")]
    replay: Option<PathBuf>,
    /// When the exit status is 1: if a row fits the comparison (repeatable) [default: verdict=refused, verdict=unreadable]
    #[arg(long, value_name = "COMPARISON", help_heading = "Verdicts")]
    fail_on: Vec<Test>,
    /// Show the N lines of C of each program that the verifier walked most
    #[arg(long, value_name = "N", help_heading = "Verdicts")]
    top_src_lines: Option<usize>,
    #[command(flatten)]
    load: LoadArgs,
}

/// What an application would do to an object before it loads it.
#[derive(clap::Args, Debug)]
struct Application {
    /// Also programs that are not loaded by default: SEC("?...")
    #[arg(long, help_heading = "Choosing")]
    all: bool,
    /// Maps without max_entries get one entry, as if an application had sized them
    #[arg(long, help_heading = "Choosing")]
    size_maps: bool,
}

/// `BPF_LOG_LEVEL2`: the log tells of every path.
const EVERY_PATH: u32 = 2;

fn after_help() -> String {
    format!(
        "{}\nWith --compare also COLUMN.before, COLUMN.diff and COLUMN.pct; |COLUMN.diff| is without its sign.\n\
         Times in comparisons are microseconds, or have a unit: 5ms.\n\n\
         Exit status: 0, or 1 if a row that is shown fits --fail-on; 2 wrong usage. --top hides rows, but they count.\n\n\
         Examples:\n  onebpf verify build/ --sort insns --top 10\n  \
         onebpf verify build/ --json > before.json\n  \
         onebpf verify build/ --compare before.json --filter '|insns.pct|>1' --fail-on 'insns.pct>5'",
        column::help()
    )
}

fn column_index(typed: &str) -> Result<usize, String> {
    column::find(typed).ok_or_else(|| format!("there is no column `{typed}`"))
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Outcome {
    let filters = args.filters()?;
    let mut run = match &args.replay {
        Some(saved) => record::read(saved)?,
        None => verify_all(args, out)?,
    };
    if let Some(earlier) = &args.compare {
        let whole = args.load.is_whole();
        run.compare(&record::read(earlier)?, whole);
    }
    run.retain(|row| select::shown(&filters, row) && (row.is_changed() || !args.changed));
    let mut rows: Vec<&Record> = run.rows().collect();
    select::sort(&mut rows, &args.sort);
    let fails = |row: &&Record| match args.fail_on.as_slice() {
        [] => [column::REFUSED, column::UNREADABLE].contains(&row.cell(column::VERDICT).as_text()),
        tests => tests.iter().any(|test| test.fits(row)),
    };
    let failed = rows.iter().any(fails);
    rows.truncate(args.top.unwrap_or(usize::MAX));
    let look = show::Look {
        columns: args.columns.clone(),
        compared: args.compare.is_some(),
        logs: args.load.options().log_level > 0,
        replayed: args.replay.is_some(),
    };
    if out.json {
        out.json(&run)?;
    } else if args.csv {
        show::csv(&rows, &look, out)?;
    } else {
        show::table(&run, &rows, &look, out)?;
    }
    if failed { Err(Failure::Refused) } else { Ok(()) }
}

impl Args {
    /// The filters, those in files too.
    fn filters(&self) -> Outcome<Vec<Filter>> {
        let mut texts = Vec::new();
        for typed in &self.filter {
            match typed.strip_prefix('@') {
                Some(file) => texts.extend(files::lines(Path::new(file))?),
                None => texts.push(typed.clone()),
            }
        }
        let read = |text: &String| {
            let filter = text.parse::<Filter>();
            filter
                .map_err(|why| Failure::Usage(format!("invalid value '{text}' for '--filter <WHAT>': {why}")))
        };
        let filters: Vec<Filter> = texts.iter().map(read).collect::<Outcome<_>>()?;
        let tests = filters.iter().filter_map(|filter| match filter {
            Filter::Test(test) => Some(test),
            Filter::Name { .. } => None,
        });
        let speak_of_before =
            tests.chain(&self.fail_on).any(Test::compares) || self.sort.iter().any(|o| o.compares());
        if speak_of_before && self.compare.is_none() {
            return Err(Failure::Usage(".before, .diff and .pct need --compare FILE".to_owned()));
        }
        Ok(filters)
    }
}

/// Files side by side, `--jobs` at a time; the answer is in the order of the arguments.
fn verify_all(args: &Args, out: &mut Out) -> Outcome<Run> {
    let found = files::expand(&args.files)?;
    if found.others > 0 && out.verbose {
        out.say(&format!("{} objects are not for BPF", found.others));
    }
    let kernel: Arc<dyn Kernel> = Arc::new(Linux);
    let mut options = args.load.options();
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = if options.jobs == 0 { cpus } else { options.jobs };
    // Few files: their programs side by side too.
    options.jobs = (jobs / found.files.len().max(1)).max(1);
    if args.top_src_lines.is_some() {
        options.log_level |= EVERY_PATH;
    }
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = found.files.get(at) else { break };
            let object = verify_one(&kernel, file, args, &options);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((at, object));
        }
    };
    std::thread::scope(|scope| (0..jobs.min(found.files.len())).for_each(|_| drop(scope.spawn(work))));
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    let objects = done.into_iter().map(|(_, object)| object).collect::<Outcome<_>>()?;
    Ok(Run { objects, gone: Vec::new() })
}

/// What is wrong with one file does not stop the others.
fn verify_one(kernel: &Arc<dyn Kernel>, file: &Path, args: &Args, options: &Options) -> Outcome<Object> {
    let programs = || -> Outcome<Vec<Record>> {
        let mut spec = args.load.object(file)?.spec;
        args.application.prepare(&mut spec);
        let verdicts = onebpf::verify(kernel, &spec, options)?;
        let asked = args.load.options().log_level > 0;
        Ok(verdicts
            .iter()
            .map(|verdict| Record {
                log: verdict.log.clone().filter(|_| asked),
                lines: args.top_src_lines.map_or_else(Vec::new, |top| {
                    let mut lines = verdict.top_lines(&spec);
                    lines.truncate(top);
                    lines
                }),
                ..Record::of_program(file, &spec, verdict)
            })
            .collect())
    };
    match programs() {
        Ok(programs) => Ok(Object { file: file.to_string_lossy().into_owned(), error: None, programs }),
        Err(Failure::Failed { report, .. }) => Ok(Object::unreadable(file, report)),
        Err(other) => Err(other),
    }
}

impl Application {
    fn prepare(&self, spec: &mut Spec) {
        if self.all {
            spec.programs.values_mut().for_each(|program| program.autoload = true);
        }
        // Storage of objects has no entries, and perf event arrays get one for each CPU.
        let sized = |map: &&mut MapSpec| {
            let others = [MapType::PERF_EVENT_ARRAY, MapType::STRUCT_OPS];
            map.max_entries == 0 && !map.kind.is_storage() && !others.contains(&map.kind)
        };
        if self.size_maps {
            spec.maps.values_mut().filter(sized).for_each(|map| map.max_entries = 1);
        }
    }
}
