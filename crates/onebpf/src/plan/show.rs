//! A plan as a person reads it: the dry run.

use super::{
    Change, CreateMap, FieldDiff, LoadProgram, Object, Operand, Patch, PinDiff, Plan, Register, Step,
    Transaction,
};
use onebpf_object::{MapType, ProgramType};
use std::fmt;

/// One line of the dry run.
struct Row {
    verb: &'static str,
    name: String,
    detail: String,
    out: Option<u32>,
}

impl fmt::Display for Plan {
    /// One numbered line for each step; `#3` is the object that a step makes and later steps use.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<Row> = self.steps.iter().map(row).collect();
        let numbers = rows.len().to_string().len();
        let verbs = width(rows.iter().map(|row| row.verb));
        let names = width(rows.iter().map(|row| row.name.as_str()));
        let outs = rows.iter().filter_map(|row| row.out).max().map_or(0, |n| n.to_string().len() + 1);
        for (n, Row { verb, name, detail, out }) in rows.iter().enumerate() {
            let out = out.map_or_else(String::new, |out| format!("#{out}"));
            let line = format!("{:numbers$}  {out:outs$}  {verb:verbs$}  {name:names$}  {detail}", n + 1);
            writeln!(f, "{}", line.trim_end())?;
        }
        for found in &self.externs {
            writeln!(f, "{found}")?;
        }
        for diff in &self.diff {
            writeln!(f, "{diff}")?;
        }
        for adaptation in &self.adaptations {
            writeln!(f, "note: {adaptation}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning[{}]: {}", warning.code, warning.message)?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { verb, name, detail, out } = row(self);
        let parts = [verb, name.as_str(), detail.as_str()];
        f.write_str(&parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(" "))?;
        out.map_or(Ok(()), |out| write!(f, " as #{out}"))
    }
}

impl fmt::Display for PinDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (map, path) = (&self.map, self.path.display());
        match &self.change {
            Change::Create => write!(f, "pin {path}: new, map `{map}`"),
            Change::Reuse => write!(f, "pin {path}: map `{map}` is there and fits, it is reused"),
            Change::Replace(fields) if fields.is_empty() => {
                write!(f, "pin {path}: a new map `{map}` takes the name")
            }
            Change::Replace(fields) => {
                write!(f, "pin {path}: map `{map}` is there and differs, a new one takes the name:")?;
                differences(f, fields)
            }
            Change::Migrate { fields, notes } => {
                write!(
                    f,
                    "pin {path}: map `{map}` is there and differs, a new one takes the name and the entries:"
                )?;
                differences(f, fields)?;
                notes.iter().try_for_each(|note| write!(f, "\n  {note}"))
            }
        }
    }
}

fn differences(f: &mut fmt::Formatter<'_>, fields: &[FieldDiff]) -> fmt::Result {
    fields
        .iter()
        .try_for_each(|d| write!(f, "\n  {}: {} is pinned, {} is declared", d.field, d.pinned, d.wanted))
}

fn width<'a>(texts: impl Iterator<Item = &'a str>) -> usize {
    texts.map(|text| text.chars().count()).max().unwrap_or(0)
}

fn row(step: &Step) -> Row {
    let none = String::new;
    let (verb, name, detail, out) = match step {
        Step::LiftMemlock => ("lift limit", "RLIMIT_MEMLOCK".to_owned(), none(), None),
        Step::CreateToken { out, bpffs } => {
            ("make token", none(), format!("from {}", bpffs.display()), Some(out.number()))
        }
        Step::LoadBtf { out, data, .. } => ("load BTF", none(), bytes(data.len()), Some(out.number())),
        Step::OpenBtf { out, name, id } => {
            ("open BTF", name.clone(), format!("module's BTF [{id}]"), Some(out.number()))
        }
        Step::OpenProgram { out, name, id, path } => {
            let detail = path.as_ref().map_or_else(String::new, |path| format!(", {}", path.display()));
            ("open program", name.clone(), format!("program [{id}]{detail}"), Some(out.number()))
        }
        Step::OpenPin { out, name, path, .. } => {
            ("open pin", name.clone(), path.display().to_string(), Some(out.number()))
        }
        Step::CreateMap(map) => ("create map", map.name.clone(), create(map), Some(map.out.number())),
        Step::Write { map, name, value, .. } => {
            ("write", name.clone(), format!("{} into {map}", bytes(value.len())), None)
        }
        Step::MapArena { map, name, offset, data } => {
            ("map arena", name.clone(), format!("{} into {map} at {offset:#x}", bytes(data.len())), None)
        }
        Step::Freeze { map, name } => ("freeze", name.clone(), map.to_string(), None),
        Step::LoadProgram(program) => {
            ("load program", program.name.clone(), load(program), Some(program.out.number()))
        }
        Step::Bind { program, name, map, held } => {
            ("bind", name.clone(), format!("{program} holds {map} `{held}`"), None)
        }
        Step::Table { map, name, programs, register, .. } => {
            let programs: Vec<String> = programs.iter().map(|(_, program)| program.to_string()).collect();
            let text = format!("{map} calls {}", programs.join(" "));
            match register {
                None => ("complete", name.clone(), text, None),
                Some(Register::Value) => ("register", name.clone(), text, None),
                Some(Register::Link(link)) => ("register", name.clone(), text, Some(link.number())),
            }
        }
        Step::Fill { map, name, index, object, target, .. } => (
            "fill",
            format!("{name}[{index}]"),
            format!("{map}[{index}] = {} `{target}`", slot(*object)),
            None,
        ),
        Step::Prune { map, name, keep } => {
            let keep: Vec<String> = keep.iter().map(ToString::to_string).collect();
            ("prune", name.clone(), format!("{map}: all slots but {}", keep.join(" ")), None)
        }
        Step::Migrate { to, name, migration } => {
            ("migrate", name.clone(), format!("{} into {to}", migration.from.display()), None)
        }
        Step::MountBpffs { path } => ("mount bpffs", none(), path.display().to_string(), None),
        Step::Symlink { path, target } => {
            ("link", none(), format!("{} to {}", path.display(), target.display()), None)
        }
        Step::MakeDir { path } => ("make directory", none(), path.display().to_string(), None),
        Step::Attempt { what, steps } => {
            let steps: Vec<String> = steps.iter().map(ToString::to_string).collect();
            ("try", what.clone(), steps.join(", "), None)
        }
        Step::Prepare(transaction) => ("prepare", none(), prepared(transaction), None),
        Step::Stage { object, name, path } => {
            ("stage", name.clone(), format!("{} at {}", slot(*object), path.display()), None)
        }
        Step::KeepSlot { name, index, path, .. } => {
            ("keep", format!("{name}[{index}]"), format!("at {}", path.display()), None)
        }
        Step::Commit => ("commit", none(), none(), None),
        Step::Publish { object, name, path, replaces, .. } => {
            let how = if *replaces { "replaces what is at" } else { "at" };
            ("pin", name.clone(), format!("{} {how} {}", slot(*object), path.display()), None)
        }
        Step::Finish => ("finish", none(), none(), None),
    };
    Row { verb, name, detail, out }
}

fn prepared(transaction: &Transaction) -> String {
    let keeps = if transaction.keep_previous { ", what is replaced is kept" } else { "" };
    format!("journal in {}{keeps}", transaction.state.display())
}

fn create(map: &CreateMap) -> String {
    use std::fmt::Write;
    let mut text = format!(
        "{}, key {}, value {}, {} entries",
        MapType(map.map_type),
        map.key_size,
        map.value_size,
        map.max_entries
    );
    let mut add = |part: fmt::Arguments<'_>| text.write_fmt(part).unwrap_or_default();
    if map.flags != 0 {
        add(format_args!(", flags {:#x}", map.flags));
    }
    if map.extra != 0 {
        add(format_args!(", extra {:#x}", map.extra));
    }
    if let Some(node) = map.numa_node {
        add(format_args!(", NUMA node {node}"));
    }
    if let Some(btf) = map.btf.filter(|btf| btf.value != 0) {
        add(format_args!(", types [{}] [{}] of {}", btf.key, btf.value, btf.btf));
    }
    if let Some(value) = map.kernel_value {
        add(format_args!(", kernel type [{}]", value.type_id));
    }
    if let Some(inner) = map.inner {
        add(format_args!(", holds maps like {inner}"));
    }
    match (map.template, MapType(map.map_type)) {
        (true, MapType::INSN_ARRAY) => add(format_args!(" (jump table)")),
        (true, _) => add(format_args!(" (template)")),
        (false, _) => {}
    }
    text
}

fn load(program: &LoadProgram) -> String {
    let map = |patch: &Patch| match patch.operand {
        Operand::MapFd(map) => Some(map.number()),
        Operand::BtfFd(_) => None,
    };
    let mut maps: Vec<u32> = program.patches.iter().filter_map(map).collect();
    maps.sort_unstable();
    maps.dedup();
    let mut text = format!("{}, {} insns", ProgramType(program.prog_type), program.insns.len());
    if !maps.is_empty() {
        let maps: Vec<String> = maps.iter().map(|map| format!("#{map}")).collect();
        text = format!("{text}, uses {}", maps.join(" "));
    }
    if let Some(attach) = &program.attach {
        text = format!("{text}, for {} [{}]", attach.name, attach.btf_id);
        if let Some(program) = attach.program {
            text = format!("{text} of {program}");
        }
    }
    text
}

fn slot(object: Object) -> String {
    match object {
        Object::Map(slot) => slot.to_string(),
        Object::Program(slot) => slot.to_string(),
        Object::Link(slot) => slot.to_string(),
    }
}

fn bytes(count: usize) -> String {
    if count == 1 { "1 byte".to_owned() } else { format!("{count} bytes") }
}
