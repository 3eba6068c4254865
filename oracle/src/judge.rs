//! One object under libbpf, as one JSON document. Runs in a process and a mount namespace of its own (see
//! [`crate::run::libbpf`]), for libbpf may crash on what it is given, and pins what the object asks to pin.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use object::elf::R_BPF_64_32;
use object::{Object as _, ObjectSection as _, ObjectSymbol, RelocationFlags, RelocationTarget};
use serde_json::{Value, json};

use crate::libbpf::{self, Btf, Keep, Object};
use crate::log::Facts;
use crate::{inspect, lines, relocate};

/// `{"open": {"errno", "warnings"}, "inspect": {...}, "relocate": {"programs", "refused"}, "lines", "kernel"}`.
/// `errno` is null when the object opened. `kernel` says that relocation depends on it: CO-RE records or kfuncs. With
/// `load` false, nothing is asked of the kernel.
pub fn judge(path: &Path, load: bool) -> Value {
    libbpf::keep_log(Keep::Everything);
    libbpf::take_log();
    let opened = Object::open(path);
    let facts = Facts::read(&libbpf::take_log());
    let needs = Needs::of(path);
    let kernel = needs.core > 0 || needs.kfuncs > 0;
    let object = match opened {
        Ok(object) => object,
        Err(errno) => {
            let open = json!({ "errno": errno.0, "warnings": facts.warnings });
            return json!({ "open": open, "kernel": kernel });
        }
    };
    let mut held = inspect::inspect(&object, &facts);
    held["license"] = json!(facts.license);
    held["externs"] = needs.externs(path, &facts);
    drop(object);
    let relocated = if load { relocate::relocate(path).ok() } else { None };
    json!({
        "open": { "errno": null, "warnings": facts.warnings },
        "inspect": held,
        "relocate": relocated.map(|it| json!({ "programs": it.programs, "refused": it.refused })),
        "lines": if load { lines::by_libbpf(path) } else { None },
                "kernel": kernel,
        "core": needs.core > 0,
    })
}

/// [`inspect::load_flags`] as JSON: a list, or null.
pub fn flags(path: &Path) -> Value {
    libbpf::keep_log(Keep::Everything);
    json!(inspect::load_flags(path))
}

/// `BTF_KIND_FUNC`.
const KIND_FUNC: u32 = 12;

/// What the file itself says and libbpf does not tell.
#[derive(Default)]
struct Needs {
    /// Bytes of CO-RE records in `.BTF.ext`.
    core: u32,
    /// Calls to functions that the object does not hold.
    kfuncs: usize,
    /// Weak symbols without a definition.
    weak: BTreeSet<String>,
}

impl Needs {
    fn of(path: &Path) -> Self {
        let Ok(data) = std::fs::read(path) else { return Self::default() };
        let Ok(file) = object::File::parse(&*data) else { return Self::default() };

        let calls =
            file.sections().flat_map(|section| section.relocations()).filter_map(|(_, relocation)| {
                let RelocationFlags::Elf { r_type: R_BPF_64_32 } = relocation.flags() else { return None };
                let RelocationTarget::Symbol(index) = relocation.target() else { return None };
                file.symbol_by_index(index).ok().filter(ObjectSymbol::is_undefined)
            });
        let kfuncs = calls.count();
        let weak = file.symbols().filter(|it| it.is_undefined() && it.is_weak());
        let weak = weak.map(|it| it.name().unwrap_or_default().to_owned()).collect();
        Self { core: core_bytes(&file), kfuncs, weak }
    }

    /// Sorted by name; libbpf sorts them in an order of its own.
    fn externs(&self, path: &Path, facts: &Facts) -> Value {
        let kconfig = facts.kconfig.keys().map(|name| (name, "kconfig"));
        let btf = Btf::parse(path).ok();
        let is_function = |name: &str| btf.as_ref().is_some_and(|btf| btf.find(name, KIND_FUNC).is_some());
        let ksyms = facts.ksyms.iter().map(|name| (name, if is_function(name) { "kfunc" } else { "ksym" }));
        let all: BTreeMap<&String, &str> = kconfig.chain(ksyms).collect();
        let describe = |(name, kind)| json!({ "name": name, "kind": kind, "weak": self.weak.contains(name) });
        all.into_iter().map(describe).collect()
    }
}

/// `struct btf_ext_header`: hdr_len at 4, core_relo_len at 28 where the header is long enough.
fn core_bytes(file: &object::File<'_>) -> u32 {
    let ext = file.section_by_name(".BTF.ext").and_then(|section| section.data().ok()).unwrap_or_default();
    let word = |at: usize| -> u32 {
        let bytes = ext.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        if file.is_little_endian() { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }
    };
    if word(4) >= 32 { word(28) } else { 0 }
}
