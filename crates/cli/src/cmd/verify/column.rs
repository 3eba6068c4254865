//! The one table of columns: what each is called, where its value comes from, and how it is written.

use onebpf::{Report, Spec, Verdict};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;

/// A column of every output.
pub(super) struct Column {
    /// On the command line and over the table.
    pub(super) name: &'static str,
    /// In JSON and CSV.
    pub(super) key: &'static str,
    pub(super) kind: Kind,
    pub(super) shown: Shown,
    /// What it says, for `--help`.
    about: &'static str,
    of: fn(&Seen<'_>) -> Cell,
}

/// What is in a column's cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// `accepted` and its opposites; in JSON and CSV a boolean.
    Verdict,
    Count,
    /// Nanoseconds, shown as microseconds.
    Time,
}

/// When a table has the column without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Always,
    /// Not beside an earlier run: it differs from run to run, or says little there.
    Alone,
    OnDemand,
}

/// One value.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cell {
    #[default]
    None,
    Number(u64),
    Text(String),
}

/// What a row is made from.
pub(super) struct Seen<'a> {
    pub(super) file: &'a Path,
    pub(super) told: Told<'a>,
}

/// What the verifier said of a program, or why a file has none.
#[derive(Clone, Copy)]
pub(super) enum Told<'a> {
    Program(&'a Spec, &'a Verdict),
    Unreadable(&'a Report),
}

pub(super) const ACCEPTED: &str = "accepted";
pub(super) const REFUSED: &str = "refused";
pub(super) const UNREADABLE: &str = "unreadable";
/// It is in the earlier run only.
pub(super) const GONE: &str = "gone";

pub(super) const FILE: usize = 0;
pub(super) const PROGRAM: usize = 1;
pub(super) const VERDICT: usize = 2;
pub(super) const CODE: usize = 4;
pub(super) const MESSAGE: usize = 5;

/// Every column, in the order of JSON and CSV.
pub(super) const COLUMNS: &[Column] = &[
    Column {
        name: "file",
        key: "file",
        kind: Kind::Text,
        shown: Shown::Always,
        about: "the object file",
        of: |seen| Cell::Text(seen.file.to_string_lossy().into_owned()),
    },
    Column {
        name: "program",
        key: "name",
        kind: Kind::Text,
        shown: Shown::Always,
        about: "the program",
        of: |seen| seen.program(|_, verdict| Cell::Text(verdict.program.clone())),
    },
    Column {
        name: "verdict",
        key: "ok",
        kind: Kind::Verdict,
        shown: Shown::Always,
        about: "accepted, refused, unreadable (a file), gone (only in the earlier run)",
        of: |seen| Cell::Text(seen.word().to_owned()),
    },
    Column {
        name: "errno",
        key: "errno",
        kind: Kind::Count,
        shown: Shown::OnDemand,
        about: "the kernel's error number",
        of: |seen| Cell::number(seen.report().and_then(|report| report.errno).map(|errno| errno.0)),
    },
    Column {
        name: "code",
        key: "code",
        kind: Kind::Text,
        shown: Shown::OnDemand,
        about: "the code of the error, for `onebpf explain`",
        of: |seen| Cell::text(seen.report().map(|report| report.code)),
    },
    Column {
        name: "message",
        key: "message",
        kind: Kind::Text,
        shown: Shown::OnDemand,
        about: "why it is refused",
        of: |seen| Cell::text(seen.report().map(|report| report.message.as_str())),
    },
    Column {
        name: "section",
        key: "section",
        kind: Kind::Text,
        shown: Shown::OnDemand,
        about: "the section that holds it",
        of: |seen| seen.spec(|program| Cell::Text(program.section.clone())),
    },
    Column {
        name: "type",
        key: "type",
        kind: Kind::Text,
        shown: Shown::OnDemand,
        about: "program type",
        of: |seen| seen.spec(|program| Cell::Text(program.kind.to_string())),
    },
    Column {
        name: "attach",
        key: "attach_type",
        kind: Kind::Text,
        shown: Shown::OnDemand,
        about: "expected attach type",
        of: |seen| seen.spec(|p| Cell::text((p.attach.0 != 0).then(|| p.attach.to_string()).as_deref())),
    },
    Column {
        name: "target",
        key: "attach_target",
        kind: Kind::Text,
        shown: Shown::OnDemand,
        about: "what its section says that it attaches to",
        of: |seen| seen.spec(|program| Cell::text(program.attach_target.as_deref())),
    },
    Column {
        name: "insns",
        key: "insns_processed",
        kind: Kind::Count,
        shown: Shown::Always,
        about: "instructions that the verifier walked, on all paths",
        of: |seen| seen.count(|verdict| verdict.stats.insns_processed),
    },
    Column {
        name: "states",
        key: "total_states",
        kind: Kind::Count,
        shown: Shown::Always,
        about: "states that it kept",
        of: |seen| seen.count(|verdict| verdict.stats.total_states),
    },
    Column {
        name: "peak",
        key: "peak_states",
        kind: Kind::Count,
        shown: Shown::Alone,
        about: "the most states at one time",
        of: |seen| seen.count(|verdict| verdict.stats.peak_states),
    },
    Column {
        name: "most",
        key: "max_states_per_insn",
        kind: Kind::Count,
        shown: Shown::OnDemand,
        about: "the most states at one instruction",
        of: |seen| seen.count(|verdict| verdict.stats.max_states_per_insn),
    },
    Column {
        name: "marks",
        key: "mark_read",
        kind: Kind::Count,
        shown: Shown::OnDemand,
        about: "the longest walk back to mark what is read",
        of: |seen| seen.count(|verdict| verdict.stats.mark_read),
    },
    Column {
        name: "stack",
        key: "stack_depth",
        kind: Kind::Count,
        shown: Shown::Alone,
        about: "bytes of stack, all functions together",
        of: |seen| seen.count(|verdict| verdict.stats.stack_depth),
    },
    Column {
        name: "xlated",
        key: "xlated_bytes",
        kind: Kind::Count,
        shown: Shown::OnDemand,
        about: "bytes of instructions after the verifier has rewritten them",
        of: |seen| seen.info(|info| info.xlated_len),
    },
    Column {
        name: "jited",
        key: "jited_bytes",
        kind: Kind::Count,
        shown: Shown::OnDemand,
        about: "bytes of machine code, 0 if interpreted",
        of: |seen| seen.info(|info| info.jited_len),
    },
    Column {
        name: "time",
        key: "verification_ns",
        kind: Kind::Time,
        shown: Shown::Alone,
        about: "time in the verifier, in microseconds (JSON and CSV: nanoseconds)",
        of: |seen| seen.count(|verdict| verdict.stats.verification_ns),
    },
];

/// The column of that name, or of that key.
pub(super) fn find(name: &str) -> Option<usize> {
    COLUMNS.iter().position(|column| column.name == name || column.key == name)
}

/// What `--help` says of them.
pub(super) fn help() -> String {
    let mut text = String::from("Columns:\n");
    for column in COLUMNS {
        let _ = writeln!(text, "  {:<9}{}", column.name, column.about);
    }
    text
}

impl Column {
    pub(super) fn of(&self, seen: &Seen<'_>) -> Cell {
        (self.of)(seen)
    }

    /// In JSON.
    pub(super) fn json(&self, cell: &Cell) -> Value {
        match cell {
            Cell::Text(word) if self.kind == Kind::Verdict => Value::Bool(word == ACCEPTED),
            Cell::Text(text) => Value::String(text.clone()),
            Cell::Number(number) => Value::from(*number),
            Cell::None => Value::Null,
        }
    }

    /// What an earlier run said, in JSON.
    pub(super) fn read_json(&self, value: &Value) -> Cell {
        match self.kind {
            Kind::Verdict => {
                Cell::text(value.as_bool().map(|accepted| if accepted { ACCEPTED } else { REFUSED }))
            }
            Kind::Text => Cell::text(value.as_str()),
            Kind::Count | Kind::Time => Cell::number(value.as_u64()),
        }
    }

    /// The same in CSV.
    pub(super) fn read_csv(&self, field: &str) -> Cell {
        let value = match self.kind {
            Kind::Text if field.is_empty() => Value::Null,
            Kind::Text => Value::from(field),
            Kind::Verdict => field.parse::<bool>().map_or(Value::Null, Value::from),
            Kind::Count | Kind::Time => field.parse::<u64>().map_or(Value::Null, Value::from),
        };
        self.read_json(&value)
    }

    /// Over the table.
    pub(super) fn title(&self) -> String {
        if self.kind == Kind::Time { format!("{} us", self.name) } else { self.name.to_owned() }
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self.kind, Kind::Count | Kind::Time)
    }

    /// A number as the table shows it.
    pub(super) fn in_table(&self, number: u64) -> u64 {
        if self.kind == Kind::Time { number.div_ceil(1000) } else { number }
    }
}

impl Cell {
    fn text(text: Option<&str>) -> Self {
        text.map_or(Self::None, |text| Self::Text(text.to_owned()))
    }

    fn number<N: TryInto<u64>>(number: Option<N>) -> Self {
        number.and_then(|number| number.try_into().ok()).map_or(Self::None, Self::Number)
    }

    pub(super) fn as_number(&self) -> Option<u64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    pub(super) fn as_text(&self) -> &str {
        if let Self::Text(text) = self { text } else { "" }
    }
}

impl Seen<'_> {
    fn program(&self, of: impl FnOnce(&Spec, &Verdict) -> Cell) -> Cell {
        match self.told {
            Told::Program(spec, verdict) => of(spec, verdict),
            Told::Unreadable(_) => Cell::None,
        }
    }

    fn spec(&self, of: impl FnOnce(&onebpf::object::ProgramSpec) -> Cell) -> Cell {
        self.program(|spec, verdict| spec.programs.get(&verdict.program).map_or(Cell::None, of))
    }

    fn count(&self, of: impl FnOnce(&Verdict) -> u64) -> Cell {
        self.program(|_, verdict| Cell::Number(of(verdict)))
    }

    fn info(&self, of: impl FnOnce(&onebpf::sys::ProgInfo) -> u32) -> Cell {
        self.program(|_, verdict| Cell::number(verdict.info.as_ref().map(of)))
    }

    fn report(&self) -> Option<&Report> {
        match self.told {
            Told::Program(_, verdict) => verdict.result.as_ref().err().map(onebpf::Error::report),
            Told::Unreadable(report) => Some(report),
        }
    }

    fn word(&self) -> &'static str {
        match self.told {
            Told::Program(_, verdict) if verdict.result.is_ok() => ACCEPTED,
            Told::Program(..) => REFUSED,
            Told::Unreadable(_) => UNREADABLE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_keys_are_distinct_and_places_are_right() {
        for (at, column) in COLUMNS.iter().enumerate() {
            assert_eq!((find(column.name), find(column.key)), (Some(at), Some(at)), "{}", column.name);
        }
        let named = [FILE, PROGRAM, VERDICT, CODE, MESSAGE].map(|at| COLUMNS[at].name);
        assert_eq!(named, ["file", "program", "verdict", "code", "message"]);
    }
}
