//! After a kill: what is found is finished or undone.

use super::record::Phase;
use super::settle;
use super::state::State;
use super::status::{self, is_gone, manifests};
use crate::error::Result;
use onebpf_sys::Kernel;
use std::path::{Path, PathBuf};

/// What a recovery did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Recovered {
    /// Objects whose load was committed, and is finished now.
    pub finished: Vec<String>,
    /// Objects whose load was not, and is undone now.
    pub undone: Vec<String>,
    /// Objects whose pins are all gone: their manifests are removed.
    pub forgotten: Vec<String>,
    /// Pins and files that no journal explained, removed because of `force`.
    pub removed: Vec<PathBuf>,
    /// Pins `NAME:pending`, which are Cilium's and are left alone.
    pub pending: Vec<PathBuf>,
}

/// Finishes or undoes what killed loads have left, as their journals in `state` say. Loads under way are waited for.
/// Repeating it, also after it was killed itself, does no harm. Manifests of objects whose pins are all gone are removed, where
/// the BPF filesystem that they lay on is seen.
///
/// With `force`, damaged files and pins that are named as if they waited (`:next`, `:old`, `:slot:N`; `:prev` that no
/// manifest names) and that no journal explains are removed, too; they are looked for below `roots` and beside the pins
/// of all manifests.
///
/// # Errors
/// E0415 if the state directory or a file in it cannot be used, E0416 if something can be neither finished nor undone.
pub fn recover(kernel: &dyn Kernel, state: &Path, force: bool, roots: &[PathBuf]) -> Result<Recovered> {
    let state = State::new(kernel, state);
    let (known, _) = manifests(&state)?;
    let pending = status::remains(&state, &known, &[], roots).pending;
    let forgettable = known.iter().any(|(_, manifest)| is_gone(kernel, manifest));
    if !force && !forgettable && state.journals()?.is_empty() && state.remains()?.is_empty() {
        return Ok(Recovered { pending, ..Recovered::default() });
    }
    let _lock = state.lock()?;
    let mut removed = Vec::new();
    if force {
        for journal in state.journals()? {
            if state.read_journal(&journal).is_err_and(|error| error.errno().is_none()) {
                state.remove(&journal)?;
                removed.push(journal);
            }
        }
    }
    let mut recovered = settle_all(&state)?;
    for path in state.remains()? {
        state.remove(&path)?;
    }
    let (mut known, damaged) = manifests(&state)?;
    for (file, manifest) in known.extract_if(.., |(_, manifest)| is_gone(kernel, manifest)) {
        state.remove(&file)?;
        recovered.forgotten.push(manifest.object);
    }
    if force {
        for path in damaged.into_iter().chain(status::remains(&state, &known, &[], roots).leftovers) {
            state.remove(&path)?;
            removed.push(path);
        }
    }
    Ok(Recovered { removed, pending, ..recovered })
}

/// What a load does first if it has to do with pins: nothing but looking, unless there is a journal. Then it is either
/// of a load under way, whose end is waited for, or of a killed one. True if there was.
pub(crate) fn settle_before(state: &State<'_>) -> Result<bool> {
    if state.journals()?.is_empty() {
        return Ok(false);
    }
    let _lock = state.lock()?;
    settle_all(state).map(|_| true)
}

/// Settles all journals. The caller holds the lock, so they are nobody's.
pub(super) fn settle_all(state: &State<'_>) -> Result<Recovered> {
    let mut recovered = Recovered::default();
    for journal in state.journals()? {
        let mut record = state.read_journal(&journal)?;
        let looked = record.retain_on_bpffs(state.kernel);
        looked.map_err(|e| settle::unfinished("cannot be looked at", &record, vec![e.to_string()]))?;
        let object = record.manifest.object.clone();
        if record.phase == Phase::Committed {
            match settle::finish(state, &record) {
                Ok(()) => {
                    state.remove(&journal)?;
                    recovered.finished.push(object);
                    continue;
                }
                // With all names in place there is no way back.
                Err(error) if settle::is_published(state.kernel, &record) => return Err(error),
                Err(_) => {}
            }
        }
        let left = settle::turn_back(state, &journal, &mut record);
        if !left.is_empty() {
            return Err(settle::unfinished("cannot be undone", &record, left));
        }
        state.remove(&journal)?;
        recovered.undone.push(object);
    }
    Ok(recovered)
}
