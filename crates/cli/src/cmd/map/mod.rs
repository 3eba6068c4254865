//! `onebpf map`: maps in the kernel.

mod change;
mod dump;
mod show;

use crate::exit::{Failure, Outcome};
use crate::out::Out;
use crate::report::{of_btf, of_kernel};
use crate::target::Target;
use onebpf::btf::{Btf, TypeId, Value, ValueStyle};
use onebpf::object::MapType;
use onebpf::sys::{MapInfo, ObjectKind};
use onebpf::{Kernel, Linux, Map};
use std::path::PathBuf;
use std::sync::Arc;

/// What to do with maps.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Verb {
    /// All maps of this kernel
    List,
    /// One map: type, sizes, flags, BTF
    Show(One),
    /// All keys and values, by their BTF types
    Dump(One),
    /// The value of a key
    Lookup(WithKey),
    /// Write a value: `map update flows KEY VALUE`; a program or map array takes a program or map
    Update(WithKey),
    /// Remove a key
    Delete(WithKey),
    /// Pin a map: `map pin flows /sys/fs/bpf/flows`
    Pin(WithPath),
}

/// One map.
#[derive(clap::Args, Debug)]
pub(crate) struct One {
    /// NAME, `id N` or a pinned PATH
    #[arg(required = true, num_args = 1..=2, value_name = "MAP")]
    words: Vec<String>,
}

/// One map and keys or values in it.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Keys and values are typed by their BTF type: 12, -1, 0xff, true, an enumerator, text for a char \
                        array,\nJSON for structs ('{\"packets\": 1}'), or raw bytes as hex:00ff0011."
)]
pub(crate) struct WithKey {
    /// NAME, `id N` or a pinned PATH; then the key, and for `update` the value
    #[arg(required = true, num_args = 2..=4, value_name = "MAP KEY [VALUE]", allow_hyphen_values = true)]
    words: Vec<String>,
}

/// One map and where to pin it.
#[derive(clap::Args, Debug)]
pub(crate) struct WithPath {
    /// NAME, `id N` or a pinned PATH
    #[arg(required = true, num_args = 1..=2, value_name = "MAP")]
    words: Vec<String>,
    /// Where to pin it
    #[arg(required = true)]
    path: PathBuf,
}

pub(crate) fn run(verb: &Verb, out: &mut Out) -> Outcome {
    let kernel: Arc<dyn Kernel> = Arc::new(Linux);
    match verb {
        Verb::List => show::list(&*kernel, out),
        Verb::Show(one) => show::one(&Opened::new(&kernel, &one.words)?.0, out),
        Verb::Dump(one) => dump::dump(&Opened::new(&kernel, &one.words)?.0, out),
        Verb::Lookup(args) => change::lookup(&kernel, &args.words, out),
        Verb::Update(args) => change::update(&kernel, &args.words).and_then(|()| out.done()),
        Verb::Delete(args) => change::delete(&kernel, &args.words).and_then(|()| out.done()),
        Verb::Pin(args) => {
            Target::split(&args.words)?.0.map(&kernel)?.pin(&args.path)?;
            out.done()
        }
    }
}

/// A map in the kernel, with all that is known of it.
struct Opened {
    map: Map,
    info: MapInfo,
    btf: Option<Btf>,
    /// Bytes that a look-up moves.
    value_buffer: usize,
}

impl Opened {
    /// Opens the map that the words begin with; returns the other words.
    fn new<'w>(kernel: &Arc<dyn Kernel>, words: &'w [String]) -> Outcome<(Self, &'w [String])> {
        let (target, rest) = Target::split(words)?;
        let map = target.map(kernel)?;
        let info = map.info()?.clone();
        let host = kernel.host().map_err(|error| of_kernel("E0408", "this host", error))?;
        let value_buffer = info.value_buffer_size(host.possible_cpus);
        // Without BTF a dump is hex, so a failure is no reason to stop.
        let btf = map.btf().ok().flatten();
        Ok((Self { map, info, btf, value_buffer }, rest))
    }

    /// Whether each CPU has a value of its own.
    fn is_per_cpu(&self) -> bool {
        self.value_buffer > self.info.value_size.max(4) as usize
            || matches!(
                self.kind().as_str(),
                "percpu_hash" | "percpu_array" | "lru_percpu_hash" | "percpu_cgroup_storage"
            )
    }

    fn kind(&self) -> String {
        MapType(self.info.map_type).to_string()
    }

    /// Keys of arrays are indices, with or without BTF.
    fn index(&self, key: &[u8]) -> Option<Value> {
        let kind = self.kind();
        let indexed =
            kind.contains("array") || matches!(kind.as_str(), "devmap" | "cpumap" | "xskmap" | "sockmap");
        let key = <[u8; 4]>::try_from(key).ok().filter(|_| indexed)?;
        Some(Value::Int(u32::from_ne_bytes(key).into()))
    }

    /// Slots of program arrays and maps of maps are written with an object and read as its id.
    fn holds(&self) -> Option<ObjectKind> {
        let kind = MapType(self.info.map_type);
        match kind {
            MapType::PROG_ARRAY => Some(ObjectKind::Program),
            _ if kind.holds_maps() => Some(ObjectKind::Map),
            _ => None,
        }
    }

    fn key_type(&self) -> Option<(&Btf, TypeId)> {
        self.btf.as_ref().zip(Some(TypeId(self.info.btf_key_type)).filter(|id| id.0 != 0))
    }

    fn value_type(&self) -> Option<(&Btf, TypeId)> {
        self.btf.as_ref().zip(Some(TypeId(self.info.btf_value_type)).filter(|id| id.0 != 0))
    }
}

/// Bytes by their type.
fn decoded(types: Option<(&Btf, TypeId)>, bytes: &[u8]) -> Outcome<Option<Value>> {
    let Some((btf, id)) = types else { return Ok(None) };
    let value = btf.render_value(id, bytes, &ValueStyle::default());
    Ok(Some(value.map_err(|error| Failure::from(of_btf(&error)))?))
}
