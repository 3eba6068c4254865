//! Network namespaces, entered as `ip netns exec` and `tc -n` enter them.

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use std::path::Path;

/// Where iproute2 keeps the names.
const NAMES: &str = "/var/run/netns";

/// Moves the calling thread, and the threads that it starts later, into the network namespace `name`, with a mount
/// namespace of its own in which /sys shows that network: what was mounted below /sys is gone, a BPF filesystem
/// too (`netns_switch()` of iproute2).
///
/// # Errors
/// ENOENT: there is no such namespace. EPERM: needs CAP_SYS_ADMIN.
pub fn enter_netns(name: &str) -> crate::Result<()> {
    enter(&Path::new(NAMES).join(name))
        .map_err(|errno| crate::Error { op: crate::Op::Netns, errno: errno.into() })
}

fn enter(path: &Path) -> rustix::io::Result<()> {
    let netns = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::thread::move_into_link_name_space(
        std::os::fd::AsFd::as_fd(&netns),
        Some(LinkNameSpaceType::Network),
    )?;
    // SAFETY: NEWNS shares no memory and closes no fd; it only gives this thread its own view of the mounts.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS)? };
    // Nothing that is mounted from here on may show outside.
    rustix::mount::mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    // A system without /sys has nothing to detach.
    let _ = rustix::mount::unmount("/sys", UnmountFlags::DETACH);
    rustix::mount::mount("sysfs", "/sys", "sysfs", MountFlags::empty(), None)
}
