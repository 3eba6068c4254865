//! Whether what an object declares is what a kernel has: types of functions and variables, and names that are near.

use super::compat::{self, Pair};
use super::{Steps, essential};
use crate::error::Result;
use crate::{Btf, Kind, TypeId};

/// Names that are suggested at most.
const MOST: usize = 3;
/// Letters by which a near name differs at most.
const FARTHEST: usize = 3;

/// A name without its flavour: `bpf_task_release` of `bpf_task_release___old`. Kernel functions are looked up by it, so that
/// an object can declare one with several prototypes (libbpf `essent_name`).
pub fn essential_name(name: &str) -> &str {
    essential(name)
}

/// Whether a type of one BTF may stand for one of another, behind typedefs and qualifiers: kinds are compared along
/// pointers, arrays and signatures, names are not (libbpf `bpf_core_types_are_compat`).
///
/// # Errors
/// E0208 for types that nest too deeply, E0215 for a comparison without end; as [`Btf::get`].
pub fn types_are_compatible(local: (&Btf, TypeId), target: (&Btf, TypeId)) -> Result<bool> {
    let (own, other) = (local.0.strip(local.1)?.id, target.0.strip(target.1)?.id);
    compat::types(Pair { local: (local.0, own), target: (target.0, other) }, &mut Steps::new())
}

/// Names of own types of this kind that differ from `name` in a few letters, the nearest first.
pub fn near_names<'a>(btf: &'a Btf, name: &str, kind: Kind) -> Vec<&'a str> {
    let farthest = FARTHEST.min(name.len() / 3);
    let mut found = Vec::new();
    for (id, _) in btf.own_names() {
        let Ok(ty) = btf.get(id) else { continue };
        if ty.kind == kind && ty.name.len().abs_diff(name.len()) <= farthest {
            found.extend(distance(name, ty.name, farthest).map(|distance| (distance, ty.name)));
        }
    }
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(MOST).map(|(_, name)| name).collect()
}

/// Letters to insert, remove or replace; `None`: more than `most`.
fn distance(one: &str, other: &str, most: usize) -> Option<usize> {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (n, a) in one.bytes().enumerate() {
        let mut left = n + 1;
        let mut above_left = n;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        let mut least = left;
        for (cell, b) in row.iter_mut().skip(1).zip(other.bytes()) {
            let above = *cell;
            *cell = (above_left + usize::from(a != b)).min(above + 1).min(left + 1);
            (left, above_left) = (*cell, above);
            least = least.min(left);
        }
        if least > most {
            return None;
        }
    }
    row.last().copied().filter(|distance| *distance <= most)
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn distances() {
        for (one, other, wanted) in [
            ("", "", Some(0)),
            ("abc", "abc", Some(0)),
            ("bpf_task_relese", "bpf_task_release", Some(1)),
            ("bpf_task_aquire", "bpf_task_acquire", Some(1)),
            ("abc", "", Some(3)),
            ("", "abcd", None),
            ("kitten", "sitting", Some(3)),
            ("bpf_a", "xyz_b", None),
        ] {
            assert_eq!(distance(one, other, 3), wanted, "{one} {other}");
        }
    }
}
