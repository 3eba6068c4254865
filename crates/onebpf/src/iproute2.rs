//! iproute2's part of a host, observed: its BPF filesystem and its pinning database.
//!
//! The rules are those of iproute2 7.1 built without libbpf (lib/bpf_legacy.c), seen at work.

use crate::facts::{Iproute2Facts, Sibling};
use onebpf_sys::{Errno, Kernel};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where iproute2 looks for a BPF filesystem, before /proc/mounts.
const USUAL: [&str; 2] = ["/sys/fs/bpf", "/bpf"];
/// Later files speak only where earlier ones do not. iproute2 7.1 means to do the same, and reads the first alone.
const DATABASES: [&str; 2] = ["/etc/iproute2/bpf_pinning", "/usr/share/iproute2/bpf_pinning"];
/// 0 none, 1 object, 2 global.
const RESERVED: u32 = 2;

/// Looks; `only` is the mount point to use and no other, `numbers` whether the database is needed.
pub(crate) fn observe(kernel: &dyn Kernel, only: Option<&Path>, numbers: bool) -> Iproute2Facts {
    let found = find(kernel, only);
    let mounted = found.is_some();
    let mount = found.unwrap_or_else(|| place(only));
    let sibling = |name: &str| {
        (name.to_owned(), if mounted { sibling(kernel, &mount.join(name)) } else { Sibling::Absent })
    };
    let mut facts = Iproute2Facts {
        siblings: ["xdp", "ip"].map(sibling).into(),
        mount,
        mounted,
        ..Iproute2Facts::default()
    };
    if numbers {
        for path in DATABASES {
            read_database(kernel, path, &mut facts);
        }
    }
    facts
}

/// Where iproute2 has its BPF filesystem, or would mount one. `only` is the mount point to use and no other, as
/// `TC_BPF_MNT` says.
pub fn iproute2_mount_point(kernel: &dyn Kernel, only: Option<&Path>) -> PathBuf {
    find(kernel, only).unwrap_or_else(|| place(only))
}

fn place(only: Option<&Path>) -> PathBuf {
    only.unwrap_or(Path::new(USUAL[0])).to_owned()
}

fn find(kernel: &dyn Kernel, only: Option<&Path>) -> Option<PathBuf> {
    let is_bpffs = |path: &Path| kernel.is_bpffs(path).unwrap_or(false);
    if let Some(path) = only {
        return Some(path.to_owned()).filter(|path| is_bpffs(path));
    }
    let usual = USUAL.iter().map(PathBuf::from).find(|path| is_bpffs(path));
    let listed = || mounted(&kernel.read_file(Path::new("/proc/mounts")).unwrap_or_default());
    // Another mount may cover one that is listed: a network namespace's /sys covers /sys/fs/bpf.
    usual.or_else(|| listed().into_iter().find(|path| is_bpffs(path)))
}

/// The BPF filesystems of /proc/mounts; blanks in paths are octal escapes there.
fn mounted(mounts: &[u8]) -> Vec<PathBuf> {
    let text = String::from_utf8_lossy(mounts);
    let bpf = |line: &str| {
        let mut words = line.split(' ');
        let (_, path, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "bpf").then(|| PathBuf::from(path.replace("\\040", " ").replace("\\011", "\t")))
    };
    text.lines().filter_map(bpf).collect()
}

fn sibling(kernel: &dyn Kernel, path: &Path) -> Sibling {
    match kernel.read_link(path) {
        Ok(_) => Sibling::Link,
        Err(e) if e.errno == Errno::NOENT => Sibling::Absent,
        Err(_) => Sibling::Own,
    }
}

fn read_database(kernel: &dyn Kernel, path: &str, facts: &mut Iproute2Facts) {
    let text = match kernel.read_file(Path::new(path)) {
        Ok(text) => text,
        Err(e) if e.errno == Errno::NOENT => return,
        Err(e) => return facts.warnings.push(format!("{path}: {}", e.errno)),
    };
    let mut entries = BTreeMap::new();
    for (number, line) in String::from_utf8_lossy(&text).lines().enumerate() {
        match entry(line) {
            Ok(None) => {}
            // The last of several lines for a number holds.
            Ok(Some((id, dir))) => drop(entries.insert(id, dir)),
            Err(Wrong::Reserved(id)) => {
                facts
                    .warnings
                    .push(format!("{path}:{}: {id} is reserved, the line is passed over", number + 1));
            }
            Err(Wrong::Corrupt) => {
                facts
                    .warnings
                    .push(format!("{path}:{}: `{line}` is no entry, reading stops here", number + 1));
                break;
            }
        }
    }
    for (id, dir) in entries {
        facts.database.entry(id).or_insert(dir);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Wrong {
    Reserved(u32),
    Corrupt,
}

/// `ID PATH`; nothing for blank lines and comments. What follows is passed over.
fn entry(line: &str) -> Result<Option<(u32, String)>, Wrong> {
    let mut words = line.split_whitespace();
    let Some(first) = words.next().filter(|word| !word.starts_with('#')) else { return Ok(None) };
    let id = number(first).ok_or(Wrong::Corrupt)?;
    let dir = words.next().filter(|word| !word.starts_with('#')).ok_or(Wrong::Corrupt)?;
    if id <= RESERVED { Err(Wrong::Reserved(id)) } else { Ok(Some((id, dir.to_owned()))) }
}

/// As scanf's `%i`: decimal, `0x` hexadecimal, `0` octal.
fn number(text: &str) -> Option<u32> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    match hex {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None if text.len() > 1 && text.starts_with('0') => u32::from_str_radix(text, 8).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_database() {
        let ok = |id, dir: &str| Ok(Some((id, dir.to_owned())));
        for (line, expected) in [
            ("", Ok(None)),
            ("  # comment", Ok(None)),
            ("3 tenant", ok(3, "tenant")),
            ("0x10\ta/b # comment", ok(16, "a/b")),
            ("010 eight", ok(8, "eight")),
            ("1 mine", Err(Wrong::Reserved(1))),
            ("3", Err(Wrong::Corrupt)),
            ("three tenant", Err(Wrong::Corrupt)),
        ] {
            assert_eq!(entry(line), expected, "{line:?}");
        }
    }

    #[test]
    fn mounts_are_found() {
        let text = b"proc /proc proc rw 0 0\nnone /my\\040bpf bpf rw 0 0\nbpf /later bpf rw 0 0\n";
        assert_eq!(mounted(text), ["/my bpf", "/later"].map(PathBuf::from));
        assert!(mounted(b"proc /proc proc rw 0 0\n").is_empty());
    }
}
