//! One object under libbpf, as one JSON document. Runs in a process and a mount namespace of its own (see
//! [`crate::run::libbpf`]), for libbpf may crash on what it is given, and pins what the object asks to pin.

use std::path::Path;

use object::elf::R_BPF_64_32;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationFlags, RelocationTarget};
use serde_json::{Value, json};

use crate::libbpf::{self, Keep, Object};
use crate::log::Facts;
use crate::{inspect, relocate};

/// `{"open": {"errno", "warnings"}, "inspect": {...}, "relocate": {"programs", "refused"}, "core", "kfuncs"}`.
/// `errno` is null when the object opened. With `load` false, nothing is asked of the kernel.
pub fn judge(path: &Path, load: bool) -> Value {
    libbpf::keep_log(Keep::Everything);
    libbpf::take_log();
    let opened = Object::open(path);
    let facts = Facts::read(&libbpf::take_log());
    let (core, kfuncs) = needs(path);
    let object = match opened {
        Ok(object) => object,
        Err(errno) => {
            let open = json!({ "errno": errno.0, "warnings": facts.warnings });
            return json!({ "open": open, "core": core, "kfuncs": kfuncs });
        }
    };
    let held = inspect::inspect(&object, &facts);
    drop(object);

    let relocated = if load { relocate::relocate(path).ok() } else { None };
    json!({
        "open": { "errno": null, "warnings": facts.warnings },
        "inspect": held,
        "relocate": relocated.map(|it| json!({ "programs": it.programs, "refused": it.refused })),
        "core": core,
        "kfuncs": kfuncs,
    })
}

/// [`inspect::load_flags`] as JSON: a list, or null.
pub fn flags(path: &Path) -> Value {
    libbpf::keep_log(Keep::Everything);
    json!(inspect::load_flags(path))
}

/// Bytes of CO-RE records in `.BTF.ext`, and calls to functions that the object does not hold.
fn needs(path: &Path) -> (u32, usize) {
    let Ok(data) = std::fs::read(path) else { return (0, 0) };
    let Ok(file) = object::File::parse(&*data) else { return (0, 0) };
    let ext = file.section_by_name(".BTF.ext").and_then(|section| section.data().ok()).unwrap_or_default();
    let word = |at: usize| -> u32 {
        let bytes = ext.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        if file.is_little_endian() { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }
    };
    // struct btf_ext_header: hdr_len at 4, core_relo_len at 28 where the header is long enough.
    let core = if word(4) >= 32 { word(28) } else { 0 };
    let kfuncs = file
        .sections()
        .flat_map(|section| section.relocations())
        .filter(|(_, relocation)| matches!(relocation.flags(), RelocationFlags::Elf { r_type } if r_type == R_BPF_64_32))
        .filter(|(_, relocation)| {
            let RelocationTarget::Symbol(index) = relocation.target() else { return false };
            file.symbol_by_index(index).is_ok_and(|symbol| symbol.is_undefined())
        })
        .count();
    (core, kfuncs)
}
