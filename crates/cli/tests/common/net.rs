//! Scripts in a network of their own, and what they leave.
#![allow(dead_code, reason = "each test file uses its part")]

use crate::common::{err, objects, out};
use std::path::{Path, PathBuf};
use std::process::Output;

/// What every script begins with: a veth pair `va` (10.9.0.1) and `vb` (10.9.0.2, in network namespace `other`), clsact on
/// both, a BPF filesystem, `send N` packets, and `hits [MAP]`, the counters of a map in tc/globals on one line.
const SETUP: &str = r#"
set -e
onebpf() { "$ONEBPF" "$@"; }
mount -t tmpfs tmpfs /run && mkdir /run/netns && mount -t tmpfs tmpfs /mnt
mount -t sysfs sysfs /sys && mount -t bpf bpf /sys/fs/bpf
ip netns add other
echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
nsenter --net=/run/netns/other sh -c 'echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6'
ip link add va type veth peer name vb netns other
ip addr add 10.9.0.1/24 dev va && ip link set va up
ip -n other addr add 10.9.0.2/24 dev vb && ip -n other link set vb up
ip neigh add 10.9.0.2 dev va lladdr "$(nsenter --net=/run/netns/other cat /sys/class/net/vb/address 2>/dev/null ||
    ip -n other -j link show dev vb | sed 's/.*"address":"\([^"]*\)".*/\1/')"
onebpf tc qdisc add dev va clsact
tc -n other qdisc add dev vb clsact
send() { for _ in $(seq "$1"); do echo x > /dev/udp/10.9.0.2/9; done; }
hits() { bpftool -j map dump pinned "/sys/fs/bpf/tc/globals/${1:-tc_hits}"; echo; }
gone() { for path; do if test -e "$path"; then echo "still there: $path" >&2; exit 9; fi; done; }
same() { if test "$1" != "$2"; then echo "not the same: $*" >&2; exit 9; fi; }
id() { bpftool -j map show pinned "$1" | sed 's/.*"id":\([0-9]*\).*/\1/'; }
refused() { if "$@" 2>/dev/null; then echo "not refused: $*" >&2; exit 9; fi; }
"#;

/// Runs a script of bash after [`SETUP`]; `None` where that cannot be.
pub(crate) fn shell(script: &str) -> Option<Output> {
    let probe = "mount -t bpf bpf /mnt && tc -V && bpftool version && ip link add va type veth peer name vb";
    let mut command = testing::private_shell("bash", probe, &format!("{SETUP}\n{script}\n:"))?;
    command.current_dir(objects()).env("ONEBPF", env!("CARGO_BIN_EXE_onebpf"));
    command.env("COLUMNS", "100").env("NO_COLOR", "1").env_remove("TC_BPF_MNT").env_remove("TC_BPF_UDS");
    Some(command.output().expect("bash starts"))
}

/// The counters of each `hits` of a script.
pub(crate) fn counters(output: &Output) -> Vec<Vec<u64>> {
    let byte = |byte: &serde_json::Value| u8::from_str_radix(&byte.as_str()?[2..], 16).ok();
    let value = |entry: &serde_json::Value| -> u64 {
        let bytes: Vec<u8> = entry["value"].as_array().unwrap().iter().filter_map(byte).collect();
        u64::from_ne_bytes(bytes.try_into().unwrap())
    };
    let text = out(output);
    let lines = text.lines().filter(|line| line.starts_with("[{\"key\""));
    lines
        .map(|line| serde_json::from_str::<Vec<serde_json::Value>>(line).unwrap().iter().map(value).collect())
        .collect()
}

pub(crate) fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}\n{}", out(output), err(output));
}

#[track_caller]
pub(crate) fn has(text: &str, part: &str) {
    assert!(text.contains(part), "no `{part}` in:\n{text}");
}

/// Copies of fixtures whose `bpf_elf_map` definitions are changed, in a folder of its own that goes with it.
pub(crate) struct Variants(PathBuf);

impl Variants {
    pub(crate) fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("onebpf-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        Self(folder)
    }

    /// Where they are.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A copy `name` of `object`; each change is (number of the map, number of the word, value).
    pub(crate) fn add(&self, name: &str, object: &str, changes: &[(usize, usize, u32)]) {
        let mut bytes = std::fs::read(objects().join(object)).expect("fixture");
        let maps = maps_section(&bytes);
        for (map, word, value) in changes {
            let at = maps + map * 36 + word * 4;
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        std::fs::write(self.0.join(name), bytes).expect("written");
    }
}

impl Drop for Variants {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Where section `maps` begins in a 64-bit little-endian ELF file.
fn maps_section(elf: &[u8]) -> usize {
    let number = |at: usize, size: usize| {
        elf[at..at + size].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let (table, size, count, names) = (number(0x28, 8), number(0x3a, 2), number(0x3c, 2), number(0x3e, 2));
    let header = |index: usize| table + index * size;
    let names = number(header(names) + 0x18, 8);
    let is_maps = |index: &usize| elf[names + number(header(*index), 4)..].starts_with(b"maps\0");
    let found = (0..count).find(is_maps).expect("section maps");
    number(header(found) + 0x18, 8)
}
