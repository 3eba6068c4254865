//! Types as C, each after the types that it needs whole.

use crate::exit::{Failure, Outcome};
use crate::out::Out;
use crate::report::of_btf;
use onebpf::btf::{Btf, Def, Type, TypeId};
use std::collections::HashSet;

/// How deep types may need each other; the kernel's need about 20.
const MAX_DEPTH: u32 = 200;

/// Every named struct, union, enum and typedef.
pub(super) fn print(btf: &Btf, out: &mut Out) -> Outcome {
    let state = vec![State::New; btf.type_count() as usize];
    let mut order = Order { btf, state, ready: Vec::new(), inlined: inlined(btf) };
    for ty in btf.types() {
        let ty = ty.map_err(|error| Failure::from(of_btf(&error)))?;
        order.need(ty.id, 0);
        for id in std::mem::take(&mut order.ready) {
            match btf.definition(id) {
                Ok(text) => out.line(format_args!("{}\n", end(text)))?,
                Err(error) => out.say(&format!("note: type {id} is left out: {error}")),
            }
        }
    }
    Ok(())
}

fn end(text: String) -> String {
    if text.trim_end().ends_with(';') { text } else { format!("{text};") }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Begun,
    Done,
}

struct Order<'a> {
    btf: &'a Btf,
    state: Vec<State>,
    ready: Vec<TypeId>,
    /// Anonymous enums that stand in what uses them.
    inlined: HashSet<TypeId>,
}

/// Enums without a name that are part of something: written there, not by themselves.
fn inlined(btf: &Btf) -> HashSet<TypeId> {
    let mut used = HashSet::new();
    for ty in btf.types().filter_map(Result::ok) {
        match ty.def {
            Def::Struct { members, .. } | Def::Union { members, .. } => {
                used.extend(members.into_iter().map(|member| member.ty));
            }
            Def::FuncProto { ret, params } => {
                used.extend(params.into_iter().map(|param| param.ty).chain([ret]));
            }
            Def::Array { elem, .. } => drop(used.insert(elem)),
            Def::Ptr(to) | Def::Typedef(to) | Def::Const(to) | Def::Volatile(to) | Def::Restrict(to) => {
                used.insert(to);
            }
            _ => {}
        }
    }
    used
}

impl Order<'_> {
    /// Puts what `id` needs whole before it, and it after that.
    fn need(&mut self, id: TypeId, depth: u32) {
        let Ok(ty) = self.btf.get(id) else { return };
        let Some(state) = self.state.get_mut(id.0 as usize) else { return };
        if *state != State::New || depth > MAX_DEPTH {
            return;
        }
        *state = State::Begun;
        self.parts(&ty, depth);
        if let Some(state) = self.state.get_mut(id.0 as usize) {
            *state = State::Done;
        }
        let written = match ty.def {
            Def::Struct { .. } | Def::Union { .. } | Def::Typedef(_) => !ty.name.is_empty(),
            Def::Enum { .. } | Def::Enum64 { .. } => !ty.name.is_empty() || !self.inlined.contains(&id),
            _ => false,
        };
        if written {
            self.ready.push(id);
        }
    }

    fn parts(&mut self, ty: &Type<'_>, depth: u32) {
        match ty.def {
            Def::Struct { members, .. } | Def::Union { members, .. } => {
                members.into_iter().for_each(|member| self.by_value(member.ty, depth + 1));
            }
            Def::Array { elem, .. } => self.by_value(elem, depth + 1),
            Def::Const(to) | Def::Volatile(to) | Def::Restrict(to) | Def::TypeTag(to) => {
                self.need(to, depth + 1);
            }
            Def::Typedef(to) | Def::Ptr(to) => self.behind_pointer(to, depth + 1),
            Def::FuncProto { ret, params } => {
                self.behind_pointer(ret, depth + 1);
                params.into_iter().for_each(|param| self.behind_pointer(param.ty, depth + 1));
            }
            _ => {}
        }
    }

    /// A member needs its type whole, and so what stands behind the typedefs.
    fn by_value(&mut self, id: TypeId, depth: u32) {
        self.need(id, depth);
        if let Ok(ty) = self.btf.strip(id) {
            match ty.def {
                Def::Array { elem, .. } if depth < MAX_DEPTH => self.by_value(elem, depth + 1),
                _ => self.need(ty.id, depth),
            }
        }
    }

    /// C declares `struct x` where it is named, but a typedef and an enum must be there before.
    fn behind_pointer(&mut self, id: TypeId, depth: u32) {
        let Ok(ty) = self.btf.get(id) else { return };
        match ty.def {
            Def::Struct { members, .. } | Def::Union { members, .. }
                if ty.name.is_empty() && depth < MAX_DEPTH =>
            {
                members.into_iter().for_each(|member| self.by_value(member.ty, depth + 1));
            }
            Def::Struct { .. } | Def::Union { .. } | Def::Fwd { .. } => {}
            Def::Ptr(to) | Def::Const(to) | Def::Volatile(to) | Def::Restrict(to) | Def::TypeTag(to)
                if depth < MAX_DEPTH =>
            {
                self.behind_pointer(to, depth + 1);
            }
            _ => self.need(id, depth + 1),
        }
    }
}
