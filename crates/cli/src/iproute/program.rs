//! A program, loaded or taken from its pin, ready to be attached.

use super::hook::Hook;
use super::prepare::{prepare, section};
use super::source::{ObjectSource, Source};
use super::{bpffs, export};
use crate::exit::{Failure, Outcome};
use crate::load_args::{StateArgs, token};
use crate::out::Out;
use crate::render;
use onebpf::netlink::Attached;
use onebpf::object::{Contents, MapType, Warning};
use onebpf::{Kernel, Loaded, ParseOptions, PinLayout, PinOptions, Program, Spec};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

/// A program to be attached. What else was loaded with it lives as long.
#[derive(Debug)]
pub(crate) struct Ready {
    program: Program,
    name: String,
    tail: Option<(u32, u32)>,
    _loaded: Option<Loaded>,
}

impl Ready {
    /// The program as a message names it.
    pub(crate) fn attached(&self) -> Attached {
        Attached { fd: self.program.as_fd().as_raw_fd(), name: self.name.clone() }
    }

    /// The program.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }

    /// Map id and slot that its section names, if it comes from an object.
    pub(crate) fn tail(&self) -> Option<(u32, u32)> {
        self.tail
    }
}

/// Loads or opens a program. An object is loaded whole: its maps, the programs of its arrays; and its maps are handed over
/// if that is asked for. Nothing is attached.
pub(crate) fn ready(kernel: &Arc<dyn Kernel>, source: &Source, hook: &Hook, out: &mut Out) -> Outcome<Ready> {
    ready_for(kernel, source, hook, None, out)
}

/// The same for the hardware of a network device.
pub(crate) fn ready_for(
    kernel: &Arc<dyn Kernel>,
    source: &Source,
    hook: &Hook,
    device: Option<u32>,
    out: &mut Out,
) -> Outcome<Ready> {
    match source {
        Source::Pinned(typed) => {
            let program = Program::open_pin(kernel, bpffs::path(&**kernel, typed, hook.folder)?)?;
            Ok(Ready { program, name: source.annotation(""), tail: None, _loaded: None })
        }
        Source::Object(object) => {
            let (spec, main) = read(object, hook, out)?;
            let options = options(object, device);
            let mut loaded = onebpf::load_spec(kernel, &spec, &options)
                .map_err(|error| explained(&error, object).about(&object.file))?;
            warn(&loaded.warnings, object, out);
            warn_of_arrays(&spec, &loaded, out);
            if object.verbose {
                report(&spec, &loaded, out)?;
            }
            if let Some(socket) = &object.export {
                export::send(socket, &object.file, &spec, &loaded)?;
            }
            let program = loaded.programs.shift_remove(&main);
            let program = program.ok_or_else(|| Failure::new("E0412", format!("`{main}` is not loaded")))?;
            let name = source.annotation(section_of(object, hook, &spec, &main));
            let tail = spec.programs.get(&main).and_then(|program| program.tail);
            Ok(Ready { program, name, tail, _loaded: Some(loaded) })
        }
    }
}

fn read(object: &ObjectSource, hook: &Hook, out: &mut Out) -> Outcome<(Spec, String)> {
    let mut spec = onebpf::read(&object.file, &ParseOptions::default())
        .map_err(|error| Failure::from(error).about(&object.file))?;
    let main = prepare(&mut spec, hook, object)?;
    warn(&spec.warnings, object, out);
    Ok((spec, main))
}

fn warn(warnings: &[Warning], object: &ObjectSource, out: &mut Out) {
    for warning in warnings {
        out.say(&render::warning(warning, Some(&object.file), out.message_style()));
    }
}

/// iproute2 pins in a tree of its own, whatever dialect a map is written in.
fn options(object: &ObjectSource, device: Option<u32>) -> onebpf::Options {
    onebpf::Options {
        pins: PinOptions {
            iproute2_mount: bpffs::only(),
            layout: Some(PinLayout::Iproute2),
            ..PinOptions::default()
        },
        state: StateArgs::default().dir(),
        log_level: u32::from(object.verbose),
        device,
        token: token(None),
        ..onebpf::Options::default()
    }
}

/// The kernel empties a program array when its last user in user space goes (`bpf_map_put_uref()`), and this command goes.
fn warn_of_arrays(spec: &Spec, loaded: &Loaded, out: &mut Out) {
    for map in spec.maps.values() {
        let filled = matches!(&map.contents, Contents::Slots(slots) if !slots.is_empty());
        let unpinned = loaded.map(&map.name).is_some_and(|map| map.pinned().is_none());
        if map.kind == MapType::PROG_ARRAY && filled && unpinned {
            let text = "is not pinned: the kernel empties it when this command ends";
            out.say(&format!("warning: program array `{}` {text}", map.name));
        }
    }
}

/// The section that was asked for, or that of the program that was asked for.
fn section_of<'a>(object: &'a ObjectSource, hook: &Hook, spec: &'a Spec, main: &str) -> &'a str {
    match (&object.section, &object.program, spec.programs.get(main)) {
        (None, Some(_), Some(program)) => &program.section,
        _ => section(hook, object),
    }
}

/// With `verbose`, the whole log instead of its end. The library's hints may name options, which tc and ip do not have.
fn explained(error: &onebpf::Error, object: &ObjectSource) -> Failure {
    let mut report = error.report().clone();
    if report.hints.iter().any(|hint| hint.contains("`--")) {
        report.hints.push("these options are those of `onebpf load`: what it pins, tc and ip use".to_owned());
    }
    if object.verbose
        && let Some(log) = &report.log
    {
        report.log_tail = log.lines().map(str::to_owned).collect();
    }
    report.into()
}

/// What was loaded, map by map and program by program, with what the verifier says.
fn report(spec: &Spec, loaded: &Loaded, out: &mut Out) -> Outcome {
    for (name, map) in &loaded.maps {
        let info = map.info()?;
        let state = if map.reused() { "reused" } else { "created" };
        let pinned = map.pinned().map(|path| format!(", pinned at {}", path.display())).unwrap_or_default();
        let sizes = format!("key {} bytes, value {} bytes", info.key_size, info.value_size);
        let kind = MapType(info.map_type);
        out.say(&format!(
            "map `{name}` {state}: id {}, {kind}, {sizes}, {} entries, flags {:#x}{pinned}",
            info.id, info.max_entries, info.flags
        ));
    }
    for (name, program) in &loaded.programs {
        let info = program.info()?;
        let section = spec.programs.get(name).map(|program| program.section.as_str()).unwrap_or_default();
        out.say(&format!(
            "program `{name}` of section `{section}`: id {}, {} instructions, license `{}`",
            info.id,
            info.xlated_len / 8,
            spec.license
        ));
        if let Some(log) = program.log() {
            out.say(log);
        }
    }
    Ok(())
}
