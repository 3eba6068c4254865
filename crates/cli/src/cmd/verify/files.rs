//! Which files are meant: names, folders, and patterns that no shell has expanded.

use crate::exit::{Failure, Outcome};
use crate::load_args::{cannot_read, reason};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Folders within folders.
const DEEPEST: usize = 64;

/// What was meant.
#[derive(Default)]
pub(super) struct Found {
    pub(super) files: Vec<PathBuf>,
    /// Objects of folders and patterns that are for other machines than BPF.
    pub(super) others: usize,
}

/// The files of every argument, in order. A file that is named is taken as it is; of a folder and all folders in it the
/// BPF objects (`*.o`), by name; of a pattern (`*`, `?`, `**` for any folders) those that fit.
pub(super) fn expand(arguments: &[PathBuf]) -> Outcome<Found> {
    let mut found = Found::default();
    for argument in arguments {
        let before = found.files.len() + found.others;
        if argument.is_dir() {
            walk(argument, &mut found, 0, &|path| path.extension().is_some_and(|end| end == "o"));
        } else if !argument.exists() && argument.to_string_lossy().contains(['*', '?']) {
            let pattern = argument.to_string_lossy().into_owned();
            walk(&fixed(argument), &mut found, 0, &|path| fits_path(&pattern, &path.to_string_lossy()));
        } else {
            found.files.push(argument.clone());
            continue;
        }
        if found.files.len() + found.others == before {
            return Err(Failure::new("E0313", format!("`{}` holds no object", argument.display()))
                .hint("objects end in .o; name a file that ends otherwise, or give a pattern"));
        }
    }
    Ok(found)
}

/// The folder above the first part that is a pattern.
fn fixed(pattern: &Path) -> PathBuf {
    let plain = |part: &std::path::Component<'_>| !part.as_os_str().to_string_lossy().contains(['*', '?']);
    let folder: PathBuf = pattern.components().take_while(plain).collect();
    if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder }
}

/// Symbolic links to folders are not followed: they may lead back. What cannot be listed holds nothing.
fn walk(folder: &Path, found: &mut Found, depth: usize, wanted: &dyn Fn(&Path) -> bool) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let path = path.strip_prefix("./").map(Path::to_path_buf).unwrap_or(path);
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth < DEEPEST => walk(&path, found, depth + 1, wanted),
            Ok(kind) if !kind.is_dir() && wanted(&path) && path.is_file() => {
                if is_for_bpf(&path) {
                    found.files.push(path);
                } else {
                    found.others += 1;
                }
            }
            _ => {}
        }
    }
}

/// False for an ELF file that says it is for another machine. What is no ELF file at all is for the reader to refuse.
fn is_for_bpf(path: &Path) -> bool {
    const EM_BPF: u16 = 247;
    let mut head = [0; 20];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut head));
    let machine = match head {
        [0x7f, b'E', b'L', b'F', _, data, .., low, high] if read.is_ok() => {
            if data == 2 {
                u16::from_be_bytes([low, high])
            } else {
                u16::from_le_bytes([low, high])
            }
        }
        _ => return true,
    };
    machine == EM_BPF || machine == 0
}

/// Whether a path fits a pattern, part by part; `**` is any number of parts.
fn fits_path(pattern: &str, path: &str) -> bool {
    fn parts(pattern: &[&str], path: &[&str]) -> bool {
        match (pattern, path) {
            ([], []) => true,
            (["**", rest @ ..], _) => {
                (0..=path.len()).any(|n| parts(rest, path.get(n..).unwrap_or_default()))
            }
            ([first, rest @ ..], [name, names @ ..]) => fits(first, name) && parts(rest, names),
            _ => false,
        }
    }
    fn split(text: &str) -> Vec<&str> {
        text.split('/').filter(|part| !part.is_empty() && *part != ".").collect()
    }
    let mut pattern = split(pattern);
    // Two in a row mean no more than one, and cost much more.
    pattern.dedup_by(|a, b| *a == "**" && *b == "**");
    parts(&pattern, &split(path))
}

/// Whether a name fits a pattern of `*` and `?`.
pub(super) fn fits(glob: &str, name: &str) -> bool {
    let (glob, name): (Vec<char>, Vec<char>) = (glob.chars().collect(), name.chars().collect());
    // One row of the usual table: whether the pattern so far fits the first n characters.
    let mut row: Vec<bool> = (0..=name.len()).map(|n| n == 0).collect();
    for wanted in glob {
        let mut next = vec![wanted == '*' && row.first() == Some(&true)];
        for (at, found) in name.iter().enumerate() {
            let fits = |n: usize, row: &[bool]| row.get(n).copied().unwrap_or_default();
            next.push(if wanted == '*' {
                fits(at, &next) || fits(at + 1, &row)
            } else {
                fits(at, &row) && (wanted == '?' || wanted == *found)
            });
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// The lines of a file that says what to filter by: blank ones and those that begin with `#` do not count.
pub(super) fn lines(path: &Path) -> Outcome<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => {
            Failure::Usage(format!("`{}` is no text: {}", path.display(), reason(&error)))
        }
        _ => cannot_read(path, &error),
    })?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_whole_names() {
        for (glob, name) in
            [("*", ""), ("in*", "ingress"), ("*gr*s", "ingress"), ("?a", "xa"), ("x", "x"), ("a*b*c", "abc")]
        {
            assert!(fits(glob, name), "{glob} {name}");
        }
        for (glob, name) in [("", "x"), ("?", ""), ("in", "ingress"), ("*z", "ingress"), ("a*b*c", "acb")] {
            assert!(!fits(glob, name), "{glob} {name}");
        }
    }

    #[test]
    fn patterns_fit_paths_part_by_part() {
        for (glob, path) in [
            ("*.o", "a.o"),
            ("./*.o", "a.o"),
            ("d/**/*.o", "d/a.o"),
            ("d/**/**/*.o", "d/e/f/a.o"),
            ("/d/?/a*", "/d/e/a.o"),
        ] {
            assert!(fits_path(glob, path), "{glob} {path}");
        }
        for (glob, path) in [("*.o", "d/a.o"), ("d/*.o", "d/e/a.o"), ("**/x", "d/y")] {
            assert!(!fits_path(glob, path), "{glob} {path}");
        }
        assert_eq!(fixed(Path::new("/a/b/*/c")), Path::new("/a/b"));
        assert_eq!(fixed(Path::new("*.o")), Path::new("."));
    }
}
