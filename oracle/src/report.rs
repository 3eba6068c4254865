//! Compares many objects and counts.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::compare::{self, Difference};
use crate::{lines, run, selftests};

/// What is compared, and by which commands.
#[derive(Debug)]
pub struct Sides {
    /// A binary that knows [`run::JUDGE`].
    pub judge: PathBuf,
    /// The onebpf command; without it only libbpf's half runs.
    pub onebpf: Option<PathBuf>,
    /// Whether to load.
    pub load: Load,
}

/// Whether objects are loaded, by each side in a mount namespace of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Load {
    /// They are not.
    #[default]
    No,
    /// After all else.
    Also,
    /// And nothing else is compared: for a kernel where everything takes long, and what does not depend on it is known.
    Only,
}

/// One object: what libbpf and onebpf made of it.
#[derive(Debug, Default)]
pub struct Verdict {
    /// The file's name without `.bpf.o`.
    pub name: String,
    /// libbpf crashed, or its side could not run: nothing is known.
    pub broken: Option<String>,
    /// Why libbpf does not open it.
    pub refused: Option<String>,
    /// onebpf parses it.
    pub parsed: bool,
    /// Why onebpf does not parse it.
    pub unparsed: Option<String>,
    /// CO-RE records, kfuncs: relocation depends on the kernel.
    pub depends_on_kernel: bool,
    /// Differences in `inspect`.
    pub inspect: Vec<Difference>,
    /// Differences in `relocate`; `None` when it was not compared.
    pub relocate: Option<Vec<Difference>>,
    /// Differences in `func_info` and `line_info`; `None` when they were not compared.
    pub lines: Option<Vec<Difference>>,
    /// Whether libbpf and onebpf load it; `None` when neither tried.
    pub load: Option<[Result<(), String>; 2]>,
    /// Differences between what the kernel holds after the two loads.
    pub kernel: Vec<Difference>,
    /// Why `relocate` failed on one side.
    pub unrelocated: Option<String>,
    /// Programs that libbpf relocates.
    pub programs: usize,
}

/// Every object's verdict.
#[derive(Debug, Default)]
pub struct Report {
    /// Sources that do not compile, and the first error.
    pub unbuilt: Vec<(String, String)>,
    /// In the order of the objects.
    pub verdicts: Vec<Verdict>,
    /// Differences that are known: a part of their line, and the reason.
    pub allowed: Vec<(String, String)>,
}

impl Report {
    /// Judges the objects, two at a time.
    pub fn of(objects: &[PathBuf], sides: &Sides) -> Self {
        let verdicts = selftests::in_parallel(objects, |object| verdict(object, sides));
        Self { verdicts, ..Self::default() }
    }

    /// Reads lines of the form `part of a difference => reason`.
    pub fn allow(&mut self, text: &str) {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        self.allowed.extend(
            lines
                .filter_map(|line| line.split_once(" => "))
                .map(|(part, why)| (part.to_owned(), why.to_owned())),
        );
    }

    /// Lines that say what differs, without those that are allowed.
    pub fn differences(&self) -> Vec<String> {
        self.lines().into_iter().filter(|line| self.reason(line).is_none()).collect()
    }

    /// Counts, name and number.
    pub fn counts(&self) -> Vec<(&'static str, usize)> {
        let count = |test: &dyn Fn(&Verdict) -> bool| self.verdicts.iter().filter(|it| test(it)).count();
        let opened = |it: &Verdict| it.refused.is_none() && it.broken.is_none();
        let plain = |it: &Verdict| opened(it) && !it.depends_on_kernel;
        let same = |it: &Verdict| opened(it) && it.parsed && it.inspect.is_empty();
        let equal = |it: &Verdict| it.relocate.as_ref().is_some_and(Vec::is_empty);
        let programs = |test: &dyn Fn(&Verdict) -> bool| {
            self.verdicts.iter().filter(|it| test(it)).map(|it| it.programs).sum::<usize>()
        };
        vec![
            ("sources that do not compile", self.unbuilt.len()),
            ("objects", self.verdicts.len()),
            ("opened by libbpf", count(&|it| opened(it))),
            ("  of these parsed by onebpf", count(&|it| opened(it) && it.parsed)),
            ("  inspect equal", count(&same)),
            ("without CO-RE and kfuncs", count(&plain)),
            ("  relocated by libbpf", count(&|it| plain(it) && it.programs > 0)),
            ("  programs in these", programs(&plain)),
            ("  relocation compared", count(&|it| plain(it) && it.relocate.is_some())),
            ("  relocation equal", count(&|it| plain(it) && equal(it))),
            ("  programs compared", programs(&|it| plain(it) && it.relocate.is_some())),
            ("with CO-RE or kfuncs", count(&|it| opened(it) && it.depends_on_kernel)),
            ("  relocation compared", count(&|it| it.depends_on_kernel && it.relocate.is_some())),
            ("  relocation equal", count(&|it| it.depends_on_kernel && equal(it))),
            ("  programs compared", programs(&|it| it.depends_on_kernel && it.relocate.is_some())),
            ("function types and lines compared", count(&|it| it.lines.is_some())),
            ("  equal", count(&|it| it.lines.as_ref().is_some_and(Vec::is_empty))),
            ("load tried", count(&|it| it.load.is_some())),
            ("  both load", count(&|it| matches!(it.load, Some([Ok(()), Ok(())])))),
            (
                "    the kernel holds the same",
                count(&|it| matches!(it.load, Some([Ok(()), Ok(())])) && it.kernel.is_empty()),
            ),
            ("  neither loads", count(&|it| matches!(it.load, Some([Err(_), Err(_)])))),
            ("  only libbpf loads", count(&|it| matches!(it.load, Some([Ok(()), Err(_)])))),
            ("  only onebpf loads", count(&|it| matches!(it.load, Some([Err(_), Ok(())])))),
            ("refused by libbpf", count(&|it| it.refused.is_some())),
            ("  of these parsed by onebpf", count(&|it| it.refused.is_some() && it.parsed)),
            ("differences", self.differences().len()),
            ("differences with a known reason", self.lines().len() - self.differences().len()),
        ]
    }

    /// The report as one document.
    pub fn json(&self) -> Value {
        let objects: Vec<Value> = self
            .verdicts
            .iter()
            .map(|it| {
                json!({ "name": it.name, "libbpf_refuses": it.refused, "onebpf_refuses": it.unparsed,
                        "depends_on_kernel": it.depends_on_kernel, "programs": it.programs,
                        "inspect": texts(&it.inspect), "relocate": it.relocate.as_deref().map(texts), "lines": it.lines.as_deref().map(texts),
                        "load": it.load.as_ref().map(|sides| sides.clone().map(Result::err)), "not_relocated": it.unrelocated })
            })
            .collect();
        let counts: Vec<Value> = self.counts().iter().map(|(name, n)| json!([name.trim(), n])).collect();
        json!({ "libbpf": crate::libbpf::version(), "counts": counts, "unbuilt": self.unbuilt, "objects": objects,
                "differences": self.differences() })
    }

    fn lines(&self) -> Vec<String> {
        self.verdicts.iter().flat_map(Verdict::lines).collect()
    }

    fn reason(&self, line: &str) -> Option<&str> {
        self.allowed.iter().find(|(part, _)| line.contains(part.as_str())).map(|(_, why)| why.as_str())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, why) in &self.unbuilt {
            writeln!(f, "not built: {name}: {why}")?;
        }
        for it in &self.verdicts {
            if let Some(why) = &it.refused {
                let other = match &it.unparsed {
                    Some(_) => ", and so does onebpf",
                    None if it.parsed => ", onebpf parses it",
                    None => "",
                };
                writeln!(f, "libbpf refuses: {}: {why}{other}", it.name)?;
            }
        }
        for it in &self.verdicts {
            if let Some([Err(why), Ok(())]) = &it.load {
                writeln!(f, "only onebpf loads: {}: libbpf: {}", it.name, one_line(why))?;
            }
        }
        for line in self.lines() {
            match self.reason(&line) {
                Some(why) => writeln!(f, "known: {line} ({why})")?,
                None => writeln!(f, "differs: {line}")?,
            }
        }
        writeln!(f)?;
        for (name, count) in self.counts() {
            writeln!(f, "{name:<36}{count:>6}")?;
        }
        Ok(())
    }
}

impl Verdict {
    /// One line for each difference, starting with the object's name.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        lines.extend(self.broken.iter().map(|why| format!("{}: the libbpf side failed: {why}", self.name)));
        if self.refused.is_none() {
            lines.extend(
                self.unparsed.iter().map(|why| format!("{}: onebpf does not parse it: {why}", self.name)),
            );
        }
        lines.extend(self.unrelocated.iter().map(|why| format!("{}: relocate: {why}", self.name)));
        if let Some([Ok(()), Err(why)]) = &self.load {
            lines.push(format!("{}: libbpf loads it, onebpf does not: {}", self.name, one_line(why)));
        }
        let differences =
            self.inspect.iter().chain(self.relocate.iter().flatten()).chain(self.lines.iter().flatten());
        let differences = differences.chain(&self.kernel);
        lines.extend(differences.map(|it| format!("{}: {it}", self.name)));
        lines
    }
}

/// Runs both sides on one object.
pub fn verdict(object: &Path, sides: &Sides) -> Verdict {
    let name = object.file_name().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default();
    let name = name.trim_end_matches(".o").trim_end_matches(".bpf").to_owned();
    let mut verdict = Verdict { name, ..Verdict::default() };
    if let (Load::Only, Some(onebpf)) = (sides.load, &sides.onebpf) {
        load(&mut verdict, object, &sides.judge, onebpf);
        return verdict;
    }
    let judged = match run::libbpf(&sides.judge, object) {
        Ok(judged) => judged,
        Err(why) => return Verdict { broken: Some(one_line(&why)), ..verdict },
    };
    verdict.depends_on_kernel = judged["kernel"] == true;
    if !judged["open"]["errno"].is_null() {
        let warnings = judged["open"]["warnings"].as_array().map_or(&[][..], Vec::as_slice);
        let last = warnings.last().and_then(Value::as_str).unwrap_or("no message");
        verdict.refused = Some(format!("errno {}: {last}", judged["open"]["errno"]));
    }
    verdict.programs = judged["relocate"]["programs"].as_array().map_or(0, Vec::len);
    let Some(onebpf) = &sides.onebpf else { return verdict };
    match run::onebpf(onebpf, "inspect", object, &[]) {
        Ok(held) => {
            verdict.parsed = true;
            if verdict.refused.is_none() {
                verdict.inspect = compare::inspect(&judged["inspect"], &held);
            }
        }
        Err(why) => verdict.unparsed = Some(one_line(&why)),
    }
    let wanted = verdict.refused.is_none() && verdict.parsed;
    if wanted && sides.load == Load::Also && run::is_root() {
        load(&mut verdict, object, &sides.judge, onebpf);
    }
    if wanted && judged["lines"].is_array() {
        match lines::by_onebpf(object) {
            Ok(ours) => verdict.lines = Some(compare::lines(&judged["lines"], &ours)),
            Err(why) => verdict.unrelocated = Some(format!("onebpf: {why}")),
        }
    }
    if wanted && judged["relocate"].is_object() {
        relocation(&mut verdict, &judged["relocate"], run::onebpf(onebpf, "relocate", object, &[]));
    }
    verdict
}

fn load(verdict: &mut Verdict, object: &Path, judge: &Path, onebpf: &Path) {
    let (one, other) = (run::load_by_libbpf(judge, object), run::load_by_onebpf(judge, onebpf, object));
    if let (Ok(one), Ok(other)) = (&one, &other) {
        verdict.kernel = compare::kernel(one, other);
    }
    verdict.load = Some([one.map(drop), other.map(drop)]);
}

fn relocation(verdict: &mut Verdict, libbpf: &Value, onebpf: Result<Value, String>) {
    let refused = libbpf["refused"].as_array().map_or(&[][..], Vec::as_slice);
    match onebpf {
        Err(why) => verdict.unrelocated = Some(format!("onebpf: {}", one_line(&why))),
        Ok(_) if !refused.is_empty() => {
            verdict.unrelocated = Some(format!("libbpf: {}", Value::from(refused)));
        }
        Ok(mut got) => {
            // Compared are the programs that libbpf relocates; whether both list the same, `inspect` tells.
            if let Some(programs) = got["programs"].as_array_mut() {
                let known = libbpf["programs"].as_array().map_or(&[][..], Vec::as_slice);
                programs.retain(|it| known.iter().any(|other| other["name"] == it["name"]));
            }
            verdict.relocate = Some(compare::relocate(libbpf, &got));
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn texts(differences: &[Difference]) -> Vec<String> {
    differences.iter().map(ToString::to_string).collect()
}
