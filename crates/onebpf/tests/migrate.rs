//! Entries that move from a pinned map to the one that replaces it.

mod common;

use common::in_private;
use common::migrating::{migrating, new_value, old_value, versions};
use onebpf::object::MapType;
use onebpf::{Kernel, Linux, Loaded, Map, Mismatch, load_spec};
use onebpf_fake::FakeKernel;
use std::sync::Arc;

fn fill(map: &Map, entries: u32, value: impl Fn(u32) -> Vec<u8>) {
    for n in 0..entries {
        map.update(&n.to_ne_bytes(), &value(n), 0).unwrap();
    }
}

fn members_survive(kernel: &Arc<dyn Kernel>, entries: u32) {
    let [old, new] = versions(MapType::HASH, entries);
    let first = load_spec(kernel, &old, &migrating()).unwrap();
    fill(&first.maps[0], entries, old_value);
    let second = load_spec(kernel, &new, &migrating()).unwrap_or_else(|e| panic!("{:#?}", e.report()));
    let counts = &second.migrated[0];
    assert_eq!((counts.copied, counts.converted, counts.dropped), (0, u64::from(entries), 0));
    assert!(counts.reasons.contains(&"value: `gone` is dropped".to_owned()), "{:?}", counts.reasons);
    let map = Map::open_pin(kernel, second.maps[0].pinned().unwrap()).unwrap();
    let mut seen = 0;
    for entry in map.entries().unwrap() {
        let (key, value) = entry.unwrap();
        assert_eq!(value, new_value(u32::from_ne_bytes(key.try_into().unwrap())));
        seen += 1;
    }
    assert_eq!(seen, entries);
}

#[test]
fn members_survive_on_the_fake() {
    members_survive(&(Arc::new(FakeKernel::new()) as Arc<dyn Kernel>), 1000);
}

#[test]
fn members_survive_on_the_kernel() {
    in_private("members_survive_on_the_kernel", || {
        members_survive(&(Arc::new(Linux) as Arc<dyn Kernel>), 1000);
    });
}

fn per_cpu_and_array(kernel: &Arc<dyn Kernel>) {
    let cpus = kernel.host().unwrap().possible_cpus;
    for kind in [
        MapType::PERCPU_HASH,
        MapType::PERCPU_ARRAY,
        MapType::LRU_PERCPU_HASH,
        MapType::ARRAY,
        MapType::LRU_HASH,
    ] {
        let [old, new] = versions(kind, 50);
        let copies = if kind.is_per_cpu() { cpus } else { 1 };
        let first = load_spec(kernel, &old, &migrating()).unwrap();
        let each = |value: fn(u32) -> Vec<u8>| {
            move |n: u32| (0..copies).flat_map(|cpu| value(n + cpu)).collect::<Vec<_>>()
        };
        fill(&first.maps[0], 20, each(old_value));
        let second =
            load_spec(kernel, &new, &migrating()).unwrap_or_else(|e| panic!("{kind}: {:#?}", e.report()));
        for n in 0..20u32 {
            let value = second.maps[0].lookup(&n.to_ne_bytes()).unwrap();
            assert_eq!(value, Some(each(new_value)(n)), "{kind}: entry {n}");
        }
        kernel.unlink(second.maps[0].pinned().unwrap()).unwrap();
    }
}

#[test]
fn per_cpu_and_array_on_the_fake() {
    per_cpu_and_array(&(Arc::new(FakeKernel::new()) as Arc<dyn Kernel>));
}

#[test]
fn per_cpu_and_array_on_the_kernel() {
    in_private("per_cpu_and_array_on_the_kernel", || {
        per_cpu_and_array(&(Arc::new(Linux) as Arc<dyn Kernel>));
    });
}

fn nothing_is_lost_without_consent(kernel: &Arc<dyn Kernel>) {
    let [old, mut new] = versions(MapType::HASH, 10);
    let first = load_spec(kernel, &old, &migrating()).unwrap();
    fill(&first.maps[0], 10, old_value);
    let mut large = old_value(3);
    large[8..12].copy_from_slice(&40_000i32.to_ne_bytes());
    first.maps[0].update(&3u32.to_ne_bytes(), &large, 0).unwrap();
    let id = |loaded: &Loaded| loaded.maps[0].info().unwrap().id;
    let path = first.maps[0].pinned().unwrap().to_owned();
    let refused = load_spec(kernel, &new, &migrating()).unwrap_err();
    assert_eq!(refused.code(), "E0413");
    assert_eq!(refused.report().notes[0], "value: `delta` does not fit its new type");
    assert_eq!(Map::open_pin(kernel, &path).unwrap().info().unwrap().id, id(&first));

    let mut lossy = migrating();
    lossy.pins.lossy = true;
    new.maps[0].max_entries = 8;
    let second = load_spec(kernel, &new, &lossy).unwrap();
    let counts = &second.migrated[0];
    assert_eq!(counts.converted + counts.dropped, 10, "{counts:?}");
    assert_eq!(second.maps[0].entries().unwrap().count(), 8);
    assert!(counts.reasons.iter().any(|reason| reason.contains("full with 8")), "{counts:?}");
    assert_eq!(Map::open_pin(kernel, &path).unwrap().info().unwrap().id, id(&second));
}

#[test]
fn losses_on_the_fake() {
    nothing_is_lost_without_consent(&(Arc::new(FakeKernel::new()) as Arc<dyn Kernel>));
}

#[test]
fn losses_on_the_kernel() {
    in_private("losses_on_the_kernel", || {
        nothing_is_lost_without_consent(&(Arc::new(Linux) as Arc<dyn Kernel>));
    });
}

#[test]
fn same_bytes_are_copied() {
    let kernel: Arc<dyn Kernel> = Arc::new(FakeKernel::new());
    let [mut spec, _] = versions(MapType::HASH, 4);
    let first = load_spec(&kernel, &spec, &migrating()).unwrap();
    fill(&first.maps[0], 4, old_value);
    spec.maps[0].max_entries = 100;
    let second = load_spec(&kernel, &spec, &migrating()).unwrap();
    assert_eq!((second.migrated[0].copied, second.migrated[0].converted), (4, 0));
    assert_eq!(second.maps[0].lookup(&2u32.to_ne_bytes()).unwrap(), Some(old_value(2)));
}

/// Whatever call fails on the way: the name leads to the old map with all its entries, or to the new one with all.
#[test]
fn every_call_may_fail() {
    use onebpf::sys::Errno;
    use onebpf_fake::Faulty;
    const ENTRIES: u32 = 5;
    for n in 1.. {
        let kernel: Arc<dyn Kernel> = Arc::new(FakeKernel::new());
        let [old, new] = versions(MapType::HASH, 10);
        let first = load_spec(&kernel, &old, &migrating()).unwrap();
        fill(&first.maps[0], ENTRIES, old_value);
        let faulty = Arc::new(Faulty::new(kernel.clone(), n, Errno::NOMEM).sparing_clean_up());
        let result = load_spec(&(faulty.clone() as Arc<dyn Kernel>), &new, &migrating());
        if !faulty.fired() {
            assert!(result.is_ok() && n > 20, "{n} calls");
            return;
        }
        let map = Map::open_pin(&kernel, first.maps[0].pinned().unwrap()).unwrap();
        let is_new = map.info().unwrap().value_size == 24;
        assert_eq!(is_new, result.is_ok(), "call {n}: {:?}", faulty.ops().last());
        for n in 0..ENTRIES {
            let wanted = if is_new { new_value(n) } else { old_value(n) };
            assert_eq!(map.lookup(&n.to_ne_bytes()).unwrap(), Some(wanted), "entry {n}");
        }
    }
}

#[test]
fn options_speak_of_maps_that_are_there() {
    let kernel: Arc<dyn Kernel> = Arc::new(FakeKernel::new());
    let [spec, _] = versions(MapType::HASH, 4);
    let mut options = migrating();
    options.pins.on_mismatch_of.insert("nobody".into(), Mismatch::Replace);
    let error = load_spec(&kernel, &spec, &options).unwrap_err();
    assert_eq!(error.code(), "E0301");
}
