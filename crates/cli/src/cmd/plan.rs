//! `onebpf plan`: what `load` would do. With saved facts it asks no kernel.

use crate::exit::{Failure, Outcome};
use crate::load_args::LoadArgs;
use crate::out::Out;
use crate::{cmd::facts, render};
use onebpf::{Facts, KernelTypes, Linux, Options, Spec};
use std::path::PathBuf;

/// The steps that `load` would take, and how they differ from what is pinned now.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// A compiled BPF object
    file: PathBuf,
    /// Plan for the machine that FILE describes (`onebpf facts -o FILE`); no kernel is asked
    #[arg(long, value_name = "FILE")]
    facts: Option<PathBuf>,
    #[command(flatten)]
    load: LoadArgs,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Outcome {
    let options = args.load.options();
    let spec = args.load.object(&args.file)?.spec;
    let about = |failure: Failure| failure.about(&args.file);
    let facts = known_facts(args, &spec, &options).map_err(about)?;
    let plan = onebpf::plan(&spec, &options, &facts).map_err(|error| about(error.into()))?;
    if out.json {
        return out.json(&plan);
    }
    for warning in &spec.warnings {
        let text = render::warning(warning, Some(&args.file), out.message_style());
        out.say(&text);
    }
    let text = plan.to_string();
    if text.is_empty() {
        out.say("there is nothing to load");
        return Ok(());
    }
    text.lines().try_for_each(|line| out.wrapped(line))
}

fn known_facts(args: &Args, spec: &Spec, options: &Options) -> Outcome<Facts> {
    match &args.facts {
        Some(path) => {
            let mut facts = facts::read(path)?;
            // Saved facts say where types come from, but do not hold them.
            if let Some(btf) = &options.btf {
                facts.types = Some(KernelTypes::read(&Linux, Some(btf), &facts.host.release)?);
            }
            Ok(facts)
        }
        None => Ok(onebpf::observe(&Linux, spec, options)?),
    }
}
