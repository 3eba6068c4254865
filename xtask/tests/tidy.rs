//! Rules of the house that no reviewer should have to check. ARCHITECTURE.md says them in prose.
#![forbid(unsafe_code)]

mod source;

use source::{Source, crates, root, sources};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Lines in a file and in a function: DESIGN.md's aim. What may be longer stands below, and why.
const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 80;
const LONGER: &[(&str, &str)] = &[];

/// Where `unsafe` may live: the bpf(2) island, and the oracle's bindings to libbpf and its clock around bpf(2) (unpublished).
const UNSAFE: &[&str] = &["crates/sys/src/linux/", "oracle/src/libbpf", "oracle/src/bin/bench/syscalls.rs"];

/// Which workspace crates a crate may depend on: data flows one way.
const DEPENDS: &[(&str, &[&str])] = &[
    ("crates/btf", &[]),
    ("crates/object", &["onebpf-btf"]),
    ("crates/sys", &[]),
    ("crates/fake", &["onebpf-sys"]),
    ("crates/onebpf", &["onebpf-btf", "onebpf-object", "onebpf-sys"]),
    ("crates/cli", &["onebpf", "onebpf-btf", "onebpf-object", "onebpf-sys"]),
];

/// Words that a pure crate or module does not say.
const SILENT: &[(&str, &[&str])] = &[
    ("crates/btf/src/", &["fs", "env", "Instant", "SystemTime", "println", "eprintln", "object", "elf"]),
    ("crates/object/src/", &["fs", "env", "Instant", "SystemTime", "println", "eprintln", "onebpf_sys"]),
    (
        "crates/onebpf/src/plan",
        &["fs", "env", "Instant", "SystemTime", "Kernel", "Linux", "observe", "apply", "println"],
    ),
];

/// The map dialects: siblings that do not see each other.
const DIALECTS: &[&str] = &["btf", "btf_values", "bpf_map_def", "bpf_elf_map", "data", "struct_ops"];

#[test]
fn files_and_functions_are_short() {
    let mut long = Vec::new();
    for source in sources() {
        if LONGER.iter().any(|(path, _)| *path == source.path) {
            continue;
        }
        let lines = source.text.lines().count();
        if lines > FILE_LINES {
            long.push(format!("{}: {lines} lines", source.path));
        }
        for (name, line, length) in source.functions() {
            if length > FUNCTION_LINES {
                long.push(format!("{}:{line}: fn {name} has {length} lines", source.path));
            }
        }
    }
    assert!(long.is_empty(), "look for the missing idea:\n{}", long.join("\n"));
}

#[test]
fn exceptions_are_still_needed() {
    for (path, why) in LONGER {
        let source = Source::read(path);
        let long = source.text.lines().count() > FILE_LINES
            || source.functions().iter().any(|(_, _, length)| *length > FUNCTION_LINES);
        assert!(long && !why.is_empty(), "{path} needs no exception");
    }
}

#[test]
fn unsafe_stays_on_its_island() {
    for source in sources() {
        let allowed = UNSAFE.iter().any(|prefix| source.path.starts_with(prefix));
        assert!(allowed || !source.words().contains("unsafe"), "{}: unsafe outside {UNSAFE:?}", source.path);
    }
}

#[test]
fn every_crate_forbids_unsafe() {
    for krate in crates() {
        for entry in ["src/lib.rs", "src/main.rs"] {
            let path = format!("{krate}/{entry}");
            if !root().join(&path).exists() || krate == "oracle" {
                continue;
            }
            let wanted =
                if krate == "crates/sys" { "#![deny(unsafe_code)]" } else { "#![forbid(unsafe_code)]" };
            assert!(Source::read(&path).text.contains(wanted), "{path} lacks {wanted}");
        }
    }
}

#[test]
fn crates_depend_one_way() {
    for (krate, allowed) in DEPENDS {
        let manifest = fs::read_to_string(root().join(krate).join("Cargo.toml")).expect("manifest");
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or("");
        let dependencies = dependencies.split("\n[").next().unwrap_or("");
        for line in dependencies.lines() {
            let name = line.split(['.', ' ', '=']).next().unwrap_or("");
            let ours = name.starts_with("onebpf") || name == "testing";
            assert!(!ours || allowed.contains(&name), "{krate} must not depend on {name}");
        }
    }
}

#[test]
fn private_places_come_from_one_hand() {
    let strays = sources().into_iter().filter(|source| {
        source.path.starts_with("crates/") && source.text.contains("Command::new(\"unshare\")")
    });
    let strays: Vec<String> = strays.map(|source| source.path).collect();
    assert!(strays.is_empty(), "tests run in `testing::in_private` or `testing::private_shell`: {strays:?}");
}

#[test]
fn pure_code_knows_no_host() {
    for source in sources() {
        for (prefix, words) in SILENT.iter().filter(|(prefix, _)| source.path.starts_with(prefix)) {
            let said = source.imported();
            for word in *words {
                assert!(!said.contains(*word), "{}: {prefix} is pure and does not use `{word}`", source.path);
            }
        }
    }
}

#[test]
fn modules_import_without_cycles() {
    let cycles: Vec<String> = crates()
        .iter()
        .filter(|krate| *krate != "oracle")
        .filter_map(|krate| {
            Some(format!("{krate}: {}", find_cycle(&source::module_graph(krate))?.join(" -> ")))
        })
        .collect();
    assert!(cycles.is_empty(), "modules import each other:\n{}", cycles.join("\n"));
}

#[test]
fn dialects_are_siblings() {
    for dialect in DIALECTS {
        let source = Source::read(&format!("crates/object/src/maps/{dialect}.rs"));
        let functions: BTreeSet<String> = source.functions().into_iter().map(|(name, ..)| name).collect();
        assert!(functions.contains("claims") && functions.contains("maps"), "{dialect}: claims and maps");
        for other in DIALECTS.iter().filter(|other| *other != dialect) {
            let seen = source.text.contains(&format!("super::{other}::"))
                || source.text.contains(&format!("maps::{other}::"));
            assert!(!seen, "{dialect} sees {other}");
        }
    }
}

#[test]
fn architecture_names_what_exists() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    assert!(text.lines().count() <= 150, "ARCHITECTURE.md: 150 lines at most");
    for name in text.split('`').skip(1).step_by(2) {
        let is_path = name.contains('/') && !name.contains([' ', '<', '*', '$']) && !name.starts_with('/');
        assert!(!is_path || root().join(name).exists(), "ARCHITECTURE.md names {name}, which does not exist");
    }
    for krate in crates() {
        assert!(text.contains(&format!("`{krate}")), "ARCHITECTURE.md does not name {krate}");
    }
}

#[test]
fn every_error_code_is_explained_and_triggered() {
    let codes = source::error_codes();
    let pages: BTreeSet<String> = fs::read_dir(root().join("docs/errors"))
        .expect("docs/errors")
        .filter_map(|entry| {
            entry.ok()?.file_name().into_string().ok()?.strip_suffix(".md").map(str::to_owned)
        })
        .filter(|name| source::is_code(name))
        .collect();
    let listed: BTreeSet<String> = codes.keys().cloned().collect();
    assert_eq!(listed, pages, "docs/errors has a page for each code, and no other");
    let tests = source::test_text();
    let silent: Vec<_> = codes.iter().filter(|(code, _)| !tests.contains(code.as_str())).collect();
    assert!(silent.is_empty(), "no test or fixture triggers {silent:?}");
}

#[test]
fn changelog_names_this_version() {
    let text = fs::read_to_string(root().join("CHANGELOG.md")).expect("CHANGELOG.md");
    assert!(
        text.contains(env!("CARGO_PKG_VERSION")),
        "CHANGELOG.md has no entry for {}",
        env!("CARGO_PKG_VERSION")
    );
}

fn find_cycle(graph: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn walk(
        node: &str,
        graph: &BTreeMap<String, BTreeSet<String>>,
        path: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> bool {
        if let Some(start) = path.iter().position(|on_path| on_path == node) {
            path.drain(..start);
            path.push(node.to_owned());
            return true;
        }
        if done.contains(node) {
            return false;
        }
        path.push(node.to_owned());
        for next in graph.get(node).into_iter().flatten() {
            if walk(next, graph, path, done) {
                return true;
            }
        }
        path.pop();
        done.insert(node.to_owned());
        false
    }
    let mut done = BTreeSet::new();
    graph.keys().find_map(|node| {
        let mut path = Vec::new();
        walk(node, graph, &mut path, &mut done).then_some(path)
    })
}
