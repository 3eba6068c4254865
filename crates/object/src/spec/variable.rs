//! Global variables and externs.

use super::{Contents, Spec, edit, part, text};
use crate::{Place, Result};
use onebpf_btf::{Btf, Def, TypeId};

/// A global variable: a range of a data map's contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Symbol name.
    pub name: String,
    /// Section that it lives in.
    pub section: String,
    /// The data map.
    pub map: String,
    /// Offset within the map's value.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
    /// Its BTF type (what the VAR points to), if the object has BTF.
    pub btf: Option<TypeId>,
    /// Static variables are listed but not part of an object's interface.
    pub global: bool,
}

/// Something that the object declares and the kernel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extern {
    /// Symbol name.
    pub name: String,
    /// What it stands for.
    pub kind: ExternKind,
    /// A weak one may be missing.
    pub weak: bool,
    /// Its BTF type: VAR's type or FUNC.
    pub btf: Option<TypeId>,
    /// Where it is declared.
    pub place: Place,
}

impl Extern {
    /// Whether it is found by the kernel's BTF: functions are, and variables but for those of type `void`, which have an
    /// address only.
    pub fn is_typed(&self, btf: Option<&Btf>) -> bool {
        let is_type = |(btf, id): (&Btf, TypeId)| btf.strip(id).is_ok_and(|ty| !matches!(ty.def, Def::Void));
        match self.kind {
            ExternKind::Kconfig { .. } => false,
            ExternKind::Ksym | ExternKind::Kfunc => btf.zip(self.btf).is_some_and(is_type),
        }
    }
}

/// What an extern stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternKind {
    /// A value of the kernel's configuration, at an offset in the `.kconfig` map.
    Kconfig {
        /// Offset within the map's value.
        offset: u32,
        /// Bytes.
        size: u32,
    },
    /// A kernel symbol's address (`extern const void x __ksym`) or a typed kernel variable.
    Ksym,
    /// A kernel function.
    Kfunc,
}

impl Spec {
    /// What a variable holds at first.
    pub fn variable_bytes(&self, name: &str) -> Option<&[u8]> {
        let variable = self.variables.get(name)?;
        match &self.maps.get(&variable.map)?.contents {
            Contents::Data(data) => data.get(variable.range()?),
            _ => None,
        }
    }

    /// Sets what a variable holds at first, in the object's byte order.
    ///
    /// # Errors
    /// E0130 if there is no such variable, E0131 if it has another size.
    pub fn set_variable(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let Some(variable) = self.variables.get(name) else { return Err(edit::nothing("variable", name)) };
        let map = self.maps.get_mut(&variable.map);
        let (Some(map), Some(range)) = (map, variable.range()) else {
            return Err(edit::nothing("variable", name));
        };
        let place = match &mut map.contents {
            Contents::Data(data) => data.get_mut(range),
            _ => None,
        };
        match place {
            Some(place) if place.len() == bytes.len() => {
                place.copy_from_slice(bytes);
                Ok(())
            }
            Some(place) => {
                let why = format!("has {} bytes, not {}", place.len(), bytes.len());
                Err(edit::bad("variable", name, why))
            }
            None => Err(edit::bad("variable", name, format!("lies outside map `{}`", variable.map))),
        }
    }

    /// Sets a variable from text, by its BTF type: an integer in decimal or `0x` that fits, `true` or `false`, `'c'`, an
    /// enumerator's name, a string for an array of `char`, elements with commas between them for other arrays; or, for
    /// any type, `hex:` and the bytes in their order. Without BTF, an integer for a variable of 1, 2, 4 or 8 bytes. A part
    /// of a variable is named as in C: `limits.soft`, `table[3]`, `rules[2].ports[0]`.
    ///
    /// # Errors
    /// E0130 if there is no such variable, E0131 if it has no such part or the text is no value of its type.
    pub fn set_variable_text(&mut self, name: &str, text: &str) -> Result<()> {
        let Some((variable, path)) = self.variable_and_path(name) else {
            return Err(edit::nothing("variable", name));
        };
        let (whole, bad) = (variable.name.clone(), |why| edit::bad("variable", name, why));
        let mut target = text::Target {
            btf: self.btf.as_ref(),
            ty: variable.btf,
            size: variable.size as usize,
            endian: self.endian,
        };
        if path.is_empty() {
            let bytes = text::encode(target, text).map_err(bad)?;
            return self.set_variable(&whole, &bytes);
        }
        let typed =
            target.btf.zip(target.ty).ok_or_else(|| bad("has no BTF type, and no parts".to_owned()))?;
        let part = part::find(typed.0, typed.1, path).map_err(bad)?;
        let size = typed.0.size_of(part.ty).map_err(|error| bad(error.to_string()))?;
        let end = part.offset.checked_add(size).filter(|end| *end <= u64::from(variable.size));
        let end = end.ok_or_else(|| bad("has a part out of its bounds".to_owned()))?;
        (target.ty, target.size) = (Some(part.ty), size as usize);
        let value = text::encode(target, text).map_err(bad)?;
        let mut bytes = self.variable_bytes(&whole).unwrap_or_default().to_vec();
        let place = bytes.get_mut(part.offset as usize..end as usize);
        place.ok_or_else(|| bad("has no contents".to_owned()))?.copy_from_slice(&value);
        self.set_variable(&whole, &bytes)
    }

    /// The variable of that name; else the one with the longest name before a `.` or `[`, and what follows. Names of static
    /// variables may have dots themselves.
    fn variable_and_path<'n>(&self, name: &'n str) -> Option<(&Variable, &'n str)> {
        let ends = name.match_indices(['.', '[']).map(|(at, _)| at).rev();
        let mut splits = std::iter::once(name.len()).chain(ends).filter_map(|at| name.split_at_checked(at));
        splits.find_map(|(name, path)| Some((self.variables.get(name)?, path)))
    }
}

impl Variable {
    fn range(&self) -> Option<std::ops::Range<usize>> {
        let start = self.offset as usize;
        Some(start..start.checked_add(self.size as usize)?)
    }
}
