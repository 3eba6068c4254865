//! Dialect `data`: `.data*`, `.rodata*` and `.bss*`. Each section is an array of one element, whose value is the section.
//! libbpf: `bpf_object__init_internal_map`.

use super::{Claim, Declared, Found, Input, walk};
use crate::elf::{Section, SectionKind};
use crate::{Contents, Dialect, Layout, MapSpec, MapType, Pinning, Place, Result};
use onebpf_btf::TypeId;

/// Kernel: `BPF_F_RDONLY_PROG`, since Linux 5.2.
pub(super) const RDONLY_PROG: u32 = 1 << 7;
/// Kernel: `BPF_F_MMAPABLE`, since Linux 5.5.
pub(super) const MMAPABLE: u32 = 1 << 10;
/// Kernel: `BPF_OBJ_NAME_LEN`, with the final NUL.
const NAME_LEN: usize = 16;

pub(super) fn claims(input: &Input<'_>) -> Claim {
    match input.section.kind {
        SectionKind::Data | SectionKind::ReadOnlyData | SectionKind::Bss => {
            Claim::Yes { weight: 1, evidence: "a section of global variables".to_owned() }
        }
        _ => Claim::No,
    }
}

pub(super) fn maps(input: &Input<'_>) -> Result<Found> {
    let section = input.section;
    let read_only = section.kind == SectionKind::ReadOnlyData;
    let variables = walk::variables(input)?;
    // Only where user space may look for variables, as libbpf decides (`map_is_mmapable`).
    let mmapable = variables.as_ref().is_some_and(|(_, vars)| vars.iter().any(|var| var.exported));
    let mut flags = if read_only { RDONLY_PROG } else { 0 };
    if mmapable {
        flags |= MMAPABLE;
    }
    let spec = MapSpec {
        flags,
        contents: Contents::Data(contents(section)),
        read_only,
        ..array(input.options.name.as_str(), section.name, section.size as u32, variables.map(|(id, _)| id))
    };
    let declared = Declared { spec, section: section.index, offset: 0, pointers: Vec::new() };
    Ok(Found { maps: vec![declared], warnings: Vec::new() })
}

/// A section's bytes; zeros for `.bss`, which `elf::read` bounds.
fn contents(section: &Section<'_>) -> Vec<u8> {
    let mut bytes = section.data.to_vec();
    bytes.resize(section.size as usize, 0);
    bytes
}

/// An array of one value.
pub(super) fn array(object: &str, section: &str, size: u32, btf: Option<TypeId>) -> MapSpec {
    MapSpec {
        name: map_name(object, section),
        section: section.to_owned(),
        dialect: Dialect::Data,
        kind: MapType::ARRAY,
        key: Layout { size: 4, btf: None },
        value: Layout { size, btf },
        max_entries: 1,
        flags: 0,
        extra: 0,
        numa_node: None,
        pinning: Pinning::None,
        inner: None,
        contents: Contents::Empty,
        id: None,
        inner_id: None,
        inner_idx: None,
        read_only: false,
        autocreate: true,
        place: Place::at(section, 0),
    }
}

/// The name that libbpf gives to a data map (`internal_map_name`, `map_uses_real_name`), which tools and skeletons rely
/// on: 15 characters, the last of which are the section's name (room for 7 is kept), the first the object's, if the
/// section's name has one dot only. `my_object_name` has `my_objec.rodata`, `my_objec.bss` and `my_obje.kconfig`. Sections
/// `.data.*` and `.rodata.*` are shown by their full names, and cut only for the kernel, as all names are.
fn map_name(object: &str, section: &str) -> String {
    if section.starts_with(".data.") || section.starts_with(".rodata.") {
        return section.to_owned();
    }
    let suffix = section.len().clamp(7, NAME_LEN - 1);
    let custom = section.bytes().skip(1).any(|byte| byte == b'.');
    let prefix = if custom { 0 } else { NAME_LEN - 1 - suffix };
    let bytes = object.bytes().take(prefix).chain(section.bytes().take(suffix));
    let clean =
        |byte: u8| if byte.is_ascii_alphanumeric() || b"_.".contains(&byte) { char::from(byte) } else { '_' };
    bytes.map(clean).collect()
}

#[cfg(test)]
mod tests {
    use super::map_name;

    #[test]
    fn names_are_cut_as_libbpf_cuts_them() {
        for (object, section, name) in [
            ("my_object_name", ".rodata", "my_objec.rodata"),
            ("my_object_name", ".data", "my_objec.data"),
            ("my_object_name", ".bss", "my_objec.bss"),
            ("my_object_name", ".kconfig", "my_obje.kconfig"),
            ("a", ".bss", "a.bss"),
            ("", ".bss", ".bss"),
            ("my_object_name", ".data.custom", ".data.custom"),
            ("x", ".rodata.abracadabra", ".rodata.abracadabra"),
            ("x", ".bss.abracadabra.x", ".bss.abracadabr"),
            ("x", ".rodata.str1.1", ".rodata.str1.1"),
            ("a-b c", ".data", "a_b_c.data"),
            ("é", ".data", "__.data"),
        ] {
            assert_eq!(map_name(object, section), name);
        }
    }
}
