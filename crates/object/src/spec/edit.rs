//! Edits by name, for those who hold text: `--set map.flows.max_entries=64`, `--set var.debug=1`. Who writes Rust assigns
//! the fields.

use super::{Contents, Layout, MapSpec, MapType, Pinning, Spec, text};
use crate::error::{EditFault, Kind};
use crate::{Error, Place, Result};

/// Kernel: `numa_node` is meant.
const BPF_F_NUMA_NODE: u32 = 1 << 2;

/// Most bytes that a data map may be made to have.
const MAX_DATA: u32 = 64 << 20;

/// A field of a map, and what sets it.
struct Field {
    names: &'static [&'static str],
    set: fn(&mut MapSpec, &str) -> std::result::Result<(), String>,
}

/// The fields of a map that can be set.
const FIELDS: &[Field] = &[
    Field { names: &["type"], set: |map, text| map_type(text).map(|kind| map.kind = kind) },
    Field { names: &["key_size"], set: |map, text| number(text).map(|size| resize(&mut map.key, size)) },
    Field { names: &["value_size"], set: |map, text| number(text).and_then(|size| resize_value(map, size)) },
    Field { names: &["max_entries"], set: |map, text| number(text).map(|count| map.max_entries = count) },
    Field { names: &["flags", "map_flags"], set: |map, text| number(text).map(|flags| map.flags = flags) },
    Field {
        names: &["extra", "map_extra"],
        set: |map, text| wide_number(text).map(|extra| map.extra = extra),
    },
    Field { names: &["numa_node"], set: |map, text| numa_node(text).map(|node| place_on(map, node)) },
    Field { names: &["pinning"], set: |map, text| pinning(text).map(|pinning| map.pinning = pinning) },
    Field { names: &["autocreate"], set: |map, text| boolean(text).map(|create| map.autocreate = create) },
];

impl Spec {
    /// Sets what a path names: `map.NAME.FIELD` (see [`Spec::set_map`]), `var.NAME` (see [`Spec::set_variable_text`]) or
    /// `ops.TABLE.MEMBER` (see [`Spec::set_member`]).
    ///
    /// # Errors
    /// E0130 if there is nothing of that name, E0131 if the value does not fit.
    pub fn set(&mut self, path: &str, value: &str) -> Result<()> {
        if let Some(name) = path.strip_prefix("var.") {
            return self.set_variable_text(name, value);
        }
        if let Some((table, member)) = path.strip_prefix("ops.").and_then(|rest| rest.rsplit_once('.')) {
            return self.set_member(table, member, value);
        }
        // A map's name may have dots (`prog.rodata`), a field's has none.
        match path.strip_prefix("map.").and_then(|rest| rest.rsplit_once('.')) {
            Some((name, field)) => self.set_map(name, field, value),
            None => Err(nothing("setting (map.NAME.FIELD, var.NAME or ops.TABLE.MEMBER)", path)),
        }
    }

    /// Sets a field of a map: `type`, `key_size`, `value_size`, `max_entries`, `flags`, `extra`, `numa_node` (a number,
    /// which sets its flag too, or `none`), `pinning` (`none`, `by-name`, `object`, `global`, `custom:N`) or `autocreate`. The template of the maps
    /// that `outer` holds is `outer.inner`. A size that is not that of the BTF type drops the type.
    ///
    /// # Errors
    /// As [`Spec::set`].
    pub fn set_map(&mut self, name: &str, field: &str, value: &str) -> Result<()> {
        let end = self.variables.values().filter(|variable| variable.map == name);
        let end = end.map(|variable| variable.offset.saturating_add(variable.size)).max().unwrap_or_default();
        let Some(map) = self.map_or_template(name) else { return Err(nothing("map", name)) };
        let full = || format!("{name}.{field}");
        let Some(row) = FIELDS.iter().find(|row| row.names.contains(&field)) else {
            return Err(nothing("field of a map", &full()));
        };
        let mut changed = map.clone();
        (row.set)(&mut changed, value).map_err(|why| bad("map field", &full(), why))?;
        if changed.value.size < end && changed.value != map.value {
            return Err(bad("map field", &full(), format!("the variables in it need {end} bytes")));
        }
        *map = changed;
        Ok(())
    }

    fn map_or_template(&mut self, name: &str) -> Option<&mut MapSpec> {
        if self.maps.contains_key(name) {
            return self.maps.get_mut(name);
        }
        self.maps.get_mut(name.strip_suffix(".inner")?)?.inner.as_deref_mut()
    }
}

/// There is nothing of that name.
pub(super) fn nothing(what: &'static str, name: &str) -> Error {
    Kind::Edit(EditFault::Nothing { what, name: name.to_owned() }).at(Place::default().symbol(name))
}

/// There is, but the value does not fit.
pub(super) fn bad(what: &'static str, name: &str, why: String) -> Error {
    Kind::Edit(EditFault::Value { what, name: name.to_owned(), why }).at(Place::default().symbol(name))
}

fn map_type(text: &str) -> std::result::Result<MapType, String> {
    MapType::from_name(text)
        .map_or_else(|| number(text).map(MapType).map_err(|_| format!("`{text}` is no type of a map")), Ok)
}

fn resize(side: &mut Layout, size: u32) {
    if side.size != size {
        *side = Layout { size, btf: None };
    }
}

fn resize_value(map: &mut MapSpec, size: u32) -> std::result::Result<(), String> {
    if let Contents::Data(data) = &mut map.contents {
        if size > MAX_DATA {
            return Err(format!("a data map of {size} bytes is more than {MAX_DATA}"));
        }
        // An arena has variables, but no value.
        if map.kind != MapType::ARENA {
            data.resize(size as usize, 0);
        }
    }
    resize(&mut map.value, size);
    Ok(())
}

fn number(text: &str) -> std::result::Result<u32, String> {
    let number = text::integer(text)?;
    u32::try_from(number).map_err(|_| format!("{number} does not fit in 32 bits"))
}

fn wide_number(text: &str) -> std::result::Result<u64, String> {
    let number = text::integer(text)?;
    u64::try_from(number).map_err(|_| format!("{number} does not fit in 64 bits"))
}

fn numa_node(text: &str) -> std::result::Result<Option<u32>, String> {
    if text == "none" { Ok(None) } else { number(text).map(Some) }
}

/// The kernel takes a node only with its flag.
fn place_on(map: &mut MapSpec, node: Option<u32>) {
    map.flags = if node.is_some() { map.flags | BPF_F_NUMA_NODE } else { map.flags & !BPF_F_NUMA_NODE };
    map.numa_node = node;
}

fn pinning(text: &str) -> std::result::Result<Pinning, String> {
    Ok(match text {
        "none" => Pinning::None,
        "by-name" => Pinning::ByName,
        "object" => Pinning::Object,
        "global" => Pinning::Global,
        _ => match text.strip_prefix("custom:").map(number) {
            Some(number) => Pinning::Custom(number?),
            None => return Err(format!("`{text}` is none of none, by-name, object, global, custom:N")),
        },
    })
}

fn boolean(text: &str) -> std::result::Result<bool, String> {
    text.parse().map_err(|_| format!("`{text}` is neither true nor false"))
}
