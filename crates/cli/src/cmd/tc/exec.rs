//! `tc exec bpf graft|import|debug`.

use crate::exit::{Failure, Outcome};
use crate::iproute::hook::{CLASSIFIER, HOOKS, Hook};
use crate::iproute::program::ready;
use crate::iproute::source::Source;
use crate::iproute::words::{Words, matches, number, once, usage};
use crate::iproute::{bpffs, export};
use crate::out::Out;
use onebpf::object::MapType;
use onebpf::{Kernel, Map};
use std::fs::File;
use std::os::fd::IntoRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

/// Where the trace pipe may be, in iproute2's order.
const TRACE: [&str; 4] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing", "/tracing", "/trace"];

/// What follows `exec bpf`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Puts a program into a slot of a pinned array.
    Graft { map: String, key: Option<u32>, source: Source, hook: &'static Hook },
    /// Waits for maps, and runs a command that has them.
    Import { socket: PathBuf, command: Vec<String> },
    /// Copies the trace pipe.
    Debug,
}

/// Reads what stands after `exec`. `None`: it is not about BPF.
pub(crate) fn parse(mut words: Words<'_>) -> Outcome<Option<Request>> {
    if !words.take("bpf") {
        return Ok(None);
    }
    let request = match words.next() {
        Some(word) if matches(word, "graft") => graft(&mut words)?,
        Some(word) if matches(word, "import") => {
            let socket = words.value(word)?.into();
            let command = words.peek().is_some_and(|word| matches(word, "run")).then(|| words.next());
            match (command, words.rest()) {
                (None, []) => {
                    return Ok(Some(Request::Import { socket, command: vec!["/bin/sh".to_owned()] }));
                }
                (Some(_), rest @ [_, ..]) => {
                    return Ok(Some(Request::Import { socket, command: rest.to_vec() }));
                }
                (Some(_), []) => return Err(usage("`run` needs a command after it")),
                (None, _) => return words.end().map(|()| None),
            }
        }
        Some(word) if matches(word, "debug") || matches(word, "dbg") => Request::Debug,
        _ => return Ok(None),
    };
    words.end()?;
    Ok(Some(request))
}

/// `MAP [key N] obj FILE [type T] [sec S] [verbose]`, `MAP [key N] pinned PATH`.
fn graft(words: &mut Words<'_>) -> Outcome<Request> {
    let map = words.value("graft")?.to_owned();
    let mut key = None;
    if words.peek().is_some_and(|word| matches(word, "key")) {
        words.next();
        once(&mut key, number(words.value("key")?, "key")?, "key")?;
    }
    // The type stands between the file and what else belongs to it: it is taken out first.
    let rest = words.rest();
    let mut hook = CLASSIFIER;
    let typed = rest.iter().skip(2).position(|word| word == "type").map(|at| at + 2);
    let mut kept = rest.to_vec();
    if let Some(at) = typed {
        let name = rest.get(at + 1).ok_or_else(|| usage("`type` needs a word after it"))?;
        let known = HOOKS.iter().find(|hook| hook.word == name);
        hook = known.ok_or_else(|| {
            let words: Vec<&str> = HOOKS.iter().map(|hook| hook.word).collect();
            usage(format!("`type {name}`: it is one of {}", words.join(", ")))
        })?;
        kept.drain(at..at + 2);
    }
    let mut kept = Words::new(&kept);
    let source = Source::parse(&mut kept, hook, None)?;
    let source = source.ok_or_else(|| usage("`graft MAP` needs `obj FILE` or `pinned PATH`"))?;
    kept.end()?;
    while words.next().is_some() {}
    Ok(Request::Graft { map, key, source, hook })
}

/// Does it.
pub(crate) fn run(kernel: &Arc<dyn Kernel>, request: &Request, out: &mut Out) -> Outcome {
    match request {
        Request::Graft { map, key, source, hook } => {
            let key = *key;
            put(kernel, map, key, source, hook, out)
        }
        Request::Import { socket, command } => Err(import(socket, command)?),
        Request::Debug => debug(),
    }
}

fn put(
    kernel: &Arc<dyn Kernel>,
    map: &str,
    key: Option<u32>,
    source: &Source,
    hook: &Hook,
    out: &mut Out,
) -> Outcome {
    // The whole object is loaded first, as if its program were attached.
    let program = ready(kernel, source, hook, out)?;
    let key = key.or(program.tail().map(|(_, key)| key)).ok_or_else(|| {
        usage("`key N` is needed: the program's section is not `ID/KEY`, so it does not say which slot")
    })?;
    let path = bpffs::path(&**kernel, map, hook.folder)?;
    let array = Map::open_pin(kernel, &path)?;
    let info = array.info()?;
    let (kind, sizes) = (MapType(info.map_type), (info.key_size, info.value_size));
    if kind != MapType::PROG_ARRAY || sizes != (4, 4) {
        let text = format!(
            "{} is no program array (type {kind}, key {}, value {})",
            path.display(),
            sizes.0,
            sizes.1
        );
        return Err(Failure::new("E0914", text));
    }
    if key >= info.max_entries {
        let text = format!("{} has no slot {key}: it has {}", path.display(), info.max_entries);
        return Err(Failure::new("E0914", text));
    }
    let done =
        kernel.map_update_object(std::os::fd::AsFd::as_fd(&array), &key.to_ne_bytes(), program.fd(), 0);
    done.map_err(|error| {
        let what = format!("putting the program into slot {key} of {}", path.display());
        let failure = Failure::from(crate::report::of_kernel("E0914", &what, error));
        failure.hint("an array holds programs of one type, all compiled to machine code or none, with the same attach type")
    })
}

/// Becomes the command, with `BPF_NUM_MAPS` and `BPF_MAP<id>` in its environment. Returns only if it cannot be run.
fn import(socket: &std::path::Path, command: &[String]) -> Outcome<Failure> {
    let (program, arguments) =
        command.split_first().ok_or_else(|| usage("`run` needs a command after it"))?;
    let imported = export::receive(socket)?;
    let mut run = Command::new(program);
    run.args(arguments);
    if !imported.maps.is_empty() {
        run.env("BPF_NUM_MAPS", imported.maps.len().to_string());
    }
    for (id, fd) in imported.maps {
        // From here on the fd belongs to the command.
        run.env(format!("BPF_MAP{id}"), fd.into_raw_fd().to_string());
    }
    let error = run.exec();
    Ok(Failure::new("E0912", format!("`{program}` cannot be run: {}", crate::load_args::reason(&error))))
}

fn debug() -> Outcome {
    let pipes = TRACE.iter().map(|folder| PathBuf::from(folder).join("trace_pipe"));
    let Some(mut pipe) = pipes.into_iter().find_map(|path| File::open(path).ok()) else {
        return Err(Failure::new("E0912", "there is no trace pipe that can be read")
            .hint("`mount -t tracefs tracefs /sys/kernel/tracing`"));
    };
    eprintln!("Running! Hang up with ^C!\n");
    std::io::copy(&mut pipe, &mut std::io::stderr()).map(drop).map_err(Failure::from)
}
