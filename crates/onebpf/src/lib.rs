//! One loader for every BPF object.
//!
//! ```text
//! bytes ─parse→ Spec ─(edit)→ Spec ─plan(Spec, Options, Facts)→ Plan ─apply(Kernel)→ Loaded
//! ```
//!
//! Everything left of [`apply`] is a pure function. What the host knows enters as one value, [`Facts`];
//! only [`observe`] and [`apply`] hold a [`Kernel`]. [`load`] is all of it in one call; step by step:
//!
//! ```no_run
//! use onebpf::{Kernel, Linux, Options, ParseOptions, apply, observe, parse, plan};
//! use std::sync::Arc;
//!
//! let kernel: Arc<dyn Kernel> = Arc::new(Linux);
//! let options = Options::default();
//!
//! let spec = parse(&std::fs::read("counter.bpf.o")?, &ParseOptions::default())?;
//! let facts = observe(&*kernel, &spec, &options)?;
//! let plan = plan(&spec, &options, &facts)?;
//! println!("{plan}");
//! let loaded = apply(&plan, &kernel, options.jobs)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod apply;
mod counting;
mod error;
mod facts;
mod hints;
mod list;
mod load;
mod loaded;
mod map;
mod observe;
mod options;
pub mod plan;
mod program;
mod undo;
mod verifier;
mod verify;

pub use apply::apply;
pub use counting::Counting;
pub use error::{CODES, Error, Report, Result, WARNINGS};
pub use facts::{BtfTarget, Dir, Facts, Pinned};
pub use list::list;
pub use load::{Phases, load, load_spec, load_spec_timed, object_name, read};
pub use loaded::Loaded;
pub use map::Map;
pub use observe::{observe, observe_host};
pub use onebpf_btf as btf;
pub use onebpf_object::{self as object, ParseOptions, Spec, parse};
pub use onebpf_sys::{self as sys, Kernel, Linux};
pub use options::{DefaultType, Mismatch, Options, PinLayout, PinOptions};
pub use plan::{Plan, pin_paths, plan};
pub use program::Program;
pub use verifier::{Stats, stats};
pub use verify::{Verdict, verify};
