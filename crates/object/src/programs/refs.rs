//! What instructions refer to: each relocation becomes a [`Ref`], by the rules of libbpf's `bpf_program__record_reloc`.

use super::functions::Code;
use super::tables::Tables;
use crate::elf::{Elf, Reloc, Section, SectionKind, Symbol, SymbolKind, SymbolSection};
use crate::error::Kind;
use crate::insn::{INSN_SIZE, Insn, pseudo};
use crate::maps::Places;
use crate::{Extern, ExternKind, FuncId, Function, Place, Ref, Result};
use indexmap::IndexMap;

/// What relocations are resolved against.
pub(super) struct Context<'a> {
    pub(super) elf: &'a Elf<'a>,
    pub(super) places: &'a Places,
    pub(super) externs: &'a IndexMap<String, Extern>,
}

/// Resolves the relocations of all code, and the calls that need none.
pub(super) fn resolve(cx: &Context<'_>, code: &mut Code) -> Result<()> {
    let mut tables = Tables::default();
    for section in cx.elf.sections.iter().filter(|s| s.kind == SectionKind::Program) {
        let mut last = None;
        for reloc in &section.relocs {
            let place = || Place::at(section.name, reloc.offset);
            if !reloc.offset.is_multiple_of(INSN_SIZE as u64) {
                return Err(Kind::Reloc("relocation between two instructions".to_owned()).at(place()));
            }
            if last == Some(reloc.offset) {
                return Err(Kind::Reloc("second relocation of one instruction".to_owned()).at(place()));
            }
            last = Some(reloc.offset);
            // None: code of a weak function that lost to another in static linking. libbpf skips it, too.
            for index in code.around(section.index, reloc.offset) {
                let Some(function) = code.functions.get(index) else { continue };
                let at = (reloc.offset - function.offset) / INSN_SIZE as u64;
                let at_insn = at as usize;
                let mut one = One {
                    cx,
                    code,
                    section: section.index,
                    function,
                    at: at_insn,
                    reloc,
                    tables: &mut tables,
                };
                let found = one.resolve().map_err(|error| {
                    error.within(Place { offset: Some(reloc.offset), ..function.place.clone() })
                })?;
                if let Some(function) = code.functions.get_mut(index) {
                    function.refs.insert(at as u32, found);
                }
            }
        }
    }
    for index in 0..code.functions.len() {
        let calls = local_calls(code, index)?;
        if let Some(function) = code.functions.get_mut(index) {
            function.refs.extend(calls);
        }
    }
    Ok(())
}

/// One relocation of one function.
struct One<'a> {
    cx: &'a Context<'a>,
    code: &'a Code,
    /// The ELF section of the function.
    section: usize,
    function: &'a Function,
    at: usize,
    reloc: &'a Reloc,
    tables: &'a mut Tables,
}

impl One<'_> {
    fn resolve(&mut self) -> Result<Ref> {
        let Some(symbol) = self.cx.elf.symbols.get(self.reloc.symbol) else {
            return fail("relocation by a symbol that is not there".to_owned());
        };
        let Some(insn) = self.function.insns.get(self.at).copied().filter(|i| i.is_call() || i.is_ld_imm64())
        else {
            let name = self.name(symbol);
            return fail(format!("relocation against `{name}` of an instruction that takes none"));
        };
        match symbol.section {
            SymbolSection::Undefined if !symbol.name.is_empty() => self.external(insn, symbol),
            SymbolSection::Index(section) => match self.cx.elf.sections.get(section) {
                Some(section) if insn.is_call() => self.call(insn, symbol, section),
                Some(section) => self.address(insn, symbol, section),
                None => fail(format!("relocation against `{}`, whose section is not there", symbol.name)),
            },
            _ => {
                let name = self.name(symbol);
                fail(format!(
                    "relocation against `{name}`, which is in no section: a global variable without a definition?"
                ))
            }
        }
    }

    fn external(&self, insn: Insn, symbol: &Symbol<'_>) -> Result<Ref> {
        let name = symbol.name.to_owned();
        let what = if insn.is_call() { "call to" } else { "reference to" };
        let Some(found) = self.cx.externs.get(symbol.name) else {
            return Err(Kind::Missing { what, name }.at(Place::default()));
        };
        match (found.kind, insn.is_call()) {
            (ExternKind::Kfunc, true) => Ok(Ref::Kfunc(name)),
            (_, true) => fail(format!("call of `{name}`, which is a variable")),
            (ExternKind::Kconfig { .. }, false) => Ok(Ref::Kconfig(name)),
            (ExternKind::Ksym | ExternKind::Kfunc, false) => Ok(Ref::Ksym(name)),
        }
    }

    fn call(&self, insn: Insn, symbol: &Symbol<'_>, section: &Section<'_>) -> Result<Ref> {
        if insn.src != pseudo::CALL {
            return fail("relocation of a call that is not of a function of the object".to_owned());
        }
        // A global function's symbol is at its start and the immediate is -1; a static one's is that of the section,
        // and the immediate counts from there.
        let index = (symbol.value / INSN_SIZE as u64) as i64 + i64::from(insn.imm) + 1;
        let addend = self.reloc.addend / INSN_SIZE as i64;
        let target = index.checked_add(addend).and_then(|index| u64::try_from(index).ok());
        let target = target.and_then(|index| index.checked_mul(INSN_SIZE as u64));
        if !symbol.value.is_multiple_of(INSN_SIZE as u64) {
            return Err(self.no_function(symbol, section));
        }
        self.function_at(section, target).map(Ref::Call).ok_or_else(|| self.no_function(symbol, section))
    }

    fn address(&mut self, insn: Insn, symbol: &Symbol<'_>, section: &Section<'_>) -> Result<Ref> {
        let offset = i128::from(symbol.value) + i128::from(insn.imm) + i128::from(self.reloc.addend);
        let at = u64::try_from(offset).ok();
        match section.kind {
            SectionKind::Program => {
                let found = self.function_at(section, at);
                found.map(Ref::Func).ok_or_else(|| self.no_function(symbol, section))
            }
            SectionKind::BtfMaps | SectionKind::LegacyMaps | SectionKind::StructOps => {
                // A static map is named by its section's symbol and the immediate; of a global one's, the symbol's place
                // alone counts, as for libbpf.
                let at = if symbol.kind == SymbolKind::Section { at } else { Some(symbol.value) };
                match at.and_then(|at| self.cx.places.map_at(section.index, at)) {
                    Some(map) => Ok(Ref::Map(map.to_owned())),
                    None => fail(format!(
                        "no map is declared at {}{offset:+#x}, which `{}` names",
                        section.name,
                        self.name(symbol)
                    )),
                }
            }
            SectionKind::JumpTables => {
                let name = self.name(symbol).to_owned();
                let reader = (self.section, self.function);
                self.tables.read(self.cx.elf.endian, section, symbol, name, reader).map(Ref::JumpTable)
            }
            _ => match self.cx.places.data_of(section.index) {
                // One past the end may be formed; the kernel refuses to be given it.
                Some(map) if at.is_some_and(|at| at <= section.size) => {
                    Ok(Ref::Data { map: map.to_owned(), offset: offset as u32 })
                }
                Some(_) => fail(format!(
                    "address {}{offset:+#x} is outside the section, of {:#x} bytes",
                    section.name, section.size
                )),
                None => {
                    let (name, section) = (self.name(symbol).to_owned(), section.name.to_owned());
                    Err(Kind::NotLoaded { name, section }.at(Place::default()))
                }
            },
        }
    }

    fn function_at(&self, section: &Section<'_>, offset: Option<u64>) -> Option<FuncId> {
        self.code.starting_at(section.index, offset?)
    }

    fn no_function(&self, symbol: &Symbol<'_>, section: &Section<'_>) -> crate::Error {
        let what =
            format!("no function starts where `{}` in section `{}` points", self.name(symbol), section.name);
        Kind::Call(what).at(Place::default())
    }

    /// A symbol's name; a section's symbol has that of the section.
    fn name<'s>(&'s self, symbol: &Symbol<'s>) -> &'s str {
        match symbol.section {
            SymbolSection::Index(index) if symbol.name.is_empty() => {
                self.cx.elf.sections.get(index).map_or("", |section| section.name)
            }
            _ => symbol.name,
        }
    }
}

fn fail(what: String) -> Result<Ref> {
    Err(Kind::Reloc(what).at(Place::default()))
}

/// Calls within a section have no relocation: the immediate counts from the call. Only the start of a function can be moved;
/// a call into the caller's own body (hand-written assembly) stays as it is.
fn local_calls(code: &Code, index: usize) -> Result<Vec<(u32, Ref)>> {
    let (Some(function), Some(section)) = (code.functions.get(index), code.sections.get(index)) else {
        return Ok(Vec::new());
    };
    let mut calls = Vec::new();
    let mut at = 0;
    while let Some(insn) = function.insns.get(at) {
        let here = at;
        at += if insn.is_ld_imm64() { 2 } else { 1 };
        let is_pointer = insn.is_ld_imm64() && insn.src == pseudo::FUNC;
        if !(insn.is_local_call() || is_pointer) || function.refs.contains_key(&(here as u32)) {
            continue;
        }
        let target = here as i64 + i64::from(insn.imm) + 1;
        let offset = function.offset as i64 + target * INSN_SIZE as i64;
        match u64::try_from(offset).ok().and_then(|offset| code.starting_at(*section, offset)) {
            Some(id) if is_pointer => calls.push((here as u32, Ref::Func(id))),
            Some(id) => calls.push((here as u32, Ref::Call(id))),
            None if (0..function.insns.len() as i64).contains(&target) => {}
            None => {
                let what = format!("call of {}{offset:+#x}, where no function starts", function.section);
                let offset = Some(function.offset + (here * INSN_SIZE) as u64);
                return Err(Kind::Call(what).at(Place { offset, ..function.place.clone() }));
            }
        }
    }
    Ok(calls)
}
