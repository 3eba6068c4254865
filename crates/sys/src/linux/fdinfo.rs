//! What /proc says of an fd.

use crate::{Errno, MapInfo, ObjectKind};
use std::os::fd::{AsRawFd, BorrowedFd};

/// The name of an anonymous inode tells what it is. Names: kernel/bpf/syscall.c (`bpf-map`, `bpf-prog`,
/// `bpf-link`; some had `bpf_link`), kernel/bpf/btf.c (`btf`).
pub(super) fn kind(fd: BorrowedFd<'_>) -> Result<Option<ObjectKind>, Errno> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let target = rustix::fs::readlink(path, Vec::new())?;
    let target = target.to_str().unwrap_or_default();
    let name = target.strip_prefix("anon_inode:").unwrap_or_default();
    Ok(match name.trim_matches(['[', ']']) {
        "bpf-map" => Some(ObjectKind::Map),
        "bpf-prog" => Some(ObjectKind::Program),
        "bpf-link" | "bpf_link" => Some(ObjectKind::Link),
        "btf" => Some(ObjectKind::Btf),
        _ => None,
    })
}

/// EINVAL unless `fd` is a `wanted`: the kernel answers for any kind, with another structure.
pub(super) fn expect(fd: BorrowedFd<'_>, wanted: ObjectKind) -> Result<(), Errno> {
    if kind(fd)? == Some(wanted) { Ok(()) } else { Err(Errno::INVAL) }
}

/// A map as /proc/self/fdinfo describes it: all that kernels before 4.13 tell, and `frozen` (since 5.2).
pub(super) fn map(fd: BorrowedFd<'_>) -> Result<MapInfo, Errno> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
    parse_map(&text).ok_or(Errno::INVAL)
}

/// `None` if the text is not that of a map.
fn parse_map(text: &str) -> Option<MapInfo> {
    let mut info = MapInfo::default();
    let mut is_map = false;
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = number(value.trim()).unwrap_or(0);
        match name {
            "map_type" => (info.map_type, is_map) = (value as u32, true),
            "key_size" => info.key_size = value as u32,
            "value_size" => info.value_size = value as u32,
            "max_entries" => info.max_entries = value as u32,
            "map_flags" => info.flags = value as u32,
            "map_extra" => info.extra = value,
            "map_id" => info.id = value as u32,
            // Printed once the array has an owner (Linux 4.10, 5.10).
            "owner_prog_type" => info.owner_prog_type = Some(value as u32),
            "owner_jited" => info.owner_jited = Some(value != 0),
            "frozen" => info.frozen = value != 0,
            _ => {}
        }
    }
    is_map.then_some(info)
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_map;

    #[test]
    fn reads_a_map() {
        let text = "pos:\t0\nflags:\t02000002\nmap_type:\t2\nkey_size:\t4\nvalue_size:\t16\nmax_entries:\t1\n\
                    map_flags:\t0x480\nmap_extra:\t0x0\nmemlock:\t280\nmap_id:\t7\nfrozen:\t1\n";
        let info = parse_map(text).expect("a map");
        assert_eq!((info.map_type, info.key_size, info.value_size, info.max_entries), (2, 4, 16, 1));
        assert_eq!((info.flags, info.id, info.frozen), (0x480, 7, true));
    }

    #[test]
    fn reads_the_owner_of_a_program_array() {
        let text = "map_type:\t3\nkey_size:\t4\nvalue_size:\t4\nmax_entries:\t8\nmap_flags:\t0x0\n\
                    owner_prog_type:\t6\nowner_jited:\t1\n";
        let info = parse_map(text).expect("a map");
        assert_eq!((info.owner_prog_type, info.owner_jited), (Some(6), Some(true)));
    }

    #[test]
    fn other_files_are_not_maps() {
        assert_eq!(parse_map("pos:\t0\nflags:\t02\nmnt_id:\t9\n"), None);
    }
}
