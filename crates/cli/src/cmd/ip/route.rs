//! `ip route add|replace|append|change|prepend ... encap bpf in|out|xmit obj FILE ...`.

use super::address::{address, prefix};
use super::metrics::metric;
use crate::exit::{Failure, Outcome};
use crate::iproute::ask::{ask, errno, ifindex};
use crate::iproute::hook::{Hook, LWT_IN, LWT_OUT, LWT_XMIT};
use crate::iproute::numbers::named;
use crate::iproute::program::{Ready, ready};
use crate::iproute::source::Source;
use crate::iproute::words::{Words, matches, number, once, usage};
use crate::out::Out;
use onebpf::Kernel;
use onebpf::netlink::{Attached, Route, RouteVerb, Tunnel, route};
use onebpf::sys::Errno;
use std::sync::Arc;

const LINK: u8 = 253;
const HOST: u8 = 254;
const LOCAL_TABLE: u32 = 255;
/// `RTPROT_*`
const PROTOCOLS: [(&str, u32); 8] = [
    ("unspec", 0),
    ("redirect", 1),
    ("kernel", 2),
    ("boot", 3),
    ("static", 4),
    ("ra", 9),
    ("dhcp", 16),
    ("bgp", 186),
];
const SCOPES: [(&str, u32); 6] =
    [("global", 0), ("universe", 0), ("site", 200), ("link", 253), ("host", 254), ("nowhere", 255)];
const TABLES: [(&str, u32); 4] = [("unspec", 0), ("default", 253), ("main", 254), ("local", LOCAL_TABLE)];
/// `RTN_*`
const KINDS: [(&str, u8); 10] = [
    ("unicast", 1),
    ("local", 2),
    ("broadcast", 3),
    ("brd", 3),
    ("anycast", 4),
    ("multicast", 5),
    ("blackhole", 6),
    ("unreachable", 7),
    ("prohibit", 8),
    ("throw", 9),
];

/// A route with programs, as it was typed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    verb: RouteVerb,
    device: Option<String>,
    /// All but device and programs.
    route: Route,
    programs: Programs,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Programs {
    input: Option<Source>,
    output: Option<Source>,
    xmit: Option<Source>,
}

/// What is not in [`Route`] as it is typed.
#[derive(Default)]
struct Typed {
    ipv6: Option<bool>,
    to: bool,
    table: bool,
    scope: bool,
    device: Option<String>,
    programs: Programs,
}

/// Reads what stands after `route`. `None`: it is not about BPF.
pub(crate) fn parse(mut words: Words<'_>, ipv6: Option<bool>) -> Outcome<Option<Request>> {
    const VERBS: [(&str, RouteVerb); 5] = [
        ("add", RouteVerb::Add),
        ("change", RouteVerb::Change),
        ("replace", RouteVerb::Replace),
        ("prepend", RouteVerb::Prepend),
        ("append", RouteVerb::Append),
    ];
    let verb = words.next().unwrap_or_default();
    // ip's order: `a` is add, `chg` is another name of change.
    let verb = VERBS.iter().find(|(full, _)| matches(verb, full) || (verb == "chg" && *full == "change"));
    let ours = words
        .rest()
        .windows(2)
        .any(|pair| matches!(pair, [encap, kind] if encap == "encap" && kind == "bpf"));
    let Some((_, verb)) = verb.filter(|_| ours) else { return Ok(None) };
    let mut wanted = Route::default();
    let mut typed = Typed { ipv6, ..Typed::default() };
    while let Some(word) = words.next() {
        one(word, &mut words, &mut wanted, &mut typed)?;
    }
    finish(&mut wanted, &typed)?;
    Ok(Some(Request { verb: *verb, device: typed.device, route: wanted, programs: typed.programs }))
}

fn one(word: &str, words: &mut Words<'_>, wanted: &mut Route, typed: &mut Typed) -> Outcome {
    match word {
        "src" => wanted.source = Some(family(address(words.value(word)?, word, typed.ipv6)?, typed)),
        "via" => {
            let other = match words.peek() {
                Some("inet") => Some(false),
                Some("inet6") => Some(true),
                _ => None,
            };
            if other.is_some() {
                words.next();
            }
            let via = address(words.value(word)?, word, other.or(typed.ipv6))?;
            wanted.via = Some(via);
            typed.ipv6.get_or_insert(via.is_ipv6());
        }
        "from" => {
            let (address, bits) = prefix(words.value(word)?, word, typed.ipv6)?;
            wanted.from = address.map(|address| (family(address, typed), bits));
        }
        "tos" => wanted.tos = byte(words.value(word)?, word)?,
        "scope" => {
            wanted.scope = small(named(words.value(word)?, word, &SCOPES, "rt_scopes")?, word)?;
            typed.scope = true;
        }
        "onlink" => wanted.onlink = true,
        "expires" => wanted.expires = Some(number(words.value(word)?, word)?),
        "dev" | "oif" => once(&mut typed.device, words.value(word)?.to_owned(), word)?,
        "preference" => wanted.metric = Some(number(words.value(word)?, word)?),
        "encap" => {
            words.next();
            tunnel(words, wanted, &mut typed.programs)?;
        }
        "nexthop" | "nhid" | "as" | "congctl" | "features" | "ttl-propagate" => {
            return Err(usage(format!("`{word}`: not understood beside `encap bpf`")));
        }
        _ => return other(word, words, wanted, typed),
    }
    Ok(())
}

/// The words that may be shortened, in ip's order, and at last the destination.
fn other(word: &str, words: &mut Words<'_>, wanted: &mut Route, typed: &mut Typed) -> Outcome {
    if matches(word, "dsfield") {
        wanted.tos = byte(words.value(word)?, word)?;
    } else if matches(word, "metric") || matches(word, "priority") {
        wanted.metric = Some(number(words.value(word)?, word)?);
    } else if let Some(metric) = metric(word, words)? {
        wanted.metrics.push(metric);
    } else if matches(word, "realms") {
        wanted.realms = Some(realms(words.value(word)?)?);
    } else if matches(word, "protocol") {
        wanted.protocol = small(named(words.value(word)?, word, &PROTOCOLS, "rt_protos")?, word)?;
    } else if matches(word, "table") {
        wanted.table = named(words.value(word)?, word, &TABLES, "rt_tables")?;
        typed.table = true;
    } else if matches(word, "pref") {
        wanted.preference = Some(match words.value(word)? {
            "low" => 3,
            "medium" => 0,
            "high" => 1,
            number => byte(number, word)?,
        });
    } else {
        return destination(word, words, wanted, typed);
    }
    Ok(())
}

/// `[to] [TYPE] PREFIX`
fn destination(word: &str, words: &mut Words<'_>, wanted: &mut Route, typed: &mut Typed) -> Outcome {
    let mut word = if word == "to" { words.value(word)? } else { word };
    if let Some((_, kind)) = KINDS.iter().find(|(name, _)| *name == word) {
        wanted.kind = *kind;
        word = words.value(word)?;
    }
    if typed.to {
        return Err(usage(format!("`{word}`: there is a destination already")));
    }
    let (address, bits) = prefix(word, "to", typed.ipv6)?;
    wanted.to = (address.map(|address| family(address, typed)), bits);
    typed.to = true;
    Ok(())
}

/// `in|out|xmit SOURCE`, each at most once, `headroom N`.
fn tunnel(words: &mut Words<'_>, wanted: &mut Route, programs: &mut Programs) -> Outcome {
    while let Some(word) = words.peek() {
        let (hook, place) = match word {
            "in" => (LWT_IN, &mut programs.input),
            "out" => (LWT_OUT, &mut programs.output),
            "xmit" => (LWT_XMIT, &mut programs.xmit),
            "headroom" => {
                words.next();
                let room = number(words.value(word)?, word)?;
                wanted.tunnel.headroom = Some(room).filter(|room| *room != 0);
                if room == 0 {
                    return Err(usage("`headroom 0` makes no sense"));
                }
                continue;
            }
            _ => break,
        };
        words.next();
        let source = Source::parse(words, hook, None)?;
        let source = source.ok_or_else(|| usage(format!("`{word}` needs `obj FILE` or `pinned PATH`")))?;
        once(place, source, word)?;
    }
    Ok(())
}

/// What follows from what was typed (the end of iproute2's `iproute_modify()`).
fn finish(wanted: &mut Route, typed: &Typed) -> Outcome {
    if !typed.to {
        return Err(usage("a route needs a destination: a prefix or `default`"));
    }
    if typed.programs == Programs::default() {
        return Err(usage("`encap bpf` needs `in`, `out` or `xmit` with a program"));
    }
    wanted.ipv6 = typed.ipv6.unwrap_or(false);
    // RTN_LOCAL 2, RTN_BROADCAST 3, RTN_ANYCAST 4, RTN_MULTICAST 5, RTN_UNICAST 1.
    if !typed.table && matches!(wanted.kind, 2..=4) {
        wanted.table = LOCAL_TABLE;
    }
    if !typed.scope && !wanted.ipv6 {
        wanted.scope = match (wanted.kind, wanted.via) {
            (2, _) => HOST,
            (3..=5, _) | (1, None) => LINK,
            _ => 0,
        };
    }
    Ok(())
}

/// The first address says of which family the route is.
fn family(address: std::net::IpAddr, typed: &mut Typed) -> std::net::IpAddr {
    typed.ipv6.get_or_insert(address.is_ipv6());
    address
}

fn realms(word: &str) -> Outcome<u32> {
    let half = |word: &str| {
        named(word, "realms", &[], "rt_realms").and_then(|realm| {
            u16::try_from(realm).map_err(|_| usage(format!("`realms {word}`: beyond 16 bits")))
        })
    };
    let (from, to) = word.split_once('/').unwrap_or(("0", word));
    Ok(u32::from(half(from)?) << 16 | u32::from(half(to)?))
}

fn byte(word: &str, of: &str) -> Outcome<u8> {
    small(named(word, of, &[], "rt_dsfield")?, of)
}

fn small(number: u32, of: &str) -> Outcome<u8> {
    u8::try_from(number).map_err(|_| usage(format!("`{of} {number}`: beyond 255")))
}

/// Loads the programs, and then adds the route.
pub(crate) fn run(kernel: &Arc<dyn Kernel>, request: &Request, out: &mut Out) -> Outcome {
    let Request { verb, device, route: wanted, programs } = request;
    let mut wanted = wanted.clone();
    if let Some(name) = device {
        wanted.device = Some(ifindex(&**kernel, name)?);
    }
    let mut held: Vec<Ready> = Vec::new();
    let mut load = |source: &Option<Source>, hook: &Hook| -> Outcome<Option<Attached>> {
        let Some(source) = source else { return Ok(None) };
        let program = ready(kernel, source, hook, out)?;
        let attached = program.attached();
        held.push(program);
        Ok(Some(attached))
    };
    wanted.tunnel = Tunnel {
        input: load(&programs.input, LWT_IN)?,
        output: load(&programs.output, LWT_OUT)?,
        xmit: load(&programs.xmit, LWT_XMIT)?,
        headroom: wanted.tunnel.headroom,
    };
    let asked = ask(&**kernel, &route(*verb, &wanted), "adding the route");
    drop(held);
    asked.map(drop).map_err(|failure: Failure| match errno(&failure) {
        Some(Errno::EXIST) => failure.hint("`ip route replace` takes the place of the one that is there"),
        Some(Errno::OPNOTSUPP) => failure.hint("perhaps this kernel has no CONFIG_LWTUNNEL_BPF"),
        _ => failure,
    })
}
