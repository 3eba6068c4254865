//! Errors as rustc shows them.

use crate::out::Style;
use annotate_snippets::{
    AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet, renderer::DecorStyle,
};
use onebpf::Report;
use onebpf::object::{Place, SourceLine, Warning};
use std::path::Path;

/// An error with its place, its source line, notes and hints.
pub(crate) fn report(report: &Report, file: Option<&Path>, style: Style) -> String {
    let mut title = Level::ERROR.primary_title(&report.message);
    if !report.code.is_empty() {
        title = title.id(report.code);
    }
    let mut main = Group::with_title(title);
    if let Some(place) = place(&report.place, file) {
        main = main.element(Origin::path(place));
    }
    if let Some(source) = &report.place.source {
        main = main.element(snippet(source));
    }
    let notes = report.notes.iter().map(|note| Level::NOTE.message(wrap(note, style.width)));
    main = main.elements(notes.map(Element::from));
    // Each by itself: joined, they would be strung together by empty lines.
    let mut groups = vec![main];
    if !report.log_tail.is_empty() {
        let who = if report.code == "E0403" { "verifier" } else { "kernel" };
        let said = Level::NOTE.secondary_title(format!("what the {who} said last"));
        groups.push(Group::with_title(said).element(words(&report.log_tail)));
    }
    let mut hints: Vec<String> = report.hints.clone();
    if !report.code.is_empty() {
        hints.push(format!("see `onebpf explain {}`", report.code));
    }
    let helps = hints.iter().map(|hint| Level::HELP.secondary_title(wrap(hint, style.width)));
    groups.extend(helps.map(Group::with_title));
    let renderer = renderer(style);
    let mut texts: Vec<String> = groups.into_iter().map(|group| renderer.render(&[group])).collect();
    if let Some(first) = texts.first_mut().filter(|_| report.place.source.is_none()) {
        // Without line numbers the arrow would stand in the first column.
        *first = first.replace('\n', "\n ");
    }
    texts.join("\n")
}

/// A warning on a line or two.
pub(crate) fn warning(warning: &Warning, file: Option<&Path>, style: Style) -> String {
    let mut group = Group::with_title(Level::WARNING.primary_title(&warning.message).id(&warning.code));
    if let Some(place) = place(&warning.place, file) {
        group = group.element(Origin::path(place));
    }
    renderer(style).render(&[group]).replace('\n', "\n ")
}

fn renderer(style: Style) -> Renderer {
    let renderer = if style.color { Renderer::styled() } else { Renderer::plain() };
    renderer.term_width(usize::from(style.width)).decor_style(DecorStyle::Ascii)
}

/// `flows.bpf.o[.maps+0x20] <flows>`; nothing if nothing is known. The type of something that has a name is of no
/// use to a person.
fn place(place: &Place, file: Option<&Path>) -> Option<String> {
    let Place { section, offset, symbol, btf_type, .. } = place.clone();
    let within = Place { section, offset, ..Place::default() }.to_string();
    let btf_type = btf_type.filter(|_| symbol.is_none());
    let names = Place { symbol, btf_type, ..Place::default() }.to_string();
    let mut text = file.map(|file| file.display().to_string()).unwrap_or_default();
    if !within.is_empty() {
        text = if text.is_empty() { within } else { format!("{text}[{within}]") };
    }
    text.push_str(&names);
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The line of C with a caret at its column.
fn snippet(source: &SourceLine) -> Snippet<'_, annotate_snippets::Annotation<'_>> {
    let text = source.text.trim_end();
    let column = (source.column.max(1) as usize - 1).min(text.len());
    let start = (0..=column).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    let rest = text.get(start..).unwrap_or_default();
    // Not known: the whole statement. Known: the word that begins there.
    let length = if source.column == 0 {
        rest.len()
    } else {
        rest.find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len())
            .max(rest.chars().next().map_or(0, char::len_utf8))
    };
    Snippet::source(text)
        .line_start(source.line as usize)
        .path(source.file.as_str())
        .annotation(AnnotationKind::Primary.span(start..start + length))
}

/// Lines without numbers.
fn words(lines: &[String]) -> Snippet<'static, annotate_snippets::Annotation<'static>> {
    Snippet::source(lines.join("\n")).line_numbering(false).fold(false)
}

/// Breaks long text between words, so that notes read well in 80 columns.
fn wrap(text: &str, width: u16) -> String {
    let room = usize::from(width).saturating_sub(12).max(30);
    text.lines().map(|line| wrap_line(line, room)).collect::<Vec<_>>().join("\n")
}

fn wrap_line(line: &str, room: usize) -> String {
    let mut wrapped = String::new();
    let mut column = 0;
    for word in line.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > room {
            wrapped.push('\n');
            column = 0;
        } else if column > 0 {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += length;
    }
    wrapped
}
