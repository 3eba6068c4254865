//! An object's fd is the write end of a real pipe; the kernel in memory keeps the read end.
//!
//! So `dup`, `close` and passing an fd to another thread work as they do with a real object, the pipe's
//! inode says which object an fd stands for, and the read end hangs up when the last fd is gone: exact
//! counting without a line of `unsafe`.

use onebpf_sys::Errno;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::linux::fs::MetadataExt;

/// Device and inode number: which pipe an fd belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity(u64, u64);

impl Identity {
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Result<Self, Errno> {
        let stat = rustix::fs::fstat(fd)?;
        Ok(Self(stat.st_dev, stat.st_ino))
    }

    /// Of a bare number, as instructions carry it. EBADF: no such fd is open.
    pub(crate) fn of_number(fd: i32) -> Result<Self, Errno> {
        let stat = std::fs::metadata(format!("/proc/self/fd/{fd}")).map_err(|_| Errno::BADF)?;
        Ok(Self(stat.st_dev(), stat.st_ino()))
    }
}

/// The kernel's end.
#[derive(Debug)]
pub(crate) struct Handle {
    read: OwnedFd,
    pub(crate) identity: Identity,
}

impl Handle {
    /// A new object's handle and its first fd.
    pub(crate) fn new() -> Result<(Self, OwnedFd), Errno> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        // As the real implementation does: fd 0 would read as "none" in attributes.
        let write = if write.as_raw_fd() > 2 { write } else { rustix::io::fcntl_dupfd_cloexec(&write, 3)? };
        let identity = Identity::of(std::os::fd::AsFd::as_fd(&read))?;
        Ok((Self { read, identity }, write))
    }

    /// One more fd, also when none is left.
    pub(crate) fn open(&self) -> Result<OwnedFd, Errno> {
        let path = format!("/proc/self/fd/{}", self.read.as_raw_fd());
        Ok(rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?)
    }
}

/// For each handle, whether somebody still has an fd of it.
pub(crate) fn held<'a>(handles: impl Iterator<Item = &'a Handle>) -> Vec<bool> {
    let mut ends: Vec<PollFd<'_>> = handles.map(|h| PollFd::new(&h.read, PollFlags::empty())).collect();
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    while let Err(rustix::io::Errno::INTR) = poll(&mut ends, Some(&now)) {}
    ends.iter().map(|end| !end.revents().contains(PollFlags::HUP)).collect()
}

#[cfg(test)]
mod tests {
    use super::{Handle, Identity, held};
    use std::os::fd::{AsFd, AsRawFd};

    #[test]
    fn the_last_fd_is_noticed() {
        let (handle, fd) = Handle::new().expect("pipe");
        let copy = fd.try_clone().expect("dup");
        assert_eq!(Identity::of(copy.as_fd()), Ok(handle.identity));
        assert_eq!(Identity::of_number(copy.as_raw_fd()), Ok(handle.identity));
        drop(fd);
        assert_eq!(held([&handle].into_iter()), [true]);
        drop(copy);
        assert_eq!(held([&handle].into_iter()), [false]);
        let again = handle.open().expect("reopen");
        assert_eq!(held([&handle].into_iter()), [true]);
        drop(again);
        assert_eq!(held([&handle].into_iter()), [false]);
    }
}
