//! Tables of functions that the kernel calls (struct_ops): what their values and programs become for this kernel.

use super::draft::Draft;
use super::programs::select;
use super::{KernelValueRef, Register, Step};
use crate::error::{Code, Error, Result};
use crate::kernel_types::{KernelName, Module, NameKind, Named};
use crate::{Facts, Options, Spec};
use indexmap::IndexMap;
use onebpf_btf::{KernelMember, OPS_VALUE_PREFIX, OpsLayout, OpsMember, TypeId, lay_out_ops, ops_value_name};
use onebpf_object::{Contents, MapSpec, OpsTable, Place, ProgramSpec, ProgramType};
use std::collections::{BTreeMap, BTreeSet};

/// The tables that a load needs to know, laid out as the kernel has them.
#[derive(Default)]
pub(super) struct Tables<'a> {
    by_name: IndexMap<&'a str, Table<'a>>,
    roles: BTreeMap<&'a str, Role>,
}

/// A table in the kernel's terms.
struct Table<'a> {
    named: Named,
    value: Vec<u8>,
    /// By offset in the value.
    programs: Vec<(u32, &'a str)>,
}

/// What a program is for: a member of a kernel's struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Role {
    /// The struct and the member, as C names them.
    pub(super) name: String,
    /// The kernel's struct.
    pub(super) table: u32,
    /// The module that has it.
    pub(super) module: Option<Module>,
    /// Which member.
    pub(super) member: u32,
}

/// What the kernel has for a table.
struct Kernel<'a> {
    /// Its struct's name.
    name: &'a str,
    named: Named,
    layout: OpsLayout,
}

/// Kernel: a struct_ops map that a link registers. Linux 6.4.
const BPF_F_LINK: u32 = 1 << 13;

/// Whether a program loads by default: one that tables name does if one of those is created (libbpf
/// `bpf_object_adjust_struct_ops_autoload()`).
pub(super) fn autoloads(spec: &Spec, program: &ProgramSpec) -> bool {
    let mut tables = spec.maps.values().filter(|map| {
        matches!(&map.contents, Contents::Ops(ops) if ops.programs.values().any(|name| *name == program.name))
    });
    match tables.next() {
        Some(first) if program.kind == ProgramType::STRUCT_OPS => {
            first.autocreate || tables.any(|map| map.autocreate)
        }
        _ => program.autoload,
    }
}

/// Whether the load creates a table: where programs are chosen by name, one whose programs are all chosen.
pub(super) fn is_created(map: &MapSpec, ops: &OpsTable, options: &Options, chosen: &BTreeSet<&str>) -> bool {
    let all = options.programs.is_empty() && options.sections.is_empty();
    let complete =
        || !ops.programs.is_empty() && ops.programs.values().all(|name| chosen.contains(name.as_str()));
    map.autocreate && (all || complete())
}

/// The tables to lay out: those to be created, and for each other chosen program the first one that names it.
fn concerned<'a>(spec: &'a Spec, options: &Options) -> Result<Vec<(&'a str, &'a MapSpec, &'a OpsTable)>> {
    let chosen: BTreeSet<&str> = select(spec, options)?.iter().map(|program| program.name.as_str()).collect();
    let tables = || {
        spec.maps.iter().filter_map(|(name, map)| match &map.contents {
            Contents::Ops(ops) => Some((name.as_str(), map, ops)),
            _ => None,
        })
    };
    let mut covered = BTreeSet::new();
    let mut found: Vec<_> = tables().filter(|(_, map, ops)| is_created(map, ops, options, &chosen)).collect();
    covered.extend(found.iter().flat_map(|(_, _, ops)| ops.programs.values().map(String::as_str)));
    for (name, map, ops) in tables() {
        let fresh =
            |program: &&String| chosen.contains(program.as_str()) && !covered.contains(program.as_str());
        if ops.programs.values().any(|program| fresh(&program)) {
            covered.extend(ops.programs.values().map(String::as_str));
            found.push((name, map, ops));
        }
    }
    Ok(found)
}

/// The kernel's types that the tables need.
pub(super) fn names(spec: &Spec, options: &Options) -> Result<Vec<KernelName>> {
    let tables = concerned(spec, options)?;
    Ok(tables.into_iter().filter_map(|(_, map, _)| value_type(spec, map)).collect())
}

fn value_type(spec: &Spec, map: &MapSpec) -> Option<KernelName> {
    let table = spec.btf.as_ref()?.get(map.value.btf?).ok()?.name;
    Some(KernelName { name: ops_value_name(table), kind: NameKind::Struct, module: None })
}

impl<'a> Tables<'a> {
    /// Lays out all that are concerned.
    pub(super) fn of(spec: &'a Spec, options: &Options, facts: &Facts) -> Result<Self> {
        let mut tables = Self::default();
        for (name, map, ops) in concerned(spec, options)? {
            let kernel = kernel(spec, facts, name, map)?;
            let found = tables.table(name, map, ops, kernel)?;
            tables.by_name.insert(name, found);
        }
        Ok(tables)
    }

    /// What a program is for.
    pub(super) fn role(&self, program: &ProgramSpec, place: &Place) -> Result<&Role> {
        self.roles.get(program.name.as_str()).ok_or_else(|| {
            let text = format!("program `{}` is in no table of functions", program.name);
            Error::new(Code::Table, text).at(place).hint(
                "name it in a member of a struct in section `.struct_ops` or `.struct_ops.link`; if it is to be loaded \
                 without one, choose others with `--program NAME`",
            )
        })
    }

    /// The size of a table's value, and the kernel's type of it.
    pub(super) fn value(&self, draft: &mut Draft<'_>, name: &str) -> Option<(u32, KernelValueRef)> {
        let table = self.by_name.get(name)?;
        let module = table.named.module.as_ref().map(|module| draft.module(module));
        Some((table.value.len() as u32, KernelValueRef { type_id: table.named.btf_id, module }))
    }

    /// Adds the steps that complete tables.
    pub(super) fn steps(&self, draft: &mut Draft<'_>) {
        for (name, table) in &self.by_name {
            let Some(map) = draft.maps.get(*name).map(|map| map.slot) else { continue };
            let slots = table.programs.iter();
            let programs = slots.filter_map(|(at, name)| Some((*at, *draft.programs.get(*name)?))).collect();
            let linked = draft.spec.maps.get(*name).is_some_and(|map| map.flags & BPF_F_LINK != 0);
            let register = match draft.options.register {
                false => None,
                true if linked => Some(Register::Link(draft.slot())),
                true => Some(Register::Value),
            };
            if let Some(Register::Link(link)) = register {
                draft.links.insert((*name).to_owned(), link);
            }
            let (name, value) = ((*name).to_owned(), table.value.as_slice().into());
            draft.push(Step::Table { map, name, value, programs, register });
        }
    }

    /// The value as the kernel wants it, and the roles of the programs in it: libbpf's `bpf_map__init_kern_struct_ops()`.
    fn table(
        &mut self,
        name: &str,
        map: &'a MapSpec,
        ops: &'a OpsTable,
        kernel: Kernel<'_>,
    ) -> Result<Table<'a>> {
        let Kernel { name: kernel_name, named, layout } = kernel;
        let mut value = vec![0; layout.value_size as usize];
        let mut programs = Vec::new();
        for member in &layout.members {
            let fault = |what: String| fault(name, map, &format!("member `{}`: {what}", member.name));
            let program = ops.programs.get(&member.offset);
            let bytes = bytes(ops, member).ok_or_else(|| fault("it lies outside the table".to_owned()))?;
            let is_set = program.is_some() || (bytes.iter().any(|byte| *byte != 0));
            let (index, offset, function) = match &member.kernel {
                KernelMember::Absent if is_set => {
                    let error = fault("this kernel's struct has no such member".to_owned());
                    return Err(error.hint(
                        "a member that is zero, or `none`, may be missing: `--set ops.TABLE.MEMBER=none`",
                    ));
                }
                KernelMember::Absent => continue,
                KernelMember::Unlike(why) => return Err(fault(why.clone())),
                KernelMember::At { index, offset, function } => (*index, *offset, *function),
            };
            match program {
                None if member.pointer && is_set => {
                    return Err(fault("it is a pointer, and only programs can be put there".to_owned()));
                }
                None => {
                    let start = offset as usize;
                    let place = value.get_mut(start..start.saturating_add(bytes.len()));
                    let place = place
                        .ok_or_else(|| fault("the kernel's BTF has it outside its struct".to_owned()))?;
                    place.copy_from_slice(bytes);
                }
                Some(_) if !function => {
                    return Err(fault("the kernel's is no pointer to a function".to_owned()));
                }
                Some(program) => {
                    let name = format!("{kernel_name}.{}", member.name);
                    let role =
                        Role { name, table: layout.table.0, module: named.module.clone(), member: index };
                    self.assign(program, role).map_err(fault)?;
                    programs.push((offset, program.as_str()));
                }
            }
        }
        Ok(Table { named, value, programs })
    }

    /// A program may be in several tables, as the same member of the same struct.
    fn assign(&mut self, program: &'a str, role: Role) -> std::result::Result<(), String> {
        match self.roles.get(program) {
            Some(other) if *other != role => Err(format!(
                "program `{program}` is for `{}` already, and can be for one thing only",
                other.name
            )),
            _ => {
                self.roles.insert(program, role);
                Ok(())
            }
        }
    }
}

/// Finds the kernel's type for a table, and the table in it.
fn kernel<'a>(spec: &'a Spec, facts: &Facts, name: &str, map: &MapSpec) -> Result<Kernel<'a>> {
    let fault = |what: &str| fault(name, map, what);
    let btf = spec.btf.as_ref().zip(map.value.btf);
    let Some((wanted, (local, ty))) = value_type(spec, map).zip(btf) else {
        return Err(fault("BTF does not say of which type it is"));
    };
    let kernel_name = wanted.name.strip_prefix(OPS_VALUE_PREFIX).unwrap_or(&wanted.name);
    let named = match facts.named(&wanted) {
        Some((_, Some(named))) => named,
        Some((_, None)) if facts.kernel_btf == Some(false) => return Err(fault("this kernel has no BTF")),
        Some((_, None)) => {
            let what = format!(
                "this kernel takes no functions for `struct {kernel_name}` (it has no `struct {}`)",
                wanted.name
            );
            return Err(fault(&what));
        }
        None => return Err(fault(&format!("the facts say nothing of `struct {}`", wanted.name))),
    };
    let types = facts.running.as_ref().and_then(|types| types.of_module(named.module.as_ref()));
    let Some(types) = types else {
        let error = fault(&format!("the facts name `struct {}` but do not hold it", wanted.name));
        return Err(
            error.hint("plan on the host itself: what is saved of a kernel's types is where they come from")
        );
    };
    match lay_out_ops(local, ty, types, TypeId(named.btf_id))? {
        Some(layout) => Ok(Kernel { name: local.get(ty)?.name, named: named.clone(), layout }),
        None => {
            Err(fault(&format!("this kernel's `struct {}` holds no `struct {kernel_name}`", wanted.name)))
        }
    }
}

/// A member's bytes in the object's table.
fn bytes<'a>(ops: &'a OpsTable, member: &OpsMember) -> Option<&'a [u8]> {
    let start = member.offset as usize;
    ops.data.get(start..start.checked_add(member.size as usize)?)
}

fn fault(name: &str, map: &MapSpec, what: &str) -> Error {
    Error::new(Code::Table, format!("struct_ops `{name}`: {what}")).at(&map.place)
}
