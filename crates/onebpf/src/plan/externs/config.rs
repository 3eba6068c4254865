//! Values of the kernel's configuration.

use super::{ExternTarget, ExternValue, Uses};
use crate::error::{Code, Error, Result};
use crate::plan::core::reached;
use crate::plan::draft::Draft;
use crate::{Facts, Options, Spec};
use onebpf_object::{ConfigType, Extern, ExternKind, Ref};
use onebpf_sys::{Feature, Support};
use std::collections::BTreeSet;

/// What observing has to find out for the values of the configuration.
#[derive(Default)]
pub(crate) struct Wanted {
    /// `CONFIG_*`.
    pub(crate) options: BTreeSet<String>,
    /// What stands behind `LINUX_HAS_*`.
    pub(crate) features: BTreeSet<Feature>,
}

/// Names that are no options of the configuration, and how their value is known.
const VIRTUAL: [(&str, Virtual); 3] = [
    ("LINUX_KERNEL_VERSION", Virtual::Version),
    ("LINUX_HAS_BPF_COOKIE", Virtual::Feature(Feature::BpfCookie)),
    ("LINUX_HAS_SYSCALL_WRAPPER", Virtual::Feature(Feature::SyscallWrapper)),
];

#[derive(Clone, Copy)]
enum Virtual {
    Version,
    Feature(Feature),
}

fn virtual_value(name: &str) -> Option<Virtual> {
    VIRTUAL.iter().find(|row| row.0 == name).map(|row| row.1)
}

/// What the load asks of the configuration; `None`: the chosen programs read no value of it. All values are in one map, so
/// that whoever reads one has all.
pub(crate) fn config_options(spec: &Spec, options: &Options) -> Result<Option<Wanted>> {
    let mut names = spec.externs.values().filter(|found| matches!(found.kind, ExternKind::Kconfig { .. }));
    let Some(first) = names.next() else { return Ok(None) };
    let reads = |reference: &Ref| matches!(reference, Ref::Kconfig(_));
    let all = options.programs.is_empty() && options.sections.is_empty();
    if !all && !reached(spec, options)?.iter().any(|function| function.refs.values().any(reads)) {
        return Ok(None);
    }
    let mut wanted = Wanted::default();
    for Extern { name, .. } in
        [first].into_iter().chain(names).filter(|it| !options.kconfig.contains_key(&it.name))
    {
        match virtual_value(name) {
            Some(Virtual::Feature(feature)) => drop(wanted.features.insert(feature)),
            None if name.starts_with("CONFIG_") => drop(wanted.options.insert(name.clone())),
            _ => {}
        }
    }
    Ok(Some(wanted))
}

/// The contents of `.kconfig`. Every value is noted in the plan.
pub(super) fn values(draft: &mut Draft<'_>, uses: &Uses<'_>) -> Result<Vec<u8>> {
    let spec = draft.spec;
    let mut data = Vec::new();
    for found in spec.externs.values() {
        let ExternKind::Kconfig { offset, size } = found.kind else { continue };
        let (start, end) = (offset as usize, offset.saturating_add(size) as usize);
        if data.len() < end {
            data.resize(end, 0);
        }
        let value = match one(spec, found, draft.options, draft.facts) {
            Ok(Some((value, bytes))) => {
                let target = data.get_mut(start..end).unwrap_or_default();
                target.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
                Some(value.to_string())
            }
            Ok(None) if found.weak || !uses.has(found) => None,
            Ok(None) => return Err(missing(found, draft.facts).at(uses.place(found))),
            Err(error) if uses.has(found) => return Err(error.at(uses.place(found))),
            Err(_) => None,
        };
        let target = ExternTarget::Kconfig { value };
        draft.plan.externs.push(ExternValue { name: found.name.clone(), target });
    }
    Ok(data)
}

/// A variable's value, and its bytes; `None`: it is not set.
fn one(spec: &Spec, found: &Extern, options: &Options, facts: &Facts) -> Result<Option<(Value, Vec<u8>)>> {
    let Some(value) = value(found, options, facts)? else { return Ok(None) };
    let bytes = encode(spec, found, &value, options)?;
    Ok(Some((value, bytes)))
}

/// What a variable gets.
enum Value {
    Text(String),
    Number(u64),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

/// `None`: the option is not set.
fn value(wanted: &Extern, options: &Options, facts: &Facts) -> Result<Option<Value>> {
    let name = wanted.name.as_str();
    let unobserved = || {
        let text = format!("`{name}`: the facts say nothing of it");
        Error::new(Code::Config, text).hint(format!("give a value: `--set kconfig.{name}=VALUE`"))
    };
    if let Some(text) = options.kconfig.get(name) {
        return Ok(Some(Value::Text(text.clone())));
    }
    match virtual_value(name) {
        Some(Virtual::Version) if facts.host.version_code == 0 => Err(unobserved()),
        Some(Virtual::Version) => Ok(Some(Value::Number(u64::from(facts.host.version_code)))),
        Some(Virtual::Feature(feature)) if !facts.features.0.contains_key(&feature) => Err(unobserved()),
        Some(Virtual::Feature(feature)) => {
            Ok(Some(Value::Number(u64::from(facts.features.get(feature) == Support::Yes))))
        }
        None if name.starts_with("CONFIG_") => {
            let config = facts.config.as_ref().ok_or_else(unobserved)?;
            if !config.found {
                return Err(unreadable(name, facts));
            }
            Ok(config.options.get(name).ok_or_else(unobserved)?.clone().map(Value::Text))
        }
        None if name.starts_with("LINUX_") && wanted.weak => Ok(None),
        None => {
            let known = VIRTUAL.map(|row| format!("`{}`", row.0)).join(", ");
            let text = format!("`{name}` is no value of the kernel's configuration");
            Err(Error::new(Code::Config, text)
                .note(format!("these begin with `CONFIG_`; besides, there is {known}"))
                .hint("`__weak` makes an unknown `LINUX_` name 0"))
        }
    }
}

fn encode(spec: &Spec, found: &Extern, value: &Value, options: &Options) -> Result<Vec<u8>> {
    let name = &found.name;
    let kind =
        spec.btf.as_ref().zip(found.btf).map(|(btf, ty)| ConfigType::of(btf, ty)).transpose()?.flatten();
    let Some(kind) = kind else {
        return Err(Error::new(Code::ConfigValue, format!("`{name}`: nothing says of which type it is")));
    };
    let bytes = match value {
        Value::Text(text) => kind.encode(text, spec.endian),
        Value::Number(number) => kind.number(*number, spec.endian),
    };
    bytes.map_err(|why| {
        let error = Error::new(Code::ConfigValue, format!("`{name}`: `{value}` {why}"));
        match (kind, options.kconfig.contains_key(name)) {
            (ConfigType::Text { .. }, true) => {
                error.hint(format!("text has quotes: `--set 'kconfig.{name}=\"TEXT\"'`"))
            }
            (_, true) => error,
            (_, false) => error.hint("declare the variable with a type that holds the value"),
        }
    })
}

fn looked_at(facts: &Facts) -> String {
    let paths = facts.config.iter().flat_map(|config| &config.looked_at);
    paths.map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn help(name: &str) -> String {
    format!("give it with `--set kconfig.{name}=VALUE`, or the kernel's configuration with `--kconfig FILE`")
}

fn missing(wanted: &Extern, facts: &Facts) -> Error {
    let name = &wanted.name;
    Error::new(Code::Config, format!("`{name}` is not set in the kernel's configuration"))
        .note(format!("looked at {}", looked_at(facts)))
        .hint("declare it `__weak`: then the program reads 0")
        .hint(help(name))
}

fn unreadable(name: &str, facts: &Facts) -> Error {
    Error::new(Code::Config, format!("`{name}`: the kernel's configuration cannot be read"))
        .note(format!("looked at {}", looked_at(facts)))
        .hint(help(name))
}
