//! What kind of kernel the fake is.

use onebpf_sys::{Errno, Feature, Host, ProgRunResult, Release};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) release: Release,
    pub(crate) features: BTreeSet<Feature>,
    pub(crate) cpus: u32,
    pub(crate) page_size: u32,
    pub(crate) privileged: bool,
    pub(crate) kernel_btf: Option<Arc<Vec<u8>>>,
    /// By program name.
    pub(crate) rejections: BTreeMap<String, Rejection>,
    /// By program name.
    pub(crate) runs: BTreeMap<String, ProgRunResult>,
}

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
            kernel_btf: None,
            rejections: BTreeMap::new(),
            runs: BTreeMap::new(),
        }
    }

    pub(crate) fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
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
