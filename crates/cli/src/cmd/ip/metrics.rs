//! The numbers that a route gives to its connections: `mtu lock 1400`, `rto_min 200ms`, ...

use crate::exit::Outcome;
use crate::iproute::words::{Words, matches, number, usage};
use onebpf::netlink::Metric;

/// How a metric is written.
#[derive(Clone, Copy)]
enum Unit {
    Plain,
    /// Time; the kernel counts in units of 1/N ms. A plain number is in the kernel's units.
    Time(u32),
    /// 0 or 1.
    Bit,
}

/// `RTAX_*`; those with `true` may be shortened.
const METRICS: [(&str, bool, u16, Unit); 13] = [
    ("mtu", false, 2, Unit::Plain),
    ("window", true, 3, Unit::Plain),
    ("rtt", false, 4, Unit::Time(8)),
    ("rttvar", true, 5, Unit::Time(4)),
    ("ssthresh", true, 6, Unit::Plain),
    ("cwnd", true, 7, Unit::Plain),
    ("advmss", false, 8, Unit::Plain),
    ("reordering", true, 9, Unit::Plain),
    ("hoplimit", false, 10, Unit::Plain),
    ("initcwnd", true, 11, Unit::Plain),
    ("rto_min", false, 13, Unit::Time(1)),
    ("initrwnd", true, 14, Unit::Plain),
    ("quickack", true, 15, Unit::Bit),
];
const RTO_MIN: u16 = 13;

/// Reads a metric, if `word`, already taken, begins one.
pub(super) fn metric(word: &str, words: &mut Words<'_>) -> Outcome<Option<Metric>> {
    let row =
        METRICS.iter().find(|(full, short, ..)| if *short { matches(word, full) } else { word == *full });
    let Some((_, _, kind, unit)) = row else { return Ok(None) };
    // The kernel's own estimate must not take the place of a floor.
    let lock = words.take("lock") || *kind == RTO_MIN;
    let typed = words.value(word)?;
    let value = match unit {
        Unit::Plain => number(typed, word)?,
        Unit::Time(scale) => {
            time(typed, *scale).ok_or_else(|| usage(format!("`{word} {typed}`: not a time")))?
        }
        Unit::Bit => number(typed, word)
            .ok()
            .filter(|bit| *bit <= 1)
            .ok_or_else(|| usage(format!("`{word} {typed}`: it is 0 or 1")))?,
    };
    Ok(Some(Metric { kind: *kind, value, lock }))
}

fn time(typed: &str, scale: u32) -> Option<u32> {
    let end = typed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(typed.len());
    let (digits, unit) = typed.split_at_checked(end)?;
    let per_unit = match unit {
        "" => return digits.parse().ok(),
        "s" | "sec" | "secs" => 1000.0,
        "ms" | "msec" | "msecs" => 1.0,
        _ => return None,
    };
    let value = digits.parse::<f64>().ok()? * per_unit * f64::from(scale);
    (value <= f64::from(u32::MAX)).then_some(value.ceil() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_units_and_locks() {
        let read = |line: &str| {
            let line: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let mut words = Words::new(&line);
            let word = words.next().unwrap_or_default();
            metric(word, &mut words).ok().flatten()
        };
        assert_eq!(read("mtu lock 1400"), Some(Metric { kind: 2, value: 1400, lock: true }));
        assert_eq!(read("rto_min 0.2s"), Some(Metric { kind: 13, value: 200, lock: true }));
        assert_eq!(read("rtt 10ms"), Some(Metric { kind: 4, value: 80, lock: false }));
        assert_eq!(read("rtt 10"), Some(Metric { kind: 4, value: 10, lock: false }));
        assert_eq!(read("init 4"), Some(Metric { kind: 11, value: 4, lock: false }));
        assert_eq!(
            (read("quickack 2"), read("rtt 1x"), read("mt 1400"), read("dev x")),
            (None, None, None, None)
        );
    }
}
