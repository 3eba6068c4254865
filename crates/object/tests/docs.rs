//! Pages that are made from tables. `cargo xtask docs` writes them; here they are held against what it would write.

use onebpf_object::{SECTIONS, SectionFlags, SectionRule};
use std::fmt::Write as _;
use std::path::Path;

#[test]
fn sections() {
    let mut page = String::from(SECTIONS_HEAD);
    for rule in SECTIONS {
        let _ = writeln!(page, "{}", row(rule));
    }
    held("sections.md", &page);
}

const SECTIONS_HEAD: &str = "\
# Sections

What a program's section says of it: the table of libbpf 1.8 (`section_defs`), whole and in its order; the first row that
fits counts. This page is made from `crates/object/src/programs/sections.rs` by `cargo xtask docs`; a test in `oracle`
holds each row against `libbpf_prog_type_by_name`.

- `name` is the section's whole name. `name[/...]` may be followed by a slash and what to attach to.
- A `?` before the name: the program is not loaded unless it is asked for (`--program`, `--section`, `verify --all`).
- *sleepable*: loaded with `BPF_F_SLEEPABLE`; *frags*: with `BPF_F_XDP_HAS_FRAGS`.
- *in BTF*: what follows the slash is a function or type that is looked up in the kernel's BTF, or in that of the program
  that is replaced. It must be there.
- *optional*: kernels before 4.17 know no attach type, and load such programs without.
- *uprobe.multi*: a USDT program, attached as `uprobe.multi` where the kernel has that.
- Linux: the first release that takes such programs; `-` is later than 6.18.

Sections with other names are read, and their programs load with a type that is given: `--type`, `--section-type
NAME=TYPE`, or `ParseOptions::sections` in a program. iproute2's tail sections (`ID/INDEX`) take the type of the programs
that call them.

| section | program type | attach type | | Linux |
|---|---|---|---|---|
";

fn row(rule: &SectionRule) -> String {
    let section = match rule.pattern.strip_suffix('+') {
        Some(stem) => format!("{stem}[/...]"),
        None => rule.pattern.to_string(),
    };
    let attach = if rule.attach.0 == 0 { "-".to_owned() } else { format!("`{}`", rule.attach) };
    let flags = [
        (SectionFlags::SLEEPABLE, "sleepable"),
        (SectionFlags::XDP_FRAGS, "frags"),
        (SectionFlags::ATTACH_BTF, "in BTF"),
        (SectionFlags::ATTACH_OPTIONAL, "optional"),
        (SectionFlags::USDT, "uprobe.multi"),
    ];
    let flags: Vec<&str> =
        flags.iter().filter(|(flag, _)| rule.flags.contains(*flag)).map(|(_, word)| *word).collect();
    let since = rule.since.map_or("-".to_owned(), |(major, minor)| format!("{major}.{minor}"));
    format!("| `{section}` | `{}` | {attach} | {} | {since} |", rule.kind, flags.join(", "))
}

/// Compares a page with the file, or writes it.
fn held(name: &str, page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    if std::env::var_os("ONEBPF_WRITE_DOCS").is_some() {
        std::fs::write(&path, page).expect("docs can be written");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == page, "docs/{name} is stale: `cargo xtask docs` writes it");
}
