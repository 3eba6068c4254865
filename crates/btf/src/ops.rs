//! Tables of functions (struct_ops): where the members of an object's struct are in the kernel's of the same name.

use crate::core::essential;
use crate::error::Result;
use crate::read::types::Member;
use crate::{Btf, Def, Kind, TypeId};

/// What the kernel puts before the name of a struct that it takes functions in: the value of a struct_ops map
/// (`bpf_struct_ops_init()`; its first members are the kernel's own, then comes the struct).
pub const OPS_VALUE_PREFIX: &str = "bpf_struct_ops_";

/// The value of a struct_ops map in a kernel, and where an object's table lies in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpsLayout {
    /// The kernel's struct, which programs attach to.
    pub table: TypeId,
    /// Bytes in the map's value.
    pub value_size: u32,
    /// The object's members, in their order.
    pub members: Vec<OpsMember>,
}

/// A member of an object's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpsMember {
    /// Its name.
    pub name: String,
    /// Where it is in the object's struct.
    pub offset: u32,
    /// Its bytes.
    pub size: u32,
    /// Whether it is a pointer: only programs can be put there.
    pub pointer: bool,
    /// What the kernel has of that name.
    pub kernel: KernelMember,
}

/// What a kernel's struct has for a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelMember {
    /// No member of that name.
    Absent,
    /// The same.
    At {
        /// Which member of the kernel's struct: what a program for it is loaded with as expected attach type.
        index: u32,
        /// Where in the map's value.
        offset: u32,
        /// Whether it is a pointer to a function.
        function: bool,
    },
    /// Something else, and in what way.
    Unlike(String),
}

/// The name of the value's type for a table of this type. A flavour (`___v2`) does not count.
pub fn ops_value_name(table: &str) -> String {
    format!("{OPS_VALUE_PREFIX}{}", essential(table))
}

/// Finds the members of the struct `table` of `local` in the kernel's value type `value`: libbpf's
/// `find_struct_ops_kern_types()` and `bpf_map__init_kern_struct_ops()`. `None` if `value` holds no struct of that name.
///
/// # Errors
/// E0204 and others for types that are damaged.
pub fn lay_out_ops(local: &Btf, table: TypeId, kernel: &Btf, value: TypeId) -> Result<Option<OpsLayout>> {
    let (table, value) = (local.get(table)?, kernel.get(value)?);
    let wanted = kernel.find(essential(table.name), Kind::Struct);
    let (Def::Struct { members, .. }, Def::Struct { size, members: holds, .. }) = (table.def, value.def)
    else {
        return Ok(None);
    };
    let Some((id, held)) =
        wanted.and_then(|id| Some((id, holds.into_iter().find(|member| member.ty == id)?)))
    else {
        return Ok(None);
    };
    let Def::Struct { members: theirs, .. } = kernel.get(id)?.def else { return Ok(None) };
    let mut found = Vec::new();
    for ours in members {
        let pointer = local.strip(ours.ty)?.kind == Kind::Ptr;
        let there = theirs.into_iter().enumerate().find(|(_, member)| member.name == ours.name);
        let size = u32::try_from(local.size_of(ours.ty)?).unwrap_or(u32::MAX);
        let kernel = match there {
            None => KernelMember::Absent,
            Some((index, member)) => match unlike(local, &ours, kernel, &member)? {
                Some(why) => KernelMember::Unlike(why),
                None => KernelMember::At {
                    index: index as u32,
                    offset: (held.bit_offset / 8).saturating_add(member.bit_offset / 8),
                    function: is_function(kernel, member.ty)?,
                },
            },
        };
        let (name, offset) = (ours.name.to_owned(), ours.bit_offset / 8);
        found.push(OpsMember { name, offset, size, pointer, kernel });
    }
    Ok(Some(OpsLayout { table: id, value_size: size, members: found }))
}

/// In what way a member cannot be copied to the kernel's.
fn unlike(local: &Btf, ours: &Member<'_>, kernel: &Btf, theirs: &Member<'_>) -> Result<Option<String>> {
    if ours.bit_size.is_some() || theirs.bit_size.is_some() {
        return Ok(Some("it is a bit-field, which has no place of its own".to_owned()));
    }
    let (our, their) = (local.strip(ours.ty)?, kernel.strip(theirs.ty)?);
    if our.kind != their.kind {
        return Ok(Some(format!("it is {} here and {} in the kernel", our.kind, their.kind)));
    }
    if our.kind == Kind::Ptr {
        return Ok(None);
    }
    let (here, there) = (local.size_of(ours.ty)?, kernel.size_of(theirs.ty)?);
    Ok((here != there).then(|| format!("it has {here} bytes here and {there} in the kernel")))
}

fn is_function(btf: &Btf, ty: TypeId) -> Result<bool> {
    Ok(match btf.strip(ty)?.def {
        Def::Ptr(to) => btf.strip(to)?.kind == Kind::FuncProto,
        _ => false,
    })
}
