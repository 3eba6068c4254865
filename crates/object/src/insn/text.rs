//! Instructions as text: the assembly that llvm-objdump and the verifier's log speak. The form is stable.

use super::opcode::{self, class, class_of, mode, mode_of, op_of, width_of};
use super::{Insn, helper_name, pseudo};
use std::fmt;

/// One instruction as text. `next` is the slot after it, where ld_imm64 keeps its upper half.
pub fn text(insn: Insn, next: Option<Insn>) -> String {
    text_with(insn, next, None)
}

/// As [`text`]; `target` names what the instruction refers to, in place of its number: `r1 = map flows ll`, `call parse`.
pub fn text_with(insn: Insn, next: Option<Insn>, target: Option<&str>) -> String {
    let text = match class_of(insn.code) {
        class::LD => ld(insn, next, target),
        class::LDX => ldx(insn),
        class::ST => st(insn),
        class::STX => stx(insn),
        class::ALU | class::ALU64 => alu(insn),
        _ => jump(insn, target),
    };
    text.unwrap_or_else(|| {
        let Insn { code, dst, src, off, imm } = insn;
        format!("unknown {code:#04x} r{dst} r{src} {off} {imm}")
    })
}

fn ld(insn: Insn, next: Option<Insn>, target: Option<&str>) -> Option<String> {
    let (src, imm, width) = (insn.src, insn.imm, width_of(insn.code));
    match mode_of(insn.code) {
        mode::IMM if insn.is_ld_imm64() => Some(ld_imm64(insn, next, target)),
        mode::ABS if width != 64 => Some(format!("r0 = *(u{width} *)skb[{imm}]")),
        mode::IND if width != 64 => Some(format!("r0 = *(u{width} *)skb[r{src}]")),
        _ => None,
    }
}

fn ld_imm64(insn: Insn, next: Option<Insn>, target: Option<&str>) -> String {
    let Insn { dst, src, imm, .. } = insn;
    if let Some(target) = target {
        return format!("r{dst} = {target} ll");
    }
    let high = next.map_or(0, |next| next.imm);
    match src {
        0 => format!("r{dst} = {} ll", i64::from(high) << 32 | i64::from(imm as u32)),
        pseudo::MAP_FD => format!("r{dst} = map_fd {imm} ll"),
        pseudo::MAP_VALUE => format!("r{dst} = map_value {imm}+{high} ll"),
        pseudo::BTF_ID => format!("r{dst} = btf_id {imm} ll"),
        pseudo::FUNC => format!("r{dst} = func {imm:+} ll"),
        pseudo::MAP_IDX => format!("r{dst} = map_idx {imm} ll"),
        pseudo::MAP_IDX_VALUE => format!("r{dst} = map_idx_value {imm}+{high} ll"),
        other => format!("ld_pseudo\tr{dst}, {other}, {imm}"),
    }
}

fn ldx(insn: Insn) -> Option<String> {
    let (dst, width) = (insn.dst, width_of(insn.code));
    let sign = match mode_of(insn.code) {
        mode::MEM => 'u',
        mode::MEMSX if width != 64 => 's',
        _ => return None,
    };
    Some(format!("r{dst} = *({sign}{width} *)({})", Address(insn.src, insn.off)))
}

fn st(insn: Insn) -> Option<String> {
    let is_mem = mode_of(insn.code) == mode::MEM;
    is_mem.then(|| format!("*(u{} *)({}) = {}", width_of(insn.code), Address(insn.dst, insn.off), insn.imm))
}

fn stx(insn: Insn) -> Option<String> {
    let (address, width) = (Address(insn.dst, insn.off), width_of(insn.code));
    match mode_of(insn.code) {
        mode::MEM => Some(format!("*(u{width} *)({address}) = r{}", insn.src)),
        mode::ATOMIC => atomic(insn, &address, width),
        _ => None,
    }
}

/// `imm` of an atomic: the operation, and this bit if the old value is wanted.
const FETCH: i32 = 0x01;

fn atomic(insn: Insn, address: &Address, width: u8) -> Option<String> {
    let (dst, src) = (insn.dst, insn.src);
    let text = match insn.imm {
        0x100 => {
            return Some(format!(
                "{}{dst} = load_acquire((u{width} *)({}))",
                word(width),
                Address(src, insn.off)
            ));
        }
        0x110 => return Some(format!("store_release((u{width} *)({address}), {}{src})", word(width))),
        _ if width < 32 => return None,
        0xe1 if width == 64 => format!("r{src} = xchg_64({address}, r{src})"),
        0xe1 => format!("w{src} = xchg32_32({address}, w{src})"),
        0xf1 if width == 64 => format!("r0 = cmpxchg_64({address}, r0, r{src})"),
        0xf1 => format!("w0 = cmpxchg32_32({address}, w0, w{src})"),
        imm => {
            let (symbol, name) = match imm & !FETCH {
                0x00 => ("+", "add"),
                0x40 => ("|", "or"),
                0x50 => ("&", "and"),
                0xa0 => ("^", "xor"),
                _ => return None,
            };
            let reg = word(width);
            if imm & FETCH == 0 {
                format!("lock *(u{width} *)({address}) {symbol}= {reg}{src}")
            } else {
                format!("{reg}{src} = atomic_fetch_{name}((u{width} *)({address}), {reg}{src})")
            }
        }
    };
    Some(text)
}

/// Operations of arithmetic by the high four bits; `None` are those with a form of their own.
const ALU: [Option<&str>; 14] = [
    Some("+="),
    Some("-="),
    Some("*="),
    Some("/="),
    Some("|="),
    Some("&="),
    Some("<<="),
    Some(">>="),
    None, // negation
    Some("%="),
    Some("^="),
    None, // move
    Some("s>>="),
    None, // byte order
];

fn alu(insn: Insn) -> Option<String> {
    let Insn { code, dst, src, off, imm } = insn;
    let wide = class_of(code) == class::ALU64;
    let by_register = code & opcode::SOURCE_X != 0;
    let reg = if wide { 'r' } else { 'w' };
    let operand = if by_register { format!("{reg}{src}") } else { imm.to_string() };
    match (op_of(code), off) {
        (0x80, _) => (!by_register).then(|| format!("{reg}{dst} = -{reg}{dst}")),
        (0xb0, 0) => Some(format!("{reg}{dst} = {operand}")),
        (0xb0, 1) if wide && by_register => {
            let (to, from) = (imm >> 16, imm & 0xffff);
            Some(format!("r{dst} = addr_space_cast(r{src}, {to}, {from})"))
        }
        (0xb0, 8 | 16) if by_register => Some(format!("{reg}{dst} = (s{off}){operand}")),
        (0xb0, 32) if by_register && wide => Some(format!("r{dst} = (s32){operand}")),
        (0xd0, _) => {
            let name = match (wide, by_register) {
                (false, false) => "le",
                (false, true) => "be",
                (true, false) => "bswap",
                (true, true) => return None,
            };
            matches!(imm, 16 | 32 | 64).then(|| format!("r{dst} = {name}{imm} r{dst}"))
        }
        (0x30, 1) => Some(format!("{reg}{dst} s/= {operand}")),
        (0x90, 1) => Some(format!("{reg}{dst} s%= {operand}")),
        (op, 0) => {
            let symbol = ALU.get(usize::from(op >> 4)).copied().flatten()?;
            Some(format!("{reg}{dst} {symbol} {operand}"))
        }
        _ => None,
    }
}

/// Conditions by the high four bits.
const CONDITIONS: [Option<&str>; 14] = [
    None, // always
    Some("=="),
    Some(">"),
    Some(">="),
    Some("&"),
    Some("!="),
    Some("s>"),
    Some("s>="),
    None, // call
    None, // exit
    Some("<"),
    Some("<="),
    Some("s<"),
    Some("s<="),
];

fn jump(insn: Insn, target: Option<&str>) -> Option<String> {
    let Insn { code, dst, src, off, imm } = insn;
    let wide = class_of(code) == class::JMP;
    match code {
        0x05 => return Some(format!("goto {off:+}")),
        0x06 => return Some(format!("gotol {imm:+}")),
        0x0d => return Some(format!("gotox r{dst}")),
        0xe5 => return Some(format!("may_goto {off:+}")),
        opcode::CALL => return Some(call(insn, target)),
        opcode::CALL_X => return Some(format!("callx r{dst}")),
        opcode::EXIT => return Some("exit".to_owned()),
        _ => {}
    }
    let condition = CONDITIONS.get(usize::from(op_of(code) >> 4)).copied().flatten()?;
    let reg = if wide { 'r' } else { 'w' };
    let operand = if code & opcode::SOURCE_X != 0 { format!("{reg}{src}") } else { imm.to_string() };
    Some(format!("if {reg}{dst} {condition} {operand} goto {off:+}"))
}

fn call(insn: Insn, target: Option<&str>) -> String {
    let imm = insn.imm;
    match (target, insn.src) {
        (Some(target), _) => format!("call {target}"),
        (None, pseudo::CALL) => format!("call pc{imm:+}"),
        (None, pseudo::KFUNC_CALL) => format!("call kernel-function#{imm}"),
        (None, 0) => match helper_name(imm) {
            Some(name) => format!("call {name}#{imm}"),
            None => format!("call helper#{imm}"),
        },
        (None, _) => format!("call {imm}"),
    }
}

/// How a register is named that holds this many bits.
fn word(width: u8) -> char {
    if width == 64 { 'r' } else { 'w' }
}

/// A register and an offset.
struct Address(u8, i16);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.1 < 0 { '-' } else { '+' };
        write!(f, "r{} {sign} {}", self.0, self.1.unsigned_abs())
    }
}
