//! Errors as data: one shape, whichever crate they come from.

use onebpf::Report;
use onebpf::sys::Errno;

/// An error in JSON: the object that `load --json` and every failed `--json` run hold.
#[derive(Debug, serde::Serialize)]
pub(crate) struct ErrorJson {
    code: &'static str,
    message: String,
    place: Option<String>,
    errno: Option<Errno>,
    hints: Vec<String>,
    log: Option<String>,
    notes: Vec<String>,
    source: Option<SourceJson>,
}

#[derive(Debug, serde::Serialize)]
struct SourceJson {
    file: String,
    line: u32,
    column: u32,
    text: String,
}

impl From<&Report> for ErrorJson {
    fn from(report: &Report) -> Self {
        let place = report.place.to_string();
        Self {
            code: report.code,
            message: report.message.clone(),
            place: Some(place).filter(|place| !place.is_empty()),
            errno: report.errno,
            hints: report.hints.clone(),
            log: report.log.clone(),
            notes: report.notes.clone(),
            source: report.place.source.as_ref().map(|source| SourceJson {
                file: source.file.clone(),
                line: source.line,
                column: source.column,
                text: source.text.clone(),
            }),
        }
    }
}

/// An error of the reader, as a report.
pub(crate) fn of_object(error: &onebpf::object::Error) -> Report {
    Report {
        code: error.code(),
        message: error.to_string(),
        place: error.place().clone(),
        notes: error.notes().to_vec(),
        hints: error.hints(),
        ..Report::default()
    }
}

/// An error of BTF, as a report.
pub(crate) fn of_btf(error: &onebpf::btf::Error) -> Report {
    Report { code: error.code(), message: error.to_string(), ..Report::default() }
}

/// A refused kernel operation, as a report.
pub(crate) fn of_kernel(code: &'static str, what: &str, error: onebpf::sys::Error) -> Report {
    Report { code, message: format!("{what}: {error}"), errno: Some(error.errno), ..Report::default() }
}
