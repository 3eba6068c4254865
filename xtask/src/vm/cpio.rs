//! Archives in the form that the kernel unpacks as its first file system: `newc`, of
//! Documentation/driver-api/early-userspace/buffer-format.rst.

use std::collections::BTreeSet;
use std::path::Path;

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;
const END: &str = "TRAILER!!!";

/// An archive that is being written. Directories are made as files need them.
#[derive(Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    directories: BTreeSet<String>,
}

impl Archive {
    /// Adds a file; `path` has no leading slash.
    pub(super) fn file(&mut self, path: &str, contents: &[u8]) {
        self.entry(path, FILE, contents);
    }

    /// Adds a file that can be run.
    pub(super) fn program(&mut self, path: &str, contents: &[u8]) {
        self.entry(path, PROGRAM, contents);
    }

    /// Adds an empty directory.
    pub(super) fn directory(&mut self, path: &str) {
        self.parents(path);
        if self.directories.insert(path.to_owned()) {
            self.write(path, DIRECTORY, &[]);
        }
    }

    /// The archive, ended.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.write(END, 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, contents: &[u8]) {
        self.parents(path);
        self.write(path, mode, contents);
    }

    fn parents(&mut self, path: &str) {
        let parent = Path::new(path).parent().and_then(Path::to_str).unwrap_or_default();
        if !parent.is_empty() {
            self.directory(parent);
        }
    }

    /// A header of thirteen numbers in hexadecimal, the name, the contents; name and contents end at a multiple of 4.
    fn write(&mut self, name: &str, mode: u32, contents: &[u8]) {
        self.entries += 1;
        let length = u32::try_from(contents.len()).unwrap_or(u32::MAX);
        let name_length = name.len() as u32 + 1;
        self.bytes.extend(b"070701");
        // Inode, mode, owner, group, links, time, size, device and its own device (major, minor), name, checksum.
        for field in [self.entries, mode, 0, 0, 1, 0, length, 0, 0, 0, 0, name_length, 0] {
            self.bytes.extend(format!("{field:08X}").bytes());
        }
        self.bytes.extend(name.bytes().chain([0]));
        self.pad();
        self.bytes.extend(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// What cpio(1) lists of it, where there is one.
    #[test]
    fn cpio_reads_it() {
        let mut archive = Archive::default();
        archive.program("bin/a", b"12345");
        archive.file("bin/b", b"");
        archive.directory("deep/er");
        let bytes = archive.finish();
        let child = Command::new("cpio")
            .args(["--list", "--quiet", "--verbose", "--numeric-uid-gid"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else { return eprintln!("skipped: no cpio(1)") };
        child.stdin.take().expect("stdin").write_all(&bytes).expect("cpio reads");
        let output = child.wait_with_output().expect("cpio ends");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let column = |line: &str, at| line.split_whitespace().nth(at).unwrap_or_default().to_owned();
        let rows: Vec<_> =
            text.lines().map(|line| (column(line, 0), column(line, 4), column(line, 8))).collect();
        let expected = [
            ("drwxr-xr-x", "0", "bin"),
            ("-rwxr-xr-x", "5", "bin/a"),
            ("-rw-r--r--", "0", "bin/b"),
            ("drwxr-xr-x", "0", "deep"),
            ("drwxr-xr-x", "0", "deep/er"),
        ];
        assert!(output.status.success(), "{output:?}");
        assert_eq!(rows, expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())));
    }
}
