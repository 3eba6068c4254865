//! The types of functions and the source lines that go to the kernel with a program (`func_info`, `line_info`), after
//! subprograms were appended: from libbpf, and from onebpf's library, for the command does not print them.

use std::path::Path;

use serde_json::{Value, json};

use crate::libbpf::{Object, take_log};
use crate::relocate::{Weakened, drop_struct_ops};

/// `[{"name", "func_info": [[insn, type], ...], "line_info": [[insn, file, line, column], ...]}, ...]`, the numbers as
/// in `struct bpf_func_info` and `struct bpf_line_info`. `None` where libbpf relocates only a part of the object.
pub fn by_libbpf(path: &Path) -> Option<Value> {
    prepared(path).or_else(|| prepared(&Weakened::of(path)?.path))
}

/// No map is created, so that none can be refused: then libbpf would drop what is wanted here.
fn prepared(path: &Path) -> Option<Value> {
    let object = Object::open(path).ok()?;
    let programs = object.programs();
    for program in &programs {
        program.set_autoload(true).ok()?;
    }
    drop_struct_ops(&object).ok()?;
    for map in object.maps() {
        map.set_autocreate(false).ok()?;
    }
    let done = object.prepare();
    take_log();
    done.ok()?;
    let describe = |it: &crate::libbpf::Program<'_>| json!({ "name": it.name(), "func_info": it.func_info(), "line_info": it.line_info() });
    Some(programs.iter().map(describe).collect())
}

/// The same from onebpf's library.
pub fn by_onebpf(path: &Path) -> Result<Value, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let spec =
        onebpf_object::parse(&bytes, &onebpf_object::ParseOptions::default()).map_err(|it| it.to_string())?;
    let describe = |name: &String| {
        let linked = onebpf_object::link(&spec, name).map_err(|error| format!("{name}: {error}"))?;
        let types: Vec<_> = linked.func_info.iter().map(|it| [it.insn_off, it.type_id.0]).collect();
        let lines =
            linked.line_info.iter().map(|it| [it.insn_off, it.file_name_off, it.line_off, it.line_col]);
        Ok(json!({ "name": name, "func_info": types, "line_info": lines.collect::<Vec<_>>() }))
    };
    spec.programs.keys().map(describe).collect()
}
