//! The `SEC()` table: what a program's section name says of it.

use crate::{AttachType as A, ProgramType as P};
use std::borrow::Cow;

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

/// One row of the table, or a row of a user's own ([`ParseOptions::sections`](crate::ParseOptions::sections)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionRule {
    /// Which sections it is about: `name` alone; with a `+` at its end, the name alone or followed by `/` and more; with
    /// a `/` at its end, whatever begins so. Empty: every section that no other rule knows.
    pub pattern: Cow<'static, str>,
    /// Program type.
    pub kind: P,
    /// Expected attach type, 0 if none.
    pub attach: A,
    /// What else.
    pub flags: SectionFlags,
    /// The first Linux that takes such programs, as far as it is known.
    pub since: Option<(u16, u16)>,
}

impl SectionRule {
    /// A rule for sections of one's own, without flags.
    pub fn new(pattern: impl Into<Cow<'static, str>>, kind: P, attach: A) -> Self {
        Self { pattern: pattern.into(), kind, attach, flags: SectionFlags::empty(), since: None }
    }

    /// The same rule, with flags.
    #[must_use]
    pub fn with(self, flags: SectionFlags) -> Self {
        Self { flags, ..self }
    }

    /// The first rule for a section's name without a leading `?`, and what follows the `/` if the rule leaves that open.
    pub fn find(section: &str) -> Option<(&'static SectionRule, Option<&str>)> {
        Self::find_with(&[], section)
    }

    /// The same with rules of one's own: those come before the table, and one with an empty pattern after it
    /// (libbpf's `find_sec_def()`).
    pub fn find_with<'r, 's>(own: &'r [Self], section: &'s str) -> Option<(&'r Self, Option<&'s str>)> {
        let named = own.iter().filter(|rule| !rule.pattern.is_empty());
        let last = own.iter().filter(|rule| rule.pattern.is_empty());
        let (rule, rest) =
            named.chain(SECTIONS).chain(last).find_map(|rule| Some((rule, rule.matches(section)?)))?;
        Some((rule, rest.strip_prefix('/')))
    }

    /// Whether it is about this section (libbpf's `sec_def_matches()`): what it leaves open, with the slash.
    fn matches<'s>(&self, section: &'s str) -> Option<&'s str> {
        if self.pattern.is_empty() {
            return Some(section.find('/').and_then(|at| section.get(at..)).unwrap_or_default());
        }
        if let Some(stem) = self.pattern.strip_suffix('/') {
            return section.strip_prefix(stem).filter(|rest| rest.starts_with('/'));
        }
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

const fn rule(
    pattern: &'static str,
    kind: P,
    attach: A,
    flags: SectionFlags,
    (major, minor): (u16, u16),
) -> SectionRule {
    let since = if major == 0 { None } else { Some((major, minor)) };
    SectionRule { pattern: Cow::Borrowed(pattern), kind, attach, flags, since }
}

/// After Linux 6.18, where nobody here has tried.
const LATER: (u16, u16) = (0, 0);
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
    rule("socket", P::SOCKET_FILTER, NO_ATTACH, NONE, (3, 19)),
    rule("sk_reuseport/migrate", P::SK_REUSEPORT, A::SK_REUSEPORT_SELECT_OR_MIGRATE, NONE, (5, 14)),
    rule("sk_reuseport", P::SK_REUSEPORT, A::SK_REUSEPORT_SELECT, NONE, (4, 19)),
    rule("kprobe+", P::KPROBE, NO_ATTACH, NONE, (4, 1)),
    rule("uprobe+", P::KPROBE, NO_ATTACH, NONE, (4, 3)),
    rule("uprobe.s+", P::KPROBE, NO_ATTACH, SLEEPABLE, (6, 0)),
    rule("kretprobe+", P::KPROBE, NO_ATTACH, NONE, (4, 1)),
    rule("uretprobe+", P::KPROBE, NO_ATTACH, NONE, (4, 3)),
    rule("uretprobe.s+", P::KPROBE, NO_ATTACH, SLEEPABLE, (6, 0)),
    rule("kprobe.multi+", P::KPROBE, A::TRACE_KPROBE_MULTI, NONE, (5, 18)),
    rule("kretprobe.multi+", P::KPROBE, A::TRACE_KPROBE_MULTI, NONE, (5, 18)),
    rule("kprobe.session+", P::KPROBE, A::TRACE_KPROBE_SESSION, NONE, (6, 10)),
    rule("uprobe.multi+", P::KPROBE, A::TRACE_UPROBE_MULTI, NONE, (6, 6)),
    rule("uretprobe.multi+", P::KPROBE, A::TRACE_UPROBE_MULTI, NONE, (6, 6)),
    rule("uprobe.session+", P::KPROBE, A::TRACE_UPROBE_SESSION, NONE, (6, 13)),
    rule("uprobe.multi.s+", P::KPROBE, A::TRACE_UPROBE_MULTI, SLEEPABLE, (6, 6)),
    rule("uretprobe.multi.s+", P::KPROBE, A::TRACE_UPROBE_MULTI, SLEEPABLE, (6, 6)),
    rule("uprobe.session.s+", P::KPROBE, A::TRACE_UPROBE_SESSION, SLEEPABLE, (6, 13)),
    rule("ksyscall+", P::KPROBE, NO_ATTACH, NONE, (4, 1)),
    rule("kretsyscall+", P::KPROBE, NO_ATTACH, NONE, (4, 1)),
    rule("usdt+", P::KPROBE, NO_ATTACH, USDT, (4, 3)),
    rule("usdt.s+", P::KPROBE, NO_ATTACH, USDT_SLEEPABLE, (6, 0)),
    rule("tc/ingress", P::SCHED_CLS, A::TCX_INGRESS, NONE, (6, 6)),
    rule("tc/egress", P::SCHED_CLS, A::TCX_EGRESS, NONE, (6, 6)),
    rule("tcx/ingress", P::SCHED_CLS, A::TCX_INGRESS, NONE, (6, 6)),
    rule("tcx/egress", P::SCHED_CLS, A::TCX_EGRESS, NONE, (6, 6)),
    rule("tc", P::SCHED_CLS, NO_ATTACH, NONE, (4, 1)),
    rule("classifier", P::SCHED_CLS, NO_ATTACH, NONE, (4, 1)),
    rule("action", P::SCHED_ACT, NO_ATTACH, NONE, (4, 1)),
    rule("netkit/primary", P::SCHED_CLS, A::NETKIT_PRIMARY, NONE, (6, 7)),
    rule("netkit/peer", P::SCHED_CLS, A::NETKIT_PEER, NONE, (6, 7)),
    rule("tracepoint+", P::TRACEPOINT, NO_ATTACH, NONE, (4, 7)),
    rule("tp+", P::TRACEPOINT, NO_ATTACH, NONE, (4, 7)),
    rule("tracepoint.s+", P::TRACEPOINT, NO_ATTACH, SLEEPABLE, LATER),
    rule("tp.s+", P::TRACEPOINT, NO_ATTACH, SLEEPABLE, LATER),
    rule("raw_tracepoint+", P::RAW_TRACEPOINT, NO_ATTACH, NONE, (4, 17)),
    rule("raw_tp+", P::RAW_TRACEPOINT, NO_ATTACH, NONE, (4, 17)),
    rule("raw_tracepoint.s+", P::RAW_TRACEPOINT, NO_ATTACH, SLEEPABLE, LATER),
    rule("raw_tp.s+", P::RAW_TRACEPOINT, NO_ATTACH, SLEEPABLE, LATER),
    rule("raw_tracepoint.w+", P::RAW_TRACEPOINT_WRITABLE, NO_ATTACH, NONE, (5, 2)),
    rule("raw_tp.w+", P::RAW_TRACEPOINT_WRITABLE, NO_ATTACH, NONE, (5, 2)),
    rule("tp_btf+", P::TRACING, A::TRACE_RAW_TP, BTF, (5, 5)),
    rule("tp_btf.s+", P::TRACING, A::TRACE_RAW_TP, BTF_SLEEPABLE, LATER),
    rule("fentry+", P::TRACING, A::TRACE_FENTRY, BTF, (5, 5)),
    rule("fmod_ret+", P::TRACING, A::MODIFY_RETURN, BTF, (5, 7)),
    rule("fexit+", P::TRACING, A::TRACE_FEXIT, BTF, (5, 5)),
    rule("fentry.s+", P::TRACING, A::TRACE_FENTRY, BTF_SLEEPABLE, (5, 10)),
    rule("fmod_ret.s+", P::TRACING, A::MODIFY_RETURN, BTF_SLEEPABLE, (5, 10)),
    rule("fexit.s+", P::TRACING, A::TRACE_FEXIT, BTF_SLEEPABLE, (5, 10)),
    rule("fsession+", P::TRACING, A::TRACE_FSESSION, BTF, LATER),
    rule("fsession.s+", P::TRACING, A::TRACE_FSESSION, BTF_SLEEPABLE, LATER),
    rule("fentry.multi+", P::TRACING, A::TRACE_FENTRY_MULTI, NONE, LATER),
    rule("fexit.multi+", P::TRACING, A::TRACE_FEXIT_MULTI, NONE, LATER),
    rule("fsession.multi+", P::TRACING, A::TRACE_FSESSION_MULTI, NONE, LATER),
    rule("fentry.multi.s+", P::TRACING, A::TRACE_FENTRY_MULTI, SLEEPABLE, LATER),
    rule("fexit.multi.s+", P::TRACING, A::TRACE_FEXIT_MULTI, SLEEPABLE, LATER),
    rule("fsession.multi.s+", P::TRACING, A::TRACE_FSESSION_MULTI, SLEEPABLE, LATER),
    rule("freplace+", P::EXT, NO_ATTACH, BTF, (5, 6)),
    rule("lsm+", P::LSM, A::LSM_MAC, BTF, (5, 7)),
    rule("lsm.s+", P::LSM, A::LSM_MAC, BTF_SLEEPABLE, (5, 10)),
    rule("lsm_cgroup+", P::LSM, A::LSM_CGROUP, BTF, (6, 0)),
    rule("iter+", P::TRACING, A::TRACE_ITER, BTF, (5, 8)),
    rule("iter.s+", P::TRACING, A::TRACE_ITER, BTF_SLEEPABLE, (5, 18)),
    rule("syscall", P::SYSCALL, NO_ATTACH, SLEEPABLE, (5, 14)),
    rule("xdp.frags/devmap", P::XDP, A::XDP_DEVMAP, FRAGS, (5, 18)),
    rule("xdp/devmap", P::XDP, A::XDP_DEVMAP, NONE, (5, 8)),
    rule("xdp.frags/cpumap", P::XDP, A::XDP_CPUMAP, FRAGS, (5, 18)),
    rule("xdp/cpumap", P::XDP, A::XDP_CPUMAP, NONE, (5, 9)),
    rule("xdp.frags", P::XDP, A::XDP, FRAGS, (5, 18)),
    rule("xdp", P::XDP, A::XDP, OPTIONAL, (4, 8)),
    rule("perf_event", P::PERF_EVENT, NO_ATTACH, NONE, (4, 9)),
    rule("lwt_in", P::LWT_IN, NO_ATTACH, NONE, (4, 10)),
    rule("lwt_out", P::LWT_OUT, NO_ATTACH, NONE, (4, 10)),
    rule("lwt_xmit", P::LWT_XMIT, NO_ATTACH, NONE, (4, 10)),
    rule("lwt_seg6local", P::LWT_SEG6LOCAL, NO_ATTACH, NONE, (4, 18)),
    rule("sockops", P::SOCK_OPS, A::CGROUP_SOCK_OPS, OPTIONAL, (4, 13)),
    rule("sk_skb/stream_parser", P::SK_SKB, A::SK_SKB_STREAM_PARSER, OPTIONAL, (4, 14)),
    rule("sk_skb/stream_verdict", P::SK_SKB, A::SK_SKB_STREAM_VERDICT, OPTIONAL, (4, 14)),
    rule("sk_skb/verdict", P::SK_SKB, A::SK_SKB_VERDICT, OPTIONAL, (5, 13)),
    rule("sk_skb", P::SK_SKB, NO_ATTACH, NONE, (4, 14)),
    rule("sk_msg", P::SK_MSG, A::SK_MSG_VERDICT, OPTIONAL, (4, 17)),
    rule("lirc_mode2", P::LIRC_MODE2, A::LIRC_MODE2, OPTIONAL, (4, 18)),
    rule("flow_dissector", P::FLOW_DISSECTOR, A::FLOW_DISSECTOR, OPTIONAL, (4, 20)),
    rule("cgroup_skb/ingress", P::CGROUP_SKB, A::CGROUP_INET_INGRESS, OPTIONAL, (4, 10)),
    rule("cgroup_skb/egress", P::CGROUP_SKB, A::CGROUP_INET_EGRESS, OPTIONAL, (4, 10)),
    rule("cgroup/skb", P::CGROUP_SKB, NO_ATTACH, NONE, (4, 10)),
    rule("cgroup/sock_create", P::CGROUP_SOCK, A::CGROUP_INET_SOCK_CREATE, NONE, (4, 10)),
    rule("cgroup/sock_release", P::CGROUP_SOCK, A::CGROUP_INET_SOCK_RELEASE, NONE, (5, 9)),
    rule("cgroup/sock", P::CGROUP_SOCK, A::CGROUP_INET_SOCK_CREATE, OPTIONAL, (4, 10)),
    rule("cgroup/post_bind4", P::CGROUP_SOCK, A::CGROUP_INET4_POST_BIND, NONE, (4, 17)),
    rule("cgroup/post_bind6", P::CGROUP_SOCK, A::CGROUP_INET6_POST_BIND, NONE, (4, 17)),
    rule("cgroup/bind4", P::CGROUP_SOCK_ADDR, A::CGROUP_INET4_BIND, NONE, (4, 17)),
    rule("cgroup/bind6", P::CGROUP_SOCK_ADDR, A::CGROUP_INET6_BIND, NONE, (4, 17)),
    rule("cgroup/connect4", P::CGROUP_SOCK_ADDR, A::CGROUP_INET4_CONNECT, NONE, (4, 17)),
    rule("cgroup/connect6", P::CGROUP_SOCK_ADDR, A::CGROUP_INET6_CONNECT, NONE, (4, 17)),
    rule("cgroup/connect_unix", P::CGROUP_SOCK_ADDR, A::CGROUP_UNIX_CONNECT, NONE, (6, 7)),
    rule("cgroup/sendmsg4", P::CGROUP_SOCK_ADDR, A::CGROUP_UDP4_SENDMSG, NONE, (4, 18)),
    rule("cgroup/sendmsg6", P::CGROUP_SOCK_ADDR, A::CGROUP_UDP6_SENDMSG, NONE, (4, 18)),
    rule("cgroup/sendmsg_unix", P::CGROUP_SOCK_ADDR, A::CGROUP_UNIX_SENDMSG, NONE, (6, 7)),
    rule("cgroup/recvmsg4", P::CGROUP_SOCK_ADDR, A::CGROUP_UDP4_RECVMSG, NONE, (5, 2)),
    rule("cgroup/recvmsg6", P::CGROUP_SOCK_ADDR, A::CGROUP_UDP6_RECVMSG, NONE, (5, 2)),
    rule("cgroup/recvmsg_unix", P::CGROUP_SOCK_ADDR, A::CGROUP_UNIX_RECVMSG, NONE, (6, 7)),
    rule("cgroup/getpeername4", P::CGROUP_SOCK_ADDR, A::CGROUP_INET4_GETPEERNAME, NONE, (5, 8)),
    rule("cgroup/getpeername6", P::CGROUP_SOCK_ADDR, A::CGROUP_INET6_GETPEERNAME, NONE, (5, 8)),
    rule("cgroup/getpeername_unix", P::CGROUP_SOCK_ADDR, A::CGROUP_UNIX_GETPEERNAME, NONE, (6, 7)),
    rule("cgroup/getsockname4", P::CGROUP_SOCK_ADDR, A::CGROUP_INET4_GETSOCKNAME, NONE, (5, 8)),
    rule("cgroup/getsockname6", P::CGROUP_SOCK_ADDR, A::CGROUP_INET6_GETSOCKNAME, NONE, (5, 8)),
    rule("cgroup/getsockname_unix", P::CGROUP_SOCK_ADDR, A::CGROUP_UNIX_GETSOCKNAME, NONE, (6, 7)),
    rule("cgroup/sysctl", P::CGROUP_SYSCTL, A::CGROUP_SYSCTL, NONE, (5, 2)),
    rule("cgroup/getsockopt", P::CGROUP_SOCKOPT, A::CGROUP_GETSOCKOPT, NONE, (5, 3)),
    rule("cgroup/setsockopt", P::CGROUP_SOCKOPT, A::CGROUP_SETSOCKOPT, NONE, (5, 3)),
    rule("cgroup/dev", P::CGROUP_DEVICE, A::CGROUP_DEVICE, OPTIONAL, (4, 15)),
    rule("struct_ops+", P::STRUCT_OPS, NO_ATTACH, NONE, (5, 6)),
    rule("struct_ops.s+", P::STRUCT_OPS, NO_ATTACH, SLEEPABLE, (6, 3)),
    rule("sk_lookup", P::SK_LOOKUP, A::SK_LOOKUP, NONE, (5, 9)),
    rule("netfilter", P::NETFILTER, A::NETFILTER, NONE, (6, 4)),
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
    fn a_slash_wants_more() {
        let own = [SectionRule::new("my/", P::XDP, A::XDP)];
        let target =
            |section| SectionRule::find_with(&own, section).map(|(rule, target)| (rule.kind, target));
        assert_eq!(target("my/hook"), Some((P::XDP, Some("hook"))));
        assert_eq!(target("my/"), Some((P::XDP, Some(""))));
        assert_eq!(target("my"), None);
        assert_eq!(target("kprobe/"), Some((P::KPROBE, Some(""))));
    }

    #[test]
    fn rules_of_ones_own_come_first_and_the_one_for_all_comes_last() {
        let own = [
            SectionRule::new("", P::SCHED_CLS, NO_ATTACH),
            SectionRule::new("xdp", P::SOCKET_FILTER, NO_ATTACH),
            SectionRule::new("mine+", P::TRACING, A::TRACE_FENTRY).with(BTF_SLEEPABLE),
        ];
        let kind = |section| SectionRule::find_with(&own, section).map(|(rule, target)| (rule.kind, target));
        assert_eq!(kind("xdp"), Some((P::SOCKET_FILTER, None)));
        assert_eq!(kind("mine/f"), Some((P::TRACING, Some("f"))));
        assert_eq!(kind("tp"), Some((P::TRACEPOINT, None)));
        assert_eq!(kind("whatever/x"), Some((P::SCHED_CLS, Some("x"))));
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
