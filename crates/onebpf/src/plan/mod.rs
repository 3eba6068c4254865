//! Plans: what a load will do, as data.
//!
//! [`plan`] is a pure function. It never asks the kernel: all that it knows of the host is in
//! [`Facts`]. What nobody asked the kernel for is taken for granted and
//! written down in [`Plan::assumed`].

mod adaptation;
mod arena;
mod arg_ctx;
mod btf;
mod compare;
mod convert;
mod core;
mod draft;
mod entries;
mod externs;
mod jump_tables;
mod maps;
mod older;
mod pins;
mod programs;
mod scope;
mod show;
mod slots;
mod step;
mod struct_ops;
mod targets;
mod transaction;

pub use adaptation::Adaptation;
pub use arena::arena_globals;
pub(crate) use arena::asks;
pub use compare::compare;
pub(crate) use compare::mismatch;
pub use convert::{Conversion, Loss};
pub(crate) use core::{kernel_relocations, lacks_type};
pub use externs::{ExternTarget, ExternValue, InKernel};
pub(crate) use externs::{addressed_externs, config_options, extern_name, typed_externs};
pub(crate) use maps::BPF_F_NO_COMMON_LRU;
pub use maps::ring_size;
pub(crate) use pins::not_made;
pub(crate) use programs::{kernel_names, select, target_programs};
pub use scope::pin_paths;
pub(crate) use scope::{iproute2_mount, needs_iproute2};
pub use step::{
    Attach, Change, CreateMap, Fallback, FieldDiff, KernelValueRef, Likeness, LoadProgram, MapBtfRef,
    Migration, Object, Operand, Patch, PinDiff, PinnedName, PrunedMap, Register, SharedSlot, Slot, Step,
    There, Transaction, object,
};

pub use transaction::{DEFAULT_STATE, LOCK_WAIT};
pub(crate) use transaction::{lock_wait, next_path, old_path, prev_path, slot_path, state_dir};

use crate::error::{Code, Error, Result};
use crate::{Facts, Options, Spec};
use draft::Draft;
use onebpf_btf::{Btf, Endian};
use onebpf_object::Warning;
use onebpf_sys::{Feature, Host};
use std::collections::BTreeSet;
use struct_ops::Tables;

/// The steps of a load, in order. A step's operands are slots that earlier steps fill.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Plan {
    /// What to do.
    pub steps: Vec<Step>,
    /// How it differs from what is pinned now.
    pub diff: Vec<PinDiff>,
    /// What the kernel has for the externs of the object.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub externs: Vec<ExternValue>,
    /// Features that the steps rely on though nobody asked the kernel for them. When a step is refused and this
    /// is not empty, ask for these and plan again: only then is a refusal the last word, and only then may a
    /// step fall back on less.
    pub assumed: BTreeSet<Feature>,
    /// Oddities that do not stop a load.
    pub warnings: Vec<Warning>,
    /// What this kernel gets otherwise than the object has it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub adaptations: Vec<Adaptation>,
    /// The host that it is made for.
    pub host: Host,
    /// The BTF that names source files and lines, for messages.
    #[serde(skip)]
    pub strings: Option<Btf>,
}

/// Works out how to load `spec` as `options` say, on the host that `facts` describe.
///
/// # Errors
/// E03xx: what cannot be loaded as it stands, found before anything is done; E01xx and E02xx for what is wrong
/// with the object's code or BTF.
pub fn plan(spec: &Spec, options: &Options, facts: &Facts) -> Result<Plan> {
    if spec.endian != Endian::native() {
        let text = format!("the object is for {} hosts, this host is not one", endian_name(spec.endian));
        return Err(Error::new(Code::Endian, text)
            .hint("compile with `-target bpf`, which takes the host's byte order"));
    }
    let mut programs = programs::choose(spec, options)?;
    core::relocate(spec, facts, &mut programs)?;
    let tables = Tables::of(spec, options, facts)?;
    let needed = maps::needed(spec, options, &programs)?;
    let mut draft = Draft::new(spec, options, facts);
    draft.take_token();
    draft.memlock();
    externs::resolve(&mut draft, &mut programs, &needed)?;
    btf::steps(&mut draft, &mut programs)?;
    maps::steps(&mut draft, &needed, &tables)?;
    programs::steps(&mut draft, &programs, &tables)?;
    tables.steps(&mut draft);
    slots::steps(&mut draft, &needed)?;
    pins::steps(&mut draft)?;
    let mut plan = draft.plan;
    plan.steps = transaction::wrap(plan.steps, spec, options, facts);
    Ok(plan)
}

fn endian_name(endian: Endian) -> &'static str {
    match endian {
        Endian::Little => "little-endian",
        Endian::Big => "big-endian",
    }
}
