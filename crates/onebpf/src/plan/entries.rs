//! The declared entries of a new map.

use super::draft::Draft;
use super::{Slot, Step, object};
use crate::error::{Code, Error, Result};
use onebpf_object::{Entry, MapSpec, MapType};
use std::sync::Arc;

/// Most bytes that the entries of one map may take in a plan. The object's file bounds them, but for the CPUs.
const MAX_BYTES: u64 = 64 << 20;

/// Adds a step for each entry. A map whose entries come from the one that it replaces gets no others: what was deleted
/// there stays deleted.
pub(super) fn write(
    draft: &mut Draft<'_>,
    name: &str,
    map: &MapSpec,
    slot: Slot<object::Map>,
    entries: &[Entry],
) -> Result<()> {
    let cpus = if map.kind.is_per_cpu() { draft.facts.host.possible_cpus.max(1) } else { 1 };
    check(map, entries, cpus).map_err(|what| {
        let text = format!("map `{name}` {what}");
        Error::new(Code::Contents, text).at(&map.place)
    })?;
    if draft.migrations.iter().any(|(migrated, _)| migrated == name) {
        return Ok(());
    }
    for Entry { key, value } in entries {
        let (name, key) = (name.to_owned(), key.clone());
        draft.push(Step::Write { map: slot, name, key, value: values(map.kind, value, cpus) });
    }
    Ok(())
}

/// A spec can be edited, so that nothing that parsing found out holds any more.
fn check(map: &MapSpec, entries: &[Entry], cpus: u32) -> std::result::Result<(), String> {
    let (key, value) = (map.key.size as usize, map.value.size as usize);
    if let Some(wrong) = entries.iter().find(|entry| entry.key.len() != key || entry.value.len() != value) {
        let (had, has) = (wrong.key.len(), wrong.value.len());
        return Err(format!(
            "has an initial entry of {had} + {has} bytes, where its keys and values have {key} + {value}"
        ));
    }
    let count = entries.len() as u64;
    if count > u64::from(map.max_entries) {
        return Err(format!("has {count} initial entries, but max_entries is {}", map.max_entries));
    }
    let within =
        |index: &[u8]| index.try_into().is_ok_and(|index| u32::from_ne_bytes(index) < map.max_entries);
    if map.kind.is_plain_array() && !entries.iter().all(|entry| within(&entry.key)) {
        return Err(format!("has initial values beyond its {} entries", map.max_entries));
    }
    let each = (value as u64).next_multiple_of(8).saturating_mul(u64::from(cpus));
    let bytes = each.saturating_mul(count);
    if bytes > MAX_BYTES {
        return Err(format!("has initial entries of {bytes} bytes for {cpus} CPUs, more than {MAX_BYTES}"));
    }
    Ok(())
}

/// The value as bpf(2) takes it: for each possible CPU, rounded up to 8 bytes (`bpf_map_value_size()`).
fn values(kind: MapType, value: &[u8], cpus: u32) -> Arc<[u8]> {
    if !kind.is_per_cpu() {
        return Arc::from(value);
    }
    let mut one = value.to_vec();
    one.resize(value.len().next_multiple_of(8), 0);
    Arc::from(one.repeat(cpus as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cpu_gets_its_copy() {
        assert_eq!(*values(MapType::ARRAY, &[1, 2, 3], 4), [1, 2, 3]);
        let each = [1, 2, 3, 0, 0, 0, 0, 0];
        assert_eq!(*values(MapType::PERCPU_HASH, &[1, 2, 3], 2), [each, each].concat());
    }
}
