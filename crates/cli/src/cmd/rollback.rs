//! `onebpf rollback`: back to what was before.

use crate::exit::Outcome;
use crate::load_args::StateArgs;
use crate::out::Out;
use crate::patience::Patient;

/// Back to what the last `load --keep-previous` has replaced, all or nothing.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The object's name (its file's, up to the first dot), or the file name of its manifest as `status` shows it
    object: String,
    #[command(flatten)]
    state: StateArgs,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Outcome {
    let state = args.state.dir().unwrap_or_else(|| onebpf::DEFAULT_STATE.into());
    let back = onebpf::rollback(&Patient::new(Some(state.clone())), &state, &args.object)?;
    if out.json {
        return out.json(&back);
    }
    for path in &back.pins {
        out.line(format_args!("{} is what it was before", path.display()))?;
    }
    for (array, index) in &back.slots {
        out.line(format_args!("slot {index} of {} is what it was before", array.display()))?;
    }
    for path in &back.kept {
        out.say(&format!("note: {} stays as it is: nothing was kept for it", path.display()));
    }
    Ok(())
}
