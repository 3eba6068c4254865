//! `map dump`: keys and values by their BTF types, else in hex.

use super::show::{MapJson, arena};
use super::{Opened, decoded};
use crate::exit::{Failure, Outcome};
use crate::out::Out;
use crate::value::hex;
use onebpf::btf::Value;
use onebpf::object::MapType;
use onebpf::sys::ObjectKind;
use serde::Serialize;

/// One entry in JSON.
#[derive(Serialize)]
pub(super) struct Entry {
    key_hex: String,
    key: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    /// What the value is the id of.
    #[serde(skip_serializing_if = "Option::is_none")]
    holds: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    values: Vec<CpuValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<i128>,
}

/// One CPU's value.
#[derive(Serialize)]
struct CpuValue {
    cpu: usize,
    value_hex: String,
    value: Option<Value>,
}

/// Every entry that is there, as it is when it is reached.
pub(super) fn dump(map: &Opened, out: &mut Out) -> Outcome {
    if map.info.map_type == MapType::ARENA.0 {
        let text = format!("an arena has no entries, but memory: {}", arena(&map.info));
        return Err(Failure::new("E0409", text)
            .hint("a process that maps it can read it (`Map::memory` of the library); that makes pages which are not there"));
    }
    if map.info.key_size == 0 {
        return Err(Failure::new("E0409", format!("a {} map has no keys to walk", map.kind())));
    }
    let read = map.map.entries()?.map(|entry| -> Outcome<Entry> {
        let (key, value) = entry?;
        Entry::new(map, &key, &value)
    });
    // Kernels that do not let some type be read say so at its first entry: before half a document is out.
    let mut read = read.peekable();
    if let Some(refused) = read.next_if(Result::is_err) {
        return refused.map(drop);
    }
    if out.json {
        let head = serde_json::to_string(&MapJson::from(&map.info)).map_err(std::io::Error::from)?;
        out.line(format_args!("{{\"map\": {head},\n\"entries\": ["))?;
    }
    let mut count = 0usize;
    for entry in read {
        let entry = entry?;
        count += 1;
        if out.json {
            let comma = if count == 1 { "" } else { "," };
            let text = serde_json::to_string(&entry).map_err(std::io::Error::from)?;
            out.line(format_args!("{comma}{text}"))?;
        } else {
            entry.print(out)?;
        }
    }
    if out.json {
        return out.line("]}");
    }
    out.say(&format!("{count} {}", if count == 1 { "entry" } else { "entries" }));
    Ok(())
}

impl Entry {
    pub(super) fn new(map: &Opened, key: &[u8], value: &[u8]) -> Outcome<Self> {
        let mut entry = Self {
            key_hex: hex(key),
            key: decoded(map.key_type(), key)?.or_else(|| map.index(key)),
            value_hex: None,
            value: None,
            holds: None,
            values: Vec::new(),
            total: None,
        };
        let size = map.info.value_size as usize;
        if map.is_per_cpu() && size > 0 {
            for (cpu, bytes) in value.chunks_exact(size.next_multiple_of(8)).enumerate() {
                let bytes = bytes.get(..size).unwrap_or_default();
                entry.values.push(CpuValue {
                    cpu,
                    value_hex: hex(bytes),
                    value: decoded(map.value_type(), bytes)?,
                });
            }
            entry.total = total(&entry.values);
        } else {
            entry.value_hex = Some(hex(value));
            entry.value = decoded(map.value_type(), value)?;
            if let (Some(kind), Ok(id)) = (map.holds(), <[u8; 4]>::try_from(value)) {
                entry.holds = Some(if kind == ObjectKind::Map { "map" } else { "program" });
                entry.value = Some(Value::Int(u32::from_ne_bytes(id).into()));
            }
        }
        Ok(entry)
    }

    pub(super) fn print(&self, out: &mut Out) -> Outcome {
        let shown = |value: &Option<Value>, hex: &str| {
            value.as_ref().map_or_else(|| format!("hex:{hex}"), ToString::to_string)
        };
        let key = out.bold(shown(&self.key, &self.key_hex));
        if let Some(hex) = &self.value_hex {
            let kind = self.holds.map(|kind| format!("{kind} id ")).unwrap_or_default();
            return out.line(format_args!("{key}: {kind}{}", shown(&self.value, hex)));
        }
        out.line(format_args!("{key}:"))?;
        for value in &self.values {
            out.line(format_args!("  cpu{}: {}", value.cpu, shown(&value.value, &value.value_hex)))?;
        }
        self.total.map_or(Ok(()), |total| out.line(format_args!("  total: {total}")))
    }
}

/// The sum over the CPUs, if the values are integers.
fn total(values: &[CpuValue]) -> Option<i128> {
    values.iter().try_fold(0i128, |sum, value| match value.value {
        Some(Value::Int(number)) => sum.checked_add(number),
        _ => None,
    })
}
