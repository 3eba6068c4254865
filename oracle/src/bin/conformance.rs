//! Compares onebpf with libbpf on the kernel's own BPF selftests, or on any objects.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use oracle::report::{Load, Report, Sides};
use oracle::selftests::{self, Built, Source, Target};
use oracle::{judge, kernel, run};

const USAGE: &str = "\
usage: conformance [--linux 6.12 | --src TREE | --objects DIR] [--filter TEXT] [--mcpu v3] [--big-endian]
                   [--onebpf PATH] [--libbpf-only] [--load | --only-load] [--json FILE] [--build-only]
  --linux RELEASE the selftests of Debian's package linux-source-RELEASE (default: 6.12)
  --src TREE      those of a kernel source tree
  --objects DIR   compare the .o files of DIR instead of building the selftests
  --filter TEXT   only objects whose name holds TEXT
  --mcpu CPU      clang's -mcpu (default v3)
  --big-endian    compile for the other byte order
  --onebpf PATH   the command to test (default: $ONEBPF, or the newest in the target directory)
  --libbpf-only   run libbpf's half alone
  --load          load each object on both sides, and ask the kernel what it holds then
  --only-load     and compare nothing else
  --json FILE     write the report there as well
  --build-only    only build the objects, and print the directory that has them
  $ORACLE_BTF     kernel BTF for CO-RE on both sides (default: the running kernel's)";

/// Differences that are understood and not errors of onebpf.
const ALLOWED: &str = include_str!("../../allowed.txt");

struct Args {
    source: Source,
    objects: Option<PathBuf>,
    filter: String,
    target: Target,
    onebpf: Option<PathBuf>,
    libbpf_only: bool,
    load: Load,
    json: Option<PathBuf>,
    build_only: bool,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if let (Some(verb), Some(object)) = (arguments.next(), arguments.next()) {
        let answer = match verb.as_str() {
            run::JUDGE => Some(judge::judge(Path::new(&object), run::is_root())),
            run::FLAGS => Some(judge::flags(Path::new(&object))),
            run::LOAD => Some(kernel::by_libbpf(Path::new(&object))),
            run::LOAD_ONEBPF => {
                run::find_onebpf().map(|onebpf| kernel::by_onebpf(&onebpf, Path::new(&object)))
            }
            _ => None,
        };
        if let Some(answer) = answer {
            println!("{answer}");
            return ExitCode::SUCCESS;
        }
    }
    let result = parse(std::env::args().skip(1))
        .map_err(|wrong| format!("{wrong}\n{USAGE}"))
        .and_then(|args| compare(&args));
    match result {
        Ok(same) if same => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("conformance: {why}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut given: impl Iterator<Item = String>) -> Result<Args, String> {
    let mut args = Args {
        source: Source::Debian("6.12".to_owned()),
        objects: None,
        filter: String::new(),
        target: Target { mcpu: "v3".to_owned(), big_endian: false },
        onebpf: None,
        libbpf_only: false,
        load: Load::No,
        json: None,
        build_only: false,
    };
    while let Some(name) = given.next() {
        let mut value = || given.next().ok_or(format!("{name} needs a value"));
        match name.as_str() {
            "--linux" => args.source = Source::Debian(value()?),
            "--src" => args.source = Source::Tree(value()?.into()),
            "--objects" => args.objects = Some(value()?.into()),
            "--filter" => args.filter = value()?,
            "--mcpu" => args.target.mcpu = value()?,
            "--onebpf" => args.onebpf = Some(value()?.into()),
            "--json" => args.json = Some(value()?.into()),
            "--big-endian" => args.target.big_endian = true,
            "--libbpf-only" => args.libbpf_only = true,
            "--load" => args.load = Load::Also,
            "--only-load" => args.load = Load::Only,
            "--build-only" => args.build_only = true,
            other => return Err(format!("unknown argument {other}")),
        }
    }
    Ok(args)
}

/// Whether nothing differs but what is allowed.
fn compare(args: &Args) -> Result<bool, String> {
    if args.build_only {
        let (built, _) = objects(args)?;
        let directory = built.first().and_then(|object| object.parent()).ok_or("no objects were built")?;
        println!("{}", directory.display());
        return Ok(true);
    }
    let judge = std::env::current_exe().map_err(|error| error.to_string())?;
    let onebpf = match args.onebpf.clone().or_else(run::find_onebpf) {
        _ if args.libbpf_only => None,
        Some(path) => Some(path),
        None => return Err("no onebpf command: cargo build -p onebpf-cli, or --onebpf PATH".into()),
    };
    if !run::is_root() {
        eprintln!("not root: what objects hold is compared, relocation is not");
    }
    let (objects, unbuilt) = objects(args)?;
    if objects.is_empty() {
        return Err("no objects to compare".into());
    }
    let sides = Sides { judge, onebpf, load: args.load };
    let mut report = Report { unbuilt, ..Report::of(&objects, &sides) };
    report.allow(ALLOWED);
    print!("{report}");
    if let Some(path) = &args.json {
        let text = format!("{:#}\n", report.json());
        fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(report.differences().is_empty())
}

type Objects = (Vec<PathBuf>, Vec<(String, String)>);

fn objects(args: &Args) -> Result<Objects, String> {
    if let Some(dir) = &args.objects {
        let entries = fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        found.retain(|path| {
            let name = path.file_name().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default();
            name.contains(&args.filter) && path.extension().is_some_and(|it| it == "o")
        });
        found.sort();
        return Ok((found, Vec::new()));
    }
    let target = run::target_dir().ok_or("not run from a target directory: --objects DIR")?;
    let built = selftests::build(&target, &args.source, &args.target, &args.filter)?;
    let mut objects: Objects = Default::default();
    for Built { name, object } in built {
        match object {
            Ok(path) => objects.0.push(path),
            Err(why) => objects.1.push((name, why)),
        }
    }
    Ok(objects)
}
