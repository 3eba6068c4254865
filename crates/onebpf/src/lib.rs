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
//!
//! An object is data until it is loaded, and a plan is data until it is applied. So a load can be changed, shown,
//! worked out for another machine, and tested without root, on a kernel in memory:
//!
//! ```
//! use onebpf::{Kernel, Options, ParseOptions, apply, observe, parse, plan};
//! use onebpf_fake::FakeKernel;
//! use std::sync::Arc;
//!
//! # let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/obj/data_bss_only.o"))?;
//! let mut spec = parse(&bytes, &ParseOptions { name: "counter".into(), ..ParseOptions::default() })?;
//! for map in spec.maps.values_mut() {
//!     map.pinning = onebpf::object::Pinning::ByName;
//!     map.name = "totals".into();
//! }
//!
//! let kernel: Arc<dyn Kernel> = Arc::new(FakeKernel::linux("5.10"));
//! let facts = observe(&*kernel, &spec, &Options::default())?;
//! let plan = plan(&spec, &Options::default(), &facts)?;
//! assert!(plan.to_string().contains("pin"));
//! assert!(plan.to_string().contains("at /sys/fs/bpf/totals"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Errors
//!
//! Every [`Error`] has a code, a message with names, a place in the object (down to the line of C), the kernel's
//! errno, and hints; [`Error::report`] gives all of it as data. A load that fails leaves nothing behind.
#![forbid(unsafe_code)]

mod apply;
mod counting;
mod error;
mod facts;
mod hints;
mod iproute2;
mod kallsyms;
mod kconfig;
mod kernel_types;
mod layout;
mod list;
mod load;
mod loaded;
mod map;
pub mod netlink;
mod observe;
mod options;
pub mod plan;
mod program;
mod struct_ops;
mod target;
mod transaction;
mod verifier;
mod verify;
mod walk;

pub use apply::apply;
pub use counting::Counting;
pub use error::{CODES, Error, Report, Result, WARNINGS};
pub use facts::{DEFAULT_BPFFS, Dir, Facts, Iproute2Facts, Pinned, PinnedMap, Sibling};
pub use iproute2::iproute2_mount_point;
pub use kallsyms::{KernelSymbols, Symbol};
pub use kconfig::{KernelConfig, parse_config};
pub use kernel_types::{KernelName, KernelTypes, Module, NameKind, Named, Unlike};
pub use layout::{Field, Scalar, TypeLayout};
pub use list::{find_named, list};
pub use load::{Phases, load, load_spec, load_spec_timed, object_name, read};
pub use loaded::{Loaded, Migrated};
pub use map::Map;
pub use observe::{observe, observe_host};
pub use onebpf_btf as btf;
pub use onebpf_object::{self as object, ParseOptions, Spec, parse};
pub use onebpf_sys::{self as sys, Kernel, Linux, Memory};
pub use options::{ArrayRule, DefaultType, Mismatch, Options, OuterRule, PinLayout, PinOptions, Token};
pub use plan::{DEFAULT_STATE, LOCK_WAIT};
pub use plan::{Plan, pin_paths, plan};
pub use program::Program;
pub use struct_ops::{Link, StructOps};
pub use target::{AttachTo, Target, TargetProgram};
pub use transaction::{
    LoadStatus, LockHolder, Manifest, ManifestPin, ManifestSlot, ObjectStatus, PinStatus, Recovered,
    RolledBack, Status, lock_holder, recover, rollback, status,
};
pub use verifier::{Stats, stats};
pub use verify::{Verdict, verify};
