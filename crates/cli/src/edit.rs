//! `--set`: changes made to a spec before it is planned.

use crate::exit::{Failure, Outcome};
use crate::value;
use onebpf::Spec;
use onebpf::object::Contents;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// `map.NAME.max_entries=N`
    MaxEntries { map: String, count: u32 },
    /// `var.NAME=VALUE`
    Variable { name: String, value: String },
}

impl Edit {
    /// What was typed. Map names may hold dots (`obj.rodata`).
    pub(crate) fn parse(typed: &str) -> Result<Self, String> {
        const FORM: &str = "it has the form map.NAME.max_entries=N or var.NAME=VALUE";
        let (what, value) = typed.split_once('=').ok_or(FORM)?;
        if let Some(name) = what.strip_prefix("var.").filter(|name| !name.is_empty()) {
            return Ok(Self::Variable { name: name.to_owned(), value: value.to_owned() });
        }
        let map = what.strip_prefix("map.").and_then(|rest| rest.strip_suffix(".max_entries")).ok_or(FORM)?;
        let count = value::integer(value)
            .and_then(|count| u32::try_from(count).ok())
            .ok_or_else(|| format!("`{value}` is not a number of entries"))?;
        Ok(Self::MaxEntries { map: map.to_owned(), count })
    }

    /// Makes the change.
    pub(crate) fn apply(&self, spec: &mut Spec) -> Outcome {
        match self {
            Self::MaxEntries { map, count } => match spec.maps.get_mut(map) {
                Some(found) => {
                    found.max_entries = *count;
                    Ok(())
                }
                None => Err(missing("map", map, spec.maps.keys())),
            },
            Self::Variable { name, value } => set_variable(spec, name, value),
        }
    }
}

fn set_variable(spec: &mut Spec, name: &str, text: &str) -> Outcome {
    let Some(variable) = spec.variables.get(name) else {
        return Err(missing("variable", name, spec.variables.keys()));
    };
    let types = spec.btf.as_ref().zip(variable.btf);
    let bytes = value::encode(types, text, variable.size as usize, spec.endian)
        .map_err(|why| Failure::new("E0902", format!("variable `{name}`: {why}")))?;
    let (start, map) = (variable.offset as usize, variable.map.clone());
    let Some(map) = spec.maps.get_mut(&map) else {
        return Err(missing("map", &map, spec.maps.keys()));
    };
    if matches!(map.contents, Contents::Empty) {
        map.contents = Contents::Data(vec![0; map.value.size as usize]);
    }
    let Contents::Data(data) = &mut map.contents else {
        return Err(Failure::new("E0902", format!("variable `{name}` is not in a data map")));
    };
    match data.get_mut(start..start.saturating_add(bytes.len())) {
        Some(place) => place.copy_from_slice(&bytes),
        None => {
            return Err(Failure::new("E0902", format!("variable `{name}` lies outside map `{}`", map.name)));
        }
    }
    Ok(())
}

/// There is no such thing: says which there are.
pub(crate) fn missing<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a String>) -> Failure {
    let known: Vec<String> = known.map(|name| format!("`{name}`")).collect();
    let failure = Failure::new("E0301", format!("there is no {what} `{name}` in this object"));
    if known.is_empty() {
        return failure.hint(format!("the object has no {what}s"));
    }
    failure.hint(format!("the object has {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_read() {
        let entries = |map: &str, count| Ok(Edit::MaxEntries { map: map.to_owned(), count });
        assert_eq!(Edit::parse("map.flows.max_entries=64"), entries("flows", 64));
        assert_eq!(Edit::parse("map.obj.rodata.max_entries=0x10"), entries("obj.rodata", 16));
        let variable = Edit::Variable { name: "debug".to_owned(), value: "a=b".to_owned() };
        assert_eq!(Edit::parse("var.debug=a=b"), Ok(variable));
        for bad in [
            "",
            "x=1",
            "map.flows=1",
            "map.flows.max_entries=-1",
            "map.flows.max_entries=4294967296",
            "var.=1",
        ] {
            assert!(Edit::parse(bad).is_err(), "{bad}");
        }
    }
}
