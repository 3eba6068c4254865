//! Puts a program together: its function, and behind it the functions that it calls.
//!
//! The order is that of libbpf (`bpf_object__reloc_code`): a function is appended when the first call of it is met, and its
//! own calls are followed before the caller's next one. The result is what libbpf ends with, but for what only a load can
//! know: file descriptors, BTF ids and addresses of the kernel, which are left 0 and listed as references.

use super::info;
use crate::error::Kind;
use crate::insn::{INSN_SIZE, Insn, opcode, pseudo};
use crate::{ExternKind, FuncId, Function, Linkage, Place, Ref, Result, SourceLine, Spec};
use indexmap::IndexMap;
use onebpf_btf::Def;
use onebpf_btf::ext::{CoreRelo, FuncInfo, LineInfo};
use std::collections::HashMap;

/// The kernel's limit for privileged users (`BPF_COMPLEXITY_LIMIT_INSNS`, Linux 5.2).
const MAX_INSNS: usize = 1_000_000;

/// A program as the kernel gets it, but for file descriptors, BTF ids and addresses.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkedProgram {
    /// All instructions: the program's function first.
    pub insns: Vec<Insn>,
    /// What they refer to, by instruction. Those of calls and functions are resolved already.
    pub refs: Vec<(u32, Ref)>,
    /// BTF type of each function; offsets in instructions. Empty if one of the functions has none.
    pub func_info: Vec<FuncInfo>,
    /// Source lines; offsets in instructions. Empty if one of the functions has none.
    pub line_info: Vec<LineInfo>,
    /// CO-RE relocations; offsets in instructions.
    pub core: Vec<CoreRelo>,
    /// Where each function starts, in instructions.
    pub functions: Vec<(u32, FuncId)>,
}

/// A jump table of a linked program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedTable {
    /// Symbol name.
    pub name: String,
    /// Where it leads, in instructions from the program's start.
    pub targets: Vec<u32>,
    /// The instructions that take its address.
    pub insns: Vec<u32>,
}

/// Links a program of an object.
pub fn link(spec: &Spec, program: &str) -> Result<LinkedProgram> {
    let Some(entry) = spec.programs.get(program) else {
        return Err(Kind::NoProgram(program.to_owned()).at(Place::default()));
    };
    let mut linker = Linker::new(spec);
    linker.add(entry.function)?;
    if let Some(callback) = exception_callback(spec, entry.function)? {
        linker.add(callback)?;
    }
    linker.finish()
}

impl LinkedProgram {
    /// The function that an instruction belongs to, and where that starts.
    pub fn function_of(&self, insn: u32) -> Option<(u32, FuncId)> {
        let next = self.functions.partition_point(|(start, _)| *start <= insn);
        self.functions.get(next.checked_sub(1)?).copied()
    }

    /// The jump tables, in the order of the instructions that refer to them. A table is relative to its function
    /// (libbpf's `create_jt_map()`): here it counts from the program's start.
    pub fn jump_tables(&self) -> Vec<LinkedTable> {
        let mut found: IndexMap<_, LinkedTable> = IndexMap::new();
        for (insn, target) in &self.refs {
            let (Ref::JumpTable(table), Some((start, _))) = (target, self.function_of(*insn)) else {
                continue;
            };
            let linked = || LinkedTable {
                name: table.name.clone(),
                targets: table.targets.iter().map(|target| start.saturating_add(*target)).collect(),
                insns: Vec::new(),
            };
            let key = (start, table.offset, table.targets.len());
            found.entry(key).or_insert_with(linked).insns.push(*insn);
        }
        let mut tables: Vec<_> = found.into_values().collect();
        tables.sort_by_key(|table| table.insns.first().copied());
        tables
    }

    /// Where an instruction is in the object.
    pub fn place(&self, spec: &Spec, insn: u32) -> Place {
        let place = place_of(spec, &self.functions, insn);
        Place { source: self.source_line(spec, insn), ..place }
    }

    /// The source line of an instruction.
    pub fn source_line(&self, spec: &Spec, insn: u32) -> Option<SourceLine> {
        let (start, _) = self.function_of(insn)?;
        let next = self.line_info.partition_point(|line| line.insn_off <= insn);
        let line = self.line_info.get(next.checked_sub(1)?).filter(|line| line.insn_off >= start)?;
        info::source_line(spec.btf.as_ref()?, line)
    }
}

struct Linker<'a> {
    spec: &'a Spec,
    out: LinkedProgram,
    starts: HashMap<FuncId, u32>,
}

/// A function whose references are being followed.
struct Frame {
    start: u32,
    refs: std::vec::IntoIter<(u32, FuncId)>,
}

impl<'a> Linker<'a> {
    fn new(spec: &'a Spec) -> Self {
        let out = LinkedProgram {
            insns: Vec::new(),
            refs: Vec::new(),
            func_info: Vec::new(),
            line_info: Vec::new(),
            core: Vec::new(),
            functions: Vec::new(),
        };
        Self { spec, out, starts: HashMap::new() }
    }

    fn function(&self, id: FuncId) -> Result<&'a Function> {
        let missing =
            || Kind::Missing { what: "call to function", name: format!("#{}", id.0) }.at(Place::default());
        self.spec.functions.get(id.0).ok_or_else(missing)
    }

    /// Appends a function and all that it needs, depth first. The stack holds a function at most once.
    fn add(&mut self, id: FuncId) -> Result<()> {
        if self.starts.contains_key(&id) {
            return Ok(());
        }
        let mut stack = vec![self.append(id)?];
        while let Some(frame) = stack.last_mut() {
            let start = frame.start;
            let Some((at, target)) = frame.refs.next() else {
                stack.pop();
                continue;
            };
            if !self.starts.contains_key(&target) {
                stack.push(self.append(target)?);
            }
            let here = start + at;
            let target = self.starts.get(&target).copied().unwrap_or_default();
            if let Some(insn) = self.out.insns.get_mut(here as usize) {
                insn.imm = (i64::from(target) - i64::from(here) - 1) as i32;
                insn.src = if insn.is_ld_imm64() { pseudo::FUNC } else { pseudo::CALL };
            }
        }
        Ok(())
    }

    fn append(&mut self, id: FuncId) -> Result<Frame> {
        let function = self.function(id)?;
        let start = self.out.insns.len();
        if start + function.insns.len() > MAX_INSNS {
            let (what, limit) = ("program".to_owned(), MAX_INSNS as u64);
            return Err(Kind::TooLarge { what, limit, unit: "instructions" }.at(function.place.clone()));
        }
        let start = start as u32;
        self.starts.insert(id, start);
        let out = &mut self.out;
        out.insns.extend_from_slice(&function.insns);
        out.functions.push((start, id));
        out.refs.extend(function.refs.iter().map(|(at, target)| (start + at, target.clone())));
        out.func_info.extend(function.btf.map(|type_id| FuncInfo { insn_off: start, type_id }));
        out.line_info.extend(function.lines.iter().map(|l| LineInfo { insn_off: start + l.insn_off, ..*l }));
        out.core.extend(function.core.iter().map(|c| CoreRelo { insn_off: start + c.insn_off, ..*c }));
        let calls: Vec<_> = function
            .refs
            .iter()
            .filter_map(|(at, target)| match target {
                Ref::Call(id) | Ref::Func(id) => Some((*at, *id)),
                _ => None,
            })
            .collect();
        Ok(Frame { start, refs: calls.into_iter() })
    }

    fn finish(mut self) -> Result<LinkedProgram> {
        for (at, target) in &self.out.refs {
            let place = || place_of(self.spec, &self.out.functions, *at);
            let Some([insn, rest @ ..]) = self.out.insns.get_mut(*at as usize..) else { continue };
            mark(self.spec, target, insn, rest.first_mut()).map_err(|error| error.within(place()))?;
        }
        // The kernel wants records for all functions or for none.
        let functions = || self.out.functions.iter().filter_map(|(_, id)| self.spec.functions.get(id.0));
        if functions().any(|f| f.btf.is_none()) {
            self.out.func_info.clear();
        }
        if functions().any(|f| f.lines.is_empty()) {
            self.out.line_info.clear();
        }
        Ok(self.out)
    }
}

fn place_of(spec: &Spec, functions: &[(u32, FuncId)], at: u32) -> Place {
    let next = functions.partition_point(|(start, _)| *start <= at);
    let found = next.checked_sub(1).and_then(|n| functions.get(n));
    let Some((start, function)) = found.and_then(|(start, id)| Some((start, spec.functions.get(id.0)?)))
    else {
        return Place::default();
    };
    let offset = function.offset + u64::from(at - start) * INSN_SIZE as u64;
    Place { offset: Some(offset), ..function.place.clone() }
}

/// Writes what is known of a reference into its instruction, as libbpf's `bpf_object__relocate_data` does. What a kernel
/// lacks is the loader's business: a weak typed symbol then loses its source (0 as an address).
fn mark(spec: &Spec, target: &Ref, insn: &mut Insn, next: Option<&mut Insn>) -> Result<()> {
    let (source, high) = match target {
        Ref::Call(_) | Ref::Func(_) => return Ok(()),
        Ref::Map(map) | Ref::Data { map, .. } if !is_created(spec, map)? => {
            poison(spec, map, insn, next);
            return Ok(());
        }
        Ref::Kfunc(_) => (pseudo::KFUNC_CALL, None),
        Ref::Map(_) => (pseudo::MAP_FD, None),
        Ref::Data { offset, .. } => (pseudo::MAP_VALUE, Some(*offset as i32)),
        Ref::Kconfig(name) => match spec.externs.get(name).map(|found| found.kind) {
            Some(ExternKind::Kconfig { offset, .. }) => (pseudo::MAP_VALUE, Some(offset as i32)),
            _ => return Err(missing("reference to configuration value", name)),
        },
        Ref::Ksym(name) => match spec.externs.get(name) {
            Some(found) if found.is_typed(spec.btf.as_ref()) => (pseudo::BTF_ID, Some(0)),
            Some(_) => (0, Some(0)),
            None => return Err(missing("reference to", name)),
        },
        // libbpf takes the table's start, whatever the instruction adds to it.
        Ref::JumpTable(_) => {
            insn.off = 0;
            (pseudo::MAP_VALUE, None)
        }
    };
    (insn.src, insn.imm) = (source, 0);
    if let (Some(next), Some(high)) = (next, high) {
        next.imm = high;
    }
    Ok(())
}

fn missing(what: &'static str, name: &str) -> crate::Error {
    Kind::Missing { what, name: name.to_owned() }.at(Place::default())
}

/// False for a map that is left out of the load (`autocreate` is off).
fn is_created(spec: &Spec, map: &str) -> Result<bool> {
    spec.maps.get(map).map(|map| map.autocreate).ok_or_else(|| missing("reference to map", map))
}

/// libbpf's mark for a reference to a map that is not created: the verifier refuses it, unless the code is dead, with
/// `invalid func unknown#2001000<map>` (`poison_map_ldimm64`).
fn poison(spec: &Spec, map: &str, insn: &mut Insn, next: Option<&mut Insn>) {
    const POISON: i32 = 2_001_000_000;
    let index = spec.maps.get_index_of(map).unwrap_or_default();
    let call = Insn { code: opcode::CALL, imm: POISON.wrapping_add(index as i32), ..Insn::default() };
    *insn = call;
    if let Some(next) = next {
        *next = call;
    }
}

/// The function that a program names for exceptions by a declaration tag on its own (`bpf_prog_assign_exc_cb`). Of several
/// tags none counts: the verifier refuses such a program and says why.
fn exception_callback(spec: &Spec, program: FuncId) -> Result<Option<FuncId>> {
    let Some((btf, function)) = spec.btf.as_ref().zip(spec.functions.get(program.0)) else { return Ok(None) };
    let Some(own) = function.btf else { return Ok(None) };
    let mut named = None;
    for tag in btf.decl_tags() {
        let ty = btf.get(*tag)?;
        let is_own = matches!(ty.def, Def::DeclTag { target, component: -1 } if target == own);
        if let Some(name) = ty.name.strip_prefix("exception_callback:").filter(|_| is_own) {
            if named.is_some() {
                return Ok(None);
            }
            named = Some(name);
        }
    }
    let Some(name) = named else { return Ok(None) };
    let is_callback = |f: &Function| {
        f.name == name && f.section == ".text" && matches!(f.linkage, Linkage::Global | Linkage::Weak)
    };
    match spec.functions.iter().position(is_callback) {
        Some(index) => Ok(Some(FuncId(index))),
        None => Err(missing("exception callback", name).within(function.place.clone())),
    }
}
