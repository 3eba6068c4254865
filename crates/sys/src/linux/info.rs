//! What the kernel says of its objects, and the lists of their ids.

use super::bpf::{address_mut, bpf, bpf_fd};
use super::fdinfo;
use crate::uapi::{IdAttr, InfoAttr, RawBtfInfo, RawLinkInfo, RawMapInfo, RawProgInfo, cmd};
use crate::{BtfInfo, Errno, LinkInfo, MapInfo, ObjectKind, ProgInfo};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use zerocopy::{FromBytes, Immutable, IntoBytes};

pub(super) fn map(fd: BorrowedFd<'_>) -> Result<MapInfo, Errno> {
    fdinfo::expect(fd, ObjectKind::Map)?;
    let proc = fdinfo::map(fd)?;
    Ok(MapInfo {
        frozen: proc.frozen,
        owner_prog_type: proc.owner_prog_type,
        owner_jited: proc.owner_jited,
        ..map_sizes(fd)?
    })
}

/// [`map`] without what only /proc tells: one syscall. The answer is nonsense, though harmless, for an fd that is not a
/// map's: the caller's next bpf(2) call refuses it.
pub(super) fn map_sizes(fd: BorrowedFd<'_>) -> Result<MapInfo, Errno> {
    let mut raw = RawMapInfo::default();
    // SAFETY: the structure holds no address for the kernel to follow.
    match unsafe { fill(fd, &mut raw) } {
        Ok(()) => {}
        Err(Errno::INVAL) => return fdinfo::map(fd), // before 4.13
        Err(e) => return Err(e),
    }
    Ok(MapInfo {
        id: raw.id,
        map_type: raw.map_type,
        key_size: raw.key_size,
        value_size: raw.value_size,
        max_entries: raw.max_entries,
        flags: raw.map_flags,
        name: text(&raw.name),
        btf_id: raw.btf_id,
        btf_key_type: raw.btf_key_type_id,
        btf_value_type: raw.btf_value_type_id,
        extra: raw.map_extra,
        ..MapInfo::default()
    })
}

pub(super) fn prog(fd: BorrowedFd<'_>) -> Result<ProgInfo, Errno> {
    fdinfo::expect(fd, ObjectKind::Program)?;
    let mut size = RawProgInfo::default();
    // SAFETY: the structure holds no address.
    unsafe { fill(fd, &mut size) }?;

    let mut map_ids = vec![0u32; size.nr_map_ids as usize];
    let mut raw = RawProgInfo {
        nr_map_ids: size.nr_map_ids,
        map_ids: address_mut(&mut map_ids),
        ..RawProgInfo::default()
    };
    // SAFETY: the one address is that of `map_ids`, exclusive, as long as `nr_map_ids` says. A program has no
    // more maps than BPF_MAXINSNS, so the vector is bounded.
    unsafe { fill(fd, &mut raw) }?;
    map_ids.truncate(raw.nr_map_ids as usize);

    let gpl = if cfg!(target_endian = "big") { raw.bits >> 31 } else { raw.bits & 1 };
    Ok(ProgInfo {
        id: raw.id,
        prog_type: raw.prog_type,
        tag: raw.tag,
        name: text(&raw.name),
        load_time_ns: raw.load_time,
        map_ids,
        btf_id: raw.btf_id,
        jited_len: raw.jited_prog_len,
        xlated_len: raw.xlated_prog_len,
        verified_insns: raw.verified_insns,
        gpl_compatible: gpl != 0,
        run_count: raw.run_cnt,
        run_time_ns: raw.run_time_ns,
    })
}

pub(super) fn link(fd: BorrowedFd<'_>) -> Result<LinkInfo, Errno> {
    /// `enum bpf_link_type`.
    const STRUCT_OPS: u32 = 9;
    fdinfo::expect(fd, ObjectKind::Link)?;
    let mut raw = RawLinkInfo::default();
    // SAFETY: it is all zero, so that no part of it is an address for the kernel to write names to.
    unsafe { fill(fd, &mut raw) }?;
    let map_id = if raw.link_type == STRUCT_OPS { raw.map_id } else { 0 };
    Ok(LinkInfo { id: raw.id, link_type: raw.link_type, prog_id: raw.prog_id, map_id })
}

pub(super) fn btf(fd: BorrowedFd<'_>) -> Result<BtfInfo, Errno> {
    fdinfo::expect(fd, ObjectKind::Btf)?;
    let mut size = RawBtfInfo::default();
    // SAFETY: the structure holds no address.
    unsafe { fill(fd, &mut size) }?;

    let mut data = vec![0u8; size.btf_size as usize];
    let mut name = vec![0u8; if size.name_len == 0 { 0 } else { size.name_len as usize + 1 }];
    let mut raw = RawBtfInfo {
        btf: address_mut(&mut data),
        btf_size: size.btf_size,
        name: address_mut(&mut name),
        name_len: name.len() as u32,
        ..RawBtfInfo::default()
    };
    // SAFETY: both addresses are those of exclusive vectors, as long as `btf_size` and `name_len` say.
    unsafe { fill(fd, &mut raw) }?;
    Ok(BtfInfo { id: raw.id, name: text(&name), kernel: raw.kernel_btf != 0, data })
}

pub(super) fn next_id(kind: ObjectKind, after: u32) -> Result<Option<u32>, Errno> {
    let command = match kind {
        ObjectKind::Map => cmd::MAP_GET_NEXT_ID,
        ObjectKind::Program => cmd::PROG_GET_NEXT_ID,
        ObjectKind::Link => cmd::LINK_GET_NEXT_ID,
        ObjectKind::Btf => cmd::BTF_GET_NEXT_ID,
    };
    let mut attr = IdAttr { id: after, ..IdAttr::default() };
    // SAFETY: the attributes hold no address.
    match unsafe { bpf(command, &mut attr) } {
        Ok(_) => Ok(Some(attr.next_id)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

pub(super) fn open_id(kind: ObjectKind, id: u32) -> Result<OwnedFd, Errno> {
    let command = match kind {
        ObjectKind::Map => cmd::MAP_GET_FD_BY_ID,
        ObjectKind::Program => cmd::PROG_GET_FD_BY_ID,
        ObjectKind::Link => cmd::LINK_GET_FD_BY_ID,
        ObjectKind::Btf => cmd::BTF_GET_FD_BY_ID,
    };
    let mut attr = IdAttr { id, ..IdAttr::default() };
    // SAFETY: the attributes hold no address; the command returns a new fd.
    unsafe { bpf_fd(command, &mut attr) }
}

/// `BPF_OBJ_GET_INFO_BY_FD` into `info`. What an older kernel does not know stays as it was.
///
/// # Safety
///
/// As for [`bpf`]: addresses in `info` must be valid for what the kernel writes there.
unsafe fn fill<T: IntoBytes + FromBytes + Immutable>(fd: BorrowedFd<'_>, info: &mut T) -> Result<(), Errno> {
    let bytes = info.as_mut_bytes();
    let mut attr =
        InfoAttr { bpf_fd: fd.as_raw_fd() as u32, info_len: bytes.len() as u32, info: address_mut(bytes) };
    // SAFETY: `info` is exclusive, `info_len` its length, any bit pattern valid for it; the caller answers
    // for the addresses inside.
    unsafe { bpf(cmd::OBJ_GET_INFO_BY_FD, &mut attr) }.map(drop)
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}
