//! Externs: what the object declares and the kernel has, from what was observed (libbpf `bpf_object__resolve_externs`).
//! All of the object are looked up, as with libbpf; to lack one is an error if a chosen program refers to it.

mod config;
mod kernel;

pub(crate) use config::config_options;
pub(crate) use kernel::{addressed_externs, extern_name, typed_externs};

use super::draft::Draft;
use super::programs::Chosen;
use crate::Spec;
use crate::error::Result;
use indexmap::IndexSet;
use onebpf_object::{Dialect, Extern, ExternKind, MapSpec, Place, Ref};
use std::collections::BTreeMap;
use std::fmt;

/// What the kernel has for an extern.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ExternValue {
    /// Its name in the object.
    pub name: String,
    /// What was found.
    #[serde(flatten)]
    pub target: ExternTarget,
}

/// What stands for an extern.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ExternTarget {
    /// A value in the `.kconfig` map.
    Kconfig {
        /// As the configuration has it, or as a number; `None`: it is not set, and the program reads 0.
        value: Option<String>,
    },
    /// The address of a symbol.
    Symbol {
        /// `None`: there is none, and the program sees 0.
        address: Option<u64>,
    },
    /// A variable that the kernel's BTF has.
    Variable {
        /// `None`: there is none, and the program sees the address 0.
        found: Option<InKernel>,
    },
    /// A function that programs may call.
    Function {
        /// `None`: there is none, its address is 0, and the verifier refuses a call that is reached.
        found: Option<InKernel>,
    },
}

/// A type of the kernel's BTF.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct InKernel {
    /// Its id.
    pub btf_id: u32,
    /// The module whose BTF has it; `None`: the kernel's own.
    pub module: Option<String>,
}

impl fmt::Display for ExternValue {
    /// One line of a dry run.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "extern {}: ", self.name)?;
        match &self.target {
            ExternTarget::Kconfig { value: Some(value) } => f.write_str(value),
            ExternTarget::Kconfig { value: None } => f.write_str("not set, 0"),
            ExternTarget::Symbol { address: Some(address) } => write!(f, "at {address:#x}"),
            ExternTarget::Variable { found: Some(found) } => write!(f, "variable {found}"),
            ExternTarget::Function { found: Some(found) } => write!(f, "function {found}"),
            ExternTarget::Symbol { .. } | ExternTarget::Variable { .. } | ExternTarget::Function { .. } => {
                f.write_str("not in this kernel, 0")
            }
        }
    }
}

impl fmt::Display for InKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] of {}", self.btf_id, self.module.as_deref().unwrap_or("the kernel"))
    }
}

/// The externs of an object, resolved.
#[derive(Default)]
pub(super) struct Externs {
    /// What `.kconfig` holds.
    config: Option<Vec<u8>>,
}

impl Externs {
    /// What a map of configuration values holds; `None` for other maps.
    pub(super) fn config(&self, map: &MapSpec) -> Option<Vec<u8>> {
        self.config.clone().filter(|_| map.dialect == Dialect::Kconfig)
    }
}

/// The map that a reference is to: `.kconfig` for a value of the configuration.
pub(super) fn map_of<'a>(spec: &'a Spec, reference: &'a Ref) -> Option<&'a str> {
    match reference {
        Ref::Map(name) | Ref::Data { map: name, .. } => Some(name),
        Ref::Kconfig(_) => config_map(spec),
        _ => None,
    }
}

fn config_map(spec: &Spec) -> Option<&str> {
    spec.maps.iter().find(|(_, map)| map.dialect == Dialect::Kconfig).map(|(name, _)| name.as_str())
}

/// Where a value of the configuration is in its map.
pub(super) fn offset(spec: &Spec, name: &str) -> Option<u32> {
    match spec.externs.get(name)?.kind {
        ExternKind::Kconfig { offset, .. } => Some(offset),
        ExternKind::Ksym | ExternKind::Kfunc => None,
    }
}

/// Works out what the externs stand for, and puts it into the programs.
pub(super) fn resolve(
    draft: &mut Draft<'_>,
    programs: &mut [Chosen<'_>],
    needed: &IndexSet<&str>,
) -> Result<()> {
    let uses = Uses::of(draft.spec, programs);
    if config_map(draft.spec).is_some_and(|map| needed.contains(map)) {
        draft.externs.config = Some(config::values(draft, &uses)?);
    }
    let bound = kernel::bind(draft, &uses)?;
    for chosen in programs {
        bound.apply(draft.spec, chosen);
    }
    Ok(())
}

/// Which externs the chosen programs refer to, and where they do so first.
struct Uses<'a> {
    places: BTreeMap<&'a str, Place>,
}

impl<'a> Uses<'a> {
    fn of(spec: &'a Spec, programs: &[Chosen<'_>]) -> Self {
        let mut places = BTreeMap::new();
        for Chosen { linked, .. } in programs {
            for (insn, reference) in &linked.refs {
                let (Ref::Kfunc(name) | Ref::Ksym(name) | Ref::Kconfig(name)) = reference else { continue };
                if let Some((name, _)) = spec.externs.get_key_value(name) {
                    places.entry(name.as_str()).or_insert_with(|| linked.place(spec, *insn));
                }
            }
        }
        Self { places }
    }

    /// Whether a chosen program refers to it.
    fn has(&self, wanted: &Extern) -> bool {
        self.places.contains_key(wanted.name.as_str())
    }

    /// Where it is used first; where it is declared, if it is not.
    fn place<'b>(&'b self, wanted: &'b Extern) -> &'b Place {
        self.places.get(wanted.name.as_str()).unwrap_or(&wanted.place)
    }
}
