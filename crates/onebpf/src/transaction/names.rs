//! Pinned names: published, given back, cleaned up. Each function may be repeated after it was cut off anywhere.

use super::found::{Found, gone};
use super::record::ManifestPin;
use crate::plan::{next_path, old_path, prev_path};
use onebpf_sys::{Errno, Kernel, RenameMode, Result};
use std::path::Path;

/// What became of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Published {
    /// The new object has the name.
    Yes,
    /// Neither the name nor the waiting place holds it.
    Lost,
}

/// Gives the staged object its name.
pub(super) fn publish(kernel: &dyn Kernel, pin: &ManifestPin) -> Result<Published> {
    finish_swap(kernel, &pin.path)?;
    let next = next_path(&pin.path);
    let here = Found::at(kernel, &pin.path)?;
    if Found::at(kernel, &next)?.is_none_or(|staged| !is_new(staged, pin)) {
        let there = here.is_some_and(|here| is_new(here, pin));
        return Ok(if there { Published::Yes } else { Published::Lost });
    }
    match here {
        // A link was made, and not yet its other name removed.
        Some(here) if is_new(here, pin) && here.id != 0 => kernel.unlink(&next)?,
        Some(_) if pin.previous.is_some() => swap(kernel, &pin.path)?,
        _ => move_to(kernel, &next, &pin.path)?,
    }
    Ok(Published::Yes)
}

/// Takes the name back: what had it has it again, and what was staged is gone, or kept again.
pub(super) fn withdraw(kernel: &dyn Kernel, pin: &ManifestPin, keep: bool) -> Result<()> {
    finish_swap(kernel, &pin.path)?;
    let next = next_path(&pin.path);
    let here = Found::at(kernel, &pin.path)?;
    let staged = Found::at(kernel, &next)?;
    if here.is_some_and(|here| here.id != 0 && is_new(here, pin)) {
        match (staged, pin.previous) {
            (Some(staged), Some(old)) if staged.id == old => swap(kernel, &pin.path)?,
            (_, None) => kernel.unlink(&pin.path)?,
            // What was replaced is gone for good.
            _ => return Ok(()),
        }
    }
    if Found::at(kernel, &next)?.is_none_or(|staged| !is_new(staged, pin)) {
        return Ok(());
    }
    if keep {
        return kernel.rename(&next, &prev_path(&pin.path), RenameMode::Replace);
    }
    kernel.unlink(&next)
}

/// Removes or keeps what was replaced.
pub(super) fn clean(kernel: &dyn Kernel, pin: &ManifestPin) -> Result<()> {
    let Some(old) = pin.previous else { return Ok(()) };
    let (next, prev) = (next_path(&pin.path), prev_path(&pin.path));
    let waits = Found::at(kernel, &next)?.is_some_and(|found| found.id == old && found.kind == pin.kind);
    match (waits, pin.keeps) {
        (true, true) => kernel.rename(&next, &prev, RenameMode::Replace),
        (false, true) => Ok(()),
        (waits, false) => {
            if waits {
                gone(kernel.unlink(&next))?;
            }
            // What an earlier load kept is no longer what was before.
            gone(kernel.unlink(&prev))
        }
    }
}

fn is_new(found: Found, pin: &ManifestPin) -> bool {
    found.kind == pin.kind && found.id == pin.id
}

/// `PATH` and `PATH:next` swap names; PATH is there all the time.
fn swap(kernel: &dyn Kernel, path: &Path) -> Result<()> {
    let next = next_path(path);
    match kernel.rename(&next, path, RenameMode::Exchange) {
        // This kernel's BPF filesystem cannot (before 5.17); ENOSYS: no renameat2 at all.
        Err(e) if matches!(e.errno, Errno::INVAL | Errno::NOSYS) => {}
        other => return other,
    }
    let old = old_path(path);
    kernel.link(path, &old)?;
    kernel.rename(&next, path, RenameMode::Replace)?;
    kernel.rename(&old, &next, RenameMode::Replace)
}

/// The second half of such a swap, if one was cut off.
fn finish_swap(kernel: &dyn Kernel, path: &Path) -> Result<()> {
    let (old, next) = (old_path(path), next_path(path));
    match (Found::at(kernel, &old)?, Found::at(kernel, &next)?) {
        (None, _) => Ok(()),
        (Some(_), Some(_)) => kernel.unlink(&old),
        (Some(_), None) => kernel.rename(&old, &next, RenameMode::Replace),
    }
}

/// A new name, which nobody else may have.
pub(super) fn move_to(kernel: &dyn Kernel, from: &Path, to: &Path) -> Result<()> {
    match kernel.rename(from, to, RenameMode::NoReplace) {
        // Before 4.9 bpffs knows no flags of rename.
        Err(e) if matches!(e.errno, Errno::INVAL | Errno::NOSYS) => {}
        other => return other,
    }
    kernel.link(from, to)?;
    kernel.unlink(from)
}
