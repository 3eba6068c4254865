//! What `onebpf tc` and `onebpf ip` share: they take the words that people have in their scripts, and load objects as
//! iproute2 built without libbpf does.

pub(crate) mod ask;
pub(crate) mod bpffs;
pub(crate) mod export;
pub(crate) mod handover;
pub(crate) mod hook;
pub(crate) mod numbers;
pub(crate) mod options;
pub(crate) mod prepare;
pub(crate) mod program;
pub(crate) mod source;
pub(crate) mod verb;
pub(crate) mod words;
