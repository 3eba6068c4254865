//! Reads libbpf's debug messages: what each relocation refers to, in whose words no getter tells.
//!
//! The messages are those of the vendored libbpf (1.7), so their form is fixed with the crate's version.

use std::collections::{HashMap, HashSet};

/// What an instruction refers to, as `bpf_program__record_reloc` found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A map, or a value inside it: the index in libbpf's list of maps.
    Map(usize),
    /// An extern: kconfig, ksym or kfunc.
    Extern(String),
}

/// What the messages of one open (and prepare) say.
#[derive(Debug, Default)]
pub struct Facts {
    /// (function, instruction in that function) → target.
    targets: HashMap<(String, usize), Target>,
    /// Keys for which two functions of one name disagree.
    ambiguous: HashSet<(String, usize)>,
    /// (main program, subprogram, instructions), in the order in which they were appended.
    pub appended: Vec<(String, String, usize)>,
    /// Kconfig externs and their offset in `.kconfig`.
    pub kconfig: HashMap<String, u32>,
    /// The `license` section.
    pub license: String,
    /// Externs that the kernel's symbols resolve, functions included.
    pub ksyms: Vec<String>,
    /// (map, slot, name of the map or program in it).
    pub slots: Vec<(String, u32, String)>,
    /// The section of each map that is not `struct_ops`, in libbpf's order.
    pub map_sections: Vec<String>,
    /// Where the attributes of each program's load stand in what `bpf_object__gen_loader` makes.
    pub load_attrs: Vec<usize>,
    /// Warnings, in order.
    pub warnings: Vec<String>,
}

impl Facts {
    /// Reads the lines that [`crate::libbpf::take_log`] returns.
    pub fn read(log: &str) -> Self {
        let mut facts = Self::default();
        let mut sections = HashMap::new();
        for line in log.lines() {
            let Some((level, text)) = line.split_at_checked(2) else { continue };
            let text = text.strip_prefix("libbpf: ").unwrap_or(text);
            if level == "W " {
                facts.warnings.push(text.to_owned());
                continue;
            }
            facts.line(text, &mut sections);
        }
        facts
    }

    /// What instruction `insn` of `function` refers to; `Err` when two functions share the name and disagree.
    pub fn target(&self, function: &str, insn: usize) -> Result<Option<&Target>, String> {
        let key = (function.to_owned(), insn);
        if self.ambiguous.contains(&key) {
            return Err(format!("two functions are called {function}"));
        }
        Ok(self.targets.get(&key))
    }

    fn line(&mut self, text: &str, sections: &mut HashMap<String, String>) {
        if let Some(rest) = text.strip_prefix("elf: section(") {
            if let Some((index, rest)) = rest.split_once(") ") {
                let name = rest.rsplit_once(", size ").map_or(rest, |(name, _)| name);
                sections.insert(index.to_owned(), name.to_owned());
            }
        } else if let Some((name, rest)) = quoted(text, "prog '") {
            self.program(name, rest);
        } else if let Some((_, rest)) = quoted(text, "map '") {
            if let Some((_, at)) = rest.split_once("at sec_idx ") {
                let index = at.split(',').next().unwrap_or_default();
                self.map_sections.push(sections.get(index).cloned().unwrap_or_default());
            }
        } else if let Some(rest) = text.strip_prefix("extern (kcfg) #") {
            if let (Some(off), Some((_, name))) = (after(rest, ", off "), rest.split_once(", name ")) {
                self.kconfig.insert(name.to_owned(), off as u32);
            }
        } else if let Some(rest) = text.strip_prefix("gen: prog_load: attr: off ") {
            self.load_attrs.extend(after(rest, ""));
        } else if let Some(rest) = text.strip_prefix("extern (ksym) #") {
            self.ksyms.extend(rest.split_once(", name ").map(|(_, name)| name.to_owned()));
        } else if let Some((_, license)) =
            text.strip_prefix("license of ").and_then(|rest| rest.rsplit_once(" is "))
        {
            license.clone_into(&mut self.license);
        } else if text.starts_with(".maps relo #") {
            self.slot(text);
        }
    }

    fn program(&mut self, name: &str, rest: &str) {
        if let Some(found) = rest.strip_prefix("found extern #") {
            if let (Some((_, of)), Some(insn)) = (found.split_once('\''), after(rest, "for insn #")) {
                let target = of.split('\'').next().unwrap_or_default();
                self.add(name, insn, Target::Extern(target.to_owned()));
            }
        } else if let Some(found) = ["found map ", "found data map ", "found arena map "]
            .into_iter()
            .find_map(|prefix| rest.strip_prefix(prefix))
        {
            let insn = after(rest, "for insn #").or_else(|| after(rest, "for insn "));
            if let (Some(map), Some(insn)) = (after(found, ""), insn) {
                self.add(name, insn, Target::Map(map));
            }
        } else if let Some(added) = rest.strip_prefix("added ")
            && let (Some(count), Some((_, sub))) = (after(added, ""), added.split_once("sub-prog '"))
        {
            self.appended.push((name.to_owned(), sub.trim_end_matches('\'').to_owned(), count));
        }
    }

    fn add(&mut self, function: &str, insn: usize, target: Target) {
        let key = (function.to_owned(), insn);
        match self.targets.get(&key) {
            Some(known) if *known != target => drop(self.ambiguous.insert(key)),
            _ => drop(self.targets.insert(key, target)),
        }
    }

    /// `.maps relo #2: map 'outer' slot [1] points to map 'inner'`
    fn slot(&mut self, text: &str) {
        let Some((_, rest)) = text.split_once(": ") else { return };
        let Some((map, rest)) = quoted(rest, "map '") else { return };
        let (Some(slot), Some((_, target))) = (after(rest, "slot ["), rest.split_once(" '")) else { return };
        self.slots.push((map.to_owned(), slot as u32, target.trim_end_matches('\'').to_owned()));
    }
}

/// `prefix` + `NAME'` + (`: ` or ` `) + rest → (NAME, rest).
fn quoted<'t>(text: &'t str, prefix: &str) -> Option<(&'t str, &'t str)> {
    let (name, rest) = text.strip_prefix(prefix)?.split_once('\'')?;
    Some((name, rest.trim_start_matches([':', ' '])))
}

/// The number right after the first `mark`.
fn after(text: &str, mark: &str) -> Option<usize> {
    let (_, rest) = text.split_once(mark)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_kind_of_line() {
        let log = "  libbpf: elf: section(7) .maps, size 32, link 0, flags 3, type=1\n  libbpf: map 'm': at sec_idx 7, \
                   offset 0.\n  libbpf: prog 'p': found map 0 (m, sec 7, off 0) for insn #3\n  libbpf: prog 'p': found \
                   extern #1 'CONFIG_HZ' (sym 9) for insn #5\n  libbpf: prog 'p': found data map 2 (x.bss, sec 9, off \
                   0) for insn 8\n  libbpf: extern (kcfg) #1: symbol 9, off 4, name CONFIG_HZ\n  libbpf: prog 'p': \
                   added 12 insns from sub-prog 'f'\n  libbpf: .maps relo #0: map 'o' slot [3] points to map 'i'\nW \
                   libbpf: bad\n";
        let facts = Facts::read(log);
        assert_eq!(facts.map_sections, [".maps"]);
        assert_eq!(facts.target("p", 3), Ok(Some(&Target::Map(0))));
        assert_eq!(facts.target("p", 5), Ok(Some(&Target::Extern("CONFIG_HZ".into()))));
        assert_eq!(facts.target("p", 8), Ok(Some(&Target::Map(2))));
        assert_eq!(facts.target("p", 4), Ok(None));
        assert_eq!(facts.kconfig["CONFIG_HZ"], 4);
        assert_eq!(facts.appended, [("p".into(), "f".into(), 12)]);
        assert_eq!(facts.slots, [("o".into(), 3, "i".into())]);
        assert_eq!(facts.warnings, ["bad"]);
    }

    #[test]
    fn two_functions_of_one_name() {
        let log = "  libbpf: prog 'p': found map 0 (m, sec 7, off 0) for insn #3\n  libbpf: prog 'p': found map 1 (n, \
                   sec 7, off 0) for insn #3\n";
        assert!(Facts::read(log).target("p", 3).is_err());
    }
}
