//! Facts of the host.

use crate::{Errno, Host};
use rustix::process::{Resource, Rlimit};
use rustix::thread::CapabilitySet;
use std::sync::OnceLock;

pub(super) fn host() -> Result<Host, Errno> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let ubuntu = std::fs::read_to_string("/proc/version_signature").unwrap_or_default();
    let effective = rustix::thread::capabilities(None)?.effective;
    Ok(Host {
        version_code: version_code(&ubuntu, &uname.version().to_string_lossy(), &release),
        release,
        possible_cpus: possible_cpus()?,
        page_size: rustix::param::page_size() as u32,
        privileged: effective.intersects(CapabilitySet::BPF | CapabilitySet::SYS_ADMIN),
    })
}

/// CPUs that may ever be there; the kernel fixes their number at boot.
pub(super) fn possible_cpus() -> Result<u32, Errno> {
    static CPUS: OnceLock<u32> = OnceLock::new();
    if let Some(&cpus) = CPUS.get() {
        return Ok(cpus);
    }
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let cpus = count_cpus(text.trim()).ok_or(Errno::INVAL)?;
    Ok(*CPUS.get_or_init(|| cpus))
}

pub(super) fn lift_memlock() -> Result<(), Errno> {
    let unlimited = Rlimit { current: None, maximum: None };
    Ok(rustix::process::setrlimit(Resource::Memlock, unlimited)?)
}

/// Counts the CPUs in a list like `0-3,8`; `None` if it is not one.
fn count_cpus(list: &str) -> Option<u32> {
    let mut count = 0u32;
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

/// `LINUX_VERSION_CODE` of this kernel. Distributions patch `uname -r`: Ubuntu keeps the true version at the
/// end of /proc/version_signature, Debian in `uname -v` (libbpf: `get_kernel_version`). 0 if unreadable.
fn version_code(ubuntu: &str, version: &str, release: &str) -> u32 {
    let ubuntu = ubuntu.split_whitespace().nth(2).unwrap_or_default();
    let debian = version.split_once("Debian ").map_or("", |(_, rest)| rest);
    [ubuntu, debian, release].into_iter().find_map(code).unwrap_or(0)
}

/// `6.1.38-2` as 6 << 16 | 1 << 8 | 38; the patch level stops at 255, as the kernel's own macro does.
fn code(text: &str) -> Option<u32> {
    let mut parts = text.splitn(3, '.');
    let major: u32 = parts.next()?.parse().ok()?;
    let minor: u32 = parts.next()?.parse().ok()?;
    let patch = parts.next()?;
    let digits = patch.find(|c: char| !c.is_ascii_digit()).unwrap_or(patch.len());
    let patch: u32 = patch.get(..digits)?.parse().ok()?;
    Some((major & 0xffff) << 16 | minor.min(255) << 8 | patch.min(255))
}

#[cfg(test)]
mod tests {
    use super::{count_cpus, version_code};

    #[test]
    fn cpu_lists() {
        assert_eq!(count_cpus("0"), Some(1));
        assert_eq!(count_cpus("0-1,4"), Some(3));
        assert_eq!(count_cpus("0-255"), Some(256));
        assert_eq!(count_cpus("0-4294967295"), None);
        assert_eq!(count_cpus("3-1"), None);
        assert_eq!(count_cpus(""), None);
    }

    #[test]
    fn versions_of_distributions() {
        let plain = version_code("", "#1 SMP PREEMPT_DYNAMIC", "6.18.44-fc-v669");
        assert_eq!(plain, 0x06_12_2c);
        let debian = version_code("", "#1 SMP Debian 4.9.258-1 (2021-03-08)", "4.9.0-15-amd64");
        assert_eq!(debian, 0x04_09_ff);
        let ubuntu = version_code("Ubuntu 5.4.0-12.15-generic 5.4.8\n", "#15-Ubuntu SMP", "5.4.0-12-generic");
        assert_eq!(ubuntu, 0x05_04_08);
        assert_eq!(version_code("", "", "weird"), 0);
    }
}
