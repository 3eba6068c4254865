//! `onebpf inspect`: what an object holds. Asks no kernel.

mod json;
mod text;

use crate::exit::Outcome;
use crate::load_args::ReadArgs;
use crate::out::Out;
use onebpf::Spec;
use onebpf::object::MapType;
use onebpf::plan::ring_size;
use std::path::PathBuf;

/// What an object holds: maps, programs, variables, externs, CO-RE relocations, warnings.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// A compiled BPF object
    file: PathBuf,
    #[command(flatten)]
    read: ReadArgs,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Outcome {
    let mut spec = args.read.object(&args.file)?.spec;
    round_rings(&mut spec);
    if out.json { out.json(&json::Object::from(&spec)) } else { text::print(&spec, &args.file, out) }
}

/// Ring buffers are shown as large as this host would make them: libbpf rounds them when it opens an object.
fn round_rings(spec: &mut Spec) {
    let page = rustix::param::page_size() as u32;
    for map in spec.maps.values_mut() {
        let inner = map.inner.as_deref_mut();
        let (kind, entries) = (map.kind, &mut map.max_entries);
        for (kind, entries) in
            [(kind, entries)].into_iter().chain(inner.map(|m| (m.kind, &mut m.max_entries)))
        {
            if kind == MapType::RINGBUF || kind == MapType::USER_RINGBUF {
                *entries = ring_size(*entries, page);
            }
        }
    }
}
