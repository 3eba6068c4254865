//! Dialect `kconfig`: the one map of all `extern ... __kconfig` variables. It has no section, only symbols that are not
//! there; the loader fills it from the kernel's configuration. libbpf: `bpf_object__init_kconfig_map`.

use super::Declared;
use super::data::{MMAPABLE, RDONLY_PROG, array};
use crate::{Contents, Dialect, Extern, ExternKind, MapSpec, ParseOptions, Place};
use indexmap::IndexMap;
use onebpf_btf::{Btf, Kind};

/// Name of the section in BTF.
pub(super) const SECTION: &str = ".kconfig";

/// The map, if there is such a variable.
pub(super) fn map(
    btf: Option<&Btf>,
    options: &ParseOptions,
    externs: &IndexMap<String, Extern>,
) -> Option<Declared> {
    let end = |found: &Extern| match found.kind {
        ExternKind::Kconfig { offset, size } => Some(offset.saturating_add(size)),
        _ => None,
    };
    let size = externs.values().filter_map(end).max()?;
    let datasec = btf.and_then(|btf| btf.find(SECTION, Kind::Datasec));
    let spec = MapSpec {
        dialect: Dialect::Kconfig,
        flags: RDONLY_PROG | MMAPABLE,
        contents: Contents::Data(vec![0; size as usize]),
        read_only: true,
        place: Place { section: Some(SECTION.to_owned()), ..Place::default() },
        ..array(&options.name, SECTION, size, datasec)
    };
    Some(Declared { spec, section: 0, offset: 0, pointers: Vec::new() })
}
