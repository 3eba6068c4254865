//! The `SEC()` table: what a program's section name says of it.

use crate::{AttachType as A, ProgramType as P};

bitflags::bitflags! {
    /// What a section's name says besides the types.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SectionFlags: u32 {
        /// May sleep: `BPF_F_SLEEPABLE`.
        const SLEEPABLE = 1;
        /// Takes packets in several buffers: `BPF_F_XDP_HAS_FRAGS`.
        const XDP_FRAGS = 2;
        /// The attach type is left out on kernels that do not know `expected_attach_type` (before Linux 4.17).
        const ATTACH_OPTIONAL = 4;
        /// What follows the `/` names a function in the kernel's BTF.
        const ATTACH_BTF = 8;
        /// Attached by libbpf's USDT machinery; as `uprobe.multi` where the kernel has that.
        const USDT = 16;
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionRule {
    /// A name; with a `+` at its end, the name alone or followed by `/` and more.
    pub pattern: &'static str,
    /// Program type.
    pub kind: P,
    /// Expected attach type, 0 if none.
    pub attach: A,
    /// What else.
    pub flags: SectionFlags,
}

impl SectionRule {
    /// The first rule for a section's name without a leading `?`, and what follows the `/` if the rule leaves that open.
    pub fn find(section: &str) -> Option<(&'static SectionRule, Option<&str>)> {
        let (rule, rest) = SECTIONS.iter().find_map(|rule| Some((rule, rule.matches(section)?)))?;
        Some((rule, rest.strip_prefix('/')))
    }

    /// libbpf's `sec_def_matches`: what is left of the name.
    fn matches<'s>(&self, section: &'s str) -> Option<&'s str> {
        match self.pattern.strip_suffix('+') {
            Some(stem) => section.strip_prefix(stem).filter(|rest| rest.is_empty() || rest.starts_with('/')),
            None => (section == self.pattern).then_some(""),
        }
    }

    /// `prog_flags` of a program in such a section.
    pub fn program_flags(&self) -> u32 {
        const BPF_F_SLEEPABLE: u32 = 1 << 4;
        const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
        let bit = |flag, value| if self.flags.contains(flag) { value } else { 0 };
        bit(SectionFlags::SLEEPABLE, BPF_F_SLEEPABLE) | bit(SectionFlags::XDP_FRAGS, BPF_F_XDP_HAS_FRAGS)
    }
}

const fn rule(pattern: &'static str, kind: P, attach: A, flags: SectionFlags) -> SectionRule {
    SectionRule { pattern, kind, attach, flags }
}

const NO_ATTACH: A = A(0);
const NONE: SectionFlags = SectionFlags::empty();
const SLEEPABLE: SectionFlags = SectionFlags::SLEEPABLE;
const FRAGS: SectionFlags = SectionFlags::XDP_FRAGS;
const OPTIONAL: SectionFlags = SectionFlags::ATTACH_OPTIONAL;
const BTF: SectionFlags = SectionFlags::ATTACH_BTF;
const BTF_SLEEPABLE: SectionFlags = BTF.union(SLEEPABLE);
const USDT: SectionFlags = SectionFlags::USDT;
const USDT_SLEEPABLE: SectionFlags = USDT.union(SLEEPABLE);

/// The sections that libbpf 1.8 knows (`section_defs`), in its order; the first match counts.
pub const SECTIONS: &[SectionRule] = &[
    rule("socket", P::SOCKET_FILTER, NO_ATTACH, NONE),
    rule("sk_reuseport/migrate", P::SK_REUSEPORT, A::SK_REUSEPORT_SELECT_OR_MIGRATE, NONE),
    rule("sk_reuseport", P::SK_REUSEPORT, A::SK_REUSEPORT_SELECT, NONE),
    rule("kprobe+", P::KPROBE, NO_ATTACH, NONE),
    rule("uprobe+", P::KPROBE, NO_ATTACH, NONE),
    rule("uprobe.s+", P::KPROBE, NO_ATTACH, SLEEPABLE),
    rule("kretprobe+", P::KPROBE, NO_ATTACH, NONE),
    rule("uretprobe+", P::KPROBE, NO_ATTACH, NONE),
    rule("uretprobe.s+", P::KPROBE, NO_ATTACH, SLEEPABLE),
    rule("kprobe.multi+", P::KPROBE, A::TRACE_KPROBE_MULTI, NONE),
    rule("kretprobe.multi+", P::KPROBE, A::TRACE_KPROBE_MULTI, NONE),
    rule("kprobe.session+", P::KPROBE, A::TRACE_KPROBE_SESSION, NONE),
    rule("uprobe.multi+", P::KPROBE, A::TRACE_UPROBE_MULTI, NONE),
    rule("uretprobe.multi+", P::KPROBE, A::TRACE_UPROBE_MULTI, NONE),
    rule("uprobe.session+", P::KPROBE, A::TRACE_UPROBE_SESSION, NONE),
    rule("uprobe.multi.s+", P::KPROBE, A::TRACE_UPROBE_MULTI, SLEEPABLE),
    rule("uretprobe.multi.s+", P::KPROBE, A::TRACE_UPROBE_MULTI, SLEEPABLE),
    rule("uprobe.session.s+", P::KPROBE, A::TRACE_UPROBE_SESSION, SLEEPABLE),
    rule("ksyscall+", P::KPROBE, NO_ATTACH, NONE),
    rule("kretsyscall+", P::KPROBE, NO_ATTACH, NONE),
    rule("usdt+", P::KPROBE, NO_ATTACH, USDT),
    rule("usdt.s+", P::KPROBE, NO_ATTACH, USDT_SLEEPABLE),
    rule("tc/ingress", P::SCHED_CLS, A::TCX_INGRESS, NONE),
    rule("tc/egress", P::SCHED_CLS, A::TCX_EGRESS, NONE),
    rule("tcx/ingress", P::SCHED_CLS, A::TCX_INGRESS, NONE),
    rule("tcx/egress", P::SCHED_CLS, A::TCX_EGRESS, NONE),
    rule("tc", P::SCHED_CLS, NO_ATTACH, NONE),
    rule("classifier", P::SCHED_CLS, NO_ATTACH, NONE),
    rule("action", P::SCHED_ACT, NO_ATTACH, NONE),
    rule("netkit/primary", P::SCHED_CLS, A::NETKIT_PRIMARY, NONE),
    rule("netkit/peer", P::SCHED_CLS, A::NETKIT_PEER, NONE),
    rule("tracepoint+", P::TRACEPOINT, NO_ATTACH, NONE),
    rule("tp+", P::TRACEPOINT, NO_ATTACH, NONE),
    rule("tracepoint.s+", P::TRACEPOINT, NO_ATTACH, SLEEPABLE),
    rule("tp.s+", P::TRACEPOINT, NO_ATTACH, SLEEPABLE),
    rule("raw_tracepoint+", P::RAW_TRACEPOINT, NO_ATTACH, NONE),
    rule("raw_tp+", P::RAW_TRACEPOINT, NO_ATTACH, NONE),
    rule("raw_tracepoint.s+", P::RAW_TRACEPOINT, NO_ATTACH, SLEEPABLE),
    rule("raw_tp.s+", P::RAW_TRACEPOINT, NO_ATTACH, SLEEPABLE),
    rule("raw_tracepoint.w+", P::RAW_TRACEPOINT_WRITABLE, NO_ATTACH, NONE),
    rule("raw_tp.w+", P::RAW_TRACEPOINT_WRITABLE, NO_ATTACH, NONE),
    rule("tp_btf+", P::TRACING, A::TRACE_RAW_TP, BTF),
    rule("tp_btf.s+", P::TRACING, A::TRACE_RAW_TP, BTF_SLEEPABLE),
    rule("fentry+", P::TRACING, A::TRACE_FENTRY, BTF),
    rule("fmod_ret+", P::TRACING, A::MODIFY_RETURN, BTF),
    rule("fexit+", P::TRACING, A::TRACE_FEXIT, BTF),
    rule("fentry.s+", P::TRACING, A::TRACE_FENTRY, BTF_SLEEPABLE),
    rule("fmod_ret.s+", P::TRACING, A::MODIFY_RETURN, BTF_SLEEPABLE),
    rule("fexit.s+", P::TRACING, A::TRACE_FEXIT, BTF_SLEEPABLE),
    rule("fsession+", P::TRACING, A::TRACE_FSESSION, BTF),
    rule("fsession.s+", P::TRACING, A::TRACE_FSESSION, BTF_SLEEPABLE),
    rule("fentry.multi+", P::TRACING, A::TRACE_FENTRY_MULTI, NONE),
    rule("fexit.multi+", P::TRACING, A::TRACE_FEXIT_MULTI, NONE),
    rule("fsession.multi+", P::TRACING, A::TRACE_FSESSION_MULTI, NONE),
    rule("fentry.multi.s+", P::TRACING, A::TRACE_FENTRY_MULTI, SLEEPABLE),
    rule("fexit.multi.s+", P::TRACING, A::TRACE_FEXIT_MULTI, SLEEPABLE),
    rule("fsession.multi.s+", P::TRACING, A::TRACE_FSESSION_MULTI, SLEEPABLE),
    rule("freplace+", P::EXT, NO_ATTACH, BTF),
    rule("lsm+", P::LSM, A::LSM_MAC, BTF),
    rule("lsm.s+", P::LSM, A::LSM_MAC, BTF_SLEEPABLE),
    rule("lsm_cgroup+", P::LSM, A::LSM_CGROUP, BTF),
    rule("iter+", P::TRACING, A::TRACE_ITER, BTF),
    rule("iter.s+", P::TRACING, A::TRACE_ITER, BTF_SLEEPABLE),
    rule("syscall", P::SYSCALL, NO_ATTACH, SLEEPABLE),
    rule("xdp.frags/devmap", P::XDP, A::XDP_DEVMAP, FRAGS),
    rule("xdp/devmap", P::XDP, A::XDP_DEVMAP, NONE),
    rule("xdp.frags/cpumap", P::XDP, A::XDP_CPUMAP, FRAGS),
    rule("xdp/cpumap", P::XDP, A::XDP_CPUMAP, NONE),
    rule("xdp.frags", P::XDP, A::XDP, FRAGS),
    rule("xdp", P::XDP, A::XDP, OPTIONAL),
    rule("perf_event", P::PERF_EVENT, NO_ATTACH, NONE),
    rule("lwt_in", P::LWT_IN, NO_ATTACH, NONE),
    rule("lwt_out", P::LWT_OUT, NO_ATTACH, NONE),
    rule("lwt_xmit", P::LWT_XMIT, NO_ATTACH, NONE),
    rule("lwt_seg6local", P::LWT_SEG6LOCAL, NO_ATTACH, NONE),
    rule("sockops", P::SOCK_OPS, A::CGROUP_SOCK_OPS, OPTIONAL),
    rule("sk_skb/stream_parser", P::SK_SKB, A::SK_SKB_STREAM_PARSER, OPTIONAL),
    rule("sk_skb/stream_verdict", P::SK_SKB, A::SK_SKB_STREAM_VERDICT, OPTIONAL),
    rule("sk_skb/verdict", P::SK_SKB, A::SK_SKB_VERDICT, OPTIONAL),
    rule("sk_skb", P::SK_SKB, NO_ATTACH, NONE),
    rule("sk_msg", P::SK_MSG, A::SK_MSG_VERDICT, OPTIONAL),
    rule("lirc_mode2", P::LIRC_MODE2, A::LIRC_MODE2, OPTIONAL),
    rule("flow_dissector", P::FLOW_DISSECTOR, A::FLOW_DISSECTOR, OPTIONAL),
    rule("cgroup_skb/ingress", P::CGROUP_SKB, A::CGROUP_INET_INGRESS, OPTIONAL),
    rule("cgroup_skb/egress", P::CGROUP_SKB, A::CGROUP_INET_EGRESS, OPTIONAL),
    rule("cgroup/skb", P::CGROUP_SKB, NO_ATTACH, NONE),
    rule("cgroup/sock_create", P::CGROUP_SOCK, A::CGROUP_INET_SOCK_CREATE, NONE),
    rule("cgroup/sock_release", P::CGROUP_SOCK, A::CGROUP_INET_SOCK_RELEASE, NONE),
    rule("cgroup/sock", P::CGROUP_SOCK, A::CGROUP_INET_SOCK_CREATE, OPTIONAL),
    rule("cgroup/post_bind4", P::CGROUP_SOCK, A::CGROUP_INET4_POST_BIND, NONE),
    rule("cgroup/post_bind6", P::CGROUP_SOCK, A::CGROUP_INET6_POST_BIND, NONE),
    rule("cgroup/bind4", P::CGROUP_SOCK_ADDR, A::CGROUP_INET4_BIND, NONE),
    rule("cgroup/bind6", P::CGROUP_SOCK_ADDR, A::CGROUP_INET6_BIND, NONE),
    rule("cgroup/connect4", P::CGROUP_SOCK_ADDR, A::CGROUP_INET4_CONNECT, NONE),
    rule("cgroup/connect6", P::CGROUP_SOCK_ADDR, A::CGROUP_INET6_CONNECT, NONE),
    rule("cgroup/connect_unix", P::CGROUP_SOCK_ADDR, A::CGROUP_UNIX_CONNECT, NONE),
    rule("cgroup/sendmsg4", P::CGROUP_SOCK_ADDR, A::CGROUP_UDP4_SENDMSG, NONE),
    rule("cgroup/sendmsg6", P::CGROUP_SOCK_ADDR, A::CGROUP_UDP6_SENDMSG, NONE),
    rule("cgroup/sendmsg_unix", P::CGROUP_SOCK_ADDR, A::CGROUP_UNIX_SENDMSG, NONE),
    rule("cgroup/recvmsg4", P::CGROUP_SOCK_ADDR, A::CGROUP_UDP4_RECVMSG, NONE),
    rule("cgroup/recvmsg6", P::CGROUP_SOCK_ADDR, A::CGROUP_UDP6_RECVMSG, NONE),
    rule("cgroup/recvmsg_unix", P::CGROUP_SOCK_ADDR, A::CGROUP_UNIX_RECVMSG, NONE),
    rule("cgroup/getpeername4", P::CGROUP_SOCK_ADDR, A::CGROUP_INET4_GETPEERNAME, NONE),
    rule("cgroup/getpeername6", P::CGROUP_SOCK_ADDR, A::CGROUP_INET6_GETPEERNAME, NONE),
    rule("cgroup/getpeername_unix", P::CGROUP_SOCK_ADDR, A::CGROUP_UNIX_GETPEERNAME, NONE),
    rule("cgroup/getsockname4", P::CGROUP_SOCK_ADDR, A::CGROUP_INET4_GETSOCKNAME, NONE),
    rule("cgroup/getsockname6", P::CGROUP_SOCK_ADDR, A::CGROUP_INET6_GETSOCKNAME, NONE),
    rule("cgroup/getsockname_unix", P::CGROUP_SOCK_ADDR, A::CGROUP_UNIX_GETSOCKNAME, NONE),
    rule("cgroup/sysctl", P::CGROUP_SYSCTL, A::CGROUP_SYSCTL, NONE),
    rule("cgroup/getsockopt", P::CGROUP_SOCKOPT, A::CGROUP_GETSOCKOPT, NONE),
    rule("cgroup/setsockopt", P::CGROUP_SOCKOPT, A::CGROUP_SETSOCKOPT, NONE),
    rule("cgroup/dev", P::CGROUP_DEVICE, A::CGROUP_DEVICE, OPTIONAL),
    rule("struct_ops+", P::STRUCT_OPS, NO_ATTACH, NONE),
    rule("struct_ops.s+", P::STRUCT_OPS, NO_ATTACH, SLEEPABLE),
    rule("sk_lookup", P::SK_LOOKUP, A::SK_LOOKUP, NONE),
    rule("netfilter", P::NETFILTER, A::NETFILTER, NONE),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plus_means_alone_or_with_a_slash() {
        let kind = |section| SectionRule::find(section).map(|(rule, target)| (rule.kind, target));
        assert_eq!(kind("kprobe"), Some((P::KPROBE, None)));
        assert_eq!(kind("kprobe/do_exit"), Some((P::KPROBE, Some("do_exit"))));
        assert_eq!(kind("tp/sched/sched_switch"), Some((P::TRACEPOINT, Some("sched/sched_switch"))));
        assert_eq!(kind("kprobes"), None);
        assert_eq!(kind("xdp"), Some((P::XDP, None)));
        assert_eq!(kind("xdp/devmap"), Some((P::XDP, None)));
        assert_eq!(kind("xdp/other"), None);
        assert_eq!(kind("xdp_prog"), None);
        assert_eq!(kind(""), None);
    }

    #[test]
    fn flags_are_the_kernels() {
        let flags = |section| SectionRule::find(section).map(|(rule, _)| rule.program_flags());
        assert_eq!(flags("lsm.s/bpf"), Some(1 << 4));
        assert_eq!(flags("xdp.frags/devmap"), Some(1 << 5));
        assert_eq!(flags("tc"), Some(0));
    }

    #[test]
    fn all_of_libbpf_is_there() {
        assert_eq!(SECTIONS.len(), 116);
    }
}
