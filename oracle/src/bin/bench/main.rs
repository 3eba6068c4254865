//! How fast onebpf is, beside libbpf and aya: objects of several sizes, many programs on one core and on two, opening the
//! kernel's BTF, parsing.
//!
//! Rounds are interleaved (one of each kind, then again), so that what else the machine does falls on all alike;
//! medians are printed.

mod loaders;
mod sources;
mod syscalls;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use oracle::libbpf::{self, Keep, Object};
use oracle::run;
use serde_json::{Value, json};

const USAGE: &str = "usage: bench [--smoke] [--rounds N] [--object FILE] [--onebpf PATH] [--json FILE]";
/// The kernel's own BTF.
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
/// Structures to look up by name, as a program with CO-RE would.
const NAMES: [&str; 8] =
    ["task_struct", "sk_buff", "sock", "file", "inode", "net_device", "cgroup", "bpf_prog"];
/// 200 programs, each of which takes the verifier a few milliseconds.
const MANY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/obj/many.o");
const KIND_STRUCT: u32 = 4;

struct Args {
    rounds: usize,
    object: PathBuf,
    onebpf: Option<PathBuf>,
    json: Option<PathBuf>,
}

/// One thing measured: nanoseconds of each round.
struct Series {
    what: String,
    runs: Vec<u64>,
}

fn main() -> ExitCode {
    let mut given = std::env::args().skip(1);
    if let (Some(loaders::CHILD), Some(name), Some(object)) =
        (given.next().as_deref(), given.next(), given.next())
    {
        return report(loaders::child(&name, Path::new(&object)).map(|value| println!("{value}")));
    }
    report(parse(std::env::args().skip(1)).and_then(|args| measure(&args)))
}

fn report(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench: {why}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut given: impl Iterator<Item = String>) -> Result<Args, String> {
    let mut args = Args { rounds: 9, object: MANY.into(), onebpf: None, json: None };
    while let Some(name) = given.next() {
        let mut value = || given.next().ok_or(format!("{name} needs a value\n{USAGE}"));
        let number = |text: String| text.parse::<usize>().map_err(|error| format!("{text}: {error}"));
        match name.as_str() {
            "--smoke" => args.rounds = 3,
            "--rounds" => args.rounds = number(value()?)?.max(1),
            "--object" => args.object = value()?.into(),
            "--onebpf" => args.onebpf = Some(value()?.into()),
            "--json" => args.json = Some(value()?.into()),
            other => return Err(format!("unknown argument {other}\n{USAGE}")),
        }
    }
    Ok(args)
}

fn measure(args: &Args) -> Result<(), String> {
    libbpf::keep_log(Keep::Nothing);
    let object =
        Object::open(&args.object).map_err(|errno| format!("{}: {errno:?}", args.object.display()))?;
    let programs = object.programs().len();
    drop(object);
    let mut sizes = Value::Null;
    if run::is_root() {
        let directory = run::target_dir().ok_or("not run from a target directory")?.join("bench");
        sizes = loaders::compare(&directory, Path::new(VMLINUX), args.rounds)?;
        println!();
    }
    let mut all = opening(&args.object, args.rounds)?;

    let onebpf = args.onebpf.clone().or_else(run::find_onebpf);
    if run::is_root() {
        all.extend(loading(onebpf.as_deref(), &args.object, args.rounds)?);
    } else {
        eprintln!("not root: loading is not measured");
    }
    println!("{} rounds, an object of {} programs, libbpf {}\n", args.rounds, programs, libbpf::version());
    println!("{:<48}{:>12}{:>12}", "milliseconds", "median", "fastest");
    for series in &all {
        let fastest = series.runs.iter().copied().min().unwrap_or(0);
        println!("{:<48}{:>12.3}{:>12.3}", series.what, float(series.median()) / 1e6, float(fastest) / 1e6);
    }
    let of = |what: &str| all.iter().find(|it| it.what == what).map(Series::median);
    let ratio = match (of(JOBS_1), of(JOBS_2)) {
        (Some(one), Some(two)) if two > 0 => Some(float(one) / float(two)),
        _ => None,
    };
    if let Some(ratio) = ratio {
        println!("\ntwo jobs are {ratio:.2} times as fast as one");
    }
    let Some(path) = &args.json else { return Ok(()) };
    let rows: Vec<Value> =
        all.iter().map(|it| json!({"what": it.what, "median_ns": it.median(), "runs_ns": it.runs})).collect();
    let document = json!({"rounds": args.rounds, "programs": programs, "jobs_ratio": ratio, "series": rows, "sizes": sizes});
    std::fs::write(path, format!("{document:#}\n")).map_err(|error| format!("{}: {error}", path.display()))
}

type Job<'a> = Box<dyn Fn() -> Result<(), String> + 'a>;

/// Everything that needs no kernel call.
fn opening(object: &Path, rounds: usize) -> Result<Vec<Series>, String> {
    let mut jobs: Vec<(&str, Job<'_>)> = Vec::new();
    jobs.push(("libbpf: open vmlinux BTF", Box::new(|| libbpf_btf(&[]))));
    jobs.push(("libbpf: open vmlinux BTF, find 8 names", Box::new(|| libbpf_btf(&NAMES))));
    jobs.push((
        "libbpf: parse the object",
        Box::new(|| Object::open(object).map(drop).map_err(|e| format!("{e:?}"))),
    ));
    jobs.push(("onebpf: open vmlinux BTF", Box::new(|| onebpf_btf(&[]))));
    jobs.push(("onebpf: open vmlinux BTF, find 8 names", Box::new(|| onebpf_btf(&NAMES))));
    jobs.push(("onebpf: parse the object", Box::new(|| onebpf_parse(object))));
    let mut all: Vec<Series> = jobs.iter().map(|(what, _)| Series::new(what)).collect();
    for _ in 0..rounds {
        for (series, (_, job)) in all.iter_mut().zip(&jobs) {
            let start = Instant::now();
            job()?;
            series.runs.push(start.elapsed().as_nanos() as u64);
        }
    }
    Ok(all)
}

fn libbpf_btf(names: &[&str]) -> Result<(), String> {
    let btf = libbpf::Btf::parse(Path::new(VMLINUX)).map_err(|errno| format!("{VMLINUX}: {errno:?}"))?;
    match names.iter().find(|name| btf.find(name, KIND_STRUCT).is_none()) {
        Some(name) => Err(format!("libbpf finds no struct {name}")),
        None => Ok(()),
    }
}

fn onebpf_btf(names: &[&str]) -> Result<(), String> {
    let bytes = std::fs::read(VMLINUX).map_err(|error| format!("{VMLINUX}: {error}"))?;
    let btf = onebpf_btf::Btf::from_vec(bytes).map_err(|error| error.to_string())?;
    match names.iter().find(|name| btf.find(name, onebpf_btf::Kind::Struct).is_none()) {
        Some(name) => Err(format!("onebpf finds no struct {name}")),
        None => Ok(()),
    }
}

fn onebpf_parse(object: &Path) -> Result<(), String> {
    let bytes = std::fs::read(object).map_err(|error| format!("{}: {error}", object.display()))?;
    let options = onebpf_object::ParseOptions { name: "bench".to_owned(), ..Default::default() };
    onebpf_object::parse(&bytes, &options).map(drop).map_err(|error| error.to_string())
}

const JOBS_1: &str = "onebpf: load, one job";
const JOBS_2: &str = "onebpf: load, two jobs";

/// Loads the object and lets it go, each way in turn. onebpf's time is that of its phases, without the start of the
/// process; libbpf's is that of open and load.
fn loading(onebpf: Option<&Path>, object: &Path, rounds: usize) -> Result<Vec<Series>, String> {
    let mut all = [JOBS_1, JOBS_2, "onebpf: apply, one job", "onebpf: apply, two jobs", "libbpf: load"]
        .map(Series::new);
    for _ in 0..rounds {
        for (jobs, at) in [("1", 0), ("2", 1)] {
            let Some(onebpf) = onebpf else { continue };
            let (total, apply) = load_by_onebpf(onebpf, object, jobs)?;
            all[at].runs.push(total);
            all[at + 2].runs.push(apply);
        }
        let start = Instant::now();
        let opened = Object::open(object).map_err(|errno| format!("libbpf: open: {errno:?}"))?;
        opened.load().map_err(|errno| format!("libbpf: load: {errno:?}"))?;
        all[4].runs.push(start.elapsed().as_nanos() as u64);
    }
    Ok(all.into_iter().filter(|it| !it.runs.is_empty()).collect())
}

fn load_by_onebpf(onebpf: &Path, object: &Path, jobs: &str) -> Result<(u64, u64), String> {
    let loaded = run::onebpf(onebpf, "load", object, &["--no-pin", "--jobs", jobs])?;
    let timings = &loaded["timings"];
    let of = |name: &str| timings[name].as_u64().ok_or(format!("load --json has no {name}: {loaded}"));
    if loaded["ok"] != true {
        return Err(format!("onebpf load: {}", loaded["error"]));
    }
    let apply = of("apply_ns")?;
    Ok((of("parse_ns")? + of("observe_ns")? + of("plan_ns")? + apply, apply))
}

/// Nanoseconds of less than 104 days are exact.
#[expect(clippy::cast_precision_loss)]
pub(crate) fn float(number: u64) -> f64 {
    number as f64
}

impl Series {
    fn new(what: &str) -> Self {
        Self { what: what.to_owned(), runs: Vec::new() }
    }

    fn median(&self) -> u64 {
        let mut runs = self.runs.clone();
        runs.sort_unstable();
        runs.get(runs.len() / 2).copied().unwrap_or(0)
    }
}
