//! Rows, and the run that they are of: made from verdicts, or read from an earlier run.

use super::column::{COLUMNS, Cell, FILE, GONE, Kind, PROGRAM, Seen, Told, UNREADABLE, VERDICT};
use crate::exit::{Failure, Outcome};
use crate::load_args::cannot_read;
use crate::report::ErrorJson;
use onebpf::object::SourceLine;
use onebpf::{Report, Spec, Verdict};
use serde_json::Value;
use std::path::Path;

/// A program, or a file that cannot be read.
#[derive(Clone, Default)]
pub(super) struct Record {
    /// One for each column.
    pub(super) cells: Vec<Cell>,
    /// What the earlier run said.
    pub(super) before: Option<Vec<Cell>>,
    /// What the refusal says in full.
    pub(super) report: Option<Box<Report>>,
    pub(super) log: Option<String>,
    /// The lines that the verifier walked most.
    pub(super) lines: Vec<(SourceLine, u64)>,
}

/// A file and its programs.
#[derive(Default)]
pub(super) struct Object {
    pub(super) file: String,
    /// Why it cannot be read, as JSON, and as a row.
    pub(super) error: Option<(Value, Record)>,
    pub(super) programs: Vec<Record>,
}

/// All that was verified.
#[derive(Default)]
pub(super) struct Run {
    pub(super) objects: Vec<Object>,
    /// Programs of the earlier run that are no more.
    pub(super) gone: Vec<Record>,
}

impl Record {
    pub(super) fn of_program(file: &Path, spec: &Spec, verdict: &Verdict) -> Self {
        let report = verdict.result.as_ref().err().map(|error| Box::new(error.report().clone()));
        Self { report, ..Self::new(file, Told::Program(spec, verdict)) }
    }

    fn new(file: &Path, told: Told<'_>) -> Self {
        let seen = Seen { file, told };
        Self { cells: COLUMNS.iter().map(|column| column.of(&seen)).collect(), ..Self::default() }
    }

    /// Nothing but what `read` finds for a column.
    fn read(read: impl Fn(usize) -> Cell) -> Self {
        Self { cells: (0..COLUMNS.len()).map(read).collect(), ..Self::default() }
    }

    pub(super) fn cell(&self, column: usize) -> &Cell {
        self.cells.get(column).unwrap_or(&Cell::None)
    }

    pub(super) fn before(&self, column: usize) -> &Cell {
        self.before.as_ref().and_then(|before| before.get(column)).unwrap_or(&Cell::None)
    }

    fn set(&mut self, column: usize, word: &str) {
        if let Some(cell) = self.cells.get_mut(column) {
            *cell = Cell::Text(word.to_owned());
        }
    }

    /// Whether it is new or gone, or verdict or a count differ from before. Times always do.
    pub(super) fn is_changed(&self) -> bool {
        let differs = |at: usize| self.change(at).is_some_and(|change| change.difference != 0);
        let counts =
            || (0..COLUMNS.len()).filter(|at| COLUMNS.get(*at).is_some_and(|c| c.kind == Kind::Count));
        self.before(VERDICT) != self.cell(VERDICT) || counts().any(differs)
    }

    /// By how much a number differs from before.
    pub(super) fn change(&self, column: usize) -> Option<Change> {
        let (now, before) = self.cell(column).as_number().zip(self.before(column).as_number())?;
        let difference = i128::from(now) - i128::from(before);
        let percent =
            if difference == 0 { Some(0) } else { (difference * 10_000).checked_div(before.into()) };
        Some(Change { difference, percent })
    }
}

/// A difference.
#[derive(Clone, Copy)]
pub(super) struct Change {
    pub(super) difference: i128,
    /// In hundredths of a percent of what it was; nothing if that was 0.
    pub(super) percent: Option<i128>,
}

impl Change {
    /// The percentage with a sign and two decimals, or one.
    pub(super) fn percent(self, decimals: usize) -> Option<String> {
        let percent = self.percent?;
        let (sign, size) = (if percent < 0 { '-' } else { '+' }, percent.unsigned_abs());
        let digits = format!("{:02}", size % 100);
        Some(format!("{sign}{}.{}", size / 100, digits.get(..decimals).unwrap_or(&digits)))
    }
}

impl Object {
    pub(super) fn unreadable(file: &Path, report: Box<Report>) -> Self {
        let row = Record::new(file, Told::Unreadable(&report));
        let error = serde_json::to_value(ErrorJson::from(&*report)).unwrap_or_default();
        let row = Record { report: Some(report), ..row };
        Self { file: file.to_string_lossy().into_owned(), error: Some((error, row)), programs: Vec::new() }
    }
}

impl Run {
    /// Every row: the unreadable file's, then those of programs, then what is gone.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Record> {
        fn of(object: &Object) -> impl Iterator<Item = &Record> {
            object.error.as_ref().map(|(_, row)| row).into_iter().chain(&object.programs)
        }
        self.objects.iter().flat_map(of).chain(&self.gone)
    }

    /// Keeps the rows that fit.
    pub(super) fn retain(&mut self, fits: impl Fn(&Record) -> bool) {
        self.objects.retain_mut(|object| {
            let rows = usize::from(object.error.is_some()) + object.programs.len();
            object.programs.retain(&fits);
            object.error = object.error.take().filter(|(_, row)| fits(row));
            // An object without programs is an object nevertheless.
            rows == 0 || object.error.is_some() || !object.programs.is_empty()
        });
        self.gone.retain(&fits);
    }

    /// Puts beside each program what an earlier run said of it. What was there of the same files and is no more is gone,
    /// unless only some programs were asked for.
    pub(super) fn compare(&mut self, earlier: &Run, whole: bool) {
        for object in &mut self.objects {
            let Some(before) = earlier.of_file(&object.file) else { continue };
            if let Some(((_, now), (_, then))) = object.error.as_mut().zip(before.error.as_ref()) {
                now.before = Some(then.cells.clone());
            }
            for program in &mut object.programs {
                let same = |row: &&Record| row.cell(PROGRAM) == program.cell(PROGRAM);
                program.before = before.programs.iter().find(same).map(|row| row.cells.clone());
            }
            let left = |row: &&Record| object.programs.iter().all(|p| p.cell(PROGRAM) != row.cell(PROGRAM));
            for row in before.programs.iter().filter(left).filter(|_| whole && object.error.is_none()) {
                let known = [FILE, PROGRAM];
                let mut gone =
                    Record::read(|at| if known.contains(&at) { row.cell(at).clone() } else { Cell::None });
                gone.set(VERDICT, GONE);
                gone.before = Some(row.cells.clone());
                self.gone.push(gone);
            }
        }
    }

    /// The file of that path; else the only one of that name, wherever it was.
    fn of_file(&self, file: &str) -> Option<&Object> {
        let name = |file: &str| Path::new(file).file_name().map(std::ffi::OsStr::to_owned);
        let exact = self.objects.iter().find(|object| object.file == file);
        let mut named = self.objects.iter().filter(|object| name(&object.file) == name(file));
        exact.or_else(|| named.next().filter(|_| named.next().is_none()))
    }
}

/// Reads a saved run: the JSON document or the CSV.
pub(super) fn read(path: &Path) -> Outcome<Run> {
    let bytes = std::fs::read(path).map_err(|error| cannot_read(path, &error))?;
    let text = String::from_utf8_lossy(&bytes);
    let run = if text.trim_start().starts_with('{') { from_json(&text) } else { from_csv(&text) };
    run.map_err(|why| {
        Failure::new(
            "E0903",
            format!("`{}` is neither the JSON nor the CSV of `onebpf verify`: {why}", path.display()),
        )
        .hint("save one with `onebpf verify --json FILE... > before.json`")
    })
}

fn from_json(text: &str) -> Result<Run, String> {
    let document: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let objects = document["objects"].as_array().ok_or("it has no list `objects`")?;
    let read = |object: &Value| {
        let file = object["file"].as_str().ok_or("an object has no `file`")?;
        let row = |from: &Value, skip: &[usize]| {
            Record::read(|at| match COLUMNS.get(at) {
                _ if at == FILE => Cell::Text(file.to_owned()),
                Some(column) if !skip.contains(&at) => column.read_json(&from[column.key]),
                _ => Cell::None,
            })
        };
        let error = Some(&object["error"]).filter(|error| error.is_object()).map(|error| {
            let mut row = row(error, &[PROGRAM]);
            row.set(VERDICT, UNREADABLE);
            (error.clone(), row)
        });
        let programs = object["programs"].as_array().map_or(&[][..], Vec::as_slice);
        if programs
            .iter()
            .any(|program| program["name"].as_str().is_none() || program["ok"].as_bool().is_none())
        {
            return Err("a program has no `name` or no `ok`");
        }
        let programs = programs.iter().map(|program| row(program, &[])).collect();
        Ok(Object { file: file.to_owned(), error, programs })
    };
    let objects = objects.iter().map(read).collect::<Result<_, &str>>()?;
    Ok(Run { objects, gone: Vec::new() })
}

fn from_csv(text: &str) -> Result<Run, String> {
    let mut rows = csv(text).into_iter();
    let header = rows.next().unwrap_or_default();
    let place = |key: &str| header.iter().position(|name| name == key);
    let places: Vec<Option<usize>> = COLUMNS.iter().map(|column| place(column.key)).collect();
    if [FILE, PROGRAM, VERDICT].iter().any(|at| places.get(*at).is_none_or(Option::is_none)) {
        return Err("its first line does not name the columns".to_owned());
    }
    let mut run = Run::default();
    for fields in rows {
        let field = |at: usize| places.get(at).copied().flatten().and_then(|place| fields.get(place));
        let cell = |at: usize| COLUMNS.get(at).zip(field(at)).map(|(column, field)| column.read_csv(field));
        let mut row = Record::read(|at| cell(at).unwrap_or_default());
        let file = row.cell(FILE).as_text().to_owned();
        if run.objects.last().is_none_or(|object| object.file != file) {
            run.objects.push(Object { file, ..Object::default() });
        }
        let Some(object) = run.objects.last_mut() else { continue };
        if *row.cell(PROGRAM) == Cell::None {
            row.set(VERDICT, UNREADABLE);
            let of = |at: usize| row.cell(at).as_text().to_owned();
            let error =
                serde_json::json!({ "code": of(super::column::CODE), "message": of(super::column::MESSAGE) });
            object.error = Some((error, row));
        } else {
            object.programs.push(row);
        }
    }
    Ok(run)
}

/// RFC 4180: fields with commas, quotes and line breaks are quoted. Anything can be read; blank lines are nothing.
fn csv(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut quoted, mut characters) = (false, text.chars().peekable());
    let mut end = |row: &mut Vec<String>, field: &mut String| {
        row.push(std::mem::take(field));
        let row = std::mem::take(row);
        if row.iter().any(|field| !field.is_empty()) {
            rows.push(row);
        }
    };
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => field.extend(characters.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut field)),
            '\r' if !quoted && characters.peek() == Some(&'\n') => {}
            '\n' if !quoted => end(&mut row, &mut field),
            other => field.push(other),
        }
    }
    end(&mut row, &mut field);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_fields_are_read() {
        assert_eq!(csv("a,\"b,\"\"c\"\"\nd\",\r\n\n,e"), [vec!["a", "b,\"c\"\nd", ""], vec!["", "e"]]);
        assert!(csv("").is_empty() && csv("\n\n").is_empty());
        assert_eq!(csv("\"open"), [["open"]]);
    }

    #[test]
    fn odd_files_are_refused_without_harm() {
        for text in ["", "a,b", "file,name", "\0\u{1}", "\"", "file,name,ok\n,,,,,\nx,y"] {
            let _ = from_csv(text);
        }
        for text in ["{", "{}", "{\"objects\":[1]}", "{\"objects\":[{\"file\":\"x\",\"programs\":[{}]}]}"] {
            assert!(from_json(text).is_err(), "{text}");
        }
        assert!(from_csv("file,name\nx,y").is_err());
    }

    #[test]
    fn files_are_found_by_path_and_then_by_name() {
        let object = |file: &str| Object { file: file.to_owned(), ..Object::default() };
        let run = Run { objects: ["a/x.o", "b/x.o", "b/y.o"].map(object).into(), gone: Vec::new() };
        let found = |file: &str| run.of_file(file).map(|object| object.file.as_str());
        assert_eq!([found("b/x.o"), found("x.o"), found("c/y.o")], [Some("b/x.o"), None, Some("b/y.o")]);
    }
}
