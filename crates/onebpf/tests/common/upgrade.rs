//! An upgrade that does everything: one pin is reused, others are replaced, one is new in a new directory, slots of a
//! shared outer map and of a shared program array are written.

use onebpf::object::Spec;
use onebpf::sys::ObjectKind;
use onebpf::{ArrayRule, Kernel, Loaded, Mismatch, Options, load_spec};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

pub(crate) const STATE: &str = "/run/onebpf";
pub(crate) const ROOT: &str = "/sys/fs/bpf";

/// Of a load: 1 for the old one.
pub(crate) fn spec(generation: u32) -> Spec {
    static READ: LazyLock<Spec> = LazyLock::new(|| super::spec("upgrade"));
    let mut spec = READ.clone();
    spec.set_variable("generation", &generation.to_ne_bytes()).unwrap();
    if generation > 1 {
        spec.maps["changed"].max_entries = 8 * generation;
    }
    spec
}

pub(crate) fn options(generation: u32) -> Options {
    let mut options = Options { jobs: 1, ..super::options() };
    options.pins.everything_under = Some(format!("{ROOT}/up").into());
    options.pins.on_mismatch = Mismatch::Replace;
    options.pins.program_arrays = Some(ArrayRule::Reuse);
    if generation > 1 {
        options.pins.paths.insert("inner_b".into(), format!("{ROOT}/new/b").into());
    }
    options
}

pub(crate) fn load(kernel: &Arc<dyn Kernel>, generation: u32) -> onebpf::Result<Loaded> {
    load_spec(kernel, &spec(generation), &options(generation))
}

/// What everybody sees: names with ids, slots with ids.
pub(crate) type Seen = BTreeMap<String, u32>;

pub(crate) fn seen(kernel: &dyn Kernel) -> Seen {
    let mut seen = Seen::new();
    for path in pins(kernel, Path::new(ROOT)) {
        let fd = kernel.open_pin(&path).unwrap();
        let name = path.strip_prefix(ROOT).unwrap().to_str().unwrap().to_owned();
        if kernel.fd_kind(fd.as_fd()).unwrap() == Some(ObjectKind::Program) {
            seen.insert(name, kernel.prog_info(fd.as_fd()).unwrap().id);
            continue;
        }
        seen.insert(name.clone(), kernel.map_info(fd.as_fd()).unwrap().id);
        for index in 0..4u32 {
            let mut id = [0; 4];
            let holds = ["outer", "calls"].contains(&name.as_str());
            if holds && kernel.map_lookup(fd.as_fd(), &index.to_ne_bytes(), &mut id, 0).is_ok() {
                seen.insert(format!("{name}[{index}]"), u32::from_ne_bytes(id));
            }
        }
    }
    seen
}

/// All pins below a directory.
pub(crate) fn pins(kernel: &dyn Kernel, dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for name in kernel.list_dir(dir).unwrap() {
        let path = dir.join(name);
        if kernel.list_dir(&path).is_ok() {
            found.extend(pins(kernel, &path));
        } else if !path.to_str().unwrap().contains('.') {
            // The kernel's own `maps.debug` is no pin.
            found.push(path);
        }
    }
    found
}

/// The old state as a whole, or the new one; says which.
#[track_caller]
pub(crate) fn is_whole(old: &Seen, now: &Seen, when: &str) -> u32 {
    if now == old {
        return 1;
    }
    let same = |name: &str| old.get(name) == now.get(name);
    assert!(same("kept") && same("outer") && same("calls") && same("up/inner_b"), "{when}: {old:?}\n{now:?}");
    for changed in
        ["changed", "up/entry", "up/tail_a", "up/tail_b", "up/inner_a", "up/upgrade_rodata", "calls[0]"]
    {
        assert!(now.contains_key(changed) && !same(changed), "{when}: {changed}: {old:?}\n{now:?}");
    }
    let pairs = [
        ("calls[0]", "up/tail_a"),
        ("calls[2]", "up/tail_b"),
        ("outer[0]", "up/inner_a"),
        ("outer[2]", "new/b"),
    ];
    for (slot, pin) in pairs {
        assert_eq!(now[slot], now[pin], "{when}: {slot}: {now:?}");
    }
    assert_eq!(now.len(), old.len() + 1, "{when}: {now:?}");
    2
}

/// No journal, no remains of a file.
#[track_caller]
pub(crate) fn state_is_clean(kernel: &dyn Kernel, when: &str) {
    let names = kernel.list_dir(Path::new(STATE)).unwrap_or_default();
    let fine = |name: &PathBuf| ["lock", "objects"].contains(&name.to_str().unwrap());
    assert!(names.iter().all(fine), "{when}: {names:?}");
}
