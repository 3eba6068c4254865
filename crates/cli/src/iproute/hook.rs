//! Where iproute2 attaches programs, and what follows from that: the type of the program, the section that is taken when
//! none is named, the folder of pins.

use onebpf::object::ProgramType;

/// One row of [`HOOKS`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Hook {
    /// The word after `type` of `tc exec bpf graft`.
    pub(crate) word: &'static str,
    /// The type of every program that is loaded for it, whatever sections are called.
    pub(crate) kind: ProgramType,
    /// The section of the program that is attached.
    pub(crate) section: &'static str,
    /// The folder under the BPF filesystem.
    pub(crate) folder: &'static str,
    /// Maps may be handed over a socket.
    pub(crate) exports: bool,
}

pub(crate) const CLASSIFIER: &Hook = &HOOKS[0];
pub(crate) const ACTION: &Hook = &HOOKS[1];
pub(crate) const XDP: &Hook = &HOOKS[2];
pub(crate) const LWT_IN: &Hook = &HOOKS[3];
pub(crate) const LWT_OUT: &Hook = &HOOKS[4];
pub(crate) const LWT_XMIT: &Hook = &HOOKS[5];

/// iproute2's `__bpf_prog_meta`.
pub(crate) const HOOKS: [Hook; 7] = [
    hook("cls", ProgramType::SCHED_CLS, "classifier", "tc", true),
    hook("act", ProgramType::SCHED_ACT, "action", "tc", true),
    hook("xdp", ProgramType::XDP, "prog", "xdp", false),
    hook("lwt_in", ProgramType::LWT_IN, "prog", "ip", false),
    hook("lwt_out", ProgramType::LWT_OUT, "prog", "ip", false),
    hook("lwt_xmit", ProgramType::LWT_XMIT, "prog", "ip", false),
    hook("lwt_seg6local", ProgramType::LWT_SEG6LOCAL, "prog", "ip", false),
];

const fn hook(
    word: &'static str,
    kind: ProgramType,
    section: &'static str,
    folder: &'static str,
    exports: bool,
) -> Hook {
    Hook { word, kind, section, folder, exports }
}
