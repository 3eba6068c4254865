//! Routes whose packets run BPF programs (`LWTUNNEL_ENCAP_BPF`, Linux 4.10).

use super::Attached;
use super::message::{Message, NLA_F_NESTED, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use std::net::IpAddr;

const RTM_NEWROUTE: u16 = 24;
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_METRICS: u16 = 8;
const RTA_FLOW: u16 = 11;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const RTA_PREF: u16 = 20;
const RTA_ENCAP_TYPE: u16 = 21;
const RTA_ENCAP: u16 = 0x16 | NLA_F_NESTED;
const RTA_EXPIRES: u16 = 23;
const RTAX_LOCK: u16 = 1;
const RTNH_F_ONLINK: u32 = 4;
const LWTUNNEL_ENCAP_BPF: u16 = 6;
const LWT_BPF_IN: u16 = 1 | NLA_F_NESTED;
const LWT_BPF_OUT: u16 = 2 | NLA_F_NESTED;
const LWT_BPF_XMIT: u16 = 3 | NLA_F_NESTED;
const LWT_BPF_XMIT_HEADROOM: u16 = 4;
const LWT_BPF_PROG_FD: u16 = 1;
const LWT_BPF_PROG_NAME: u16 = 2;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// How a route meets one that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteVerb {
    /// A new one; EEXIST if there is one.
    Add,
    /// Takes the place of the one that is there; ENOENT if there is none.
    Change,
    /// The one that is there, or a new one.
    Replace,
    /// Before one that is there.
    Prepend,
    /// After one that is there.
    Append,
}

/// A route, in the kernel's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Whether it is for IPv6.
    pub ipv6: bool,
    /// Destination and its length in bits; length 0 is the default route.
    pub to: (Option<IpAddr>, u8),
    /// Source, for routes by source.
    pub from: Option<(IpAddr, u8)>,
    /// Type of service.
    pub tos: u8,
    /// Table.
    pub table: u32,
    /// Who made it (`RTPROT_*`).
    pub protocol: u8,
    /// How far away it is (`RT_SCOPE_*`).
    pub scope: u8,
    /// `RTN_*`.
    pub kind: u8,
    /// The gateway counts as directly reachable.
    pub onlink: bool,
    /// Outgoing device.
    pub device: Option<u32>,
    /// Gateway; may be of the other family.
    pub via: Option<IpAddr>,
    /// Source address that this host prefers.
    pub source: Option<IpAddr>,
    /// Order among routes.
    pub metric: Option<u32>,
    /// Realms: from in the upper half, to in the lower.
    pub realms: Option<u32>,
    /// Router preference (`ICMPV6_ROUTER_PREF_*`).
    pub preference: Option<u8>,
    /// Seconds that it lives.
    pub expires: Option<u32>,
    /// `RTAX_*`.
    pub metrics: Vec<Metric>,
    /// The programs.
    pub tunnel: Tunnel,
}

/// One of the numbers that a route gives to its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// `RTAX_*`.
    pub kind: u16,
    /// Its value.
    pub value: u32,
    /// The kernel must not work out its own.
    pub lock: bool,
}

/// The programs of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tunnel {
    /// For packets that come in.
    pub input: Option<Attached>,
    /// For packets that go out, before their header is complete.
    pub output: Option<Attached>,
    /// For packets that go out.
    pub xmit: Option<Attached>,
    /// Bytes that `xmit` may put in front.
    pub headroom: Option<u32>,
}

impl Default for Route {
    /// A unicast route in table main, made by an administrator's command (`RTPROT_BOOT`).
    fn default() -> Self {
        Self {
            ipv6: false,
            to: (None, 0),
            from: None,
            tos: 0,
            table: 254,
            protocol: 3,
            scope: 0,
            kind: 1,
            onlink: false,
            device: None,
            via: None,
            source: None,
            metric: None,
            realms: None,
            preference: None,
            expires: None,
            metrics: Vec::new(),
            tunnel: Tunnel::default(),
        }
    }
}

/// The request for a route.
pub fn route(verb: RouteVerb, route: &Route) -> Vec<u8> {
    let flags = match verb {
        RouteVerb::Add => NLM_F_CREATE | NLM_F_EXCL,
        RouteVerb::Change => NLM_F_REPLACE,
        RouteVerb::Replace => NLM_F_CREATE | NLM_F_REPLACE,
        RouteVerb::Prepend => NLM_F_CREATE,
        RouteVerb::Append => NLM_F_CREATE | NLM_F_APPEND,
    };
    let family = if route.ipv6 { AF_INET6 } else { AF_INET };
    let table = u8::try_from(route.table);
    let from = route.from.map_or(0, |(_, bits)| bits);
    // struct rtmsg; a table beyond 255 has an attribute of its own.
    let mut fixed = vec![family, route.to.1, from, route.tos, table.unwrap_or_default()];
    fixed.extend([route.protocol, route.scope, route.kind]);
    fixed.extend(if route.onlink { RTNH_F_ONLINK } else { 0 }.to_ne_bytes());
    let mut message = Message::new(RTM_NEWROUTE, flags, &fixed);
    if table.is_err() {
        message.u32(RTA_TABLE, route.table);
    }
    addresses(&mut message, route);
    let words = [
        (RTA_OIF, route.device),
        (RTA_PRIORITY, route.metric),
        (RTA_FLOW, route.realms),
        (RTA_EXPIRES, route.expires),
    ];
    for (kind, value) in words {
        if let Some(value) = value {
            message.u32(kind, value);
        }
    }
    if let Some(preference) = route.preference {
        message.u8(RTA_PREF, preference);
    }
    metrics(&mut message, &route.metrics);
    message.nest(RTA_ENCAP, |message| tunnel(message, &route.tunnel));
    message.u16(RTA_ENCAP_TYPE, LWTUNNEL_ENCAP_BPF);
    message.finish()
}

fn addresses(message: &mut Message, route: &Route) {
    if let Some(address) = route.to.0 {
        message.attr(RTA_DST, &bytes(address));
    }
    if let Some((address, _)) = route.from {
        message.attr(RTA_SRC, &bytes(address));
    }
    if let Some(address) = route.source {
        message.attr(RTA_PREFSRC, &bytes(address));
    }
    match route.via {
        Some(via) if via.is_ipv6() == route.ipv6 => message.attr(RTA_GATEWAY, &bytes(via)),
        Some(via) => {
            // struct rtvia
            let family = u16::from(if via.is_ipv6() { AF_INET6 } else { AF_INET });
            message.attr(RTA_VIA, &[&family.to_ne_bytes()[..], &bytes(via)].concat());
        }
        None => {}
    }
}

fn metrics(message: &mut Message, metrics: &[Metric]) {
    if metrics.is_empty() {
        return;
    }
    let lock = metrics.iter().filter(|metric| metric.lock);
    let lock =
        lock.fold(0_u32, |set, metric| set | 1_u32.checked_shl(metric.kind.into()).unwrap_or_default());
    message.nest(RTA_METRICS | NLA_F_NESTED, |message| {
        for metric in metrics {
            message.u32(metric.kind, metric.value);
        }
        if lock != 0 {
            message.u32(RTAX_LOCK, lock);
        }
    });
}

fn tunnel(message: &mut Message, tunnel: &Tunnel) {
    let hooks = [(LWT_BPF_IN, &tunnel.input), (LWT_BPF_OUT, &tunnel.output), (LWT_BPF_XMIT, &tunnel.xmit)];
    for (kind, program) in hooks {
        let Some(program) = program else { continue };
        message.nest(kind, |message| {
            message.u32(LWT_BPF_PROG_FD, program.fd as u32);
            message.text(LWT_BPF_PROG_NAME, program.name());
        });
    }
    if let Some(headroom) = tunnel.headroom {
        message.u32(LWT_BPF_XMIT_HEADROOM, headroom);
    }
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::{attrs, nested};
    use super::*;

    #[test]
    fn a_route_is_what_the_kernel_reads() {
        let program = Attached { fd: 4, name: "o.o:[prog]".to_owned() };
        let wanted = Route {
            to: (Some([10, 1, 2, 0].into()), 24),
            table: 1000,
            device: Some(3),
            via: Some("fe80::1".parse().unwrap()),
            metrics: vec![
                Metric { kind: 2, value: 1400, lock: true },
                Metric { kind: 10, value: 64, lock: false },
            ],
            tunnel: Tunnel { xmit: Some(program), headroom: Some(64), ..Tunnel::default() },
            ..Route::default()
        };
        let bytes = route(RouteVerb::Replace, &wanted);
        assert_eq!(bytes[4..8], [24, 0, 5, 5]);
        assert_eq!(bytes[16..28], [2, 24, 0, 0, 0, 3, 0, 1, 0, 0, 0, 0]);
        let found = attrs(&bytes, 12);
        let kinds: Vec<u16> = found.iter().map(|(kind, _)| *kind & 0x7fff).collect();
        assert_eq!(kinds, [15, 1, 18, 4, 8, 22, 21]);
        assert_eq!(found[2].1.len(), 18);
        let metrics = nested(&found[4].1);
        assert_eq!(metrics[2], (1, 4_u32.to_ne_bytes().to_vec()));
        let tunnel = nested(&found[5].1);
        assert_eq!(tunnel[0].0, 3 | 0x8000);
        assert_eq!(nested(&tunnel[0].1)[1], (2, b"o.o:[prog]\0".to_vec()));
        assert_eq!(tunnel[1], (4, 64_u32.to_ne_bytes().to_vec()));
        assert_eq!(found[6].1, 6_u16.to_ne_bytes());
    }
}
