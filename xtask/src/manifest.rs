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
    load: Option<String>,
    libbpf: Option<String>,
}

/// A way to compile a fixture.
pub(crate) struct Build {
    /// The word in the `builds:` line.
    pub(crate) name: &'static str,
    suffix: &'static str,
    /// Flags for clang.
    pub(crate) flags: &'static [&'static str],
    /// Afterwards `e_machine` is set to `EM_NONE`, as the compilers before LLVM 3.9 left it.
    pub(crate) machine_none: bool,
}

/// All ways to compile a fixture. `-mcpu=v3` is said aloud, for it is the default of some clang versions only.
const BUILDS: &[Build] = &[
    Build { name: "el", suffix: "", flags: &["-target", "bpfel", "-mcpu=v3", "-g"], machine_none: false },
    Build { name: "eb", suffix: ".eb", flags: &["-target", "bpfeb", "-mcpu=v3", "-g"], machine_none: false },
    Build { name: "nog", suffix: ".nog", flags: &["-target", "bpfel", "-mcpu=v3"], machine_none: false },
    Build { name: "v2", suffix: ".v2", flags: &["-target", "bpfel", "-mcpu=v2", "-g"], machine_none: false },
    Build { name: "v4", suffix: ".v4", flags: &["-target", "bpfel", "-mcpu=v4", "-g"], machine_none: false },
    Build {
        name: "none",
        suffix: ".none",
        flags: &["-target", "bpfel", "-mcpu=v3", "-g"],
        machine_none: true,
    },
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
            load: head("load"),
            libbpf: head("libbpf"),
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
        for (key, value) in [("load", &self.load), ("libbpf", &self.libbpf)] {
            if let Some(value) = value {
                row[key] = json!(value);
            }
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
