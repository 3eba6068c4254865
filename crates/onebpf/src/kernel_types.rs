//! The types that CO-RE relocates against: the running kernel's, or those of a file.

use crate::error::{Code, Error, Result};
use onebpf_btf::Btf;
use onebpf_sys::{Errno, Kernel};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the running kernel shows its BTF (Linux 5.4, with `CONFIG_DEBUG_INFO_BTF`).
const RUNNING: &str = "/sys/kernel/btf/vmlinux";

/// The types of a kernel. What is saved of them is where they come from.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct KernelTypes {
    /// The file that they are read from.
    pub source: PathBuf,
    /// The types; `None`: there are none, or they were not saved.
    #[serde(skip)]
    pub btf: Option<Btf>,
}

impl KernelTypes {
    /// Reads the types that CO-RE relocates against: of the running kernel, or those at `path`, a file of BTF, an ELF file
    /// with a `.BTF` section, or a directory in which the file for a kernel is found by its release. The kernel's own are
    /// mapped, not copied.
    ///
    /// # Errors
    /// E0313 if there is no such file, E0408 if the kernel cannot be asked, E01xx or E02xx if the file holds no BTF.
    pub fn read(kernel: &dyn Kernel, path: Option<&Path>, release: &str) -> Result<Self> {
        let Some(path) = path else {
            let data =
                kernel.kernel_btf().map_err(|e| Error::refused(Code::Observe, "the kernel's BTF", e))?;
            return Ok(Self { source: RUNNING.into(), btf: data.map(Btf::parse).transpose()? });
        };
        let (source, data) = file(kernel, path, release)?;
        let data = match onebpf_object::btf_of_elf(&data)? {
            Some(section) => section,
            None => data,
        };
        Ok(Self { source, btf: Some(Btf::parse(Arc::new(data))?) })
    }
}

/// The file itself, or the one in a directory that is named after the release, in any of the usual ways.
fn file(kernel: &dyn Kernel, path: &Path, release: &str) -> Result<(PathBuf, Vec<u8>)> {
    let first = match kernel.read_file(path) {
        Ok(data) => return Ok((path.to_owned(), data)),
        Err(error) => error,
    };
    let cannot = |text: String| Error::new(Code::File, format!("kernel BTF {}: {text}", path.display()));
    if first.errno != Errno::ISDIR {
        return Err(cannot(first.errno.to_string()));
    }
    let names = [
        format!("{release}.btf"),
        release.to_owned(),
        format!("vmlinux-{release}"),
        format!("{release}/vmlinux"),
        format!("btf/vmlinux-{release}"),
    ];
    // A release is one name, and leads nowhere else.
    let usable = !release.is_empty() && !release.contains('/') && release != "..";
    for name in names.iter().filter(|_| usable) {
        let path = path.join(name);
        if let Ok(data) = kernel.read_file(&path) {
            return Ok((path, data));
        }
    }
    Err(cannot(format!("the directory has no file for the kernel `{release}`"))
        .hint(format!("looked for {}", names.join(", "))))
}
