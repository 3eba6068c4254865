//! Links: creation and update.

use super::bpf::{bpf, bpf_fd};
use crate::uapi::{LinkCreateAttr, LinkUpdateAttr, cmd};
use crate::{Errno, LinkCreate};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

pub(super) fn create(link: LinkCreate<'_>) -> Result<OwnedFd, Errno> {
    let LinkCreate { object, target, attach_type, flags } = link;
    let mut attr =
        LinkCreateAttr { prog_fd: object.as_raw_fd() as u32, target_fd: target, attach_type, flags };
    // SAFETY: the attributes hold no address; the command returns a new fd.
    unsafe { bpf_fd(cmd::LINK_CREATE, &mut attr) }
}

pub(super) fn update(
    link: BorrowedFd<'_>,
    object: BorrowedFd<'_>,
    old: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    const BPF_F_REPLACE: u32 = 1 << 2;
    let mut attr = LinkUpdateAttr {
        link_fd: link.as_raw_fd() as u32,
        new_prog_fd: object.as_raw_fd() as u32,
        flags: old.map_or(0, |_| BPF_F_REPLACE),
        old_prog_fd: old.map_or(0, |old| old.as_raw_fd() as u32),
    };
    // SAFETY: the attributes hold no address.
    unsafe { bpf(cmd::LINK_UPDATE, &mut attr) }.map(drop)
}
