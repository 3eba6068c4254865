//! `.BTF.ext`: hands each function its own BTF type, source lines and CO-RE relocations.

use super::functions::{Code, end_of};
use crate::elf::{Elf, SectionKind};
use crate::error::Kind;
use crate::insn::INSN_SIZE;
use crate::{Place, Result, SourceLine, Warning};
use onebpf_btf::Btf;
use onebpf_btf::ext::{BtfExt, CoreRelo, ExtSection, FuncInfo, LineInfo, Record};
use std::collections::HashMap;

/// Longest file name or line of C that is kept, in bytes.
const MAX_TEXT: usize = 1024;

/// Most records that are handed out. A file may have many aliases of a function, each of which gets its own.
const MAX_RECORDS: usize = 1 << 22;

/// Attaches the records; an unreadable `.BTF.ext` is a warning, as in libbpf (`bpf_object__init_btf`).
pub(super) fn attach(elf: &Elf<'_>, btf: Option<&Btf>, code: &mut Code) -> Result<Vec<Warning>> {
    let section = elf.sections.iter().rfind(|s| s.kind == SectionKind::BtfExt);
    let (Some(btf), Some(section)) = (btf, section) else { return Ok(Vec::new()) };
    let ext = match BtfExt::parse(section.data, elf.endian) {
        Ok(ext) => ext,
        Err(error) => {
            let message = format!("ignored: {error}");
            let place = Place::at(section.name, error.place().offset.unwrap_or(0));
            return Ok(vec![Warning { code: "W0120".to_owned(), message, place }]);
        }
    };
    let mut names = HashMap::new();
    for section in &elf.sections {
        names.entry(section.name).or_insert(section.index);
    }
    let mut walk = Walk { btf, names: &names, code, left: MAX_RECORDS };
    walk.each(ext.func_infos(), |code, index, at, info: FuncInfo| {
        if let Some(function) = code.functions.get_mut(index).filter(|_| at == 0) {
            function.btf = Some(info.type_id);
            function.place.btf_type = Some(info.type_id);
        }
    })?;
    walk.each(ext.line_infos(), |code, index, at, line: LineInfo| {
        if let Some(function) = code.functions.get_mut(index) {
            function.lines.push(LineInfo { insn_off: at, ..line });
        }
    })?;
    walk.each(ext.core_relos(), |code, index, at, relo: CoreRelo| {
        if let Some(function) = code.functions.get_mut(index) {
            function.core.push(CoreRelo { insn_off: at, ..relo });
        }
    })?;
    for function in &mut code.functions {
        function.lines.sort_by_key(|line| line.insn_off);
        function.core.sort_by_key(|relo| relo.insn_off);
        function.place.source = function.lines.first().and_then(|line| source_line(btf, line));
    }
    Ok(Vec::new())
}

/// The line that a record speaks of; none if its strings are not there.
pub(super) fn source_line(btf: &Btf, line: &LineInfo) -> Option<SourceLine> {
    // Many records may name one string, so that a bound on each bounds them all.
    let text =
        |offset| btf.string(offset).ok().map(|text| text[..text.floor_char_boundary(MAX_TEXT)].to_owned());
    Some(SourceLine {
        file: text(line.file_name_off)?,
        line: line.line(),
        column: line.column(),
        text: text(line.line_off)?,
    })
}

struct Walk<'a> {
    btf: &'a Btf,
    names: &'a HashMap<&'a str, usize>,
    code: &'a mut Code,
    /// How many more records may be handed out.
    left: usize,
}

impl Walk<'_> {
    /// Calls `attach` with each record, the function that it belongs to and its place there in instructions. Records of code
    /// that belongs to no function (weak functions that lost to others in linking) are passed over.
    fn each<'e, R>(
        &mut self,
        sections: impl Iterator<Item = ExtSection<'e, R>>,
        attach: impl Fn(&mut Code, usize, u32, R),
    ) -> Result<()>
    where
        R: Record + Offset + Copy + 'e,
    {
        for section in sections {
            let name = self.btf.string(section.name_off)?;
            let Some(&elf_section) = self.names.get(name) else { continue };
            // Most records are about the function that the one before was about.
            let (mut around, mut bytes) = (0..0, 0..0);
            for record in section.records {
                let offset = u64::from(record.offset());
                if !bytes.contains(&offset) {
                    around = self.code.around(elf_section, offset);
                    let function = around.clone().next().and_then(|index| self.code.functions.get(index));
                    bytes = function.map_or(0..0, |function| function.offset..end_of(function));
                }
                for index in around.clone() {
                    let Some(left) = self.left.checked_sub(1) else {
                        let (what, limit) = ("object".to_owned(), MAX_RECORDS as u64);
                        let error = Kind::TooLarge { what, limit, unit: "line, type and CO-RE records" };
                        return Err(error.at(Place::at(name, offset)));
                    };
                    self.left = left;
                    let start = self.code.functions.get(index).map_or(0, |f| f.offset);
                    let at = (offset - start) / INSN_SIZE as u64;
                    attach(self.code, index, at as u32, record);
                }
            }
        }
        Ok(())
    }
}

/// Bytes from the start of the ELF section.
trait Offset {
    fn offset(&self) -> u32;
}

impl Offset for FuncInfo {
    fn offset(&self) -> u32 {
        self.insn_off
    }
}

impl Offset for LineInfo {
    fn offset(&self) -> u32 {
        self.insn_off
    }
}

impl Offset for CoreRelo {
    fn offset(&self) -> u32 {
        self.insn_off
    }
}
