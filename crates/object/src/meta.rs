//! The sections that speak of the whole object: license, version, BTF.

use crate::elf::{Binding, Elf, Section, SectionKind, SymbolSection};
use crate::error::Kind;
use crate::{ParseOptions, Place, Result, Warning};
use onebpf_btf::{Btf, Endian};

/// Text of the `license` section up to its first NUL. There is no default: without a section it is empty, as in libbpf.
pub(crate) fn license(elf: &Elf<'_>) -> Result<String> {
    let Some(section) = last(elf, SectionKind::License) else { return Ok(String::new()) };
    let text = section.data.split(|byte| *byte == 0).next().unwrap_or_default();
    match std::str::from_utf8(text) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => {
            let what = "license is not UTF-8 text".to_owned();
            Err(Kind::Section(what).at(Place::at(section.name, error.valid_up_to() as u64)))
        }
    }
}

/// The `version` section: `LINUX_VERSION_CODE`, which kernels before 5.0 wanted for kprobes.
pub(crate) fn kernel_version(elf: &Elf<'_>) -> Result<u32> {
    let Some(section) = last(elf, SectionKind::Version) else { return Ok(0) };
    let Ok(bytes) = <[u8; 4]>::try_from(section.data) else {
        let what = format!("version section has {} bytes where it needs 4", section.data.len());
        return Err(Kind::Section(what).at(Place::at(section.name, 0)));
    };
    Ok(match elf.endian {
        Endian::Little => u32::from_le_bytes(bytes),
        Endian::Big => u32::from_be_bytes(bytes),
    })
}

/// The object's types. With `relaxed`, types that cannot be read and that nothing in the object needs are a warning: libbpf
/// goes on without them, too (`bpf_object__init_btf`).
pub(crate) fn btf(elf: &Elf<'_>, options: &ParseOptions, warnings: &mut Vec<Warning>) -> Result<Option<Btf>> {
    let Some(section) = last(elf, SectionKind::Btf) else { return Ok(None) };
    let error = match read_btf(section.data) {
        Ok(btf) if btf.endian() == elf.endian => return Ok(Some(btf)),
        Ok(_) => {
            let what = "byte order of BTF is not that of the file".to_owned();
            return Err(Kind::Section(what).at(Place::at(section.name, 0)));
        }
        Err(error) => error,
    };
    let (offset, btf_type) = (error.place().offset.unwrap_or(0), error.place().type_id);
    let place = Place { btf_type, ..Place::at(section.name, offset) };
    if !options.relaxed || needs_btf(elf) {
        return Err(Kind::Btf(error).at(place));
    }
    let message = format!("types ignored: {error}");
    warnings.push(Warning { code: "W0121".to_owned(), message, place });
    Ok(None)
}

fn read_btf(data: &[u8]) -> onebpf_btf::Result<Btf> {
    let btf = Btf::from_vec(data.to_vec())?;
    btf.validate()?;
    Ok(btf)
}

/// libbpf's `libbpf_needs_btf`.
fn needs_btf(elf: &Elf<'_>) -> bool {
    let kinds = [SectionKind::BtfMaps, SectionKind::StructOps];
    let has_extern = || {
        let mut symbols = elf.symbols.iter();
        symbols.any(|s| s.section == SymbolSection::Undefined && s.binding != Binding::Local)
    };
    elf.sections.iter().any(|s| kinds.contains(&s.kind) && s.size > 0) || has_extern()
}

/// libbpf takes the last of several.
fn last<'e, 'a>(elf: &'e Elf<'a>, kind: SectionKind) -> Option<&'e Section<'a>> {
    elf.sections.iter().rfind(|section| section.kind == kind && !section.data.is_empty())
}
