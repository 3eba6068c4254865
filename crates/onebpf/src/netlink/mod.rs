//! rtnetlink messages: filters, actions, XDP and routes that run BPF programs. Pure data in and out; what is built
//! here goes to the kernel through [`Kernel::route`](crate::Kernel::route).
//!
//! Numbers are those of include/uapi/linux/{rtnetlink,pkt_cls,pkt_sched,if_link,lwtunnel}.h. The crate
//! `netlink-packet-route` (0.34) has no act_bpf and no BPF tunnels, so messages are written here.

mod action;
mod filter;
mod link;
mod message;
mod route;

pub use action::{Action, ActionKind, Mirror, actions};
pub use filter::{CLSACT_EGRESS, CLSACT_INGRESS, Classifier, Filter, FilterVerb, filter};
pub use link::{XdpMode, find_link, link_index, xdp};
pub use route::{Metric, Route, RouteVerb, Tunnel, route};

/// A program as a message names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The fd of the process that sends the message.
    pub fd: i32,
    /// What it is called when somebody asks: `object.o:[section]`. The kernel keeps 255 bytes.
    pub name: String,
}

impl Attached {
    /// The longest name that the kernel takes (`CLS_BPF_NAME_LEN`, `ACT_BPF_NAME_LEN`, `MAX_PROG_NAME`).
    const NAME_MAX: usize = 255;

    /// The name, cut between characters as far as the kernel takes it.
    fn name(&self) -> &str {
        let end = (0..=Self::NAME_MAX.min(self.name.len())).rev().find(|at| self.name.is_char_boundary(*at));
        self.name.get(..end.unwrap_or_default()).unwrap_or_default()
    }
}
