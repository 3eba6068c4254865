//! Verdicts for people, for spreadsheets and for programs: all from the table of columns.

use super::column::{
    ACCEPTED, COLUMNS, Cell, FILE, GONE, Kind, MESSAGE, PROGRAM, REFUSED, Shown, UNREADABLE, VERDICT,
};
use super::record::{Object, Record, Run};
use crate::exit::Outcome;
use crate::out::Out;
use crate::render;
use crate::table::Table;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::path::Path;

/// How to print.
pub(super) struct Look {
    /// Columns that were asked for; the usual ones if none was.
    pub(super) columns: Vec<usize>,
    /// Beside an earlier run.
    pub(super) compared: bool,
    /// Logs were asked for.
    pub(super) logs: bool,
    /// Nobody was verified: an earlier run is shown.
    pub(super) replayed: bool,
}

impl Look {
    fn columns(&self) -> Vec<usize> {
        let usual = |at: &usize| match COLUMNS.get(*at).map(|column| column.shown) {
            Some(Shown::Always) => true,
            Some(Shown::Alone) => !self.compared,
            _ => false,
        };
        if self.columns.is_empty() {
            (0..COLUMNS.len()).filter(usual).collect()
        } else {
            self.columns.clone()
        }
    }
}

/// A row for each program, the refusals rendered, and a summary.
pub(super) fn table(run: &Run, rows: &[&Record], look: &Look, out: &mut Out) -> Outcome {
    let columns = look.columns();
    let several =
        rows.iter().any(|row| row.cell(FILE) != rows.first().map_or(&Cell::None, |row| row.cell(FILE)));
    let headers: Vec<String> = columns.iter().flat_map(|at| headers(*at, look.compared)).collect();
    let mut table = Table::new(&headers.iter().map(String::as_str).collect::<Vec<_>>());
    for row in rows {
        let cells = |at: &usize| match *at {
            FILE if !several && look.columns.is_empty() => vec![String::new()],
            FILE if look.columns.is_empty() => vec![file_name(row)],
            at => cells(row, at, look.compared),
        };
        table.row(columns.iter().flat_map(cells));
    }
    if !table.is_empty() {
        out.table(&table)?;
    }
    for row in rows {
        lines(row, out)?;
        if let Some(log) = row.log.as_ref().filter(|_| look.logs) {
            out.heading(format_args!("{}: {}: log", file_name(row), row.cell(PROGRAM).as_text()))?;
            out.line(log.trim_end())?;
        }
    }
    out.finish()?;
    if !look.replayed {
        complaints(rows, out);
    }
    summary(run, look.compared, out);
    Ok(())
}

/// One header, or two where numbers are compared. What is in the table's headers: `>` numbers, `~` text to wrap.
fn headers(at: usize, compared: bool) -> Vec<String> {
    let Some(column) = COLUMNS.get(at) else { return Vec::new() };
    match column.kind {
        Kind::Count | Kind::Time if compared => {
            vec![format!(">{}", column.title()), ">change".to_owned()]
        }
        Kind::Count | Kind::Time => vec![format!(">{}", column.title())],
        Kind::Verdict if compared => vec![column.title(), "before".to_owned()],
        _ if at == MESSAGE => vec![format!("~{}", column.title())],
        _ => vec![column.title()],
    }
}

fn cells(row: &Record, at: usize, compared: bool) -> Vec<String> {
    let Some(column) = COLUMNS.get(at) else { return Vec::new() };
    let number = |cell: &Cell| cell.as_number().map(|n| column.in_table(n).to_string()).unwrap_or_default();
    if column.is_number() {
        let now = number(row.cell(at));
        return if compared { vec![now, change(row, at)] } else { vec![now] };
    }
    let (now, before) = (row.cell(at).as_text(), row.before(at).as_text());
    if at == VERDICT && compared {
        let before = match before {
            "" => "new",
            before if before == now => "",
            before => before,
        };
        return vec![now.to_owned(), before.to_owned()];
    }
    vec![now.to_owned()]
}

/// `+34 +2.8%`, `=`.
fn change(row: &Record, at: usize) -> String {
    let Some((column, change)) = COLUMNS.get(at).zip(row.change(at)) else { return String::new() };
    if change.difference == 0 {
        return "=".to_owned();
    }
    let sign = if change.difference < 0 { '-' } else { '+' };
    let size = column.in_table(u64::try_from(change.difference.unsigned_abs()).unwrap_or(u64::MAX));
    let percent = change.percent(1).map(|percent| format!(" {percent}%")).unwrap_or_default();
    format!("{sign}{size}{percent}")
}

fn file_name(row: &Record) -> String {
    let file = row.cell(FILE).as_text();
    Path::new(file).file_name().map_or_else(|| file.to_owned(), |name| name.to_string_lossy().into_owned())
}

/// The lines of C that the verifier walked most.
fn lines(row: &Record, out: &mut Out) -> Outcome {
    if row.lines.is_empty() {
        return Ok(());
    }
    let all =
        row.cell(super::column::find("insns").unwrap_or_default()).as_number().unwrap_or_default().max(1);
    let mut table = Table::new(&[">insns", ">share", "line", "~source"]);
    for (line, count) in &row.lines {
        let file = Path::new(&line.file)
            .file_name()
            .map_or_else(|| line.file.clone(), |name| name.to_string_lossy().into_owned());
        table.row([
            count.to_string(),
            share(*count, all),
            format!("{file}:{}", line.line),
            line.text.trim().to_owned(),
        ]);
    }
    out.heading(format_args!(
        "{}: {}: lines that the verifier walked most",
        file_name(row),
        row.cell(PROGRAM).as_text()
    ))?;
    out.table(&table)
}

/// `12.5%`.
fn share(part: u64, all: u64) -> String {
    let thousandths = part.saturating_mul(1000) / all;
    format!("{}.{}%", thousandths / 10, thousandths % 10)
}

/// A few refusals are told in full, many in a line each.
fn complaints(rows: &[&Record], out: &mut Out) {
    const FEW: usize = 4;
    let told: Vec<(&Record, &onebpf::Report)> =
        rows.iter().filter_map(|row| Some((*row, row.report.as_deref()?))).collect();
    let in_full = out.verbose || told.len() <= FEW;
    for (row, report) in told {
        let file = row.cell(FILE).as_text();
        let text = if in_full {
            format!("\n{}", render::report(report, Some(Path::new(file)), out.message_style()))
        } else {
            format!("error[{}]: {file}: {}", report.code, report.message)
        };
        out.say(&text);
    }
}

fn summary(run: &Run, compared: bool, out: &mut Out) {
    let count = |fits: &dyn Fn(&Record) -> bool| run.rows().filter(|row| fits(row)).count();
    let said = |word: &'static str| count(&|row| row.cell(VERDICT).as_text() == word);
    let plural = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let mut parts = vec![format!("{} accepted", plural(said(ACCEPTED), "program"))];
    let mut more = |number: usize, text: String| {
        if number > 0 {
            parts.push(text);
        }
    };
    let (refused, unread, gone) = (said(REFUSED), said(UNREADABLE), said(GONE));
    more(refused, format!("{refused} refused"));
    more(unread, format!("{} could not be loaded", plural(unread, "file")));
    if compared {
        let new = count(&|row| row.before.is_none() && *row.cell(PROGRAM) != Cell::None);
        let changed = count(&|row| row.is_changed() && row.before.is_some()) - gone;
        more(changed, format!("{changed} changed"));
        more(new, format!("{new} new"));
        more(gone, format!("{gone} gone"));
        more(usize::from(changed + new + gone == 0), "nothing changed".to_owned());
    }
    out.say(&parts.join(", "));
}

/// One line for each row, for spreadsheets.
pub(super) fn csv(rows: &[&Record], look: &Look, out: &mut Out) -> Outcome {
    let columns = if look.columns.is_empty() { (0..COLUMNS.len()).collect() } else { look.columns.clone() };
    let of = |at: &usize| COLUMNS.get(*at).map(|column| (*at, column));
    let columns: Vec<_> = columns.iter().filter_map(of).collect();
    let title = |key: &str| {
        let compared = |end: &str| format!("{key}_{end}");
        [key.to_owned()].into_iter().chain(["before", "diff", "pct"].map(compared)).collect::<Vec<_>>()
    };
    let width = |at: usize| match COLUMNS.get(at) {
        Some(column) if look.compared && column.is_number() => 4,
        _ if look.compared && at == VERDICT => 2,
        _ => 1,
    };
    let header = columns.iter().flat_map(|(at, column)| title(column.key).into_iter().take(width(*at)));
    out.line(header.collect::<Vec<_>>().join(","))?;
    for row in rows {
        let fields = columns.iter().flat_map(|(at, column)| {
            let field = |cell: &Cell| match cell {
                Cell::None => String::new(),
                cell => match column.json(cell) {
                    serde_json::Value::String(text) => quoted(&text),
                    other => other.to_string(),
                },
            };
            let change = row.change(*at);
            let difference = change.map(|change| change.difference.to_string()).unwrap_or_default();
            let percent = change.and_then(|change| change.percent(2)).unwrap_or_default();
            [field(row.cell(*at)), field(row.before(*at)), difference, percent].into_iter().take(width(*at))
        });
        out.line(fields.collect::<Vec<_>>().join(","))?;
    }
    Ok(())
}

/// RFC 4180: quotes where a comma, quote or line break would be misread.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// The document of `verify --json`.
impl Serialize for Run {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("objects", &self.objects)?;
        if !self.gone.is_empty() {
            map.serialize_entry("gone", &self.gone)?;
        }
        map.end()
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("file", &self.file)?;
        map.serialize_entry("error", &self.error.as_ref().map(|(error, _)| error))?;
        map.serialize_entry("programs", &self.programs)?;
        map.end()
    }
}

/// The columns; `before`, and the `change` of each number; what else was asked for.
impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let gone = self.cell(VERDICT).as_text() == GONE;
        let mut map = serializer.serialize_map(None)?;
        for (at, column) in COLUMNS.iter().enumerate() {
            // The object has the file; of what is gone there are the names.
            if if gone { at == FILE || at == PROGRAM } else { at != FILE } {
                map.serialize_entry(column.key, &column.json(self.cell(at)))?;
            }
        }
        if self.before.is_some() {
            let compared = COLUMNS.iter().enumerate().filter(|(_, column)| column.kind != Kind::Text);
            let before = compared.clone().map(|(at, column)| (column.key, column.json(self.before(at))));
            map.serialize_entry("before", &Pairs(before.collect()))?;
            let change = compared.filter_map(|(at, column)| {
                let change = self.change(at)?;
                let percent = change.percent(2).and_then(|percent| percent.parse::<f64>().ok());
                let difference = i64::try_from(change.difference).ok();
                Some((column.key, serde_json::json!({ "diff": difference, "pct": percent })))
            });
            map.serialize_entry("change", &Pairs(change.collect()))?;
        }
        if let Some(log) = &self.log {
            map.serialize_entry("log", log)?;
        }
        if !self.lines.is_empty() {
            let line = |(line, insns): &(onebpf::object::SourceLine, u64)| serde_json::json!({ "file": line.file, "line": line.line, "text": line.text, "insns": insns });
            map.serialize_entry("source_lines", &self.lines.iter().map(line).collect::<Vec<_>>())?;
        }
        map.end()
    }
}

/// A map in the order of the columns.
struct Pairs(Vec<(&'static str, serde_json::Value)>);

impl Serialize for Pairs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}
