//! Names and ordinary files.

use crate::{Errno, RenameMode};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// No file that onebpf reads through [`Kernel`](crate::Kernel) is near as long.
const LONGEST: u64 = 16 << 20;

pub(super) fn rename(from: &Path, to: &Path, mode: RenameMode) -> Result<(), Errno> {
    let flags = match mode {
        RenameMode::Replace => RenameFlags::empty(),
        RenameMode::NoReplace => RenameFlags::NOREPLACE,
        RenameMode::Exchange => RenameFlags::EXCHANGE,
    };
    Ok(rustix::fs::renameat_with(CWD, from, CWD, to, flags)?)
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, Errno> {
    let mut data = Vec::new();
    File::open(path)?.take(LONGEST + 1).read_to_end(&mut data)?;
    if data.len() as u64 > LONGEST { Err(Errno(libc::EFBIG)) } else { Ok(data) }
}

/// No line that anybody wants is longer.
const LONGEST_LINE: usize = 4096;

pub(super) fn read_lines(path: &Path, visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> Result<(), Errno> {
    lines(BufReader::with_capacity(64 << 10, File::open(path)?), visit)
}

fn lines(mut file: impl BufRead, visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> Result<(), Errno> {
    // The beginning of a line whose end is not read yet.
    let mut open = Vec::new();
    loop {
        let data = file.fill_buf()?;
        let end = data.iter().position(|byte| *byte == b'\n');
        let part = data.get(..end.unwrap_or(data.len())).unwrap_or_default();
        let room = LONGEST_LINE - open.len();
        let (part, taken) = (part.get(..room).unwrap_or(part), part.len());
        if data.is_empty() {
            // The last line may have no end.
            if !open.is_empty() {
                let _ = visit(&open);
            }
            return Ok(());
        }
        let flow = match end {
            Some(_) if open.is_empty() => visit(part),
            Some(_) => {
                open.extend_from_slice(part);
                let flow = visit(&open);
                open.clear();
                flow
            }
            None => {
                open.extend_from_slice(part);
                ControlFlow::Continue(())
            }
        };
        file.consume(taken + usize::from(end.is_some()));
        if flow.is_break() {
            return Ok(());
        }
    }
}

pub(super) fn write(path: &Path, data: &[u8]) -> Result<(), Errno> {
    let beside = beside(path)?;
    let result = write_new(&beside, data).and_then(|()| Ok(rustix::fs::rename(&beside, path)?));
    if result.is_err() {
        let _ = rustix::fs::unlink(&beside);
        return result;
    }
    // The new name, too, is on disk only when its directory is.
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(File::open(dir)?.sync_all()?)
}

pub(super) fn lock(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

pub(super) fn lock_holder(path: &Path) -> Result<Option<u32>, Errno> {
    let file = rustix::fs::stat(path)?;
    let (major, minor) = (rustix::fs::major(file.st_dev), rustix::fs::minor(file.st_dev));
    // lock_get_status() of fs/locks.c prints the device in hex, the inode in decimal.
    Ok(holder(
        &String::from_utf8_lossy(&read(Path::new("/proc/locks"))?),
        &format!("{major:02x}:{minor:02x}:{}", file.st_ino),
    ))
}

/// `1: FLOCK  ADVISORY  WRITE 4711 00:1b:42 0 EOF`; those who wait have an arrow before the kind.
fn holder(locks: &str, file: &str) -> Option<u32> {
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, of, ..] = words.as_slice() else { return None };
        pid.parse().ok().filter(|pid| *of == file && *pid != 0)
    })
}

fn write_new(path: &Path, data: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?);
    file.write_all(data)?;
    Ok(file.sync_all()?)
}

/// A name in the same directory that nobody else uses: process and counter.
fn beside(path: &Path) -> Result<PathBuf, Errno> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or(Errno::INVAL)?;
    let mut new = std::ffi::OsString::from(".");
    new.push(name);
    new.push(format!(".{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    Ok(path.with_file_name(new))
}

#[cfg(test)]
mod tests {
    use super::{LONGEST_LINE, holder, lines};
    use std::io::BufReader;
    use std::ops::ControlFlow;

    fn read(text: &str, capacity: usize, most: usize) -> Vec<String> {
        let mut found = Vec::new();
        let file = BufReader::with_capacity(capacity, text.as_bytes());
        lines(file, &mut |line| {
            found.push(String::from_utf8(line.to_vec()).expect("text"));
            if found.len() == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .expect("lines");
        found
    }

    #[test]
    fn lines_are_whole_however_they_are_read() {
        let text = "one\n\nthree three\nfour";
        for capacity in 1..text.len() + 2 {
            assert_eq!(read(text, capacity, 9), ["one", "", "three three", "four"], "{capacity}");
            assert_eq!(read(text, capacity, 2), ["one", ""], "{capacity}");
        }
        assert!(read("", 8, 9).is_empty());
    }

    #[test]
    fn a_long_line_is_cut() {
        let text = format!("{}\nb\n", "a".repeat(3 * LONGEST_LINE));
        for capacity in [1, 1000, LONGEST_LINE, 1 << 20] {
            assert_eq!(read(&text, capacity, 9), ["a".repeat(LONGEST_LINE), "b".to_owned()]);
        }
    }

    #[test]
    fn holders_are_found() {
        let text = "1: POSIX  ADVISORY  WRITE 12 00:1b:42 0 EOF\n2: FLOCK  ADVISORY  WRITE 4711 00:1b:42 0 EOF\n\
                    2: -> FLOCK  ADVISORY  WRITE 4712 00:1b:42 0 EOF\n3: FLOCK  ADVISORY  WRITE 0 00:1b:43 0 EOF\n";
        assert_eq!(holder(text, "00:1b:42"), Some(4711));
        assert_eq!(holder(text, "00:1b:43"), None);
        assert_eq!(holder(text, "00:1b:44"), None);
        assert_eq!(holder("nonsense\n", "00:1b:42"), None);
    }
}
