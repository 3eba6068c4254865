//! `onebpf recover`: after a kill.

use crate::exit::Outcome;
use crate::load_args::StateArgs;
use crate::out::Out;
use crate::patience::Patient;
use std::path::PathBuf;

/// Finish or undo loads that were killed, and forget objects whose pins are gone.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    state: StateArgs,
    /// Remove damaged files, and pins named `:next`, `:old`, `:slot:N` and `:prev` that no journal and no manifest explains
    #[arg(long)]
    force: bool,
    /// Where to look for such pins, beside the places that manifests name (repeatable) [default: /sys/fs/bpf]
    #[arg(long, value_name = "DIR")]
    root: Vec<PathBuf>,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Outcome {
    let state = args.state.dir().unwrap_or_else(|| onebpf::DEFAULT_STATE.into());
    let kernel = Patient::new(Some(state.clone()));
    let recovered = onebpf::recover(&kernel, &state, args.force, &roots(&args.root))?;
    if out.json {
        return out.json(&recovered);
    }
    for (objects, what) in [(&recovered.finished, "finished"), (&recovered.undone, "undone")] {
        for object in objects {
            out.line(format_args!("the load of `{object}` is {what}"))?;
        }
    }
    for object in &recovered.forgotten {
        out.line(format_args!("`{object}` is forgotten: its pins are gone"))?;
    }
    for path in &recovered.removed {
        out.line(format_args!("removed {}", path.display()))?;
    }
    super::status::cilium_s(&recovered.pending, out);
    if recovered == (onebpf::Recovered { pending: recovered.pending.clone(), ..Default::default() }) {
        out.say("note: there is nothing to recover");
    }
    Ok(())
}

/// Where pins are looked for.
pub(crate) fn roots(typed: &[PathBuf]) -> Vec<PathBuf> {
    if typed.is_empty() { vec!["/sys/fs/bpf".into()] } else { typed.to_vec() }
}
