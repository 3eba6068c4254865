//! Map, program and attach types: the kernel's numbers with libbpf's names.

use std::fmt;

/// `enum bpf_map_type`. A number without a row here is legal: a newer kernel may know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MapType(pub u32);

/// `enum bpf_prog_type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProgramType(pub u32);

/// `enum bpf_attach_type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttachType(pub u32);

#[allow(missing_docs)]
impl MapType {
    pub const HASH: Self = Self(1);
    pub const ARRAY: Self = Self(2);
    pub const PROG_ARRAY: Self = Self(3);
    pub const PERF_EVENT_ARRAY: Self = Self(4);
    pub const PERCPU_HASH: Self = Self(5);
    pub const PERCPU_ARRAY: Self = Self(6);
    pub const LRU_HASH: Self = Self(9);
    pub const LRU_PERCPU_HASH: Self = Self(10);
    pub const LPM_TRIE: Self = Self(11);
    pub const ARRAY_OF_MAPS: Self = Self(12);
    pub const HASH_OF_MAPS: Self = Self(13);
    pub const DEVMAP: Self = Self(14);
    pub const CPUMAP: Self = Self(16);
    pub const DEVMAP_HASH: Self = Self(25);
    pub const STRUCT_OPS: Self = Self(26);
    pub const RINGBUF: Self = Self(27);
    pub const USER_RINGBUF: Self = Self(31);
    pub const ARENA: Self = Self(33);
    pub const INSN_ARRAY: Self = Self(34);

    /// libbpf's name (`libbpf_bpf_map_type_str`), if it has one.
    pub fn name(self) -> Option<&'static str> {
        self.row().map(|row| row.name)
    }

    /// The first Linux that has it, as far as it is known.
    pub fn since(self) -> Option<(u16, u16)> {
        self.row()?.since
    }

    /// Whether the kernel takes BTF for its key and value; a type that is not known here is given what there is.
    pub fn takes_btf(self) -> bool {
        self.row().is_none_or(|row| row.btf)
    }

    /// Every type that is known, in the kernel's order.
    pub fn all() -> impl Iterator<Item = Self> {
        (1..MAP_TYPES.len() as u32).map(Self)
    }

    fn row(self) -> Option<&'static MapRow> {
        MAP_TYPES.get(self.0 as usize)
    }

    /// The type with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        MAP_TYPES.iter().position(|row| row.name == name).map(|n| Self(n as u32))
    }

    /// Whether each CPU has values of its own.
    pub fn is_per_cpu(self) -> bool {
        [Self::PERCPU_HASH, Self::PERCPU_ARRAY, Self::LRU_PERCPU_HASH].contains(&self)
    }

    /// Whether it holds plain values under an index.
    pub fn is_plain_array(self) -> bool {
        [Self::ARRAY, Self::PERCPU_ARRAY, Self::DEVMAP, Self::CPUMAP].contains(&self)
    }

    /// Whether its values belong to sockets, files, tasks or cgroups, and live with them.
    pub fn is_storage(self) -> bool {
        self.name().is_some_and(|name| name.ends_with("_storage"))
    }

    /// Whether it holds maps.
    pub fn holds_maps(self) -> bool {
        self == Self::ARRAY_OF_MAPS || self == Self::HASH_OF_MAPS
    }
}

impl fmt::Display for MapType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "map_type_{}", self.0),
        }
    }
}

#[allow(missing_docs)]
impl ProgramType {
    pub const UNSPEC: Self = Self(0);
    pub const SOCKET_FILTER: Self = Self(1);
    pub const KPROBE: Self = Self(2);
    pub const SCHED_CLS: Self = Self(3);
    pub const SCHED_ACT: Self = Self(4);
    pub const TRACEPOINT: Self = Self(5);
    pub const XDP: Self = Self(6);
    pub const PERF_EVENT: Self = Self(7);
    pub const CGROUP_SKB: Self = Self(8);
    pub const CGROUP_SOCK: Self = Self(9);
    pub const LWT_IN: Self = Self(10);
    pub const LWT_OUT: Self = Self(11);
    pub const LWT_XMIT: Self = Self(12);
    pub const SOCK_OPS: Self = Self(13);
    pub const SK_SKB: Self = Self(14);
    pub const CGROUP_DEVICE: Self = Self(15);
    pub const SK_MSG: Self = Self(16);
    pub const RAW_TRACEPOINT: Self = Self(17);
    pub const CGROUP_SOCK_ADDR: Self = Self(18);
    pub const LWT_SEG6LOCAL: Self = Self(19);
    pub const LIRC_MODE2: Self = Self(20);
    pub const SK_REUSEPORT: Self = Self(21);
    pub const FLOW_DISSECTOR: Self = Self(22);
    pub const CGROUP_SYSCTL: Self = Self(23);
    pub const RAW_TRACEPOINT_WRITABLE: Self = Self(24);
    pub const CGROUP_SOCKOPT: Self = Self(25);
    pub const TRACING: Self = Self(26);
    pub const STRUCT_OPS: Self = Self(27);
    pub const EXT: Self = Self(28);
    pub const LSM: Self = Self(29);
    pub const SK_LOOKUP: Self = Self(30);
    pub const SYSCALL: Self = Self(31);
    pub const NETFILTER: Self = Self(32);

    /// libbpf's name (`libbpf_bpf_prog_type_str`), if it has one.
    pub fn name(self) -> Option<&'static str> {
        PROGRAM_TYPES.get(self.0 as usize).copied()
    }

    /// The type with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        PROGRAM_TYPES.iter().position(|n| *n == name).map(|n| Self(n as u32))
    }
}

impl fmt::Display for ProgramType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "prog_type_{}", self.0),
        }
    }
}

#[allow(missing_docs)]
impl AttachType {
    pub const CGROUP_INET_INGRESS: Self = Self(0);
    pub const CGROUP_INET_EGRESS: Self = Self(1);
    pub const CGROUP_INET_SOCK_CREATE: Self = Self(2);
    pub const CGROUP_SOCK_OPS: Self = Self(3);
    pub const SK_SKB_STREAM_PARSER: Self = Self(4);
    pub const SK_SKB_STREAM_VERDICT: Self = Self(5);
    pub const CGROUP_DEVICE: Self = Self(6);
    pub const SK_MSG_VERDICT: Self = Self(7);
    pub const CGROUP_INET4_BIND: Self = Self(8);
    pub const CGROUP_INET6_BIND: Self = Self(9);
    pub const CGROUP_INET4_CONNECT: Self = Self(10);
    pub const CGROUP_INET6_CONNECT: Self = Self(11);
    pub const CGROUP_INET4_POST_BIND: Self = Self(12);
    pub const CGROUP_INET6_POST_BIND: Self = Self(13);
    pub const CGROUP_UDP4_SENDMSG: Self = Self(14);
    pub const CGROUP_UDP6_SENDMSG: Self = Self(15);
    pub const LIRC_MODE2: Self = Self(16);
    pub const FLOW_DISSECTOR: Self = Self(17);
    pub const CGROUP_SYSCTL: Self = Self(18);
    pub const CGROUP_UDP4_RECVMSG: Self = Self(19);
    pub const CGROUP_UDP6_RECVMSG: Self = Self(20);
    pub const CGROUP_GETSOCKOPT: Self = Self(21);
    pub const CGROUP_SETSOCKOPT: Self = Self(22);
    pub const TRACE_RAW_TP: Self = Self(23);
    pub const TRACE_FENTRY: Self = Self(24);
    pub const TRACE_FEXIT: Self = Self(25);
    pub const MODIFY_RETURN: Self = Self(26);
    pub const LSM_MAC: Self = Self(27);
    pub const TRACE_ITER: Self = Self(28);
    pub const CGROUP_INET4_GETPEERNAME: Self = Self(29);
    pub const CGROUP_INET6_GETPEERNAME: Self = Self(30);
    pub const CGROUP_INET4_GETSOCKNAME: Self = Self(31);
    pub const CGROUP_INET6_GETSOCKNAME: Self = Self(32);
    pub const XDP_DEVMAP: Self = Self(33);
    pub const CGROUP_INET_SOCK_RELEASE: Self = Self(34);
    pub const XDP_CPUMAP: Self = Self(35);
    pub const SK_LOOKUP: Self = Self(36);
    pub const XDP: Self = Self(37);
    pub const SK_SKB_VERDICT: Self = Self(38);
    pub const SK_REUSEPORT_SELECT: Self = Self(39);
    pub const SK_REUSEPORT_SELECT_OR_MIGRATE: Self = Self(40);
    pub const PERF_EVENT: Self = Self(41);
    pub const TRACE_KPROBE_MULTI: Self = Self(42);
    pub const LSM_CGROUP: Self = Self(43);
    pub const STRUCT_OPS: Self = Self(44);
    pub const NETFILTER: Self = Self(45);
    pub const TCX_INGRESS: Self = Self(46);
    pub const TCX_EGRESS: Self = Self(47);
    pub const TRACE_UPROBE_MULTI: Self = Self(48);
    pub const CGROUP_UNIX_CONNECT: Self = Self(49);
    pub const CGROUP_UNIX_SENDMSG: Self = Self(50);
    pub const CGROUP_UNIX_RECVMSG: Self = Self(51);
    pub const CGROUP_UNIX_GETPEERNAME: Self = Self(52);
    pub const CGROUP_UNIX_GETSOCKNAME: Self = Self(53);
    pub const NETKIT_PRIMARY: Self = Self(54);
    pub const NETKIT_PEER: Self = Self(55);
    pub const TRACE_KPROBE_SESSION: Self = Self(56);
    pub const TRACE_UPROBE_SESSION: Self = Self(57);
    pub const TRACE_FSESSION: Self = Self(58);
    pub const TRACE_FENTRY_MULTI: Self = Self(59);
    pub const TRACE_FEXIT_MULTI: Self = Self(60);
    pub const TRACE_FSESSION_MULTI: Self = Self(61);

    /// libbpf's name (`libbpf_bpf_attach_type_str`), if it has one.
    pub fn name(self) -> Option<&'static str> {
        ATTACH_TYPES.get(self.0 as usize).copied()
    }

    /// The type with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        ATTACH_TYPES.iter().position(|n| *n == name).map(|n| Self(n as u32))
    }
}

impl fmt::Display for AttachType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "attach_type_{}", self.0),
        }
    }
}

/// A map type: libbpf's name, the first Linux that has it, and whether the kernel takes BTF for its key and value. libbpf
/// leaves BTF out for those that do not (`bpf_object__create_map()`).
struct MapRow {
    name: &'static str,
    since: Option<(u16, u16)>,
    btf: bool,
}

const fn map_row(name: &'static str, (major, minor): (u16, u16), btf: bool) -> MapRow {
    MapRow { name, since: if major == 0 { None } else { Some((major, minor)) }, btf }
}

/// After Linux 6.18, where nobody here has tried.
const LATER: (u16, u16) = (0, 0);

const MAP_TYPES: [MapRow; 36] = [
    map_row("unspec", LATER, true),
    map_row("hash", (3, 19), true),
    map_row("array", (3, 19), true),
    map_row("prog_array", (4, 2), true),
    map_row("perf_event_array", (4, 3), false),
    map_row("percpu_hash", (4, 6), true),
    map_row("percpu_array", (4, 6), true),
    map_row("stack_trace", (4, 6), false),
    map_row("cgroup_array", (4, 8), false),
    map_row("lru_hash", (4, 10), true),
    map_row("lru_percpu_hash", (4, 10), true),
    map_row("lpm_trie", (4, 11), true),
    map_row("array_of_maps", (4, 12), false),
    map_row("hash_of_maps", (4, 12), false),
    map_row("devmap", (4, 14), false),
    map_row("sockmap", (4, 14), false),
    map_row("cpumap", (4, 15), false),
    map_row("xskmap", (4, 18), false),
    map_row("sockhash", (4, 18), false),
    map_row("cgroup_storage", (4, 19), true),
    map_row("reuseport_sockarray", (4, 19), true),
    map_row("percpu_cgroup_storage", (4, 20), true),
    map_row("queue", (4, 20), false),
    map_row("stack", (4, 20), false),
    map_row("sk_storage", (5, 2), true),
    map_row("devmap_hash", (5, 4), false),
    map_row("struct_ops", (5, 6), true),
    map_row("ringbuf", (5, 8), true),
    map_row("inode_storage", (5, 10), true),
    map_row("task_storage", (5, 11), true),
    map_row("bloom_filter", (5, 16), true),
    map_row("user_ringbuf", (6, 1), true),
    map_row("cgrp_storage", (6, 2), true),
    map_row("arena", (6, 9), false),
    map_row("insn_array", LATER, true),
    map_row("rhash", LATER, true),
];

const PROGRAM_TYPES: [&str; 33] = [
    "unspec",
    "socket_filter",
    "kprobe",
    "sched_cls",
    "sched_act",
    "tracepoint",
    "xdp",
    "perf_event",
    "cgroup_skb",
    "cgroup_sock",
    "lwt_in",
    "lwt_out",
    "lwt_xmit",
    "sock_ops",
    "sk_skb",
    "cgroup_device",
    "sk_msg",
    "raw_tracepoint",
    "cgroup_sock_addr",
    "lwt_seg6local",
    "lirc_mode2",
    "sk_reuseport",
    "flow_dissector",
    "cgroup_sysctl",
    "raw_tracepoint_writable",
    "cgroup_sockopt",
    "tracing",
    "struct_ops",
    "ext",
    "lsm",
    "sk_lookup",
    "syscall",
    "netfilter",
];

const ATTACH_TYPES: [&str; 62] = [
    "cgroup_inet_ingress",
    "cgroup_inet_egress",
    "cgroup_inet_sock_create",
    "cgroup_sock_ops",
    "sk_skb_stream_parser",
    "sk_skb_stream_verdict",
    "cgroup_device",
    "sk_msg_verdict",
    "cgroup_inet4_bind",
    "cgroup_inet6_bind",
    "cgroup_inet4_connect",
    "cgroup_inet6_connect",
    "cgroup_inet4_post_bind",
    "cgroup_inet6_post_bind",
    "cgroup_udp4_sendmsg",
    "cgroup_udp6_sendmsg",
    "lirc_mode2",
    "flow_dissector",
    "cgroup_sysctl",
    "cgroup_udp4_recvmsg",
    "cgroup_udp6_recvmsg",
    "cgroup_getsockopt",
    "cgroup_setsockopt",
    "trace_raw_tp",
    "trace_fentry",
    "trace_fexit",
    "modify_return",
    "lsm_mac",
    "trace_iter",
    "cgroup_inet4_getpeername",
    "cgroup_inet6_getpeername",
    "cgroup_inet4_getsockname",
    "cgroup_inet6_getsockname",
    "xdp_devmap",
    "cgroup_inet_sock_release",
    "xdp_cpumap",
    "sk_lookup",
    "xdp",
    "sk_skb_verdict",
    "sk_reuseport_select",
    "sk_reuseport_select_or_migrate",
    "perf_event",
    "trace_kprobe_multi",
    "lsm_cgroup",
    "struct_ops",
    "netfilter",
    "tcx_ingress",
    "tcx_egress",
    "trace_uprobe_multi",
    "cgroup_unix_connect",
    "cgroup_unix_sendmsg",
    "cgroup_unix_recvmsg",
    "cgroup_unix_getpeername",
    "cgroup_unix_getsockname",
    "netkit_primary",
    "netkit_peer",
    "trace_kprobe_session",
    "trace_uprobe_session",
    "trace_fsession",
    "trace_fentry_multi",
    "trace_fexit_multi",
    "trace_fsession_multi",
];
