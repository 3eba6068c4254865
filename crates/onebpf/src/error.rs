//! What can go wrong between an object and a running program.

use onebpf_object::Place;
use onebpf_sys::Errno;
use std::fmt;

/// An outcome.
pub type Result<T> = std::result::Result<T, Error>;

/// Every code that an [`Error`] born in this crate can have, with its title. Errors of an object (`E01xx`) and
/// of BTF (`E02xx`) keep their own codes.
pub const CODES: &[(&str, &str)] = &[
    ("E0301", "the object has no such program, section or map"),
    ("E0302", "program without a type"),
    ("E0303", "program replaces a function, and nothing says of which program"),
    ("E0304", "map of a kind that cannot be created"),
    ("E0305", "pinned map is not what the object declares"),
    ("E0306", "pin path is taken, unreadable or not on a BPF filesystem"),
    ("E0307", "map cannot be pinned as the object asks"),
    ("E0308", "kernel has no such function or type to attach to"),
    ("E0309", "kernel lacks something that the object needs"),
    ("E0310", "contents do not fit their map"),
    ("E0311", "object is for the other byte order"),
    ("E0312", "saved facts are damaged"),
    ("E0313", "file cannot be read"),
    ("E0314", "inner map does not fit its outer map"),
    ("E0315", "entries of a pinned map cannot be migrated"),
    ("E0316", "there is no kernel BTF to relocate against"),
    ("E0317", "kernel's configuration cannot be read, or lacks an option"),
    ("E0318", "value of the kernel's configuration does not fit its variable"),
    ("E0319", "kernel has no such function, variable or symbol"),
    ("E0320", "function or variable of the kernel has another type"),
    ("E0330", "table of functions (struct_ops) does not fit the kernel"),
    ("E0331", "program to attach to has no such function"),
    ("E0401", "kernel refused the object's BTF"),
    ("E0402", "kernel refused to create a map"),
    ("E0403", "verifier rejected a program"),
    ("E0404", "kernel refused to load a program"),
    ("E0405", "kernel refused to fill or freeze a map"),
    ("E0406", "kernel refused to pin"),
    ("E0407", "pinned map changed while loading"),
    ("E0408", "host cannot be observed"),
    ("E0409", "map operation failed"),
    ("E0410", "test run failed"),
    ("E0411", "there is no such object in the kernel"),
    ("E0412", "plan is not consistent"),
    ("E0413", "migration would lose something"),
    ("E0414", "remains of an interrupted load are in the way"),
    ("E0415", "state directory cannot be used"),
    ("E0416", "interrupted load can be neither finished nor undone"),
    ("E0417", "there is nothing to go back to"),
    ("E0418", "another load has the lock"),
    ("E0419", "BPF token was not made"),
];

/// Every code that a warning of a plan can have, with its title.
pub const WARNINGS: &[(&str, &str)] = &[
    ("W0301", "slot that stays empty"),
    ("W0302", "slot that is left as it is"),
    ("W0303", "pinning with a number that nothing explains"),
    ("W0304", "line of iproute2's database that means nothing"),
    ("W0305", "remains that could not be cleaned up"),
    ("W0306", "iproute2's tree could not be made"),
];

/// The codes, as they are used inside the crate: the index of a row in [`CODES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    NoProgram,
    Untyped,
    Untargeted,
    MapKind,
    PinMismatch,
    PinPath,
    PinScope,
    NoTarget,
    Lacking,
    Contents,
    Endian,
    Facts,
    File,
    Inner,
    Migration,
    NoTypes,
    Config,
    ConfigValue,
    NoSymbol,
    SymbolType,
    Table,
    TargetFunction,
    BtfLoad,
    MapCreate,
    Verifier,
    ProgLoad,
    MapFill,
    Pin,
    PinChanged,
    Observe,
    MapOp,
    TestRun,
    NoObject,
    Plan,
    Loss,
    Leftover,
    State,
    Interrupted,
    Rollback,
    Locked,
    Token,
}

/// Why an object was not read, planned or loaded. Its kind is private; [`Error::report`] tells all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    report: Report,
    retry: Retry,
}

/// What `load` may do about an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Plan again if features were assumed, and apply the new plan if it differs.
    #[default]
    IfPlanDiffers,
    /// The step has a fallback, which the plan allows once nothing is assumed.
    WithFallbacks,
    /// A pin came or went since the host was observed.
    ObserveAgain,
}

/// An error as plain data, for whoever renders it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// `E0301`: explained by `onebpf explain E0301`.
    pub code: &'static str,
    /// One line: what went wrong, with names.
    pub message: String,
    /// Where in the object.
    pub place: Place,
    /// What the kernel said, if it was asked.
    pub errno: Option<Errno>,
    /// More to know: the other reading, the field-by-field difference.
    pub notes: Vec<String>,
    /// What to do about it.
    pub hints: Vec<String>,
    /// The verifier's log, whole.
    pub log: Option<String>,
    /// The part of it that says why: the last complaint and the instruction it is about.
    pub log_tail: Vec<String>,
}

impl Error {
    /// All that is known of it.
    pub fn report(&self) -> &Report {
        &self.0.report
    }

    /// Its code, e.g. `E0301`; the title is in [`CODES`] or in that of the crate it came from.
    pub fn code(&self) -> &'static str {
        self.0.report.code
    }

    /// What the kernel said, if it was asked.
    pub fn errno(&self) -> Option<Errno> {
        self.0.report.errno
    }

    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        let code = CODES.get(code as usize).map_or("E0412", |row| row.0);
        Self::from_report(Report { code, message: message.into(), ..Report::default() })
    }

    /// A refused kernel operation: the message is followed by what the kernel said.
    pub(crate) fn refused(code: Code, what: impl fmt::Display, error: onebpf_sys::Error) -> Self {
        let mut new = Self::new(code, format!("{what}: {error}"));
        new.0.report.errno = Some(error.errno);
        new
    }

    #[must_use]
    pub(crate) fn at(mut self, place: &Place) -> Self {
        self.0.report.place = place.clone();
        self
    }

    #[must_use]
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.0.report.notes.push(note.into());
        self
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.report.hints.push(hint.into());
        self
    }

    /// The report, to fill in what a builder method would not say better.
    pub(crate) fn report_mut(&mut self) -> &mut Report {
        &mut self.0.report
    }

    #[must_use]
    pub(crate) fn retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    pub(crate) fn how_to_retry(&self) -> Retry {
        self.0.retry
    }

    fn from_report(report: Report) -> Self {
        Self(Box::new(Inner { report, retry: Retry::default() }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.report.code, self.0.report.message)
    }
}

impl std::error::Error for Error {}

impl From<onebpf_object::Error> for Error {
    fn from(error: onebpf_object::Error) -> Self {
        Self::from_report(Report {
            code: error.code(),
            message: error.to_string(),
            place: error.place().clone(),
            notes: error.notes().to_vec(),
            hints: error.hints(),
            ..Report::default()
        })
    }
}

impl From<onebpf_btf::Error> for Error {
    fn from(error: onebpf_btf::Error) -> Self {
        let place = Place { btf_type: error.place().type_id, ..Place::default() };
        Self::from_report(Report {
            code: error.code(),
            message: error.to_string(),
            place,
            ..Report::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_rows_agree() {
        assert_eq!(Error::new(Code::NoProgram, "").code(), "E0301");
        assert_eq!(Error::new(Code::BtfLoad, "").code(), "E0401");
        assert_eq!(Error::new(Code::Plan, "").code(), "E0412");
        assert_eq!(Error::new(Code::Token, "").code(), CODES[CODES.len() - 1].0);
        assert!(CODES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
