//! What a kernel in memory is told to be.

use crate::FakeKernel;
use crate::config::Rejection;
use crate::objects::Body;
use crate::objects::btf::Btf;
use onebpf_sys::{Errno, Feature, ProgRunResult};
use std::path::Path;
use std::sync::Arc;

impl FakeKernel {
    /// Adds a feature that the release does not have by itself, as distributions do.
    #[must_use]
    pub fn with(self, feature: Feature) -> Self {
        self.configure(|config| {
            config.features.insert(feature);
        })
    }

    /// Takes a feature away.
    #[must_use]
    pub fn without(self, feature: Feature) -> Self {
        self.configure(|config| {
            config.features.remove(&feature);
        })
    }

    /// Sets the number of possible CPUs: at least 1.
    #[must_use]
    pub fn with_cpus(self, cpus: u32) -> Self {
        self.configure(|config| config.cpus = cpus.max(1))
    }

    /// Gives the kernel BTF of its own.
    #[must_use]
    pub fn with_kernel_btf(self, data: Vec<u8>) -> Self {
        self.configure(|config| config.kernel_btf = Some(Arc::new(data)))
    }

    /// Loads a module with BTF of its own, split from the kernel's.
    ///
    /// # Panics
    ///
    /// If the process can open no more files.
    #[must_use]
    pub fn with_module(self, name: &str, data: Vec<u8>) -> Self {
        {
            let mut state = self.lock();
            let held = state.objects.add(Body::Btf(Btf::of_module(name, data)));
            state.modules.push(held.unwrap_or_else(|e| panic!("FakeKernel::with_module({name:?}): {e}")));
        }
        self
    }

    /// Every bpf(2) call is answered with EPERM.
    #[must_use]
    pub fn unprivileged(self) -> Self {
        self.configure(|config| config.privileged = false)
    }

    /// Mounts one more BPF filesystem.
    #[must_use]
    pub fn with_bpffs(self, path: impl AsRef<Path>) -> Self {
        self.lock().tree.mount(path.as_ref());
        self
    }

    /// Takes the BPF filesystem at `path` away.
    #[must_use]
    pub fn without_bpffs(self, path: impl AsRef<Path>) -> Self {
        self.lock().tree.unmount(path.as_ref());
        self
    }

    /// Gives the host an ordinary file.
    #[must_use]
    pub fn with_file(self, path: impl AsRef<Path>, data: impl AsRef<[u8]>) -> Self {
        self.lock().tree.give_file(path.as_ref(), data.as_ref());
        self
    }

    /// From now on a program of this name is refused, with these words in its log.
    pub fn reject(&self, program: &str, errno: Errno, log: &str) {
        let rule = Rejection { errno, log: log.to_owned() };
        self.lock().config.rejections.insert(program.to_owned(), rule);
    }

    /// From now on a test run of a program of this name gives this result.
    pub fn answer_runs(&self, program: &str, result: ProgRunResult) {
        self.lock().config.runs.insert(program.to_owned(), result);
    }
}
