//! Numbers that have names.

use super::words::{number, usage};
use crate::exit::Outcome;

/// `ETH_P_*` by the names that tc knows (iproute2's `llproto_names`).
const PROTOCOLS: [(&str, u16); 28] = [
    ("all", 0x0003),
    ("ip", 0x0800),
    ("ipv4", 0x0800),
    ("ipv6", 0x86dd),
    ("arp", 0x0806),
    ("802.1q", 0x8100),
    ("802.1ad", 0x88a8),
    ("mpls_uc", 0x8847),
    ("mpls_mc", 0x8848),
    ("802_3", 0x0001),
    ("ax25", 0x0002),
    ("802_2", 0x0004),
    ("snap", 0x0005),
    ("can", 0x000c),
    ("loop", 0x0060),
    ("pup", 0x0200),
    ("x25", 0x0805),
    ("rarp", 0x8035),
    ("aarp", 0x80f3),
    ("atalk", 0x809b),
    ("ipx", 0x8137),
    ("ppp_disc", 0x8863),
    ("ppp_ses", 0x8864),
    ("profinet", 0x8892),
    ("aoe", 0x88a2),
    ("ethercat", 0x88a4),
    ("tipc", 0x88ca),
    ("lldp", 0x88cc),
];

/// A link layer protocol: a name in any case, or a number.
pub(crate) fn protocol(word: &str) -> Outcome<u16> {
    if let Some((_, number)) = PROTOCOLS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)) {
        return Ok(*number);
    }
    let number = number(word, "protocol")?;
    u16::try_from(number).map_err(|_| usage(format!("`protocol {word}`: beyond 16 bits")))
}

/// A qdisc or class: `root`, `none`, `MAJOR:MINOR` in hexadecimal, either half may be left out (`get_tc_classid()`).
pub(crate) fn classid(word: &str, of: &str) -> Outcome<u32> {
    let bad = || usage(format!("`{of} {word}`: not a class such as `1:10`, `ffff:` or `root`"));
    let half = |text: &str, empty: bool| {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        if text.is_empty() && empty { Some(0) } else { u32::from_str_radix(digits, 16).ok() }
    };
    match (word, word.split_once(':')) {
        ("root", _) => Ok(u32::MAX),
        ("none", _) => Ok(0),
        (_, None) => half(word, false).ok_or_else(bad),
        (_, Some((major, minor))) => {
            let halves = half(major, true).zip(half(minor, true));
            let halves = halves.filter(|(major, minor)| *major <= 0xffff && *minor <= 0xffff);
            halves.map(|(major, minor)| major << 16 | minor).ok_or_else(bad)
        }
    }
}

/// A number with a name: from the given ones, else from `/etc/iproute2/FILE`, its `FILE.d`, or `/usr/share/iproute2`.
pub(crate) fn named(word: &str, of: &str, known: &[(&str, u32)], file: &str) -> Outcome<u32> {
    if let Some((_, number)) = known.iter().find(|(name, _)| *name == word) {
        return Ok(*number);
    }
    if word.starts_with(|c: char| c.is_ascii_digit()) {
        return number(word, of);
    }
    let listed = tables(file).into_iter().find_map(|table| look_up(&table, word));
    listed.ok_or_else(|| usage(format!("`{of} {word}`: neither a number nor a name in {file}")))
}

fn tables(file: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for folder in ["/etc/iproute2", "/usr/share/iproute2"] {
        paths.push(std::path::PathBuf::from(format!("{folder}/{file}")));
        let extra = std::fs::read_dir(format!("{folder}/{file}.d")).into_iter().flatten().flatten();
        paths.extend(
            extra.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "conf")),
        );
    }
    paths.into_iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect()
}

/// Lines `NUMBER NAME`.
fn look_up(table: &str, wanted: &str) -> Option<u32> {
    table.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let (value, name) = (fields.next()?, fields.next()?);
        (name == wanted).then(|| number(value, name).ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_hexadecimal() {
        let read = |word| classid(word, "parent").ok();
        assert_eq!(read("1:10"), Some(0x1_0010));
        assert_eq!(read("ffff:"), Some(0xffff_0000));
        assert_eq!(read(":1"), Some(1));
        assert_eq!(read("ffff:fff2"), Some(0xffff_fff2));
        assert_eq!(read("root"), Some(u32::MAX));
        assert_eq!(read("1"), Some(1));
        assert_eq!((read("1:x"), read("10000:1"), read("")), (None, None, None));
    }

    #[test]
    fn protocols_have_names_and_numbers() {
        let read = |word| protocol(word).ok();
        assert_eq!((read("ALL"), read("802.1Q"), read("0x88b5")), (Some(3), Some(0x8100), Some(0x88b5)));
        assert_eq!((read("nothing"), read("0x10000")), (None, None));
    }

    #[test]
    fn tables_are_numbers_and_names() {
        let table = "# comment\n255\tlocal\n0x10 blue # rest\n";
        assert_eq!(
            (look_up(table, "blue"), look_up(table, "local"), look_up(table, "red")),
            (Some(16), Some(255), None)
        );
    }
}
