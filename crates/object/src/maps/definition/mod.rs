//! What the struct of a `.maps` variable says: the members that both BTF forms share.
//!
//! A number is said by a type or by the variable's data ([`number`]); a type is what a pointer points to; inner maps and
//! slots have forms of their own ([`inner`]), and so have initial entries ([`entries`]). Each member is read by its own type, so that one definition may hold
//! members of both forms. libbpf: `parse_btf_map_def`; its rules about the order of members only restrict, and are not
//! copied.

mod entries;
mod inner;
mod number;

use super::link::{Pointer, Role};
use super::walk::{self, Var};
use super::{Declared, Found, Input, MAX_WARNINGS};
use crate::elf::RelocKind;
use crate::error::{Kind, MapFault};
use crate::{Contents, Dialect, Error, Layout, MapSpec, MapType, Pinning, Place, Result, Warning};
use onebpf_btf::{Btf, Def, Member, Members, TypeId, VarLinkage};
use std::ops::Range;

/// Most members of a definition. There are a dozen that mean something.
const MAX_MEMBERS: usize = 256;

/// In which form a variable is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Its types say everything: dialect `btf`.
    Types,
    /// At least one member is said by data: dialect `btf-values`.
    Values,
}

/// Reads the variables of a `.maps` section that are written in one form.
pub(super) fn read_section(input: &Input<'_>, form: Form, dialect: Dialect) -> Result<Found> {
    let btf = walk::btf_of(input)?;
    let Some((_, vars)) = walk::variables(input)? else {
        return Err(walk::fault(input, "has no variables in BTF (no such DATASEC)"));
    };
    walk::apart(input, &vars)?;
    no_stray_pointers(input, &vars)?;
    let mut found = Found::default();
    for var in &vars {
        if form_of(input, btf, var)? == form {
            let map = read_variable(input, btf, var, dialect, &mut found.warnings)?;
            found.maps.push(map);
        }
    }
    Ok(found)
}

/// Every address in the section belongs to a variable.
fn no_stray_pointers(input: &Input<'_>, vars: &[Var<'_>]) -> Result<()> {
    for reloc in &input.section.relocs {
        let after = vars.partition_point(|var| var.offset <= reloc.offset);
        let owner = after.checked_sub(1).and_then(|at| vars.get(at));
        if reloc.kind != RelocKind::Abs64 || owner.is_none_or(|var| reloc.offset - var.offset >= var.size) {
            let what = format!("has an address at {:#x} that is no slot of a map", reloc.offset);
            return Err(walk::fault(input, what));
        }
    }
    Ok(())
}

/// What tells the forms apart: a number, a struct or a list of slots that is data. Pointers are no evidence, both forms
/// have them, unless one is initialised with an address.
fn form_of(input: &Input<'_>, btf: &Btf, var: &Var<'_>) -> Result<Form> {
    let Def::Struct { members, .. } = btf.strip(var.ty)?.def else { return Ok(Form::Types) };
    for member in members.take(MAX_MEMBERS) {
        let at = var.offset.saturating_add(u64::from(member.bit_offset / 8));
        let by_value = match btf.strip(member.ty)?.def {
            Def::Int { .. } | Def::Struct { .. } => true,
            Def::Enum { .. } | Def::Enum64 { .. } => !number::is_constant(btf, member.ty)?,
            Def::Array { .. } => member.name == "value",
            Def::Ptr(_) => !walk::relocs_in(input.section, at, 8).is_empty(),
            _ => false,
        };
        if by_value {
            return Ok(Form::Values);
        }
    }
    Ok(Form::Types)
}

fn read_variable(
    input: &Input<'_>,
    btf: &Btf,
    var: &Var<'_>,
    dialect: Dialect,
    warnings: &mut Vec<Warning>,
) -> Result<Declared> {
    let place = Place::at(input.section.name, var.offset).symbol(var.name);
    if var.linkage == VarLinkage::Extern {
        return Err(Kind::Map(MapFault::ExternMap(var.name.to_owned())).at(place));
    }
    let ty = btf.strip(var.ty)?;
    let Def::Struct { size, members } = ty.def else {
        let what = format!("variable `{}` is {}, where a map is a struct", var.name, ty.kind);
        return Err(walk::fault(input, what).within(place));
    };
    let end = var.offset.saturating_add(var.size);
    if end > input.section.size || u64::from(size) > var.size {
        let what = format!("is {} bytes long, variable `{}` lies outside", input.section.size, var.name);
        return Err(walk::fault(input, what).within(place));
    }
    let (name, base) = (var.name.to_owned(), Some(var.offset));
    let reading = Reading { input, btf, name, base, nested: false, place: place.btf(ty.id), dialect };
    let definition = reading.read(members, warnings)?;
    let contents = reading.initial(&definition, var.offset, var.size, u64::from(size))?;
    let pointers = reading.pointers(&definition, var)?;
    let spec = MapSpec { contents, ..reading.spec(definition) };
    Ok(Declared { spec, section: input.section.index, offset: var.offset, pointers })
}

/// The struct that is being read: a map's, or its inner map's.
struct Reading<'a> {
    input: &'a Input<'a>,
    btf: &'a Btf,
    name: String,
    /// Where the struct is in the section; `None` if there is only its type.
    base: Option<u64>,
    /// It is an inner map's.
    nested: bool,
    place: Place,
    dialect: Dialect,
}

/// What has been said so far.
#[derive(Default)]
struct Definition {
    kind: MapType,
    key: Side,
    value: Side,
    max_entries: u32,
    flags: u32,
    extra: u64,
    numa_node: Option<u32>,
    pinning: Pinning,
    inner: Option<Box<MapSpec>>,
    /// Offset in the struct of a pointer to the inner map.
    template: Option<u64>,
    /// Offsets in the struct of slots.
    slots: Option<Range<u64>>,
    /// Initial entries.
    listed: Option<entries::Listed>,
}

/// What is said of keys or of values.
#[derive(Default)]
struct Side {
    size: Option<u32>,
    btf: Option<TypeId>,
    notes: Vec<String>,
}

impl Reading<'_> {
    fn read(&self, members: Members<'_>, warnings: &mut Vec<Warning>) -> Result<Definition> {
        let mut definition = Definition::default();
        if members.len() > MAX_MEMBERS {
            let (map, count) = (&self.name, members.len());
            let what =
                format!("defines map `{map}` by {count} members, where {MAX_MEMBERS} are more than enough");
            let section = self.input.section.name.to_owned();
            return Err(self.fault(MapFault::Section { section, what }));
        }
        // The type first: what `value` means depends on it.
        if let Some(member) = members.into_iter().find(|member| member.name == "type") {
            definition.kind = MapType(self.number(&member)?);
        }
        for member in members {
            self.read_member(&member, &mut definition, warnings)?;
        }
        if definition.kind == MapType::default() {
            return Err(self.fault(MapFault::NoType { map: self.name.clone() }));
        }
        if definition.holds_pointers() {
            self.said_size("value", 4, "a slot holds 4 bytes".to_owned(), &mut definition.value)?;
        }
        Ok(definition)
    }

    fn read_member(
        &self,
        member: &Member<'_>,
        definition: &mut Definition,
        warnings: &mut Vec<Warning>,
    ) -> Result<()> {
        match member.name {
            "type" => {}
            "max_entries" => definition.max_entries = self.number(member)?,
            "map_flags" => definition.flags = self.number(member)?,
            "numa_node" => definition.numa_node = Some(self.number(member)?),
            "map_extra" => definition.extra = self.wide_number(member)?,
            "pinning" => definition.pinning = self.pinning(self.number(member)?)?,
            "key_size" => self.size(member, "key", &mut definition.key)?,
            "value_size" => self.size(member, "value", &mut definition.value)?,
            "key" => self.pointee(member, "key", &mut definition.key)?,
            "value" | "values" => self.value(member, definition, warnings)?,
            "entries" => self.entries_by_key(member, definition)?,
            name => {
                let (map, member) = (self.name.clone(), name.to_owned());
                let fault = MapFault::UnknownMember { map, member };
                if !self.input.options.relaxed || warnings.len() >= MAX_WARNINGS {
                    return Err(self.fault(fault));
                }
                let message = fault.to_string();
                warnings.push(Warning { code: "W0101".to_owned(), message, place: self.place.clone() });
            }
        }
        Ok(())
    }

    /// `key_size` or `value_size`. In data, 0 is a member that nobody initialised.
    fn size(&self, member: &Member<'_>, what: &'static str, side: &mut Side) -> Result<()> {
        let size = self.number(member)?;
        if size == 0 && !matches!(self.btf.strip(member.ty)?.def, Def::Ptr(_)) {
            return Ok(());
        }
        self.said_size(what, size, format!("`{}` says {size}", member.name), side)
    }

    /// `key` or `value` as a pointer to a type.
    fn pointee(&self, member: &Member<'_>, what: &'static str, side: &mut Side) -> Result<()> {
        let ty = self.btf.strip(member.ty)?;
        let Def::Ptr(to) = ty.def else {
            return Err(self
                .member(member, format!("is {}, where it must be a pointer to the {what}'s type", ty.kind)));
        };
        let size = self.btf.size_of(to).map_err(|e| self.member(member, format!("says no size: {e}")))?;
        let size =
            u32::try_from(size).map_err(|_| self.member(member, "says a size over 4 GiB".to_owned()))?;
        side.btf = Some(to);
        self.said_size(what, size, format!("`{}` is BTF type {to} of {size} bytes", member.name), side)
    }

    /// Takes what is said of a size, unless it was said otherwise.
    fn said_size(&self, what: &'static str, size: u32, note: String, side: &mut Side) -> Result<()> {
        side.notes.push(note);
        match side.size.replace(size) {
            Some(first) if first != size => {
                let fault = MapFault::Sizes { map: self.name.clone(), what, first, second: size };
                Err(side.notes.iter().fold(self.fault(fault), Error::note))
            }
            _ => Ok(()),
        }
    }

    /// libbpf's `enum libbpf_pin_type`.
    fn pinning(&self, value: u32) -> Result<Pinning> {
        let what = match value {
            0 => return Ok(Pinning::None),
            1 if !self.nested => return Ok(Pinning::ByName),
            1 => "of an inner map's template, which is nothing that could be pinned",
            _ => "is not one that `.maps` knows (0: none, 1: by name)",
        };
        Err(self.fault(MapFault::Pinning { map: self.name.clone(), value: u64::from(value), what }))
    }

    /// The addresses in the variable, and what each is for.
    fn pointers(&self, definition: &Definition, var: &Var<'_>) -> Result<Vec<Pointer>> {
        let section = self.input.section;
        let mut pointers = Vec::new();
        for reloc in walk::relocs_in(section, var.offset, var.size) {
            let at = reloc.offset - var.offset;
            let slot =
                definition.slots.as_ref().filter(|slots| slots.contains(&at)).map(|slots| at - slots.start);
            let role = match slot {
                Some(distance) if distance % 8 == 0 => Role::Slot((distance / 8) as u32),
                None if definition.template == Some(at) => Role::Template,
                _ => {
                    let what = format!("the address at offset {at:#x} is in no slot");
                    return Err(self.fault(MapFault::Slot { map: self.name.clone(), what }));
                }
            };
            pointers.push(Pointer::new(self.input, reloc, role));
        }
        Ok(pointers)
    }

    fn spec(&self, definition: Definition) -> MapSpec {
        MapSpec {
            name: self.name.clone(),
            section: self.input.section.name.to_owned(),
            dialect: self.dialect,
            kind: definition.kind,
            key: definition.key.layout(),
            value: definition.value.layout(),
            max_entries: definition.max_entries,
            flags: definition.flags,
            extra: definition.extra,
            numa_node: definition.numa_node,
            pinning: definition.pinning,
            inner: definition.inner,
            contents: Contents::Empty,
            id: None,
            inner_id: None,
            inner_idx: None,
            read_only: false,
            autocreate: true,
            place: self.place.clone(),
        }
    }

    fn fault(&self, fault: MapFault) -> Error {
        Kind::Map(fault).at(self.place.clone())
    }

    fn member(&self, member: &Member<'_>, what: String) -> Error {
        self.fault(MapFault::Member { map: self.name.clone(), member: member.name.to_owned(), what })
    }
}

impl Definition {
    /// Values are maps or programs, whose number in the kernel has 4 bytes.
    fn holds_pointers(&self) -> bool {
        self.inner.is_some() || self.template.is_some() || self.slots.is_some()
    }
}

impl Side {
    fn layout(&self) -> Layout {
        Layout { size: self.size.unwrap_or_default(), btf: self.btf }
    }
}
