//! Actions: of a filter (`... action bpf obj FILE`), and on their own (`tc actions add action bpf ...`).

use crate::exit::{Failure, Outcome};
use crate::iproute::ask::{ask, errno, ifindex};
use crate::iproute::hook::ACTION;
use crate::iproute::program::{Ready, ready};
use crate::iproute::source::{Source, is_bytecode};
use crate::iproute::words::{Words, matches, number, once, usage};
use crate::out::Out;
use onebpf::Kernel;
use onebpf::netlink::{Action, ActionKind, Mirror, actions};
use onebpf::sys::Errno;
use std::path::Path;
use std::sync::Arc;

/// `TCA_ACT_MAX_PRIO`.
const MOST: usize = 32;
const TC_ACT_STOLEN: i32 = 4;
const TC_ACT_PIPE: i32 = 3;
/// `TC_ACT_*` (iproute2's `action_a2n()`).
const CONTROLS: [(&str, i32); 9] = [
    ("continue", -1),
    ("ok", 0),
    ("pass", 0),
    ("reclassify", 1),
    ("drop", 2),
    ("shot", 2),
    ("pipe", TC_ACT_PIPE),
    ("stolen", TC_ACT_STOLEN),
    ("trap", 8),
];

/// One action, as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ActionWords {
    kind: KindWords,
    control: i32,
    index: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum KindWords {
    Bpf(Option<Source>),
    Control,
    Mirror { device: String, ingress: bool, copy: bool },
}

/// Actions on their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    replace: bool,
    list: Vec<ActionWords>,
}

/// Reads what stands after `actions`. `None`: it is not about BPF programs.
pub(crate) fn parse(mut words: Words<'_>, export: Option<&Path>) -> Outcome<Option<Request>> {
    let verb = words.next().unwrap_or_default();
    let replace = matches(verb, "change") || matches(verb, "replace");
    let ours = words
        .rest()
        .windows(2)
        .any(|pair| matches!(pair, [kind, mode] if kind == "bpf" && !is_bytecode(mode)));
    if !(replace || matches(verb, "add")) || !ours {
        return Ok(None);
    }
    let list = list(&mut words, export)?;
    words.end()?;
    Ok(Some(Request { replace, list }))
}

/// Actions one after the other, each with or without the word `action` before it.
pub(crate) fn list(words: &mut Words<'_>, export: Option<&Path>) -> Outcome<Vec<ActionWords>> {
    let mut list = Vec::new();
    while let Some(word) = words.peek() {
        if matches(word, "action") && (list.is_empty() || word == "action") {
            words.next();
            if words.peek().is_none() {
                return Err(usage("`action` needs an action after it"));
            }
        }
        let Some(word) =
            words.peek().filter(|word| !matches!(*word, "flowid" | "classid" | "da" | "direct-action"))
        else {
            break;
        };
        list.push(one(word, words, export)?);
        if list.len() > MOST {
            return Err(usage(format!("more than {MOST} actions")));
        }
    }
    Ok(list)
}

fn one(word: &str, words: &mut Words<'_>, export: Option<&Path>) -> Outcome<ActionWords> {
    let (kind, default) = match word {
        "bpf" => {
            words.next();
            words.take("run");
            if words.peek().is_some_and(is_bytecode) {
                return Err(usage("`bytecode`: classic BPF is not taken beside an eBPF program"));
            }
            (KindWords::Bpf(Source::parse(words, ACTION, export)?), TC_ACT_PIPE)
        }
        "mirred" => {
            words.next();
            let mirror = mirror(words)?;
            let copy = matches!(mirror, KindWords::Mirror { copy: true, .. });
            (mirror, if copy { TC_ACT_PIPE } else { TC_ACT_STOLEN })
        }
        "gact" => {
            words.next();
            (KindWords::Control, 0)
        }
        _ if control(word).is_some() => (KindWords::Control, 0),
        _ => {
            return Err(usage(format!("action `{word}`: beside bpf, only gact and mirred are understood")));
        }
    };
    let mut action = ActionWords { kind, control: default, index: 0 };
    if let Some(value) = words.peek().and_then(control) {
        words.next();
        action.control = value;
    }
    if words.peek().is_some_and(|word| matches(word, "index")) {
        words.next();
        action.index = number(words.value("index")?, "index")?;
    }
    Ok(action)
}

fn control(word: &str) -> Option<i32> {
    CONTROLS.iter().find(|(name, _)| *name == word).map(|(_, value)| *value)
}

/// `mirred ingress|egress redirect|mirror dev NAME`.
fn mirror(words: &mut Words<'_>) -> Outcome<KindWords> {
    let (mut device, mut ingress, mut copy) = (None, None, None);
    while device.is_none() {
        match words.value("mirred")? {
            "egress" => once(&mut ingress, false, "egress")?,
            "ingress" => once(&mut ingress, true, "ingress")?,
            "redirect" => once(&mut copy, false, "redirect")?,
            "mirror" => once(&mut copy, true, "mirror")?,
            "dev" => device = Some(words.value("dev")?.to_owned()),
            word => return Err(usage(format!("`mirred ... {word}` is not understood"))),
        }
    }
    match (device, ingress, copy) {
        (Some(device), Some(ingress), Some(copy)) => Ok(KindWords::Mirror { device, ingress, copy }),
        _ => Err(usage("`mirred` needs ingress or egress, redirect or mirror, and dev NAME")),
    }
}

/// Loads the programs of actions, and finds their devices. What is loaded goes to `held`.
pub(crate) fn resolve(
    kernel: &Arc<dyn Kernel>,
    list: &[ActionWords],
    held: &mut Vec<Ready>,
    out: &mut Out,
) -> Outcome<Vec<Action>> {
    let mut resolved = Vec::new();
    for ActionWords { kind, control, index } in list {
        let kind = match kind {
            KindWords::Bpf(None) => ActionKind::Bpf(None),
            KindWords::Bpf(Some(source)) => {
                let program = ready(kernel, source, ACTION, out)?;
                let attached = program.attached();
                held.push(program);
                ActionKind::Bpf(Some(attached))
            }
            KindWords::Control => ActionKind::Control,
            KindWords::Mirror { device, ingress, copy } => {
                let ifindex = ifindex(&**kernel, device)?;
                ActionKind::Mirror(Mirror { ifindex, ingress: *ingress, copy: *copy })
            }
        };
        resolved.push(Action { kind, control: *control, index: *index });
    }
    Ok(resolved)
}

/// Makes actions on their own.
pub(crate) fn run(kernel: &Arc<dyn Kernel>, request: &Request, out: &mut Out) -> Outcome {
    let mut held = Vec::new();
    let list = resolve(kernel, &request.list, &mut held, out)?;
    let asked = ask(&**kernel, &actions(&list, request.replace), "adding actions");
    drop(held);
    asked.map(drop).map_err(advise)
}

fn advise(failure: Failure) -> Failure {
    match errno(&failure) {
        Some(Errno::NOENT) => failure.hint("perhaps this kernel has no act_bpf (CONFIG_NET_ACT_BPF)"),
        Some(Errno::EXIST) => failure.hint("`tc actions replace` takes the place of the one that is there"),
        _ => failure,
    }
}
