//! Maps: creation and elements.

use super::bpf::{address, address_mut, bpf, bpf_fd};
use super::{host, info, object_name};
use crate::uapi::{BPF_F_NUMA_NODE, BPF_F_TOKEN_FD, BPF_F_VTYPE_BTF_OBJ_FD, ElemAttr, MapCreateAttr, cmd};
use crate::{Errno, MapCreate};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

pub(super) fn create(map: &MapCreate<'_>) -> Result<OwnedFd, Errno> {
    let module = map.kernel_value.and_then(|value| value.module);
    let mut attr = MapCreateAttr {
        map_type: map.map_type,
        key_size: map.key_size,
        value_size: map.value_size,
        max_entries: map.max_entries,
        map_flags: map.flags
            | map.numa_node.map_or(0, |_| BPF_F_NUMA_NODE)
            | map.token.map_or(0, |_| BPF_F_TOKEN_FD)
            | module.map_or(0, |_| BPF_F_VTYPE_BTF_OBJ_FD),
        inner_map_fd: map.inner.map_or(0, raw),
        numa_node: map.numa_node.unwrap_or(0),
        map_name: object_name(map.name)?,
        btf_fd: map.btf.map_or(0, |b| raw(b.fd)),
        btf_key_type_id: map.btf.map_or(0, |b| b.key_type),
        btf_value_type_id: map.btf.map_or(0, |b| b.value_type),
        btf_vmlinux_value_type_id: map.kernel_value.map_or(0, |value| value.type_id),
        value_type_btf_obj_fd: module.map_or(0, raw),
        map_extra: map.extra,
        map_ifindex: map.ifindex,
        map_token_fd: map.token.map_or(0, raw),
    };
    // SAFETY: the attributes hold no address; the command returns a new fd.
    unsafe { bpf_fd(cmd::MAP_CREATE, &mut attr) }
}

pub(super) fn lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8], flags: u64) -> Result<(), Errno> {
    let sizes = sizes(map)?;
    sizes.check(key.len(), value.len())?;
    let mut attr = elem(map, key, flags);
    attr.value = address_mut(value);
    // SAFETY: `key` holds a whole key, `value` has room for all that the kernel writes; both outlive the
    // call.
    unsafe { bpf(cmd::MAP_LOOKUP_ELEM, &mut attr) }.map(drop)
}

pub(super) fn update(map: BorrowedFd<'_>, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
    let sizes = sizes(map)?;
    sizes.check(key.len(), value.len())?;
    update_checked(map, key, value, flags)
}

/// Slots take an fd: 4 bytes, or 8 in socket maps that were made so.
pub(super) fn update_object(
    map: BorrowedFd<'_>,
    key: &[u8],
    object: BorrowedFd<'_>,
    flags: u64,
) -> Result<(), Errno> {
    let sizes = sizes(map)?;
    sizes.check(key.len(), sizes.value)?;
    match sizes.value {
        4 => update_checked(map, key, &raw(object).to_ne_bytes(), flags),
        8 => update_checked(map, key, &u64::from(raw(object)).to_ne_bytes(), flags),
        _ => Err(Errno::INVAL),
    }
}

pub(super) fn delete(map: BorrowedFd<'_>, key: &[u8]) -> Result<(), Errno> {
    let sizes = sizes(map)?;
    sizes.check(key.len(), sizes.value)?;
    let mut attr = elem(map, key, 0);
    // SAFETY: `key` holds a whole key and outlives the call.
    unsafe { bpf(cmd::MAP_DELETE_ELEM, &mut attr) }.map(drop)
}

pub(super) fn next_key(map: BorrowedFd<'_>, key: Option<&[u8]>, next: &mut [u8]) -> Result<bool, Errno> {
    let sizes = sizes(map)?;
    sizes.check(next.len(), sizes.value)?;
    sizes.check(key.map_or(sizes.key, <[u8]>::len), sizes.value)?;
    let mut attr = elem(map, key.unwrap_or_default(), 0);
    attr.value = address_mut(next);
    // SAFETY: `key` holds a whole key, `next` has room for one; both outlive the call.
    match unsafe { bpf(cmd::MAP_GET_NEXT_KEY, &mut attr) } {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

pub(super) fn freeze(map: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut attr = ElemAttr { map_fd: raw(map), ..ElemAttr::default() };
    // SAFETY: the attributes hold no address.
    unsafe { bpf(cmd::MAP_FREEZE, &mut attr) }.map(drop)
}

fn update_checked(map: BorrowedFd<'_>, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
    let mut attr = elem(map, key, flags);
    attr.value = address(value);
    // SAFETY: the callers have checked that key and value are as long as the kernel reads; both outlive the
    // call.
    unsafe { bpf(cmd::MAP_UPDATE_ELEM, &mut attr) }.map(drop)
}

fn elem(map: BorrowedFd<'_>, key: &[u8], flags: u64) -> ElemAttr {
    ElemAttr { map_fd: raw(map), key: address(key), flags, ..ElemAttr::default() }
}

pub(super) fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

/// Bytes that the kernel moves for a key and for a value.
pub(super) struct Sizes {
    pub(super) key: usize,
    pub(super) value: usize,
}

impl Sizes {
    fn check(&self, key: usize, value: usize) -> Result<(), Errno> {
        if key == self.key && value == self.value { Ok(()) } else { Err(Errno::INVAL) }
    }
}

pub(super) fn sizes(map: BorrowedFd<'_>) -> Result<Sizes, Errno> {
    let info = info::map_sizes(map)?;
    Ok(Sizes { key: info.key_size as usize, value: info.value_buffer_size(host::possible_cpus()?) })
}
