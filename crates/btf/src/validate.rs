//! Full structural validation: everything that a reader may rely on, for every type.

use crate::error::{Error, Result, What};
use crate::read::types::{Def, Look, Member, Members, Secinfos, Type};
use crate::{Btf, Kind, TypeId};

/// Sizes of FLOAT in bytes (kernel `btf_float_check_meta`).
const FLOAT_SIZES: [u32; 5] = [2, 4, 8, 12, 16];

impl Btf {
    /// Checks every own type: that it decodes, that the ids in it exist and are of kinds that make sense there
    /// (libbpf `btf_sanity_check`), that numbers, members and variables lie inside their types (the kernel's
    /// `btf_*_check_meta`), and that no type holds itself by value. A type of unknown kind is passed over if layout
    /// information tells its length. The base is taken to be valid.
    ///
    /// What a compiler leaves to the loader is no error: DATASECs without size, names that are no C identifiers.
    ///
    /// # Errors
    /// The first that is wrong, with the id of the type.
    pub fn validate(&self) -> Result<()> {
        self.offsets().complete()?;
        for id in (self.first_own_id().0..self.type_count()).map(TypeId) {
            match self.get(id) {
                Ok(ty) => self.validate_type(&ty).map_err(|e| e.in_type(id))?,
                Err(error) if error.code() == "E0205" => {}
                Err(error) => return Err(error),
            }
        }
        self.find_cycle()
    }

    fn validate_type(&self, ty: &Type<'_>) -> Result<()> {
        let last = self.type_count() - 1;
        if let Some(id) = ty.references().find(|id| id.0 > last) {
            return Err(What::TypeId(id, last).into());
        }
        match ty.def {
            Def::Int { size, bits, offset, .. } => {
                let fits = u32::from(bits) + u32::from(offset) <= size.saturating_mul(8) && size <= 16;
                check(fits, || format!("INT of {size} bytes cannot hold {bits} bits at bit {offset}"))
            }
            Def::Float { size } => check(FLOAT_SIZES.contains(&size), || format!("FLOAT of {size} bytes")),
            // `enum name;` in C: clang writes it, libbpf takes it, the kernel does not.
            Def::Enum { size: 0, values, .. } if values.is_empty() => Ok(()),
            Def::Enum { size, .. } | Def::Enum64 { size, .. } => {
                check(size.is_power_of_two() && size <= 8, || format!("{} of {size} bytes", ty.kind))
            }
            Def::Array { elem, .. } => check(elem != TypeId::VOID, || "ARRAY of void".into()),
            Def::Struct { size, members } | Def::Union { size, members } => {
                self.validate_members(size, members)
            }
            Def::Func { proto, .. } => {
                let kind = self.look_at(proto, Look::NoNames)?.kind;
                check(kind == Kind::FuncProto, || format!("FUNC of {proto}, which is {kind}, not FUNC_PROTO"))
            }
            Def::Datasec { size, vars } => self.validate_vars(size, vars),
            Def::DeclTag { target, component } => self.validate_component(target, component),
            _ => Ok(()),
        }
    }

    fn validate_members(&self, size: u32, members: Members<'_>) -> Result<()> {
        // Names only for the message.
        for (n, member) in members.without_names().enumerate() {
            let end = u64::from(member.bit_offset) + self.bits_of(&member)?;
            check(end <= u64::from(size) * 8, || {
                let name = members.get(n).map_or("", |member| member.name);
                format!("member `{name}` ends at bit {end}, the type has {size} bytes")
            })?;
        }
        Ok(())
    }

    fn bits_of(&self, member: &Member<'_>) -> Result<u64> {
        match (member.bit_size, self.strip_looking(member.ty, Look::NoNames)?.def) {
            (Some(bits), _) => Ok(u64::from(bits)),
            (None, Def::Int { size, bits, offset, .. }) if u32::from(bits) < size.saturating_mul(8) => {
                Ok(u64::from(bits) + u64::from(offset))
            }
            (None, Def::Int { size, .. } | Def::Struct { size, .. } | Def::Union { size, .. }) => {
                Ok(u64::from(size) * 8)
            }
            _ => self.size_of(member.ty).map(|size| size * 8),
        }
    }

    fn validate_vars(&self, size: u32, vars: Secinfos<'_>) -> Result<()> {
        for var in vars {
            let kind = self.look_at(var.ty, Look::NoNames)?.kind;
            check(matches!(kind, Kind::Var | Kind::Func), || {
                format!("DATASEC holds {}, which is {kind}", var.ty)
            })?;
            let end = u64::from(var.offset) + u64::from(var.size);
            check(size == 0 || end <= u64::from(size), || {
                format!("variable {} ends at byte {end}, the section has {size}", var.ty)
            })?;
        }
        Ok(())
    }

    fn validate_component(&self, target: TypeId, component: i32) -> Result<()> {
        let ty = self.look_at(target, Look::NoNames)?;
        let parts = match ty.def {
            Def::Struct { members, .. } | Def::Union { members, .. } => members.len(),
            Def::Func { proto, .. } => match self.look_at(proto, Look::NoNames)?.def {
                Def::FuncProto { params, .. } => params.len(),
                _ => 0,
            },
            _ => 0,
        };
        check(component == -1 || usize::try_from(component).is_ok_and(|n| n < parts), || {
            format!("DECL_TAG of part {component} of {target}, which has {parts}")
        })
    }

    /// Depth first over everything that is held by value, with a stack of our own.
    fn find_cycle(&self) -> Result<()> {
        let first = self.first_own_id().0;
        let mut seen = vec![Seen::Not; (self.type_count() - first) as usize];
        let mut stack: Vec<(Type<'_>, usize)> = Vec::new();
        for root in (first..self.type_count()).map(TypeId) {
            self.open(root, first, &mut seen, &mut stack)?;
            while let Some((ty, n)) = stack.pop() {
                if let Some(next) = held(&ty, n) {
                    stack.push((ty, n + 1));
                    if state(&mut seen, first, next).is_some_and(|state| *state == Seen::Open) {
                        return Err(Error::from(What::Circle).in_type(next));
                    }
                    self.open(next, first, &mut seen, &mut stack)?;
                } else if let Some(state) = state(&mut seen, first, ty.id) {
                    *state = Seen::Done;
                }
            }
        }
        Ok(())
    }

    /// Puts a type on the stack unless it was there before or is of unknown kind.
    fn open<'a>(
        &'a self,
        id: TypeId,
        first: u32,
        seen: &mut [Seen],
        stack: &mut Vec<(Type<'a>, usize)>,
    ) -> Result<()> {
        let Some(state) = state(seen, first, id).filter(|state| **state == Seen::Not) else { return Ok(()) };
        *state = Seen::Open;
        match self.look_at(id, Look::NoNames) {
            Ok(ty) => stack.push((ty, 0)),
            Err(error) if error.code() == "E0205" => *state = Seen::Done,
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// What is known of an own type; none for void and the base's.
fn state(seen: &mut [Seen], first: u32, id: TypeId) -> Option<&mut Seen> {
    seen.get_mut(id.0.checked_sub(first)? as usize)
}

/// The n-th type that this one holds by value.
fn held(ty: &Type<'_>, n: usize) -> Option<TypeId> {
    match ty.def {
        Def::Struct { .. }
        | Def::Union { .. }
        | Def::Typedef(_)
        | Def::Const(_)
        | Def::Volatile(_)
        | Def::Restrict(_)
        | Def::TypeTag(_) => ty.reference(n),
        Def::Array { elem, .. } => (n == 0).then_some(elem),
        _ => None,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Not,
    /// On the stack, with what it holds above it.
    Open,
    Done,
}

fn check(holds: bool, what: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::shape(what())) }
}
