//! Objects in the kernel, as a person names them.

use crate::exit::{Failure, Outcome};
use crate::report::of_kernel;
use onebpf::Kernel;
use onebpf::sys::{Error, OBJ_NAME_MAX, ObjectKind};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// A map, program or BTF: `12`, `id 12`, `/sys/fs/bpf/flows`, `pinned PATH`, `flows`, `name flows`.
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
    fn guess(word: &str) -> Self {
        match word.parse() {
            Ok(id) => Self::Id(id),
            Err(_) if word.contains('/') => Self::Path(PathBuf::from(word)),
            Err(_) => Self::Name(word.to_owned()),
        }
    }

    /// Opens it.
    pub(crate) fn open(&self, kernel: &dyn Kernel, kind: ObjectKind) -> Outcome<OwnedFd> {
        let what = format!("{} {self}", noun(kind));
        match self {
            Self::Id(id) => kernel.open_id(kind, *id).map_err(|error| refused(&what, error)),
            Self::Path(path) => {
                let fd = kernel.open_pin(path).map_err(|error| refused(&what, error))?;
                let found = kernel.fd_kind(fd.as_fd()).map_err(|error| refused(&what, error))?;
                if found == Some(kind) {
                    return Ok(fd);
                }
                let found = found.map_or("something else", noun);
                Err(Failure::new("E0411", format!("`{}` is a {found}, not a {}", path.display(), noun(kind))))
            }
            Self::Name(name) => by_name(kernel, kind, name),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "with id {id}"),
            Self::Path(path) => write!(f, "at `{}`", path.display()),
            Self::Name(name) => write!(f, "`{name}`"),
        }
    }
}

/// Every id of a kind, with the object opened; what goes away meanwhile is left out.
pub(crate) fn each(kernel: &dyn Kernel, kind: ObjectKind) -> Outcome<Vec<(u32, OwnedFd)>> {
    let mut found = Vec::new();
    let mut after = 0;
    let plural = format!("the {}s of this kernel", noun(kind));
    while let Some(id) = kernel.next_id(kind, after).map_err(|error| refused(&plural, error))? {
        if let Ok(fd) = kernel.open_id(kind, id) {
            found.push((id, fd));
        }
        after = id;
    }
    Ok(found)
}

fn by_name(kernel: &dyn Kernel, kind: ObjectKind, name: &str) -> Outcome<OwnedFd> {
    let kept = name.get(..OBJ_NAME_MAX).unwrap_or(name);
    let mut matches = Vec::new();
    for (id, fd) in each(kernel, kind)? {
        if name_of(kernel, kind, fd.as_fd()).is_ok_and(|found| found == kept) {
            matches.push((id, fd));
        }
    }
    let ids: Vec<String> = matches.iter().map(|(id, _)| id.to_string()).collect();
    match (matches.pop(), ids.len()) {
        (Some((_, fd)), 1) => Ok(fd),
        (None, _) => {
            Err(Failure::new("E0411", format!("there is no {} `{name}` in this kernel", noun(kind)))
                .hint(format!("`onebpf {} list` shows all", verb(kind))))
        }
        (Some(_), count) => Err(Failure::new("E0411", format!("{count} {}s are named `{name}`", noun(kind)))
            .hint(format!("say which one: id {}", ids.join(", id ")))),
    }
}

fn name_of(kernel: &dyn Kernel, kind: ObjectKind, fd: BorrowedFd<'_>) -> Result<String, Error> {
    Ok(match kind {
        ObjectKind::Map => kernel.map_info(fd)?.name,
        ObjectKind::Program => kernel.prog_info(fd)?.name,
        ObjectKind::Btf => kernel.btf_info(fd)?.name,
        ObjectKind::Link => String::new(),
    })
}

fn noun(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Map => "map",
        ObjectKind::Program => "program",
        ObjectKind::Link => "link",
        ObjectKind::Btf => "BTF object",
    }
}

fn verb(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Map => "map",
        ObjectKind::Program => "prog",
        ObjectKind::Link => "link",
        ObjectKind::Btf => "btf",
    }
}

fn refused(what: &str, error: Error) -> Failure {
    let failure = Failure::from(of_kernel("E0411", what, error));
    match error.errno {
        onebpf::sys::Errno::PERM | onebpf::sys::Errno::ACCES => {
            failure.hint("this needs root (CAP_BPF or CAP_SYS_ADMIN)")
        }
        _ => failure,
    }
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
