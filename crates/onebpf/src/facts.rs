//! All that planning knows of a host, as one value that can be saved and carried to another machine.

use crate::error::{Code, Error, Result};
use crate::kallsyms::KernelSymbols;
use crate::kconfig::KernelConfig;
use crate::kernel_types::{KernelName, KernelTypes, Named, Unlike};
use crate::layout::TypeLayout;
use crate::options::Token;
use crate::target::Target;
use onebpf_sys::{Errno, Feature, FeatureSet, Host, Kernel, MapInfo, ObjectKind};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

/// Where a BPF filesystem is mounted on every host that has one.
pub const DEFAULT_BPFFS: &str = "/sys/fs/bpf";

/// A host, as far as a plan depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Facts {
    /// Release, CPUs, page size, privilege.
    pub host: Host,
    /// What the kernel can do. What is not known is assumed, and asked for only when the kernel refuses.
    pub features: FeatureSet,
    /// Whether the kernel has BTF of its own; `None`: nobody looked.
    #[serde(default)]
    pub kernel_btf: Option<bool>,
    /// The types that CO-RE relocates against; `None`: no program needs them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<KernelTypes>,
    /// The types of the kernel that runs, for what the object names of it; `None`: it names nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<KernelTypes>,
    /// Whether a BPF token can be had at [`DEFAULT_BPFFS`]; `None`: nobody tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<bool>,
    /// What is at the paths that a load would pin to or reuse.
    #[serde(default)]
    pub pins: BTreeMap<PathBuf, Pinned>,
    /// What the directories above those paths are.
    #[serde(default)]
    pub dirs: BTreeMap<PathBuf, Dir>,
    /// Whether the kernel compiles programs to machine code; `None`: no pinned program array asks, or it cannot be seen.
    #[serde(default)]
    pub jit: Option<bool>,
    /// What iproute2's layout depends on; `None`: no map needs it.
    #[serde(default)]
    pub iproute2: Option<Iproute2Facts>,
    /// Types and functions of the running kernel that the object names; `None`: it has no such.
    #[serde(default)]
    pub named: Vec<(KernelName, Option<Named>)>,
    /// Programs in the kernel that programs of the object attach to, by the name of the latter.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub targets: BTreeMap<String, Target>,
    /// What the kernel's configuration says of the options that the object asks for; `None`: it asks for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<KernelConfig>,
    /// Addresses of the kernel's symbols that the object names; `None`: it names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbols: Option<KernelSymbols>,
    /// Externs of the object that are not in the running kernel as they are declared, by their names in the object.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unlike: BTreeMap<String, Unlike>,
}

/// iproute2's part of a host: where its BPF filesystem is, and what its configuration says of pinning.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Iproute2Facts {
    /// The mount point; where one is to be mounted, if there is none.
    pub mount: PathBuf,
    /// Whether a BPF filesystem is there.
    pub mounted: bool,
    /// What `xdp` and `ip` beside the directory `tc` are.
    pub siblings: BTreeMap<String, Sibling>,
    /// Directories for numbered pinning, below the mount point, as `bpf_pinning` says.
    pub database: BTreeMap<u32, String>,
    /// Lines of that file which mean nothing.
    pub warnings: Vec<String>,
}

/// What stands where iproute2 puts a symbolic link to `tc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sibling {
    /// Nothing.
    Absent,
    /// A symbolic link.
    Link,
    /// Something else, e.g. a directory with globals of its own.
    Own,
}

/// A map that is pinned, as far as can be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PinnedMap {
    /// What the kernel says of it.
    pub info: MapInfo,
    /// One of the maps in it, if it holds maps and is not empty: all in it are alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner: Option<Box<MapInfo>>,
    /// Its key's members, if it has BTF.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<TypeLayout>,
    /// Its value's members, if it has BTF.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<TypeLayout>,
}

impl From<MapInfo> for PinnedMap {
    fn from(info: MapInfo) -> Self {
        Self { info, ..Self::default() }
    }
}

/// What is at a path on a BPF filesystem.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pinned {
    /// Nothing (ENOENT, and only that).
    Absent,
    /// A map.
    Map(Box<PinnedMap>),
    /// Something else that can be pinned.
    Other(ObjectKind),
    /// It could not be looked at.
    Unreadable(Errno),
}

/// What is at a directory's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dir {
    /// Nothing.
    Absent,
    /// Part of a BPF filesystem.
    Bpffs,
    /// Part of another filesystem.
    Foreign,
    /// It could not be looked at.
    Unreadable(Errno),
}

impl Facts {
    /// Reads facts that another run, perhaps on another machine, has saved.
    ///
    /// # Errors
    /// E0312: not JSON, not facts, or numbers that no host has.
    pub fn from_json(text: &str) -> Result<Self> {
        let facts: Self =
            serde_json::from_str(text).map_err(|e| Error::new(Code::Facts, format!("saved facts: {e}")))?;
        facts.check()?;
        Ok(facts)
    }

    /// The same facts for [`from_json`](Self::from_json).
    pub fn to_json(&self) -> String {
        // Strings, integers and maps with string keys: nothing here that JSON could refuse except paths that are
        // not UTF-8, and such a path cannot be named in an option that is text.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Tries to make a BPF token at [`DEFAULT_BPFFS`], as libbpf does, and remembers whether that worked.
    pub fn try_token(&mut self, kernel: &dyn Kernel) {
        self.token = Some(kernel.token_create(Path::new(DEFAULT_BPFFS)).is_ok());
    }

    /// The BPF filesystem that a load with this option takes its token from, as far as is known.
    pub(crate) fn token_at<'a>(&self, option: &'a Token) -> Option<&'a Path> {
        match option {
            Token::From(path) => Some(path),
            Token::IfNeeded => self.token.unwrap_or_default().then(|| Path::new(DEFAULT_BPFFS)),
            Token::Never => None,
        }
    }

    /// Asks `kernel` for `wanted` and remembers the answers, also the inconclusive ones.
    pub fn probe(&mut self, kernel: &dyn Kernel, wanted: &BTreeSet<Feature>) {
        self.probe_with(kernel, None, wanted);
    }

    /// [`probe`](Self::probe) by the right of a BPF token.
    pub fn probe_with(
        &mut self,
        kernel: &dyn Kernel,
        token: Option<BorrowedFd<'_>>,
        wanted: &BTreeSet<Feature>,
    ) {
        for &feature in wanted {
            let answer = onebpf_sys::probe_with(kernel, token, feature);
            self.features.0.insert(feature, answer);
        }
    }

    /// What is known of a name; `None` if nobody looked.
    pub(crate) fn named(&self, wanted: &KernelName) -> Option<&(KernelName, Option<Named>)> {
        self.named.iter().find(|(name, _)| name == wanted)
    }

    fn check(&self) -> Result<()> {
        let bad = |what: String| Err(Error::new(Code::Facts, format!("saved facts: {what}")));
        let Host { page_size, possible_cpus, .. } = self.host;
        if !page_size.is_power_of_two() || !(0x1000..=0x10_0000).contains(&page_size) {
            return bad(format!("a page of {page_size} bytes"));
        }
        if possible_cpus == 0 || possible_cpus > 1 << 16 {
            return bad(format!("{possible_cpus} CPUs"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel_types::{Module, NameKind};
    use onebpf_sys::Support;

    fn facts() -> Facts {
        let mut facts = Facts {
            host: Host { release: "6.1.0".into(), possible_cpus: 4, page_size: 4096, ..Host::default() },
            ..Facts::default()
        };
        facts.features.0.insert(Feature::Btf, Support::Yes);
        facts.pins.insert(
            "/sys/fs/bpf/m".into(),
            Pinned::Map(Box::new(MapInfo { id: 7, ..MapInfo::default() }.into())),
        );
        let name = |name: &str, kind| KernelName { name: name.into(), kind, module: None };
        facts.named.push((name("vfs_read", NameKind::Function), None));
        let module = Some(Module { name: "nf_nat".into(), id: 7 });
        facts.named.push((name("nat", NameKind::Struct), Some(Named { btf_id: 3, module })));
        facts
    }

    #[test]
    fn facts_survive_a_journey() {
        assert_eq!(Facts::from_json(&facts().to_json()).unwrap(), facts());
    }

    #[test]
    fn damaged_facts_are_refused() {
        for (page, cpus) in [(0, 1), (4095, 1), (1 << 30, 1), (4096, 0), (4096, u32::MAX)] {
            let mut facts = facts();
            facts.host.page_size = page;
            facts.host.possible_cpus = cpus;
            assert_eq!(Facts::from_json(&facts.to_json()).unwrap_err().code(), "E0312");
        }
        assert_eq!(Facts::from_json("{}").unwrap_err().code(), "E0312");
    }
}
