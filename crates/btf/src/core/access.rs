//! Access strings: `0:1:2` of a type is a walk through its members and elements.

use std::fmt;

use crate::error::{Error, Result, What};
use crate::read::types::Look;
use crate::{Btf, CoreRelo, CoreReloKind, Def, Kind, Type, TypeId};

/// The longest walk (libbpf `BPF_CORE_SPEC_MAX_LEN`).
pub(super) const MAX_LEN: usize = 64;

/// A walk from a type to a member, an element or an enumerator. Only its turning points are kept: named members and
/// elements; anonymous structs on the way are passed through.
#[derive(Clone, Debug)]
pub(super) struct Spec<'a> {
    pub(super) btf: &'a Btf,
    pub(super) root: TypeId,
    pub(super) kind: CoreReloKind,
    /// Bytes of a pointer.
    pointer: u32,
    pub(super) steps: Vec<Step<'a>>,
    pub(super) bit_offset: u32,
    /// Length of the access string, anonymous members included.
    pub(super) depth: usize,
}

/// One turning point.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step<'a> {
    /// The struct, union or enumeration; the element's type where there is no name.
    pub(super) ty: TypeId,
    /// Which member, element or enumerator.
    pub(super) index: u32,
    pub(super) name: Option<&'a str>,
}

impl<'a> Spec<'a> {
    /// The start of a walk in a target, where pointers are as wide as the machine's `long` is said to be (libbpf
    /// `determine_ptr_size`), which matters for kernels of 32 bits.
    pub(super) fn of_target(btf: &'a Btf, root: TypeId, kind: CoreReloKind) -> Spec<'a> {
        Spec { btf, root, kind, pointer: btf.long_size(), steps: Vec::new(), bit_offset: 0, depth: 0 }
    }

    /// Reads what a record says about its own BTF, that of BPF with its pointers of 64 bits (libbpf
    /// `bpf_core_parse_spec`).
    pub(super) fn parse(btf: &'a Btf, relo: &CoreRelo) -> Result<Spec<'a>> {
        let text = btf.string(relo.access_str_off)?;
        let (root, kind, pointer) = (relo.type_id, relo.kind, btf.pointer_size());
        let mut spec = Spec { btf, root, kind, pointer, steps: Vec::new(), bit_offset: 0, depth: 0 };
        let family = Family::of(relo.kind)?;
        btf.look_at(relo.type_id, Look::NoNames)?;
        if family == Family::Type {
            return if text == "0" { Ok(spec) } else { Err(bad(text, "a type has no members to name")) };
        }
        let path = indexes(text)?;
        spec.depth = path.len();
        let (&first, rest) = path.split_first().ok_or_else(|| bad(text, "it is empty"))?;
        let root = btf.strip_looking(relo.type_id, Look::Name)?;
        if family == Family::Enumerator {
            let name = enumerator(&root, first).filter(|_| rest.is_empty());
            let name = name.ok_or_else(|| bad(text, "it leads to no enumerator"))?;
            spec.steps.push(Step { ty: root.id, index: first, name: Some(name) });
            return Ok(spec);
        }
        spec.steps.push(Step { ty: root.id, index: first, name: None });
        spec.add_elements(root.id, first)?;
        let mut id = root.id;
        for &index in rest {
            id = spec.walk(id, index, text)?;
        }
        Ok(spec)
    }

    /// One number of the access string.
    fn walk(&mut self, id: TypeId, index: u32, text: &str) -> Result<TypeId> {
        let ty = self.btf.strip_looking(id, Look::Name)?;
        match ty.def {
            Def::Struct { members, .. } | Def::Union { members, .. } => {
                let outside = || bad(text, format!("{} `{}` has no member {index}", ty.kind, ty.name));
                let member = members.get(index as usize).ok_or_else(outside)?;
                self.add_bits(member.bit_offset)?;
                if !member.name.is_empty() {
                    self.steps.push(Step { ty: ty.id, index, name: Some(member.name) });
                }
                Ok(member.ty)
            }
            Def::Array { elem, count, .. } => {
                let elem = self.btf.strip_looking(elem, Look::NoNames)?.id;
                if index >= count && !self.ends_in_flexible_array(count)? {
                    return Err(bad(text, format!("element {index} of an array of {count}")));
                }
                self.steps.push(Step { ty: elem, index, name: None });
                self.add_elements(elem, index)?;
                Ok(elem)
            }
            _ => Err(bad(text, format!("it goes through a {}", ty.kind))),
        }
    }

    /// Whether an array of `count` elements after the last step is the flexible one at the end of a struct (libbpf
    /// `is_flex_arr`): then every index is inside.
    pub(super) fn ends_in_flexible_array(&self, count: u32) -> Result<bool> {
        let Some(Step { ty, index, name: Some(_) }) = self.steps.last().copied().filter(|_| count == 0)
        else {
            return Ok(false);
        };
        Ok(match self.btf.look_at(ty, Look::NoNames)?.def {
            Def::Struct { members, .. } | Def::Union { members, .. } => index as usize + 1 == members.len(),
            _ => false,
        })
    }

    pub(super) fn add_bits(&mut self, bits: u32) -> Result<()> {
        self.bit_offset = self.bit_offset.checked_add(bits).ok_or(What::Size)?;
        Ok(())
    }

    /// Size of a value.
    pub(super) fn size_of(&self, id: TypeId) -> Result<u64> {
        self.btf.size_with_pointers(id, self.pointer)
    }

    /// Moves on by `count` values of a type.
    pub(super) fn add_elements(&mut self, id: TypeId, count: u32) -> Result<()> {
        let size = self.size_of(id)?;
        let bits =
            size.checked_mul(u64::from(count)).and_then(|bytes| bytes.checked_mul(8)).ok_or(What::Size)?;
        self.add_bits(u32::try_from(bits).map_err(|_| What::Size)?)
    }
}

/// What a kind of relocation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Field,
    Type,
    Enumerator,
}

impl Family {
    pub(super) fn of(kind: CoreReloKind) -> Result<Family> {
        match kind {
            CoreReloKind::FieldByteOffset
            | CoreReloKind::FieldByteSize
            | CoreReloKind::FieldExists
            | CoreReloKind::FieldSigned
            | CoreReloKind::FieldLshiftU64
            | CoreReloKind::FieldRshiftU64 => Ok(Family::Field),
            CoreReloKind::TypeIdLocal
            | CoreReloKind::TypeIdTarget
            | CoreReloKind::TypeExists
            | CoreReloKind::TypeSize
            | CoreReloKind::TypeMatches => Ok(Family::Type),
            CoreReloKind::EnumvalExists | CoreReloKind::EnumvalValue => Ok(Family::Enumerator),
            CoreReloKind::Unknown(number) => {
                Err(What::Core(format!("unknown kind {number} of CO-RE relocation")).into())
            }
        }
    }
}

fn enumerator<'a>(ty: &Type<'a>, index: u32) -> Option<&'a str> {
    match ty.def {
        Def::Enum { values, .. } | Def::Enum64 { values, .. } => {
            values.get(index as usize).map(|value| value.name)
        }
        _ => None,
    }
}

fn indexes(text: &str) -> Result<Vec<u32>> {
    let number = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<i32>().ok().filter(|_| digits).map(|number| number as u32)
    };
    if text.bytes().filter(|byte| *byte == b':').count() >= MAX_LEN {
        return Err(bad("", "it is too long"));
    }
    let path: Option<Vec<u32>> = text.split(':').map(number).collect();
    path.ok_or_else(|| bad(text, "it is no list of numbers"))
}

fn bad(text: &str, why: impl fmt::Display) -> Error {
    What::Core(format!("access string `{text}`: {why}")).into()
}

/// As C would say it: `struct sk_buff.cb[2]`, `enum pid_type::PIDTYPE_TGID`.
impl fmt::Display for Spec<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.btf.look_at(self.root, Look::Name) {
            Ok(root) => f.write_str(&type_name(&root))?,
            Err(_) => write!(f, "type {}", self.root)?,
        }
        for (n, step) in self.steps.iter().enumerate() {
            match step.name {
                Some(name) if Family::of(self.kind) == Ok(Family::Enumerator) => write!(f, "::{name}")?,
                Some(name) => write!(f, ".{name}")?,
                None if n > 0 || step.index > 0 => write!(f, "[{}]", step.index)?,
                None => {}
            }
        }
        Ok(())
    }
}

/// `struct task_struct`, `enum pid_type`, `pid_t`.
pub(super) fn type_name(ty: &Type<'_>) -> String {
    let keyword = match ty.kind {
        Kind::Fwd if ty.kind_flag => "union ",
        Kind::Struct | Kind::Fwd => "struct ",
        Kind::Union => "union ",
        Kind::Enum | Kind::Enum64 => "enum ",
        _ => "",
    };
    if ty.name.is_empty() {
        format!("{keyword}(anonymous {})", ty.kind)
    } else {
        format!("{keyword}{}", ty.name)
    }
}
