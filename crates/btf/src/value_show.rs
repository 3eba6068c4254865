//! How a `Value` is written: as a C initialiser, and through serde.

use std::fmt;

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use crate::value::Value;

/// On one line: `{ .packets = 3, .name = "eth0" }`; over several with `{:#}`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

impl Value {
    fn write(&self, f: &mut fmt::Formatter<'_>, indent: usize) -> fmt::Result {
        match self {
            Value::Int(value) | Value::Enum { name: None, value } => write!(f, "{value}"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Char(byte) => write!(f, "'{}'", byte.escape_ascii()),
            Value::Enum { name: Some(name), .. } => f.write_str(name),
            Value::Float(value) => write!(f, "{value}"),
            Value::Ptr(address) => write!(f, "{address:#x}"),
            Value::Text(text) => write!(f, "{text:?}"),
            Value::Bytes(bytes) => write!(f, "0x{}", hex(bytes)),
            Value::Array(values) => {
                let deep = values.iter().any(|value| !value.is_scalar());
                let lines = (f.alternate() && deep).then_some(indent);
                list(f, ["[", "]"], lines, values, |f, value| value.write(f, indent + 1))
            }
            Value::Struct(fields) if fields.is_empty() => f.write_str("{}"),
            Value::Struct(fields) => {
                let lines = f.alternate().then_some(indent);
                let braces = if f.alternate() { ["{", "}"] } else { ["{ ", " }"] };
                list(f, braces, lines, fields, |f, (name, value)| {
                    write!(f, ".{name} = ")?;
                    value.write(f, indent + 1)
                })
            }
        }
    }

    fn is_scalar(&self) -> bool {
        !matches!(self, Value::Array(_) | Value::Struct(_))
    }
}

/// Items between braces: each on a line of its own with this indentation, or all on one.
fn list<T>(
    f: &mut fmt::Formatter<'_>,
    [open, close]: [&str; 2],
    lines: Option<usize>,
    items: &[T],
    mut write: impl FnMut(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    f.write_str(open)?;
    for (n, item) in items.iter().enumerate() {
        match lines {
            Some(indent) => write!(f, "\n{:1$}", "", (indent + 1) * 4)?,
            None if n > 0 => f.write_str(" ")?,
            None => {}
        }
        write(f, item)?;
        f.write_str(if lines.is_some() || n + 1 < items.len() { "," } else { "" })?;
    }
    if let Some(indent) = lines {
        write!(f, "\n{:1$}", "", indent * 4)?;
    }
    f.write_str(close)
}

/// Structs are maps, enumerations their names, pointers and bytes hexadecimal strings, integers over 64 bits
/// decimal strings: what JSON can hold.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Int(value) | Value::Enum { name: None, value } => serialize_int(*value, serializer),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Char(byte) => serializer.serialize_u8(*byte),
            Value::Enum { name: Some(name), .. } => serializer.serialize_str(name),
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Ptr(address) => serializer.collect_str(&format_args!("{address:#x}")),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Bytes(bytes) => serializer.collect_str(&format_args!("0x{}", hex(bytes))),
            Value::Array(values) => {
                let mut seq = serializer.serialize_seq(Some(values.len()))?;
                values.iter().try_for_each(|value| seq.serialize_element(value))?;
                seq.end()
            }
            Value::Struct(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                fields.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
                map.end()
            }
        }
    }
}

fn serialize_int<S: Serializer>(value: i128, serializer: S) -> Result<S::Ok, S::Error> {
    match (i64::try_from(value), u64::try_from(value)) {
        (Ok(value), _) => serializer.serialize_i64(value),
        (_, Ok(value)) => serializer.serialize_u64(value),
        _ => serializer.collect_str(&value),
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
