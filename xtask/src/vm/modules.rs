//! Kernel modules that the guest must load from its first file system, and what they depend on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::run;

/// The files of `wanted` and of all that they need, in the order in which they load. What is built in is no file.
pub(super) fn in_order(directory: &Path, wanted: &[&str]) -> Result<Vec<PathBuf>, String> {
    let list = directory.join("modules.dep");
    let text = fs::read_to_string(&list).map_err(|error| format!("{}: {error}", list.display()))?;
    Ok(files(&text, wanted).into_iter().map(|file| directory.join(file)).collect())
}

/// What insmod(8) takes: Debian compresses modules since 6.12.
pub(super) fn contents(file: &Path) -> Result<Vec<u8>, String> {
    if file.extension().is_none_or(|extension| extension != "xz") {
        return fs::read(file).map_err(|error| format!("{}: {error}", file.display()));
    }
    let output = run::command("xz", ["-dc"]).arg(file).output();
    let output = output.map_err(|error| format!("cannot run xz: {error}"))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(format!("xz -dc {}: {}", file.display(), output.status))
    }
}

/// `modules.dep` has a line for each module: its file, and all that it needs, of which the last loads first.
fn files<'t>(list: &'t str, wanted: &[&str]) -> Vec<&'t str> {
    let rows = list.lines().filter_map(|line| line.split_once(':'));
    let by_name: BTreeMap<String, (&str, &str)> = rows.map(|row| (name_of(row.0), row)).collect();
    let mut files: Vec<&str> = Vec::new();
    for (file, needs) in wanted.iter().filter_map(|name| by_name.get(*name)) {
        for needed in needs.split_whitespace().rev().chain([*file]) {
            if !files.contains(&needed) {
                files.push(needed);
            }
        }
    }
    files
}

/// A module's name: its file's, with underscores.
fn name_of(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split(".ko").next().unwrap_or(name).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::files;

    #[test]
    fn what_is_needed_comes_first() {
        let list = "kernel/fs/virtiofs.ko.xz: kernel/fs/fuse.ko.xz kernel/v/virtio.ko.xz\nkernel/v/virtio.ko.xz:\n\
                    kernel/v/virtio-rng.ko: kernel/v/virtio.ko.xz\n";
        assert_eq!(
            files(list, &["virtio_rng", "virtiofs", "overlay"]),
            [
                "kernel/v/virtio.ko.xz",
                "kernel/v/virtio-rng.ko",
                "kernel/fs/fuse.ko.xz",
                "kernel/fs/virtiofs.ko.xz"
            ]
        );
    }
}
