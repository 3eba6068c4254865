//! A run of `onebpf tc` or `onebpf ip`: options, batches, namespaces, and whose job it is.

use super::handover;
use super::options::{Options, Tool, split_line};
use super::words::{Words, usage};
use crate::exit::{Failure, Outcome};
use crate::load_args::StateArgs;
use crate::out::Out;
use crate::patience::Patient;
use onebpf::Kernel;
use std::io::Read;
use std::sync::Arc;

/// Reads a command; `None` for one that is the system's.
pub(crate) type Parse<'a, R> = &'a dyn Fn(Words<'_>, &Options) -> Outcome<Option<R>>;
/// Carries out a command.
pub(crate) type Perform<'a, R> = &'a dyn Fn(&Arc<dyn Kernel>, &R, &mut Out) -> Outcome;

/// Carries out a command line, or hands it to the system's tool.
pub(crate) fn run<R>(
    tool: &Tool,
    typed: &[String],
    parse: Parse<'_, R>,
    perform: Perform<'_, R>,
    out: &mut Out,
) -> Outcome {
    let mut words = Words::new(typed);
    let Some(options) = tool.options(&mut words)? else { return Err(handover::become_it(tool.name, typed)) };
    let kernel: Arc<dyn Kernel> = Arc::new(Patient::new(StateArgs::default().dir()));
    if let Some(file) = &options.batch {
        return batch(tool, typed, file, &options, parse, perform, out);
    }
    let Some(request) = parse(words, &options)? else {
        out.finish()?;
        return Err(handover::become_it(tool.name, typed));
    };
    enter(&options)?;
    perform(&kernel, &request, out)
}

fn enter(options: &Options) -> Outcome {
    let Some(name) = &options.netns else { return Ok(()) };
    onebpf::sys::enter_netns(name).map_err(|error| {
        let what = format!("network namespace `{name}`");
        Failure::from(crate::report::of_kernel(super::ask::NO_SUCH, &what, error))
    })
}

/// A file of command lines: if none is about BPF the system's tool has them all, else each line goes where it belongs.
fn batch<R>(
    tool: &Tool,
    typed: &[String],
    file: &str,
    options: &Options,
    parse: Parse<'_, R>,
    perform: Perform<'_, R>,
    out: &mut Out,
) -> Outcome {
    let lines = lines(file)?;
    let ours = |line: &Vec<String>| !matches!(parse(Words::new(line), options), Ok(None));
    if file != "-" && !lines.iter().any(ours) {
        return Err(handover::become_it(tool.name, typed));
    }
    enter(options)?;
    let kernel: Arc<dyn Kernel> = Arc::new(Patient::new(StateArgs::default().dir()));
    let mut failed = None;
    for line in &lines {
        let done = match parse(Words::new(line), options) {
            Ok(Some(request)) => perform(&kernel, &request, out),
            Ok(None) => {
                out.finish()?;
                let status = handover::run(tool.name, line)?;
                if status.success() { Ok(()) } else { Err(Failure::Refused) }
            }
            Err(failure) => Err(failure),
        };
        match done {
            Err(failure) if options.force => {
                out.say(&format!("`{}` failed, going on", line.join(" ")));
                failed = Some(failure);
            }
            other => other?,
        }
    }
    failed.map_or(Ok(()), Err)
}

fn lines(file: &str) -> Outcome<Vec<Vec<String>>> {
    let mut text = String::new();
    let read = match file {
        "-" => std::io::stdin().read_to_string(&mut text).map(drop),
        path => std::fs::read_to_string(path).map(|read| text = read),
    };
    read.map_err(|error| crate::load_args::cannot_read(file.as_ref(), &error))?;
    // A backslash at the end of a line joins the next one to it.
    let text = text.replace("\\\n", " ");
    let lines: Outcome<Vec<_>> = text.lines().map(split_line).collect();
    let mut lines = lines.map_err(|_| usage(format!("{file}: a quote is not closed")))?;
    lines.retain(|line| !line.is_empty());
    Ok(lines)
}
