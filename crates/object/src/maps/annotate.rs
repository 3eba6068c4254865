//! BTF types for legacy maps: `BPF_ANNOTATE_KV_PAIR(name, key, value)` makes `struct ____btf_map_name { key; value; }`, in a
//! section `.maps.name` of its own that nobody reads.

use super::Declared;
use crate::{Dialect, Result, Warning};
use onebpf_btf::{Btf, Def, Kind, TypeId};

/// Gives maps the types of their annotations. One that contradicts its map is passed over with a warning: old loaders
/// did the same (libbpf 0.8, `bpf_map_find_btf_info`), and the kernel would refuse it.
pub(super) fn apply(btf: Option<&Btf>, declared: &mut [Declared], warnings: &mut Vec<Warning>) -> Result<()> {
    let Some(btf) = btf else { return Ok(()) };
    for map in declared {
        let map = &mut map.spec;
        if !matches!(map.dialect, Dialect::BpfMapDef | Dialect::BpfElfMap) {
            continue;
        }
        let Some((key, value)) = annotation(btf, &map.name)? else { continue };
        let (key_size, value_size) = (btf.size_of(key)?, btf.size_of(value)?);
        if (key_size, value_size) == (u64::from(map.key.size), u64::from(map.value.size)) {
            (map.key.btf, map.value.btf) = (Some(key), Some(value));
        } else {
            let message = format!(
                "map `{}` has keys of {} and values of {} bytes, but its annotation says {key_size} and {value_size}: \
                 it is ignored",
                map.name, map.key.size, map.value.size
            );
            warnings.push(Warning { code: "W0105".to_owned(), message, place: map.place.clone() });
        }
    }
    Ok(())
}

fn annotation(btf: &Btf, map: &str) -> Result<Option<(TypeId, TypeId)>> {
    let Some(id) = btf.find(&format!("____btf_map_{map}"), Kind::Struct) else { return Ok(None) };
    let Def::Struct { members, .. } = btf.get(id)?.def else { return Ok(None) };
    let member = |name| members.into_iter().find(|member| member.name == name).map(|member| member.ty);
    Ok(member("key").zip(member("value")))
}
