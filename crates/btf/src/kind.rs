//! The kinds of BTF types: one table of names, ages and payload shapes.

use std::fmt;

/// What a BTF type describes (`BTF_KIND_*`); the number is the one in the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Kind {
    /// `void`: type 0, which is never written.
    Void = 0,
    /// An integer, character or boolean.
    Int,
    /// A pointer.
    Ptr,
    /// An array of a fixed number of elements.
    Array,
    /// A struct.
    Struct,
    /// A union.
    Union,
    /// An enumeration of at most 32-bit values.
    Enum,
    /// A struct or union whose body is elsewhere.
    Fwd,
    /// A typedef.
    Typedef,
    /// `volatile`.
    Volatile,
    /// `const`.
    Const,
    /// `restrict`.
    Restrict,
    /// A function: a name and linkage for a prototype.
    Func,
    /// The parameters and result of a function.
    FuncProto,
    /// A global variable.
    Var,
    /// An ELF section and the variables in it.
    Datasec,
    /// A floating-point number.
    Float,
    /// `btf_decl_tag`: a note on a declaration, member or parameter.
    DeclTag,
    /// `btf_type_tag`: a note on a type.
    TypeTag,
    /// An enumeration of 64-bit values.
    Enum64,
}

/// What is constant about a kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KindInfo {
    pub(crate) kind: Kind,
    pub(crate) name: &'static str,
    /// First kernel that reads the kind.
    pub(crate) since: (u8, u8),
    /// Bytes that follow the 12 common ones, whatever `vlen` says.
    pub(crate) fixed: u8,
    /// Bytes that follow for each of the `vlen` elements.
    pub(crate) element: u8,
}

const fn row(kind: Kind, name: &'static str, since: (u8, u8), fixed: u8, element: u8) -> KindInfo {
    KindInfo { kind, name, since, fixed, element }
}

/// Indexed by kind. Shapes: include/uapi/linux/btf.h. Ages: the release that first held each kind.
const TABLE: [KindInfo; 20] = [
    row(Kind::Void, "VOID", (4, 18), 0, 0),
    row(Kind::Int, "INT", (4, 18), 4, 0),
    row(Kind::Ptr, "PTR", (4, 18), 0, 0),
    row(Kind::Array, "ARRAY", (4, 18), 12, 0),
    row(Kind::Struct, "STRUCT", (4, 18), 0, 12),
    row(Kind::Union, "UNION", (4, 18), 0, 12),
    row(Kind::Enum, "ENUM", (4, 18), 0, 8),
    row(Kind::Fwd, "FWD", (4, 18), 0, 0),
    row(Kind::Typedef, "TYPEDEF", (4, 18), 0, 0),
    row(Kind::Volatile, "VOLATILE", (4, 18), 0, 0),
    row(Kind::Const, "CONST", (4, 18), 0, 0),
    row(Kind::Restrict, "RESTRICT", (4, 18), 0, 0),
    row(Kind::Func, "FUNC", (5, 0), 0, 0),
    row(Kind::FuncProto, "FUNC_PROTO", (5, 0), 0, 8),
    row(Kind::Var, "VAR", (5, 2), 4, 0),
    row(Kind::Datasec, "DATASEC", (5, 2), 0, 12),
    row(Kind::Float, "FLOAT", (5, 13), 0, 0),
    row(Kind::DeclTag, "DECL_TAG", (5, 16), 4, 0),
    row(Kind::TypeTag, "TYPE_TAG", (5, 17), 0, 0),
    row(Kind::Enum64, "ENUM64", (6, 0), 0, 12),
];

impl Kind {
    /// Every kind, `Void` first, in the order of their numbers.
    pub const ALL: [Kind; 20] = {
        let mut all = [Kind::Void; 20];
        let mut i = 0;
        while i < TABLE.len() {
            all[i] = TABLE[i].kind;
            i += 1;
        }
        all
    };

    /// The kind with this number; `None` for one that this crate does not know.
    pub fn from_number(number: u32) -> Option<Kind> {
        Kind::ALL.get(number as usize).copied()
    }

    /// The kernel's name without its prefix: `FUNC_PROTO`.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// First kernel that accepts the kind, as (major, minor).
    pub fn since(self) -> (u8, u8) {
        self.info().since
    }

    pub(crate) fn info(self) -> &'static KindInfo {
        &TABLE[self as usize]
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_indexed_by_number() {
        for (number, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
            assert_eq!(Kind::from_number(number as u32), Some(kind));
        }
        assert_eq!(Kind::from_number(20), None);
        assert_eq!(Kind::Enum64.to_string(), "ENUM64");
        assert_eq!(Kind::Float.since(), (5, 13));
    }
}
