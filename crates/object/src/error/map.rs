//! What can be wrong with the maps, variables and externs that an object declares, and with edits of them.

/// Causes in the declarations of an object.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum MapFault {
    #[error("map `{map}`: conflicting {what} sizes, {first} and {second}")]
    Sizes { map: String, what: &'static str, first: u32, second: u32 },
    #[error("map `{map}`: unknown member `{member}`")]
    UnknownMember { map: String, member: String },
    #[error("map `{map}`: member `{member}` {what}")]
    Member { map: String, member: String, what: String },
    #[error("map `{map}` has no type")]
    NoType { map: String },
    #[error("map `{map}`: pinning {value} {what}")]
    Pinning { map: String, value: u64, what: &'static str },
    #[error("map `{map}`: {what}")]
    Inner { map: String, what: String },
    #[error("map `{map}`: {what}")]
    Slot { map: String, what: String },
    #[error("section `{section}` {what}")]
    Section { section: String, what: String },
    #[error("map `{map}`: word {word} of its definition is {value:#x}, and what it means is not known")]
    UnknownWord { map: String, word: usize, value: u32 },
    #[error("section `{section}` can be read as {first} and as {second}")]
    Tie { section: String, first: &'static str, second: &'static str },
    #[error("two maps are named `{0}`")]
    NameTwice(String),
    #[error("map `{0}` is declared here, but defined in another object")]
    ExternMap(String),
    #[error("{0}")]
    Arena(String),
    #[error("struct_ops `{name}`: {what}")]
    StructOps { name: String, what: String },
    #[error("extern `{name}`: {what}")]
    Extern { name: String, what: String },
    #[error(
        "tail-call key {key} of program `{program}` is out of bounds: map `{map}` (id {id}) has {entries} entries"
    )]
    TailKey { program: String, map: String, id: u32, key: u32, entries: u32 },
}

impl MapFault {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Sizes { .. } => "E0103",
            Self::UnknownMember { .. } => "E0104",
            Self::Member { .. } => "E0105",
            Self::NoType { .. } => "E0106",
            Self::Pinning { .. } => "E0107",
            Self::Inner { .. } => "E0108",
            Self::Slot { .. } => "E0109",
            Self::Section { .. } => "E0110",
            Self::UnknownWord { .. } => "E0111",
            Self::Tie { .. } => "E0112",
            Self::NameTwice(_) => "E0113",
            Self::ExternMap(_) => "E0114",
            Self::Arena(_) => "E0115",
            Self::StructOps { .. } => "E0116",
            Self::Extern { .. } => "E0117",
            Self::TailKey { .. } => "E0118",
        }
    }

    pub(super) fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Sizes { .. } => "drop the size, it is implied by the type",
            Self::UnknownMember { .. } => "`--relaxed` ignores members that this version does not know",
            Self::UnknownWord { .. } => "`--relaxed` ignores words that this version does not know",
            Self::Tie { .. } => "say which one it is with `--dialect`",
            Self::Pinning { value: 2, .. } => {
                "2 is iproute2's PIN_GLOBAL_NS, which `struct bpf_elf_map` in section `maps` knows; \
                 in `.maps`, 1 (LIBBPF_PIN_BY_NAME) pins by name"
            }
            Self::ExternMap(_) => "link the objects first, with `bpftool gen object`",
            Self::Arena(_) => "declare one map of type BPF_MAP_TYPE_ARENA in section `.maps`",
            _ => return None,
        })
    }
}

/// Causes in edits of a [`Spec`](crate::Spec) by name.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum EditFault {
    #[error("there is no {what} `{name}`")]
    Nothing { what: &'static str, name: String },
    #[error("{what} `{name}`: {why}")]
    Value { what: &'static str, name: String, why: String },
}

impl EditFault {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Nothing { .. } => "E0130",
            Self::Value { .. } => "E0131",
        }
    }
}
