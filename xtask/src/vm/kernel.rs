//! Debian's kernels: fetched by apt as packages, unpacked but never installed, kept by package and version in
//! `$ONEBPF_VM_CACHE`, else `onebpf/kernels` in the user's cache directory.

use std::fs;
use std::path::{Path, PathBuf};

use super::Scratch;
use super::apt::{Apt, Package};
use crate::run;

/// A kernel on disk.
#[derive(Debug)]
pub(super) struct Kernel {
    /// Everything of its package.
    pub(super) directory: PathBuf,
    /// `uname -r`, e.g. `6.12.117+deb12-cloud-amd64`.
    pub(super) version: String,
}

impl Kernel {
    /// The newest kernel of `release` (`6.12`) that Debian has; what was fetched before, if its suite is not configured
    /// (such suites no longer change) or nobody can be asked.
    pub(super) fn of(release: &str) -> Result<Self, String> {
        let cache = cache()?;
        let kept = kept(&cache, release);
        if let Some(kept) = kept.clone().filter(|_| Apt::is_foreign(release)) {
            return Self::in_directory(kept);
        }
        let fetched = Apt::for_kernel(release).and_then(|apt| {
            let package = apt.newest_kernel(release)?;
            let directory = cache.join(format!("{}_{}", package.name, package.version));
            if !directory.is_dir() {
                fetch(&apt, &package, &directory)?;
            }
            Ok(directory)
        });
        match fetched {
            Ok(directory) => Self::in_directory(directory),
            Err(why) => {
                let kept = kept.ok_or_else(|| format!("no kernel {release}: {why}"))?;
                eprintln!("vm: {why}; using what was fetched before, {}", kept.display());
                Self::in_directory(kept)
            }
        }
    }

    /// The image that QEMU boots.
    pub(super) fn image(&self) -> PathBuf {
        self.directory.join("boot").join(format!("vmlinuz-{}", self.version))
    }

    /// `/lib/modules/VERSION` of it.
    pub(super) fn modules(&self) -> PathBuf {
        self.directory.join("lib/modules").join(&self.version)
    }

    fn in_directory(directory: PathBuf) -> Result<Self, String> {
        let modules = directory.join("lib/modules");
        let first = fs::read_dir(&modules).ok().and_then(|mut entries| entries.next()?.ok());
        let first = first.ok_or_else(|| format!("{}: no modules", modules.display()))?;
        let kernel = Self { directory, version: first.file_name().to_string_lossy().into_owned() };
        if kernel.image().is_file() { Ok(kernel) } else { Err(format!("no {}", kernel.image().display())) }
    }
}

/// Where kernels are kept.
fn cache() -> Result<PathBuf, String> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user = || variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    let cache = variable("ONEBPF_VM_CACHE").or_else(|| Some(user()?.join("onebpf/kernels")));
    let cache = cache.ok_or("no place for kernels: ONEBPF_VM_CACHE and HOME are not set")?;
    fs::create_dir_all(&cache).map_err(|error| format!("{}: {error}", cache.display()))?;
    Ok(cache)
}

/// The newest of `release` in the cache.
fn kept(cache: &Path, release: &str) -> Option<PathBuf> {
    let mine = |path: &PathBuf| path.file_name().is_some_and(|name| is_of(&name.to_string_lossy(), release));
    let paths = fs::read_dir(cache).ok()?.filter_map(|entry| Some(entry.ok()?.path())).filter(mine);
    paths.max_by_key(|path| super::apt::numbers(&path.to_string_lossy()))
}

fn is_of(name: &str, release: &str) -> bool {
    name.strip_prefix("linux-image-")
        .and_then(|rest| rest.strip_prefix(release))
        .is_some_and(|it| it.starts_with('.'))
}

/// Unpacks beside the place and renames, so that what is there is whole.
fn fetch(apt: &Apt, package: &Package, directory: &Path) -> Result<(), String> {
    eprintln!("vm: fetching {} {}", package.name, package.version);
    let scratch = Scratch::beside(directory)?;
    let archive = apt.download(package, &scratch.0)?;
    let root = scratch.0.join("root");
    run::capture(run::command("dpkg-deb", ["--extract"]).arg(&archive).arg(&root))?;
    // From Debian 13 on the package has /usr/lib only.
    if !root.join("lib").exists() {
        std::os::unix::fs::symlink("usr/lib", root.join("lib")).map_err(|error| error.to_string())?;
    }
    let version = Kernel::in_directory(root.clone())?.version;
    let depmod = crate::need::find("depmod").ok_or("no depmod")?;
    run::capture(run::command(&depmod.to_string_lossy(), ["-b"]).arg(&root).arg(&version))?;
    match fs::rename(&root, directory) {
        // Somebody else was faster.
        Err(_) if directory.is_dir() => Ok(()),
        result => result.map_err(|error| format!("{}: {error}", directory.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::is_of;

    #[test]
    fn releases_are_told_apart() {
        assert!(is_of("linux-image-6.1.0-56-cloud-amd64_6.1.192-2", "6.1"));
        assert!(!is_of("linux-image-6.12.117+deb12-cloud-amd64_1", "6.1"));
        assert!(is_of("linux-image-6.12.117+deb12-cloud-amd64_1", "6.12"));
    }
}
