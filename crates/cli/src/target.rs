//! Objects in the kernel, as a person names them.

use crate::exit::{Failure, Outcome};
use onebpf::sys::{Errno, Error, ObjectKind};
use onebpf::{Kernel, Map, Program, TargetProgram, find_named};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;

/// A map or program: `12`, `id 12`, `/sys/fs/bpf/flows`, `pinned PATH`, `flows`, `name flows`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Id(u32),
    Path(PathBuf),
    Name(String),
}

impl Target {
    /// Takes the target from the front of what was typed; what is left belongs to the verb.
    pub(crate) fn split(words: &[String]) -> Outcome<(Self, &[String])> {
        let usage = |why: &str| Failure::Usage(why.to_owned());
        let (first, rest) = words.split_first().ok_or_else(|| usage("name it, or give `id N` or a path"))?;
        let keyword = rest.split_first().filter(|_| matches!(first.as_str(), "id" | "pinned" | "name"));
        let Some((second, rest)) = keyword else {
            return Ok((Self::guess(first), rest));
        };
        let target = match first.as_str() {
            "id" => Self::Id(second.parse().map_err(|_| usage(&format!("`{second}` is not an id")))?),
            "pinned" => Self::Path(PathBuf::from(second)),
            _ => Self::Name(second.clone()),
        };
        Ok((target, rest))
    }

    /// Digits are an id, what has a slash is a path, all else is a name.
    pub(crate) fn guess(word: &str) -> Self {
        match word.parse() {
            Ok(id) => Self::Id(id),
            Err(_) if word.contains('/') => Self::Path(PathBuf::from(word)),
            Err(_) => Self::Name(word.to_owned()),
        }
    }

    /// Opens the map.
    pub(crate) fn map(&self, kernel: &Arc<dyn Kernel>) -> Outcome<Map> {
        let opened = match self {
            Self::Id(id) => Map::open_id(kernel, *id),
            Self::Path(path) => Map::open_pin(kernel, path),
            Self::Name(name) => {
                find_named(&**kernel, ObjectKind::Map, name).and_then(|id| Map::open_id(kernel, id))
            }
        };
        opened.map_err(needs_root)
    }

    /// Opens the program.
    pub(crate) fn program(&self, kernel: &Arc<dyn Kernel>) -> Outcome<Program> {
        let opened = match self {
            Self::Id(id) => Program::open_id(kernel, *id),
            Self::Path(path) => Program::open_pin(kernel, path),
            Self::Name(name) => {
                find_named(&**kernel, ObjectKind::Program, name).and_then(|id| Program::open_id(kernel, id))
            }
        };
        opened.map_err(needs_root)
    }
}

impl From<Target> for TargetProgram {
    fn from(target: Target) -> Self {
        match target {
            Target::Id(id) => Self::Id(id),
            Target::Path(path) => Self::Pinned(path),
            Target::Name(name) => Self::Name(name),
        }
    }
}

/// All objects of a kind, as the kernel describes them; what goes away meanwhile is left out.
pub(crate) fn each<T>(
    kernel: &dyn Kernel,
    kind: ObjectKind,
    describe: impl Fn(BorrowedFd<'_>) -> Result<T, Error>,
) -> Outcome<Vec<T>> {
    let mut found = Vec::new();
    for id in onebpf::list(kernel, kind) {
        let opened = kernel.open_id(kind, id.map_err(needs_root)?);
        found.extend(opened.and_then(|fd| describe(fd.as_fd())));
    }
    Ok(found)
}

fn needs_root(error: onebpf::Error) -> Failure {
    let refused = matches!(error.errno(), Some(Errno::PERM | Errno::ACCES));
    let failure = Failure::from(error);
    if refused { failure.hint("this needs root (CAP_BPF or CAP_SYS_ADMIN)") } else { failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(words: &[&str]) -> (Target, usize) {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let (target, rest) = Target::split(&words).expect("is a target");
        (target, rest.len())
    }

    #[test]
    fn targets_are_ids_paths_and_names() {
        assert_eq!(split(&["12"]), (Target::Id(12), 0));
        assert_eq!(split(&["id", "12", "key"]), (Target::Id(12), 1));
        assert_eq!(split(&["./flows", "key"]), (Target::Path("./flows".into()), 1));
        assert_eq!(split(&["pinned", "flows"]), (Target::Path("flows".into()), 0));
        assert_eq!(split(&["flows", "1", "2"]), (Target::Name("flows".into()), 2));
        assert_eq!(split(&["name", "12"]), (Target::Name("12".into()), 0));
        assert_eq!(split(&["id"]), (Target::Name("id".into()), 0));
        assert!(Target::split(&[]).is_err());
        assert!(Target::split(&["id".to_owned(), "x".to_owned()]).is_err());
    }
}
