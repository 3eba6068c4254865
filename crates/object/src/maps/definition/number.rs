//! Numbers: by type or by value.
//!
//! | form | C | in BTF | the number |
//! |---|---|---|---|
//! | `__uint(name, N)` | `int (*name)[N]` | pointer to an array | the array's length |
//! | `__ulong(name, N)` | `enum { unique = N } name` | anonymous enum of one enumerator | the enumerator |
//! | value | `int name` and an initialiser | integer, or any other enum | 32 bits of data (64 for `map_extra`) |

use super::super::walk;
use super::Reading;
use crate::Result;
use onebpf_btf::{Btf, Def, EnumValues, Member, TypeId};

/// Whether an enum says its number itself.
pub(super) fn is_constant(btf: &Btf, ty: TypeId) -> Result<bool> {
    let ty = btf.strip(ty)?;
    Ok(match ty.def {
        Def::Enum { values, .. } | Def::Enum64 { values, .. } => ty.name.is_empty() && values.len() == 1,
        _ => false,
    })
}

impl Reading<'_> {
    /// A number of 32 bits.
    pub(super) fn number(&self, member: &Member<'_>) -> Result<u32> {
        let number = self.any_number(member, &[4])?;
        // `enum { x = -1 }` is as good as 0xffffffff, as in C.
        u32::try_from(number)
            .or_else(|_| i32::try_from(number).map(|n| n as u32))
            .map_err(|_| self.member(member, format!("is {number}, which does not fit in 32 bits")))
    }

    /// A number of 64 bits.
    pub(super) fn wide_number(&self, member: &Member<'_>) -> Result<u64> {
        let number = self.any_number(member, &[4, 8])?;
        u64::try_from(number)
            .or_else(|_| i64::try_from(number).map(|n| n as u64))
            .map_err(|_| self.member(member, format!("is {number}, which does not fit in 64 bits")))
    }

    /// `sizes` are those that data may have.
    fn any_number(&self, member: &Member<'_>, sizes: &[u32]) -> Result<i128> {
        let ty = self.btf.strip(member.ty)?;
        let size = match ty.def {
            Def::Ptr(to) => {
                let to = self.btf.strip(to)?;
                return match to.def {
                    Def::Array { count, .. } => Ok(i128::from(count)),
                    _ => Err(self.member(
                        member,
                        format!("points to {}, where a number is an array's length", to.kind),
                    )),
                };
            }
            Def::Enum { values, .. } | Def::Enum64 { values, .. } if is_constant(self.btf, member.ty)? => {
                return Ok(constant(values));
            }
            Def::Int { size, .. } | Def::Enum { size, .. } | Def::Enum64 { size, .. } => size,
            _ => return Err(self.member(member, format!("is {}, which says no number", ty.kind))),
        };
        if !sizes.contains(&size) || member.bit_size.is_some() || !member.bit_offset.is_multiple_of(8) {
            let bits = member.bit_size.map_or(u64::from(size) * 8, u64::from);
            return Err(self.member(member, format!("has {bits} bits, where a number by value has 32")));
        }
        self.data(member, size)
    }

    fn data(&self, member: &Member<'_>, size: u32) -> Result<i128> {
        let Some(base) = self.base else {
            return Err(
                self.member(member, "is data, and a template that is only a type has none".to_owned())
            );
        };
        let (section, endian) = (self.input.section, self.input.elf.endian);
        let at = base.saturating_add(u64::from(member.bit_offset / 8));
        let number = match size {
            8 => walk::long_at(section, at, endian).map(i128::from),
            _ => walk::word_at(section, at, endian).map(i128::from),
        };
        number.ok_or_else(|| self.member(member, "lies outside the section".to_owned()))
    }
}

fn constant(mut values: EnumValues<'_>) -> i128 {
    values.next().map_or(0, |value| value.value)
}
