//! CO-RE relocations for people: `struct task_struct.pid` instead of `[7] 0:12`.

use onebpf::btf::{Btf, CoreRelo, Def, TypeId};
use std::fmt::Write as _;

/// The type and the members, or the enumerator, that an access string walks through.
pub(crate) fn text(btf: &Btf, relo: &CoreRelo) -> String {
    let root = root(btf, relo.type_id);
    let access = btf.string(relo.access_str_off).unwrap_or_default();
    members(btf, relo.type_id, access)
        .map_or_else(|| format!("{root} {access}"), |path| format!("{root}{path}"))
}

/// The type that an access starts from, without its body.
pub(crate) fn root(btf: &Btf, id: TypeId) -> String {
    let text = btf.declare(id, "").unwrap_or_else(|_| id.to_string());
    text.split('{').next().unwrap_or_default().trim_end().to_owned()
}

fn members(btf: &Btf, start: TypeId, access: &str) -> Option<String> {
    let steps: Vec<u32> = access.split(':').map(|step| step.parse().ok()).collect::<Option<_>>()?;
    let (first, rest) = steps.split_first()?;
    let mut ty = btf.strip(start).ok()?;
    if let Def::Enum { values, .. } | Def::Enum64 { values, .. } = ty.def {
        return Some(format!("::{}", values.get(*first as usize)?.name));
    }
    let mut path = if *first == 0 { String::new() } else { format!("[{first}]") };
    for step in rest {
        let next = match ty.def {
            Def::Struct { members, .. } | Def::Union { members, .. } => {
                let member = members.get(*step as usize)?;
                if !member.name.is_empty() {
                    path.push('.');
                    path.push_str(member.name);
                }
                member.ty
            }
            Def::Array { elem, .. } => {
                let _ = write!(path, "[{step}]");
                elem
            }
            _ => return None,
        };
        ty = btf.strip(next).ok()?;
    }
    Some(path)
}
