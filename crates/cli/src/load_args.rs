//! The options that `plan`, `load` and `verify` share, and those that every verb with an object file has.

use crate::exit::{Failure, Outcome};
use crate::report;
use crate::target::Target;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use onebpf::object::{AttachType, Dialect, Extern, ExternKind, ProgramType, SectionFlags, SectionRule};
use onebpf::sys::Errno;
use onebpf::{
    ArrayRule, AttachTo, DefaultType, Mismatch, Options, OuterRule, ParseOptions, PinLayout, PinOptions,
    Report, Spec, TargetProgram, Token,
};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How to read an object.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Reading")]
pub(crate) struct ReadArgs {
    /// Unknown map attributes are warnings, not errors
    #[arg(long)]
    relaxed: bool,
    /// The dialect that map sections are written in, where the file leaves it open
    #[arg(long, value_name = "NAME", value_parser = dialects())]
    dialect: Option<Dialect>,
    /// Programs in sections NAME are of type TYPE, whatever the table says: NAME+ also NAME/..., NAME/ only those,
    /// TYPE a SEC() name such as `tc` or libbpf's name of a type (repeatable)
    #[arg(long, value_name = "NAME=TYPE", value_parser = section_rule)]
    section_type: Vec<SectionRule>,
}

/// How to load an object.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    read: ReadArgs,
    /// Root for pins by name [default: /sys/fs/bpf]
    #[arg(long, value_name = "DIR", help_heading = "Pins")]
    pin_root: Option<PathBuf>,
    /// Shape of the tree of pins [default: by dialect]
    #[arg(long, value_name = "LAYOUT", value_parser = layouts(), help_heading = "Pins")]
    layout: Option<PinLayout>,
    /// Pin every program and map under DIR
    #[arg(long, value_name = "DIR", conflicts_with = "no_pin", help_heading = "Pins")]
    pin: Option<PathBuf>,
    /// Pin nothing, reuse nothing
    #[arg(long, help_heading = "Pins")]
    no_pin: bool,
    /// Pin map NAME at PATH, whatever the object says (repeatable)
    #[arg(long, value_name = "NAME=PATH", value_parser = name_and_path, help_heading = "Pins")]
    pin_map: Vec<(String, PathBuf)>,
    /// Mount a BPF filesystem at the root if there is none
    #[arg(long, help_heading = "Pins")]
    mount_bpffs: bool,
    /// When a pinned map is not what the object declares: fail, replace or migrate, for all maps or one (repeatable)
    #[arg(long, value_name = "[MAP=]POLICY", value_parser = mismatch, help_heading = "Pins")]
    on_mismatch: Vec<(Option<String>, Mismatch)>,
    /// Migrate although something is lost; it is counted
    #[arg(long, help_heading = "Pins")]
    lossy: bool,
    /// Slots of reused maps of maps: keep, fill or sync, for all maps or one (repeatable) [default: fill; iproute2: keep]
    #[arg(long, value_name = "[MAP=]RULE", value_parser = outer, help_heading = "Pins")]
    outer: Vec<(Option<String>, OuterRule)>,
    /// Pinned program arrays that fit [default: replace; iproute2: reuse]
    #[arg(long, value_name = "replace|reuse", value_parser = arrays(), help_heading = "Pins")]
    program_arrays: Option<ArrayRule>,
    /// Take map NAME from the pin PATH instead of creating it
    #[arg(long, value_name = "NAME=PATH", value_parser = name_and_path, help_heading = "Pins")]
    reuse: Vec<(String, PathBuf)>,
    #[command(flatten)]
    keep: KeepArgs,
    #[command(flatten)]
    attach_to: AttachArgs,
    /// Only this program, and what it needs (repeatable)
    #[arg(long, value_name = "NAME", help_heading = "Choosing")]
    program: Vec<String>,
    /// Only the programs of this section (repeatable)
    #[arg(long, value_name = "NAME", help_heading = "Choosing")]
    section: Vec<String>,
    /// Program type for sections whose name says nothing: a SEC() name such as `tc`, or libbpf's name of a type
    #[arg(long = "type", value_name = "NAME", value_parser = default_type, help_heading = "Choosing")]
    default_type: Option<DefaultType>,
    /// Change the object before it is loaded: `map.NAME.max_entries=N`, `var.NAME=VALUE`, `kconfig.CONFIG_HZ=N`, `ops.TABLE.MEMBER=VALUE` (repeatable)
    #[arg(long, value_name = "WHAT=VALUE", value_parser = edit, help_heading = "Choosing")]
    set: Vec<(String, String)>,
    /// Kernel BTF for CO-RE: a file, or a directory with a file for each release [default: the running kernel's]
    #[arg(long, value_name = "PATH", help_heading = "Loading")]
    btf: Option<PathBuf>,
    /// Values of the kernel's configuration, before the host's: a file, or `CONFIG_HZ=1000`
    #[arg(long, value_name = "FILE|LINES", value_parser = kconfig, help_heading = "Loading")]
    kconfig: Option<Values>,
    /// Take a BPF token from the BPF filesystem at DIR, '' for none [default: $LIBBPF_BPF_TOKEN_PATH, else /sys/fs/bpf if needed]
    #[arg(long, value_name = "DIR", value_parser = clap::value_parser!(OsString), help_heading = "Loading")]
    token: Option<OsString>,
    /// How many programs to load at once [default: the CPUs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Loading")]
    jobs: Option<u16>,
    /// What to ask of the verifier: 0 says why it refuses, 1 and 2 say more
    #[arg(long, value_name = "0|1|2", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=2), help_heading = "Loading")]
    log_level: u32,
}

/// What a load leaves beside its pins.
#[derive(Args, Clone, Debug, Default)]
struct KeepArgs {
    /// Keep what is replaced, under names that end in `:prev`, for `onebpf rollback`
    #[arg(long, help_heading = "Pins")]
    keep_previous: bool,
    /// How long to wait while another load changes pins [default: 60]
    #[arg(long, value_name = "SECONDS", help_heading = "Pins")]
    lock_wait: Option<u32>,
    /// Register struct_ops tables; links are pinned beside their maps as NAME_link
    #[arg(long, help_heading = "Loading")]
    register: bool,
    #[command(flatten)]
    state: StateArgs,
}

/// Which programs in the kernel an object's programs attach to.
#[derive(Args, Clone, Debug, Default)]
struct AttachArgs {
    /// The program in the kernel that the freplace, fentry and fexit programs attach to, or the program PROGRAM: an id, a pinned path or a name (repeatable)
    #[arg(long, value_name = "[PROGRAM=]ID|PATH|NAME", value_parser = attach_to, help_heading = "Loading")]
    attach_to: Vec<(Option<String>, TargetProgram)>,
}

/// Where loads keep their state.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct StateArgs {
    /// Directory for the lock, journals and manifests [default: $ONEBPF_STATE, else /run/onebpf]
    #[arg(long, value_name = "DIR", help_heading = "Pins")]
    state_dir: Option<PathBuf>,
}

impl StateArgs {
    /// As it was typed, or as the environment has it.
    pub(crate) fn dir(&self) -> Option<PathBuf> {
        let environment = || std::env::var_os("ONEBPF_STATE").filter(|path| !path.is_empty());
        self.state_dir.clone().or_else(|| environment().map(PathBuf::from))
    }
}

/// An object, read.
pub(crate) struct Object {
    pub(crate) spec: Spec,
    /// How long reading the file and parsing it took.
    pub(crate) parse_time: Duration,
}

impl ReadArgs {
    /// Reads and parses a file.
    pub(crate) fn object(&self, path: &Path) -> Outcome<Object> {
        Ok(self.object_and_bytes(path)?.0)
    }

    fn object_and_bytes(&self, path: &Path) -> Outcome<(Object, Vec<u8>)> {
        let start = Instant::now();
        let bytes = std::fs::read(path).map_err(|error| cannot_read(path, &error))?;
        let options = ParseOptions {
            name: object_name(path),
            relaxed: self.relaxed,
            dialect: self.dialect,
            sections: self.section_type.clone(),
        };
        let spec = onebpf::parse(&bytes, &options)
            .map_err(|error| Failure::from(report::of_object(&error)).about(path))?;
        Ok((Object { spec, parse_time: start.elapsed() }, bytes))
    }
}

impl LoadArgs {
    /// Reads and parses a file, and changes it as `--set` says.
    pub(crate) fn object(&self, path: &Path) -> Outcome<Object> {
        let (mut object, bytes) = self.read.object_and_bytes(path)?;
        if self.pin.is_some() || !self.pin_map.is_empty() {
            // For the manifest.
            object.spec.file_hash.get_or_insert_with(|| onebpf::object::file_hash(&bytes));
        }
        for (what, value) in &self.set {
            if let Some(name) = what.strip_prefix(KCONFIG) {
                is_config(name, &object.spec).map_err(|failure| failure.about(path))?;
                continue;
            }
            let changed = object.spec.set(what, value);
            changed.map_err(|error| {
                known(Failure::from(report::of_object(&error)), what, &object.spec).about(path)
            })?;
        }
        Ok(object)
    }

    /// Values of the configuration: one that is set by name counts more than a file's.
    fn kconfig(&self) -> BTreeMap<String, String> {
        let mut values = self.kconfig.clone().unwrap_or_default().0;
        let set = self.set.iter().filter_map(|(what, value)| Some((what.strip_prefix(KCONFIG)?, value)));
        values.extend(set.map(|(name, value)| (name.to_owned(), value.clone())));
        values
    }

    /// Whether all of the object's programs are meant.
    pub(crate) fn is_whole(&self) -> bool {
        self.program.is_empty() && self.section.is_empty()
    }

    /// The options of the library.
    pub(crate) fn options(&self) -> Options {
        Options {
            programs: self.program.clone(),
            sections: self.section.clone(),
            default_type: self.default_type,
            btf: self.btf.clone(),
            pins: PinOptions {
                root: self.pin_root.clone(),
                layout: self.layout,
                everything_under: self.pin.clone(),
                disabled: self.no_pin,
                paths: self.pin_map.iter().cloned().collect(),
                mount: self.mount_bpffs,
                iproute2_mount: std::env::var_os("TC_BPF_MNT")
                    .filter(|path| !path.is_empty())
                    .map(PathBuf::from),
                on_mismatch: for_all(&self.on_mismatch).unwrap_or_default(),
                on_mismatch_of: for_one(&self.on_mismatch),
                lossy: self.lossy,
                outer: for_all(&self.outer),
                outer_of: for_one(&self.outer),
                program_arrays: self.program_arrays,
            },
            kconfig: self.kconfig(),
            reuse: self.reuse.iter().cloned().collect(),
            log_level: self.log_level,
            jobs: self.jobs.map_or(0, usize::from),
            token: token(self.token.clone()),
            keep_previous: self.keep.keep_previous,
            lock_wait: self.keep.lock_wait.map(|seconds| Duration::from_secs(seconds.into())),
            register: self.keep.register,
            state: self.keep.state.dir(),
            attach_to: AttachTo {
                all: for_all(&self.attach_to.attach_to),
                of: for_one(&self.attach_to.attach_to),
            },
            ..Options::default()
        }
    }
}

/// libbpf's rule: what was said, else what the environment says; an empty path forbids tokens.
pub(crate) fn token(said: Option<OsString>) -> Token {
    match said.or_else(|| std::env::var_os("LIBBPF_BPF_TOKEN_PATH")) {
        None => Token::IfNeeded,
        Some(path) if path.is_empty() => Token::Never,
        Some(path) => Token::From(path.into()),
    }
}

/// A file that cannot be read.
pub(crate) fn cannot_read(path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("`{}` cannot be read: {}", path.display(), reason(error));
    Failure::from(Report {
        code: "E0313",
        message,
        errno: error.raw_os_error().map(Errno),
        ..Report::default()
    })
}

/// What the system says, without Rust's `(os error 2)`.
pub(crate) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// libbpf's name of an object: the file's name up to its first dot (libbpf `bpf_object__new`).
pub(crate) fn object_name(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.split('.').next().unwrap_or_default().to_owned()
}

const DIALECTS: [(&str, Dialect); 4] = [
    ("btf", Dialect::Btf),
    ("btf-values", Dialect::BtfValues),
    ("bpf_map_def", Dialect::BpfMapDef),
    ("bpf_elf_map", Dialect::BpfElfMap),
];

fn dialects() -> impl TypedValueParser<Value = Dialect> {
    PossibleValuesParser::new(DIALECTS.map(|(name, _)| name)).map(|typed| {
        DIALECTS.iter().find(|(name, _)| *name == typed).map_or(Dialect::Btf, |(_, dialect)| *dialect)
    })
}

fn layouts() -> impl TypedValueParser<Value = PinLayout> {
    PossibleValuesParser::new(["libbpf", "iproute2"])
        .map(|typed| if typed == "iproute2" { PinLayout::Iproute2 } else { PinLayout::Libbpf })
}

/// What stands before a name of the configuration in `--set`.
const KCONFIG: &str = "kconfig.";

/// Values of the kernel's configuration by option.
#[derive(Clone, Debug, Default)]
struct Values(BTreeMap<String, String>);

/// A file, or lines of one.
fn kconfig(typed: &str) -> Result<Values, String> {
    let read = |path: &str| std::fs::read(path).map_err(|error| reason(&error));
    let data = if typed.contains('=') { typed.as_bytes().to_vec() } else { read(typed)? };
    onebpf::parse_config(&data).map(Values).map_err(|error| error.report().message.clone())
}

/// Only what the object asks for can be set by name.
fn is_config(name: &str, spec: &Spec) -> Outcome {
    let is_value = |found: &&Extern| matches!(found.kind, ExternKind::Kconfig { .. });
    let mut values = spec.externs.values().filter(is_value).map(|found| &found.name);
    if values.clone().any(|known| known == name) {
        return Ok(());
    }
    let known = names(&mut values);
    Err(Failure::new("E0130", format!("there is no configuration value `{name}`"))
        .hint(format!("there is {known}")))
}

/// Fields of maps, variables, values of the configuration and members of tables: names are looked up in the object.
fn edit(typed: &str) -> Result<(String, String), String> {
    let (what, value) = typed.split_once('=').unwrap_or_default();
    if ["var.", "map.", "ops.", KCONFIG].iter().any(|kind| what.starts_with(kind)) {
        return Ok((what.to_owned(), value.to_owned()));
    }
    Err("it has the form map.NAME.max_entries=N, var.NAME=VALUE, kconfig.NAME=VALUE or ops.TABLE.MEMBER=VALUE".to_owned())
}

/// Says which maps or variables there are.
fn known(failure: Failure, what: &str, spec: &Spec) -> Failure {
    let unknown = matches!(&failure, Failure::Failed { report, .. } if report.code == "E0130");
    let names = if what.starts_with("var.") { names(spec.variables.keys()) } else { names(spec.maps.keys()) };
    if unknown { failure.hint(format!("there is {names}")) } else { failure }
}

/// Names for people; `nothing` for none.
pub(crate) fn names<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

fn name_and_path(typed: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = typed.split_once('=').ok_or("it has the form NAME=PATH")?;
    if name.is_empty() || path.is_empty() {
        return Err("it has the form NAME=PATH".to_owned());
    }
    Ok((name.to_owned(), PathBuf::from(path)))
}

/// `POLICY` or `MAP=POLICY`.
fn for_map<T>(
    typed: &str,
    read: impl Fn(&str) -> Option<T>,
    known: &str,
) -> Result<(Option<String>, T), String> {
    let (map, word) = match typed.rsplit_once('=') {
        Some((map, word)) => (Some(map.to_owned()), word),
        None => (None, typed),
    };
    read(word).map(|read| (map, read)).ok_or_else(|| format!("`{word}` is none of {known}"))
}

fn mismatch(typed: &str) -> Result<(Option<String>, Mismatch), String> {
    let read = |word: &str| match word {
        "fail" => Some(Mismatch::Fail),
        "replace" => Some(Mismatch::Replace),
        "migrate" => Some(Mismatch::Migrate),
        _ => None,
    };
    for_map(typed, read, "fail, replace, migrate")
}

fn outer(typed: &str) -> Result<(Option<String>, OuterRule), String> {
    let read = |word: &str| match word {
        "keep" => Some(OuterRule::Keep),
        "fill" => Some(OuterRule::Fill),
        "sync" => Some(OuterRule::Sync),
        _ => None,
    };
    for_map(typed, read, "keep, fill, sync")
}

/// `TARGET` or `PROGRAM=TARGET`. A program's name has neither `/` nor `=`, a path may have both.
fn attach_to(typed: &str) -> Result<(Option<String>, TargetProgram), String> {
    let named = typed.split_once('=').filter(|(program, _)| !program.contains('/'));
    let (program, target) = named.map_or((None, typed), |(program, target)| (Some(program), target));
    if target.is_empty() || program == Some("") {
        return Err("it has the form ID, PATH or NAME, or PROGRAM= before one of them".to_owned());
    }
    Ok((program.map(str::to_owned), Target::guess(target).into()))
}

fn arrays() -> impl TypedValueParser<Value = ArrayRule> {
    PossibleValuesParser::new(["replace", "reuse"])
        .map(|typed| if typed == "reuse" { ArrayRule::Reuse } else { ArrayRule::Replace })
}

/// The last choice that names no map or program.
fn for_all<T: Clone>(given: &[(Option<String>, T)]) -> Option<T> {
    given.iter().rev().find(|(map, _)| map.is_none()).map(|(_, choice)| choice.clone())
}

/// The choices that name one.
fn for_one<T: Clone>(given: &[(Option<String>, T)]) -> BTreeMap<String, T> {
    given.iter().filter_map(|(map, choice)| Some((map.clone()?, choice.clone()))).collect()
}

/// A `SEC()` name first, for it says how the program attaches; else a bare program type.
fn default_type(typed: &str) -> Result<DefaultType, String> {
    if let Some((rule, _)) = SectionRule::find(typed) {
        return Ok(DefaultType { kind: rule.kind, attach: rule.attach });
    }
    let kind = ProgramType::from_name(typed).filter(|kind| *kind != ProgramType::UNSPEC);
    kind.map(|kind| DefaultType { kind, attach: AttachType(0) }).ok_or_else(|| {
        "neither a section name such as `xdp` or `tc`, nor a program type such as `sched_cls`".to_owned()
    })
}

/// A row for the table of sections: what a known section says, under another name.
fn section_rule(typed: &str) -> Result<SectionRule, String> {
    let (name, like) = typed.split_once('=').ok_or("it has the form NAME=TYPE")?;
    let DefaultType { kind, attach } = default_type(like)?;
    let flags = SectionRule::find(like).map_or(SectionFlags::empty(), |(rule, _)| rule.flags);
    Ok(SectionRule::new(name.to_owned(), kind, attach).with(flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_named_like_libbpf_names_it() {
        assert_eq!(object_name(Path::new("dir/flows.bpf.o")), "flows");
        assert_eq!(object_name(Path::new("flows")), "flows");
    }

    #[test]
    fn reuse_wants_a_name_and_a_path() {
        assert_eq!(name_and_path("a=/b"), Ok(("a".to_owned(), PathBuf::from("/b"))));
        assert!(name_and_path("a").is_err() && name_and_path("=b").is_err() && name_and_path("a=").is_err());
    }

    #[test]
    fn programs_attach_to_an_id_a_path_or_a_name() {
        let for_one = |program: &str, target| Ok((Some(program.to_owned()), target));
        assert_eq!(attach_to("12"), Ok((None, TargetProgram::Id(12))));
        assert_eq!(attach_to("p=main"), for_one("p", TargetProgram::Name("main".to_owned())));
        assert_eq!(attach_to("p=/a/b=c"), for_one("p", TargetProgram::Pinned("/a/b=c".into())));
        assert_eq!(attach_to("/a/b=c"), Ok((None, TargetProgram::Pinned("/a/b=c".into()))));
        assert!(attach_to("").is_err() && attach_to("p=").is_err() && attach_to("=12").is_err());
    }

    #[test]
    fn edits_are_of_maps_and_variables() {
        let pair = |what: &str, value: &str| Ok((what.to_owned(), value.to_owned()));
        assert_eq!(edit("map.obj.rodata.max_entries=0x10"), pair("map.obj.rodata.max_entries", "0x10"));
        assert_eq!(edit("var.debug=a=b"), pair("var.debug", "a=b"));
        assert!(edit("x=1").is_err() && edit("var.debug").is_err() && edit("").is_err());
    }

    #[test]
    fn sections_of_ones_own_are_like_known_ones() {
        let rule = section_rule("hook/=fentry.s").expect("a rule");
        assert_eq!(
            (&*rule.pattern, rule.kind, rule.program_flags()),
            ("hook/", ProgramType::TRACING, 1 << 4)
        );
        assert_eq!(section_rule("a=sched_act").map(|rule| rule.kind), Ok(ProgramType::SCHED_ACT));
        assert!(section_rule("a").is_err() && section_rule("a=b").is_err());
    }

    #[test]
    fn types_are_known_by_section_and_by_libbpfs_name() {
        assert_eq!(default_type("tc").map(|found| found.kind.0), Ok(3));
        assert_eq!(default_type("sched_act").map(|found| found.kind.0), Ok(4));
        assert!(default_type("nonsense").is_err() && default_type("unspec").is_err());
    }
}
