//! What the tests of this crate share: the fixtures, and a private place on the real kernel.
#![allow(dead_code, unused_imports, reason = "each test binary uses its own part")]

pub(crate) mod migrating;
pub(crate) mod recording;
pub(crate) mod upgrade;

use indexmap::IndexMap;
use onebpf::btf::{
    Btf, Builder, Endian, FuncLinkage, IntEncoding, OwnedDef, OwnedMember, OwnedParam, OwnedType, TypeId,
    VarLinkage,
};
use onebpf::object::{AttachType, Layout, MapType, ProgramType};
use onebpf::{DefaultType, Options, ParseOptions, Spec};
use std::path::{Path, PathBuf};

pub(crate) use testing::in_private;

/// A fixture that ought to load.
pub(crate) struct Fixture {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// What the manifest says of loading it; `None`: it loads.
    pub(crate) load: Option<String>,
}

pub(crate) fn fixtures_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

/// All valid fixtures in this host's byte order.
pub(crate) fn valid_fixtures() -> Vec<Fixture> {
    let text = std::fs::read_to_string(fixtures_dir().join("MANIFEST.json")).expect("the manifest");
    let manifest: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let foreign = if cfg!(target_endian = "little") { "eb" } else { "el" };
    let rows = manifest["fixtures"].as_array().expect("a list").iter();
    rows.filter(|row| row["expect"] == "valid" && row["build"] != foreign)
        .map(|row| Fixture {
            name: text(&row["name"]).expect("a name"),
            path: fixtures_dir().join(text(&row["object"]).expect("a path")),
            load: text(&row["load"]),
        })
        .collect()
}

/// The fixtures that a load with [`options`] takes.
pub(crate) fn loadable() -> impl Iterator<Item = Fixture> {
    let loads = |load: &str| load.starts_with("with --type xdp");
    valid_fixtures().into_iter().filter(move |fixture| fixture.load.as_deref().is_none_or(loads))
}

pub(crate) fn spec(name: &str) -> Spec {
    read(&fixtures_dir().join(format!("obj/{name}.o")))
}

pub(crate) fn read(path: &Path) -> Spec {
    onebpf::read(path, &ParseOptions::default()).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Default options, but programs whose section says nothing are XDP programs (iproute2's section `prog`).
pub(crate) fn options() -> Options {
    let default_type = Some(DefaultType { kind: ProgramType::XDP, attach: AttachType(0) });
    Options { default_type, ..Options::default() }
}

/// What is alive on a fake kernel, but the lock and its directory, which stay.
pub(crate) fn left(fake: &onebpf_fake::FakeKernel) -> onebpf_fake::Live {
    let mut live = fake.live();
    let stays = |path: &PathBuf| {
        ["/run/onebpf", "/run/onebpf/lock", "/run/onebpf/objects"].contains(&path.to_str().unwrap())
    };
    live.dirs.retain(|path| !stays(path));
    live.files.retain(|path| !stays(path));
    live
}

/// How many fds this process has open.
pub(crate) fn open_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("procfs").count()
}

/// What is pinned below `dir`, directories included.
pub(crate) fn tree(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(tree(&entry.path()));
        }
        found.push(entry.path());
    }
    found.sort();
    found
}

/// Empties the private BPF filesystem.
pub(crate) fn sweep() {
    for path in tree(Path::new("/sys/fs/bpf")).into_iter().rev() {
        let _ = if path.is_dir() { std::fs::remove_dir(&path) } else { std::fs::remove_file(&path) };
    }
}

/// An object without programs: one pinned map whose value is a struct of these members (name, type, bit offset).
pub(crate) fn with_value(kind: MapType, size: u32, members: &[(&str, Member, u32)]) -> Spec {
    let mut spec = spec("btf_pinned");
    let mut btf = Builder::new(Endian::native());
    let number = |size, encoding| OwnedType::int(format!("i{size}{encoding}"), size, IntEncoding(encoding));
    let int = btf.push(number(4, 0));
    let mut owned = Vec::new();
    for (name, member, bit_offset) in members {
        let ty = match *member {
            Member::Unsigned(size) => btf.push(number(size, 0)),
            Member::Signed(size) => btf.push(number(size, 1)),
            Member::Text(count) => {
                let elem = btf.push(number(1, 0));
                btf.push(OwnedType::new("", OwnedDef::Array { elem, index: int, count }))
            }
        };
        owned.push(OwnedMember { name: (*name).to_owned(), ty, bit_offset: *bit_offset, bit_size: None });
    }
    let value = btf.push(OwnedType::new("value", OwnedDef::Struct { size, members: owned }));
    // A trie's key is a structure that begins with the length of the prefix.
    let key = if kind == MapType::LPM_TRIE {
        let member = |name: &str, bit_offset| OwnedMember {
            name: name.to_owned(),
            ty: int,
            bit_offset,
            bit_size: None,
        };
        let members = vec![member("length", 0), member("data", 32)];
        btf.push(OwnedType::new("prefix", OwnedDef::Struct { size: 8, members }))
    } else {
        int
    };
    let btf = Btf::from_vec(btf.build().expect("BTF")).expect("BTF");
    (spec.programs, spec.functions) = (IndexMap::default(), Vec::new());
    spec.btf = Some(btf);
    let map = &mut spec.maps[0];
    (map.kind, map.max_entries) = (kind, 1024);
    if kind == MapType::LPM_TRIE {
        map.flags = 1; // BPF_F_NO_PREALLOC, which tries ask for
    }
    map.key = Layout { size: if key == int { 4 } else { 8 }, btf: Some(key) };
    map.value = Layout { size, btf: Some(value) };
    spec
}

/// A member's type: bytes.
#[derive(Clone, Copy)]
pub(crate) enum Member {
    Unsigned(u32),
    Signed(u32),
    Text(u32),
}

/// Gives a kernel types of its own: the functions and variables that the fixtures name, and the modules `extra` and
/// `another` with more.
pub(crate) fn with_kernel_types(kernel: onebpf_fake::FakeKernel) -> onebpf_fake::FakeKernel {
    let mut btf = Builder::new(Endian::native());
    let int = btf.push(OwnedType::int("int", 4, IntEncoding::SIGNED));
    let task = btf.push(OwnedType::new("task_struct", OwnedDef::Struct { size: 64, members: Vec::new() }));
    let pointer = btf.push(OwnedType::new("", OwnedDef::Ptr(task)));
    let function = |btf: &mut Builder, name: &str, ret, params: &[(&str, TypeId)]| {
        let params =
            params.iter().map(|(name, ty)| OwnedParam { name: (*name).to_owned(), ty: *ty }).collect();
        let proto = btf.push(OwnedType::new("", OwnedDef::FuncProto { ret, params }));
        btf.push(OwnedType::new(name, OwnedDef::Func { proto, linkage: FuncLinkage::Static }))
    };
    function(&mut btf, "bpf_task_from_pid", pointer, &[("pid", int)]);
    function(&mut btf, "bpf_task_from_vpid", pointer, &[("vpid", int)]);
    function(&mut btf, "bpf_task_release", TypeId::VOID, &[("p", pointer)]);
    let variable = OwnedDef::Var { ty: int, linkage: VarLinkage::Global };
    btf.push(OwnedType::new("bpf_prog_active", variable.clone()));
    let base = Btf::from_vec(btf.build().expect("BTF")).expect("BTF");
    let mut extra = Builder::over(&base);
    function(&mut extra, "bpf_extra_call", int, &[("value", int)]);
    extra.push(OwnedType::new("extra_counter", variable));
    let mut another = Builder::over(&base);
    function(&mut another, "bpf_another_call", int, &[("value", int)]);
    let kernel = kernel.with_kernel_btf(base.bytes().to_vec());
    let kernel = kernel.with_module("extra", extra.build().expect("BTF"));
    kernel.with_module("another", another.build().expect("BTF"))
}
