//! The numbers that an instruction should hold: before, for the local types, and after, for the target's.

use super::access::{Family, Spec};
use crate::bytes::Endian;
use crate::error::{Error, Result, What};
use crate::read::types::Look;
use crate::read::walk::MAX_DEPTH;
use crate::{Btf, CoreReloKind, Def, Member, TypeId};

/// What has to become of an instruction (libbpf `struct bpf_core_relo_res`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Fixup {
    /// What the compiler wrote into the instruction.
    pub orig_value: u64,
    /// What belongs there.
    pub new_value: u64,
    /// The target lacks what the instruction is about: the verifier must not let anybody reach it.
    pub poison: bool,
    /// Whether the instruction must hold `orig_value` now.
    pub validate: bool,
    /// Loads and stores cannot be made as wide as the target's field is: poison them.
    pub fail_memsz_adjust: bool,
    /// Width of the local field in bytes; 0 if a load or store keeps its width whatever it is.
    pub orig_size: u32,
    /// Width of the target's field.
    pub new_size: u32,
}

impl Fixup {
    /// The number of a local type, which may have changed when objects were linked.
    pub(super) fn of_local_type(id: TypeId) -> Fixup {
        let value = u64::from(id.0);
        Fixup { orig_value: value, new_value: value, ..Fixup::default() }
    }
}

/// libbpf `bpf_core_calc_relo`. Without a target, nothing that fits was found.
pub(super) fn calculate(kind: CoreReloKind, local: &Spec<'_>, target: Option<&Spec<'_>>) -> Result<Fixup> {
    let family = Family::of(kind)?;
    let answer = |spec: &Spec<'_>| match family {
        Family::Field => field(kind, spec),
        Family::Type => whole_type(kind, spec),
        Family::Enumerator => enumerator(kind, spec),
    };
    let before = answer(local)?;
    let mut fixup = Fixup {
        orig_value: before.value,
        orig_size: before.size,
        validate: before.certain,
        ..Fixup::default()
    };
    let Some(target) = target else {
        let asks_existence = matches!(kind, CoreReloKind::FieldExists | CoreReloKind::EnumvalExists);
        fixup.poison = family != Family::Type && !asks_existence;
        return Ok(fixup);
    };
    let after = answer(target)?;
    (fixup.new_value, fixup.new_size) = (after.value, after.size);
    if before.size != after.size {
        fixup.fail_memsz_adjust = !can_be_resized((local.btf, before.ty), (target.btf, after.ty))?;
    }
    Ok(fixup)
}

/// What a relocation asks, answered for one BTF.
struct Answer {
    value: u64,
    /// Width in memory, and the type that has it, where a load or store may have to follow it; else 0.
    size: u32,
    ty: TypeId,
    /// Whether the compiler cannot but have come to the same value.
    certain: bool,
}

impl Answer {
    fn certain(value: u64) -> Answer {
        Answer { value, size: 0, ty: TypeId::VOID, certain: true }
    }
}

/// libbpf `bpf_core_calc_field_relo`.
fn field(kind: CoreReloKind, spec: &Spec<'_>) -> Result<Answer> {
    if kind == CoreReloKind::FieldExists {
        return Ok(Answer::certain(1));
    }
    let last = spec.steps.last().ok_or_else(|| empty(spec))?;
    if last.name.is_none() {
        return element(kind, spec, last.ty);
    }
    let member = match spec.btf.look_at(last.ty, Look::NoNames)?.def {
        Def::Struct { members, .. } | Def::Union { members, .. } => members.get(last.index as usize),
        _ => None,
    };
    let place = Placed::of(spec, &member.ok_or_else(|| empty(spec))?)?;
    let shift = place.bit_offset.wrapping_sub(place.byte_offset.wrapping_mul(8));
    Ok(match kind {
        CoreReloKind::FieldByteOffset => {
            let value = u64::from(place.byte_offset);
            if place.bitfield {
                return Ok(Answer { certain: false, ..Answer::certain(value) });
            }
            Answer { size: width(spec, place.ty)?, ty: place.ty, ..Answer::certain(value) }
        }
        CoreReloKind::FieldByteSize => {
            Answer { certain: !place.bitfield, ..Answer::certain(place.bytes.into()) }
        }
        CoreReloKind::FieldSigned => Answer::certain(place.signed.into()),
        CoreReloKind::FieldLshiftU64 => {
            // In 32 bits without a sign, as libbpf reckons: fields wider than 8 bytes have no sensible shift anyway.
            let value = match spec.btf.endian() {
                Endian::Little => 64u32.wrapping_sub(place.bits.wrapping_add(shift)),
                Endian::Big => 8u32.wrapping_sub(place.bytes).wrapping_mul(8).wrapping_add(shift),
            };
            Answer { certain: !place.bitfield, ..Answer::certain(value.into()) }
        }
        CoreReloKind::FieldRshiftU64 => Answer::certain(64u32.wrapping_sub(place.bits).into()),
        _ => return Err(empty(spec)),
    })
}

/// An element of an array, or what a pointer points to.
fn element(kind: CoreReloKind, spec: &Spec<'_>, ty: TypeId) -> Result<Answer> {
    match kind {
        CoreReloKind::FieldByteOffset => {
            let value = u64::from(spec.bit_offset / 8);
            Ok(Answer { size: width(spec, ty)?, ty, ..Answer::certain(value) })
        }
        CoreReloKind::FieldByteSize => Ok(Answer::certain(spec.size_of(ty)?)),
        _ => Err(What::Core(format!("{kind} of `{spec}`, which is not a member")).into()),
    }
}

/// Where a member is, and how wide.
struct Placed {
    ty: TypeId,
    bitfield: bool,
    signed: bool,
    bit_offset: u32,
    bits: u32,
    byte_offset: u32,
    bytes: u32,
}

impl Placed {
    fn of(spec: &Spec<'_>, member: &Member<'_>) -> Result<Placed> {
        let ty = spec.btf.strip_looking(member.ty, Look::NoNames)?;
        let (size, signed) = match ty.def {
            Def::Int { size, encoding, .. } => (Some(size), encoding.is_signed()),
            Def::Enum { size, signed, .. } | Def::Enum64 { size, signed, .. } => (Some(size), signed),
            _ => (None, false),
        };
        let bit_offset = spec.bit_offset;
        let Some(bits) = member.bit_size.map(u32::from) else {
            let bytes = u32::try_from(spec.size_of(ty.id)?).map_err(|_| What::Size)?;
            let (byte_offset, bits) = (bit_offset / 8, bytes.wrapping_mul(8));
            return Ok(Placed { ty: ty.id, bitfield: false, signed, bit_offset, bits, byte_offset, bytes });
        };
        let mut bytes = size.filter(|size| *size > 0).ok_or_else(|| empty(spec))?;
        // The smallest aligned load that holds all bits.
        loop {
            let byte_offset = bit_offset / 8 / bytes * bytes;
            let end = u64::from(bit_offset) + u64::from(bits) - u64::from(byte_offset) * 8;
            if end <= u64::from(bytes) * 8 {
                return Ok(Placed {
                    ty: ty.id,
                    bitfield: true,
                    signed,
                    bit_offset,
                    bits,
                    byte_offset,
                    bytes,
                });
            }
            if bytes >= 8 {
                return Err(What::Core(format!("bitfield `{spec}` cannot be read in 64 bits")).into());
            }
            bytes *= 2;
        }
    }
}

/// Bytes that a load of this type takes: of an array, those of an element.
fn width(spec: &Spec<'_>, id: TypeId) -> Result<u32> {
    let mut ty = spec.btf.strip_looking(id, Look::NoNames)?;
    for _ in 0..MAX_DEPTH {
        let Def::Array { elem, .. } = ty.def else {
            return u32::try_from(spec.size_of(ty.id)?).map_err(|_| What::Size.into());
        };
        ty = spec.btf.strip_looking(elem, Look::NoNames)?;
    }
    Err(Error::from(What::Depth(MAX_DEPTH)).in_type(id))
}

/// Pointers, whose upper half is zero in kernels of 32 bits, and unsigned integers keep their value in a load of another
/// width; everything else does not.
fn can_be_resized(local: (&Btf, TypeId), target: (&Btf, TypeId)) -> Result<bool> {
    const SIGNED: u8 = 1;
    Ok(match (local.0.look_at(local.1, Look::NoNames)?.def, target.0.look_at(target.1, Look::NoNames)?.def) {
        (Def::Ptr(_), Def::Ptr(_)) => true,
        (Def::Int { encoding: one, .. }, Def::Int { encoding: other, .. }) => {
            one.0 != SIGNED && other.0 != SIGNED
        }
        _ => false,
    })
}

/// libbpf `bpf_core_calc_type_relo`.
fn whole_type(kind: CoreReloKind, spec: &Spec<'_>) -> Result<Answer> {
    Ok(match kind {
        // Ids change when objects are linked.
        CoreReloKind::TypeIdTarget => Answer { certain: false, ..Answer::certain(spec.root.0.into()) },
        CoreReloKind::TypeSize => Answer::certain(spec.size_of(spec.root)?),
        _ => Answer::certain(1),
    })
}

/// libbpf `bpf_core_calc_enumval_relo`. 32-bit values are extended with their sign, whatever the enumeration says.
fn enumerator(kind: CoreReloKind, spec: &Spec<'_>) -> Result<Answer> {
    if kind == CoreReloKind::EnumvalExists {
        return Ok(Answer::certain(1));
    }
    let step = spec.steps.first().ok_or_else(|| empty(spec))?;
    let value = match spec.btf.look_at(step.ty, Look::NoNames)?.def {
        Def::Enum { values, .. } => {
            values.get(step.index as usize).map(|it| i64::from(it.value as i32) as u64)
        }
        Def::Enum64 { values, .. } => values.get(step.index as usize).map(|it| it.value as u64),
        _ => None,
    };
    value.map(Answer::certain).ok_or_else(|| empty(spec))
}

fn empty(spec: &Spec<'_>) -> Error {
    What::Core(format!("`{spec}` leads nowhere")).into()
}
