//! Dialect `struct_ops`: `.struct_ops` and `.struct_ops.link`, each variable a table of functions for the kernel to call.
//! A `?` before the section's name makes them optional. libbpf: `init_struct_ops_maps`.

use super::link::{Pointer, Role};
use super::walk::{self, Var};
use super::{Claim, Declared, Found, Input};
use crate::elf::SectionKind;
use crate::error::{Kind, MapFault};
use crate::{Contents, Dialect, Layout, MapSpec, MapType, OpsTable, Pinning, Place, Result};
use onebpf_btf::{Btf, Def};

/// Kernel: `BPF_F_LINK`, since Linux 6.4.
const LINK: u32 = 1 << 13;

pub(super) fn claims(input: &Input<'_>) -> Claim {
    match input.section.kind {
        SectionKind::StructOps => Claim::Yes { weight: 1, evidence: "a section of struct_ops".to_owned() },
        _ => Claim::No,
    }
}

pub(super) fn maps(input: &Input<'_>) -> Result<Found> {
    let btf = walk::btf_of(input)?;
    let Some((_, vars)) = walk::variables(input)? else {
        return Err(walk::fault(input, "has no variables in BTF (no such DATASEC)"));
    };
    walk::apart(input, &vars)?;
    let mut found = Found::default();
    for var in &vars {
        let spec = read(input, btf, var)?;
        let (section, offset) = (input.section.index, var.offset);
        let pointers = pointers(input, btf, var, &spec)?;
        found.maps.push(Declared { spec, section, offset, pointers });
    }
    Ok(found)
}

/// The functions in a table: each in a member that is a pointer to one. libbpf: `bpf_object__collect_st_ops_relos`.
fn pointers(input: &Input<'_>, btf: &Btf, var: &Var<'_>, spec: &MapSpec) -> Result<Vec<Pointer>> {
    let members = spec.value.btf.map(|id| btf.get(id)).transpose()?.map(|ty| ty.def);
    let Some(Def::Struct { members, .. }) = members else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for reloc in walk::relocs_in(input.section, var.offset, var.size) {
        let offset = reloc.offset.saturating_sub(var.offset) as u32;
        let place = Place::at(input.section.name, reloc.offset).symbol(var.name);
        let fault = |what: String| {
            Kind::Map(MapFault::StructOps { name: var.name.to_owned(), what }).at(place.clone())
        };
        let Some(member) = members.into_iter().find(|member| member.bit_offset == offset.saturating_mul(8))
        else {
            return Err(fault(format!("there is an address {offset} bytes into it, where no member starts")));
        };
        let target = btf.strip(member.ty)?;
        let function = match target.def {
            Def::Ptr(to) => matches!(btf.strip(to)?.def, Def::FuncProto { .. }),
            _ => false,
        };
        if !function {
            return Err(fault(format!(
                "member `{}` has an address, but is no pointer to a function",
                member.name
            )));
        }
        found.push(Pointer::new(input, reloc, Role::Member(offset)));
    }
    Ok(found)
}

fn read(input: &Input<'_>, btf: &Btf, var: &Var<'_>) -> Result<MapSpec> {
    let section = input.section;
    let place = Place::at(section.name, var.offset).symbol(var.name);
    let fault = |what: &str| {
        let fault = MapFault::StructOps { name: var.name.to_owned(), what: what.to_owned() };
        Kind::Map(fault).at(place.clone())
    };
    let ty = btf.strip(var.ty)?;
    let Def::Struct { size, .. } = ty.def else { return Err(fault("its type is no struct")) };
    if ty.name.is_empty() {
        return Err(fault("its type has no name, by which the kernel would know it"));
    }
    let end = var.offset.saturating_add(u64::from(size));
    let Some(bytes) = section.data.get(var.offset as usize..end as usize) else {
        return Err(fault("it lies outside its section"));
    };
    let link = section.name.trim_start_matches('?') == ".struct_ops.link";
    Ok(MapSpec {
        name: var.name.to_owned(),
        section: section.name.to_owned(),
        dialect: Dialect::StructOps,
        kind: MapType::STRUCT_OPS,
        key: Layout { size: 4, btf: None },
        value: Layout { size, btf: Some(ty.id) },
        max_entries: 1,
        flags: if link { LINK } else { 0 },
        extra: 0,
        numa_node: None,
        pinning: Pinning::None,
        inner: None,
        contents: Contents::Ops(OpsTable { data: bytes.to_vec(), ..OpsTable::default() }),
        id: None,
        inner_id: None,
        inner_idx: None,
        read_only: false,
        autocreate: !section.name.starts_with('?'),
        place,
    })
}
