//! CO-RE: writes what the target's types ask for into the instructions of a linked program.

use super::link::LinkedProgram;
use crate::error::Kind;
use crate::insn::{INSN_SIZE, Insn, opcode};
use crate::{Place, Result, Spec};
use onebpf_btf::{CoreRelo, CoreReloKind, Fixup, Matcher};
use std::collections::BTreeSet;

/// The helper that an instruction calls after a relocation that found nothing: there is none of this number, so that the
/// verifier refuses it, unless nobody gets there (libbpf `bpf_core_poison_insn`: 0xbad2310, "bad relo").
pub const POISON_HELPER: i32 = 195_896_080;

/// An instruction that a relocation has made unusable.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Poison {
    /// Which one.
    pub insn: u32,
    /// What it accessed: `struct task_struct.pid`.
    pub what: String,
    /// What the kernel lacks.
    pub why: String,
}

impl LinkedProgram {
    /// Whether CO-RE relocations ask for the types of a kernel: local type ids do not.
    pub fn needs_kernel_types(&self) -> bool {
        self.core.iter().any(|relo| relo.kind != CoreReloKind::TypeIdLocal)
    }
}

/// Looks up every relocation of these programs' functions, in the order of the object: a candidate that one relocation
/// rules out is out for those behind it, so that the result must not depend on which program is linked first.
///
/// # Errors
/// E0215, E0216 and other E02xx, at the source line of the instruction.
pub fn resolve_core(spec: &Spec, programs: &[&LinkedProgram], matcher: &mut Matcher<'_>) -> Result<()> {
    let functions: BTreeSet<usize> =
        programs.iter().flat_map(|linked| linked.functions.iter().map(|(_, id)| id.0)).collect();
    for function in functions.into_iter().filter_map(|id| spec.functions.get(id)) {
        for relo in &function.core {
            let place = || {
                let line = function.lines.iter().rev().find(|line| line.insn_off <= relo.insn_off);
                let source =
                    line.zip(spec.btf.as_ref()).and_then(|(line, btf)| super::info::source_line(btf, line));
                let offset = function.offset + u64::from(relo.insn_off) * INSN_SIZE as u64;
                Place { offset: Some(offset), source, ..function.place.clone() }
            };
            resolve(relo, matcher, place)?;
        }
    }
    Ok(())
}

/// Applies the CO-RE relocations of a linked program, and says which instructions are poisoned now.
///
/// # Errors
/// E0148 if an instruction is not what its record says, or cannot hold the new value; as [`resolve_core`].
pub fn relocate_core(
    spec: &Spec,
    linked: &mut LinkedProgram,
    matcher: &mut Matcher<'_>,
) -> Result<Vec<Poison>> {
    let mut poisons = Vec::new();
    for relo in linked.core.clone() {
        let at = relo.insn_off;
        let fixup = resolve(&relo, matcher, || linked.place(spec, at))?;
        let done = match linked.insns.get_mut(at as usize..) {
            Some([insn, rest @ ..]) => patch(insn, rest.first_mut(), &fixup),
            _ => Err("it is not there".to_owned()),
        };
        match done {
            Ok(None) => {}
            Ok(Some(Poisoned::NotFound)) => {
                let (what, why) = (matcher.describe(&relo), matcher.explain(&relo));
                poisons.push(Poison { insn: at, what, why });
            }
            Ok(Some(Poisoned::Width)) => {
                let why = format!(
                    "its field has {} bytes in the kernel instead of {}, and only pointers and unsigned integers can \
                     be read in another width",
                    fixup.new_size, fixup.orig_size
                );
                poisons.push(Poison { insn: at, what: matcher.describe(&relo), why });
            }
            Err(why) => {
                let text = format!("instruction {at}, {} of `{}`: {why}", relo.kind, matcher.describe(&relo));
                return Err(Kind::CorePatch(text).at(linked.place(spec, at)));
            }
        }
    }
    Ok(poisons)
}

fn resolve(relo: &CoreRelo, matcher: &mut Matcher<'_>, place: impl FnOnce() -> Place) -> Result<Fixup> {
    matcher.resolve(relo).map_err(|error| crate::Error::from(error).within(place()))
}

/// Why an instruction is poisoned.
enum Poisoned {
    NotFound,
    Width,
}

/// libbpf `bpf_core_patch_insn`.
fn patch(
    insn: &mut Insn,
    next: Option<&mut Insn>,
    fixup: &Fixup,
) -> std::result::Result<Option<Poisoned>, String> {
    if fixup.poison {
        poison(insn, next);
        return Ok(Some(Poisoned::NotFound));
    }
    let held = |value: u64| {
        if !fixup.validate || value == fixup.orig_value {
            return Ok(());
        }
        Err(format!("it holds {}, the compiler was to write {}", value as i64, fixup.orig_value as i64))
    };
    match opcode::class_of(insn.code) {
        opcode::class::ALU | opcode::class::ALU64 if insn.code & opcode::SOURCE_X == 0 => {
            held(i64::from(insn.imm) as u64)?;
            insn.imm = fixup.new_value as i32;
        }
        opcode::class::LDX | opcode::class::ST | opcode::class::STX => {
            held(i64::from(insn.off) as u64)?;
            let too_far = || format!("offset {} does not fit a load or store", fixup.new_value);
            let off = i16::try_from(fixup.new_value).map_err(|_| too_far())?;
            if fixup.fail_memsz_adjust {
                poison(insn, next);
                return Ok(Some(Poisoned::Width));
            }
            insn.off = off;
            if fixup.new_size != fixup.orig_size {
                resize(insn, fixup)?;
            }
        }
        opcode::class::LD => {
            let next = next.filter(|next| **next == Insn { imm: next.imm, ..Insn::default() });
            let next = next.filter(|_| insn.is_ld_imm64() && insn.src == 0 && insn.off == 0);
            let next = next.ok_or("it is no plain 64-bit immediate load")?;
            held(u64::from(insn.imm as u32) | u64::from(next.imm as u32) << 32)?;
            (insn.imm, next.imm) = (fixup.new_value as i32, (fixup.new_value >> 32) as i32);
        }
        _ => return Err(format!("operation {:#04x} cannot be relocated", insn.code)),
    }
    Ok(None)
}

/// Gives a load or store the width that the field has in the target.
fn resize(insn: &mut Insn, fixup: &Fixup) -> std::result::Result<(), String> {
    const SIZE_BITS: u8 = 0x18;
    let has = u32::from(opcode::width_of(insn.code)) / 8;
    if has != fixup.orig_size {
        return Err(format!("it accesses {has} bytes of a field of {}", fixup.orig_size));
    }
    let size = match fixup.new_size {
        8 => 0x18,
        4 => 0x00,
        2 => 0x08,
        1 => 0x10,
        other => return Err(format!("the kernel's field has {other} bytes, which is no width of an access")),
    };
    insn.code = insn.code & !SIZE_BITS | size;
    Ok(())
}

/// Both halves of a 64-bit load, so that the verifier does not stumble over the second one.
fn poison(insn: &mut Insn, next: Option<&mut Insn>) {
    let call = Insn { code: opcode::CALL, imm: POISON_HELPER, ..Insn::default() };
    if let Some(next) = next.filter(|_| insn.is_ld_imm64()) {
        *next = call;
    }
    *insn = call;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insn::pseudo;

    fn fixup(orig: u64, new: u64) -> Fixup {
        Fixup { orig_value: orig, new_value: new, validate: true, ..Fixup::default() }
    }

    fn after(mut insn: Insn, fixup: &Fixup) -> std::result::Result<Insn, String> {
        patch(&mut insn, None, fixup).map(|_| insn)
    }

    #[test]
    fn immediates_and_offsets_are_replaced() {
        let add = Insn { code: 0x07, dst: 1, imm: 8, ..Insn::default() };
        assert_eq!(after(add, &fixup(8, 16)), Ok(Insn { imm: 16, ..add }));
        let load = Insn { code: 0x61, off: 4, ..Insn::default() };
        assert_eq!(after(load, &fixup(4, 0x7fff)), Ok(Insn { off: 0x7fff, ..load }));
        assert!(after(load, &fixup(4, 0x8000)).is_err());
        // The compiler's value must be there, unless the record is about something that linking changes.
        assert!(after(add, &fixup(9, 16)).is_err());
        assert_eq!(after(add, &Fixup { validate: false, ..fixup(9, 16) }), Ok(Insn { imm: 16, ..add }));
        // An enumerator below zero.
        let mov = Insn { code: 0xb7, imm: -2, ..Insn::default() };
        assert_eq!(after(mov, &fixup(-2i64 as u64, -3i64 as u64)), Ok(Insn { imm: -3, ..mov }));
        for code in [0x0f, 0x05, 0x85, 0x95, 0x18, 0x20] {
            assert!(after(Insn { code, ..Insn::default() }, &fixup(0, 1)).is_err(), "{code:#x}");
        }
    }

    #[test]
    fn loads_change_their_width() {
        let sizes = [(0x79, 8), (0x61, 4), (0x69, 2), (0x71, 1)];
        for (from, orig_size) in sizes {
            for (to, new_size) in sizes {
                let fixup = Fixup { orig_size, new_size, ..fixup(0, 0) };
                let load = Insn { code: from, ..Insn::default() };
                assert_eq!(after(load, &fixup), Ok(Insn { code: to, ..load }));
            }
        }
        let wrong = Fixup { orig_size: 4, new_size: 8, ..fixup(0, 0) };
        assert!(after(Insn { code: 0x79, ..Insn::default() }, &wrong).is_err());
        assert!(after(Insn { code: 0x61, ..Insn::default() }, &Fixup { new_size: 3, ..wrong }).is_err());
        let cannot = Fixup { fail_memsz_adjust: true, ..wrong };
        assert_eq!(
            after(Insn { code: 0x61, ..Insn::default() }, &cannot).map(|insn| insn.imm),
            Ok(POISON_HELPER)
        );
    }

    #[test]
    fn both_halves_of_a_wide_load_are_relocated_or_poisoned() {
        let pair = || (Insn { code: opcode::LD_IMM64, imm: -1, ..Insn::default() }, Insn::default());
        let (mut low, mut high) = pair();
        patch(&mut low, Some(&mut high), &fixup(0xffff_ffff, 0x1_2345_6789)).unwrap();
        assert_eq!((low.imm, high.imm), (0x2345_6789, 1));
        let (mut low, mut high) = pair();
        patch(&mut low, Some(&mut high), &Fixup { poison: true, ..Fixup::default() }).unwrap();
        assert_eq!((low, high.imm), (high, POISON_HELPER));
        let (mut low, mut high) = (Insn { src: pseudo::MAP_FD, ..pair().0 }, pair().1);
        assert!(patch(&mut low, Some(&mut high), &fixup(0xffff_ffff, 1)).is_err());
    }
}
