//! BTF out of any ELF file, of any class: a kernel image, a module, a BPF object.

use crate::error::Kind;
use crate::{Place, Result};
use object::{Object as _, ObjectSection as _};

/// The `.BTF` section of an ELF file; nothing if the bytes are none (a file of plain BTF, for one).
///
/// # Errors
/// E0102 if the file is damaged, E0101 if it has no BTF.
pub fn btf_of_elf(bytes: &[u8]) -> Result<Option<Vec<u8>>> {
    if !bytes.starts_with(b"\x7fELF") {
        return Ok(None);
    }
    let damaged = |error: object::Error| Kind::Elf(error.to_string()).at(Place::default());
    let file = object::File::parse(bytes).map_err(damaged)?;
    let Some(section) = file.section_by_name(".BTF") else {
        return Err(Kind::NotBpf("the file has no section `.BTF`".to_owned()).at(Place::default()));
    };
    Ok(Some(section.data().map_err(damaged)?.to_vec()))
}
