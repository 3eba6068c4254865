//! Going through all objects of a kind.

use crate::error::{Code, Error, Result};
use onebpf_sys::{Kernel, ObjectKind};

/// The ids of all objects of a kind that the kernel holds now, in rising order. Needs CAP_SYS_ADMIN. Since Linux
/// 4.13 (BTF: 4.18, links: 5.8). An object may be gone when its id is used.
pub fn list(kernel: &dyn Kernel, kind: ObjectKind) -> impl Iterator<Item = Result<u32>> + '_ {
    let mut last = Some(0);
    std::iter::from_fn(move || {
        let next = kernel.next_id(kind, last?);
        // A kernel that does not count up would go round for ever.
        let next = next.map(|id| id.filter(|id| Some(*id) > last));
        last = next.ok().flatten();
        let refused = |e| Error::refused(Code::NoObject, "listing objects", e);
        next.map_err(refused).transpose()
    })
}
