//! What maps may be created.

use super::arena::Arena;
use super::{Map, Template};
use crate::config::{Config, check_name};
use crate::objects::btf::{DATASEC, FUNC, STRUCT};
use crate::objects::{Objects, Serial};
use crate::since::{self, KeyType, MapRow, Shape};
use onebpf_sys::{Errno, Feature, MapBtf, MapCreate, MapInfo};
use std::collections::BTreeMap;

impl Map {
    /// Checks the attributes in the kernel's order: unknown ones, names, the type's own rules, BTF.
    pub(crate) fn create(attr: &MapCreate<'_>, objects: &Objects, config: &Config) -> Result<Self, Errno> {
        let unknown = [
            attr.inner.is_some() && !config.at_least(4, 12),
            attr.numa_node.is_some_and(|node| node != 0) && !config.at_least(4, 14),
            attr.btf.is_some() && !config.has(Feature::Btf),
            attr.extra != 0 && !config.at_least(5, 16),
            attr.kernel_value.is_some() && !config.at_least(5, 6),
            attr.kernel_value.is_some_and(|value| value.module.is_some()) && !config.at_least(6, 9),
        ];
        if unknown.contains(&true) {
            return Err(Errno::TOOBIG);
        }
        check_name(attr.name, config)?;
        let numa = attr.numa_node.map_or(0, |_| 1 << 2);
        let row = since::map_row(attr.map_type, config.release).ok_or(Errno::INVAL)?;
        let lacks = row.shape == Shape::Ring && !config.has(Feature::RingBuffer)
            || row.map_type == since::INSN_ARRAY && !config.has(Feature::InsnArray);
        let bloom_or_arena = matches!(attr.map_type, 30 | since::ARENA);
        if lacks || (attr.extra != 0 && !bloom_or_arena) {
            return Err(Errno::INVAL);
        }
        check_flags(row, attr.flags | numa, config)?;
        check_shape(row, attr, config)?;
        let template = template(attr, objects, config)?;
        let mut info = MapInfo {
            map_type: attr.map_type,
            key_size: attr.key_size,
            value_size: attr.value_size,
            max_entries: attr.max_entries,
            flags: attr.flags | numa,
            name: attr.name.to_owned(),
            extra: attr.extra,
            ..MapInfo::default()
        };
        let btf = match attr.btf.filter(|btf| btf.key_type != 0 || btf.value_type != 0) {
            Some(btf) => Some(check_btf(row, btf, &mut info, objects)?),
            None => None,
        };
        let element = info.value_buffer_size(config.cpus) as u64 + u64::from(info.key_size);
        let charge = config.pages(element.saturating_mul(u64::from(info.max_entries)));
        let arena = (row.shape == Shape::Arena).then(|| Arena::new(&info, config));
        let values = BTreeMap::new();
        Ok(Self { info, shape: row.shape, charge, btf, template, owner: None, values, arena })
    }
}

fn check_flags(row: &MapRow, flags: u32, config: &Config) -> Result<(), Errno> {
    let mmap = flags & since::MMAPABLE != 0 && !config.has(Feature::ArrayMmap);
    let both = since::RDONLY | since::WRONLY;
    let known = since::knows_flags(flags, config.release) && flags & both != both;
    let lru = matches!(row.map_type, since::LRU_HASH | since::LRU_PERCPU_HASH);
    match () {
        () if lru && flags & since::NO_PREALLOC != 0 => Err(Errno::NOTSUPP),
        () if mmap || !known || flags & !row.flags != 0 => Err(Errno::INVAL),
        () => Ok(()),
    }
}

/// Sizes, as each type's `map_alloc_check` wants them.
fn check_shape(row: &MapRow, attr: &MapCreate<'_>, config: &Config) -> Result<(), Errno> {
    let &MapCreate { key_size, value_size, max_entries, flags, .. } = attr;
    let fixed = match row.map_type {
        since::ARRAY_OF_MAPS | since::HASH_OF_MAPS => Some(4),
        since::INSN_ARRAY => Some(16),
        _ => None,
    };
    let odd = fixed.is_some_and(|size| size != value_size);
    let wrong = match row.shape {
        // `bpf_struct_ops_map_alloc_check`: the object's BTF is held though it has no types.
        Shape::Table => {
            max_entries != 1 || key_size != 4 || attr.kernel_value.is_none() || attr.btf.is_none()
        }
        _ if attr.kernel_value.is_some() => true,
        // A prefix length and 1 to 256 bytes; never preallocated.
        Shape::Hash if row.map_type == since::LPM_TRIE => {
            max_entries == 0
                || value_size == 0
                || !(5..=260).contains(&key_size)
                || flags & since::NO_PREALLOC == 0
        }
        Shape::Hash => max_entries == 0 || key_size == 0 || value_size == 0 || odd,
        Shape::Array => max_entries == 0 || key_size != 4 || value_size == 0 || odd,
        Shape::Slots => max_entries == 0 || key_size != 4 || value_size != 4,
        Shape::Ring => {
            let pages = max_entries.is_multiple_of(config.page_size) && max_entries.is_power_of_two();
            key_size != 0 || value_size != 0 || !pages
        }
        Shape::Arena => {
            let address = attr.extra.is_multiple_of(u64::from(config.page_size));
            max_entries == 0 || key_size != 0 || value_size != 0 || flags & since::MMAPABLE == 0 || !address
        }
        Shape::Opaque => false,
    };
    // `PCPU_MIN_UNIT_SIZE`, and what kmalloc could give at most.
    let hash = matches!(row.map_type, 5 | since::LRU_PERCPU_HASH);
    let limit = if hash || row.map_type == since::PERCPU_ARRAY { 32 << 10 } else { i32::MAX as u32 };
    match () {
        () if wrong => Err(Errno::INVAL),
        // Seen: 5.10 finds out when it allocates, 6.1 looks at the size.
        () if value_size > limit && hash && !config.at_least(6, 1) => match flags & since::NO_PREALLOC {
            0 => Err(Errno::NOMEM),
            _ => Ok(()),
        },
        () if value_size > limit => Err(Errno::TOOBIG),
        () if row.shape == Shape::Arena => check_arena(attr, config),
        () => Ok(()),
    }
}

/// At most 4 GiB, and no multiple of 4 GiB within them (`arena_map_alloc`).
fn check_arena(attr: &MapCreate<'_>, config: &Config) -> Result<(), Errno> {
    let size = u64::from(attr.max_entries) * u64::from(config.page_size);
    let last = attr.extra.checked_add(size - 1);
    match () {
        () if size > 1 << 32 => Err(Errno::TOOBIG),
        () if last.is_none_or(|last| last >> 32 != attr.extra >> 32) => Err(Errno::RANGE),
        () => Ok(()),
    }
}

/// The inner map's form (`bpf_map_meta_alloc`): maps of maps do not nest, and program arrays do not fit in.
fn template(attr: &MapCreate<'_>, objects: &Objects, config: &Config) -> Result<Option<Template>, Errno> {
    if !matches!(attr.map_type, since::ARRAY_OF_MAPS | since::HASH_OF_MAPS) {
        return Ok(None);
    }
    let (_, _, inner) = objects.map(attr.inner.ok_or(Errno::BADF)?)?;
    match inner.info.map_type {
        since::ARRAY_OF_MAPS | since::HASH_OF_MAPS => Err(Errno::INVAL),
        since::PROG_ARRAY => Err(Errno::NOTSUPP),
        _ => Ok(Some(Template::of(&inner.info, config))),
    }
}

/// Key and value types must be as long as key and value (`map_check_btf`), and the key's of the right kind.
fn check_btf(
    row: &MapRow,
    given: MapBtf<'_>,
    info: &mut MapInfo,
    objects: &Objects,
) -> Result<Serial, Errno> {
    let (serial, id, btf) = objects.btf(given.fd)?;
    let MapBtf { key_type, value_type, .. } = given;
    let key_fits = key_type == 0 || btf.size(key_type) == Some(info.key_size);
    if value_type == 0 || btf.kind(value_type) == Some(FUNC) || !key_fits {
        return Err(Errno::INVAL);
    }
    if btf.size(value_type) != Some(info.value_size) {
        return Err(Errno::INVAL);
    }
    let section =
        info.map_type == since::ARRAY && info.max_entries == 1 && btf.kind(value_type) == Some(DATASEC);
    let key_is_right = match row.key {
        KeyType::NoBtf => return Err(Errno::NOTSUPP),
        KeyType::Any => key_type != 0,
        KeyType::U32 if key_type == 0 => section,
        KeyType::U32 => btf.is_u32(key_type),
        KeyType::Struct => btf.kind(key_type) == Some(STRUCT),
        KeyType::Void => key_type == 0,
    };
    if !key_is_right {
        return Err(Errno::INVAL);
    }
    (info.btf_id, info.btf_key_type, info.btf_value_type) = (id, key_type, value_type);
    Ok(serial)
}
