//! What a fixture is: the head of its C file says it, `MANIFEST.json` repeats it with the checksum of each object.

use std::path::Path;

use serde_json::{Value, json};

/// One fixture source, as the comment at its head describes it.
pub(crate) struct Fixture {
    /// File name without `.bpf.c`.
    pub(crate) name: String,
    builds: Vec<&'static Build>,
    covers: String,
    expect: String,
    /// Further lines, by key.
    notes: Vec<(&'static str, String)>,
}

/// Keys that a head may have beside those that it must have.
const NOTES: &[&str] = &["relaxed", "load", "libbpf"];

/// A way to compile a fixture.
pub(crate) struct Build {
    /// The word in the `builds:` line.
    pub(crate) name: &'static str,
    suffix: &'static str,
    /// Flags for clang.
    pub(crate) flags: &'static [&'static str],
    /// What is done to the object afterwards.
    pub(crate) after: After,
}

/// What no flag of a compiler makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Nothing.
    Keep,
    /// `e_machine` is set to `EM_NONE`, as the compilers before LLVM 3.9 left it.
    MachineNone,
    /// The second half of the file is cut off.
    Half,
    /// `twin_b` becomes `twin_a`, wherever it stands.
    Twin,
}

const fn build(
    name: &'static str,
    suffix: &'static str,
    flags: &'static [&'static str],
    after: After,
) -> Build {
    Build { name, suffix, flags, after }
}

/// All ways to compile a fixture. `-mcpu=v3` is said aloud, for it is the default of some clang versions only.
const BUILDS: &[Build] = &[
    build("el", "", &["-target", "bpfel", "-mcpu=v3", "-g"], After::Keep),
    build("eb", ".eb", &["-target", "bpfeb", "-mcpu=v3", "-g"], After::Keep),
    build("nog", ".nog", &["-target", "bpfel", "-mcpu=v3"], After::Keep),
    build("v1", ".v1", &["-target", "bpfel", "-mcpu=v1", "-g"], After::Keep),
    build("v2", ".v2", &["-target", "bpfel", "-mcpu=v2", "-g"], After::Keep),
    build("v4", ".v4", &["-target", "bpfel", "-mcpu=v4", "-g"], After::Keep),
    build("none", ".none", &["-target", "bpfel", "-mcpu=v3", "-g"], After::MachineNone),
    build("half", ".half", &["-target", "bpfel", "-mcpu=v3", "-g"], After::Half),
    build("twin", ".twin", &["-target", "bpfel", "-mcpu=v3"], After::Twin),
    build("x86", ".x86", &["-target", "x86_64-linux-gnu"], After::Keep),
];

impl Fixture {
    /// Reads the head of a source: lines `// key: text` until the first other line.
    pub(crate) fn parse(file: &str, text: &str) -> Result<Self, String> {
        let name = file.strip_suffix(".bpf.c").ok_or("not called NAME.bpf.c")?.to_owned();
        let head = |key: &str| -> Option<String> {
            let lines = text.lines().take_while(|line| line.starts_with("//"));
            lines
                .filter_map(|line| line.trim_start_matches('/').trim().strip_prefix(key)?.strip_prefix(':'))
                .map(|value| value.trim().to_owned())
                .next()
        };
        let must = |key: &str| head(key).ok_or_else(|| format!("{file}: no line `// {key}:` at its head"));
        let find = |word: &str| {
            BUILDS.iter().find(|build| build.name == word).ok_or_else(|| format!("{file}: no build `{word}`"))
        };
        Ok(Self {
            builds: must("builds")?.split_whitespace().map(find).collect::<Result<_, _>>()?,
            covers: must("covers")?,
            expect: must("expect")?,
            notes: NOTES.iter().filter_map(|key| Some((*key, head(key)?))).collect(),
            name,
        })
    }

    /// Each object made of this source: file name, and how.
    pub(crate) fn objects(&self) -> impl Iterator<Item = (String, &'static Build)> + '_ {
        self.builds.iter().map(|build| (format!("{}{}.o", self.name, build.suffix), *build))
    }

    /// The row of an object in the manifest.
    pub(crate) fn row(&self, object: &str, build: &Build, sha256: &str) -> Value {
        let mut row = json!({
            "name": object.trim_end_matches(".o"),
            "object": format!("obj/{object}"),
            "source": format!("src/{}.bpf.c", self.name),
            "build": build.name,
            "flags": build.flags.join(" "),
            "sha256": sha256,
            "covers": self.covers,
            "expect": self.expect,
        });
        for (key, value) in &self.notes {
            row[key] = json!(value);
        }
        row
    }
}

/// All fixtures of a folder, by name.
pub(crate) fn read(folder: &Path) -> Result<Vec<Fixture>, String> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.to_string_lossy().ends_with(".bpf.c"));
    files.sort();
    let parse = |file: std::path::PathBuf| {
        let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        Fixture::parse(&file.file_name().unwrap_or_default().to_string_lossy(), &text)
    };
    files.into_iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run;

    #[test]
    fn the_head_of_a_source_says_what_it_is() {
        let text = "// covers: a thing\n// builds: el nog\n// expect: valid\n// load: parse only\nint x;\n// libbpf: no head\n";
        let fixture = Fixture::parse("thing.bpf.c", text).unwrap();
        let names: Vec<String> = fixture.objects().map(|(name, _)| name).collect();
        assert_eq!(names, ["thing.o", "thing.nog.o"]);
        assert_eq!(fixture.covers, "a thing");
        assert_eq!(fixture.notes, [("load", "parse only".to_owned())]);
    }

    #[test]
    fn a_head_that_says_too_little_is_refused() {
        assert!(Fixture::parse("thing.bpf.c", "// covers: a thing\n").is_err());
        assert!(Fixture::parse("thing.bpf.c", "// covers: x\n// builds: pdp11\n// expect: valid\n").is_err());
        assert!(Fixture::parse("thing.c", "").is_err());
    }

    #[test]
    fn manifest_sources_and_objects_are_the_same_set() {
        let folder = run::root().join("fixtures");
        let text = std::fs::read_to_string(folder.join("MANIFEST.json")).unwrap();
        let manifest: Value = serde_json::from_str(&text).unwrap();
        let rows = manifest["fixtures"].as_array().unwrap();
        let mut listed: Vec<&str> = rows.iter().map(|row| row["object"].as_str().unwrap()).collect();
        let fixtures = read(&folder.join("src")).unwrap();
        let objects = fixtures.iter().flat_map(Fixture::objects);
        let mut sources: Vec<String> = objects.map(|(name, _)| format!("obj/{name}")).collect();
        let files = std::fs::read_dir(folder.join("obj")).unwrap().map(|entry| entry.unwrap().file_name());
        let mut files: Vec<String> = files.map(|name| format!("obj/{}", name.to_string_lossy())).collect();
        listed.sort_unstable();
        sources.sort();
        files.sort();
        assert_eq!(listed, sources);
        assert_eq!(listed, files);
    }
}
