//! The instructions with which libbpf ends, in the shape of `onebpf relocate --json`.
//!
//! `bpf_object__prepare` relocates before it creates a map, against placeholder descriptors that keep their numbers; so
//! the instructions are final even when the kernel then refuses a map, and such a refusal is no obstacle here. Where
//! relocation itself fails, each program is tried alone.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use object::elf::{STB_GLOBAL, STB_WEAK};
use object::{Object as _, ObjectSection as _};
use serde_json::{Value, json};

use crate::libbpf::{Errno, Object, Program, take_log};
use crate::log::{Facts, Target};

const LD_IMM64: u8 = 0x18;
const CALL: u8 = 0x85;
const PSEUDO_MAP_FD: u8 = 1;
const PSEUDO_MAP_VALUE: u8 = 2;
const PSEUDO_KFUNC_CALL: u8 = 2;
const PSEUDO_FUNC: u8 = 4;
/// libbpf's marker for a reference to a map that is not created (`POISON_LDIMM64_MAP_BASE`).
const POISON_MAP: i32 = 2_001_000_000;

/// What became of the programs of an object.
#[derive(Debug, Default)]
pub struct Relocated {
    /// As in `relocate --json`.
    pub programs: Vec<Value>,
    /// Programs that libbpf does not relocate, and its last warning.
    pub refused: Vec<(String, String)>,
}

/// Relocates every program of the object, also those that `load` would skip.
pub fn relocate(path: &Path) -> Result<Relocated, Errno> {
    let first = relocate_file(path)?;
    if first.refused.is_empty() {
        return Ok(first);
    }
    // An extern that this kernel lacks stops libbpf before it relocates anything, unless it is weak.
    let Some(weak) = Weakened::of(path) else { return Ok(first) };
    let second = relocate_file(&weak.path)?;
    Ok(if second.refused.len() < first.refused.len() { second } else { first })
}

/// A copy of an object in which every extern is weak; removed when dropped.
pub(crate) struct Weakened {
    directory: PathBuf,
    /// The copy.
    pub(crate) path: PathBuf,
}

impl Weakened {
    /// `None` when there is nothing to weaken, or no place to write to.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let mut data = std::fs::read(path).ok()?;
        if weaken(&mut data)? == 0 {
            return None;
        }
        let directory = std::env::temp_dir().join(format!("oracle-{}", std::process::id()));
        let copy = Self { path: directory.join(path.file_name()?), directory };
        std::fs::create_dir_all(&copy.directory).ok()?;
        std::fs::write(&copy.path, data).ok()?;
        Some(copy)
    }
}

impl Drop for Weakened {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Makes undefined global symbols weak; how many there were.
fn weaken(data: &mut [u8]) -> Option<usize> {
    const SYMBOL: usize = 24; // Elf64_Sym: st_info at 4, st_shndx at 6
    let file = object::File::parse(&*data).ok()?;
    let (start, size) = file.sections().find(|it| it.name() == Ok(".symtab"))?.file_range()?;
    let table = data.get_mut(usize::try_from(start).ok()?..usize::try_from(start + size).ok()?)?;
    let mut changed = 0;
    for symbol in table.chunks_exact_mut(SYMBOL).skip(1) {
        if symbol[6..8] == [0, 0] && symbol[4] >> 4 == STB_GLOBAL.0 {
            symbol[4] = (STB_WEAK.0 << 4) | (symbol[4] & 15);
            changed += 1;
        }
    }
    Some(changed)
}

fn relocate_file(path: &Path) -> Result<Relocated, Errno> {
    let mut whole = Relocated::default();
    let names = match attempt(path, None, &mut whole)? {
        Attempt::Done => return Ok(whole),
        Attempt::Failed(names) => names,
    };
    let mut each = Relocated::default();
    for (at, name) in names.into_iter().enumerate() {
        if let Attempt::Failed(_) = attempt(path, Some(at), &mut each)? {
            let why = each.refused.pop().map_or_else(String::new, |(_, why)| why);
            each.refused.push((name, why));
        }
    }
    Ok(each)
}

enum Attempt {
    Done,
    /// The names of the object's programs; `refused` has the reason.
    Failed(Vec<String>),
}

/// One open and prepare, with all programs or only the `only`-th.
fn attempt(path: &Path, only: Option<usize>, into: &mut Relocated) -> Result<Attempt, Errno> {
    take_log();
    let object = Object::open(path)?;
    let programs = object.programs();
    for (at, program) in programs.iter().enumerate() {
        program.set_autoload(only.is_none_or(|only| only == at))?;
    }
    let own: Vec<usize> = programs.iter().map(|program| program.insns().len()).collect();
    drop_struct_ops(&object)?;
    let result = object.prepare();
    let facts = Facts::read(&take_log());
    if result.is_err() && !relocated(&facts) {
        let why = facts.warnings.join(" | ");
        into.refused.push((String::new(), why));
        return Ok(Attempt::Failed(programs.iter().map(Program::name).collect()));
    }
    let maps = object.maps();
    let reader = Reader {
        names: maps.iter().map(crate::libbpf::Map::name).collect(),
        fds: result.is_ok().then(|| maps.iter().map(crate::libbpf::Map::fd).collect()),
        facts: &facts,
    };
    for (at, program) in programs.iter().enumerate() {
        if only.is_some_and(|only| only != at) {
            continue;
        }
        if !program.autoload() {
            into.refused.push((program.name(), "libbpf took it out".to_owned()));
            continue;
        }
        match reader.program(*program, own[at]) {
            Ok(value) => into.programs.push(value),
            Err(why) => into.refused.push((program.name(), why)),
        }
    }
    Ok(Attempt::Done)
}

/// The kernel of this machine may lack the type of a `struct_ops` map, which stops libbpf before it relocates: these
/// maps are not created, and their programs get another type, for libbpf skips a program whose map is not created.
pub(crate) fn drop_struct_ops(object: &Object) -> Result<(), Errno> {
    for map in object.maps().iter().filter(|map| map.kind() == libbpf_sys::BPF_MAP_TYPE_STRUCT_OPS) {
        map.set_autocreate(false)?;
    }
    for program in object.programs().iter().filter(|it| it.kind() == libbpf_sys::BPF_PROG_TYPE_STRUCT_OPS) {
        program.set_kind(libbpf_sys::BPF_PROG_TYPE_SYSCALL)?;
    }
    Ok(())
}

/// Whether the failure came after relocation: from the steps that follow it in `bpf_object_prepare`.
fn relocated(facts: &Facts) -> bool {
    const LATER: [&str; 2] = ["failed to create: ", "Error loading .BTF into kernel"];
    facts.warnings.iter().any(|line| LATER.iter().any(|mark| line.contains(mark)))
}

struct Reader<'a> {
    names: Vec<String>,
    /// Known when every map was created; then they must agree with the log.
    fds: Option<Vec<i32>>,
    facts: &'a Facts,
}

impl Reader<'_> {
    fn program(&self, program: Program<'_>, own: usize) -> Result<Value, String> {
        let name = program.name();
        let mut insns = program.insns();
        let layout = self.layout(&name, own, insns.len())?;
        let mut refs = Vec::new();
        let mut tables: Vec<(i32, Value)> = Vec::new();
        let mut seen = HashMap::new();
        let mut at = 0;
        while at < insns.len() {
            let (function, start) =
                layout.iter().rev().find(|(_, start)| *start <= at).ok_or("no function")?;
            let target = self.facts.target(function, at - start)?;
            if let Some(mut found) = self.mask(&mut insns, at, target, &mut seen)? {
                found["insn"] = json!(at);
                refs.push(found);
            } else if target.is_none() && insns[at][0] == LD_IMM64 && insns[at][1] >> 4 == PSEUDO_MAP_VALUE {
                let fd = imm(insns[at]);
                set_imm(&mut insns[at], 0);
                if !tables.iter().any(|(known, _)| *known == fd) {
                    tables.push((fd, table(fd).ok_or("a jump table that cannot be read")?));
                }
                refs.push(json!({ "insn": at, "kind": "jump_table" }));
            } else if insns[at][0] == LD_IMM64 && insns[at][1] >> 4 == PSEUDO_FUNC {
                let to = at as i64 + 1 + i64::from(imm(insns[at]));
                let to = layout
                    .iter()
                    .find(|(_, start)| *start as i64 == to)
                    .ok_or("no function at its address")?;
                refs.push(json!({ "insn": at, "kind": "func", "name": to.0 }));
            }
            at += if insns[at][0] == LD_IMM64 { 2 } else { 1 };
        }
        let insns: Vec<String> = insns.iter().map(|insn| hex(*insn)).collect();
        let tables: Vec<Value> = tables.into_iter().map(|(_, table)| table).collect();
        let section = program.section();
        Ok(json!({ "name": name, "section": section, "insns": insns, "refs": refs, "jump_tables": tables }))
    }

    /// The functions of the final program and where each starts.
    fn layout(&self, name: &str, own: usize, total: usize) -> Result<Vec<(String, usize)>, String> {
        let mut layout = vec![(name.to_owned(), 0)];
        let mut end = own;
        for (_, sub, count) in self.facts.appended.iter().filter(|(main, ..)| main == name) {
            layout.push((sub.clone(), end));
            end += count;
        }
        if end == total {
            Ok(layout)
        } else {
            Err(format!("{total} instructions, the log accounts for {end}"))
        }
    }

    /// Sets to 0 what is known only at load, and says what the instruction refers to.
    fn mask(
        &self,
        insns: &mut [[u8; 8]],
        at: usize,
        target: Option<&Target>,
        seen: &mut HashMap<usize, i32>,
    ) -> Result<Option<Value>, String> {
        let Some(target) = target else { return Ok(None) };
        let wide = insns[at][0] == LD_IMM64;
        match target {
            Target::Map(map) => {
                let fd = imm(insns[at]);
                self.check_fd(*map, fd, seen)?;
                let name = self.names.get(*map).ok_or("no such map")?;
                if !wide || fd >= POISON_MAP {
                    return Ok(Some(json!({ "kind": "poison", "name": name })));
                }
                set_imm(&mut insns[at], 0);
                match insns[at][1] >> 4 {
                    PSEUDO_MAP_FD => Ok(Some(json!({ "kind": "map", "name": name }))),
                    PSEUDO_MAP_VALUE => {
                        let offset = insns.get(at + 1).map_or(0, |second| imm(*second));
                        Ok(Some(json!({ "kind": "map_value", "name": name, "offset": offset })))
                    }
                    other => Err(format!("source register {other} for a map")),
                }
            }
            Target::Extern(name) if !wide => {
                // A weak kfunc that the kernel lacks is poisoned by libbpf: made a call to a kfunc again.
                insns[at] = [CALL, PSEUDO_KFUNC_CALL << 4, 0, 0, 0, 0, 0, 0];
                Ok(Some(json!({ "kind": "kfunc", "name": name })))
            }
            Target::Extern(name) if self.facts.kconfig.contains_key(name) => {
                set_imm(&mut insns[at], 0);
                let offset = insns.get(at + 1).map_or(0, |second| imm(*second));
                Ok(Some(json!({ "kind": "kconfig", "name": name, "offset": offset })))
            }
            Target::Extern(name) => {
                set_imm(&mut insns[at], 0);
                if let Some(second) = insns.get_mut(at + 1) {
                    set_imm(second, 0);
                }
                Ok(Some(json!({ "kind": "ksym", "name": name })))
            }
        }
    }

    /// The descriptor in the instruction must be that of the map which the log names.
    fn check_fd(&self, map: usize, fd: i32, seen: &mut HashMap<usize, i32>) -> Result<(), String> {
        let real = self.fds.as_ref().and_then(|fds| fds.get(map)).copied().filter(|fd| *fd >= 0);
        let known = *seen.entry(map).or_insert(fd);
        let clash = seen.iter().any(|(other, other_fd)| *other != map && *other_fd == fd);
        if fd < POISON_MAP && (known != fd || clash || real.is_some_and(|real| real != fd)) {
            return Err(format!("the log names map {map}, the instruction has descriptor {fd}"));
        }
        Ok(())
    }
}

/// Where the jump table of a map leads: the first word of each value (`struct bpf_insn_array_value`). libbpf says in no
/// message which table it is.
fn table(fd: i32) -> Option<Value> {
    let values = crate::libbpf::array_values(fd)?;
    let targets: Option<Vec<u32>> =
        values.iter().map(|value| Some(u32::from_le_bytes(*value.first_chunk()?))).collect();
    Some(json!({ "targets": targets? }))
}

/// The last four bytes, little-endian.
fn imm(insn: [u8; 8]) -> i32 {
    i32::from_le_bytes([insn[4], insn[5], insn[6], insn[7]])
}

fn set_imm(insn: &mut [u8; 8], imm: i32) {
    insn[4..].copy_from_slice(&imm.to_le_bytes());
}

fn hex(insn: [u8; 8]) -> String {
    format!("{:016x}", u64::from_be_bytes(insn))
}
