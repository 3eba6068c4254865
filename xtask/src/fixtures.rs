//! `fixtures`: the BPF objects that every test reads, compiled from `fixtures/src` and committed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::manifest::{self, After, Build, Fixture};
use crate::need::{self, CLANG, Need, STRIP};
use crate::{Outcome, run};

/// Builds all fixtures, or with `--check` compares what the compiler gives today with what is committed.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let check = match arguments {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => return Err("usage: fixtures [--check]".into()),
    };
    need::ensure(&[Need::Compiler])?;
    let folder = run::root().join("fixtures");
    let made = build_all(&folder)?;
    if check { compare(&folder, &made) } else { write(&folder, &made) }
}

/// Everything that the sources give: the manifest, and the bytes of each object.
struct Made {
    manifest: Value,
    objects: Vec<(String, Vec<u8>)>,
}

fn build_all(folder: &Path) -> Result<Made, String> {
    let scratch = std::env::temp_dir().join(format!("onebpf-fixtures-{}", std::process::id()));
    fs::create_dir_all(&scratch).map_err(|error| format!("{}: {error}", scratch.display()))?;
    let made = build_into(folder, &scratch);
    // Only a temporary folder: that it stays behind is no reason to fail.
    let _ = fs::remove_dir_all(&scratch);
    made
}

fn build_into(folder: &Path, scratch: &Path) -> Result<Made, String> {
    let (mut rows, mut objects) = (Vec::new(), Vec::new());
    for fixture in manifest::read(&folder.join("src"))? {
        for (object, build) in fixture.objects() {
            let bytes = compile(folder, &fixture, build, &scratch.join(&object))?;
            rows.push(fixture.row(&object, build, &sha256(&bytes)));
            objects.push((object, bytes));
        }
    }
    Ok(Made { manifest: json!({"compiler": compiler()?, "fixtures": rows}), objects })
}

/// Compiles in `fixtures/` with relative paths, so that the line info says the same on every machine.
fn compile(folder: &Path, fixture: &Fixture, build: &Build, output: &Path) -> Result<Vec<u8>, String> {
    let source = format!("src/{}.bpf.c", fixture.name);
    let mut clang = run::command(CLANG, ["-O2", "-Wall", "-Iinclude", "-fdebug-compilation-dir=.", "-c"]);
    clang.args(build.flags).arg(&source).arg("-o").arg(output);
    run::capture(clang.current_dir(folder))?;
    run::capture(run::command(STRIP, ["-g"]).arg(output))?;
    let mut bytes = fs::read(output).map_err(|error| format!("{}: {error}", output.display()))?;
    match build.after {
        After::Keep => {}
        // e_machine: two bytes at 18 of the ELF header, in either class.
        After::MachineNone => bytes.get_mut(18..20).ok_or("the compiler made no ELF file")?.fill(0),
        After::Half => bytes.truncate(bytes.len() / 2),
        After::Twin => rename(&mut bytes, *b"twin_b", *b"twin_a"),
    }
    Ok(bytes)
}

fn rename(bytes: &mut [u8], from: [u8; 6], to: [u8; 6]) {
    while let Some(at) = bytes.windows(from.len()).position(|window| window == from) {
        bytes[at..at + to.len()].copy_from_slice(&to);
    }
}

fn write(folder: &Path, made: &Made) -> Outcome {
    let target = folder.join("obj");
    let failed = |error: std::io::Error| format!("{}: {error}", target.display());
    fs::create_dir_all(&target).map_err(failed)?;
    for entry in fs::read_dir(&target).map_err(failed)?.flatten() {
        let known = made.objects.iter().any(|(name, _)| entry.file_name() == name.as_str());
        if !known {
            fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    for (name, bytes) in &made.objects {
        fs::write(target.join(name), bytes).map_err(failed)?;
    }
    let text = serde_json::to_string_pretty(&made.manifest).map_err(|error| error.to_string())?;
    fs::write(folder.join("MANIFEST.json"), text + "\n").map_err(failed)?;
    println!("{} objects written to {}", made.objects.len(), target.display());
    Ok(())
}

/// The committed objects must be what the manifest says; what the compiler makes today is compared if it is the same compiler.
fn compare(folder: &Path, made: &Made) -> Outcome {
    let path = folder.join("MANIFEST.json");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let committed: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let mut wrong = Vec::new();
    for row in committed["fixtures"].as_array().into_iter().flatten() {
        let object = row["object"].as_str().unwrap_or_default();
        let bytes = fs::read(folder.join(object)).unwrap_or_default();
        if row["sha256"] != json!(sha256(&bytes)) {
            wrong.push(format!("{object}: the file is not what MANIFEST.json says"));
        }
    }
    if committed["compiler"] != made.manifest["compiler"] {
        println!(
            "SKIPPED: rebuilding, for the objects were made by `{}` and here is `{}`",
            committed["compiler"], made.manifest["compiler"]
        );
    } else if committed != made.manifest {
        wrong.extend(differences(&committed, &made.manifest));
    }
    if wrong.is_empty() {
        println!("{} objects are as committed", made.objects.len());
        return Ok(());
    }
    Err(format!("{}\nrun `cargo xtask fixtures` and commit what changes", wrong.join("\n")))
}

fn differences(committed: &Value, made: &Value) -> Vec<String> {
    let rows = |value: &Value| value["fixtures"].as_array().cloned().unwrap_or_default();
    let (old, new) = (rows(committed), rows(made));
    let gone = old.iter().filter(|row| !new.contains(row));
    let come = new.iter().filter(|row| !old.contains(row));
    let name = |row: &Value| row["name"].as_str().unwrap_or("?").to_owned();
    gone.map(|row| format!("{}: no source makes this any more", name(row)))
        .chain(come.map(|row| format!("{}: not what is committed", name(row))))
        .collect()
}

fn compiler() -> Result<String, String> {
    let text = run::capture(&mut run::command(CLANG, ["--version"]))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
