//! Tail calls by declaration tag: `__attribute__((btf_decl_tag("tail:MAP/SLOT")))` on a program, as Cilium writes them.

use super::tail::{integer, set_slot};
use crate::error::{Kind, MapFault};
use crate::{Function, MapSpec, MapType, ProgramSpec, Result, Warning};
use indexmap::IndexMap;
use onebpf_btf::{Btf, Def, TypeId};

/// Puts each program with such a tag into its slot, whatever dialect the program array is declared in. A tag that
/// names no program array is passed over with a warning, as a tail section is.
pub(crate) fn fill_tagged_slots(
    maps: &mut IndexMap<String, MapSpec>,
    programs: &IndexMap<String, ProgramSpec>,
    functions: &[Function],
    btf: Option<&Btf>,
) -> Result<Vec<Warning>> {
    let mut warnings = Vec::new();
    let Some(btf) = btf else { return Ok(warnings) };
    for (target, tag) in tags(btf) {
        let tagged = |program: &&ProgramSpec| {
            functions.get(program.function.0).is_some_and(|function| function.btf == Some(target))
        };
        let Some(program) = programs.values().find(tagged) else { continue };
        let place =
            functions.get(program.function.0).map(|function| function.place.clone()).unwrap_or_default();
        let Some((map, key)) = tag.rsplit_once('/').and_then(|(map, slot)| Some((map, integer(slot)?.0)))
        else {
            let message =
                format!("tag `tail:{tag}` of program `{}` has not the form `tail:MAP/SLOT`", program.name);
            warnings.push(Warning { code: "W0106".to_owned(), message, place });
            continue;
        };
        let Some(map) = maps.get_mut(map).filter(|map| map.kind == MapType::PROG_ARRAY) else {
            let message = format!("tag `tail:{tag}` of program `{}` names no program array", program.name);
            warnings.push(Warning { code: "W0106".to_owned(), message, place });
            continue;
        };
        if key >= map.max_entries {
            let what =
                format!("program `{}` asks for slot {key}, but there are {}", program.name, map.max_entries);
            return Err(Kind::Map(MapFault::Slot { map: map.name.clone(), what }).at(place));
        }
        set_slot(map, key, &program.name);
    }
    Ok(warnings)
}

/// The functions with a tag `tail:...`, and what follows the colon.
fn tags(btf: &Btf) -> impl Iterator<Item = (TypeId, &str)> {
    btf.decl_tags().iter().filter_map(|id| {
        let ty = btf.get(*id).ok()?;
        match ty.def {
            Def::DeclTag { target, component: -1 } => Some((target, ty.name.strip_prefix("tail:")?)),
            _ => None,
        }
    })
}
