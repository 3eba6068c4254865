//! Where a map or program is pinned: scope, layout, options. Pure: nothing is looked at here.

use super::programs::{select, typed};
use crate::Spec;
use crate::error::{Code, Error, Result};
use crate::facts::{Facts, Iproute2Facts, Sibling};
use crate::options::{Options, PinLayout};
use onebpf_object::{Dialect, MapSpec, Pinning, ProgramSpec, ProgramType};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// Where libbpf pins by name, and where iproute2's tree begins.
pub(super) const DEFAULT_ROOT: &str = "/sys/fs/bpf";

/// Where a map's pin is, and what the caller expects there.
pub(super) struct PinAt {
    pub(super) path: PathBuf,
    pub(super) rule: PinRule,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PinRule {
    /// Take the map that is there, or put a new one there.
    Share,
    /// Take the map that is there; it has to be there.
    Take,
    /// Put a new one there; nothing may be there.
    Put,
}

/// Every path that a load of `spec` may look at or pin to: what [`observe`](crate::observe) looks at. Of `facts`, only
/// [`Facts::iproute2`] counts.
pub fn pin_paths(spec: &Spec, options: &Options, facts: &Facts) -> BTreeSet<PathBuf> {
    // A map whose pin cannot be worked out has none to look at; `plan` says why if the map is needed.
    let maps = spec
        .maps
        .iter()
        .filter_map(|(name, map)| Where::new(spec, options, facts).map(name, map).ok().flatten());
    let maps = maps.map(|pin| pin.path);
    let programs = spec.programs.values().filter_map(|program| program_pin(program, options).ok().flatten());
    let tables = spec.tables().filter(|_| options.register);
    let links = tables.filter_map(|(name, _)| link_pin(name, options).ok().flatten());
    maps.chain(programs).chain(links).collect()
}

/// Whether the plan depends on iproute2's part of the host; true in it: also on its database of numbers.
pub(crate) fn needs_iproute2(spec: &Spec, options: &Options) -> Option<bool> {
    let pins = &options.pins;
    if pins.disabled {
        return None;
    }
    let in_it = |(name, map): (&String, &MapSpec)| {
        let decided = pins.paths.contains_key(name) || options.reuse.contains_key(name);
        let pinned = map.pinning != Pinning::None && !decided;
        (pinned && layout(map, options) == PinLayout::Iproute2)
            .then_some(matches!(map.pinning, Pinning::Custom(_)))
    };
    let found = spec.maps.iter().filter_map(in_it).max();
    found.or_else(|| (pins.layout == Some(PinLayout::Iproute2)).then_some(false))
}

/// The one BPF filesystem to use for iproute2's layout, if the caller names one.
pub(crate) fn iproute2_mount(options: &Options) -> Option<&Path> {
    options.pins.root.as_deref().or(options.pins.iproute2_mount.as_deref())
}

/// Where iproute2 keeps what these programs pin: `xdp` and `ip` are links to `tc`, unless somebody has made them
/// directories.
fn work_dir(spec: &Spec, options: &Options, facts: &Iproute2Facts) -> PathBuf {
    let main = select(spec, options).ok().and_then(|programs| typed(spec, programs.first()?, options));
    let sibling = match main.map(|(kind, _)| kind) {
        Some(ProgramType::XDP) => "xdp",
        Some(
            ProgramType::LWT_IN | ProgramType::LWT_OUT | ProgramType::LWT_XMIT | ProgramType::LWT_SEG6LOCAL,
        ) => "ip",
        _ => "tc",
    };
    let own = facts.siblings.get(sibling) == Some(&Sibling::Own);
    facts.mount.join(if own { sibling } else { "tc" })
}

pub(super) fn layout(map: &MapSpec, options: &Options) -> PinLayout {
    options.pins.layout.unwrap_or(match map.dialect {
        Dialect::BpfElfMap => PinLayout::Iproute2,
        _ => PinLayout::Libbpf,
    })
}

/// All that decides where a map of an object goes.
pub(super) struct Where<'a> {
    spec: &'a Spec,
    options: &'a Options,
    facts: &'a Facts,
}

impl<'a> Where<'a> {
    pub(super) fn new(spec: &'a Spec, options: &'a Options, facts: &'a Facts) -> Self {
        Self { spec, options, facts }
    }

    /// Where the object and the options want a map to be; `name` is its key in the object.
    pub(super) fn map(&self, name: &str, map: &MapSpec) -> Result<Option<PinAt>> {
        let Options { reuse, pins, .. } = self.options;
        let at = |path: PathBuf, rule| Ok(Some(PinAt { path, rule }));
        if let Some(path) = reuse.get(name) {
            return at(path.clone(), PinRule::Take);
        }
        if pins.disabled {
            return Ok(None);
        }
        if let Some(path) = pins.paths.get(name) {
            return at(path.clone(), PinRule::Share);
        }
        if let Some(dir) = self.scope(map)? {
            return at(dir.join(file_name(map)?), PinRule::Share);
        }
        let Some(dir) = &pins.everything_under else { return Ok(None) };
        at(dir.join(file_name(map)?), PinRule::Put)
    }

    /// The number of a pinning that nothing explains.
    pub(super) fn unknown_number(&self, map: &MapSpec) -> Option<u32> {
        match map.pinning {
            Pinning::Custom(number) if layout(map, self.options) == PinLayout::Iproute2 => {
                self.iproute2().is_none_or(|facts| !facts.database.contains_key(&number)).then_some(number)
            }
            _ => None,
        }
    }

    /// The directory of a map that the object itself wants pinned.
    fn scope(&self, map: &MapSpec) -> Result<Option<PathBuf>> {
        let refuse = |what: &str| {
            let error = Error::new(Code::PinScope, format!("map `{}` {what}", map.name)).at(&map.place);
            Err(error.hint("load with `--no-pin`, or say where with `--pin-map NAME=PATH`"))
        };
        let root = match layout(map, self.options) {
            PinLayout::Libbpf => self.options.pins.root.clone().unwrap_or_else(|| DEFAULT_ROOT.into()),
            PinLayout::Iproute2 => match self.iproute2() {
                Some(facts) => work_dir(self.spec, self.options, facts),
                None => iproute2_mount(self.options).unwrap_or(Path::new(DEFAULT_ROOT)).join("tc"),
            },
        };
        let shared = layout(map, self.options) == PinLayout::Iproute2;
        match map.pinning {
            Pinning::None => Ok(None),
            Pinning::ByName | Pinning::Global if shared => Ok(Some(root.join("globals"))),
            Pinning::ByName | Pinning::Global => Ok(Some(root)),
            Pinning::Object => match &self.spec.file_hash {
                Some(hash) => Ok(Some(root.join(hex(hash)))),
                None => refuse("is pinned for one object file, but the file's hash is not known"),
            },
            Pinning::Custom(number) if shared => {
                let Some(facts) = self.iproute2() else { return Ok(None) };
                let Some(dir) = facts.database.get(&number) else { return Ok(None) };
                let dir = Path::new(dir.trim_start_matches('/'));
                if dir.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
                    return refuse(&format!(
                        "has pinning {number}, whose directory `{}` leads elsewhere",
                        dir.display()
                    ));
                }
                Ok(Some(facts.mount.join(dir)))
            }
            Pinning::Custom(number) => {
                refuse(&format!("has pinning {number}, which only iproute2's layout explains"))
            }
        }
    }

    fn iproute2(&self) -> Option<&'a Iproute2Facts> {
        self.facts.iproute2.as_ref()
    }
}

/// Where the options want a program to be.
pub(super) fn program_pin(program: &ProgramSpec, options: &Options) -> Result<Option<PathBuf>> {
    match &options.pins.everything_under {
        Some(dir) if !options.pins.disabled => {
            let name = legal(&program.name).ok_or_else(|| {
                let text = format!("program `{}` cannot be pinned under its name", program.name);
                Error::new(Code::PinScope, text)
            })?;
            Ok(Some(dir.join(name)))
        }
        _ => Ok(None),
    }
}

/// Where the options want the link of a struct_ops table to be: beside its map.
pub(super) fn link_pin(table: &str, options: &Options) -> Result<Option<PathBuf>> {
    let Some(dir) = options.pins.everything_under.as_ref().filter(|_| !options.pins.disabled) else {
        return Ok(None);
    };
    let name = legal(table).ok_or_else(|| {
        Error::new(Code::PinScope, format!("the link of `{table}` cannot be pinned under its name"))
    })?;
    Ok(Some(dir.join(format!("{name}_link"))))
}

/// Two maps must not be one pin: `a.b` and `a_b` would be.
pub(super) fn check_distinct(pins: &BTreeMap<PathBuf, Vec<&str>>) -> Result<()> {
    let Some((path, names)) = pins.iter().find(|(_, names)| names.len() > 1) else { return Ok(()) };
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let text = format!("maps {} would both be {}", names.join(" and "), path.display());
    Err(Error::new(Code::PinPath, text).hint("pin one of them elsewhere: `--pin-map NAME=PATH`"))
}

/// A map's name as a file name: it comes from the object, and must not lead elsewhere.
fn file_name(map: &MapSpec) -> Result<String> {
    legal(&map.name).ok_or_else(|| {
        Error::new(Code::PinScope, format!("map `{}` cannot be pinned under its name", map.name))
            .at(&map.place)
    })
}

/// bpffs takes no dot in a name; libbpf's `bpf_object__pin_maps()` writes an underscore, and so does this.
fn legal(name: &str) -> Option<String> {
    let dots = name.bytes().all(|byte| byte == b'.');
    (!dots && !name.contains(['/', '\0'])).then(|| name.replace('.', "_"))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}
