//! A part of a variable, named as in C: `.member`, `[index]`, and any chain of these.

use onebpf_btf::{Btf, Def, Members, TypeId};

/// Anonymous members within anonymous members, and how many members are looked at: a hostile file can nest them.
const MAX_DEPTH: u32 = 32;
const MAX_MEMBERS: u32 = 1 << 16;

/// Where a part lies in its variable, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) offset: u64,
    pub(super) ty: TypeId,
}

/// Follows a path. The error says what is wrong with it.
pub(super) fn find(btf: &Btf, ty: TypeId, path: &str) -> Result<Part, String> {
    let mut part = Part { offset: 0, ty };
    let mut rest = path;
    while !rest.is_empty() {
        let (found, next) = if let Some(index) = rest.strip_prefix('[') {
            let (index, next) = index.split_once(']').ok_or("has a [ without a ]")?;
            (element(btf, part, index.trim())?, next)
        } else {
            let name = rest.strip_prefix('.').ok_or("has a part that is neither .member nor [index]")?;
            let (name, next) = name.split_at(name.find(['.', '[']).unwrap_or(name.len()));
            (member(btf, part, name)?, next)
        };
        part = found;
        rest = next;
    }
    Ok(part)
}

fn element(btf: &Btf, part: Part, index: &str) -> Result<Part, String> {
    let Def::Array { elem, count, .. } = btf.strip(part.ty).map_err(|e| e.to_string())?.def else {
        return Err(format!("is no array, and has no [{index}]"));
    };
    let at: u32 = index.parse().map_err(|_| format!("has an index `{index}` that is no number"))?;
    if at >= count {
        return Err(format!("has {count} elements, [{at}] is none of them"));
    }
    let size = btf.size_of(elem).map_err(|e| e.to_string())?;
    let offset = size.checked_mul(at.into()).and_then(|offset| offset.checked_add(part.offset));
    Ok(Part { offset: offset.ok_or("has an element out of bounds")?, ty: elem })
}

fn member(btf: &Btf, part: Part, name: &str) -> Result<Part, String> {
    let missing = |members: Members<'_>| {
        let names: Vec<String> =
            members.into_iter().take(8).map(|member| format!("`{}`", member.name)).collect();
        format!("has no member `{name}`; it has {}", names.join(", "))
    };
    let members =
        members(btf, part.ty)?.ok_or_else(|| format!("is no struct, and has no member `{name}`"))?;
    let mut left = MAX_MEMBERS;
    within(btf, part, name, MAX_DEPTH, &mut left)?.ok_or_else(|| missing(members))
}

/// The member of that name, also in members without one.
fn within(btf: &Btf, part: Part, name: &str, depth: u32, left: &mut u32) -> Result<Option<Part>, String> {
    let depth = depth.checked_sub(1).ok_or("is nested too deeply")?;
    for member in members(btf, part.ty)?.into_iter().flatten() {
        *left = left.checked_sub(1).ok_or("has too many members")?;
        let offset = part.offset + u64::from(member.bit_offset) / 8;
        let found = Part { offset, ty: member.ty };
        if member.name == name && !name.is_empty() {
            let bits = member.bit_size.is_some_and(|bits| bits != 0) || member.bit_offset % 8 != 0;
            return if bits {
                Err(format!("has a bitfield `{name}`, which is set only with the bytes around it: hex:..."))
            } else {
                Ok(Some(found))
            };
        }
        if member.name.is_empty()
            && let Some(found) = within(btf, found, name, depth, left)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn members(btf: &Btf, ty: TypeId) -> Result<Option<Members<'_>>, String> {
    Ok(match btf.strip(ty).map_err(|e| e.to_string())?.def {
        Def::Struct { members, .. } | Def::Union { members, .. } => Some(members),
        _ => None,
    })
}
