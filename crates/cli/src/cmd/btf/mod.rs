//! `onebpf btf`: type information of files and of the kernel.

mod c;
mod raw;

use crate::exit::{Failure, Outcome};
use crate::load_args::{cannot_read, object_name};
use crate::out::Out;
use crate::report::{of_btf, of_kernel, of_object};
use onebpf::btf::Btf;
use onebpf::sys::ObjectKind;
use onebpf::{Kernel, Linux, ParseOptions};
use std::os::fd::AsFd;
use std::path::Path;

/// What to do with type information.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Verb {
    /// Every type, as C or one line each
    Dump(Dump),
}

/// Which types, and how.
#[derive(clap::Args, Debug)]
pub(crate) struct Dump {
    /// An object file, a file of raw BTF, `id N`, or `vmlinux` for the running kernel's
    #[arg(required = true, num_args = 1..=2, value_name = "FILE")]
    words: Vec<String>,
    /// C definitions, or each type as it is encoded
    #[arg(long, value_name = "FORMAT", default_value = "raw", value_parser = ["c", "raw"])]
    format: String,
}

pub(crate) fn run(verb: &Verb, out: &mut Out) -> Outcome {
    let Verb::Dump(args) = verb;
    let btf = read(&args.words)?;
    match (out.json, args.format.as_str()) {
        (true, _) => raw::json(&btf, out),
        (false, "c") => c::print(&btf, out),
        (false, _) => raw::print(&btf, out),
    }
}

fn read(words: &[String]) -> Outcome<Btf> {
    match words {
        [file] if file == "vmlinux" => vmlinux(&Linux),
        [file] => from_file(Path::new(file)),
        [keyword, number] if keyword == "id" => from_kernel(&Linux, number),
        _ => Err(Failure::Usage("it has the form `onebpf btf dump FILE`, `id N` or `vmlinux`".to_owned())),
    }
}

/// BTF of an object, or a blob such as /sys/kernel/btf/vmlinux.
fn from_file(path: &Path) -> Outcome<Btf> {
    let bytes = std::fs::read(path).map_err(|error| cannot_read(path, &error))?;
    if !bytes.starts_with(b"\x7fELF") {
        return Btf::from_vec(bytes).map_err(|error| Failure::from(of_btf(&error)).about(path));
    }
    let options = ParseOptions { name: object_name(path), relaxed: true, ..ParseOptions::default() };
    let spec =
        onebpf::parse(&bytes, &options).map_err(|error| Failure::from(of_object(&error)).about(path))?;
    spec.btf.ok_or_else(|| {
        Failure::new("E0201", "the object has no BTF").hint("compile it with `-g`").about(path)
    })
}

fn from_kernel(kernel: &dyn Kernel, number: &str) -> Outcome<Btf> {
    let id = number.parse().map_err(|_| Failure::Usage(format!("`{number}` is not an id")))?;
    let opened = kernel.open_id(ObjectKind::Btf, id).and_then(|fd| kernel.btf_info(fd.as_fd()));
    let info = opened.map_err(|error| of_kernel("E0411", &format!("BTF with id {id}"), error))?;
    let parsed = if info.kernel && info.name != "vmlinux" {
        Btf::parse_split(std::sync::Arc::new(info.data), &vmlinux(kernel)?)
    } else {
        Btf::from_vec(info.data)
    };
    Ok(parsed.map_err(|error| of_btf(&error))?)
}

fn vmlinux(kernel: &dyn Kernel) -> Outcome<Btf> {
    let data = kernel.kernel_btf().map_err(|error| of_kernel("E0408", "the kernel's BTF", error))?;
    let data = data.ok_or_else(|| Failure::new("E0408", "this kernel has no BTF of its own"))?;
    Ok(Btf::parse(data).map_err(|error| of_btf(&error))?)
}
