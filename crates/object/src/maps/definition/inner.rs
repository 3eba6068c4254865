//! `value` and `values`: the type of plain values, the template of inner maps, or slots.
//!
//! In a map that holds maps:
//!
//! | C | what it is |
//! |---|---|
//! | `struct inner *values[]` (`__array`), with or without initialiser | template by type, slots by address |
//! | `struct inner value` (nested or shared struct), with its own initialiser | template by value |
//! | `struct inner *value` = `&map` | template by address: that map's definition |
//! | `struct inner *value[]` = `{ &map1, NULL, &map2 }` | slots by address; the template is the first slot's map |
//!
//! In a program array, `value[]` and `values[]` are slots. In every other map `value` is a pointer to the value's type,
//! whatever the members of that type are called: a struct is a map's definition only in a map that holds maps. An array of
//! values instead of pointers lists what the map holds at first ([`entries`](super::entries)).

use super::{Definition, Form, MAX_MEMBERS, Reading};
use crate::error::MapFault;
use crate::{Error, MapType, Result, Warning};
use onebpf_btf::{Def, Member, Type, TypeId};

impl Reading<'_> {
    pub(super) fn value(
        &self,
        member: &Member<'_>,
        definition: &mut Definition,
        warnings: &mut Vec<Warning>,
    ) -> Result<()> {
        let holds_maps = definition.kind.holds_maps();
        match self.btf.strip(member.ty)?.def {
            Def::Array { elem, count, .. } => self.slots(member, elem, count, definition, warnings),
            Def::Struct { .. } if holds_maps => {
                let base = self.base.map(|base| base.saturating_add(u64::from(member.bit_offset / 8)));
                self.template(member.ty, base, definition, warnings)
            }
            Def::Ptr(_) if member.name == "values" => {
                Err(self.member(member, "is a pointer, where it must be an array of pointers".to_owned()))
            }
            Def::Ptr(_) if self.has_address(member) => {
                if !holds_maps {
                    return Err(
                        self.slot_fault("has an address as `value`, but it holds neither maps nor programs")
                    );
                }
                definition.template = Some(u64::from(member.bit_offset / 8));
                Ok(())
            }
            Def::Ptr(to) if holds_maps && self.is_definition(to)? => {
                if self.form(to)? == Form::Values {
                    let what =
                        "`value` points to a struct of numbers by value: initialise it with a map's address";
                    return Err(self.inner_fault(what));
                }
                self.template(to, None, definition, warnings)
            }
            _ => self.pointee(member, "value", &mut definition.value),
        }
    }

    /// Slots, and the template that the type of their pointers may say.
    fn slots(
        &self,
        member: &Member<'_>,
        elem: TypeId,
        count: u32,
        definition: &mut Definition,
        warnings: &mut Vec<Warning>,
    ) -> Result<()> {
        let holds_maps = definition.kind.holds_maps();
        let plain = !holds_maps && definition.kind != MapType::PROG_ARRAY;
        let (value, elem) = (elem, self.btf.strip(elem)?);
        if plain && !matches!(elem.def, Def::Ptr(_)) {
            return self.values_by_index(member, value, count, definition);
        }
        if plain {
            return Err(self.slot_fault("has slots, but it holds neither maps nor programs"));
        }
        let Def::Ptr(to) = elem.def else {
            return Err(
                self.member(member, format!("is an array of {}, where slots are pointers", elem.kind))
            );
        };
        let start = u64::from(member.bit_offset / 8);
        let length = if count == 0 { u64::MAX - start } else { u64::from(count) * 8 };
        definition.slots = Some(start..start + length);

        let to = self.btf.strip(to)?;
        match to.def {
            Def::FuncProto { .. } if !holds_maps => Ok(()),
            // Pointers to void, and to structs of numbers by value, say nothing: the first slot is the template.
            Def::Void => Ok(()),
            Def::Struct { .. } if holds_maps => match self.form(to.id)? {
                Form::Types => self.template(to.id, None, definition, warnings),
                Form::Values => Ok(()),
            },
            _ => Err(self.wrong_slot(member, &to, holds_maps)),
        }
    }

    /// Reads the inner map's definition.
    fn template(
        &self,
        ty: TypeId,
        base: Option<u64>,
        definition: &mut Definition,
        warnings: &mut Vec<Warning>,
    ) -> Result<()> {
        if self.nested {
            return Err(
                self.inner_fault("an inner map cannot hold maps: the kernel takes two levels, no more")
            );
        }
        let ty = self.btf.strip(ty)?;
        let Def::Struct { members, .. } = ty.def else {
            return Err(self.inner_fault("the inner map's definition is not a struct"));
        };
        let (name, place) = (format!("{}.inner", self.name), self.place.clone().btf(ty.id));
        let inner = Reading {
            input: self.input,
            btf: self.btf,
            name,
            base,
            nested: true,
            place,
            dialect: self.dialect,
        };
        let read = inner.read(members, warnings)?;
        if read.kind.holds_maps() {
            return Err(
                self.inner_fault("an inner map cannot hold maps: the kernel takes two levels, no more")
            );
        }
        definition.inner = Some(Box::new(inner.spec(read)));
        Ok(())
    }

    /// Whether a pointer is initialised.
    fn has_address(&self, member: &Member<'_>) -> bool {
        self.base.is_some_and(|base| {
            let at = base.saturating_add(u64::from(member.bit_offset / 8));
            !super::walk::relocs_in(self.input.section, at, 8).is_empty()
        })
    }

    /// Whether a type is a struct that defines a map.
    fn is_definition(&self, ty: TypeId) -> Result<bool> {
        let Def::Struct { members, .. } = self.btf.strip(ty)?.def else { return Ok(false) };
        Ok(members.take(MAX_MEMBERS).any(|member| member.name == "type"))
    }

    /// The form of a struct of which there is only the type.
    fn form(&self, ty: TypeId) -> Result<Form> {
        let Def::Struct { members, .. } = self.btf.strip(ty)?.def else { return Ok(Form::Types) };
        for member in members.take(MAX_MEMBERS) {
            if matches!(self.btf.strip(member.ty)?.def, Def::Int { .. }) {
                return Ok(Form::Values);
            }
        }
        Ok(Form::Types)
    }

    fn wrong_slot(&self, member: &Member<'_>, to: &Type<'_>, holds_maps: bool) -> Error {
        let wanted = if holds_maps { "structs that define a map" } else { "functions" };
        self.member(member, format!("is an array of pointers to {}, where they must be to {wanted}", to.kind))
    }

    fn inner_fault(&self, what: &str) -> Error {
        self.fault(MapFault::Inner { map: self.name.clone(), what: what.to_owned() })
    }
}
