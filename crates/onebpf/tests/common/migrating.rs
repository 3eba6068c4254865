//! A map whose value changes, and what its entries are before and after.

use super::Member::{Signed, Text, Unsigned};
use super::{options, with_value};
use onebpf::object::{MapType, Spec};
use onebpf::{Mismatch, Options};

pub(crate) fn migrating() -> Options {
    let mut options = options();
    options.pins.on_mismatch = Mismatch::Migrate;
    options
}

/// A value that gains, loses, moves, widens and narrows members.
pub(crate) fn versions(kind: MapType, entries: u32) -> [Spec; 2] {
    let old = [
        ("hits", Unsigned(4), 0),
        ("gone", Unsigned(4), 32),
        ("delta", Signed(4), 64),
        ("name", Text(4), 96),
    ];
    let new = [
        ("name", Text(8), 0),
        ("hits", Unsigned(8), 64),
        ("delta", Signed(2), 128),
        ("fresh", Unsigned(4), 160),
    ];
    let mut specs = [with_value(kind, 16, &old), with_value(kind, 24, &new)];
    for spec in &mut specs {
        spec.maps[0].max_entries = entries;
    }
    specs
}

pub(crate) fn old_value(n: u32) -> Vec<u8> {
    let mut value = n.to_ne_bytes().to_vec();
    value.extend(77u32.to_ne_bytes());
    value.extend((-((n % 1000) as i32)).to_ne_bytes());
    value.extend(b"ab\0\0");
    value
}

pub(crate) fn new_value(n: u32) -> Vec<u8> {
    let mut value = b"ab\0\0\0\0\0\0".to_vec();
    value.extend(u64::from(n).to_ne_bytes());
    value.extend((-((n % 1000) as i16)).to_ne_bytes());
    value.resize(24, 0);
    value
}
