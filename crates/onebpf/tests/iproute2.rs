//! iproute2's layout: where its objects pin, what they reuse, what they fill. The numbers are those of the acceptance
//! checks that were observed with iproute2 7.1 built without libbpf.

mod common;

use common::{in_private, options, spec, tree};
use onebpf::object::{Contents, MapType, Pinning, ProgramType, Slot, SlotTarget};
use onebpf::plan::Step;
use onebpf::{
    DefaultType, Kernel, Linux, Loaded, Map, Options, OuterRule, PinLayout, Spec, load_spec, observe, plan,
};
use onebpf_fake::FakeKernel;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

const ROOT: &str = "/sys/fs/bpf";

fn linux() -> Arc<dyn Kernel> {
    Arc::new(Linux)
}

fn as_type(kind: ProgramType) -> Options {
    let default_type = Some(DefaultType { kind, attach: onebpf::object::AttachType(0) });
    Options { default_type, ..options() }
}

#[track_caller]
fn load(kernel: &Arc<dyn Kernel>, spec: &Spec) -> Loaded {
    load_with(kernel, spec, &options())
}

#[track_caller]
fn load_with(kernel: &Arc<dyn Kernel>, spec: &Spec, options: &Options) -> Loaded {
    load_spec(kernel, spec, options).unwrap_or_else(|e| panic!("{e}\n{:#?}", e.report()))
}

fn id(loaded: &Loaded, map: &str) -> u32 {
    loaded.maps[map].info().unwrap().id
}

fn id_at(kernel: &Arc<dyn Kernel>, path: &str) -> u32 {
    Map::open_pin(kernel, Path::new(path)).unwrap_or_else(|e| panic!("{path}: {e}")).info().unwrap().id
}

fn sh(script: &str) {
    let status = Command::new("sh").args(["-ec", script]).status().expect("sh");
    assert!(status.success(), "{script}");
}

/// Checks 1 and 48: without a BPF filesystem one is mounted, with the tree in it.
fn the_tree_is_made(kernel: &Arc<dyn Kernel>) {
    let loaded = load(kernel, &spec("elf_pins"));
    assert_eq!(kernel.is_bpffs(Path::new(ROOT)), Ok(true));
    for name in ["xdp", "ip"] {
        let target = kernel.read_link(&Path::new(ROOT).join(name)).unwrap();
        assert_eq!(target.as_os_str(), "/sys/fs/bpf/tc/");
        let globals = kernel.list_dir(&Path::new(ROOT).join(name).join("globals")).unwrap();
        assert_eq!(globals, [PathBuf::from("fix_global")]);
    }
    drop(loaded);
}

#[test]
fn the_tree_on_the_fake() {
    let fake = FakeKernel::new().without_bpffs(ROOT);
    the_tree_is_made(&(Arc::new(fake) as Arc<dyn Kernel>));
}

#[test]
fn the_tree_on_the_kernel() {
    in_private("the_tree_on_the_kernel", || {
        use std::os::unix::fs::PermissionsExt;
        sh("umount /sys/fs/bpf");
        the_tree_is_made(&linux());
        let mode = |path: &str| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("/sys/fs/bpf/tc"), mode("/sys/fs/bpf/tc/globals")), (0o700, 0o700));
        assert_eq!(mode("/sys/fs/bpf/tc/globals/fix_global"), 0o600);
        sh("umount /sys/fs/bpf; mkdir /tmp/onebpf-elsewhere; mount -t bpf bpf /tmp/onebpf-elsewhere");
        // Found in /proc/mounts.
        let _ = load(&linux(), &spec("elf_pins"));
        sh("test -e /tmp/onebpf-elsewhere/tc/globals/fix_global");
        // Named by the caller, as by TC_BPF_MNT.
        let mut options = options();
        options.pins.iproute2_mount = Some("/tmp/onebpf-mount".into());
        let _ = load_with(&linux(), &spec("elf_pins"), &options);
        sh("test -e /tmp/onebpf-mount/tc/globals/fix_global");
        sh("umount /tmp/onebpf-elsewhere /tmp/onebpf-mount; rmdir /tmp/onebpf-elsewhere /tmp/onebpf-mount");
    });
}

fn hex(bytes: [u8; 20]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Checks 2, 4 to 9, 11, 12 and 14: scopes and their reuse.
fn scopes(kernel: &Arc<dyn Kernel>) {
    let mut object = spec("elf_pins");
    let hash = hex(object.file_hash.expect("it pins for itself"));
    let first = load(kernel, &object);
    assert_eq!(first.maps["fix_private"].pinned(), None);
    assert_eq!(id(&first, "fix_global"), id_at(kernel, "/sys/fs/bpf/tc/globals/fix_global"));
    assert_eq!(id(&first, "fix_object"), id_at(kernel, &format!("/sys/fs/bpf/tc/{hash}/fix_object")));
    assert_eq!(id(&first, "fix_custom"), id_at(kernel, "/sys/fs/bpf/tenant/a/fix_custom"));
    first.maps["fix_global"].update(&1u32.to_ne_bytes(), &7u64.to_ne_bytes(), 0).unwrap();

    let second = load(kernel, &object);
    assert_ne!(id(&first, "fix_private"), id(&second, "fix_private"));
    for map in ["fix_object", "fix_global", "fix_custom"] {
        assert_eq!(id(&first, map), id(&second, map), "{map}");
    }
    let value = second.maps["fix_global"].lookup(&1u32.to_ne_bytes()).unwrap();
    assert_eq!(value, Some(7u64.to_ne_bytes().to_vec()));

    // Another file: its own directory for itself. Ids and kinds of pinning do not count.
    object.file_hash = Some([7; 20]);
    object.maps["fix_global"].id = Some(99);
    object.maps["fix_custom"].pinning = Pinning::Custom(12);
    let third = load(kernel, &object);
    assert_ne!(id(&first, "fix_object"), id(&third, "fix_object"));
    assert_eq!(id(&first, "fix_global"), id(&third, "fix_global"));
    assert_eq!(third.maps["fix_custom"].pinned(), None);
    assert!(third.warnings.iter().any(|warning| warning.code == "W0303"), "{:?}", third.warnings);

    // XDP and lwt reach the same pins.
    for kind in [ProgramType::XDP, ProgramType::LWT_IN, ProgramType::LWT_XMIT] {
        let mut object = spec("elf_pins");
        object.programs.clear();
        let loaded = load_with(kernel, &object, &as_type(kind));
        assert_eq!(id(&loaded, "fix_global"), id(&first, "fix_global"));
        assert_eq!(id(&loaded, "fix_object"), id(&first, "fix_object"));
    }
}

const DATABASE: &str =
    "# a comment\n2 reserved\n0xb wrong\n11 tenant/a # the last one holds\nnonsense\n12 late\n";

#[test]
fn scopes_on_the_fake() {
    let fake = FakeKernel::new().with_file("/etc/iproute2/bpf_pinning", DATABASE);
    scopes(&(Arc::new(fake) as Arc<dyn Kernel>));
}

#[test]
fn scopes_on_the_kernel() {
    in_private("scopes_on_the_kernel", || {
        sh("mkdir -p /etc/iproute2 && mount -t tmpfs none /etc/iproute2");
        std::fs::write("/etc/iproute2/bpf_pinning", DATABASE).unwrap();
        scopes(&linux());
    });
}

#[test]
fn odd_lines_are_told() {
    let fake: Arc<dyn Kernel> = Arc::new(FakeKernel::new().with_file("/etc/iproute2/bpf_pinning", DATABASE));
    let loaded = load(&fake, &spec("elf_pins"));
    let told: Vec<&str> = loaded.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert!(told[0].contains("bpf_pinning:2: 2 is reserved"), "{told:?}");
    assert!(told[1].contains("bpf_pinning:5: `nonsense`"), "{told:?}");
    // What /etc does not name, /usr/share may.
    let fake: Arc<dyn Kernel> =
        Arc::new(FakeKernel::new().with_file("/usr/share/iproute2/bpf_pinning", "11 shared\n"));
    let loaded = load(&fake, &spec("elf_pins"));
    assert_eq!(loaded.maps["fix_custom"].pinned(), Some(Path::new("/sys/fs/bpf/shared/fix_custom")));
}

/// Check 10: both values are named, the pinned map is untouched, nothing is loaded.
#[test]
fn a_different_map_is_refused() {
    let fake = FakeKernel::new();
    let kernel: Arc<dyn Kernel> = Arc::new(fake.clone());
    let mut object = spec("elf_pins");
    let first = load(&kernel, &object);
    object.maps["fix_global"].max_entries = 32;
    let before = fake.live();
    let error = load_spec(&kernel, &object, &options()).unwrap_err();
    assert!(error.report().notes[0].contains("max_entries  2       32"), "{:?}", error.report().notes);
    assert_eq!(fake.live(), before);
    drop(first);
}

/// Check 50: `xdp` as a directory has globals of its own.
#[test]
fn a_directory_of_its_own() {
    let kernel: Arc<dyn Kernel> = Arc::new(FakeKernel::new());
    kernel.mkdir(Path::new("/sys/fs/bpf/xdp")).unwrap();
    let mut object = spec("elf_pins");
    let tc = load(&kernel, &object);
    object.programs.values_mut().for_each(|program| program.kind = ProgramType::XDP);
    let xdp = load(&kernel, &object);
    assert_ne!(id(&tc, "fix_global"), id(&xdp, "fix_global"));
    assert_eq!(xdp.maps["fix_global"].pinned(), Some(Path::new("/sys/fs/bpf/xdp/globals/fix_global")));
}

/// Checks 21 to 23, 25 to 27: what is filled, and when.
fn outer_maps(kernel: &Arc<dyn Kernel>) {
    let mut object = spec("elf_inner");
    let held = |loaded: &Loaded, outer: &str, key: u32| {
        let id = loaded.maps[outer].lookup(&key.to_ne_bytes()).unwrap();
        id.map(|id| u32::from_ne_bytes(id.try_into().unwrap()))
    };
    object.maps["outer"].pinning = Pinning::Global;
    let first = load(kernel, &object);
    assert_eq!(held(&first, "outer", 3), Some(id(&first, "inner")));
    assert_eq!((0..8).filter(|key| held(&first, "outer", *key).is_some()).count(), 1);
    assert_eq!(first.maps["by_name"].entries().unwrap().count(), 0, "-1 is a template only");

    // `by_name` is new each time, so the reused one is written, too.
    let second = load(kernel, &object);
    assert_eq!(held(&second, "outer", 3), Some(id(&second, "inner")));
    // Nothing new: nothing is written.
    object.maps.shift_remove("by_name");
    object.programs.clear();
    let third = load(kernel, &object);
    assert_eq!(held(&third, "outer", 3), Some(id(&second, "inner")));
    assert_ne!(id(&third, "inner"), id(&second, "inner"));
    assert!(third.warnings.iter().any(|warning| warning.code == "W0302"), "{:?}", third.warnings);

    // By choice.
    let mut fill = options();
    fill.pins.outer = Some(OuterRule::Fill);
    third.maps["outer"].update(&5u32.to_ne_bytes(), &raw_fd(&third, "inner"), 0).unwrap();
    let fourth = load_with(kernel, &object, &fill);
    assert_eq!(held(&fourth, "outer", 3), Some(id(&fourth, "inner")));
    assert_eq!(held(&fourth, "outer", 5), Some(id(&third, "inner")));
    fill.pins.outer_of.insert("outer".into(), OuterRule::Sync);
    let fifth = load_with(kernel, &object, &fill);
    assert_eq!((held(&fifth, "outer", 3), held(&fifth, "outer", 5)), (Some(id(&fifth, "inner")), None));

    // A new outer map takes a pinned inner one.
    object.maps["outer"].pinning = Pinning::None;
    object.maps["inner"].pinning = Pinning::Global;
    let sixth = load(kernel, &object);
    let seventh = load(kernel, &object);
    assert_eq!(id(&sixth, "inner"), id(&seventh, "inner"));
    assert_eq!(held(&seventh, "outer", 3), Some(id(&sixth, "inner")));
}

/// A map as user space writes it into a slot.
fn raw_fd(loaded: &Loaded, map: &str) -> [u8; 4] {
    use std::os::fd::{AsFd, AsRawFd};
    loaded.maps[map].as_fd().as_raw_fd().to_ne_bytes()
}

#[test]
fn outer_maps_on_the_fake() {
    outer_maps(&(Arc::new(FakeKernel::new()) as Arc<dyn Kernel>));
}

#[test]
fn outer_maps_on_the_kernel() {
    in_private("outer_maps_on_the_kernel", || outer_maps(&linux()));
}

/// Check 24: refused with the names, before anything is made.
#[test]
fn an_inner_map_that_does_not_fit() {
    let fake = FakeKernel::new();
    let kernel: Arc<dyn Kernel> = Arc::new(fake.clone());
    let mut object = spec("elf_inner");
    let other =
        onebpf::object::MapSpec { name: "other".into(), max_entries: 9, ..object.maps["inner"].clone() };
    object.maps.insert("other".into(), other);
    let target = SlotTarget::Map("other".into());
    object.maps["outer"].contents = Contents::Slots(vec![Slot { index: 4, target }]);
    let error = load_spec(&kernel, &object, &options()).unwrap_err();
    assert_eq!(error.code(), "E0314");
    assert!(
        error.report().message.contains("`other`") && error.report().notes[0].contains("max_entries"),
        "{error:?}"
    );
    assert!(fake.live().is_empty(), "{:?}", fake.live());
}

/// Checks 28 to 31, 37, 38: slots of arrays, shared between loads.
fn tail_calls(kernel: &Arc<dyn Kernel>) {
    let mut object = spec("elf_tail");
    object.maps["jumps"].pinning = Pinning::Global;
    let slots = |loaded: &Loaded| -> Vec<Option<u32>> {
        let held = |key: u32| loaded.maps["jumps"].lookup(&key.to_ne_bytes()).unwrap();
        (0..4).map(|key| held(key).map(|id| u32::from_ne_bytes(id.try_into().unwrap()))).collect()
    };
    let program = |loaded: &Loaded, name: &str| Some(loaded.programs[name].info().unwrap().id);
    let first = load(kernel, &object);
    assert_eq!(slots(&first), [program(&first, "first"), None, program(&first, "second"), None]);
    // The same array, its own slots anew.
    let second = load(kernel, &object);
    assert_eq!(id(&first, "jumps"), id(&second, "jumps"));
    assert_eq!(slots(&first), [program(&second, "first"), None, program(&second, "second"), None]);
    // Another object with one slot of its own: the rest stays.
    let target = SlotTarget::Program("first".into());
    object.maps["jumps"].contents = Contents::Slots(vec![Slot { index: 3, target }]);
    let third = load(kernel, &object);
    let expected = [program(&second, "first"), None, program(&second, "second"), program(&third, "first")];
    assert_eq!(slots(&first), expected);
    // Programs of another type are refused before the first write.
    object.programs["entry"].kind = ProgramType::XDP;
    let error = load_spec(kernel, &object, &options()).unwrap_err();
    assert_eq!(error.code(), "E0305");
    assert!(
        error.report().notes[0].contains("sched_cls programs  xdp programs"),
        "{:?}",
        error.report().notes
    );
    assert_eq!(slots(&first), expected);
}

#[test]
fn tail_calls_on_the_fake() {
    tail_calls(&(Arc::new(FakeKernel::new()) as Arc<dyn Kernel>));
}

#[test]
fn tail_calls_on_the_kernel() {
    in_private("tail_calls_on_the_kernel", || tail_calls(&linux()));
}

/// Check 37, and the dialect that decides it.
#[test]
fn programs_beside_elf_maps_carry_no_attach_type() {
    let kernel = FakeKernel::new();
    let attach_types = |name: &str| -> Vec<u32> {
        let (mut spec, options) = (spec(name), as_type(ProgramType::XDP));
        for program in spec.programs.values_mut() {
            (program.kind, program.attach) = (ProgramType::XDP, onebpf::object::AttachType(37));
        }
        let facts = observe(&kernel, &spec, &options).unwrap();
        let steps = plan(&spec, &options, &facts).unwrap().steps;
        let loads = steps.iter().filter_map(|step| match step {
            Step::LoadProgram(program) => Some(program.expected_attach_type),
            _ => None,
        });
        loads.collect()
    };
    assert!(attach_types("mix_elf_btf").iter().all(|attach| *attach == 0));
    assert!(attach_types("btf_pinned").iter().all(|attach| *attach == 37));
}

/// Pins of both dialects in one object, by one layout or by each map's own.
#[test]
fn layouts() {
    let kernel: Arc<dyn Kernel> = Arc::new(FakeKernel::new());
    let mut object = spec("mix_elf_btf");
    object.maps["old"].pinning = Pinning::Global;
    object.maps["new"].pinning = Pinning::ByName;
    let loaded = load(&kernel, &object);
    let at = |loaded: &Loaded, map: &str| loaded.maps[map].pinned().unwrap().display().to_string();
    assert_eq!(
        (at(&loaded, "old"), at(&loaded, "new")),
        ("/sys/fs/bpf/tc/globals/old".into(), "/sys/fs/bpf/new".into())
    );
    let mut one = options();
    one.pins.layout = Some(PinLayout::Iproute2);
    assert_eq!(at(&load_with(&kernel, &object, &one), "new"), "/sys/fs/bpf/tc/globals/new");
    one.pins.layout = Some(PinLayout::Libbpf);
    one.pins.paths.insert("new".into(), "/sys/fs/bpf/my/place".into());
    let loaded = load_with(&kernel, &object, &one);
    assert_eq!(
        (at(&loaded, "old"), at(&loaded, "new")),
        ("/sys/fs/bpf/old".into(), "/sys/fs/bpf/my/place".into())
    );
}

/// A dot in a map's name never becomes a directory, and two names never one pin.
#[test]
fn dots() {
    let kernel: Arc<dyn Kernel> = Arc::new(FakeKernel::new());
    let mut object = spec("btf_pinned");
    object.programs.clear();
    let mut map = object.maps.shift_remove("fix_pinned").unwrap();
    map.name = "a.b".into();
    object.maps.insert("a.b".into(), map.clone());
    let loaded = load(&kernel, &object);
    assert_eq!(loaded.maps["a.b"].pinned(), Some(Path::new("/sys/fs/bpf/a_b")));
    map.name = "a_b".into();
    object.maps.insert("a_b".into(), map);
    let error = load_spec(&kernel, &object, &options()).unwrap_err();
    assert_eq!(error.code(), "E0306");
    assert!(error.report().message.contains("`a.b` and `a_b`"), "{error}");
}

/// `--mount-bpffs`: with consent only.
#[test]
fn mounting_needs_consent() {
    in_private("mounting_needs_consent", || {
        sh("umount /sys/fs/bpf");
        let mut options = options();
        let error = load_spec(&linux(), &spec("btf_pinned"), &options).unwrap_err();
        assert_eq!(error.code(), "E0306");
        assert!(error.report().hints[0].contains("--mount-bpffs"), "{error:?}");
        options.pins.mount = true;
        let _ = load_with(&linux(), &spec("btf_pinned"), &options);
        assert!(tree(Path::new(ROOT)).contains(&"/sys/fs/bpf/fix_pinned".into()));
    });
}

/// Check 49: where no BPF filesystem can be mounted, and nothing needs one, that is a warning.
#[test]
fn the_tree_is_only_offered() {
    let without_mount = || {
        let fake = FakeKernel::new().without_bpffs(ROOT);
        let faulty = onebpf_fake::Faulty::new(Arc::new(fake), 1, onebpf::sys::Errno::PERM);
        Arc::new(faulty.only(|op| op == onebpf::sys::Op::MountBpffs)) as Arc<dyn Kernel>
    };
    let mut options = options();
    options.pins.layout = Some(PinLayout::Iproute2);
    let loaded = load_with(&without_mount(), &spec("elf_plain"), &options);
    let warned: Vec<&str> = loaded.warnings.iter().map(|warning| warning.code.as_str()).collect();
    assert_eq!(warned, ["W0306"]);
    let kernel = without_mount();
    let facts = observe(&*kernel, &spec("elf_plain"), &options).unwrap();
    let shown = plan(&spec("elf_plain"), &options, &facts).unwrap().to_string();
    assert!(
        shown.contains("try           iproute2's tree of pins  mount bpffs /sys/fs/bpf, make dir"),
        "{shown}"
    );
    assert_eq!(load_spec(&without_mount(), &spec("elf_pins"), &options).unwrap_err().code(), "E0406");
    // Links are never needed: old kernels have none on a BPF filesystem.
    let linkless = onebpf_fake::Faulty::new(Arc::new(FakeKernel::new()), 1, onebpf::sys::Errno::PERM);
    let linkless: Arc<dyn Kernel> = Arc::new(linkless.only(|op| op == onebpf::sys::Op::Symlink));
    let loaded = load_with(&linkless, &spec("elf_pins"), &options);
    assert_eq!(id(&loaded, "fix_global"), id_at(&linkless, "/sys/fs/bpf/tc/globals/fix_global"));
    assert_eq!(loaded.warnings.iter().filter(|warning| warning.code == "W0306").count(), 1);
}

/// Check 51: what is no map is never taken for one, and never overwritten.
#[test]
fn a_program_at_the_path() {
    in_private("a_program_at_the_path", || {
        let mut all = options();
        all.pins.everything_under = Some(ROOT.into());
        let demo = load_with(&linux(), &spec("btf_pinned"), &all);
        let program = demo.programs.values().find_map(|program| program.pinned()).unwrap();
        let mut object = spec("btf_pinned");
        let mut options = options();
        options.pins.on_mismatch = onebpf::Mismatch::Replace;
        for path in [program.to_owned(), "/sys/fs/bpf".into()] {
            options.pins.paths.insert("fix_pinned".into(), path);
            object.programs.clear();
            assert_eq!(load_spec(&linux(), &object, &options).unwrap_err().code(), "E0306");
        }
    });
}

#[test]
fn flags_that_the_kernel_adds_do_not_count() {
    in_private("flags_that_the_kernel_adds_do_not_count", || {
        for (kind, entries, flags) in [
            (MapType::DEVMAP, 4, 0),
            (MapType::RINGBUF, 5000, 0),
            (MapType::PERF_EVENT_ARRAY, 0, 0),
            (MapType::LRU_HASH, 101, 2),
        ] {
            let mut object = spec("btf_pinned");
            object.programs.clear();
            let map = &mut object.maps[0];
            (map.kind, map.max_entries, map.flags) = (kind, entries, flags);
            let size = if kind == MapType::RINGBUF { 0 } else { 4 };
            map.key = onebpf::object::Layout { size, btf: None };
            map.value = map.key;
            let first = load(&linux(), &object);
            let second = load(&linux(), &object);
            assert_eq!(id(&first, "fix_pinned"), id(&second, "fix_pinned"), "{kind}");
            common::sweep();
        }
    });
}

/// Tags on functions say where a program goes; a tag that leads nowhere is told.
#[test]
fn slots_by_declaration_tag() {
    in_private("slots_by_declaration_tag", || {
        let object = spec("tail_tags");
        assert_eq!(object.warnings.iter().filter(|warning| warning.code == "W0106").count(), 1);
        let loaded = load(&linux(), &object);
        for index in 0..8u32 {
            let held = loaded.maps["calls"].lookup(&index.to_ne_bytes()).unwrap();
            let wanted = match index {
                2 => Some("second"),
                5 => Some("fifth"),
                _ => None,
            };
            let wanted = wanted.map(|name| loaded.programs[name].info().unwrap().id.to_ne_bytes().to_vec());
            assert_eq!(held, wanted, "slot {index}");
        }
    });
}
