//! Section `.addr_space.1`: globals that live in the arena. They make no map of their own, they are what the object's one
//! arena holds at first. libbpf: `init_arena_map_data`.

use super::Declared;
use crate::elf::{Elf, SectionKind};
use crate::error::{Kind, MapFault};
use crate::{Contents, MapType, Place, Result};

/// Gives the arena its globals; the section that they are in, and the arena's name.
pub(super) fn fill(elf: &Elf<'_>, declared: &mut [Declared]) -> Result<Option<(usize, String)>> {
    let mut arenas = declared.iter_mut().filter(|map| map.spec.kind == MapType::ARENA);
    let (arena, second) = (arenas.next(), arenas.next());
    if let (Some(first), Some(second)) = (&arena, second) {
        let what = format!(
            "`{}` and `{}` are both arenas, an object can have one",
            first.spec.name, second.spec.name
        );
        return Err(Kind::Map(MapFault::Arena(what)).at(second.spec.place.clone()));
    }
    let mut sections =
        elf.sections.iter().filter(|section| section.kind == SectionKind::Arena && section.size > 0);
    let Some(section) = sections.next() else { return Ok(None) };
    let Some(arena) = arena else {
        let what = format!("section `{}` has variables in an arena, but there is no arena", section.name);
        return Err(Kind::Map(MapFault::Arena(what)).at(Place::at(section.name, 0)));
    };
    let mut data = section.data.to_vec();
    data.resize(section.size as usize, 0); // zeros without contents in the file, which `elf::read` bounds
    arena.spec.contents = Contents::Data(data);
    Ok(Some((section.index, arena.spec.name.clone())))
}
