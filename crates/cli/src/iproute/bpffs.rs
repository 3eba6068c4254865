//! The BPF filesystem as iproute2 finds it.

use crate::exit::{Failure, Outcome};
use onebpf::Kernel;
use std::path::{Path, PathBuf};

/// The variable that names the mount point, and no other is taken then.
const VARIABLE: &str = "TC_BPF_MNT";
/// Where iproute2 looks first.
const KNOWN: [&str; 2] = ["/sys/fs/bpf", "/bpf"];

/// The mount point: `TC_BPF_MNT`, or a known one, or the first that /proc/mounts names; else where one is mounted.
pub(crate) fn root(kernel: &dyn Kernel) -> PathBuf {
    let is_bpffs = |path: &Path| kernel.is_bpffs(path).unwrap_or(false);
    if let Some(path) = std::env::var_os(VARIABLE) {
        return path.into();
    }
    let known = KNOWN.iter().map(PathBuf::from).find(|path| is_bpffs(path));
    let listed = || mounted(&std::fs::read_to_string("/proc/mounts").unwrap_or_default());
    known.or_else(listed).unwrap_or_else(|| KNOWN[0].into())
}

/// A pinned object's path: `m:REL` is under the folder of the hook.
pub(crate) fn path(kernel: &dyn Kernel, typed: &str, folder: &str) -> Outcome<PathBuf> {
    match typed.strip_prefix("m:") {
        Some("") => Err(Failure::Usage("`m:` needs a path after it".to_owned())),
        Some(rest) => Ok(root(kernel).join(folder).join(rest.trim_start_matches('/'))),
        None => Ok(typed.into()),
    }
}

/// The first BPF filesystem of a mount table.
fn mounted(table: &str) -> Option<PathBuf> {
    let fields = |line: &str| {
        let mut fields = line.split(' ');
        let path = fields.nth(1)?;
        (fields.next()? == "bpf").then(|| PathBuf::from(unescape(path)))
    };
    table.lines().find_map(fields)
}

/// Blanks and backslashes are in octal (`mangle_path()`).
fn unescape(path: &str) -> String {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::mounted;

    #[test]
    fn the_first_bpf_filesystem_counts() {
        let table = "proc /proc proc rw 0 0\nbpf /a\\040b bpf rw,mode=700 0 0\nbpf /c bpf rw 0 0\n";
        assert_eq!(mounted(table).unwrap().to_str(), Some("/a b"));
        assert_eq!(mounted("proc /proc proc rw 0 0\n"), None);
        assert_eq!(mounted("x"), None);
    }
}
