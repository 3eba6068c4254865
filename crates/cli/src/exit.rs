//! What a verb comes to: done, or why not.

use onebpf::Report;
use std::path::{Path, PathBuf};

/// A verb's outcome.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Why a verb did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was asked for something that makes no sense: exit status 2.
    Usage(String),
    /// It failed: exit status 1.
    Failed {
        /// What went wrong.
        report: Box<Report>,
        /// The object file that it is about.
        file: Option<PathBuf>,
        /// The JSON document already holds it.
        told: bool,
    },
    /// The result, already printed, is a refusal: exit status 1, no more words.
    Refused,
    /// Whoever read standard output has gone: nothing is wrong.
    Closed,
}

impl Failure {
    /// An error of the command itself.
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self::from(Report { code, message: message.into(), ..Report::default() })
    }

    /// The same failure with advice.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Failed { report, .. } = &mut self {
            report.hints.push(hint.into());
        }
        self
    }

    /// The same failure, about an object file.
    #[must_use]
    pub(crate) fn about(mut self, path: &Path) -> Self {
        if let Self::Failed { file, .. } = &mut self {
            file.get_or_insert_with(|| path.to_owned());
        }
        self
    }

    /// The same failure, already part of the JSON document.
    #[must_use]
    pub(crate) fn told(mut self) -> Self {
        if let Self::Failed { told, .. } = &mut self {
            *told = true;
        }
        self
    }
}

impl From<Report> for Failure {
    fn from(report: Report) -> Self {
        Self::Failed { report: Box::new(report), file: None, told: false }
    }
}

impl From<onebpf::Error> for Failure {
    fn from(error: onebpf::Error) -> Self {
        Self::from(error.report().clone())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::Closed;
        }
        Self::new("E0901", format!("standard output cannot be written: {error}"))
    }
}
