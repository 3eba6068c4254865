//! `map lookup`, `update` and `delete`.

use super::Opened;
use super::dump::Entry;
use crate::exit::{Failure, Outcome};
use crate::out::Out;
use crate::report::of_kernel;
use crate::target::Target;
use crate::value;
use onebpf::Kernel;
use onebpf::btf::Endian;
use onebpf::sys::ObjectKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// The value of a key.
pub(super) fn lookup(kernel: &Arc<dyn Kernel>, words: &[String], out: &mut Out) -> Outcome {
    let (map, rest) = Opened::new(kernel, words)?;
    let [typed] = rest else { return Err(usage("lookup MAP KEY")) };
    let key = key(&map, typed)?;
    let Some(value) = map.map.lookup(&key)? else { return Err(no_key(&map, typed)) };
    let entry = Entry::new(&map, &key, &value)?;
    if out.json { out.json(&entry) } else { entry.print(out) }
}

/// Writes a value; slots of program arrays and maps of maps take an object.
pub(super) fn update(kernel: &Arc<dyn Kernel>, words: &[String]) -> Outcome {
    let (map, rest) = Opened::new(kernel, words)?;
    let [typed, value, more @ ..] = rest else { return Err(usage("update MAP KEY VALUE")) };
    let key = key(&map, typed)?;
    if let Some(kind) = map.holds() {
        return fill(kernel, &map, &key, kind, rest.get(1..).unwrap_or_default());
    }
    if !more.is_empty() {
        return Err(usage("update MAP KEY VALUE"));
    }
    let size = map.info.value_size as usize;
    let mut bytes = value::encode(map.value_type(), value, size, Endian::native())
        .map_err(|why| Failure::new("E0902", format!("value of map `{}`: {why}", map.info.name)))?;
    if map.is_per_cpu() {
        // Every CPU gets the value.
        bytes.resize(size.next_multiple_of(8), 0);
        bytes = bytes.repeat(map.value_buffer / bytes.len().max(1));
    }
    Ok(map.map.update(&key, &bytes, 0)?)
}

fn fill(kernel: &Arc<dyn Kernel>, map: &Opened, key: &[u8], kind: ObjectKind, words: &[String]) -> Outcome {
    let put = |object: BorrowedFd<'_>| {
        let done = kernel.map_update_object(map.map.as_fd(), key, object, 0);
        done.map_err(|error| {
            Failure::from(of_kernel("E0409", &format!("slot of map `{}`", map.info.name), error))
        })
    };
    let target = Target::split(words)?.0;
    match kind {
        ObjectKind::Program => put(target.program(kernel)?.as_fd()),
        _ => put(target.map(kernel)?.as_fd()),
    }
}

/// Removes a key.
pub(super) fn delete(kernel: &Arc<dyn Kernel>, words: &[String]) -> Outcome {
    let (map, rest) = Opened::new(kernel, words)?;
    let [typed] = rest else { return Err(usage("delete MAP KEY")) };
    if map.map.delete(&key(&map, typed)?)? { Ok(()) } else { Err(no_key(&map, typed)) }
}

fn no_key(map: &Opened, typed: &str) -> Failure {
    Failure::new("E0409", format!("map `{}` has no key `{typed}`", map.info.name))
}

fn key(map: &Opened, typed: &str) -> Outcome<Vec<u8>> {
    value::encode(map.key_type(), typed, map.info.key_size as usize, Endian::native())
        .map_err(|why| Failure::new("E0902", format!("key of map `{}`: {why}", map.info.name)))
}

fn usage(form: &str) -> Failure {
    Failure::Usage(format!("it has the form `onebpf map {form}`"))
}
