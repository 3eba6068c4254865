//! What can be wrong with an object, and where.

mod map;

pub(crate) use map::{EditFault, MapFault};

use onebpf_btf::TypeId;
use std::fmt;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Every code that an [`Error`] of this crate can have, with its title. Errors of BTF keep their own `E02xx` code.
pub const CODES: &[(&str, &str)] = &[
    ("E0101", "not a BPF object"),
    ("E0102", "the ELF file is damaged"),
    ("E0103", "map with conflicting sizes"),
    ("E0104", "unknown member of a map"),
    ("E0105", "member of a map that cannot be read"),
    ("E0106", "map without a type"),
    ("E0107", "unknown pinning"),
    ("E0108", "inner map that cannot be one"),
    ("E0109", "slot that cannot be filled"),
    ("E0110", "section of maps or variables that cannot be read"),
    ("E0111", "unknown word in a map's definition"),
    ("E0112", "section that can be read in two ways"),
    ("E0113", "two maps of one name"),
    ("E0114", "map that another object defines"),
    ("E0115", "arena that is missing, or one too many"),
    ("E0116", "struct_ops that cannot be read"),
    ("E0117", "extern that cannot be understood"),
    ("E0118", "tail call beyond its program array"),
    ("E0130", "edit of something that is not there"),
    ("E0131", "edit with a value that does not fit"),
    ("E0140", "instructions are cut off or misplaced"),
    ("E0141", "function that is not within its section"),
    ("E0142", "relocation that cannot be understood"),
    ("E0143", "reference to something that is not there"),
    ("E0144", "call to something that is not a function"),
    ("E0145", "there is no such program"),
    ("E0146", "too large"),
    ("E0147", "license, version or BTF section is malformed"),
    ("E0148", "CO-RE relocation does not fit its instruction"),
];

/// Every code that a [`Warning`] of this crate can have, with its title.
pub const WARNINGS: &[(&str, &str)] = &[
    ("W0101", "unknown member of a map, passed over"),
    ("W0102", "unknown word of a map's definition, passed over"),
    ("W0103", "outer map that can only be reused"),
    ("W0104", "tail section for a program array that is not there"),
    ("W0105", "annotation that contradicts its map"),
    ("W0106", "tail-call tag that leads nowhere"),
    ("W0120", "`.BTF.ext` ignored"),
    ("W0121", "BTF ignored"),
];

/// What is wrong with an object: a code, one line, a place, notes and hints. One pointer wide.
#[derive(Clone, Debug, PartialEq)]
pub struct Error(Box<Repr>);

#[derive(Clone, Debug, PartialEq)]
struct Repr {
    kind: Kind,
    place: Place,
    notes: Vec<String>,
}

/// The causes. Private: callers tell errors apart by code. A new one is a variant here, an arm in [`Kind::code`],
/// and, if its code is new, a row in [`CODES`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Kind {
    #[error("not a BPF object: {0}")]
    NotBpf(String),
    #[error("damaged ELF file: {0}")]
    Elf(String),
    #[error("{0}")]
    Insn(String),
    #[error("function `{name}` {what}")]
    Function { name: String, what: String },
    #[error("{0}")]
    Reloc(String),
    #[error("reference to `{name}` in section `{section}`, which is not loaded")]
    NotLoaded { name: String, section: String },
    #[error("{what} `{name}`, which is not there")]
    Missing { what: &'static str, name: String },
    #[error("{0}")]
    Call(String),
    #[error("there is no program `{0}`")]
    NoProgram(String),
    #[error("{what} of more than {limit} {unit}")]
    TooLarge { what: String, limit: u64, unit: &'static str },
    #[error("{0}")]
    Section(String),
    #[error("CO-RE relocation of {0}")]
    CorePatch(String),
    #[error(transparent)]
    Btf(#[from] onebpf_btf::Error),
    #[error(transparent)]
    Map(#[from] MapFault),
    #[error(transparent)]
    Edit(#[from] EditFault),
}

impl Kind {
    /// The error, at a place.
    pub(crate) fn at(self, place: Place) -> Error {
        Error(Box::new(Repr { kind: self, place, notes: Vec::new() }))
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotBpf(_) => "E0101",
            Self::Elf(_) => "E0102",
            Self::Insn(_) => "E0140",
            Self::Function { .. } => "E0141",
            Self::Reloc(_) | Self::NotLoaded { .. } => "E0142",
            Self::Missing { .. } => "E0143",
            Self::Call(_) => "E0144",
            Self::NoProgram(_) => "E0145",
            Self::TooLarge { .. } => "E0146",
            Self::Section(_) => "E0147",
            Self::CorePatch(_) => "E0148",
            Self::Btf(error) => error.code(),
            Self::Map(fault) => fault.code(),
            Self::Edit(fault) => fault.code(),
        }
    }

    /// What to do about it, where that does not depend on more than the cause.
    fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotBpf(_) => "compile with `clang -O2 -g -target bpf -c`",
            Self::NotLoaded { .. } => {
                "global data lives in `.data`, `.rodata` or `.bss`, or in a section named `.data.<name>`"
            }
            Self::Missing { what: "call to", .. } => {
                "declare kernel functions with `__ksym`; link objects with `bpftool gen object`"
            }
            Self::Map(fault) => return fault.hint(),
            _ => return None,
        })
    }
}

impl Error {
    /// The stable code, such as `E0102`; its title is in [`CODES`] or in `onebpf_btf::CODES`.
    pub fn code(&self) -> &'static str {
        self.0.kind.code()
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.0.place
    }

    /// More to know: the readings of a section that could be read in two ways.
    pub fn notes(&self) -> &[String] {
        &self.0.notes
    }

    /// What to do about it.
    pub fn hints(&self) -> Vec<String> {
        self.0.kind.hint().map(str::to_owned).into_iter().collect()
    }

    /// The same error with a note.
    #[must_use]
    pub(crate) fn note(mut self, text: impl Into<String>) -> Self {
        self.0.notes.push(text.into());
        self
    }

    /// The same error; what its place does not say yet is taken from `place`.
    #[must_use]
    pub(crate) fn within(mut self, place: Place) -> Self {
        let own = &mut self.0.place;
        if own.section.is_none() {
            own.section = place.section;
            own.offset = own.offset.or(place.offset);
        }
        own.symbol = own.symbol.take().or(place.symbol);
        own.btf_type = own.btf_type.or(place.btf_type);
        own.source = own.source.take().or(place.source);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.kind.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.kind.source()
    }
}

impl From<onebpf_btf::Error> for Error {
    fn from(error: onebpf_btf::Error) -> Self {
        let place = Place { btf_type: error.place().type_id, ..Place::default() };
        Kind::Btf(error).at(place)
    }
}

/// Where in an object something is.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Place {
    /// Section name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section: Option<String>,
    /// Byte offset in that section (in the file, if there is no section).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Symbol: a map, a function, a variable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// BTF type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub btf_type: Option<TypeId>,
    /// Source line, from `.BTF.ext`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceLine>,
}

/// A line of C, as `.BTF.ext` remembers it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SourceLine {
    /// File name as the compiler was given it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1; 0 if unknown.
    pub column: u32,
    /// The line's text.
    pub text: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(section) = &self.section {
            f.write_str(section)?;
        }
        if let Some(offset) = self.offset {
            write!(f, "+{offset:#x}")?;
        }
        if let Some(symbol) = &self.symbol {
            write!(f, " <{symbol}>")?;
        }
        if let Some(id) = self.btf_type {
            write!(f, " {id}")?;
        }
        Ok(())
    }
}

impl Place {
    /// A place known by its section and the offset in it.
    pub fn at(section: &str, offset: u64) -> Self {
        Self { section: Some(section.to_owned()), offset: Some(offset), ..Self::default() }
    }

    /// The same place, with a symbol.
    #[must_use]
    pub fn symbol(mut self, name: &str) -> Self {
        self.symbol = Some(name.to_owned());
        self
    }

    /// The same place, with a BTF type.
    #[must_use]
    pub fn btf(mut self, id: TypeId) -> Self {
        self.btf_type = Some(id);
        self
    }
}

/// Something odd that does not stop a load.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Warning {
    /// `W0003`.
    pub code: String,
    /// What is odd.
    pub message: String,
    /// Where.
    pub place: Place,
}
