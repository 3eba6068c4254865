//! What is pinned where, and whether a pinned map is what the object declares.

use super::draft::Draft;
use super::{Change, CreateMap, FieldDiff, Object, PinDiff, Step};
use crate::Spec;
use crate::error::{Code, Error, Result};
use crate::facts::{Dir, Pinned};
use crate::options::{Mismatch, Options, PinLayout};
use onebpf_object::{Dialect, MapSpec, MapType, Pinning, ProgramSpec};
use onebpf_sys::MapInfo;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Where libbpf pins by name, and where iproute2's tree begins.
const DEFAULT_ROOT: &str = "/sys/fs/bpf";
const BPF_F_NUMA_NODE: u32 = 1 << 2;
const BPF_F_RDONLY_PROG: u32 = 1 << 7;

/// Where a map's pin is, and what the caller expects there.
pub(super) struct PinAt {
    pub(super) path: PathBuf,
    pub(super) rule: PinRule,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PinRule {
    /// Take the map that is there, or put a new one there.
    Share,
    /// Take the map that is there; it has to be there.
    Take,
    /// Put a new one there; nothing may be there.
    Put,
}

/// Every path that a load of `spec` may look at or pin to: what [`observe`](crate::observe) looks at.
pub fn pin_paths(spec: &Spec, options: &Options) -> BTreeSet<PathBuf> {
    // A map whose pin cannot be worked out has none to look at; `plan` says why if the map is needed.
    let maps = spec.maps.iter().filter_map(|(name, map)| map_pin(name, map, options).ok().flatten());
    let maps = maps.map(|pin| pin.path);
    let programs = spec.programs.values().filter_map(|program| program_pin(program, options).ok().flatten());
    maps.chain(programs).collect()
}

/// How a pinned map differs from the one that would be created in its place; empty if it can be used.
///
/// What libbpf's `map_is_reuse_compat()` compares, after the same normalisation that creation uses. The kernel
/// itself adds BPF_F_RDONLY_PROG to device maps (`dev_map_init_map()`, Linux 4.14).
pub fn compare(wanted: &CreateMap, pinned: &MapInfo) -> Vec<FieldDiff> {
    let kind = MapType(pinned.map_type);
    let device = matches!(kind.name(), Some("devmap" | "devmap_hash"));
    let ignored = if device { BPF_F_RDONLY_PROG } else { 0 };
    let numa = if wanted.numa_node.is_some() { BPF_F_NUMA_NODE } else { 0 };
    let rows: [(&'static str, String, String); 6] = [
        ("type", kind.to_string(), MapType(wanted.map_type).to_string()),
        ("key_size", pinned.key_size.to_string(), wanted.key_size.to_string()),
        ("value_size", pinned.value_size.to_string(), wanted.value_size.to_string()),
        ("max_entries", pinned.max_entries.to_string(), wanted.max_entries.to_string()),
        ("map_flags", hex(pinned.flags & !ignored), hex((wanted.flags | numa) & !ignored)),
        ("map_extra", pinned.extra.to_string(), wanted.extra.to_string()),
    ];
    let differs = |(_, pinned, wanted): &(_, String, String)| pinned != wanted;
    rows.into_iter()
        .filter(differs)
        .map(|(field, pinned, wanted)| FieldDiff { field, pinned, wanted })
        .collect()
}

/// The error for a pinned map that differs.
pub(crate) fn mismatch(code: Code, wanted: &CreateMap, path: &Path, fields: &[FieldDiff]) -> Error {
    let text = format!("map `{}`: {} holds a different map", wanted.name, path.display());
    let mut error = Error::new(code, text).at(&wanted.place);
    for FieldDiff { field, pinned, wanted } in fields {
        error = error.note(format!("{field}: pinned {pinned}, the object declares {wanted}"));
    }
    error.hint(format!(
        "remove the pin (`rm {}`) if nothing needs the old map, or pin elsewhere",
        path.display()
    ))
}

/// Where the object and the options want a map to be. `name` is what the object calls it; its pin has the name that
/// the kernel is given, which may have been edited.
pub(super) fn map_pin(name: &str, map: &MapSpec, options: &Options) -> Result<Option<PinAt>> {
    if let Some(path) = options.reuse.get(name) {
        return Ok(Some(PinAt { path: path.clone(), rule: PinRule::Take }));
    }
    if options.pins.disabled {
        return Ok(None);
    }
    if let Some(path) = shared_path(map, options)? {
        return Ok(Some(PinAt { path, rule: PinRule::Share }));
    }
    let Some(dir) = &options.pins.everything_under else { return Ok(None) };
    // bpffs takes no dot in a name; libbpf's bpf_object__pin_maps() writes an underscore, and so does this.
    let path = dir.join(file_name(map, &map.name.replace('.', "_"))?);
    Ok(Some(PinAt { path, rule: PinRule::Put }))
}

/// Where the options want a program to be.
pub(super) fn program_pin(program: &ProgramSpec, options: &Options) -> Result<Option<PathBuf>> {
    match &options.pins.everything_under {
        Some(dir) if !options.pins.disabled => {
            let name = program.name.replace('.', "_");
            if !is_file_name(&name) {
                let text = format!("program `{}` cannot be pinned under its name", program.name);
                return Err(Error::new(Code::PinScope, text));
            }
            Ok(Some(dir.join(name)))
        }
        _ => Ok(None),
    }
}

/// The path of a map that the object itself wants pinned.
fn shared_path(map: &MapSpec, options: &Options) -> Result<Option<PathBuf>> {
    let scope = match map.pinning {
        Pinning::None => return Ok(None),
        Pinning::ByName | Pinning::Global => map.pinning,
        Pinning::Object | Pinning::Custom(_) => {
            let text = format!(
                "map `{}`: pinning for one object or in a custom namespace is not built in yet",
                map.name
            );
            let error = Error::new(Code::PinScope, text).at(&map.place);
            return Err(error.hint("load with `--no-pin`, or pin it with `--pin DIR`"));
        }
    };
    let layout = options.pins.layout.unwrap_or(match (scope, map.dialect) {
        (Pinning::Global, Dialect::BpfElfMap) => PinLayout::Iproute2,
        _ => PinLayout::Libbpf,
    });
    let root = options.pins.root.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_ROOT));
    let dir = match layout {
        PinLayout::Libbpf => root,
        PinLayout::Iproute2 => root.join("tc/globals"),
    };
    Ok(Some(dir.join(file_name(map, &map.name)?)))
}

/// A map's name as a file name: it comes from the object, and must not lead elsewhere.
fn file_name(map: &MapSpec, name: &str) -> Result<String> {
    if is_file_name(name) {
        return Ok(name.to_owned());
    }
    Err(Error::new(Code::PinScope, format!("map `{}` cannot be pinned under its name", map.name))
        .at(&map.place))
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

/// Decides between the pinned map and a new one: true if the pinned one is to be opened.
pub(super) fn decide(draft: &mut Draft<'_>, wanted: &CreateMap, pin: &PinAt) -> Result<bool> {
    let path = &pin.path;
    let refuse = |what: &str| {
        let text = format!("map `{}`: {} {what}", wanted.name, path.display());
        Err(Error::new(Code::PinPath, text).at(&wanted.place))
    };
    let found = draft.facts.pins.get(path).unwrap_or(&Pinned::Absent);
    let change = match (found, pin.rule) {
        (Pinned::Absent, PinRule::Take) => return refuse("is to be reused, but there is nothing"),
        (Pinned::Absent, _) => Change::Create,
        (Pinned::Other(kind), _) => return refuse(&format!("is not a map but a {}", kind_name(*kind))),
        (Pinned::Unreadable(errno), _) => return refuse(&format!("cannot be looked at: {errno}")),
        (Pinned::Map(_), PinRule::Put) => return refuse("is there already"),
        (Pinned::Map(info), _) => match compare(wanted, info) {
            fields if fields.is_empty() => Change::Reuse,
            fields => Change::Conflict(fields),
        },
    };
    if let Change::Conflict(fields) = &change {
        let error = mismatch(Code::PinMismatch, wanted, path, fields);
        return Err(match draft.options.pins.on_mismatch {
            Mismatch::Fail => error,
            Mismatch::Replace | Mismatch::Migrate => error.note("replacing a pinned map is not built in yet"),
        });
    }
    let reuse = change == Change::Reuse;
    draft.plan.diff.push(PinDiff { map: wanted.name.clone(), path: path.clone(), change });
    Ok(reuse)
}

fn kind_name(kind: onebpf_sys::ObjectKind) -> &'static str {
    match kind {
        onebpf_sys::ObjectKind::Map => "map",
        onebpf_sys::ObjectKind::Program => "program",
        onebpf_sys::ObjectKind::Link => "link",
        onebpf_sys::ObjectKind::Btf => "BTF object",
    }
}

/// Directories and pins, last of all: what is pinned is complete.
pub(super) fn steps(draft: &mut Draft<'_>) -> Result<()> {
    let mut wanted = Vec::new();
    for name in draft.spec.maps.keys() {
        let Some(map) = draft.maps.get(name) else { continue };
        let Some(path) = &map.pin else { continue };
        wanted.push((Object::Map(map.slot), name.clone(), path.clone()));
    }
    for (name, program) in &draft.spec.programs {
        let Some(slot) = draft.programs.get(name) else { continue };
        let Some(path) = program_pin(program, draft.options)? else { continue };
        match draft.facts.pins.get(&path) {
            None | Some(Pinned::Absent) => wanted.push((Object::Program(*slot), name.clone(), path)),
            Some(_) => {
                let text = format!("program `{name}`: {} is there already", path.display());
                return Err(Error::new(Code::PinPath, text));
            }
        }
    }
    let mut made = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for (object, name, path) in wanted {
        if !taken.insert(path.clone()) {
            let text = format!("`{name}`: {} would be pinned twice", path.display());
            return Err(Error::new(Code::PinPath, text));
        }
        directories(draft, &path, &mut made)?;
        draft.push(Step::Pin { object, name, path });
    }
    Ok(())
}

/// Adds the directories above `path` that are not there, outermost first.
fn directories(draft: &mut Draft<'_>, path: &Path, made: &mut BTreeSet<PathBuf>) -> Result<()> {
    let mut missing = Vec::new();
    for dir in path.ancestors().skip(1) {
        match draft.facts.dirs.get(dir) {
            Some(Dir::Absent) => missing.push(dir.to_owned()),
            Some(Dir::Foreign) => return Err(not_bpffs(path, dir)),
            Some(Dir::Unreadable(errno)) => {
                let text = format!("{} cannot be looked at: {errno}", dir.display());
                return Err(Error::new(Code::PinPath, text));
            }
            // Facts of another moment or machine may not speak of it: the kernel will.
            Some(Dir::Bpffs) | None => break,
        }
    }
    for dir in missing.into_iter().rev() {
        if made.insert(dir.clone()) {
            draft.push(Step::MakeDir { path: dir });
        }
    }
    Ok(())
}

fn not_bpffs(path: &Path, dir: &Path) -> Error {
    let text = format!("{} cannot be pinned: {} is not on a BPF filesystem", path.display(), dir.display());
    Error::new(Code::PinPath, text).hint(format!("mount one: `mount -t bpf bpf {}`", root_for(dir)))
}

/// Where a BPF filesystem would be mounted for a pin below `dir`.
fn root_for(dir: &Path) -> String {
    let usual = Path::new(DEFAULT_ROOT);
    if usual.starts_with(dir) || dir.starts_with(usual) {
        DEFAULT_ROOT.to_owned()
    } else {
        dir.display().to_string()
    }
}

fn hex(flags: u32) -> String {
    format!("{flags:#x}")
}
