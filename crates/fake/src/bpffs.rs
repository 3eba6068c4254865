//! Directories and pins.

use crate::objects::Serial;
use onebpf_sys::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// A small file tree: directories, some of them mount points of a BPF filesystem, and pins.
pub(crate) struct Tree {
    nodes: BTreeMap<PathBuf, Node>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    /// There from the start, or on the way to a mount point.
    Given,
    Mount,
    Dir,
    Pin(Serial),
}

impl Tree {
    /// With `/sys/fs/bpf` mounted.
    pub(crate) fn new() -> Self {
        let mut tree = Self { nodes: BTreeMap::new() };
        tree.mount(Path::new("/sys/fs/bpf"));
        tree
    }

    pub(crate) fn mount(&mut self, path: &Path) {
        let path = clean(path);
        for parent in path.ancestors().skip(1) {
            self.nodes.entry(parent.to_owned()).or_insert(Node::Given);
        }
        self.nodes.insert(path, Node::Mount);
    }

    pub(crate) fn pin(&mut self, serial: Serial, path: &Path) -> Result<(), Errno> {
        let path = clean(path);
        match self.find(&path) {
            Ok(_) => return Err(Errno::EXIST),
            Err(Errno::NOENT) => self.check_parent(&path)?,
            Err(e) => return Err(e),
        }
        if !self.on_bpffs(&path) {
            return Err(Errno::PERM);
        }
        self.nodes.insert(path, Node::Pin(serial));
        Ok(())
    }

    /// EACCES for what is there but no pin.
    pub(crate) fn open(&self, path: &Path) -> Result<Serial, Errno> {
        match self.find(&clean(path))? {
            Node::Pin(serial) => Ok(serial),
            _ => Err(Errno::ACCES),
        }
    }

    pub(crate) fn unlink(&mut self, path: &Path) -> Result<(), Errno> {
        let path = clean(path);
        match self.find(&path)? {
            Node::Pin(_) => self.nodes.remove(&path).map(drop).ok_or(Errno::NOENT),
            _ => Err(Errno(21)), // EISDIR
        }
    }

    pub(crate) fn mkdir(&mut self, path: &Path) -> Result<(), Errno> {
        let path = clean(path);
        match self.find(&path) {
            Ok(_) => return Err(Errno::EXIST),
            Err(Errno::NOENT) => self.check_parent(&path)?,
            Err(e) => return Err(e),
        }
        self.nodes.insert(path, Node::Dir);
        Ok(())
    }

    pub(crate) fn rmdir(&mut self, path: &Path) -> Result<(), Errno> {
        let path = clean(path);
        match self.find(&path)? {
            Node::Pin(_) => Err(Errno::NOTDIR),
            Node::Mount => Err(Errno::BUSY),
            _ if self.children(&path).next().is_some() => Err(Errno(39)), // ENOTEMPTY
            _ => self.nodes.remove(&path).map(drop).ok_or(Errno::NOENT),
        }
    }

    pub(crate) fn list(&self, path: &Path) -> Result<Vec<PathBuf>, Errno> {
        let path = clean(path);
        match self.find(&path)? {
            Node::Pin(_) => Err(Errno::NOTDIR),
            _ => Ok(self.children(&path).filter_map(|p| p.file_name().map(PathBuf::from)).collect()),
        }
    }

    pub(crate) fn is_bpffs(&self, path: &Path) -> Result<bool, Errno> {
        let path = clean(path);
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

    /// As a look-up walks: ENOTDIR if a pin stands on the way; a BPF filesystem answers EPERM to a name with
    /// a dot, which it reserves (`bpf_lookup` in kernel/bpf/inode.c).
    fn find(&self, path: &Path) -> Result<Node, Errno> {
        let mut steps: Vec<&Path> = path.ancestors().collect();
        steps.reverse();
        let mut last = Node::Given;
        let mut bpffs = false;
        for step in steps {
            if matches!(last, Node::Pin(_)) {
                return Err(Errno::NOTDIR);
            }
            let name = step.file_name().unwrap_or_default();
            if bpffs && name.as_encoded_bytes().contains(&b'.') {
                return Err(Errno::PERM);
            }
            last = *self.nodes.get(step).ok_or(Errno::NOENT)?;
            bpffs |= last == Node::Mount;
        }
        Ok(last)
    }

    fn check_parent(&self, path: &Path) -> Result<(), Errno> {
        match self.find(path.parent().ok_or(Errno::NOENT)?)? {
            Node::Pin(_) => Err(Errno::NOTDIR),
            _ => Ok(()),
        }
    }

    fn on_bpffs(&self, path: &Path) -> bool {
        path.ancestors().any(|above| self.nodes.get(above) == Some(&Node::Mount))
    }

    fn children<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a Path> {
        self.nodes.keys().map(PathBuf::as_path).filter(move |child| child.parent() == Some(path))
    }
}

/// Without `.`, `..` and doubled slashes; relative paths count from the root. The tree has no symbolic links.
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
