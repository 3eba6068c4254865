//! Actions: act_bpf, and the two kinds that people write beside it.

use super::Attached;
use super::message::{Message, NLA_F_NESTED, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};

const RTM_NEWACTION: u16 = 48;
const TCA_ACT_TAB: u16 = 1;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2 | NLA_F_NESTED;
const TCA_ACT_BPF_PARMS: u16 = 2;
const TCA_ACT_BPF_FD: u16 = 5;
const TCA_ACT_BPF_NAME: u16 = 6;
/// `TCA_GACT_PARMS` and `TCA_MIRRED_PARMS`.
const PARMS: u16 = 2;

/// One action of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// What it does.
    pub kind: ActionKind,
    /// What becomes of the packet when the action does not say (`TC_ACT_*`).
    pub control: i32,
    /// Number under which the kernel keeps it; 0: the kernel chooses.
    pub index: u32,
}

/// What an action does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionKind {
    /// Runs a program (`bpf`); without one the index names an action that is there.
    Bpf(Option<Attached>),
    /// Only the control (`gact`).
    Control,
    /// Sends the packet elsewhere (`mirred`).
    Mirror(Mirror),
}

/// Where a packet is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The device.
    pub ifindex: u32,
    /// As if it had come in there; otherwise it goes out.
    pub ingress: bool,
    /// A copy; otherwise the packet itself.
    pub copy: bool,
}

/// The request that makes actions which any filter may name by index. `replace`: also ones that are there.
pub fn actions(list: &[Action], replace: bool) -> Vec<u8> {
    let flags = if replace { NLM_F_CREATE | NLM_F_REPLACE } else { NLM_F_CREATE | NLM_F_EXCL };
    // struct tcamsg
    let mut message = Message::new(RTM_NEWACTION, flags, &[0; 4]);
    write(&mut message, TCA_ACT_TAB, list);
    message.finish()
}

/// A list of actions, numbered from 1.
pub(super) fn write(message: &mut Message, kind: u16, list: &[Action]) {
    message.nest(kind, |message| {
        for (number, action) in (1..).zip(list) {
            message.nest(number, |message| one(message, action));
        }
    });
}

fn one(message: &mut Message, action: &Action) {
    let name = match action.kind {
        ActionKind::Bpf(_) => "bpf",
        ActionKind::Control => "gact",
        ActionKind::Mirror(_) => "mirred",
    };
    // struct tc_gen: index, capab, action, refcnt, bindcnt.
    let [index, control] = [action.index.to_ne_bytes(), action.control.to_ne_bytes()];
    let general = [index, [0; 4], control, [0; 4], [0; 4]].concat();
    message.text(TCA_ACT_KIND, name);
    message.nest(TCA_ACT_OPTIONS, |message| match &action.kind {
        ActionKind::Bpf(program) => {
            if let Some(program) = program {
                message.u32(TCA_ACT_BPF_FD, program.fd as u32);
                message.text(TCA_ACT_BPF_NAME, program.name());
            }
            message.attr(TCA_ACT_BPF_PARMS, &general);
        }
        ActionKind::Control => message.attr(PARMS, &general),
        ActionKind::Mirror(mirror) => {
            // TCA_EGRESS_REDIR 1, TCA_EGRESS_MIRROR 2, TCA_INGRESS_REDIR 3, TCA_INGRESS_MIRROR 4.
            let how = 1 + u32::from(mirror.copy) + 2 * u32::from(mirror.ingress);
            let tail = [how.to_ne_bytes(), mirror.ifindex.to_ne_bytes()].concat();
            message.attr(PARMS, &[general, tail].concat());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::{attrs, nested};
    use super::*;

    #[test]
    fn an_action_list_is_what_act_bpf_reads() {
        let program = Attached { fd: 5, name: "o.o:[action]".to_owned() };
        let bpf = Action { kind: ActionKind::Bpf(Some(program)), control: 3, index: 9 };
        let drop = Action { kind: ActionKind::Control, control: 2, index: 0 };
        let out = Mirror { ifindex: 7, ingress: true, copy: false };
        let mirror = Action { kind: ActionKind::Mirror(out), control: 4, index: 0 };
        let bytes = actions(&[bpf, drop, mirror], false);
        assert_eq!(bytes[4..8], [48, 0, 5, 6]);
        let tab = attrs(&bytes, 4);
        assert_eq!(tab[0].0, 1);
        let list = nested(&tab[0].1);
        assert_eq!(list.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 3]);
        let bpf = nested(&list[0].1);
        assert_eq!(bpf[0], (1, b"bpf\0".to_vec()));
        assert_eq!(bpf[1].0, 0x8002);
        let options = nested(&bpf[1].1);
        assert_eq!(options[0], (5, 5_u32.to_ne_bytes().to_vec()));
        assert_eq!(options[1], (6, b"o.o:[action]\0".to_vec()));
        assert_eq!(options[2].0, 2);
        assert_eq!(options[2].1, [9_u32, 0, 3, 0, 0].map(u32::to_ne_bytes).concat());
        let mirror = nested(&nested(&list[2].1)[1].1);
        assert_eq!(mirror[0].1, [0_u32, 0, 4, 0, 0, 3, 7].map(u32::to_ne_bytes).concat());
    }
}
