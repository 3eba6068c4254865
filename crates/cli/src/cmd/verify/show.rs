//! Verdicts for people.

use super::{Document, Object, Program};
use crate::exit::Outcome;
use crate::out::Out;
use crate::render;
use crate::table::Table;
use std::fmt::Write as _;

/// A row for each program, the refusals rendered, and a summary.
pub(super) fn table(document: &Document, sort: Option<&str>, compared: bool, out: &mut Out) -> Outcome {
    let several = document.objects.len() > 1;
    let headers =
        ["file", "program", "verdict", ">insns", ">change", ">states", ">peak", ">stack", ">time us"];
    let mut table = Table::new(&headers);
    for (object, program) in sorted(document, sort) {
        let file =
            object.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let stats = [
            program.total_states,
            program.peak_states,
            program.stack_depth,
            program.verification_ns.div_ceil(1000),
        ];
        let row = [
            if several { file } else { String::new() },
            program.name.clone(),
            if program.ok { "accepted".to_owned() } else { "refused".to_owned() },
            program.insns_processed.to_string(),
            if compared { change(program) } else { String::new() },
        ];
        table.row(row.into_iter().chain(stats.map(|number| number.to_string())));
    }
    if !table.is_empty() {
        out.table(&table)?;
    }
    out.finish()?;
    complaints(document, out);
    summary(document, out);
    Ok(())
}

/// A few refusals are told in full, many in a line each.
fn complaints(document: &Document, out: &mut Out) {
    const FEW: usize = 4;
    let reports = |object: &'_ Object| {
        let programs = object.programs.iter().filter_map(|program| program.report.as_ref());
        object.report.iter().chain(programs).cloned().collect::<Vec<_>>()
    };
    let in_full =
        out.verbose || document.objects.iter().map(|object| reports(object).len()).sum::<usize>() <= FEW;
    for object in &document.objects {
        for report in reports(object) {
            let text = if in_full {
                format!("\n{}", render::report(&report, Some(&object.file), out.message_style()))
            } else {
                format!("error[{}]: {}: {}", report.code, object.file.display(), report.message)
            };
            out.say(&text);
        }
    }
}

fn sorted<'a>(document: &'a Document, sort: Option<&str>) -> Vec<(&'a Object, &'a Program)> {
    let mut rows: Vec<(&Object, &Program)> = document
        .objects
        .iter()
        .flat_map(|object| object.programs.iter().map(move |program| (object, program)))
        .collect();
    rows.sort_by(|(a, x), (b, y)| (&a.file, &x.name).cmp(&(&b.file, &y.name)));
    let weight = |program: &Program| match sort {
        Some("verdict") => u64::from(!program.ok),
        Some("insns") => program.insns_processed,
        Some("states") => program.total_states,
        Some("peak") => program.peak_states,
        Some("stack") => program.stack_depth,
        Some("time") => program.verification_ns,
        _ => 0,
    };
    rows.sort_by_key(|(_, program)| std::cmp::Reverse(weight(program)));
    rows
}

/// How the instructions that the verifier walked differ from before.
fn change(program: &Program) -> String {
    let Some(before) = program.before else { return "new".to_owned() };
    if before.ok != program.ok {
        return if program.ok { "was refused".to_owned() } else { "was accepted".to_owned() };
    }
    let (now, then) = (i128::from(program.insns_processed), i128::from(before.insns_processed));
    if now == then {
        return "=".to_owned();
    }
    let permille = (now - then) * 1000 / then.max(1);
    let percent = format!(" ({:+}.{}%)", permille / 10, permille.abs() % 10);
    format!("{:+}{percent}", now - then)
}

fn summary(document: &Document, out: &mut Out) {
    let programs = || document.objects.iter().flat_map(|object| &object.programs);
    let (all, refused) = (programs().count(), programs().filter(|program| !program.ok).count());
    let unread = document.objects.iter().filter(|object| object.error.is_some()).count();
    let plural = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let mut text = format!("{} accepted", plural(all - refused, "program"));
    if refused > 0 {
        let _ = write!(text, ", {refused} refused");
    }
    if unread > 0 {
        let _ = write!(text, ", {} could not be loaded", plural(unread, "file"));
    }
    out.say(&text);
}

/// One line for each program, for spreadsheets.
pub(super) fn csv(document: &Document, out: &mut Out) -> Outcome {
    out.line(
        "file,program,ok,errno,insns_processed,total_states,peak_states,stack_depth,verification_ns,message",
    )?;
    for object in &document.objects {
        let file = quoted(&object.file.to_string_lossy());
        if let Some(report) = &object.report {
            out.line(format_args!("{file},,false,,,,,,,{}", quoted(&report.message)))?;
        }
        for program in &object.programs {
            let errno = program.errno.map(|errno| errno.0.to_string()).unwrap_or_default();
            let message = program.message.as_deref().map(quoted).unwrap_or_default();
            let Program { name, ok, insns_processed, total_states, peak_states, .. } = program;
            let Program { stack_depth, verification_ns, .. } = program;
            let numbers =
                format!("{insns_processed},{total_states},{peak_states},{stack_depth},{verification_ns}");
            out.line(format_args!("{file},{},{ok},{errno},{numbers},{message}", quoted(name)))?;
        }
    }
    Ok(())
}

/// RFC 4180: quotes where a comma, quote or line break would be misread.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
