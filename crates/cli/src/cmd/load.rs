//! `onebpf load`: the object into the running kernel, all or nothing.

use crate::exit::{Failure, Outcome};
use crate::load_args::LoadArgs;
use crate::out::Out;
use crate::patience::Patient;
use crate::render;
use crate::report::ErrorJson;
use crate::table::Table;
use crate::value::hex;
use onebpf::plan::Adaptation;
use onebpf::{Counting, Kernel, Loaded, Migrated, Phases};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Load an object: create, load, fill, pin, all or nothing.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// A compiled BPF object
    file: PathBuf,
    #[command(flatten)]
    load: LoadArgs,
}

#[derive(Default, Serialize)]
struct Document {
    ok: bool,
    maps: Vec<MapJson>,
    programs: Vec<ProgramJson>,
    /// Tables of functions (struct_ops).
    tables: Vec<TableJson>,
    migrated: Vec<MigratedJson>,
    /// What this kernel got otherwise than the object has it.
    adaptations: Vec<Adaptation>,
    timings: Timings,
    error: Option<ErrorJson>,
}

#[derive(Serialize)]
struct MapJson {
    name: String,
    id: u32,
    reused: bool,
    pinned: Option<PathBuf>,
}

#[derive(Serialize)]
struct ProgramJson {
    name: String,
    id: u32,
    tag: String,
    pinned: Option<PathBuf>,
    load_ns: u64,
    /// What the verifier said, if `--log-level` asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
}

#[derive(Serialize)]
struct TableJson {
    name: String,
    programs: usize,
    /// How it is registered: `link`, `value` or not.
    registered: Option<&'static str>,
    /// Where its link is pinned.
    pinned: Option<PathBuf>,
}

#[derive(Serialize)]
struct MigratedJson {
    map: String,
    #[serde(flatten)]
    counts: Migrated,
}

#[derive(Clone, Copy, Default, Serialize)]
struct Timings {
    parse_ns: u64,
    observe_ns: u64,
    plan_ns: u64,
    apply_ns: u64,
    kernel_ns: u64,
    syscalls: u64,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Outcome {
    let options = args.load.options();
    let mut document = Document::default();
    let result = load(args, &options, &mut document.timings, out);
    let loaded =
        match result.and_then(|loaded| describe(&loaded, options.register, &mut document).map(|()| loaded)) {
            Ok(loaded) => loaded,
            Err(failure) => return Err(failed(failure.about(&args.file), document, out)),
        };
    document.ok = true;
    if !out.json {
        for warning in &loaded.warnings {
            let text = render::warning(warning, Some(&args.file), out.message_style());
            out.say(&text);
        }
    }
    if out.verbose && !out.json {
        loaded.adaptations.iter().for_each(|adaptation| out.say(&format!("note: {adaptation}")));
    }
    if out.json {
        out.json(&document)?;
    } else {
        print(&document, out)?;
        if document.programs.iter().all(|program| program.pinned.is_none())
            && document.maps.iter().all(|map| map.pinned.is_none())
        {
            out.say("note: nothing is pinned, so all of this is gone again; `--pin DIR` keeps it");
        }
    }
    // Programs and maps live until here: what is not pinned goes now.
    drop(loaded);
    Ok(())
}

fn load(args: &Args, options: &onebpf::Options, timings: &mut Timings, out: &mut Out) -> Outcome<Loaded> {
    let object = args.load.object(&args.file)?;
    timings.parse_ns = nanos(object.parse_time);
    if !out.json {
        for warning in &object.spec.warnings {
            let text = render::warning(warning, Some(&args.file), out.message_style());
            out.say(&text);
        }
    }
    let counting = Arc::new(Counting::new(Arc::new(Patient::new(options.state.clone()))));
    let kernel: Arc<dyn Kernel> = counting.clone();
    let mut phases = Phases::default();
    let result = onebpf::load_spec_timed(&kernel, &object.spec, options, &mut phases);
    timings.observe_ns = nanos(phases.observe);
    timings.plan_ns = nanos(phases.plan);
    timings.apply_ns = nanos(phases.apply);
    timings.kernel_ns = nanos(counting.time());
    timings.syscalls = counting.calls();
    Ok(result?)
}

fn describe(loaded: &Loaded, register: bool, document: &mut Document) -> Outcome {
    for (name, map) in &loaded.maps {
        document.maps.push(MapJson {
            name: name.clone(),
            id: map.info()?.id,
            reused: map.reused(),
            pinned: map.pinned().map(PathBuf::from),
        });
    }
    for (name, program) in &loaded.programs {
        let info = program.info()?;
        document.programs.push(ProgramJson {
            name: name.clone(),
            id: info.id,
            tag: hex(&info.tag),
            pinned: program.pinned().map(PathBuf::from),
            load_ns: nanos(program.load_time()),
            log: program.log().map(str::to_owned),
        });
    }
    for (name, table) in &loaded.tables {
        let registered = match (register, table.takes_link()) {
            (false, _) => None,
            (true, true) => Some("link"),
            (true, false) => Some("value"),
        };
        let pinned = table.made_link().and_then(|link| link.pinned()).map(PathBuf::from);
        let (name, programs) = (name.clone(), table.programs());
        document.tables.push(TableJson { name, programs, registered, pinned });
    }
    let migrated =
        |(map, counts): (&String, &Migrated)| MigratedJson { map: map.clone(), counts: counts.clone() };
    document.adaptations.clone_from(&loaded.adaptations);
    document.migrated = loaded.migrated.iter().map(migrated).collect();
    Ok(())
}

/// On failure nothing is left behind: the document names no map and no program.
fn failed(failure: Failure, mut document: Document, out: &mut Out) -> Failure {
    let Failure::Failed { report, .. } = &failure else { return failure };
    if !out.json {
        return failure;
    }
    document.maps.clear();
    document.programs.clear();
    document.tables.clear();
    document.migrated.clear();
    document.adaptations.clear();
    document.error = Some(ErrorJson::from(&**report));
    match out.json(&document) {
        Ok(()) => failure.told(),
        Err(closed) => closed,
    }
}

fn print(document: &Document, out: &mut Out) -> Outcome {
    let pinned =
        |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    let mut maps = Table::new(&["map", ">id", "state", "~pinned"]);
    for map in &document.maps {
        let state = if map.reused { "reused" } else { "created" };
        maps.row([map.name.clone(), map.id.to_string(), state.to_owned(), pinned(&map.pinned)]);
    }
    let mut programs = Table::new(&["program", ">id", "tag", ">time", "~pinned"]);
    for program in &document.programs {
        let time = format!("{} us", program.load_ns.div_ceil(1000));
        let path = pinned(&program.pinned);
        programs.row([program.name.clone(), program.id.to_string(), program.tag.clone(), time, path]);
    }
    if !maps.is_empty() {
        out.table(&maps)?;
    }
    if !maps.is_empty() && !programs.is_empty() {
        out.line("")?;
    }
    if !programs.is_empty() {
        out.table(&programs)?;
    }
    for table in &document.tables {
        let TableJson { name, programs, registered, pinned: path } = table;
        let how = match registered {
            None => "not registered: `--register` does that".to_owned(),
            Some(how) => format!("registered by its {how}"),
        };
        let path = path.as_ref().map(|path| format!(", pinned at {}", path.display())).unwrap_or_default();
        out.line(format_args!("\nstruct_ops {name}: {programs} programs, {how}{path}"))?;
    }
    for program in &document.programs {
        let Some(log) = &program.log else { continue };
        out.heading(format_args!("What the verifier said of {}", program.name))?;
        log.lines().try_for_each(|line| out.line(format_args!("  {line}")))?;
    }
    for MigratedJson { map, counts } in &document.migrated {
        let Migrated { copied, converted, dropped, reasons } = counts;
        out.line(format_args!(
            "\nmap {map}: {copied} entries copied, {converted} converted, {dropped} dropped"
        ))?;
        reasons.iter().try_for_each(|reason| out.line(format_args!("  {reason}")))?;
    }
    if out.verbose {
        let Timings { parse_ns, observe_ns, plan_ns, apply_ns, kernel_ns, syscalls } = document.timings;
        let us = |ns: u64| ns.div_ceil(1000);
        let (parse, observe, plan, apply) = (us(parse_ns), us(observe_ns), us(plan_ns), us(apply_ns));
        let times = format!("parse {parse} us, observe {observe} us, plan {plan} us, apply {apply} us");
        out.line(format_args!("\n{times}; {syscalls} kernel operations in {} us", us(kernel_ns)))?;
    }
    Ok(())
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
