//! Dialects on objects made by hand: what no compiler writes, and evidence row by row.

mod defined;
mod legacy;

use super::{Collected, collect};
use crate::elf::{Binding, Elf, Reloc, RelocKind, Section, SectionKind, Symbol, SymbolKind, SymbolSection};
use crate::{Dialect, ParseOptions, Result};
use onebpf_btf::{Btf, Endian};

/// An object in the making. Test data lives as long as the test's process.
struct Object {
    elf: Elf<'static>,
    btf: Option<Btf>,
    options: ParseOptions,
}

impl Object {
    fn new() -> Self {
        let elf = Elf { endian: Endian::Little, sections: Vec::new(), symbols: Vec::new() };
        let mut object = Self { elf, btf: None, options: ParseOptions::default() };
        object.section("", SectionKind::Plumbing, Vec::new());
        object
    }

    fn section(&mut self, name: &str, kind: SectionKind, data: Vec<u8>) -> usize {
        let index = self.elf.sections.len();
        let (size, data) = (data.len() as u64, data.leak());
        let name = name.to_owned().leak();
        self.elf.sections.push(Section { index, name, kind, data, size, relocs: Vec::new() });
        index
    }

    fn symbol(&mut self, name: &str, section: Option<usize>, value: u64, size: u64) -> usize {
        let index = self.elf.symbols.len();
        self.elf.symbols.push(Symbol {
            name: name.to_owned().leak(),
            section: section.map_or(SymbolSection::Undefined, SymbolSection::Index),
            value,
            size,
            kind: SymbolKind::Object,
            binding: Binding::Global,
            hidden: false,
        });
        index
    }

    fn reloc(&mut self, section: usize, offset: u64, symbol: usize) {
        let kind = RelocKind::Abs64;
        self.elf.sections[section].relocs.push(Reloc { offset, kind, symbol, addend: 0 });
    }

    fn relaxed(mut self) -> Self {
        self.options.relaxed = true;
        self
    }

    fn dialect(mut self, dialect: Dialect) -> Self {
        self.options.dialect = Some(dialect);
        self
    }

    fn collect(&self) -> Result<Collected> {
        collect(&self.elf, self.btf.as_ref(), &self.options)
    }

    /// The code of the error that reading gives.
    fn code(&self) -> &'static str {
        self.collect().expect_err("an error").code()
    }
}
