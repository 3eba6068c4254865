//! `onebpf status`: what is loaded, and whether it is still so.

use super::recover::roots;
use crate::exit::Outcome;
use crate::load_args::StateArgs;
use crate::out::Out;
use crate::table::Table;
use onebpf::sys::ObjectKind;
use onebpf::{Linux, ObjectStatus, PinStatus};
use std::path::PathBuf;

/// What is loaded, as manifests say it, held against what is pinned.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    state: StateArgs,
    /// Where to look for remains of loads, beside the places that manifests name (repeatable) [default: /sys/fs/bpf]
    #[arg(long, value_name = "DIR")]
    root: Vec<PathBuf>,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Outcome {
    let state = args.state.dir().unwrap_or_else(|| onebpf::DEFAULT_STATE.into());
    let status = onebpf::status(&Linux, &state, &roots(&args.root))?;
    if out.json {
        return out.json(&status);
    }
    for (n, object) in status.objects.iter().enumerate() {
        if n > 0 {
            out.line("")?;
        }
        print(object, out)?;
    }
    for load in &status.loads {
        let end = if load.committed { "finishes" } else { "undoes" };
        let file = load.file.display();
        out.say(&format!(
            "note: a load of `{}` is under way, or was killed: `onebpf recover` {end} it ({file})",
            load.object
        ));
    }
    for path in &status.damaged {
        out.say(&format!("warning: {} is damaged", path.display()));
    }
    for path in &status.leftovers {
        out.say(&format!("warning: {} is left of a load that nothing is known of", path.display()));
    }
    if !status.leftovers.is_empty() || !status.damaged.is_empty() {
        out.say("note: `onebpf recover --force` removes these");
    }
    cilium_s(&status.pending, out);
    if status.objects.iter().any(|object| object.gone) {
        out.say("note: `onebpf recover` forgets objects whose pins are all gone");
    }
    if status.objects.is_empty() {
        out.say("note: no object is known here");
    }
    Ok(())
}

/// What another loader has put aside.
pub(crate) fn cilium_s(pending: &[PathBuf], out: &mut Out) {
    for path in pending {
        out.say(&format!("note: {} is Cilium's, set aside by its loader: it is left alone", path.display()));
    }
}

fn print(object: &ObjectStatus, out: &mut Out) -> Outcome {
    let manifest = &object.manifest;
    let file = object.file.file_name().unwrap_or_default().to_string_lossy();
    let hash = manifest.hash.as_ref().map(|hash| format!(" {hash}")).unwrap_or_default();
    out.line(format_args!(
        "{}{} {}",
        out.bold(&manifest.object),
        out.dim(hash),
        out.dim(format_args!("({file})"))
    ))?;
    let mut table = Table::new(&["name", "kind", ">id", "state", "previous", "~pinned"]);
    for status in &object.pins {
        let PinStatus { pin, found, same, kept, can_roll_back } = status;
        let kind = if pin.kind == ObjectKind::Map { "map" } else { "program" };
        let state = match found {
            _ if *same => "there".to_owned(),
            Some(id) => format!("another, id {id}"),
            None => "missing".to_owned(),
        };
        let previous = match pin.previous {
            Some(id) if *can_roll_back => format!("id {id}"),
            Some(id) if *kept => format!("id {id}, for what runs"),
            Some(_) => "lost".to_owned(),
            None => String::new(),
        };
        table.row([
            pin.name.clone(),
            kind.to_owned(),
            pin.id.to_string(),
            state,
            previous,
            pin.path.display().to_string(),
        ]);
    }
    out.table(&table)
}
