//! Bytes to [`Elf`]: every offset, size and index is checked here, so that nobody else has to.

use super::{Elf, Section, classify, relocs, symbols};
use crate::error::Kind;
use crate::{Place, Result};
use object::Endianness;
use object::elf::{self, FileHeader64, SectionHeader64};
use object::read::StringTable;
use object::read::elf::{FileHeader as _, SectionHeader as _};
use onebpf_btf::Endian;

/// Memory that all sections without contents (`.bss`) may take together.
pub(crate) const MAX_NOBITS: u64 = 64 << 20;

/// Longest name of a section or symbol. The kernel's own limit for a symbol is 512 (`KSYM_NAME_LEN`, Linux 6.1).
const MAX_NAME: usize = 1024;

pub(super) type Header = FileHeader64<Endianness>;
pub(super) type SectionHeader = SectionHeader64<Endianness>;

/// What the readers of symbols and relocations share.
pub(super) struct Raw<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) endian: Endianness,
    pub(super) headers: &'a [SectionHeader],
}

/// Reads the structure of a BPF object file.
pub(crate) fn read(bytes: &[u8]) -> Result<Elf<'_>> {
    let header = header(bytes)?;
    let endian = header.endian().map_err(damaged)?;
    let headers = header.section_headers(endian, bytes).map_err(damaged)?;
    let names = header.section_strings(endian, bytes, headers).map_err(damaged)?;
    let raw = Raw { bytes, endian, headers };

    let mut sections = read_sections(&raw, &names)?;
    let symbols = symbols::read(&raw)?;
    relocs::read(&raw, &symbols, &mut sections)?;
    let endian = if endian == Endianness::Little { Endian::Little } else { Endian::Big };
    Ok(Elf { endian, sections, symbols: symbols.list })
}

impl<'a> Raw<'a> {
    /// A section's contents as whole entries of `T`, which is as long as `sh_entsize` says.
    pub(super) fn entries<T: object::pod::Pod>(
        &self,
        index: usize,
        header: &SectionHeader,
    ) -> Result<&'a [T]> {
        let size = size_of::<T>();
        if header.sh_entsize(self.endian) != size as u64 {
            let found = header.sh_entsize(self.endian);
            return Err(elf_error(index, format!("entries of {found} bytes where they should be {size}")));
        }
        let data = header.data(self.endian, self.bytes).map_err(|e| elf_error(index, e.to_string()))?;
        let (entries, rest) = object::pod::slice_from_bytes::<T>(data, data.len() / size)
            .map_err(|()| elf_error(index, "contents are not aligned".to_owned()))?;
        if !rest.is_empty() {
            return Err(elf_error(index, format!("size is not a multiple of {size}")));
        }
        Ok(entries)
    }
}

fn header(bytes: &[u8]) -> Result<&Header> {
    if let Some(what) = not_bpf(bytes) {
        return Err(Kind::NotBpf(what).at(Place::default()));
    }
    let header = Header::parse(bytes).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    let machine = header.e_machine(endian);
    if machine != elf::EM_BPF && machine != elf::EM_NONE {
        let what = match machine {
            elf::EM_X86_64 => "this is an x86-64 file".to_owned(),
            elf::EM_AARCH64 => "this is an arm64 file".to_owned(),
            elf::EM_RISCV => "this is a RISC-V file".to_owned(),
            elf::EM_S390 => "this is an s390 file".to_owned(),
            elf::EM_PPC64 => "this is a PowerPC file".to_owned(),
            other => format!("this is an ELF file for machine {}", other.0),
        };
        return Err(Kind::NotBpf(what).at(Place::default()));
    }
    let what = match header.e_type(endian) {
        elf::ET_REL => return Ok(header),
        elf::ET_EXEC => "this is an executable, not a relocatable object".to_owned(),
        elf::ET_DYN => "this is a shared object, not a relocatable one".to_owned(),
        elf::ET_CORE => "this is a core dump".to_owned(),
        other => format!("this is an ELF file of type {}, not a relocatable object", other.0),
    };
    Err(Kind::NotBpf(what).at(Place::default()))
}

/// What a file is that is not ELF64, by its first bytes.
fn not_bpf(bytes: &[u8]) -> Option<String> {
    const KNOWN: &[(&[u8], &str)] = &[
        (b"!<arch>\n", "this is an archive (`ar x` unpacks its objects)"),
        (b"BC\xc0\xde", "this is LLVM bitcode (`llc -march=bpf -filetype=obj` compiles it)"),
        (b"\xde\xc0\x17\x0b", "this is LLVM bitcode (`llc -march=bpf -filetype=obj` compiles it)"),
        (b"\x9f\xeb", "this is raw BTF"),
        (b"\xeb\x9f", "this is raw BTF"),
        (b"\x1f\x8b", "this is a gzip file"),
        (b"\x28\xb5\x2f\xfd", "this is a zstd file"),
        (b"MZ", "this is a Windows file"),
        (b"#", "this is text"),
        (b"//", "this is text"),
        (b"/*", "this is text"),
    ];
    if bytes.is_empty() {
        return Some("the file is empty".to_owned());
    }
    if let Some(ident) = bytes.strip_prefix(b"\x7fELF") {
        return match ident.first() {
            Some(1) => Some("this is a 32-bit ELF file, BPF objects are 64-bit".to_owned()),
            _ => None,
        };
    }
    let known = KNOWN.iter().find(|(magic, _)| bytes.starts_with(magic));
    Some(known.map_or("this is not an ELF file", |(_, what)| what).to_owned())
}

fn read_sections<'a>(raw: &Raw<'a>, names: &StringTable<'a>) -> Result<Vec<Section<'a>>> {
    let mut sections = Vec::with_capacity(raw.headers.len());
    let (mut in_file, mut nobits) = (0u64, 0u64);
    for (index, header) in raw.headers.iter().enumerate() {
        let name = if index == 0 { "" } else { text(names.get(header.sh_name(raw.endian)), index, "name")? };
        let data: &[u8] = match index {
            0 => &[],
            _ => header.data(raw.endian, raw.bytes).map_err(|e| damaged(e).within(Place::at(name, 0)))?,
        };
        let no_contents = index != 0 && header.sh_type(raw.endian) == elf::SHT_NOBITS;
        let size = if no_contents { header.sh_size(raw.endian) } else { data.len() as u64 };
        let total = if no_contents { &mut nobits } else { &mut in_file };
        *total = total.saturating_add(size);
        if nobits > MAX_NOBITS {
            let what = "sections without contents".to_owned();
            return Err(Kind::TooLarge { what, limit: MAX_NOBITS, unit: "bytes" }.at(Place::at(name, 0)));
        }
        if in_file > raw.bytes.len() as u64 {
            // Bounds the work for a small file whose sections all show the same bytes.
            return Err(Kind::Elf("sections overlap in the file".to_owned()).at(Place::at(name, 0)));
        }
        let kind = classify::classify(name, header, raw.endian);
        sections.push(Section { index, name, kind, data, size, relocs: Vec::new() });
    }
    Ok(sections)
}

/// A name from a string table.
pub(super) fn text<'a>(name: std::result::Result<&'a [u8], ()>, index: usize, what: &str) -> Result<&'a str> {
    let name = name.map_err(|()| elf_error(index, format!("{what} lies outside the string table")))?;
    if name.len() > MAX_NAME {
        return Err(elf_error(index, format!("{what} is longer than {MAX_NAME} bytes")));
    }
    std::str::from_utf8(name).map_err(|_| elf_error(index, format!("{what} is not UTF-8")))
}

/// An error about the section with that index, whose name may not be known yet.
#[allow(clippy::needless_pass_by_value)] // made for the error
pub(super) fn elf_error(index: usize, what: String) -> crate::Error {
    Kind::Elf(format!("section {index}: {what}")).at(Place::default())
}

#[allow(clippy::needless_pass_by_value)] // for map_err
pub(super) fn damaged(error: object::read::Error) -> crate::Error {
    Kind::Elf(error.to_string()).at(Place::default())
}
