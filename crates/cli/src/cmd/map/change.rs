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
use std::os::fd::AsFd;

/// The value of a key.
pub(super) fn lookup(kernel: &dyn Kernel, words: &[String], out: &mut Out) -> Outcome {
    let (map, rest) = Opened::new(kernel, words)?;
    let [typed] = rest else { return Err(usage("lookup MAP KEY")) };
    let key = key(&map, typed)?;
    let mut bytes = vec![0; map.value_buffer];
    kernel.map_lookup(map.fd.as_fd(), &key, &mut bytes, 0).map_err(|error| refused(&map, typed, error))?;
    let entry = Entry::new(&map, &key, &bytes)?;
    if out.json { out.json(&entry) } else { entry.print(out) }
}

/// Writes a value; slots of program arrays and maps of maps take an object.
pub(super) fn update(kernel: &dyn Kernel, words: &[String]) -> Outcome {
    let (map, rest) = Opened::new(kernel, words)?;
    let [typed, value, more @ ..] = rest else { return Err(usage("update MAP KEY VALUE")) };
    let key = key(&map, typed)?;
    let fd = map.fd.as_fd();
    if let Some(kind) = map.holds() {
        let object = Target::split(rest.get(1..).unwrap_or_default())?.0.open(kernel, kind)?;
        return kernel
            .map_update_object(fd, &key, object.as_fd(), 0)
            .map_err(|error| refused(&map, typed, error));
    }
    if !more.is_empty() {
        return Err(usage("update MAP KEY VALUE"));
    }
    let size = map.info.value_size as usize;
    let bytes = value::encode(map.value_type(), value, size, Endian::native())
        .map_err(|why| Failure::new("E0902", format!("value of map `{}`: {why}", map.info.name)))?;
    // Every CPU of a per-CPU map gets the value.
    let bytes = if map.is_per_cpu() {
        let mut one = bytes;
        one.resize(size.next_multiple_of(8), 0);
        one.repeat(map.value_buffer / one.len().max(1))
    } else {
        bytes
    };
    kernel.map_update(fd, &key, &bytes, 0).map_err(|error| refused(&map, typed, error))
}

/// Removes a key.
pub(super) fn delete(kernel: &dyn Kernel, words: &[String]) -> Outcome {
    let (map, rest) = Opened::new(kernel, words)?;
    let [typed] = rest else { return Err(usage("delete MAP KEY")) };
    let key = key(&map, typed)?;
    kernel.map_delete(map.fd.as_fd(), &key).map_err(|error| refused(&map, typed, error))
}

fn key(map: &Opened, typed: &str) -> Outcome<Vec<u8>> {
    value::encode(map.key_type(), typed, map.info.key_size as usize, Endian::native())
        .map_err(|why| Failure::new("E0902", format!("key of map `{}`: {why}", map.info.name)))
}

fn refused(map: &Opened, key: &str, error: onebpf::sys::Error) -> Failure {
    Failure::from(of_kernel("E0409", &format!("key `{key}` of map `{}`", map.info.name), error))
}

fn usage(form: &str) -> Failure {
    Failure::Usage(format!("it has the form `onebpf map {form}`"))
}
