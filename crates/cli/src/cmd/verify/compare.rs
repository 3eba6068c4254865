//! What an earlier `verify --json` said.

use crate::exit::{Failure, Outcome};
use crate::load_args::cannot_read;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A saved document, as far as it is compared.
#[derive(Deserialize)]
pub(super) struct Saved {
    objects: Vec<SavedObject>,
}

#[derive(Deserialize)]
struct SavedObject {
    file: PathBuf,
    #[serde(default)]
    programs: Vec<SavedProgram>,
}

#[derive(Deserialize)]
struct SavedProgram {
    name: String,
    #[serde(flatten)]
    said: Before,
}

/// What was said of a program before.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub(super) struct Before {
    pub(super) ok: bool,
    #[serde(default)]
    pub(super) insns_processed: u64,
    #[serde(default)]
    pub(super) total_states: u64,
    #[serde(default)]
    pub(super) stack_depth: u64,
}

impl Saved {
    /// The program of that name in the file of that name, wherever the file was.
    pub(super) fn find(&self, file: &Path, program: &str) -> Option<Before> {
        let object = self.objects.iter().find(|object| object.file.file_name() == file.file_name())?;
        object.programs.iter().find(|saved| saved.name == program).map(|saved| saved.said)
    }
}

/// Reads a saved document.
pub(super) fn read(path: &Path) -> Outcome<Saved> {
    let text = std::fs::read(path).map_err(|error| cannot_read(path, &error))?;
    serde_json::from_slice(&text).map_err(|error| {
        Failure::new("E0903", format!("`{}` is not the output of `verify --json`: {error}", path.display()))
            .hint("save one with `onebpf verify --json FILE... > before.json`")
    })
}
