//! `onebpf facts`: what this host offers.

use crate::exit::{Failure, Outcome};
use crate::load_args::reason;
use crate::out::Out;
use crate::table::Table;
use onebpf::sys::{Feature, Support};
use onebpf::{Facts, Linux};
use std::path::{Path, PathBuf};

/// What this host offers: features, limits, CPUs, kernel release, BTF.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Write the facts to FILE, for `plan --facts FILE` on another machine
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Outcome {
    let facts = onebpf::observe_host(&Linux)?;
    if let Some(path) = &args.output {
        std::fs::write(path, facts.to_json() + "\n").map_err(|error| cannot_write(path, &error))?;
    }
    if out.json {
        return out.json(&facts);
    }
    print(&facts, out)
}

/// Facts that were saved, on this machine or another.
pub(crate) fn read(path: &Path) -> Outcome<Facts> {
    let text = std::fs::read_to_string(path).map_err(|error| crate::load_args::cannot_read(path, &error))?;
    Ok(Facts::from_json(&text)?)
}

fn print(facts: &Facts, out: &mut Out) -> Outcome {
    let host = &facts.host;
    let yes = |yes| if yes { "yes" } else { "no" };
    out.line(format_args!("{} {}", out.bold("Linux"), host.release))?;
    out.line(format_args!("  possible CPUs  {}", host.possible_cpus))?;
    out.line(format_args!("  page size      {}", host.page_size))?;
    out.line(format_args!("  kernel BTF     {}", facts.kernel_btf.map_or("unknown", yes)))?;
    out.line(format_args!("  privileged     {}", yes(host.privileged)))?;
    if facts.token == Some(true) {
        out.line(format_args!("  BPF token      from {}", onebpf::DEFAULT_BPFFS))?;
    }
    let mut table = Table::new(&["feature", "here", "since Linux"]);
    for feature in Feature::all() {
        let here = match facts.features.get(feature) {
            Support::Yes => "yes",
            Support::No => "no",
            Support::Unknown => "unknown",
        };
        table.row([feature.name().to_owned(), here.to_owned(), feature.since().to_string()]);
    }
    out.heading("Features")?;
    out.table(&table)?;
    if !host.privileged && facts.token != Some(true) {
        out.say("note: most features can be asked for only by root (CAP_BPF)");
    }
    Ok(())
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new("E0901", format!("`{}` cannot be written: {}", path.display(), reason(error)))
}
