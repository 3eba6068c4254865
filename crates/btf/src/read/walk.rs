//! Following types: through modifiers, to sizes and alignments. Every walk is bounded.

use crate::error::{Error, Result, What};
use crate::read::types::{Def, Look, Members, Type};
use crate::{Btf, TypeId};

/// Links that are followed before a chain counts as circular (libbpf `MAX_RESOLVE_DEPTH`).
pub(crate) const MAX_DEPTH: u32 = 32;

/// Types that one question may visit: a struct of 2^n members is a small blob.
const MAX_VISITS: u32 = 1 << 16;

impl Type<'_> {
    /// The n-th type that this one refers to: elements, then index of an array; result, then parameters of a function.
    pub fn reference(&self, n: usize) -> Option<TypeId> {
        match (self.def, n) {
            (
                Def::Ptr(to)
                | Def::Typedef(to)
                | Def::Volatile(to)
                | Def::Const(to)
                | Def::Restrict(to)
                | Def::TypeTag(to)
                | Def::Func { proto: to, .. }
                | Def::FuncProto { ret: to, .. }
                | Def::Var { ty: to, .. }
                | Def::DeclTag { target: to, .. }
                | Def::Array { elem: to, .. },
                0,
            )
            | (Def::Array { index: to, .. }, 1) => Some(to),
            (Def::Struct { members, .. } | Def::Union { members, .. }, n) => members.word(n, 4).map(TypeId),
            (Def::FuncProto { params, .. }, n) => params.word(n - 1, 4).map(TypeId),
            (Def::Datasec { vars, .. }, n) => vars.word(n, 0).map(TypeId),
            _ => None,
        }
    }

    /// Every type that this one refers to.
    pub fn references(&self) -> impl Iterator<Item = TypeId> {
        (0..).map_while(|n| self.reference(n))
    }
}

impl Btf {
    /// The type behind typedefs, `const`, `volatile`, `restrict` and type tags; `id` itself if it is none of these.
    ///
    /// # Errors
    /// E0208 after 32 steps; as [`Btf::get`].
    pub fn strip(&self, id: TypeId) -> Result<Type<'_>> {
        self.strip_looking(id, Look::Full)
    }

    pub(crate) fn strip_looking(&self, id: TypeId, look: Look) -> Result<Type<'_>> {
        let mut ty = self.look_at(id, look)?;
        for _ in 0..MAX_DEPTH {
            match ty.def {
                Def::Typedef(next)
                | Def::Const(next)
                | Def::Volatile(next)
                | Def::Restrict(next)
                | Def::TypeTag(next) => ty = self.look_at(next, look)?,
                _ => return Ok(ty),
            }
        }
        Err(Error::from(What::Depth(MAX_DEPTH)).in_type(id))
    }

    /// Size in bytes of a value of this type, as libbpf's `btf__resolve_size`: through modifiers, variables and
    /// tags; pointers have 8 bytes.
    ///
    /// # Errors
    /// E0208 if types nest too deeply, E0209 over 4 GiB, E0210 for void, functions and forward declarations.
    pub fn size_of(&self, id: TypeId) -> Result<u64> {
        self.size_with_pointers(id, self.pointer_size())
    }

    /// [`Btf::size_of`] where a pointer has this many bytes.
    pub(crate) fn size_with_pointers(&self, id: TypeId, pointer: u32) -> Result<u64> {
        self.resolve_size(id, pointer).map_err(|e| e.in_type(id))
    }

    fn resolve_size(&self, id: TypeId, pointer: u32) -> Result<u64> {
        let mut count = 1u32;
        let mut next = id;
        for _ in 0..MAX_DEPTH {
            let ty = self.look_at(next, Look::NoNames)?;
            let size = match ty.def {
                Def::Int { size, .. }
                | Def::Struct { size, .. }
                | Def::Union { size, .. }
                | Def::Enum { size, .. }
                | Def::Enum64 { size, .. }
                | Def::Datasec { size, .. }
                | Def::Float { size } => size,
                Def::Ptr(_) => pointer,
                Def::Typedef(to)
                | Def::Const(to)
                | Def::Volatile(to)
                | Def::Restrict(to)
                | Def::TypeTag(to)
                | Def::Var { ty: to, .. }
                | Def::DeclTag { target: to, .. } => {
                    next = to;
                    continue;
                }
                Def::Array { elem, count: n, .. } => {
                    count = count.checked_mul(n).ok_or(What::Size)?;
                    next = elem;
                    continue;
                }
                Def::Void | Def::Fwd { .. } | Def::Func { .. } | Def::FuncProto { .. } => {
                    return Err(What::Sizeless(ty.kind.name()).into());
                }
            };
            return size.checked_mul(count).map(u64::from).ok_or_else(|| What::Size.into());
        }
        Err(What::Depth(MAX_DEPTH).into())
    }

    /// Alignment in bytes of this type, as libbpf's `btf__align_of`: 1 for a packed struct.
    ///
    /// # Errors
    /// As [`Btf::size_of`].
    pub fn align_of(&self, id: TypeId) -> Result<u32> {
        self.align_within(id, MAX_DEPTH, &mut 0).map_err(|e| e.in_type(id))
    }

    /// Whether a struct is packed for all that its type says: some member is not where its alignment would put it.
    /// `visits` is shared by many questions; when they are used up, the answer is no.
    pub(crate) fn is_packed(&self, ty: &Type<'_>, visits: &mut u32) -> bool {
        let Def::Struct { mut members, .. } = ty.def else { return false };
        self.align_within(ty.id, MAX_DEPTH, visits).is_ok_and(|align| align == 1)
            && members.any(|member| {
                member.bit_size.is_none()
                    && self.align_within(member.ty, MAX_DEPTH, visits).is_ok_and(|align| align > 1)
            })
    }

    fn align_within(&self, id: TypeId, depth: u32, visits: &mut u32) -> Result<u32> {
        let depth = depth.checked_sub(1).ok_or(What::Depth(MAX_DEPTH))?;
        *visits += 1;
        if *visits > MAX_VISITS {
            return Err(What::Work(MAX_VISITS).into());
        }
        let ty = self.strip(id)?;
        match ty.def {
            Def::Int { size, .. }
            | Def::Enum { size, .. }
            | Def::Enum64 { size, .. }
            | Def::Float { size } => Ok(size.clamp(1, self.pointer_size())),
            Def::Ptr(_) => Ok(self.pointer_size()),
            Def::Array { elem, .. } => self.align_within(elem, depth, visits),
            Def::Struct { size, members } | Def::Union { size, members } => {
                self.align_of_members(size, members, depth, visits)
            }
            _ => Err(What::Sizeless(ty.kind.name()).into()),
        }
    }

    fn align_of_members(&self, size: u32, members: Members<'_>, depth: u32, visits: &mut u32) -> Result<u32> {
        let mut max = 1;
        for member in members {
            let align = self.align_within(member.ty, depth, visits)?;
            max = align.max(max);
            // A member off its natural place gives a packed struct away, as does a size that is no multiple.
            if member.bit_size.is_none() && !member.bit_offset.is_multiple_of(align.saturating_mul(8).max(1))
            {
                return Ok(1);
            }
        }
        Ok(if size.is_multiple_of(max) { max } else { 1 })
    }
}
