//! Filters of kind `bpf`.

use super::Attached;
use super::action::{self, Action};
use super::message::{Message, NLM_F_CREATE, NLM_F_EXCL};

/// `ingress` of a clsact qdisc.
pub const CLSACT_INGRESS: u32 = 0xffff_fff2;
/// `egress` of a clsact qdisc.
pub const CLSACT_EGRESS: u32 = 0xffff_fff3;

const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_CHAIN: u16 = 11;
const TCA_BPF_ACT: u16 = 1;
const TCA_BPF_CLASSID: u16 = 3;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_FLAGS_GEN: u16 = 9;
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;
const TCA_CLS_FLAGS_SKIP_HW: u32 = 1;
const TCA_CLS_FLAGS_SKIP_SW: u32 = 2;
/// `TCM_IFINDEX_MAGIC_BLOCK`: the parent is the number of a shared block.
const BLOCK: u32 = u32::MAX;

/// What is done with a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterVerb {
    /// A new one; EEXIST if there is one.
    Add,
    /// The one that is there, or a new one.
    Replace,
    /// The one that is there; ENOENT if there is none.
    Change,
    /// Goes.
    Delete,
}

/// A filter of kind `bpf`, in the kernel's terms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The device.
    pub ifindex: u32,
    /// A shared block instead of a device and a parent.
    pub block: Option<u32>,
    /// Qdisc or class: [`CLSACT_INGRESS`], [`CLSACT_EGRESS`], or major and minor number.
    pub parent: u32,
    /// Order among filters; 0: the kernel chooses.
    pub priority: u16,
    /// `ETH_P_*`, in host byte order; 3 is all.
    pub protocol: u16,
    /// Number of the filter; 0: the kernel chooses, or (to delete) all.
    pub handle: u32,
    /// Chain.
    pub chain: Option<u32>,
    /// What it does; nothing when a filter is deleted.
    pub classifier: Option<Classifier>,
}

/// What a filter of kind `bpf` does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classifier {
    /// The program.
    pub program: Option<Attached>,
    /// Class of packets that match, if the program does not say.
    pub classid: Option<u32>,
    /// The program's return value is the verdict.
    pub direct_action: bool,
    /// Not for the device's hardware.
    pub skip_hw: bool,
    /// Only for the device's hardware.
    pub skip_sw: bool,
    /// What is done with packets that match.
    pub actions: Vec<Action>,
}

/// The request for a filter.
pub fn filter(verb: FilterVerb, filter: &Filter) -> Vec<u8> {
    let (kind, flags) = match verb {
        FilterVerb::Add => (RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL),
        FilterVerb::Replace => (RTM_NEWTFILTER, NLM_F_CREATE),
        FilterVerb::Change => (RTM_NEWTFILTER, 0),
        FilterVerb::Delete => (RTM_DELTFILTER, 0),
    };
    let info = u32::from(filter.priority) << 16 | u32::from(filter.protocol.to_be());
    let (ifindex, parent) = match filter.block {
        Some(block) => (BLOCK, block),
        None => (filter.ifindex, filter.parent),
    };
    // struct tcmsg: family and padding, ifindex, handle, parent, info.
    let fixed = [0, ifindex, filter.handle, parent, info].map(u32::to_ne_bytes).concat();
    let mut message = Message::new(kind, flags, &fixed);
    if let Some(chain) = filter.chain {
        message.u32(TCA_CHAIN, chain);
    }
    message.text(TCA_KIND, "bpf");
    if let Some(classifier) = &filter.classifier {
        message.nest(TCA_OPTIONS, |message| options(message, classifier));
    }
    message.finish()
}

fn options(message: &mut Message, classifier: &Classifier) {
    if let Some(classid) = classifier.classid {
        message.u32(TCA_BPF_CLASSID, classid);
    }
    if !classifier.actions.is_empty() {
        action::write(message, TCA_BPF_ACT, &classifier.actions);
    }
    if let Some(program) = &classifier.program {
        message.u32(TCA_BPF_FD, program.fd as u32);
        message.text(TCA_BPF_NAME, program.name());
    }
    let bit = |set, value| if set { value } else { 0 };
    let offload =
        bit(classifier.skip_hw, TCA_CLS_FLAGS_SKIP_HW) | bit(classifier.skip_sw, TCA_CLS_FLAGS_SKIP_SW);
    if offload != 0 {
        message.u32(TCA_BPF_FLAGS_GEN, offload);
    }
    if classifier.direct_action {
        message.u32(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::{attrs, nested};
    use super::*;
    use crate::netlink::ActionKind;

    #[test]
    fn a_filter_is_what_cls_bpf_reads() {
        let program = Attached { fd: 4, name: format!("o.o:[{}]", "s".repeat(300)) };
        let action = Action { kind: ActionKind::Control, control: 0, index: 0 };
        let classifier = Classifier {
            program: Some(program),
            classid: Some(0x1_0002),
            direct_action: true,
            skip_hw: true,
            skip_sw: false,
            actions: vec![action],
        };
        let wanted = Filter {
            ifindex: 3,
            parent: CLSACT_INGRESS,
            priority: 2,
            protocol: 0x0800,
            handle: 1,
            chain: Some(5),
            classifier: Some(classifier),
            block: None,
        };
        let bytes = filter(FilterVerb::Add, &wanted);
        assert_eq!(bytes[4..8], [44, 0, 5, 6]);
        assert_eq!(bytes[20..32], [3_u32, 1, CLSACT_INGRESS].map(u32::to_ne_bytes).concat());
        assert_eq!(bytes[32..36], [8, 0, 2, 0]);
        let found = attrs(&bytes, 20);
        assert_eq!(found[..2], [(11, 5_u32.to_ne_bytes().to_vec()), (1, b"bpf\0".to_vec())]);
        let options = nested(&found[2].1);
        let kinds: Vec<u16> = options.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [3, 1, 6, 7, 9, 8]);
        assert_eq!(options[3].1.len(), 256, "255 bytes and the NUL");
    }

    #[test]
    fn verbs_differ_in_type_and_flags() {
        let head = |verb| filter(verb, &Filter::default())[4..8].to_vec();
        assert_eq!(head(FilterVerb::Replace), [44, 0, 5, 4]);
        assert_eq!(head(FilterVerb::Change), [44, 0, 5, 0]);
        assert_eq!(head(FilterVerb::Delete), [45, 0, 5, 0]);
        let block = Filter { block: Some(12), ..Filter::default() };
        let bytes = filter(FilterVerb::Add, &block);
        assert_eq!(bytes[20..24], [0xff; 4]);
        assert_eq!(bytes[28..32], 12_u32.to_ne_bytes());
    }
}
