//! Disassembly with source lines between the instructions and names in place of numbers.

use crate::exit::Outcome;
use crate::out::Out;
use onebpf::Spec;
use onebpf::btf::{Btf, LineInfo};
use onebpf::object::Ref;
use onebpf::object::insn::{Insn, text_with};
use std::collections::BTreeMap;

/// Instructions and what is known of them.
pub(crate) struct Listing<'a> {
    pub(crate) insns: &'a [Insn],
    /// What instructions refer to, by name.
    pub(crate) refs: BTreeMap<u32, String>,
    /// CO-RE records, in the order of the instructions.
    pub(crate) core: Vec<(u32, String)>,
    /// Source lines, in the order of the instructions.
    pub(crate) lines: &'a [LineInfo],
    /// Where functions begin.
    pub(crate) functions: Vec<(u32, String)>,
}

impl Listing<'_> {
    /// One line for each instruction; ld_imm64 takes two numbers and one line.
    pub(crate) fn print(&self, btf: Option<&Btf>, out: &mut Out) -> Outcome {
        let width = self.insns.len().to_string().len().max(3);
        let mut lines = self.lines.iter().peekable();
        let mut upper_half = false;
        let mut shown = None;
        for (at, insn) in self.insns.iter().enumerate() {
            for (_, name) in self.functions.iter().filter(|(start, _)| *start as usize == at) {
                let name = out.bold(name);
                out.line(format_args!("  {name}:"))?;
            }
            while let Some(line) = lines.next_if(|line| line.insn_off as usize <= at) {
                // Columns change from instruction to instruction; the line is worth saying once.
                let here = Some((line.file_name_off, line.line()));
                if line.insn_off as usize == at && shown != here {
                    source(btf, line, out)?;
                    shown = here;
                }
            }
            if upper_half {
                upper_half = false;
                continue;
            }
            upper_half = insn.is_ld_imm64();
            let target = self.refs.get(&(at as u32)).map(String::as_str);
            let text = text_with(*insn, self.insns.get(at + 1).copied(), target);
            let notes: Vec<&str> = self
                .core
                .iter()
                .filter(|(of, _)| *of as usize == at)
                .map(|(_, note)| note.as_str())
                .collect();
            if notes.is_empty() {
                out.line(format_args!("  {at:>width$}: {text}"))?;
            } else {
                let notes = out.dim(format_args!("; {}", notes.join(", ")));
                out.line(format_args!("  {at:>width$}: {text:<32} {notes}"))?;
            }
        }
        Ok(())
    }
}

/// `; counter->packets += 1;  @ flows.bpf.c:34`
fn source(btf: Option<&Btf>, line: &LineInfo, out: &mut Out) -> Outcome {
    let string = |offset| btf.and_then(|btf| btf.string(offset).ok()).unwrap_or_default();
    let (text, file) = (string(line.line_off).trim(), string(line.file_name_off));
    if text.is_empty() && file.is_empty() {
        return Ok(());
    }
    let file = file.rsplit('/').next().unwrap_or(file);
    let text = out.dim(format_args!("; {text}  @ {file}:{}", line.line()));
    out.line(format_args!("  {text}"))
}

/// What an instruction refers to, for people.
pub(crate) fn target(spec: &Spec, wanted: &Ref) -> String {
    let function =
        |id: usize| spec.functions.get(id).map_or("?", |function| function.name.as_str()).to_owned();
    match wanted {
        Ref::Map(name) => format!("map {name}"),
        Ref::Data { map, offset } => match variable_at(spec, map, *offset) {
            Some((name, 0)) => format!("&{name}"),
            Some((name, within)) => format!("&{name}+{within}"),
            None => format!("{map}+{offset}"),
        },
        Ref::Call(id) => function(id.0),
        Ref::Func(id) => format!("&{}", function(id.0)),
        Ref::Kfunc(name) => name.clone(),
        Ref::Ksym(name) | Ref::Kconfig(name) => format!("&{name}"),
        Ref::JumpTable(table) => format!("jump table {}", table.name),
    }
}

/// The variable that holds this byte of a data map, and how far into it.
fn variable_at<'a>(spec: &'a Spec, map: &str, offset: u32) -> Option<(&'a str, u32)> {
    spec.variables.values().filter(|variable| variable.map == map).find_map(|variable| {
        let within = offset.checked_sub(variable.offset)?;
        (within < variable.size).then_some((variable.name.as_str(), within))
    })
}
