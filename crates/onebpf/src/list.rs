//! Going through all objects of a kind.

use crate::error::{Code, Error, Result};
use onebpf_sys::{Kernel, OBJ_NAME_MAX, ObjectKind};
use std::os::fd::AsFd;

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

/// The id of the only map or program of that name; the kernel keeps 15 bytes of it. Needs CAP_SYS_ADMIN.
///
/// # Errors
/// E0411 if there is none, if there are several, or if the kernel lets nobody look.
pub fn find_named(kernel: &dyn Kernel, kind: ObjectKind, name: &str) -> Result<u32> {
    let (noun, verb) = if kind == ObjectKind::Map { ("map", "map") } else { ("program", "prog") };
    let kept = name.get(..OBJ_NAME_MAX).unwrap_or(name);
    let mut ids = Vec::new();
    for id in list(kernel, kind) {
        let id = id?;
        // What goes while it is looked at is not there.
        let found = kernel.open_id(kind, id).and_then(|fd| match kind {
            ObjectKind::Map => kernel.map_info(fd.as_fd()).map(|info| info.name),
            _ => kernel.prog_info(fd.as_fd()).map(|info| info.name),
        });
        ids.extend(found.ok().filter(|found| found == kept).map(|_| id));
    }
    match ids[..] {
        [id] => Ok(id),
        [] => Err(Error::new(Code::NoObject, format!("there is no {noun} `{name}` in this kernel"))
            .hint(format!("`onebpf {verb} list` shows all"))),
        _ => {
            let which: Vec<String> = ids.iter().map(u32::to_string).collect();
            Err(Error::new(Code::NoObject, format!("{} {noun}s are named `{name}`", ids.len()))
                .hint(format!("say which one: id {}", which.join(", id "))))
        }
    }
}
