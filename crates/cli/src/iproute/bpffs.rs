//! Paths on iproute2's BPF filesystem.

use crate::exit::{Failure, Outcome};
use onebpf::{Kernel, iproute2_mount_point};
use std::path::PathBuf;

/// The mount point that the environment names: no other is taken then.
pub(crate) fn only() -> Option<PathBuf> {
    std::env::var_os("TC_BPF_MNT").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// A pinned object's path: `m:REL` is under the folder of the hook.
pub(crate) fn path(kernel: &dyn Kernel, typed: &str, folder: &str) -> Outcome<PathBuf> {
    match typed.strip_prefix("m:") {
        Some("") => Err(Failure::Usage("`m:` needs a path after it".to_owned())),
        Some(rest) => {
            let root = iproute2_mount_point(kernel, only().as_deref());
            Ok(root.join(folder).join(rest.trim_start_matches('/')))
        }
        None => Ok(typed.into()),
    }
}
