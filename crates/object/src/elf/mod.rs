//! The ELF file as borrowed views: sections classified once, symbols, relocations.
//!
//! Nothing else in the crate matches section names or reads ELF structures.

mod btf;
mod classify;
mod relocs;
mod symbols;
mod view;

pub use btf::btf_of_elf;
pub(crate) use view::read;

use onebpf_btf::Endian;

/// A BPF ELF file, checked.
#[derive(Debug)]
pub(crate) struct Elf<'a> {
    pub(crate) endian: Endian,
    /// By ELF section index (0 is the null section).
    pub(crate) sections: Vec<Section<'a>>,
    /// By ELF symbol index.
    pub(crate) symbols: Vec<Symbol<'a>>,
}

/// One section.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    pub(crate) index: usize,
    pub(crate) name: &'a str,
    pub(crate) kind: SectionKind,
    /// Contents; empty for NOBITS.
    pub(crate) data: &'a [u8],
    /// Bytes in memory: that of `data`, or more for NOBITS (bounded by `elf::MAX_SECTION`).
    pub(crate) size: u64,
    /// Relocations that apply to this section, by offset.
    pub(crate) relocs: Vec<Reloc>,
}

/// What a section is for. `classify.rs` is the only place where section names are matched for this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SectionKind {
    /// Executable code.
    Program,
    /// `.maps`: BTF-defined maps of either form.
    BtfMaps,
    /// `maps` or `maps/<name>`: legacy definitions.
    LegacyMaps,
    /// `.data`, `.data.*`.
    Data,
    /// `.rodata`, `.rodata.*`.
    ReadOnlyData,
    /// `.bss`, `.bss.*`.
    Bss,
    /// `.struct_ops`, `.struct_ops.link`, with or without `?`.
    StructOps,
    /// `.addr_space.1`: globals in the arena.
    Arena,
    /// `.jumptables`.
    JumpTables,
    /// `license`.
    License,
    /// `version`.
    Version,
    /// `.BTF`.
    Btf,
    /// `.BTF.ext`.
    BtfExt,
    /// Symbol tables, string tables, relocations, notes, debug information: no meaning of their own.
    Plumbing,
    /// None of these.
    Unknown,
}

/// One symbol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Symbol<'a> {
    pub(crate) name: &'a str,
    pub(crate) section: SymbolSection,
    pub(crate) value: u64,
    pub(crate) size: u64,
    pub(crate) kind: SymbolKind,
    pub(crate) binding: Binding,
    /// STV_HIDDEN or STV_INTERNAL.
    pub(crate) hidden: bool,
}

/// Where a symbol lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SymbolSection {
    Undefined,
    Absolute,
    Common,
    Index(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SymbolKind {
    None,
    Object,
    Function,
    Section,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binding {
    Local,
    Global,
    Weak,
}

/// One relocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reloc {
    pub(crate) offset: u64,
    pub(crate) kind: RelocKind,
    /// Index into [`Elf::symbols`], checked.
    pub(crate) symbol: usize,
    /// Explicit addend (RELA); 0 for REL, where the relocated place holds it.
    pub(crate) addend: i64,
}

/// `R_BPF_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RelocKind {
    /// ld_imm64: 64 bits split over two instructions.
    Imm64,
    /// 64 bits of data.
    Abs64,
    /// 32 bits of data.
    Abs32,
    /// 32 bits, not to be resolved by a linker (`.BTF`, `.BTF.ext`).
    NoDyld32,
    /// A call's 32-bit immediate.
    Call32,
}
