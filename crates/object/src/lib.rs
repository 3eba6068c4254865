#![forbid(unsafe_code)]
//! A compiled BPF object as plain, editable data.
//!
//! [`parse`] turns the bytes of an ELF file into a [`Spec`]: its maps, whatever dialect they are
//! declared in, its programs, functions, variables and externs. It is a pure function: no file, no
//! system call, no clock; the same bytes and options give the same `Spec` on any machine. A `Spec` can
//! be changed at will before it is loaded: to change `max_entries`, assign the field.
//!
//! Input is hostile: every read is checked, and every error says where.

mod elf;
mod error;
pub mod insn;
mod maps;
mod meta;
mod programs;
mod spec;

pub use elf::btf_of_elf;
pub use error::{CODES, Error, Place, Result, SourceLine, WARNINGS, Warning};
pub use programs::{LinkedProgram, LinkedTable, POISON_HELPER, Poison, SECTIONS, SectionFlags, SectionRule};
pub use programs::{link, relocate_core, resolve_core};
pub use spec::*;

/// How to read an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParseOptions {
    /// The object's name, from which libbpf derives the names of data maps (`<name>.rodata`): the file's name up to its first dot.
    pub name: String,
    /// Unknown map attributes and non-zero unknown words are warnings, not errors.
    pub relaxed: bool,
    /// Settles which dialect a `maps` or `.maps` section is written in, where evidence does not.
    pub dialect: Option<Dialect>,
    /// Rules for section names of one's own, which come before those of [`SECTIONS`].
    ///
    /// ```
    /// use onebpf_object::{AttachType, ParseOptions, ProgramType, SectionFlags, SectionRule};
    ///
    /// let ingress = SectionRule::new("ingress+", ProgramType::SCHED_CLS, AttachType(0));
    /// let hook = SectionRule::new("hook/", ProgramType::TRACING, AttachType::TRACE_FENTRY).with(SectionFlags::SLEEPABLE);
    /// let options = ParseOptions { sections: vec![ingress, hook], ..ParseOptions::default() };
    ///
    /// let (rule, target) = SectionRule::find_with(&options.sections, "hook/do_exit").expect("a section of ours");
    /// assert_eq!((rule.kind, target), (ProgramType::TRACING, Some("do_exit")));
    /// let (rule, _) = SectionRule::find_with(&options.sections, "xdp").expect("a section of libbpf's");
    /// assert_eq!(rule.kind, ProgramType::XDP);
    /// ```
    pub sections: Vec<SectionRule>,
}

/// Reads a compiled BPF object.
pub fn parse(bytes: &[u8], options: &ParseOptions) -> Result<Spec> {
    let elf = elf::read(bytes)?;
    let mut warnings = Vec::new();
    let btf = meta::btf(&elf, options, &mut warnings)?;
    let mut data = maps::collect(&elf, btf.as_ref(), options)?;
    let code = programs::collect(&elf, btf.as_ref(), &data.places, &data.externs, &options.sections)?;
    warnings.extend(data.warnings);
    warnings.extend(code.warnings);
    warnings.extend(maps::fill_tail_slots(&mut data.maps, &code.programs)?);
    warnings.extend(maps::fill_tagged_slots(&mut data.maps, &code.programs, &code.functions, btf.as_ref())?);
    let hashed = data.maps.values().any(|map| map.pinning != Pinning::None);
    Ok(Spec {
        name: options.name.clone(),
        maps: data.maps,
        programs: code.programs,
        functions: code.functions,
        variables: data.variables,
        externs: data.externs,
        license: meta::license(&elf)?,
        kernel_version: meta::kernel_version(&elf)?,
        endian: elf.endian,
        file_hash: hashed.then(|| file_hash(bytes)),
        btf,
        warnings,
    })
}

/// SHA-1 of a whole object file: what [`Spec::file_hash`] holds.
pub fn file_hash(bytes: &[u8]) -> [u8; 20] {
    sha1_smol::Sha1::from(bytes).digest().bytes()
}
