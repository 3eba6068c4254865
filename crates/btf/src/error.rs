//! The error of this crate: a code, one line, a place.

use std::fmt;

use crate::TypeId;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Every code that an [`Error`] of this crate can have, with its title.
pub const CODES: &[(&str, &str)] = &[
    ("E0201", "BTF header is cut short or points outside the data"),
    ("E0202", "not BTF: wrong magic or version"),
    ("E0203", "BTF string is missing or not text"),
    ("E0204", "BTF type id does not exist"),
    ("E0205", "BTF kind is unknown"),
    ("E0206", "BTF type is cut short"),
    ("E0207", "BTF type breaks a rule of its kind"),
    ("E0208", "BTF types nest too deeply or in a circle"),
    ("E0209", "BTF size is too large"),
    ("E0210", "BTF type has no size or is not of the wanted kind"),
    ("E0211", "`.BTF.ext` is malformed"),
    ("E0212", "value does not fit its BTF type"),
    ("E0213", "BTF does not fit its encoding"),
    ("E0214", "BTF of a data section does not agree with the ELF file"),
    ("E0215", "CO-RE relocation is malformed"),
    ("E0216", "CO-RE relocation has two meanings in the kernel"),
];

/// What is wrong with some BTF, and where. One pointer wide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<Repr>);

/// Where an error is; every part that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The type that was being read.
    pub type_id: Option<TypeId>,
    /// Byte offset from the start of the blob (for a value: of the value).
    pub offset: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Repr {
    what: What,
    place: Place,
}

/// The causes. Private: callers tell errors apart by code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum What {
    #[error("BTF header: {0}")]
    Header(&'static str),
    #[error("not BTF: magic {0:#06x}, expected 0xeb9f in either byte order")]
    Magic(u16),
    #[error("BTF version {0}, only version 1 is known")]
    Version(u8),
    #[error("string offset {0} is outside the string section")]
    StringOffset(u32),
    #[error("string at offset {0} is not UTF-8")]
    StringUtf8(u32),
    #[error("string section: {0}")]
    StringSection(&'static str),
    #[error("there is no type {0}, the last one is [{1}]")]
    TypeId(TypeId, u32),
    #[error("unknown kind {0}")]
    Kind(u32),
    #[error("{0} is cut short by the end of the type section")]
    Truncated(&'static str),
    #[error("{0}")]
    Shape(String),
    #[error("types nest deeper than {0} levels, or in a circle")]
    Depth(u32),
    #[error("holds itself by value")]
    Circle,
    #[error("more than {0} types are nested by value")]
    Work(u32),
    #[error("size is over 4 GiB")]
    Size,
    #[error("{0} has no size")]
    Sizeless(&'static str),
    #[error(".BTF.ext: {0}")]
    Ext(String),
    #[error("value: {0}")]
    Value(String),
    #[error("{what} is {value}, the encoding ends at {limit}")]
    Limit { what: &'static str, value: u64, limit: u64 },
    #[error("data section `{section}`: {what}")]
    Datasec { section: String, what: String },
    #[error("CO-RE relocation: {0}")]
    Core(String),
    #[error("CO-RE relocation: {0}")]
    CoreAmbiguous(String),
    #[error("CO-RE relocation: comparing the types takes more than {0} steps")]
    CoreWork(u32),
}

impl Error {
    /// The stable code, such as `E0204`; its title is in [`CODES`].
    pub fn code(&self) -> &'static str {
        match self.0.what {
            What::Header(_) => "E0201",
            What::Magic(_) | What::Version(_) => "E0202",
            What::StringOffset(_) | What::StringUtf8(_) | What::StringSection(_) => "E0203",
            What::TypeId(..) => "E0204",
            What::Kind(_) => "E0205",
            What::Truncated(_) => "E0206",
            What::Shape(_) => "E0207",
            What::Depth(_) | What::Circle | What::Work(_) | What::CoreWork(_) => "E0208",
            What::Size => "E0209",
            What::Sizeless(_) => "E0210",
            What::Ext(_) => "E0211",
            What::Value(_) => "E0212",
            What::Limit { .. } => "E0213",
            What::Datasec { .. } => "E0214",
            What::Core(_) => "E0215",
            What::CoreAmbiguous(_) => "E0216",
        }
    }

    /// Where it is.
    pub fn place(&self) -> Place {
        self.0.place
    }

    /// Names the type that was being read, unless a more exact one is already named.
    #[must_use]
    pub(crate) fn in_type(mut self, id: TypeId) -> Error {
        self.0.place.type_id.get_or_insert(id);
        self
    }

    /// Names the byte, unless a more exact one is already named.
    #[must_use]
    pub(crate) fn at(mut self, offset: usize) -> Error {
        self.0.place.offset.get_or_insert(offset as u64);
        self
    }

    pub(crate) fn shape(what: impl Into<String>) -> Error {
        What::Shape(what.into()).into()
    }
}

impl From<What> for Error {
    fn from(what: What) -> Error {
        Error(Box::new(Repr { what, place: Place::default() }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.place.type_id, self.0.place.offset) {
            (Some(id), Some(offset)) => write!(f, "BTF type {id} at byte {offset:#x}: ")?,
            (Some(id), None) => write!(f, "BTF type {id}: ")?,
            (None, Some(offset)) => write!(f, "byte {offset:#x}: ")?,
            (None, None) => {}
        }
        write!(f, "{}", self.0.what)
    }
}

impl std::error::Error for Error {}
