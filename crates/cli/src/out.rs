//! Where words go: the result to standard output, everything else to standard error.

use crate::exit::Outcome;
use crate::table::Table;
use clap::{Args, ValueEnum};
use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

/// Options of every verb.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Global {
    /// Print one JSON document instead of text.
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,
    /// Show more.
    #[arg(short, long, global = true, help_heading = "Output")]
    pub(crate) verbose: bool,
    /// When to use colours; NO_COLOR counts as `never` in `auto`.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = "Output")]
    pub(crate) color: ColorChoice,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    #[default]
    Auto,
    Always,
    Never,
}

/// The two streams of a run and how to write to them.
pub(crate) struct Out {
    pub(crate) json: bool,
    pub(crate) verbose: bool,
    style: Style,
    error_style: Style,
    stdout: BufWriter<Stdout>,
}

/// How messages are drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    pub(crate) color: bool,
    pub(crate) width: u16,
}

impl Out {
    pub(crate) fn new(global: Global) -> Self {
        let width = terminal_width();
        let style = |terminal| Style { color: use_color(global.color, terminal), width };
        Self {
            json: global.json,
            verbose: global.verbose,
            style: style(io::stdout().is_terminal()),
            error_style: style(io::stderr().is_terminal()),
            stdout: BufWriter::new(io::stdout()),
        }
    }

    /// How standard error is drawn.
    pub(crate) fn message_style(&self) -> Style {
        self.error_style
    }

    /// One line of the result.
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> Outcome {
        Ok(writeln!(self.stdout, "{}", printable(&line.to_string()))?)
    }

    /// A line that goes on under its last column where the terminal is too narrow for it.
    pub(crate) fn wrapped(&mut self, line: &str) -> Outcome {
        let width = usize::from(self.style.width);
        let indent = line.rfind("  ").map_or(4, |at| at + 2).min(width / 2);
        let (mut text, mut column) = (String::new(), 0);
        for word in line.split_inclusive(' ') {
            let length = word.trim_end().chars().count();
            if column > indent && column + length > width {
                text.truncate(text.trim_end().len());
                text.push('\n');
                text.extend(std::iter::repeat_n(' ', indent));
                column = indent;
            }
            text.push_str(word);
            column += word.chars().count();
        }
        self.line(text.trim_end())
    }

    /// An empty line and a heading.
    pub(crate) fn heading(&mut self, title: impl fmt::Display) -> Outcome {
        let title = self.bold(title);
        self.line(format_args!("\n{title}"))
    }

    /// A table, indented under its heading.
    pub(crate) fn table(&mut self, table: &Table) -> Outcome {
        table.lines(self.style.width).into_iter().try_for_each(|line| self.line(line))
    }

    /// Bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Outcome {
        Ok(self.stdout.write_all(bytes)?)
    }

    /// The JSON document.
    pub(crate) fn json(&mut self, document: &impl serde::Serialize) -> Outcome {
        serde_json::to_writer_pretty(&mut self.stdout, document).map_err(io::Error::from)?;
        Ok(writeln!(self.stdout)?)
    }

    /// The end of a verb that has no result of its own.
    pub(crate) fn done(&mut self) -> Outcome {
        if self.json { self.json(&serde_json::json!({ "ok": true })) } else { Ok(()) }
    }

    /// A message for the person at the terminal.
    pub(crate) fn say(&mut self, message: &str) {
        // Whoever reads both streams reads them in order.
        let _ = self.stdout.flush();
        let _ = writeln!(io::stderr(), "{}", printable(message.trim_end_matches('\n')));
    }

    /// Bold on a terminal.
    pub(crate) fn bold(&self, text: impl fmt::Display) -> String {
        self.paint("1", text)
    }

    /// Faint on a terminal.
    pub(crate) fn dim(&self, text: impl fmt::Display) -> String {
        self.paint("2", text)
    }

    /// Writes what is buffered.
    pub(crate) fn finish(&mut self) -> Outcome {
        Ok(self.stdout.flush()?)
    }

    fn paint(&self, code: &str, text: impl fmt::Display) -> String {
        if self.style.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// Names come from files that may be hostile: control characters are spelt out, so that none of them moves the
/// cursor or sets the window's title. Line breaks, tabs and changes of colour are kept.
fn printable(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if harmless(c) || (c == '\x1b' && is_colour(text.get(at + 1..).unwrap_or_default())) {
            shown.push(c);
        } else {
            shown.extend(c.escape_default());
        }
    }
    Cow::Owned(shown)
}

/// What follows an ESC that changes a colour: `[`, numbers, `m`.
fn is_colour(rest: &str) -> bool {
    let numbers =
        rest.strip_prefix('[').map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';'));
    numbers.is_some_and(|end| end.starts_with('m'))
}

/// COLUMNS, else the terminal's width, else 100: a file or a pipe has no width of its own.
fn terminal_width() -> u16 {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let terminal = || terminal_size::terminal_size().map(|(width, _)| width.0);
    columns.or_else(terminal).unwrap_or(100).clamp(40, 400)
}

fn use_color(choice: ColorChoice, terminal: bool) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn names_cannot_drive_the_terminal() {
        assert_eq!(printable("\x1b]0;owned\x07 \r\x1b[2J"), "\\u{1b}]0;owned\\u{7} \\r\\u{1b}[2J");
        assert_eq!(printable("\x1b[1;91mred\x1b[0m\n\tü"), "\x1b[1;91mred\x1b[0m\n\tü");
    }
}
