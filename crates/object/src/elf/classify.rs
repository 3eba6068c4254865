//! What a section is for, by its name, type and flags. No other file matches section names for this.

use super::SectionKind;
use super::view::SectionHeader;
use object::Endianness;
use object::elf;
use object::read::elf::SectionHeader as _;

/// Names with a meaning, whatever the section's type. First match wins.
const BY_NAME: &[(Match, SectionKind)] = &[
    (Match::Is("license"), SectionKind::License),
    (Match::Is("version"), SectionKind::Version),
    (Match::Is(".maps"), SectionKind::BtfMaps),
    (Match::Dir("maps"), SectionKind::LegacyMaps),
    (Match::Is(".BTF"), SectionKind::Btf),
    (Match::Is(".BTF.ext"), SectionKind::BtfExt),
    (Match::Is(".BTF_ids"), SectionKind::Plumbing),
    (Match::Is(".BTF.base"), SectionKind::Plumbing),
    (Match::Prefix(".debug_"), SectionKind::Plumbing),
    (Match::Prefix(".rel"), SectionKind::Plumbing),
    (Match::Prefix(".note"), SectionKind::Plumbing),
    (Match::Prefix(".llvm"), SectionKind::Plumbing),
    (Match::Is(".eh_frame"), SectionKind::Plumbing),
    (Match::Is(".comment"), SectionKind::Plumbing),
    (Match::Is(".discard"), SectionKind::Plumbing),
];

/// Names with a meaning for sections with contents that are not code.
const DATA: &[(Match, SectionKind)] = &[
    (Match::Dotted(".data"), SectionKind::Data),
    (Match::Dotted(".rodata"), SectionKind::ReadOnlyData),
    (Match::Is(".struct_ops"), SectionKind::StructOps),
    (Match::Is(".struct_ops.link"), SectionKind::StructOps),
    (Match::Is("?.struct_ops"), SectionKind::StructOps),
    (Match::Is("?.struct_ops.link"), SectionKind::StructOps),
    (Match::Is(".addr_space.1"), SectionKind::Arena),
    (Match::Is(".jumptables"), SectionKind::JumpTables),
];

enum Match {
    Is(&'static str),
    Prefix(&'static str),
    /// The name itself or `<name>/...`.
    Dir(&'static str),
    /// The name itself or `<name>.`.
    Dotted(&'static str),
}

impl Match {
    fn accepts(&self, name: &str) -> bool {
        match self {
            Self::Is(text) => name == *text,
            Self::Prefix(text) => name.starts_with(text),
            Self::Dir(text) => {
                name.strip_prefix(text).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Dotted(text) => {
                name.strip_prefix(text).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            }
        }
    }
}

/// Sorts a section as libbpf does (`bpf_object__elf_collect`), and by the older names that it gave up.
pub(super) fn classify(name: &str, header: &SectionHeader, endian: Endianness) -> SectionKind {
    let kind = header.sh_type(endian);
    let has_contents = kind == elf::SHT_PROGBITS || kind == elf::SHT_NOBITS;
    if !has_contents {
        // Maps and BTF are PROGBITS in every compiler's output; whatever else has the name is not them.
        return if kind.0 < elf::SHT_LOOS { SectionKind::Plumbing } else { SectionKind::Unknown };
    }
    if kind == elf::SHT_PROGBITS && header.sh_flags(endian).0 & elf::SHF_EXECINSTR.0 != 0 {
        return SectionKind::Program;
    }
    if let Some(kind) = look_up(BY_NAME, name) {
        return kind;
    }
    if kind == elf::SHT_NOBITS {
        return if Match::Dotted(".bss").accepts(name) { SectionKind::Bss } else { SectionKind::Unknown };
    }
    look_up(DATA, name).unwrap_or(SectionKind::Unknown)
}

fn look_up(table: &[(Match, SectionKind)], name: &str) -> Option<SectionKind> {
    table.iter().find(|(test, _)| test.accepts(name)).map(|(_, kind)| *kind)
}
