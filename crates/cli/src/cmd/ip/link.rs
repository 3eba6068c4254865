//! `ip link set dev X xdp|xdpgeneric|xdpdrv|xdpoffload obj|pinned|off ...`.

use crate::exit::{Failure, Outcome};
use crate::iproute::ask::{ask, errno, ifindex};
use crate::iproute::handover;
use crate::iproute::hook::XDP;
use crate::iproute::program::ready_for;
use crate::iproute::source::Source;
use crate::iproute::words::{Words, matches, once};
use crate::out::Out;
use onebpf::Kernel;
use onebpf::netlink::{XdpMode, xdp};
use onebpf::sys::Errno;
use std::os::fd::AsRawFd;
use std::sync::Arc;

const MODES: [(&str, XdpMode); 4] = [
    ("xdp", XdpMode::Any),
    ("xdpgeneric", XdpMode::Generic),
    ("xdpdrv", XdpMode::Driver),
    ("xdpoffload", XdpMode::Hardware),
];

/// Words of `ip link set` that a word belongs to: it may look like one of ours.
const WITH_VALUE: [&str; 20] = [
    "dev",
    "name",
    "alias",
    "group",
    "master",
    "netns",
    "address",
    "broadcast",
    "mtu",
    "txqueuelen",
    "txqlen",
    "link",
    "type",
    "vrf",
    "index",
    "mode",
    "state",
    "altname",
    "numtxqueues",
    "numrxqueues",
];

/// A program for a device, as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    device: String,
    mode: XdpMode,
    /// `None`: what is there is taken off.
    source: Option<Source>,
    /// Replaces a program that is there.
    force: bool,
    /// What else is set: words for the system's `ip`.
    others: Vec<String>,
}

/// Reads what stands after `link`. `None`: it is not about XDP.
pub(crate) fn parse(mut words: Words<'_>, force: bool) -> Outcome<Option<Request>> {
    // In ip's order, `s` is set.
    if !words.next().is_some_and(|word| matches(word, "set")) {
        return Ok(None);
    }
    let (mut device, mut found, mut others) = (None, None, Vec::new());
    while let Some(word) = words.next() {
        if word == "dev" {
            once(&mut device, words.value(word)?.to_owned(), word)?;
        } else if let Some((_, mode)) = MODES.iter().find(|(name, _)| *name == word) {
            let off = words.take("off") || words.take("none");
            let source = if off { None } else { Source::parse(&mut words, XDP, None)? };
            if source.is_none() && !off {
                return Ok(None);
            }
            once(&mut found, (*mode, source), word)?;
        } else if WITH_VALUE.contains(&word) {
            others.push(word.to_owned());
            others.extend(words.next().map(str::to_owned));
        } else if device.is_none() && others.is_empty() {
            device = Some(word.to_owned());
        } else {
            others.push(word.to_owned());
        }
    }
    let (Some(device), Some((mode, source))) = (device, found) else { return Ok(None) };
    Ok(Some(Request { device, mode, source, force, others }))
}

/// Loads the program, sets what else is to be set, and then attaches.
pub(crate) fn run(kernel: &Arc<dyn Kernel>, request: &Request, out: &mut Out) -> Outcome {
    let Request { device, mode, source, force, others } = request;
    let index = ifindex(&**kernel, device)?;
    let hardware = Some(index).filter(|_| *mode == XdpMode::Hardware);
    let program = source.as_ref().map(|source| ready_for(kernel, source, XDP, hardware, out)).transpose()?;
    if !others.is_empty() {
        let line = [&["link", "set", "dev", device].map(str::to_owned)[..], others].concat();
        out.finish()?;
        if !handover::run("ip", &line)?.success() {
            return Err(Failure::Refused);
        }
    }
    let fd = program.as_ref().map(|program| program.fd().as_raw_fd());
    let doing = if fd.is_some() { "attaching to" } else { "detaching from" };
    let asked = ask(&**kernel, &xdp(index, fd, *mode, *force), &format!("{doing} `{device}`"));
    asked.map(drop).map_err(|failure| match errno(&failure) {
        Some(Errno::BUSY) => failure.hint(format!(
            "take the program there off first (`ip link set dev {device} xdp off`), or say `ip -force`"
        )),
        Some(Errno::OPNOTSUPP) => failure.hint("`xdpgeneric` works with every driver"),
        Some(Errno::EXIST) => failure.hint("a program is there in another mode: take that one off first"),
        _ => failure,
    })
}
