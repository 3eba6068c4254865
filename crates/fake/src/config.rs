//! What kind of kernel the fake is.

use onebpf_sys::{Errno, Feature, Host, ProgRunResult, Release};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) release: Release,
    pub(crate) features: BTreeSet<Feature>,
    pub(crate) cpus: u32,
    pub(crate) page_size: u32,
    pub(crate) privileged: bool,
    /// BPF filesystems whose owner has delegated rights to whoever can reach them.
    pub(crate) delegating: BTreeSet<PathBuf>,
    pub(crate) kernel_btf: Option<Arc<Vec<u8>>>,
    /// By program name.
    pub(crate) rejections: BTreeMap<String, Rejection>,
    /// By program name.
    pub(crate) runs: BTreeMap<String, ProgRunResult>,
}

/// The configuration of the imitated kernel, as far as programs ask for it.
const CONFIG: &str = "\
# CONFIG_NUMA is not set
CONFIG_BPF=y
CONFIG_BPF_SYSCALL=y
CONFIG_NET=y
CONFIG_BTRFS_FS=m
CONFIG_HZ=250
CONFIG_LOG_BUF_SHIFT=17
CONFIG_DEFAULT_HOSTNAME=\"(none)\"
CONFIG_LOCALVERSION=\"-fake\"
";

#[derive(Clone)]
pub(crate) struct Rejection {
    pub(crate) errno: Errno,
    pub(crate) log: String,
}

impl Config {
    pub(crate) fn new(release: Release) -> Self {
        Self {
            release,
            features: Feature::all().filter(|feature| feature.since() <= release).collect(),
            cpus: 2,
            page_size: 4096,
            privileged: true,
            delegating: BTreeSet::new(),
            kernel_btf: None,
            rejections: BTreeMap::new(),
            runs: BTreeMap::new(),
        }
    }

    pub(crate) fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    /// What procfs and sysfs say where nobody has given a file.
    pub(crate) fn file(&self, path: &Path) -> Option<Vec<u8>> {
        let wrapper = self.has(Feature::SyscallWrapper);
        let config = format!("/boot/config-{}", self.host().release);
        let text = match path.to_str()? {
            path if path == config => CONFIG.to_owned(),
            "/sys/bus/event_source/devices/kprobe/type" if wrapper => "8\n".to_owned(),
            "/proc/kallsyms" => {
                let wrappers = ["x64", "arm64", "riscv", "s390x", "powerpc"].into_iter().filter(|_| wrapper);
                let line = |text: String, prefix| text + &format!("ffffffff81000100 T __{prefix}_sys_bpf\n");
                wrappers.fold("ffffffff81000000 T _stext\n".to_owned(), line)
            }
            _ => return None,
        };
        Some(text.into_bytes())
    }

    /// For what is older or newer than the table of features knows.
    pub(crate) fn at_least(&self, major: u32, minor: u32) -> bool {
        self.release >= Release::new(major, minor)
    }

    pub(crate) fn pages(&self, bytes: u64) -> u64 {
        bytes.div_ceil(u64::from(self.page_size.max(1)))
    }

    pub(crate) fn host(&self) -> Host {
        let Release { major, minor } = self.release;
        Host {
            release: format!("{major}.{minor}.0-fake"),
            version_code: major << 16 | minor.min(255) << 8,
            possible_cpus: self.cpus,
            page_size: self.page_size,
            privileged: self.privileged,
        }
    }
}

/// EINVAL for an object name that the kernel refuses (`bpf_obj_name_cpy`); `.` is taken since 5.2.
pub(crate) fn check_name(name: &str, config: &Config) -> Result<(), Errno> {
    let fits = name.len() <= onebpf_sys::OBJ_NAME_MAX;
    let dots = config.at_least(5, 2);
    let clean = name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || (c == b'.' && dots));
    if !name.is_empty() && !config.has(Feature::ObjectName) {
        return Err(Errno::TOOBIG);
    }
    if fits && clean { Ok(()) } else { Err(Errno::INVAL) }
}
