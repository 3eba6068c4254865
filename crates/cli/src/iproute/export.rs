//! Maps handed over a UNIX datagram socket: iproute2's bpf_scm.h.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 2 | version, 1 |
//! | 2 | 2 | number of maps |
//! | 4 | 64 | the object's path as it was typed |
//! | 72 | 16 | device and inode of the object |
//! | 88 | 36 each | `struct bpf_elf_map` |
//!
//! The fds come along in the same order (`SCM_RIGHTS`), at most 64 with one datagram.

use crate::exit::{Failure, Outcome};
use onebpf::object::{Dialect, MapSpec, Pinning};
use onebpf::{Loaded, Map, Spec};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, connect, recvmsg,
    sendmsg, socket_with,
};
use std::collections::BTreeSet;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The maps could not be handed over.
const CODE: &str = "E0913";
const VERSION: u16 = 1;
const NAME: usize = 64;
const STAT: usize = 72;
const HEADER: usize = 88;
const RECORD: usize = 36;
/// `BPF_SCM_MAX_FDS`.
const AT_ONCE: usize = 64;

/// Sends the maps that the object declares to whoever listens at `path`.
pub(crate) fn send(path: &Path, object: &Path, spec: &Spec, loaded: &Loaded) -> Outcome {
    let failed =
        |what: &str, errno: Errno| refused(&format!("handing over maps: {what} {}", path.display()), errno);
    let stat = std::fs::metadata(object).map_err(|error| crate::load_args::cannot_read(object, &error))?;
    let maps = exported(spec, loaded);
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(|errno| failed("making a socket for", errno))?;
    let address = SocketAddrUnix::new(path).map_err(|errno| failed("the path", errno))?;
    connect(&socket, &address)
        .map_err(|errno| failed("connecting to", errno).hint("`tc exec bpf import SOCKET` listens"))?;
    for part in maps.chunks(AT_ONCE) {
        let records: Vec<[u8; RECORD]> = part.iter().map(|(record, _)| *record).collect();
        let fds: Vec<BorrowedFd<'_>> = part.iter().map(|(_, map)| map.as_fd()).collect();
        let bytes = message(object, (stat.dev(), stat.ino()), &records);
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        let mut control = SendAncillaryBuffer::new(&mut room);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(&socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)
            .map_err(|errno| failed("sending to", errno))?;
    }
    Ok(())
}

/// What came over a socket.
#[derive(Debug, Default)]
pub(crate) struct Imported {
    /// iproute2's id of each map, and its fd.
    pub(crate) maps: Vec<(u32, OwnedFd)>,
}

/// Waits at `path` for one datagram of maps. The socket's file is gone afterwards. The fds are not closed on exec.
pub(crate) fn receive(path: &Path) -> Outcome<Imported> {
    let failed =
        |what: &str, errno: Errno| refused(&format!("taking over maps: {what} {}", path.display()), errno);
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(|errno| failed("making a socket for", errno))?;
    let address = SocketAddrUnix::new(path).map_err(|errno| failed("the path", errno))?;
    bind(&socket, &address).map_err(|errno| failed("binding", errno))?;
    let mut bytes = vec![0; HEADER + AT_ONCE * RECORD];
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let mut control = RecvAncillaryBuffer::new(&mut room);
    let received = recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::empty());
    // Nobody can send to it any more, whatever came.
    let _ = std::fs::remove_file(path);
    let length = received.map_err(|errno| failed("receiving from", errno))?.bytes;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(found) = message {
            fds.extend(found);
        }
    }
    let ids = ids(bytes.get(..length).unwrap_or_default());
    let ids = ids.filter(|ids| ids.len() == fds.len()).ok_or_else(|| {
        Failure::new(CODE, format!("what came over {} is no hand-over of maps", path.display()))
    })?;
    Ok(Imported { maps: ids.into_iter().zip(fds).collect() })
}

/// Maps of the object that a program can name, in its order, each with its record. Maps without an id of their own get
/// free ones: `BPF_MAP<id>` is how the receiver finds them.
fn exported<'a>(spec: &Spec, loaded: &'a Loaded) -> Vec<([u8; RECORD], &'a Map)> {
    let mut taken: BTreeSet<u32> = spec.maps.values().filter_map(|map| map.id).collect();
    let declared = spec
        .maps
        .values()
        .filter(|map| !matches!(map.dialect, Dialect::Data | Dialect::Kconfig | Dialect::StructOps));
    let mut maps = Vec::new();
    for spec in declared {
        let Some(map) = loaded.map(&spec.name) else { continue };
        let own = spec.id.or((spec.dialect == Dialect::BpfElfMap).then_some(0));
        let id = own.unwrap_or_else(|| (1..=u32::MAX).find(|id| !taken.contains(id)).unwrap_or_default());
        taken.insert(id);
        maps.push((record(spec, id), map));
    }
    maps
}

/// `struct bpf_elf_map`.
fn record(map: &MapSpec, id: u32) -> [u8; RECORD] {
    let pinning = match map.pinning {
        Pinning::None => 0,
        Pinning::Object => 1,
        Pinning::ByName | Pinning::Global => 2,
        Pinning::Custom(number) => number,
    };
    let words = [
        map.kind.0,
        map.key.size,
        map.value.size,
        map.max_entries,
        map.flags,
        id,
        pinning,
        map.inner_id.unwrap_or_default(),
        map.inner_idx.unwrap_or_default() as u32,
    ];
    let mut record = [0; RECORD];
    for (to, from) in record.iter_mut().zip(words.iter().flat_map(|word| word.to_ne_bytes())) {
        *to = from;
    }
    record
}

fn message(object: &Path, (device, inode): (u64, u64), records: &[[u8; RECORD]]) -> Vec<u8> {
    let mut bytes = Vec::from(VERSION.to_ne_bytes());
    bytes.extend((records.len() as u16).to_ne_bytes());
    // The name ends with a NUL within its field.
    bytes.extend(object.as_os_str().as_bytes().iter().take(NAME - 1));
    bytes.resize(STAT, 0);
    bytes.extend(device.to_ne_bytes());
    bytes.extend(inode.to_ne_bytes());
    bytes.extend(records.as_flattened());
    bytes
}

/// The ids in a datagram, if it is one of version 1 with all its records.
fn ids(bytes: &[u8]) -> Option<Vec<u32>> {
    let half = |at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    if half(0)? != VERSION {
        return None;
    }
    let records = bytes.get(HEADER..HEADER + usize::from(half(2)?) * RECORD)?;
    let id = |record: &[u8]| Some(u32::from_ne_bytes(record.get(20..24)?.try_into().ok()?));
    records.chunks(RECORD).map(id).collect()
}

fn refused(what: &str, errno: Errno) -> Failure {
    let errno = onebpf::sys::Errno::from(errno);
    onebpf::Report {
        code: CODE,
        message: format!("{what}: {errno}"),
        errno: Some(errno),
        ..onebpf::Report::default()
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_datagram_is_iproute2s() {
        let mut record = [0; RECORD];
        record[20] = 7;
        let bytes = message(Path::new("a/o.o"), (2, 3), &[record, [1; RECORD]]);
        assert_eq!(bytes.len(), 88 + 72);
        assert_eq!(bytes[..10], [1, 0, 2, 0, b'a', b'/', b'o', b'.', b'o', 0]);
        assert_eq!(bytes[72..88], [2_u64, 3].map(u64::to_ne_bytes).concat());
        assert_eq!(ids(&bytes), Some(vec![7, 0x0101_0101]));
        assert_eq!((ids(&bytes[..100]), ids(&[2, 0]), ids(&[])), (None, None, None));
        let long = "x".repeat(100);
        assert_eq!(message(Path::new(&long), (0, 0), &[])[66..69], [b'x', 0, 0]);
    }
}
