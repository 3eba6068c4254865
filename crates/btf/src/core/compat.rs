//! Whether two types may stand for each other: for access to a field, and for questions about whole types.

use super::{Steps, essential, name, same_kind};
use crate::error::{Result, What};
use crate::read::types::Look;
use crate::read::walk::MAX_DEPTH;
use crate::{Btf, Def, Type, TypeId};

/// A local and a target type, each in its BTF.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) local: (&'a Btf, TypeId),
    pub(super) target: (&'a Btf, TypeId),
}

impl<'a> Pair<'a> {
    pub(super) fn with(self, local: TypeId, target: TypeId) -> Pair<'a> {
        Pair { local: (self.local.0, local), target: (self.target.0, target) }
    }

    /// Both, behind typedefs and modifiers.
    pub(super) fn strip(self) -> Result<(Type<'a>, Type<'a>)> {
        self.strip_looking(Look::Full)
    }

    fn strip_looking(self, look: Look) -> Result<(Type<'a>, Type<'a>)> {
        Ok((
            self.local.0.strip_looking(self.local.1, look)?,
            self.target.0.strip_looking(self.target.1, look)?,
        ))
    }
}

/// Whether a member of the one type can be read as the other: of structs and pointers nothing more is asked, of integers
/// neither size nor sign (libbpf `bpf_core_fields_are_compat`).
pub(super) fn fields(mut pair: Pair<'_>) -> Result<bool> {
    for _ in 0..MAX_DEPTH {
        let (local, target) = pair.strip_looking(Look::NoNames)?;
        let composite = |def: &Def<'_>| matches!(def, Def::Struct { .. } | Def::Union { .. });
        if composite(&local.def) && composite(&target.def) {
            return Ok(true);
        }
        if !same_kind(local.kind, target.kind) {
            return Ok(false);
        }
        match (local.def, target.def) {
            (Def::Ptr(_) | Def::Float { .. }, _) => return Ok(true),
            (Def::Fwd { .. } | Def::Enum { .. } | Def::Enum64 { .. }, _) => {
                let (local, target) = pair.strip_looking(Look::Name)?;
                let (local, target) = (essential(name(&local)), essential(name(&target)));
                return Ok(local.is_empty() || target.is_empty() || local == target);
            }
            (Def::Int { offset, .. }, Def::Int { offset: other, .. }) => return Ok(offset == 0 && other == 0),
            (Def::Array { elem, .. }, Def::Array { elem: other, .. }) => pair = pair.with(elem, other),
            _ => return Ok(false),
        }
    }
    Err(What::Depth(MAX_DEPTH).into())
}

/// Whether a type is there in the sense of `bpf_core_type_exists`: kinds are compared along pointers, arrays and
/// signatures, names are not (libbpf `bpf_core_types_are_compat`).
pub(super) fn types(pair: Pair<'_>, steps: &mut Steps) -> Result<bool> {
    types_within(pair, MAX_DEPTH, steps)
}

fn types_within(mut pair: Pair<'_>, level: u32, steps: &mut Steps) -> Result<bool> {
    let kind = |(btf, id): (&Btf, TypeId)| btf.look_at(id, Look::NoNames).map(|ty| ty.kind);
    let (local, target) = (kind(pair.local)?, kind(pair.target)?);
    if !same_kind(local, target) {
        return Ok(false);
    }
    for _ in 0..MAX_DEPTH {
        steps.take()?;
        let (local, target) = pair.strip_looking(Look::NoNames)?;
        if !same_kind(local.kind, target.kind) {
            return Ok(false);
        }
        match (local.def, target.def) {
            (
                Def::Void
                | Def::Struct { .. }
                | Def::Union { .. }
                | Def::Enum { .. }
                | Def::Enum64 { .. }
                | Def::Fwd { .. },
                _,
            ) => return Ok(true),
            (Def::Int { offset, .. }, Def::Int { offset: other, .. }) => return Ok(offset == 0 && other == 0),
            (Def::Ptr(one), Def::Ptr(other))
            | (Def::Array { elem: one, .. }, Def::Array { elem: other, .. }) => pair = pair.with(one, other),
            (Def::FuncProto { ret, params }, Def::FuncProto { ret: other, params: others }) => {
                if params.len() != others.len() {
                    return Ok(false);
                }
                for (one, other) in params.zip(others) {
                    let level = level.checked_sub(1).ok_or(What::Depth(MAX_DEPTH))?;
                    let (one, other) = pair.with(one.ty, other.ty).strip_looking(Look::NoNames)?;
                    if !types_within(pair.with(one.id, other.id), level, steps)? {
                        return Ok(false);
                    }
                }
                pair = pair.with(ret, other);
            }
            _ => return Ok(false),
        }
    }
    Err(What::Depth(MAX_DEPTH).into())
}
