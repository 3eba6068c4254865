//! libbpf beside onebpf: what is right, and how fast.
//!
//! libbpf (crate `libbpf-sys`, vendored) is asked what an object holds and which instructions it would give to the
//! kernel; the answers take the shape that `onebpf inspect --json` and `onebpf relocate --json` have, so that the two
//! can be compared field by field and byte by byte. The only crate of the workspace that links C, and unpublished.

pub mod compare;
pub mod inspect;
pub mod judge;
pub mod kernel;
pub mod libbpf;
pub mod lines;
pub mod log;
pub mod relocate;
pub mod report;
pub mod run;
pub mod selftests;
