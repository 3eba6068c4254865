//! What can go wrong between an object and a running program.

use onebpf_object::Place;
use onebpf_sys::Errno;

/// An outcome.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an object was not read, planned or loaded. Its kind is private; [`Error::report`] tells all.
#[derive(Debug)]
pub struct Error(#[allow(dead_code, reason = "the engine fills this in")] Box<Report>);

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
