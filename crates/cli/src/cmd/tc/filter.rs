//! `tc filter add|replace|change|del ... bpf ...`.

use super::action::{self, ActionWords};
use crate::exit::{Failure, Outcome};
use crate::iproute::ask::{ask, errno, ifindex};
use crate::iproute::hook::CLASSIFIER;
use crate::iproute::numbers::{classid, protocol};
use crate::iproute::program::{Ready, ready_for};
use crate::iproute::source::{Source, is_bytecode};
use crate::iproute::words::{Words, matches, number, once, usage};
use crate::out::Out;
use onebpf::Kernel;
use onebpf::netlink::{CLSACT_EGRESS, CLSACT_INGRESS, Classifier, Filter, FilterVerb, filter};
use onebpf::sys::Errno;
use std::path::Path;
use std::sync::Arc;

/// `ETH_P_ALL`, which a new filter takes when nobody says.
const ALL: u16 = 3;

/// A filter of kind `bpf`, as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    verb: FilterVerb,
    device: Option<String>,
    /// All but device, program and actions.
    filter: Filter,
    body: Option<Body>,
}

/// What stands after `bpf`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Body {
    source: Option<Source>,
    /// All but program and actions.
    classifier: Classifier,
    actions: Vec<ActionWords>,
}

/// Reads what stands after `filter`. `None`: it is not about BPF programs.
pub(crate) fn parse(mut words: Words<'_>, export: Option<&Path>) -> Outcome<Option<Request>> {
    const VERBS: [(&str, FilterVerb); 4] = [
        ("add", FilterVerb::Add),
        ("change", FilterVerb::Change),
        ("replace", FilterVerb::Replace),
        ("delete", FilterVerb::Delete),
    ];
    let verb = words.next().and_then(|word| VERBS.iter().find(|(full, _)| matches(word, full)));
    let Some((_, verb)) = verb.filter(|_| words.rest().iter().any(|word| word == "bpf")) else {
        return Ok(None);
    };
    let Some(mut request) = head(*verb, &mut words)? else { return Ok(None) };
    let foreign = |word: &str| is_bytecode(word) || word == "help";
    if words.peek().is_some_and(|word| {
        foreign(word) || (word == "run" && words.rest().get(1).is_some_and(|w| is_bytecode(w)))
    }) {
        return Ok(None);
    }
    if words.peek().is_some() {
        request.body = Some(body(&mut words, export)?);
    }
    words.end()?;
    Ok(Some(request))
}

/// Up to the kind of filter; `None` for another kind than `bpf`.
fn head(verb: FilterVerb, words: &mut Words<'_>) -> Outcome<Option<Request>> {
    let (mut device, mut parent, mut priority, mut wanted, mut chain, mut handle, mut block) =
        (None, None, None, None, None, None, None);
    loop {
        let Some(word) = words.next() else { return Ok(None) };
        match word {
            "dev" => once(&mut device, words.value(word)?.to_owned(), word)?,
            "block" => once(&mut block, number(words.value(word)?, word)?, word)?,
            "root" => once(&mut parent, u32::MAX, word)?,
            "ingress" => once(&mut parent, CLSACT_INGRESS, word)?,
            "egress" => once(&mut parent, CLSACT_EGRESS, word)?,
            "parent" => once(&mut parent, classid(words.value(word)?, word)?, word)?,
            "handle" => once(&mut handle, words.value(word)?, word)?,
            "bpf" => break,
            _ if matches(word, "preference") || matches(word, "priority") => {
                once(&mut priority, number(words.value(word)?, word)?, word)?;
            }
            _ if matches(word, "protocol") => once(&mut wanted, protocol(words.value(word)?)?, word)?,
            _ if matches(word, "chain") => once(&mut chain, number(words.value(word)?, word)?, word)?,
            // Another kind of filter, or something that only tc knows.
            _ => return Ok(None),
        }
    }
    let priority = u16::try_from(priority.unwrap_or_default());
    let creates = matches!(verb, FilterVerb::Add | FilterVerb::Replace);
    let filter = Filter {
        block,
        parent: parent.unwrap_or_default(),
        priority: priority.map_err(|_| usage("`pref`: at most 65535"))?,
        protocol: wanted.unwrap_or(if creates { ALL } else { 0 }),
        handle: handle.map(|word| number(word, "handle")).transpose()?.unwrap_or_default(),
        chain,
        ..Filter::default()
    };
    if device.is_none() && block.is_none() {
        return Err(usage("`dev NAME` (or `block NUMBER`) is needed"));
    }
    Ok(Some(Request { verb, device, filter, body: None }))
}

fn body(words: &mut Words<'_>, export: Option<&Path>) -> Outcome<Body> {
    let mut body = Body::default();
    while let Some(word) = words.peek() {
        let classifier = &mut body.classifier;
        if matches(word, "run") && word == "run" {
            words.next();
        } else if matches(word, "classid") || matches(word, "flowid") {
            words.next();
            once(&mut classifier.classid, classid(words.value(word)?, word)?, word)?;
        } else if matches(word, "direct-action") || matches(word, "da") {
            words.next();
            classifier.direct_action = true;
        } else if matches(word, "skip_hw") {
            words.next();
            classifier.skip_hw = true;
        } else if matches(word, "skip_sw") {
            words.next();
            classifier.skip_sw = true;
        } else if matches(word, "action") {
            body.actions = action::list(words, export)?;
        } else if matches(word, "police") && word.len() > 1 {
            return Err(usage("`police`: write it as an action of tc, on a filter of its own"));
        } else {
            let Some(source) = Source::parse(words, CLASSIFIER, export)? else {
                return words.end().map(|()| body);
            };
            once(&mut body.source, source, word)?;
        }
    }
    Ok(body)
}

/// Loads what is to be loaded, and then adds the filter: whatever fails before, no filter is touched.
pub(crate) fn run(kernel: &Arc<dyn Kernel>, request: &Request, out: &mut Out) -> Outcome {
    let Request { verb, device, filter: wanted, body } = request;
    let mut wanted = wanted.clone();
    if let Some(name) = device {
        wanted.ifindex = ifindex(&**kernel, name)?;
    }
    // What a filter that goes has done is of no interest: iproute2 loads it here too, to no end.
    let body = body.as_ref().filter(|_| *verb != FilterVerb::Delete);
    let mut held: Vec<Ready> = Vec::new();
    if let Some(body) = body {
        let mut classifier = body.classifier.clone();
        // iproute2 loads actions first.
        classifier.actions = action::resolve(kernel, &body.actions, &mut held, out)?;
        if let Some(source) = &body.source {
            let device = Some(wanted.ifindex).filter(|_| classifier.skip_sw);
            let program = ready_for(kernel, source, CLASSIFIER, device, out)?;
            classifier.program = Some(program.attached());
            held.push(program);
        }
        wanted.classifier = Some(classifier);
    }
    let (doing, device) = (doing(*verb), device.as_deref().unwrap_or("the block"));
    let asked = ask(&**kernel, &filter(*verb, &wanted), &format!("{doing} `{device}`"));
    drop(held);
    asked.map(drop).map_err(|failure| advise(failure, *verb, &wanted, device))
}

fn doing(verb: FilterVerb) -> &'static str {
    match verb {
        FilterVerb::Add => "adding a filter to",
        FilterVerb::Replace => "replacing a filter of",
        FilterVerb::Change => "changing a filter of",
        FilterVerb::Delete => "deleting a filter of",
    }
}

fn advise(failure: Failure, verb: FilterVerb, wanted: &Filter, device: &str) -> Failure {
    let clsact = wanted.parent == CLSACT_INGRESS || wanted.parent == CLSACT_EGRESS;
    match errno(&failure) {
        Some(Errno::EXIST) if verb == FilterVerb::Add => {
            failure.hint("`tc filter replace` takes the place of the one that is there")
        }
        Some(Errno::INVAL | Errno::NOENT) if clsact && failure_says(&failure, "Qdisc") => failure
            .hint(format!("there is no place for it without a qdisc: `tc qdisc add dev {device} clsact`")),
        // cls_bpf_offload()
        Some(Errno::INVAL) if verb != FilterVerb::Add => {
            failure.hint("`skip_hw` and `skip_sw` of a filter that is there cannot be changed")
        }
        Some(Errno::PERM) => failure.hint("this needs CAP_NET_ADMIN"),
        _ => failure,
    }
}

fn failure_says(failure: &Failure, word: &str) -> bool {
    matches!(failure, Failure::Failed { report, .. } if report.message.contains(word))
}
