//! Many elements with one call: the fake against the running kernel, and old releases.

mod common;

use common::{
    ARRAY, ARRAY_OF_MAPS, HASH, HASH_OF_MAPS, LPM_TRIE, LRU_HASH, PERCPU_ARRAY, PROG_ARRAY, agree, attr,
    errno, map,
};
use onebpf_fake::FakeKernel;
use onebpf_sys::{Batch, BatchCursor, Errno, Kernel, MapCreate, Result};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

const PERCPU_HASH: u32 = 5;
const LRU_PERCPU_HASH: u32 = 10;
const QUEUE: u32 = 22;

/// When it drops what is the kernel's secret.
fn is_lru(map_type: u32) -> bool {
    matches!(map_type, LRU_HASH | LRU_PERCPU_HASH)
}

type Read<'a> = dyn Fn(&mut BatchCursor, &mut [u8], &mut [u8]) -> Result<Batch> + 'a;

/// A map with keys 0 to 7 (prefixes of 32 bits in a trie), and the bytes in a value.
fn make(kernel: &dyn Kernel, map_type: u32, inner: &OwnedFd) -> (OwnedFd, usize) {
    let key_size = match map_type {
        LPM_TRIE => 8,
        QUEUE => 0,
        _ => 4,
    };
    let of_maps = matches!(map_type, ARRAY_OF_MAPS | HASH_OF_MAPS);
    let attr = MapCreate {
        flags: u32::from(map_type == LPM_TRIE),
        inner: of_maps.then(|| inner.as_fd()),
        ..attr(map_type, key_size, 4, if is_lru(map_type) { 1024 } else { 8 })
    };
    let map = kernel.map_create(&attr).expect("map");
    let cpus = kernel.host().expect("host").possible_cpus;
    let size = kernel.map_info(map.as_fd()).expect("info").value_buffer_size(cpus);
    (map, size)
}

fn key(map_type: u32, n: u32) -> Vec<u8> {
    let prefix = if map_type == LPM_TRIE { &32u32.to_ne_bytes()[..] } else { &[] };
    [prefix, &n.to_ne_bytes()].concat()
}

/// Reads all of a map with `room` for so many elements, more when the kernel asks for it.
fn walk(
    read: &Read<'_>,
    key_size: usize,
    value_size: usize,
    mut room: usize,
) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let (mut cursor, mut found) = (BatchCursor::default(), BTreeMap::new());
    loop {
        let (mut keys, mut values) = (vec![0; room * key_size], vec![0; room * value_size]);
        let batch = read(&mut cursor, &mut keys, &mut values)?;
        for (key, value) in keys.chunks(key_size).zip(values.chunks(value_size)).take(batch.count) {
            assert!(found.insert(key.to_vec(), value.to_vec()).is_none(), "{key:?} comes twice");
        }
        match batch.stopped {
            None => assert!(batch.count > 0 && batch.count <= room),
            Some(Errno::NOENT) => return Ok(found),
            Some(Errno::NOSPC) => room *= 2,
            Some(other) => panic!("{other}"),
        }
    }
}

fn lookup(
    kernel: &dyn Kernel,
    map: BorrowedFd<'_>,
    flags: u64,
) -> impl Fn(&mut BatchCursor, &mut [u8], &mut [u8]) -> Result<Batch> {
    move |cursor, keys, values| kernel.map_lookup_batch(map, cursor, keys, values, flags)
}

#[test]
fn batches() {
    agree("batches", |kernel| {
        let inner = map(kernel, "inner");
        let mut out = Vec::new();
        for map_type in [
            HASH,
            ARRAY,
            PROG_ARRAY,
            PERCPU_HASH,
            PERCPU_ARRAY,
            LRU_HASH,
            LRU_PERCPU_HASH,
            LPM_TRIE,
            ARRAY_OF_MAPS,
            HASH_OF_MAPS,
            QUEUE,
        ] {
            let (map, value_size) = make(kernel, map_type, &inner);
            let map = map.as_fd();
            let key_size = key(map_type, 0).len();
            let mut ask = |what: &str, result: Result<String>| {
                out.push((format!("type {map_type} {what}"), errno(result)));
            };
            let text = |batch: Result<Batch>| batch.map(|batch| format!("{batch:?}"));
            let keys = |range: std::ops::Range<u32>| range.flat_map(|n| key(map_type, n)).collect::<Vec<_>>();
            let of_maps = matches!(map_type, ARRAY_OF_MAPS | HASH_OF_MAPS);
            let fd = inner.as_raw_fd().to_ne_bytes();
            let value = if of_maps { fd.to_vec() } else { vec![7; value_size] };
            let update = |range: std::ops::Range<u32>, flags| {
                let values = value.repeat(range.len());
                text(kernel.map_update_batch(map, &keys(range), &values, flags))
            };
            let delete = |range, flags| text(kernel.map_delete_batch(map, &keys(range), flags));

            ask("update", update(1..5, 0));
            ask("update, NOEXIST", update(1..5, 1));
            ask("update, LOCK", update(1..5, 4));
            ask("update beyond its end", update(5..if is_lru(map_type) { 9 } else { 10 }, 0));
            for room in [1, 3, 64] {
                let found = walk(&lookup(kernel, map, 0), key_size, value_size, room);
                ask(&format!("walk with room for {room}"), found.map(|found| shown(&found, of_maps)));
            }
            let (mut few_keys, mut few_values) = (vec![0; 3 * key_size], vec![0; 3 * value_size]);
            if matches!(map_type, ARRAY | PERCPU_ARRAY | ARRAY_OF_MAPS) {
                let mut cursor = BatchCursor::default();
                for call in 0..4 {
                    let batch = text(lookup(kernel, map, 0)(&mut cursor, &mut few_keys, &mut few_values));
                    ask(&format!("call {call}: {few_keys:?}"), batch);
                }
            }
            let start = &mut BatchCursor::default();
            ask("look-up, flags 1", text(lookup(kernel, map, 1)(start, &mut few_keys, &mut few_values)));
            ask("short values", text(lookup(kernel, map, 0)(start, &mut few_keys, &mut few_values[1..])));
            ask("no room", text(lookup(kernel, map, 0)(start, &mut [], &mut [])));
            start.token = vec![0; 3];
            ask("bad token", text(lookup(kernel, map, 0)(start, &mut few_keys, &mut few_values)));
            ask("short keys", text(kernel.map_update_batch(map, &keys(0..1), &value.repeat(2), 0)));

            ask("delete", delete(1..3, 0));
            ask("delete what is not there", delete(0..8, 0));
            ask("delete, flags 1", delete(3..4, 1));
            let take = |cursor: &mut BatchCursor, keys: &mut [u8], values: &mut [u8]| {
                kernel.map_take_batch(map, cursor, keys, values, 0)
            };
            ask("take", walk(&take, key_size, value_size, 2).map(|found| shown(&found, of_maps)));
            let left = walk(&lookup(kernel, map, 0), key_size, value_size, 8);
            ask("what is left", left.map(|found| shown(&found, of_maps)));
            if kernel.map_freeze(map).is_ok() {
                ask("update frozen", update(1..5, 0));
                ask("delete frozen", delete(1..5, 0));
                ask(
                    "look-up frozen",
                    walk(&lookup(kernel, map, 0), key_size, value_size, 8).map(|_| String::new()),
                );
            }
        }
        out
    });
}

/// Ids of inner maps are each kernel's own.
fn shown(found: &BTreeMap<Vec<u8>, Vec<u8>>, of_maps: bool) -> String {
    if of_maps { format!("{:?}", found.keys()) } else { format!("{found:?}") }
}

#[test]
fn old_releases() {
    let update = |release: &str, map_type| {
        let fake = FakeKernel::linux(release);
        let _ = fake.lift_memlock();
        let inner = map(&fake, "inner");
        let (map, size) = make(&fake, map_type, &inner);
        errno(fake.map_update_batch(map.as_fd(), &key(map_type, 1), &vec![1; size], 0))
            .map(|batch| batch.count)
    };
    assert_eq!(update("5.5", HASH), Err(Errno::INVAL), "the command is unknown");
    assert_eq!(update("5.6", HASH), Ok(1));
    assert_eq!(update("5.12", PERCPU_ARRAY), Err(Errno::NOTSUPP), "the type cannot");
    assert_eq!(update("5.13", PERCPU_ARRAY), Ok(1));
    assert_eq!(update("5.12", LPM_TRIE), Err(Errno::NOTSUPP));
    assert_eq!(update("5.13", LPM_TRIE), Ok(1));
}

#[test]
fn whole_buckets() {
    let fake = FakeKernel::new();
    let map = fake.map_create(&attr(HASH, 4, 4, 256)).expect("map");
    let (keys, values): (Vec<u8>, Vec<u8>) = (0..256u32).map(u32::to_ne_bytes).fold(
        Default::default(),
        |(mut keys, mut values): (Vec<_>, Vec<_>), n| {
            keys.extend(n);
            values.extend(n);
            (keys, values)
        },
    );
    let all = fake.map_update_batch(map.as_fd(), &keys, &values, 0).expect("update");
    assert_eq!(all, Batch { count: 256, stopped: None });
    let mut cursor = BatchCursor::default();
    let mut read = |room: usize| {
        let (mut keys, mut values) = (vec![0; room * 4], vec![0; room * 4]);
        fake.map_lookup_batch(map.as_fd(), &mut cursor, &mut keys, &mut values, 0).expect("look-up")
    };
    let narrow: Vec<Batch> = (0..300).map(|_| read(1)).collect();
    assert!(narrow.contains(&Batch { count: 0, stopped: Some(Errno::NOSPC) }), "a bucket of two");
    assert_eq!(read(256).stopped, Some(Errno::NOENT));
}
