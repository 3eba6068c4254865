//! `onebpf prog`: programs in the kernel.

use crate::exit::{Failure, Outcome};
use crate::load_args::cannot_read;
use crate::out::Out;
use crate::table::Table;
use crate::target::{Target, each};
use crate::value::{from_hex, hex};
use onebpf::object::ProgramType;
use onebpf::sys::{ObjectKind, ProgInfo, ProgRun, ProgRunResult};
use onebpf::{Kernel, Linux, Program};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What to do with programs.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Verb {
    /// All programs of this kernel
    List,
    /// One program: type, tag, maps, sizes
    Show(One),
    /// Run a program on given data, without attaching it
    Run(Run),
    /// Pin a program: `prog pin ingress /sys/fs/bpf/ingress`
    Pin(WithPath),
}

/// One program.
#[derive(clap::Args, Debug)]
pub(crate) struct One {
    /// NAME, `id N` or a pinned PATH
    #[arg(required = true, num_args = 1..=2, value_name = "PROG")]
    words: Vec<String>,
}

/// A test run.
#[derive(clap::Args, Debug)]
pub(crate) struct Run {
    #[command(flatten)]
    program: One,
    /// The packet: a file, or hex digits; by default 64 zero bytes for programs that take packets
    #[arg(long, alias = "data-in", value_name = "FILE|HEX")]
    data: Option<String>,
    /// Room for the packet afterwards [default: the packet's length and 256 bytes more]
    #[arg(long, value_name = "BYTES")]
    data_size: Option<u32>,
    /// The context: a file, or hex digits
    #[arg(long, alias = "ctx-in", value_name = "FILE|HEX")]
    ctx: Option<String>,
    /// How often to run
    #[arg(long, value_name = "N", default_value_t = 1)]
    repeat: u32,
}

/// One program and where to pin it.
#[derive(clap::Args, Debug)]
pub(crate) struct WithPath {
    #[command(flatten)]
    program: One,
    /// Where to pin it
    #[arg(required = true)]
    path: PathBuf,
}

/// A program in JSON: what the kernel says, and the name of its type.
#[derive(Serialize)]
struct ProgJson<'a> {
    id: u32,
    name: &'a str,
    #[serde(rename = "type")]
    kind: String,
    tag: String,
    type_id: u32,
    load_time_ns: u64,
    map_ids: &'a [u32],
    btf_id: u32,
    jited_len: u32,
    xlated_len: u32,
    verified_insns: u32,
    gpl_compatible: bool,
    run_count: u64,
    run_time_ns: u64,
}

#[derive(Serialize)]
struct RunJson {
    retval: u32,
    duration_ns: u32,
    data_out: String,
    ctx_out: String,
}

pub(crate) fn run(verb: &Verb, out: &mut Out) -> Outcome {
    let kernel: Arc<dyn Kernel> = Arc::new(Linux);
    match verb {
        Verb::List => list(&*kernel, out),
        Verb::Show(one) => show(&open(&kernel, one)?.info()?, out),
        Verb::Run(args) => test_run(&open(&kernel, &args.program)?, args, out),
        Verb::Pin(args) => {
            open(&kernel, &args.program)?.pin(&args.path)?;
            out.done()
        }
    }
}

fn open(kernel: &Arc<dyn Kernel>, one: &One) -> Outcome<Program> {
    let (target, rest) = Target::split(&one.words)?;
    if rest.is_empty() {
        return target.program(kernel);
    }
    Err(Failure::Usage("name one program: NAME, `id N` or a PATH".to_owned()))
}

fn list(kernel: &dyn Kernel, out: &mut Out) -> Outcome {
    let infos = each(kernel, ObjectKind::Program, |fd| kernel.prog_info(fd))?;
    if out.json {
        return out.json(&infos.iter().map(ProgJson::from).collect::<Vec<_>>());
    }
    let mut table = Table::new(&[">id", "name", "type", "tag", ">insns", ">code", "~maps"]);
    for info in &infos {
        table.row([
            info.id.to_string(),
            info.name.clone(),
            ProgramType(info.prog_type).to_string(),
            hex(&info.tag),
            (info.xlated_len / 8).to_string(),
            info.jited_len.to_string(),
            info.map_ids.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
        ]);
    }
    if table.is_empty() {
        out.say("this kernel holds no programs");
        return Ok(());
    }
    out.table(&table)
}

fn show(info: &ProgInfo, out: &mut Out) -> Outcome {
    if out.json {
        return out.json(&ProgJson::from(info));
    }
    let title = out.bold(if info.name.is_empty() { "(no name)" } else { &info.name });
    let ids: Vec<String> = info.map_ids.iter().map(u32::to_string).collect();
    out.line(format_args!("{title}: {} program, id {}", ProgramType(info.prog_type), info.id))?;
    out.line(format_args!("  tag       {}", hex(&info.tag)))?;
    out.line(format_args!(
        "  insns     {} ({} walked by the verifier)",
        info.xlated_len / 8,
        info.verified_insns
    ))?;
    out.line(format_args!("  code      {} bytes", info.jited_len))?;
    if !ids.is_empty() {
        out.line(format_args!("  map ids   {}", ids.join(", ")))?;
    }
    if info.btf_id != 0 {
        out.line(format_args!("  BTF       id {}", info.btf_id))?;
    }
    if info.run_count > 0 {
        out.line(format_args!("  runs      {} in {} ns", info.run_count, info.run_time_ns))?;
    }
    out.line(format_args!(
        "  licence   {}",
        if info.gpl_compatible { "GPL compatible" } else { "not GPL compatible" }
    ))
}

fn test_run(program: &Program, args: &Run, out: &mut Out) -> Outcome {
    let kind = ProgramType(program.info()?.prog_type);
    let data = match &args.data {
        Some(data) => bytes(data)?,
        None if takes_packets(kind) => vec![0; 64],
        None => Vec::new(),
    };
    let ctx = args.ctx.as_deref().map(bytes).transpose()?.unwrap_or_default();
    let room = if data.is_empty() { 0 } else { data.len() as u32 + 256 };
    let run = ProgRun {
        data_in: &data,
        data_out_size: args.data_size.unwrap_or(room),
        ctx_in: &ctx,
        ctx_out_size: if ctx.is_empty() { 0 } else { context_room(kind, ctx.len()) },
        // Some types want to hear no number at all.
        repeat: if args.repeat == 1 { 0 } else { args.repeat },
        ..ProgRun::default()
    };
    let result = program.run(run)?;
    if out.json {
        return out.json(&RunJson {
            retval: result.retval,
            duration_ns: result.duration_ns,
            data_out: hex(&result.data_out),
            ctx_out: hex(&result.ctx_out),
        });
    }
    print_run(&data, &result, args.repeat, out)
}

fn print_run(data: &[u8], result: &ProgRunResult, repeat: u32, out: &mut Out) -> Outcome {
    let signed = result.retval as i32;
    let signed = if signed < 0 { format!(" ({signed})") } else { String::new() };
    out.line(format_args!("return value  {}{signed}", result.retval))?;
    let average = if repeat > 1 { format!(" on average of {repeat} runs") } else { String::new() };
    out.line(format_args!("duration      {} ns{average}", result.duration_ns))?;
    if data.is_empty() && result.data_out.is_empty() {
        return Ok(());
    }
    if data == result.data_out {
        return out.line(format_args!("data          {} bytes, unchanged", data.len()));
    }
    out.line(format_args!("data          {} bytes, changed:", result.data_out.len()))?;
    for (at, line) in result.data_out.chunks(16).enumerate() {
        let before = data.get(at * 16..).unwrap_or_default();
        let bytes = line.iter().enumerate().map(|(n, byte)| {
            let text = format!("{byte:02x}");
            if before.get(n) == Some(byte) { text } else { out.bold(text) }
        });
        let bytes = bytes.collect::<Vec<_>>().join(" ");
        out.line(format_args!("  {:04x}  {bytes}", at * 16))?;
    }
    Ok(())
}

/// Types whose test run wants at least an Ethernet header (kernel: net/bpf/test_run.c).
fn takes_packets(kind: ProgramType) -> bool {
    let name = kind.name().unwrap_or_default();
    matches!(
        name,
        "socket_filter" | "sched_cls" | "sched_act" | "xdp" | "cgroup_skb" | "flow_dissector" | "netfilter"
    ) || name.starts_with("lwt_")
}

/// Room for the context afterwards. The kernel gives its whole structure back (the longest, `__sk_buff`, has 192 bytes),
/// but refuses to be asked for types that write it in place or not at all (kernel: net/bpf/test_run.c).
fn context_room(kind: ProgramType, given: usize) -> u32 {
    match kind.name().unwrap_or_default() {
        "syscall" | "raw_tracepoint" | "raw_tracepoint_writable" => 0,
        _ => given.max(256) as u32,
    }
}

/// A file, or hex digits.
fn bytes(given: &str) -> Outcome<Vec<u8>> {
    if let Some(digits) = given.strip_prefix("hex:") {
        return from_hex(digits)
            .ok_or_else(|| Failure::Usage(format!("`{given}` is not pairs of hex digits")));
    }
    let path = Path::new(given);
    match from_hex(given).filter(|_| !path.exists()) {
        Some(bytes) => Ok(bytes),
        None => std::fs::read(path).map_err(|error| cannot_read(path, &error)),
    }
}

impl<'a> From<&'a ProgInfo> for ProgJson<'a> {
    fn from(info: &'a ProgInfo) -> Self {
        Self {
            id: info.id,
            name: &info.name,
            kind: ProgramType(info.prog_type).to_string(),
            tag: hex(&info.tag),
            type_id: info.prog_type,
            load_time_ns: info.load_time_ns,
            map_ids: &info.map_ids,
            btf_id: info.btf_id,
            jited_len: info.jited_len,
            xlated_len: info.xlated_len,
            verified_insns: info.verified_insns,
            gpl_compatible: info.gpl_compatible,
            run_count: info.run_count,
            run_time_ns: info.run_time_ns,
        }
    }
}
