//! Edits of tables of functions (struct_ops): what libbpf calls shadow values. `--set ops.TABLE.MEMBER=VALUE`.

use super::{Contents, OpsTable, ProgramType, Spec, edit, text};
use crate::Result;
use onebpf_btf::{Btf, Def, TypeId};

/// A member of a table's struct.
struct Member {
    offset: u32,
    size: u32,
    ty: TypeId,
    /// A pointer to a function.
    function: bool,
}

impl Member {
    fn bytes<'a>(&self, ops: &'a mut OpsTable) -> Option<&'a mut [u8]> {
        let start = self.offset as usize;
        ops.data.get_mut(start..start.checked_add(self.size as usize)?)
    }
}

impl Spec {
    /// Sets a member of a table of functions before it is loaded: the name of a struct_ops program, or `none`, where the
    /// struct has a function; else a value, as [`Spec::set_variable_text`] takes it. A program that no table names any
    /// more is not loaded by default (libbpf `bpf_map__init_kern_struct_ops()`, of a table's shadow value).
    ///
    /// # Errors
    /// E0130 if there is no such table, member or program; E0131 if the value does not fit.
    pub fn set_member(&mut self, table: &str, member: &str, value: &str) -> Result<()> {
        let full = format!("{table}.{member}");
        let Some(map) = self.maps.get(table) else { return Err(edit::nothing("table", table)) };
        if !matches!(map.contents, Contents::Ops(_)) {
            return Err(edit::nothing("table", table));
        }
        let found = self.btf.as_ref().zip(map.value.btf).and_then(|(btf, ty)| find(btf, ty, member));
        let Some(found) = found else { return Err(edit::nothing("member", &full)) };
        if found.function {
            return self.set_function(table, &found, &full, value);
        }
        let (btf, ty) = (self.btf.as_ref(), Some(found.ty));
        let target = text::Target { btf, ty, size: found.size as usize, endian: self.endian };
        let bytes = text::encode(target, value).map_err(|why| edit::bad("member", &full, why))?;
        let place = self.ops_mut(table).and_then(|ops| found.bytes(ops));
        let place = place.filter(|place| place.len() == bytes.len());
        place
            .ok_or_else(|| edit::bad("member", &full, "lies outside its table".into()))?
            .copy_from_slice(&bytes);
        Ok(())
    }

    fn set_function(&mut self, table: &str, member: &Member, full: &str, value: &str) -> Result<()> {
        let program = self.function(full, value)?;
        let Some(ops) = self.ops_mut(table) else { return Err(edit::nothing("table", table)) };
        // What the file has there is an offset in a section.
        member.bytes(ops).unwrap_or_default().fill(0);
        let before = ops.programs.remove(&member.offset);
        ops.programs.extend(program.map(|program| (member.offset, program)));
        if let Some(before) = before.filter(|before| !self.is_in_a_table(before))
            && let Some(program) = self.programs.get_mut(&before)
        {
            program.autoload = false;
        }
        Ok(())
    }

    fn ops_mut(&mut self, table: &str) -> Option<&mut OpsTable> {
        match &mut self.maps.get_mut(table)?.contents {
            Contents::Ops(ops) => Some(ops),
            _ => None,
        }
    }

    /// The program that a member is set to; `None` for none.
    fn function(&self, member: &str, name: &str) -> Result<Option<String>> {
        if name == "none" {
            return Ok(None);
        }
        match self.programs.get(name) {
            Some(program) if program.kind == ProgramType::STRUCT_OPS => Ok(Some(name.to_owned())),
            Some(program) => {
                let why = format!("`{name}` is a program of type {}, not struct_ops", program.kind);
                Err(edit::bad("member", member, why))
            }
            None => Err(edit::nothing("program", name)),
        }
    }

    /// The tables of functions, by name.
    pub fn tables(&self) -> impl Iterator<Item = (&str, &OpsTable)> {
        self.maps.iter().filter_map(|(name, map)| match &map.contents {
            Contents::Ops(ops) => Some((name.as_str(), ops)),
            _ => None,
        })
    }

    fn is_in_a_table(&self, program: &str) -> bool {
        self.tables().any(|(_, ops)| ops.programs.values().any(|name| name == program))
    }
}

fn find(btf: &Btf, table: TypeId, name: &str) -> Option<Member> {
    let Def::Struct { mut members, .. } = btf.get(table).ok()?.def else { return None };
    let member = members.find(|member| member.name == name)?;
    let size = u32::try_from(btf.size_of(member.ty).ok()?).ok()?;
    let function = match btf.strip(member.ty).ok()?.def {
        Def::Ptr(to) => matches!(btf.strip(to).ok()?.def, Def::FuncProto { .. }),
        _ => false,
    };
    // A bit-field has no place of its own.
    let plain = member.bit_size.is_none() && member.bit_offset.is_multiple_of(8);
    plain.then_some(Member { offset: member.bit_offset / 8, size, ty: member.ty, function })
}
