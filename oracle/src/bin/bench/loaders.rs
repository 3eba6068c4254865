//! onebpf, libbpf and aya on the same objects: each load in a process of its own, in turn; medians are printed.

use std::path::Path;
use std::process::Command;

use oracle::libbpf::{self, Keep};
use serde_json::{Value, json};

use crate::sources::{self, Size};
use crate::syscalls;

/// The argument with which this program is the process that is measured: `--child WHAT FILE`.
pub(crate) const CHILD: &str = "--child";

/// What a child does with the object.
struct Loader {
    name: &'static str,
    run: fn(&Path) -> Result<(), String>,
}

/// Each kind of work, the one to compare with first.
const WORK: [(&str, &[Loader]); 2] = [
    (
        "load",
        &[
            Loader { name: "libbpf", run: load_by_libbpf },
            Loader { name: "onebpf", run: load_by_onebpf },
            Loader { name: "aya", run: load_by_aya },
        ],
    ),
    (
        "open and parse",
        &[
            Loader { name: "libbpf: open", run: open_by_libbpf },
            Loader { name: "onebpf: parse", run: parse_by_onebpf },
        ],
    ),
];

/// What a child measured, in the order of the table's columns.
const MEASURES: [(&str, &str); 5] = [
    ("user ms", "user_ns"),
    ("all ms", "cpu_ns"),
    ("bpf() calls", "calls"),
    ("peak MB", "peak_kb"),
    ("user M instr.", "instructions"),
];

fn load_by_libbpf(object: &Path) -> Result<(), String> {
    libbpf::keep_log(Keep::Nothing);
    let object = libbpf::Object::open(object).map_err(|errno| format!("open: {errno:?}"))?;
    object.load().map_err(|errno| format!("load: {errno:?}"))
}

fn open_by_libbpf(object: &Path) -> Result<(), String> {
    libbpf::keep_log(Keep::Nothing);
    libbpf::Object::open(object).map(drop).map_err(|errno| format!("open: {errno:?}"))
}

fn load_by_onebpf(object: &Path) -> Result<(), String> {
    onebpf::load(object).map(drop).map_err(|error| error.to_string())
}

fn parse_by_onebpf(object: &Path) -> Result<(), String> {
    onebpf::read(object, &onebpf::ParseOptions::default()).map(drop).map_err(|error| error.to_string())
}

fn load_by_aya(object: &Path) -> Result<(), String> {
    let mut object = aya::Ebpf::load_file(object).map_err(|error| error.to_string())?;
    for (name, program) in object.programs_mut() {
        let aya::programs::Program::RawTracePoint(program) = program else {
            return Err(format!("`{name}` is no raw tracepoint"));
        };
        program.load().map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The child's part: does the work once, and says as JSON what it took.
pub(crate) fn child(name: &str, object: &Path) -> Result<Value, String> {
    let loader = WORK.iter().flat_map(|(_, loaders)| *loaders).find(|loader| loader.name == name);
    let loader = loader.ok_or_else(|| format!("no loader `{name}`"))?;
    let before = syscalls::process_time();
    (loader.run)(object)?;
    let cpu = syscalls::process_time().saturating_sub(before);
    let (calls, in_bpf) = syscalls::bpf();
    let user = cpu.saturating_sub(in_bpf);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
    let peak: u64 = peak.unwrap_or_default();
    Ok(
        json!({"user_ns": user.as_nanos() as u64, "cpu_ns": cpu.as_nanos() as u64, "calls": calls, "peak_kb": peak}),
    )
}

/// One loader and one object: medians by the names in [`MEASURES`], or why it does not load.
struct Row {
    size: &'static str,
    name: &'static str,
    medians: Result<Value, String>,
}

/// Measures and prints the table; the same as JSON is returned.
pub(crate) fn compare(directory: &Path, vmlinux: &Path, rounds: usize) -> Result<Value, String> {
    let objects = sources::objects(directory, vmlinux)?;
    let mut document = Vec::new();
    for (work, loaders) in WORK {
        println!("\n{work}: medians of {rounds} processes each; in brackets, how many times libbpf's");
        print!("{:<10}{:<16}", "object", "");
        for (title, _) in MEASURES {
            print!("{title:>20}");
        }
        println!();
        for (size, object) in &objects {
            let rows = measure(size, loaders, object, rounds)?;
            let base = rows.first().and_then(|row| row.medians.as_ref().ok());
            for row in &rows {
                show(row, base);
                let medians = row.medians.clone().unwrap_or_else(|why| json!({ "error": why }));
                document
                    .push(json!({"work": work, "object": row.size, "loader": row.name, "medians": medians}));
            }
        }
    }
    Ok(document.into())
}

fn measure(size: &Size, loaders: &[Loader], object: &Path, rounds: usize) -> Result<Vec<Row>, String> {
    let me = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut runs: Vec<Result<Vec<Value>, String>> = loaders.iter().map(|_| Ok(Vec::new())).collect();
    for _ in 0..rounds {
        for (loader, runs) in loaders.iter().zip(&mut runs) {
            let Ok(done) = runs else { continue };
            match answer(Command::new(&me).args([CHILD, loader.name]).arg(object)) {
                Ok(value) => done.push(value),
                Err(why) => *runs = Err(why),
            }
        }
    }
    let row = |(loader, runs): (&Loader, Result<Vec<Value>, String>)| {
        let medians = runs.map(|runs| {
            let mut medians = json!({});
            for (_, key) in MEASURES {
                let mut values: Vec<u64> = runs.iter().filter_map(|run| run[key].as_u64()).collect();
                values.sort_unstable();
                if let Some(median) = values.get(values.len() / 2) {
                    medians[key] = json!(median);
                }
            }
            if let Some(count) = instructions(&me, loader.name, object) {
                medians["instructions"] = json!(count);
            }
            medians
        });
        Row { size: size.name, name: loader.name, medians }
    };
    Ok(loaders.iter().zip(runs).map(row).collect())
}

fn answer(command: &mut Command) -> Result<Value, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

/// What valgrind counts in the whole process, its start included; nothing where there is no valgrind.
fn instructions(me: &Path, name: &str, object: &Path) -> Option<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(me)
        .args([CHILD, name])
        .arg(object);
    let output = valgrind.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.lines().find_map(|line| line.split("Collected :").nth(1)?.trim().parse().ok())
}

fn show(row: &Row, base: Option<&Value>) {
    print!("{:<10}{:<16}", row.size, row.name);
    let medians = match &row.medians {
        Ok(medians) => medians,
        Err(why) => return println!("  {}", why.lines().last().unwrap_or_default()),
    };
    for (_, key) in MEASURES {
        let of = |value: &Value| value[key].as_u64().map(crate::float);
        let scale = match key {
            "calls" => 1.0,
            "peak_kb" => 1024.0,
            _ => 1e6,
        };
        let text = of(medians).map(|value| {
            let ratio = base.and_then(of).filter(|base| *base > 0.0).map(|base| value / base);
            let digits = if key == "calls" { 0 } else { 2 };
            format!("{:.digits$} [{:.3}]", value / scale, ratio.unwrap_or(f64::NAN))
        });
        print!("{:>20}", text.unwrap_or_default());
    }
    println!();
}
