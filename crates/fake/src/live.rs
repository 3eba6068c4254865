//! What is alive.

use crate::bpffs::Tree;
use crate::objects::{Body, Objects};
use std::path::PathBuf;

/// Everything that lives in a [`FakeKernel`](crate::FakeKernel) at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Names of the maps, oldest first.
    pub maps: Vec<String>,
    /// Names of the programs, oldest first.
    pub programs: Vec<String>,
    /// How many BTF objects there are, but for those of modules.
    pub btfs: usize,
    /// How many BPF tokens.
    pub tokens: usize,
    /// How many links there are.
    pub links: usize,
    /// Pins.
    pub pins: Vec<PathBuf>,
    /// Directories made by `mkdir`.
    pub dirs: Vec<PathBuf>,
    /// Symbolic links, and files that were written.
    pub files: Vec<PathBuf>,
}

impl Live {
    /// Nothing is left.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn of(objects: &Objects, tree: &Tree) -> Self {
        let mut live = Self {
            pins: tree.pins().map(|(path, _)| path.to_owned()).collect(),
            dirs: tree.dirs().map(PathBuf::from).collect(),
            files: tree.others().map(PathBuf::from).collect(),
            ..Self::default()
        };
        for (_, object) in objects.iter() {
            match &object.body {
                Body::Map(map) => live.maps.push(map.info.name.clone()),
                Body::Prog(prog) => live.programs.push(prog.info.name.clone()),
                Body::Btf(btf) => live.btfs += usize::from(btf.module.is_none()),
                Body::Token => live.tokens += 1,
                Body::Link(_) => live.links += 1,
            }
        }
        live
    }
}
