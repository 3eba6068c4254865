//! Which functions there are: the FUNC symbols of executable sections.

use crate::elf::{Binding, Elf, Section, SectionKind, Symbol, SymbolKind, SymbolSection};
use crate::error::Kind;
use crate::insn::{self, INSN_SIZE};
use crate::{Error, FuncId, Function, Linkage, Place, Result};
use std::collections::BTreeMap;
use std::ops::Range;

/// Instructions of all functions of an object together: a bound on what a hostile file can make us allocate.
const MAX_INSNS: usize = 1 << 22;

/// Functions in the order of libbpf's programs: by section, then by offset.
#[derive(Debug)]
pub(super) struct Code {
    pub(super) functions: Vec<Function>,
    /// ELF section of each function.
    pub(super) sections: Vec<usize>,
}

/// Reads the functions of every executable section.
pub(super) fn collect(elf: &Elf<'_>) -> Result<Code> {
    let mut code = Code { functions: Vec::new(), sections: Vec::new() };
    let mut symbols: BTreeMap<usize, Vec<&Symbol<'_>>> = BTreeMap::new();
    for symbol in &elf.symbols {
        if let SymbolSection::Index(section) = symbol.section {
            symbols.entry(section).or_default().push(symbol);
        }
    }
    let mut total = 0;
    for section in elf.sections.iter().filter(|s| s.kind == SectionKind::Program && !s.data.is_empty()) {
        let symbols = symbols.get(&section.index).map_or(&[][..], Vec::as_slice);
        for function in of_section(elf, section, symbols)? {
            total += function.insns.len();
            if total > MAX_INSNS {
                let limit = MAX_INSNS as u64;
                return Err(Kind::TooLarge { what: "object".to_owned(), limit, unit: "instructions" }
                    .at(function.place.clone()));
            }
            code.functions.push(function);
            code.sections.push(section.index);
        }
    }
    Ok(code)
}

impl Code {
    /// The functions of a section.
    pub(super) fn in_section(&self, section: usize) -> Range<usize> {
        let start = self.sections.partition_point(|s| *s < section);
        let end = self.sections.partition_point(|s| *s <= section);
        start..end
    }

    /// The function that starts at a byte of a section.
    pub(super) fn starting_at(&self, section: usize, offset: u64) -> Option<FuncId> {
        let range = self.in_section(section);
        let functions = self.functions.get(range.clone())?;
        let found = functions.partition_point(|f| f.offset < offset);
        functions.get(found).filter(|f| f.offset == offset).map(|_| FuncId(range.start + found))
    }

    /// The functions that a byte of a section belongs to: more than one if they are aliases.
    pub(super) fn around(&self, section: usize, offset: u64) -> Range<usize> {
        let range = self.in_section(section);
        let functions = self.functions.get(range.clone()).unwrap_or_default();
        let end = functions.partition_point(|f| f.offset <= offset);
        let Some(last) =
            end.checked_sub(1).and_then(|last| functions.get(last)).filter(|f| offset < end_of(f))
        else {
            return range.start..range.start;
        };
        let start = functions.partition_point(|f| f.offset < last.offset);
        range.start + start..range.start + end
    }
}

/// Where a function ends in its section, in bytes.
pub(super) fn end_of(function: &Function) -> u64 {
    function.offset + (function.insns.len() * INSN_SIZE) as u64
}

fn of_section(elf: &Elf<'_>, section: &Section<'_>, symbols: &[&Symbol<'_>]) -> Result<Vec<Function>> {
    let mut functions = Vec::new();
    for symbol in symbols.iter().filter(|s| s.kind == SymbolKind::Function) {
        let span =
            Span { name: symbol.name, offset: symbol.value, size: symbol.size, linkage: linkage(symbol) };
        functions.push(read(elf, section, &span)?);
    }
    if functions.is_empty() {
        // Old compilers marked no function (LLVM 3.7 made NOTYPE symbols): iproute2 took the whole section.
        let named = symbols.iter().find(|s| {
            s.value == 0 && s.kind == SymbolKind::None && s.binding != Binding::Local && !s.name.is_empty()
        });
        let name = named.map_or(section.name, |symbol| symbol.name);
        let size = section.data.len() as u64;
        functions.push(read(elf, section, &Span { name, offset: 0, size, linkage: Linkage::Global })?);
    }
    functions.sort_by_key(|f| f.offset); // stable: symbol order for aliases
    for pair in functions.windows(2) {
        let [first, second] = pair else { continue };
        let is_alias = first.offset == second.offset && first.insns.len() == second.insns.len();
        if second.offset < end_of(first) && !is_alias {
            let what = format!("overlaps function `{}`", first.name);
            return Err(fault(&second.name, &what, second.place.clone()));
        }
    }
    Ok(functions)
}

struct Span<'a> {
    name: &'a str,
    offset: u64,
    size: u64,
    linkage: Linkage,
}

fn read(elf: &Elf<'_>, section: &Section<'_>, span: &Span<'_>) -> Result<Function> {
    let Span { name, offset, size, linkage } = *span;
    let place = Place::at(section.name, offset).symbol(name);
    if size == 0 {
        return Err(fault(name, "is empty", place));
    }
    if !offset.is_multiple_of(INSN_SIZE as u64) {
        return Err(fault(name, "does not start at a multiple of 8 bytes", place));
    }
    let end = usize::try_from(offset.saturating_add(size)).unwrap_or(usize::MAX);
    let Some(bytes) = section.data.get(offset as usize..end) else {
        let what = format!("is {size} bytes long and goes past the end of its section");
        return Err(fault(name, &what, place));
    };
    let insns = insn::decode(bytes, elf.endian).map_err(|error| error.within(place.clone()))?;
    Ok(Function {
        name: name.to_owned(),
        section: section.name.to_owned(),
        offset,
        insns,
        refs: BTreeMap::new(),
        linkage,
        btf: None,
        lines: Vec::new(),
        core: Vec::new(),
        place,
    })
}

fn linkage(symbol: &Symbol<'_>) -> Linkage {
    match symbol.binding {
        Binding::Local => Linkage::Static,
        _ if symbol.hidden => Linkage::Hidden,
        Binding::Weak => Linkage::Weak,
        Binding::Global => Linkage::Global,
    }
}

fn fault(name: &str, what: &str, place: Place) -> Error {
    Kind::Function { name: name.to_owned(), what: what.to_owned() }.at(place)
}
