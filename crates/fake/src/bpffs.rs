//! Directories, pins, links and files.

use crate::objects::Serial;
use onebpf_sys::{Errno, RenameMode};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// A small file tree: directories, some of them mount points of a BPF filesystem, pins, symbolic links, files.
pub(crate) struct Tree {
    nodes: BTreeMap<PathBuf, Node>,
    /// Files that were there from the start.
    given: BTreeSet<PathBuf>,
}

#[derive(Clone, PartialEq, Eq)]
enum Node {
    /// There from the start, or on the way to a mount point.
    Given,
    Mount,
    Dir,
    Pin(Serial),
    Symlink(PathBuf),
    File(Vec<u8>),
}

impl Node {
    fn is_dir(&self) -> bool {
        matches!(self, Self::Given | Self::Mount | Self::Dir)
    }
}

/// EISDIR, ENOTEMPTY, ELOOP, EXDEV.
const ISDIR: Errno = Errno(21);
const NOTEMPTY: Errno = Errno(39);
const LOOP: Errno = Errno(40);
const XDEV: Errno = Errno(18);
/// As many symbolic links as Linux follows (`MAXSYMLINKS`).
const MOST_LINKS: usize = 40;

impl Tree {
    /// With `/sys/fs/bpf` mounted, and an empty `/run`.
    pub(crate) fn new() -> Self {
        let mut tree = Self { nodes: BTreeMap::new(), given: BTreeSet::new() };
        tree.mount(Path::new("/sys/fs/bpf"));
        tree.give(Path::new("/run"));
        tree
    }

    /// A directory that is there from the start.
    fn give(&mut self, path: &Path) {
        for dir in path.ancestors() {
            self.nodes.entry(dir.to_owned()).or_insert(Node::Given);
        }
    }

    pub(crate) fn mount(&mut self, path: &Path) {
        let path = clean(path);
        self.give(&path);
        self.nodes.insert(path, Node::Mount);
    }

    /// Without the BPF filesystem: its directory stays.
    pub(crate) fn unmount(&mut self, path: &Path) {
        self.nodes.insert(clean(path), Node::Given);
    }

    /// A file that is there from the start.
    pub(crate) fn give_file(&mut self, path: &Path, data: &[u8]) {
        let path = clean(path);
        self.give(path.parent().unwrap_or(Path::new("/")));
        self.given.insert(path.clone());
        self.nodes.insert(path, Node::File(data.to_vec()));
    }

    /// mount(2): on a directory, which it hides if it is a BPF filesystem already.
    pub(crate) fn mount_bpffs(&mut self, path: &Path) -> Result<(), Errno> {
        let path = self.resolve(path, true)?;
        if !self.find(&path)?.is_dir() {
            return Err(Errno::NOTDIR);
        }
        self.nodes.retain(|node, _| !(node.starts_with(&path) && *node != path));
        self.nodes.insert(path, Node::Mount);
        Ok(())
    }

    pub(crate) fn pin(&mut self, serial: Serial, path: &Path) -> Result<(), Errno> {
        let path = self.fresh(path)?;
        if !self.on_bpffs(&path) {
            return Err(Errno::PERM);
        }
        self.nodes.insert(path, Node::Pin(serial));
        Ok(())
    }

    /// EACCES for what is there but no pin.
    pub(crate) fn open(&self, path: &Path) -> Result<Serial, Errno> {
        match self.find(&self.resolve(path, true)?)? {
            Node::Pin(serial) => Ok(*serial),
            _ => Err(Errno::ACCES),
        }
    }

    pub(crate) fn unlink(&mut self, path: &Path) -> Result<(), Errno> {
        let path = self.resolve(path, false)?;
        if self.find(&path)?.is_dir() {
            return Err(ISDIR);
        }
        self.nodes.remove(&path).map(drop).ok_or(Errno::NOENT)
    }

    pub(crate) fn mkdir(&mut self, path: &Path) -> Result<(), Errno> {
        let path = self.fresh(path)?;
        self.nodes.insert(path, Node::Dir);
        Ok(())
    }

    pub(crate) fn rmdir(&mut self, path: &Path) -> Result<(), Errno> {
        let path = self.resolve(path, false)?;
        match self.find(&path)? {
            Node::Mount => Err(Errno::BUSY),
            node if !node.is_dir() => Err(Errno::NOTDIR),
            _ if self.children(&path).next().is_some() => Err(NOTEMPTY),
            _ => self.nodes.remove(&path).map(drop).ok_or(Errno::NOENT),
        }
    }

    /// `exchange`: whether this kernel's BPF filesystem knows that mode.
    pub(crate) fn rename(
        &mut self,
        from: &Path,
        to: &Path,
        mode: RenameMode,
        exchange: bool,
    ) -> Result<(), Errno> {
        let (from, to) = (self.resolve(from, false)?, self.resolve(to, false)?);
        let node = self.find(&from)?.clone();
        let old = match self.find(&to) {
            Ok(old) => Some(old.clone()),
            Err(Errno::NOENT) => None,
            Err(e) => return Err(e),
        };
        self.check_parent(&to)?;
        if self.on_bpffs(&from) != self.on_bpffs(&to) {
            return Err(XDEV);
        }
        // Directories do not move here.
        if node.is_dir() || old.as_ref().is_some_and(Node::is_dir) {
            return Err(Errno::INVAL);
        }
        match (mode, old) {
            (RenameMode::NoReplace, Some(_)) => return Err(Errno::EXIST),
            // The names are looked at before the file system is asked (fs/namei.c).
            (RenameMode::Exchange, None) => return Err(Errno::NOENT),
            (RenameMode::Exchange, _) if !exchange => return Err(Errno::INVAL),
            (RenameMode::Exchange, Some(old)) => drop(self.nodes.insert(from, old)),
            _ if from == to => {}
            _ => drop(self.nodes.remove(&from)),
        }
        self.nodes.insert(to, node);
        Ok(())
    }

    pub(crate) fn link(&mut self, from: &Path, to: &Path) -> Result<(), Errno> {
        let node = self.find(&self.resolve(from, false)?)?.clone();
        if node.is_dir() {
            return Err(Errno::PERM);
        }
        let to = self.fresh(to)?;
        self.nodes.insert(to, node);
        Ok(())
    }

    pub(crate) fn symlink(&mut self, target: &Path, path: &Path) -> Result<(), Errno> {
        let path = self.fresh(path)?;
        self.nodes.insert(path, Node::Symlink(target.to_owned()));
        Ok(())
    }

    pub(crate) fn read_link(&self, path: &Path) -> Result<PathBuf, Errno> {
        match self.find(&self.resolve(path, false)?)? {
            Node::Symlink(target) => Ok(target.clone()),
            _ => Err(Errno::INVAL),
        }
    }

    pub(crate) fn read_file(&self, path: &Path) -> Result<Vec<u8>, Errno> {
        match self.find(&self.resolve(path, true)?)? {
            Node::File(data) => Ok(data.clone()),
            node if node.is_dir() => Err(ISDIR),
            _ => Err(Errno::INVAL),
        }
    }

    pub(crate) fn write_file(&mut self, path: &Path, data: &[u8]) -> Result<(), Errno> {
        let path = self.resolve(path, false)?;
        match self.find(&path) {
            Ok(node) if node.is_dir() => return Err(ISDIR),
            Ok(_) => {}
            Err(Errno::NOENT) => self.check_parent(&path)?,
            Err(e) => return Err(e),
        }
        if self.on_bpffs(&path) {
            return Err(Errno::PERM);
        }
        self.nodes.insert(path, Node::File(data.to_vec()));
        Ok(())
    }

    /// Makes an empty file if there is none; its resolved path.
    pub(crate) fn touch(&mut self, path: &Path) -> Result<PathBuf, Errno> {
        let resolved = self.resolve(path, false)?;
        match self.find(&resolved) {
            Ok(Node::File(_)) => {}
            Ok(node) if node.is_dir() => return Err(ISDIR),
            Ok(_) => return Err(LOOP),
            Err(Errno::NOENT) => self.write_file(&resolved, &[])?,
            Err(e) => return Err(e),
        }
        Ok(resolved)
    }

    pub(crate) fn list(&self, path: &Path) -> Result<Vec<PathBuf>, Errno> {
        let path = self.resolve(path, true)?;
        if !self.find(&path)?.is_dir() {
            return Err(Errno::NOTDIR);
        }
        Ok(self.children(&path).filter_map(|p| p.file_name().map(PathBuf::from)).collect())
    }

    pub(crate) fn is_bpffs(&self, path: &Path) -> Result<bool, Errno> {
        let path = self.resolve(path, true)?;
        self.find(&path)?;
        Ok(self.on_bpffs(&path))
    }

    pub(crate) fn pinned(&self) -> BTreeSet<Serial> {
        self.pins().map(|(_, serial)| serial).collect()
    }

    pub(crate) fn pins(&self) -> impl Iterator<Item = (&Path, Serial)> {
        self.nodes.iter().filter_map(|(path, node)| match node {
            Node::Pin(serial) => Some((path.as_path(), *serial)),
            _ => None,
        })
    }

    /// Directories that `mkdir` made.
    pub(crate) fn dirs(&self) -> impl Iterator<Item = &Path> {
        self.nodes.iter().filter(|(_, node)| **node == Node::Dir).map(|(path, _)| path.as_path())
    }

    /// Symbolic links, and files that were not given.
    pub(crate) fn others(&self) -> impl Iterator<Item = &Path> {
        let made = |(path, node): &(&PathBuf, &Node)| match node {
            Node::Symlink(_) => true,
            Node::File(_) => !self.given.contains(*path),
            _ => false,
        };
        self.nodes.iter().filter(made).map(|(path, _)| path.as_path())
    }

    /// `path` without symbolic links, `.` and `..`; with `last`, what it names is followed, too.
    fn resolve(&self, path: &Path, last: bool) -> Result<PathBuf, Errno> {
        let mut path = clean(path);
        for _ in 0..MOST_LINKS {
            let mut above: Vec<&Path> = path.ancestors().collect();
            above.reverse();
            let link = above.into_iter().find_map(|at| match self.nodes.get(at) {
                Some(Node::Symlink(target)) if last || at != path => Some((at.to_owned(), target)),
                _ => None,
            });
            let Some((at, target)) = link else { return Ok(path) };
            let rest = path.strip_prefix(&at).unwrap_or(Path::new("")).to_owned();
            path = clean(&at.parent().unwrap_or(Path::new("/")).join(target).join(rest));
        }
        Err(LOOP)
    }

    /// The resolved path of a name that is to be made, in a directory that is there.
    fn fresh(&self, path: &Path) -> Result<PathBuf, Errno> {
        let path = self.resolve(path, false)?;
        match self.find(&path) {
            Ok(_) => Err(Errno::EXIST),
            Err(Errno::NOENT) => self.check_parent(&path).map(|()| path),
            Err(e) => Err(e),
        }
    }

    /// As a look-up walks: ENOTDIR if a pin stands on the way; a BPF filesystem answers EPERM to a name with
    /// a dot, which it reserves (`bpf_lookup` in kernel/bpf/inode.c).
    fn find(&self, path: &Path) -> Result<&Node, Errno> {
        let mut steps: Vec<&Path> = path.ancestors().collect();
        steps.reverse();
        let mut last = &Node::Given;
        let mut bpffs = false;
        for step in steps {
            if !last.is_dir() {
                return Err(Errno::NOTDIR);
            }
            let name = step.file_name().unwrap_or_default();
            if bpffs && name.as_encoded_bytes().contains(&b'.') {
                return Err(Errno::PERM);
            }
            last = self.nodes.get(step).ok_or(Errno::NOENT)?;
            bpffs |= *last == Node::Mount;
        }
        Ok(last)
    }

    fn check_parent(&self, path: &Path) -> Result<(), Errno> {
        if self.find(path.parent().ok_or(Errno::NOENT)?)?.is_dir() { Ok(()) } else { Err(Errno::NOTDIR) }
    }

    fn on_bpffs(&self, path: &Path) -> bool {
        path.ancestors().any(|above| self.nodes.get(above) == Some(&Node::Mount))
    }

    fn children<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a Path> {
        self.nodes.keys().map(PathBuf::as_path).filter(move |child| child.parent() == Some(path))
    }
}

/// Without `.`, `..` and doubled slashes; relative paths count from the root.
fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => drop(out.pop()),
            _ => {}
        }
    }
    out
}
