//! Where a program comes from: `obj FILE sec NAME ...`, `pinned PATH`.

use super::hook::Hook;
use super::words::{Words, matches, once, usage};
use crate::exit::Outcome;
use std::path::{Path, PathBuf};

/// The variable that stands for `export SOCKET`.
pub(crate) const EXPORT_VARIABLE: &str = "TC_BPF_UDS";

/// Where a program comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// An object file, which is loaded.
    Object(ObjectSource),
    /// A program that is in the kernel: a path, or `m:` and a path under the folder of its hook.
    Pinned(String),
}

/// `obj FILE [sec NAME] [program NAME] [export SOCKET] [verbose]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ObjectSource {
    pub(crate) file: PathBuf,
    pub(crate) section: Option<String>,
    pub(crate) program: Option<String>,
    pub(crate) export: Option<PathBuf>,
    pub(crate) verbose: bool,
}

/// Whether what follows is classic BPF, which is not ours.
pub(crate) fn is_bytecode(word: &str) -> bool {
    matches(word, "bytecode") || matches(word, "bytecode-file") || matches!(word, "bc" | "bcf")
}

impl Source {
    /// Reads a source, if one begins here. `export`: the value of [`EXPORT_VARIABLE`].
    pub(crate) fn parse(words: &mut Words<'_>, hook: &Hook, export: Option<&Path>) -> Outcome<Option<Self>> {
        let Some(mode) = words.peek() else { return Ok(None) };
        let object = matches(mode, "object-file") || mode == "obj";
        let pinned = ["object-pinned", "pinned", "fd"].iter().any(|full| matches(mode, full));
        if !object && !pinned {
            return Ok(None);
        }
        words.next();
        let path = words.value(mode)?;
        if !object {
            return Ok(Some(Self::Pinned(path.to_owned())));
        }
        let mut source = ObjectSource { file: path.into(), ..ObjectSource::default() };
        source.details(words, hook)?;
        if hook.exports
            && let Some(path) = export
        {
            once(&mut source.export, path.to_owned(), "export")
                .map_err(|_| usage(format!("`export`: {EXPORT_VARIABLE} says already where")))?;
        }
        Ok(Some(Self::Object(source)))
    }

    /// What the kernel keeps as the program's name, for those who look: iproute2's `bpf_ebpf_cb` annotation.
    pub(crate) fn annotation(&self, section: &str) -> String {
        match self {
            Self::Object(source) => format!("{}:[{section}]", base(&source.file)),
            Self::Pinned(path) => format!("{}:[*fsobj]", base(Path::new(path))),
        }
    }
}

impl ObjectSource {
    /// iproute2 wants these in one order; here any will do.
    fn details(&mut self, words: &mut Words<'_>, hook: &Hook) -> Outcome {
        while let Some(word) = words.peek() {
            if matches(word, "section") {
                words.next();
                once(&mut self.section, words.value(word)?.to_owned(), word)?;
            } else if word == "program" {
                words.next();
                once(&mut self.program, words.value(word)?.to_owned(), word)?;
            } else if hook.exports && matches(word, "export") {
                words.next();
                once(&mut self.export, words.value(word)?.into(), word)?;
            } else if matches(word, "verbose") {
                words.next();
                self.verbose = true;
            } else {
                break;
            }
        }
        Ok(())
    }
}

fn base(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
