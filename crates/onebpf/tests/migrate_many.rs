//! Many entries on their way from a pinned map to its successor, in batches and one by one, standing still and moving.

mod common;

use common::Member::Unsigned;
use common::migrating::{migrating, new_value, old_value, versions};
use common::{in_private, with_value};
use onebpf::object::MapType;
use onebpf::sys::{Batch, BatchCursor, Errno, Error, Hook, Op, Result};
use onebpf::{Kernel, Linux, Loaded, Map, Migrated, load_spec};
use onebpf_fake::{FakeKernel, Faulty};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::collections::BTreeMap;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const BPF_F_NO_COMMON_LRU: u32 = 1 << 1;

/// A kernel before Linux 5.6.
struct WithoutBatches(Arc<dyn Kernel>);

impl Hook for WithoutBatches {
    fn around<T: 'static>(&self, op: Op, call: impl FnOnce(&dyn Kernel) -> Result<T>) -> Result<T> {
        match op {
            Op::MapLookupBatch | Op::MapUpdateBatch => Err(Error { op, errno: Errno::INVAL }),
            _ => call(&*self.0),
        }
    }
}

fn key(kind: MapType, n: u32) -> Vec<u8> {
    let length = if kind == MapType::LPM_TRIE { &32u32.to_ne_bytes()[..] } else { &[] };
    [length, &n.to_ne_bytes()].concat()
}

/// One value, or one for each CPU.
fn values(kind: MapType, n: u32, cpus: u32, value: fn(u32) -> Vec<u8>) -> Vec<u8> {
    let copies = if kind.is_per_cpu() { cpus } else { 1 };
    (0..copies).flat_map(|cpu| value(n + cpu)).collect()
}

/// Writes entries 0 to `entries` in batches.
fn fill(kernel: &dyn Kernel, map: &Map, kind: MapType, entries: u32) {
    let cpus = kernel.host().unwrap().possible_cpus;
    for first in (0..entries).step_by(4096) {
        let some = || first..entries.min(first + 4096);
        let keys: Vec<u8> = some().flat_map(|n| key(kind, n)).collect();
        let values: Vec<u8> = some().flat_map(|n| values(kind, n, cpus, old_value)).collect();
        let written = kernel.map_update_batch(map.as_fd(), &keys, &values, 0).unwrap();
        assert_eq!(written, Batch { count: some().len(), stopped: None });
    }
}

fn contents(kernel: &dyn Kernel, map: &Map) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let info = map.info().unwrap();
    let sizes = (info.key_size as usize, info.value_buffer_size(kernel.host().unwrap().possible_cpus));
    let (mut cursor, mut found) = (BatchCursor::default(), BTreeMap::new());
    let (mut keys, mut values) = (vec![0; 4096 * sizes.0], vec![0; 4096 * sizes.1]);
    loop {
        let read = kernel.map_lookup_batch(map.as_fd(), &mut cursor, &mut keys, &mut values, 0).unwrap();
        let pairs = keys.chunks(sizes.0).zip(values.chunks(sizes.1)).take(read.count);
        found.extend(pairs.map(|(key, value)| (key.to_vec(), value.to_vec())));
        if read.stopped.is_some() {
            assert_eq!(read.stopped, Some(Errno::NOENT));
            return found;
        }
    }
}

/// Fills a map, migrates it through `way`, and compares; how long the second load took.
fn migrate(
    kernel: &Arc<dyn Kernel>,
    way: &Arc<dyn Kernel>,
    kind: MapType,
    entries: u32,
) -> (Migrated, Duration) {
    let [old, new] = versions(kind, entries);
    let first = load_spec(kernel, &old, &migrating()).unwrap_or_else(|e| panic!("{kind}: {:#?}", e.report()));
    fill(&**kernel, &first.maps[0], kind, entries);
    let before = contents(&**kernel, &first.maps[0]);
    let started = Instant::now();
    let second = load_spec(way, &new, &migrating()).unwrap_or_else(|e| panic!("{kind}: {:#?}", e.report()));
    let took = started.elapsed();
    let counts = second.migrated[0].clone();
    let after = contents(&**kernel, &second.maps[0]);
    let cpus = kernel.host().unwrap().possible_cpus;
    for (key, value) in &after {
        let n = u32::from_ne_bytes(key[key.len() - 4..].try_into().unwrap());
        assert_eq!(*value, values(kind, n, cpus, new_value), "{kind}: entry {n}");
    }
    assert_eq!(counts.copied + counts.converted, after.len() as u64, "{kind}: {counts:?}");
    assert_eq!(counts.dropped, (before.len() - after.len()) as u64, "{kind}: {counts:?}");
    kernel.unlink(second.maps[0].pinned().unwrap()).unwrap();
    (counts, took)
}

/// Each CPU has a share of the map, and who migrates fills one: what is more is not dropped unasked.
#[test]
fn shares_of_cpus_are_not_lost_unasked() {
    const SHARE: u32 = 512;
    in_private("shares_of_cpus_are_not_lost_unasked", || {
        let linux: Arc<dyn Kernel> = Arc::new(Linux);
        let allowed = sched_getaffinity(None).unwrap();
        let mut cpus = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
        let (Some(one), Some(other)) = (cpus.next(), cpus.next()) else {
            return eprintln!("skipped: shares_of_cpus_are_not_lost_unasked needs two CPUs");
        };
        let possible = linux.host().unwrap().possible_cpus;
        for kind in [MapType::LRU_HASH, MapType::LRU_PERCPU_HASH] {
            let [old, new] = versions(kind, SHARE * possible).map(|mut spec| {
                spec.maps[0].flags |= BPF_F_NO_COMMON_LRU;
                spec
            });
            let write = |map: &Map, cpu, numbers: Range<u32>| {
                stay_on(cpu);
                for n in numbers {
                    map.update(&key(kind, n), &values(kind, n, possible, old_value), 0).unwrap();
                }
            };
            let first = load_spec(&linux, &old, &migrating()).unwrap();
            write(&first.maps[0], one, 0..300);
            stay_on(other);
            let second =
                load_spec(&linux, &new, &migrating()).unwrap_or_else(|e| panic!("{:#?}", e.report()));
            assert_eq!((second.migrated[0].converted, second.migrated[0].dropped), (300, 0), "{kind}");
            linux.unlink(second.maps[0].pinned().unwrap()).unwrap();

            let first = load_spec(&linux, &old, &migrating()).unwrap();
            write(&first.maps[0], one, 0..SHARE);
            write(&first.maps[0], other, SHARE..2 * SHARE);
            let (path, before) = (first.maps[0].pinned().unwrap(), contents(&*linux, &first.maps[0]));
            assert_eq!(before.len() as u32, 2 * SHARE, "{kind}");
            let refused = load_spec(&linux, &new, &migrating()).unwrap_err();
            assert_eq!(refused.code(), "E0413", "{kind}: {refused}");
            assert!(refused.report().notes[0].contains("BPF_F_NO_COMMON_LRU"), "{:#?}", refused.report());
            let there = Map::open_pin(&linux, path).unwrap();
            assert_eq!(there.info().unwrap().id, first.maps[0].info().unwrap().id);
            assert!(contents(&*linux, &there) == before, "{kind}: the old map has what it had");

            let mut lossy = migrating();
            lossy.pins.lossy = true;
            let second = load_spec(&linux, &new, &lossy).unwrap();
            let (counts, left) = (&second.migrated[0], contents(&*linux, &second.maps[0]).len() as u64);
            eprintln!("{kind}: {counts:?}");
            assert_eq!((counts.converted, counts.converted + counts.dropped), (left, 2 * u64::from(SHARE)));
            assert!(counts.dropped >= u64::from(SHARE), "{kind}: {counts:?}");
            linux.unlink(path).unwrap();
        }
    });
}

fn stay_on(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).unwrap();
}

const KINDS: [MapType; 7] = [
    MapType::HASH,
    MapType::PERCPU_HASH,
    MapType::LRU_HASH,
    MapType::LRU_PERCPU_HASH,
    MapType::ARRAY,
    MapType::PERCPU_ARRAY,
    MapType::LPM_TRIE,
];

#[test]
fn each_kind_on_the_kernel() {
    in_private("each_kind_on_the_kernel", || {
        let linux: Arc<dyn Kernel> = Arc::new(Linux);
        for kind in KINDS {
            let (counts, took) = migrate(&linux, &linux, kind, 100_000);
            eprintln!("{kind}: {took:?}, {} converted, {} dropped", counts.converted, counts.dropped);
            let lru = matches!(kind, MapType::LRU_HASH | MapType::LRU_PERCPU_HASH);
            assert!(lru || (counts.converted, counts.dropped) == (100_000, 0), "{kind}: {counts:?}");
        }
    });
}

#[test]
fn one_by_one_on_the_kernel() {
    in_private("one_by_one_on_the_kernel", || {
        let linux: Arc<dyn Kernel> = Arc::new(Linux);
        let slow: Arc<dyn Kernel> = Arc::new(WithoutBatches(linux.clone()));
        for kind in KINDS {
            let (_, batches) = migrate(&linux, &linux, kind, 5_000);
            let (counts, singly) = migrate(&linux, &slow, kind, 5_000);
            eprintln!("{kind}: {batches:?} in batches, {singly:?} one by one; {} dropped", counts.dropped);
        }
    });
}

/// Kernels without batches, and with batches for some map types.
#[test]
fn each_kind_on_old_fakes() {
    for release in ["5.4", "5.6", "5.13", "6.18"] {
        for kind in KINDS {
            let fake: Arc<dyn Kernel> = Arc::new(FakeKernel::linux(release));
            let [old, new] = versions(kind, 50);
            let first =
                load_spec(&fake, &old, &migrating()).unwrap_or_else(|e| panic!("{kind}: {:#?}", e.report()));
            for n in 0..50 {
                first.maps[0].update(&key(kind, n), &values(kind, n, 2, old_value), 0).unwrap();
            }
            let second =
                load_spec(&fake, &new, &migrating()).unwrap_or_else(|e| panic!("{kind}: {:#?}", e.report()));
            let counts = &second.migrated[0];
            assert_eq!((counts.converted, counts.dropped), (50, 0), "{kind} on {release}: {counts:?}");
            for n in 0..50 {
                let value = second.maps[0].lookup(&key(kind, n)).unwrap();
                assert_eq!(value, Some(values(kind, n, 2, new_value)), "{kind} on {release}: entry {n}");
            }
        }
    }
}

/// Whichever batch is refused, also in the middle: what is left goes one by one, and nothing goes twice.
#[test]
fn every_batch_may_be_refused() {
    // Values so large that a batch has few.
    const ENTRIES: u32 = 24;
    const LARGE: u32 = 40_000;
    for kind in [MapType::HASH, MapType::ARRAY, MapType::LPM_TRIE] {
        for n in 1.. {
            let kernel: Arc<dyn Kernel> = Arc::new(FakeKernel::new());
            let mut specs = versions(kind, ENTRIES);
            for (spec, size) in specs.iter_mut().zip([LARGE, LARGE + 8]) {
                *spec = with_value(kind, size, &[("number", Unsigned(4), size * 8 - 32)]);
                spec.maps[0].max_entries = ENTRIES;
            }
            let value = |n: u32, size: u32| [vec![0; size as usize - 4], n.to_ne_bytes().to_vec()].concat();
            let first = load_spec(&kernel, &specs[0], &migrating()).unwrap();
            for n in 0..ENTRIES {
                first.maps[0].update(&key(kind, n), &value(n, LARGE), 0).unwrap();
            }
            let faulty = Faulty::new(kernel.clone(), n, Errno::NOTSUPP);
            let faulty = Arc::new(faulty.only(|op| matches!(op, Op::MapLookupBatch | Op::MapUpdateBatch)));
            let second = load_spec(&(faulty.clone() as Arc<dyn Kernel>), &specs[1], &migrating()).unwrap();
            let counts = &second.migrated[0];
            assert_eq!(
                (counts.converted, counts.dropped),
                (u64::from(ENTRIES), 0),
                "{kind}, {n}: {counts:?}"
            );
            for n in 0..ENTRIES {
                assert_eq!(second.maps[0].lookup(&key(kind, n)).unwrap(), Some(value(n, LARGE + 8)));
            }
            if !faulty.fired() {
                assert!(n > 8, "{kind}: {n} batches");
                break;
            }
        }
    }
}

/// Entries come and go while the map is copied, before the n-th batch is written.
fn moving(
    kernel: &Arc<dyn Kernel>,
    meanwhile: impl Fn(&Map, usize) + Send + Sync + 'static,
) -> (Loaded, Migrated) {
    let [old, new] = versions(MapType::HASH, 40_000);
    let first = load_spec(kernel, &old, &migrating()).unwrap();
    fill(&**kernel, &first.maps[0], MapType::HASH, 20_000);
    let watch = Meanwhile {
        kernel: kernel.clone(),
        writes: AtomicUsize::new(0),
        map: first.maps[0].try_clone().unwrap(),
        change: meanwhile,
    };
    let second = load_spec(&(Arc::new(watch) as Arc<dyn Kernel>), &new, &migrating()).unwrap();
    let counts = second.migrated[0].clone();
    let there = contents(&**kernel, &second.maps[0]).len();
    assert_eq!((counts.converted, counts.dropped), (there as u64, 0), "{counts:?}");
    (second, counts)
}

struct Meanwhile<F> {
    kernel: Arc<dyn Kernel>,
    writes: AtomicUsize,
    map: Map,
    change: F,
}

impl<F: Fn(&Map, usize) + Send + Sync> Hook for Meanwhile<F> {
    fn around<T: 'static>(&self, op: Op, call: impl FnOnce(&dyn Kernel) -> Result<T>) -> Result<T> {
        if op == Op::MapUpdateBatch {
            (self.change)(&self.map, self.writes.fetch_add(1, Ordering::Relaxed));
        }
        call(&*self.kernel)
    }
}

fn what_comes_and_goes(kernel: &Arc<dyn Kernel>) {
    let (second, counts) = moving(kernel, |map, write| {
        if write == 0 {
            for n in 0..5_000u32 {
                map.update(&(30_000 + n).to_ne_bytes(), &old_value(n), 0).unwrap();
                map.delete(&n.to_ne_bytes()).unwrap();
            }
        }
    });
    for n in 5_000..20_000u32 {
        assert_eq!(
            second.maps[0].lookup(&n.to_ne_bytes()).unwrap(),
            Some(new_value(n)),
            "{n} was there all the while"
        );
    }
    for n in 0..5_000u32 {
        let came = second.maps[0].lookup(&(30_000 + n).to_ne_bytes()).unwrap();
        assert_eq!(came, Some(new_value(n)), "{n} came before the last pass");
    }
    assert!(!counts.reasons.iter().any(|reason| reason.contains("kept coming")), "{counts:?}");

    kernel.unlink(second.maps[0].pinned().unwrap()).unwrap();
    let (second, counts) = moving(kernel, |map, write| {
        map.update(&(100_000 + write as u32).to_ne_bytes(), &old_value(0), 0).unwrap();
    });
    assert!(counts.reasons.iter().any(|reason| reason.contains("kept coming")), "{counts:?}");
    kernel.unlink(second.maps[0].pinned().unwrap()).unwrap();
}

#[test]
fn what_comes_and_goes_on_the_fake() {
    what_comes_and_goes(&(Arc::new(FakeKernel::new()) as Arc<dyn Kernel>));
}

#[test]
fn what_comes_and_goes_on_the_kernel() {
    in_private("what_comes_and_goes_on_the_kernel", || {
        what_comes_and_goes(&(Arc::new(Linux) as Arc<dyn Kernel>));
    });
}
