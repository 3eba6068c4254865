//! One loader for every BPF object.
//!
//! ```text
//! bytes ─parse→ Spec ─(edit)→ Spec ─plan(Spec, Options, Facts)→ Plan ─apply(Kernel)→ Loaded
//! ```
//!
//! Everything left of [`apply`] is a pure function. What the host knows enters as one value, [`Facts`];
//! only [`observe`] and [`apply`] hold a [`Kernel`].
#![forbid(unsafe_code)]

mod error;
mod facts;
mod options;
pub mod plan;

pub use error::{Error, Report, Result};
pub use facts::{BtfTarget, Facts, Pinned};
pub use onebpf_btf as btf;
pub use onebpf_object::{self as object, ParseOptions, Spec, parse};
pub use onebpf_sys::{self as sys, Kernel, Linux};
pub use options::{Mismatch, Options, PinLayout, PinOptions};
pub use plan::Plan;
