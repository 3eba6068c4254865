//! One object with maps of both dialects, pins of both, and a program array of each: loaded, loaded again, and loaded
//! again with other programs. Needs root.

mod common;

use common::{in_private, options, spec};
use onebpf::object::Spec;
use onebpf::sys::ProgRun;
use onebpf::{ArrayRule, Kernel, Linux, Loaded, Map, Options, PinLayout, Program, load_spec};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

const GLOBALS: &str = "/sys/fs/bpf/tc/globals";
const MAPS: [&str; 5] = ["mix_calls", "mix_hits", "mix_own", "mix_seen", "mix_next"];

fn linux() -> Arc<dyn Kernel> {
    Arc::new(Linux)
}

/// The object as of a generation: its programs return it, and its file differs.
fn object(generation: u32) -> Spec {
    let mut spec = spec("mix_pins");
    spec.set_variable("generation", &generation.to_ne_bytes()).unwrap();
    spec.file_hash = Some([u8::try_from(generation).unwrap(); 20]);
    spec
}

#[track_caller]
fn load(generation: u32, options: &Options) -> Loaded {
    load_spec(&linux(), &object(generation), options).unwrap_or_else(|e| panic!("{e}\n{:#?}", e.report()))
}

/// Ids by name.
fn ids(loaded: &Loaded) -> BTreeMap<&'static str, u32> {
    MAPS.map(|name| (name, loaded.maps[name].info().unwrap().id)).into()
}

fn pins(loaded: &Loaded) -> BTreeMap<&'static str, PathBuf> {
    MAPS.map(|name| (name, loaded.maps[name].pinned().unwrap().to_owned())).into()
}

/// What the entry program comes to, all the way through both arrays.
fn run(program: &Program) -> u32 {
    program.run(ProgRun { data_in: &[0; 64], ..ProgRun::default() }).unwrap().retval
}

fn counters(loaded: &Loaded, map: &str) -> Vec<u64> {
    let values = loaded.maps[map].entries().unwrap().map(|entry| entry.unwrap().1);
    values.map(|value| u64::from_ne_bytes(value.try_into().unwrap())).collect()
}

/// Slots and the programs in them.
fn slots(loaded: &Loaded, array: &str) -> Vec<(u32, u32)> {
    let map = &loaded.maps[array];
    let held = |slot: u32| {
        let id = map.lookup(&slot.to_ne_bytes()).unwrap()?;
        Some((slot, u32::from_ne_bytes(id.try_into().unwrap())))
    };
    (0..map.info().unwrap().max_entries).filter_map(held).collect()
}

#[track_caller]
fn slots_are_its_own(loaded: &Loaded) {
    let program = |name: &str| loaded.programs[name].info().unwrap().id;
    assert_eq!(slots(loaded, "mix_calls"), [(0, program("first")), (2, program("second"))]);
    assert_eq!(slots(loaded, "mix_next"), [(1, program("last"))]);
}

/// The maps that are another one now.
fn changed(old: &Loaded, new: &Loaded) -> Vec<&'static str> {
    let (old, new) = (ids(old), ids(new));
    MAPS.into_iter().filter(|name| old[name] != new[name]).collect()
}

#[test]
fn both_dialects_load_and_load_again() {
    in_private("both_dialects_load_and_load_again", || {
        let first = load(1, &options());
        let hash = "01".repeat(20);
        let places = pins(&first);
        assert_eq!(places["mix_calls"].to_str(), Some(&*format!("{GLOBALS}/mix_calls")));
        assert_eq!(places["mix_hits"].to_str(), Some(&*format!("{GLOBALS}/mix_hits")));
        assert_eq!(places["mix_own"].to_str(), Some(&*format!("/sys/fs/bpf/tc/{hash}/mix_own")));
        assert_eq!(places["mix_seen"].to_str(), Some("/sys/fs/bpf/mix_seen"));
        assert_eq!(places["mix_next"].to_str(), Some("/sys/fs/bpf/mix_next"));
        slots_are_its_own(&first);
        assert_eq!(run(&first.programs["entry"]), 1);
        assert_eq!(
            (counters(&first, "mix_hits"), counters(&first, "mix_seen")),
            (vec![1, 1, 0, 0], vec![0, 0, 1, 1])
        );

        // Again: all is shared, but a program array of `.maps` comes anew with its programs.
        let second = load(1, &options());
        assert_eq!(changed(&first, &second), ["mix_next"]);
        assert_eq!(pins(&second), places);
        slots_are_its_own(&second);
        // The old entry jumps into the new programs by the shared array.
        assert_eq!((run(&first.programs["entry"]), run(&second.programs["entry"])), (1, 1));
        assert_eq!(counters(&second, "mix_hits"), [3, 3, 0, 0]);

        // Reuse on demand: its slots are written in place.
        let mut reuse = options();
        reuse.pins.program_arrays = Some(ArrayRule::Reuse);
        let third = load(1, &reuse);
        assert_eq!(changed(&second, &third), [""; 0]);
        slots_are_its_own(&third);
        assert_eq!(slots(&second, "mix_next"), slots(&third, "mix_next"));

        // Other programs: what is pinned for the object is that of the new file, the rest is shared; whatever runs comes
        // to the new programs, and counters go on.
        let fourth = load(2, &reuse);
        assert_eq!(changed(&third, &fourth), ["mix_own"]);
        assert!(pins(&fourth)["mix_own"].to_str().unwrap().contains(&"02".repeat(20)));
        slots_are_its_own(&fourth);
        for loaded in [&first, &second, &third, &fourth] {
            assert_eq!(run(&loaded.programs["entry"]), 2);
        }
        assert_eq!(
            (counters(&fourth, "mix_hits"), counters(&fourth, "mix_seen")),
            (vec![7, 7, 0, 0], vec![0, 0, 7, 7])
        );
        assert_eq!((counters(&third, "mix_own"), counters(&fourth, "mix_own")), (vec![6], vec![1]));
    });
}

/// In iproute2's layout all of it is in one tree, and all arrays are shared.
#[test]
fn both_dialects_in_one_layout() {
    in_private("both_dialects_in_one_layout", || {
        let mut options = options();
        options.pins.layout = Some(PinLayout::Iproute2);
        let first = load(1, &options);
        for name in ["mix_calls", "mix_hits", "mix_seen", "mix_next"] {
            assert_eq!(pins(&first)[name].to_str(), Some(&*format!("{GLOBALS}/{name}")));
        }
        let second = load(2, &options);
        assert_eq!(changed(&first, &second), ["mix_own"]);
        slots_are_its_own(&second);
        assert_eq!(run(&first.programs["entry"]), 2);
        // All processes are gone but the pins: what is pinned is whole.
        drop((first, second));
        let pinned = Map::open_pin(&linux(), format!("{GLOBALS}/mix_next")).unwrap();
        assert!(pinned.lookup(&1u32.to_ne_bytes()).unwrap().is_some());
    });
}
