//! What can be wrong with an object, and where.

use onebpf_btf::TypeId;
use std::fmt;

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
