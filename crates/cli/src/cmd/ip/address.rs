//! Addresses and prefixes as ip takes them.

use crate::exit::Outcome;
use crate::iproute::words::usage;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address of the family, if that is known.
pub(super) fn address(word: &str, of: &str, ipv6: Option<bool>) -> Outcome<IpAddr> {
    let read = match ipv6 {
        Some(true) => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        Some(false) => ipv4(word).map(IpAddr::V4),
        None => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6).or_else(|| ipv4(word).map(IpAddr::V4)),
    };
    read.ok_or_else(|| usage(format!("`{of} {word}`: not an address")))
}

/// `default`, `ADDRESS` or `ADDRESS/BITS`.
pub(super) fn prefix(word: &str, of: &str, ipv6: Option<bool>) -> Outcome<(Option<IpAddr>, u8)> {
    if matches!(word, "default" | "any" | "all") {
        return Ok((None, 0));
    }
    let bad = || usage(format!("`{of} {word}`: not a prefix"));
    let (typed, bits) = match word.split_once('/') {
        Some((typed, bits)) => (typed, Some(bits)),
        None => (word, None),
    };
    let address = address(typed, of, ipv6)?;
    let most = if address.is_ipv6() { 128 } else { 32 };
    let bits = match bits {
        None => most,
        Some(bits) => {
            bits.parse().ok().or_else(|| mask(bits)).filter(|bits| *bits <= most).ok_or_else(bad)?
        }
    };
    Ok((Some(address), bits))
}

/// Up to four numbers; those that are left out at the end are 0.
fn ipv4(word: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = word.split('.');
    for octet in &mut octets {
        let Some(part) = parts.next() else { break };
        *octet = part.parse().ok().filter(|_| part.starts_with(|c: char| c.is_ascii_digit()))?;
    }
    parts.next().is_none().then(|| octets.into())
}

/// `255.255.255.0`
fn mask(word: &str) -> Option<u8> {
    let bits = u32::from(word.parse::<Ipv4Addr>().ok()?);
    (bits.leading_ones() + bits.trailing_zeros() >= 32).then_some(bits.leading_ones() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_short_or_long() {
        let read = |word| prefix(word, "to", None).ok();
        let v4 = |octets: [u8; 4], bits| Some((Some(IpAddr::from(octets)), bits));
        assert_eq!(read("10.1.2.3"), v4([10, 1, 2, 3], 32));
        assert_eq!(read("10/8"), v4([10, 0, 0, 0], 8));
        assert_eq!(read("10.1/255.255.0.0"), v4([10, 1, 0, 0], 16));
        assert_eq!(read("fd00::/64").unwrap().1, 64);
        assert_eq!(read("default"), Some((None, 0)));
        for bad in ["10.1.2.3.4", "10/33", "x", "10/255.0.255.0", "+1/8", "/8", ""] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert!(address("10.0.0.1", "via", Some(true)).is_err());
    }
}
