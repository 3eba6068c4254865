//! The fake against the running kernel: the same calls, the same answers.
//!
//! Each script is run on both; what they answer, success or errno, must be equal. Needs privileges.

mod common;

use common::{
    ARRAY, ARRAY_OF_MAPS, Answers, HASH, HASH_OF_MAPS, INT, LPM_TRIE, LRU_HASH, PERCPU_ARRAY, PROG_ARRAY,
    RINGBUF, agree, attr, btf, errno, insn, load, map, returns_0, uses,
};
use onebpf_fake::FakeKernel;
use onebpf_sys::{BtfLoad, Errno, Kernel, Linux, MapBtf, MapCreate, ProgLoad};
use rustix::mount::{MountFlags, UnmountFlags};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use testing::{in_private, privileged};

fn note<T>(what: impl Into<String>, result: onebpf_sys::Result<T>) -> (String, Result<String, Errno>) {
    (what.into(), errno(result).map(|_| String::new()))
}

#[test]
fn map_types() {
    agree("map_types", |kernel| {
        let inner = map(kernel, "inner");
        let inner = Some(inner.as_fd());
        let mut out = Vec::new();
        for map_type in 0..=36 {
            for (key_size, value_size, max_entries) in [
                (4, 4, 4),
                (4, 8, 4),
                (8, 4, 4),
                (0, 4, 4),
                (4, 0, 4),
                (4, 4, 0),
                (0, 0, 4096),
                (8, 40000, 1),
            ] {
                let base = attr(map_type, key_size, value_size, max_entries);
                let inner = inner.filter(|_| matches!(map_type, ARRAY_OF_MAPS | HASH_OF_MAPS));
                for flags in [0, 1, 1 << 3, 1 << 7, 3 << 3, 1 << 10, 1 << 12] {
                    let attr = MapCreate { flags, inner, ..base.clone() };
                    let what =
                        format!("type {map_type} {key_size}/{value_size}/{max_entries} flags {flags:#x}");
                    if modelled(map_type) {
                        out.push(note(what, kernel.map_create(&attr)));
                    }
                }
            }
        }
        out
    });
}

/// The others have attributes only: the fake takes what it is given.
fn modelled(map_type: u32) -> bool {
    matches!(map_type, 0..=6 | 8..=13 | RINGBUF | 31 | 33..)
}

#[test]
fn map_btf() {
    agree("map_btf", |kernel| {
        // 1 int, 2 long long, 3 var int, 4 section with it, 5 u32's typedef
        let types = [
            &INT[..],
            &[5, 1 << 24, 8, 1 << 24 | 0x40],
            &[8, 14 << 24, 1, 0],
            &[10, 15 << 24 | 1, 4, 3, 0, 4],
            &[5, 8 << 24, 1],
        ];
        let blob = btf(&types.concat(), b"\0int\0ll\0x\0.data\0");
        let fd = kernel.btf_load(BtfLoad { data: &blob, ..BtfLoad::default() }).expect("btf");
        let inner = map(kernel, "inner");
        let mut out = Vec::new();
        for map_type in 1..=33 {
            let ring = matches!(map_type, RINGBUF | 31);
            let keyless = matches!(map_type, 22 | 23 | 30);
            let base = match map_type {
                _ if ring => attr(map_type, 0, 0, 4096),
                _ if keyless => attr(map_type, 0, 4, 1),
                LPM_TRIE => MapCreate { flags: 1, ..attr(map_type, 8, 4, 1) },
                24 | 28 | 29 | 32 => MapCreate { flags: 1, ..attr(map_type, 4, 4, 0) },
                _ => attr(map_type, 4, 4, 1),
            };
            if kernel.map_create(&base).is_err()
                && !matches!(map_type, ARRAY_OF_MAPS | HASH_OF_MAPS | 24 | 28..=32)
            {
                continue;
            }
            for (key_type, value_type) in [(1, 1), (2, 1), (1, 2), (0, 1), (0, 4), (5, 5), (1, 0), (1, 99)] {
                let inner = matches!(map_type, ARRAY_OF_MAPS | HASH_OF_MAPS).then(|| inner.as_fd());
                let types = Some(MapBtf { fd: fd.as_fd(), key_type, value_type });
                let attr = MapCreate { btf: types, inner, ..base.clone() };
                out.push(note(
                    format!("type {map_type} BTF {key_type}/{value_type}"),
                    kernel.map_create(&attr),
                ));
            }
        }
        out
    });
}

#[test]
fn elements() {
    agree("elements", |kernel| {
        let (mut out, mut key) = (Vec::new(), [0; 4]);
        for map_type in [HASH, ARRAY, PERCPU_ARRAY, LRU_HASH, RINGBUF] {
            let attr = match map_type {
                RINGBUF => attr(map_type, 0, 0, 4096),
                LRU_HASH => attr(map_type, 4, 4, 1024), // when it drops what is the kernel's secret
                _ => attr(map_type, 4, 4, 2),
            };
            let map = kernel.map_create(&attr).expect("map");
            let (map, info) = (map.as_fd(), kernel.map_info(map.as_fd()).expect("info"));
            let cpus = kernel.host().expect("host").possible_cpus;
            let size = info.value_buffer_size(cpus);
            let keys = [0u32, 1, 2].map(u32::to_ne_bytes);
            for (index, k) in keys.iter().map(|k| &k[..info.key_size as usize]).enumerate() {
                let mut value = vec![0; size];
                let mut ask =
                    |what: &str, result| out.push(note(format!("type {map_type} [{index}] {what}"), result));
                ask("lookup", kernel.map_lookup(map, k, &mut value, 0));
                for flags in [2, 0, 1, 3, 8] {
                    ask(&format!("update, flags {flags}"), kernel.map_update(map, k, &vec![1; size], flags));
                }
                ask("lookup, flags 1", kernel.map_lookup(map, k, &mut value, 1));
                ask("update, short", kernel.map_update(map, k, &value[..size.saturating_sub(1)], 9));
                out.push((
                    format!("type {map_type} [{index}] next"),
                    errno(kernel.map_next_key(map, None, &mut key[..k.len()])).map(|b| b.to_string()),
                ));
                out.push((
                    format!("type {map_type} [{index}] value"),
                    errno(kernel.map_lookup(map, k, &mut value, 0)).map(|()| format!("{value:?}")),
                ));
            }
            for (index, k) in keys.iter().map(|k| &k[..info.key_size as usize]).enumerate() {
                out.push(note(format!("type {map_type} [{index}] delete"), kernel.map_delete(map, k)));
                out.push(note(format!("type {map_type} [{index}] delete again"), kernel.map_delete(map, k)));
            }
            out.push(note(format!("type {map_type} freeze"), kernel.map_freeze(map)));
            out.push(note(format!("type {map_type} freeze again"), kernel.map_freeze(map)));
            out.push(note(
                "update frozen",
                kernel.map_update(map, &keys[0][..info.key_size as usize], &vec![1; size], 0),
            ));
        }
        out
    });
}

#[test]
fn walking_an_array() {
    agree("walking_an_array", |kernel| {
        let map = kernel.map_create(&attr(ARRAY, 4, 4, 3)).expect("map");
        let mut next = [0; 4];
        [None, Some(0u32), Some(1), Some(2), Some(3), Some(u32::MAX)]
            .map(|key| key.map(u32::to_ne_bytes))
            .iter()
            .map(|key| {
                let found =
                    kernel.map_next_key(map.as_fd(), key.as_ref().map(<[u8; 4]>::as_slice), &mut next);
                (format!("after {key:?}"), errno(found).map(|more| format!("{more} {next:?}")))
            })
            .collect()
    });
}

#[test]
fn slots() {
    agree("slots", |kernel| {
        let prog = load(kernel, "prog", &returns_0()).expect("prog");
        let xdp = ProgLoad { prog_type: 6, insns: &returns_0(), license: "GPL", ..ProgLoad::default() };
        let xdp = kernel.prog_load(xdp).expect("xdp");
        let small = map(kernel, "small");
        let tall = kernel.map_create(&attr(ARRAY, 4, 4, 9)).expect("map");
        let wide = kernel.map_create(&attr(ARRAY, 4, 8, 2)).expect("map");
        let any = kernel.map_create(&MapCreate { flags: 1 << 12, ..attr(ARRAY, 4, 4, 9) }).expect("map");
        let hash = kernel.map_create(&attr(HASH, 4, 4, 2)).expect("map");
        let tails = kernel.map_create(&attr(PROG_ARRAY, 4, 4, 2)).expect("map");
        let outer = |map_type, inner: &OwnedFd| {
            kernel.map_create(&MapCreate { inner: Some(inner.as_fd()), ..attr(map_type, 4, 4, 2) })
        };
        let (array, hashed) = (outer(ARRAY_OF_MAPS, &small), outer(HASH_OF_MAPS, &small));
        let (array, hashed) = (array.expect("outer"), hashed.expect("outer"));
        let of_any = outer(ARRAY_OF_MAPS, &any).expect("outer");
        let of_hash = outer(ARRAY_OF_MAPS, &hash).expect("outer");
        let mut out = vec![
            note("nested", outer(ARRAY_OF_MAPS, &array)),
            note("of program arrays", outer(ARRAY_OF_MAPS, &tails)),
            note("of programs", outer(HASH_OF_MAPS, &prog)),
            note(
                "value of 8",
                kernel.map_create(&MapCreate { inner: Some(small.as_fd()), ..attr(ARRAY_OF_MAPS, 4, 8, 2) }),
            ),
            note(
                "without inner",
                kernel
                    .map_create(&attr(ARRAY_OF_MAPS, 4, 4, 2))
                    .map_err(|e| onebpf_sys::Error { errno: Errno::INVAL, ..e }),
            ),
            note(
                "inner of a hash",
                kernel.map_create(&MapCreate { inner: Some(small.as_fd()), ..attr(HASH, 4, 4, 2) }),
            ),
        ];
        let objects = [&prog, &xdp, &small, &tall, &wide, &any, &hash, &tails];
        for (name, map) in
            [("tails", &tails), ("array", &array), ("hashed", &hashed), ("any", &of_any), ("hash", &of_hash)]
        {
            for (index, object) in objects.iter().enumerate() {
                let put = |key: u32, flags| {
                    kernel.map_update_object(map.as_fd(), &key.to_ne_bytes(), object.as_fd(), flags)
                };
                out.push(note(format!("{name}[0] = object {index}"), put(0, 0)));
                out.push(note(format!("{name}[0] = object {index}, flags 1"), put(0, 1)));
                out.push(note(format!("{name}[7] = object {index}"), put(7, 0)));
            }
            let number = objects[0].as_raw_fd().to_ne_bytes();
            out.push(note(
                format!("{name}[1] = number"),
                kernel.map_update(map.as_fd(), &[1, 0, 0, 0], &number, 0),
            ));
            let closed = 100_000i32.to_ne_bytes();
            out.push(note(
                format!("{name}[1] = closed"),
                kernel.map_update(map.as_fd(), &[1, 0, 0, 0], &closed, 0),
            ));
            let mut id = [0; 4];
            for key in [0u32, 1, 7] {
                let found = kernel.map_lookup(map.as_fd(), &key.to_ne_bytes(), &mut id, 0);
                out.push(note(format!("{name}[{key}] lookup"), found));
                out.push(note(
                    format!("{name}[{key}] delete"),
                    kernel.map_delete(map.as_fd(), &key.to_ne_bytes()),
                ));
            }
            out.push(note(format!("{name} freeze"), kernel.map_freeze(map.as_fd())));
        }
        out
    });
}

#[test]
fn btf_rules() {
    agree("btf_rules", |kernel| {
        let strings = b"\0int\0x\0.data\0?.data\0f\0";
        let (var, func) = (|linkage| [5, 14 << 24, 1, linkage], |linkage: u32| [20, 12 << 24 | linkage, 2]);
        let proto = [0, 13 << 24, 1];
        let section = |size: u32, offset: u32, len: u32| [7, 15 << 24 | 1, size, 2, offset, len];
        let mut out = Vec::new();
        let mut ask = |what: &str, types: &[u32]| {
            let blob = btf(types, strings);
            out.push(note(what, kernel.btf_load(BtfLoad { data: &blob, ..BtfLoad::default() })));
        };
        ask("int", &INT);
        ask("nothing", &[]);
        ask("unknown kind", &[1, 30 << 24, 4]);
        ask("cut type", &INT[..3]);
        for linkage in 0..4 {
            ask(&format!("var linkage {linkage}"), &[&INT[..], &var(linkage)].concat());
            ask(&format!("func linkage {linkage}"), &[&INT[..], &proto, &func(linkage)].concat());
        }
        ask("func of int", &[&INT[..], &[20, 12 << 24, 1]].concat());
        for (size, offset, len) in
            [(4, 0, 4), (0, 0, 4), (4, 4, 4), (4, 0, 0), (4, 0, 2), (8, 4, 4), (8, 4, 8), (4, 0, 8)]
        {
            let what = format!("section of {size}, variable at {offset}, {len} bytes");
            ask(&what, &[&INT[..], &var(0), &section(size, offset, len)].concat());
        }
        let backwards = [7, 15 << 24 | 2, 8, 2, 4, 4, 2, 0, 4];
        ask("variables out of order", &[&INT[..], &var(0), &backwards].concat());
        ask("section of an int", &[&INT[..], &[7, 15 << 24 | 1, 4, 1, 0, 4]].concat());
        ask("section without a name", &[&INT[..], &var(0), &[0, 15 << 24 | 1, 4, 2, 0, 4]].concat());
        ask("section with ?", &[&INT[..], &var(0), &[13, 15 << 24 | 1, 4, 2, 0, 4]].concat());
        ask("pointer beyond", &[&INT[..], &[0, 2 << 24, 9]].concat());

        ask("var of void", &[&INT[..], &[5, 14 << 24, 0, 0]].concat());
        let (good, mut headers) = (btf(&INT, strings), Vec::new());
        for (at, value) in [(0, 0), (4, 20), (4, 28), (8, 2), (12, 12), (16, 20), (20, 0), (20, 2), (20, 99)]
        {
            let mut bad = good.clone();
            bad[at] = value;
            headers.push(note(
                format!("header[{at}] = {value}"),
                kernel.btf_load(BtfLoad { data: &bad, ..BtfLoad::default() }),
            ));
        }
        out.extend(headers);
        out
    });
}

#[test]
fn programs() {
    agree("programs", |kernel| {
        let array = map(kernel, "array");
        let single = kernel.map_create(&attr(ARRAY, 4, 4, 1)).expect("map");
        let hash = kernel.map_create(&attr(HASH, 4, 4, 2)).expect("map");
        let value = |fd: i32, offset| [&insn(0x18, 0x21, fd)[..], &insn(0, 0, offset), &returns_0()].concat();
        let call = |target| [&insn(0x85, 0x10, target)[..], &insn(0x95, 0, 0), &returns_0()].concat();
        let mut out = vec![
            note("plain", load(kernel, "p", &returns_0())),
            note("empty", load(kernel, "p", &[])),
            note("no exit", load(kernel, "p", &insn(0xb7, 0, 0))),
            note("half an insn", load(kernel, "p", &returns_0()[..12])),
            note("map", load(kernel, "p", &uses(array.as_raw_fd()))),
            note("closed fd", load(kernel, "p", &uses(100_000))),
            note("value", load(kernel, "p", &value(single.as_raw_fd(), 3))),
            note("value beyond", load(kernel, "p", &value(single.as_raw_fd(), 4))),
            note("value of two", load(kernel, "p", &value(array.as_raw_fd(), 0))),
            note("value of a hash", load(kernel, "p", &value(hash.as_raw_fd(), 0))),
            note("call", load(kernel, "p", &call(1))),
            note("call beyond", load(kernel, "p", &call(9))),
            note(
                "callback without BTF",
                load(
                    kernel,
                    "p",
                    &[&insn(0x18, 0x41, 3)[..], &insn(0, 0, 0), &returns_0(), &returns_0()].concat(),
                ),
            ),
        ];
        for name in ["fifteen_letters", "sixteen_letters_", "dot.ted", "da-sh", "spa ce"] {
            out.push(note(name, load(kernel, name, &returns_0())));
            out.push(note(name, kernel.map_create(&MapCreate { name, ..attr(ARRAY, 4, 4, 1) })));
        }
        for prog_type in [0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 17, 19, 31, 33, 34] {
            let flags = if prog_type == 31 { 1 << 4 } else { 0 }; // BPF_F_SLEEPABLE
            let attr =
                ProgLoad { prog_type, flags, insns: &returns_0(), license: "GPL", ..ProgLoad::default() };
            out.push(note(format!("program type {prog_type}"), kernel.prog_load(attr)));
        }
        out
    });
}

#[test]
fn func_info() {
    agree("func_info", |kernel| {
        let types = [&INT[..], &[0, 13 << 24, 1], &[5, 12 << 24, 2]].concat();
        let fd = kernel
            .btf_load(BtfLoad { data: &btf(&types, b"\0int\0f\0"), ..BtfLoad::default() })
            .expect("btf");
        let insns = [&insn(0x85, 0x10, 1)[..], &insn(0x95, 0, 0), &returns_0()].concat();
        let try_with = |what: &str, btf: bool, words: &[u32]| {
            let func_info: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            let btf = btf.then(|| fd.as_fd());
            let attr = ProgLoad {
                prog_type: 1,
                insns: &insns,
                license: "GPL",
                func_info: &func_info,
                btf,
                ..ProgLoad::default()
            };
            note(what, kernel.prog_load(attr))
        };
        vec![
            try_with("right", true, &[0, 3, 2, 3]),
            try_with("without BTF", false, &[0, 3, 2, 3]),
            try_with("none", true, &[]),
            try_with("one missing", true, &[0, 3]),
            try_with("elsewhere", true, &[0, 3, 1, 3]),
            try_with("not from 0", true, &[1, 3, 2, 3]),
            try_with("of an int", true, &[0, 3, 2, 1]),
        ]
    });
}

#[test]
fn arenas() {
    const PAGE: u64 = 4096;
    agree("arenas", |kernel| {
        let mut out = Vec::new();
        for (max_entries, flags, extra) in [
            (4, 1 << 10, 0),
            (4, 1 << 10, 1 << 44),
            (4, 1 << 10 | 1 << 17, 1 << 44),
            (4, 1 << 10 | 1 << 17, 0),
            (4, 0, 0),
            (0, 1 << 10, 0),
            (4, 1 << 10 | 1, 0),
            (4, 1 << 10, 100),
            (4, 1 << 10, (1 << 44) - PAGE),
            (1 << 20, 1 << 10, 1 << 44),
            (1 << 20, 1 << 10, PAGE),
            ((1 << 20) + 1, 1 << 10, 0),
        ] {
            let what = format!("arena of {max_entries} pages at {extra:#x}, flags {flags:#x}");
            let arena = kernel.map_create(&MapCreate { flags, extra, ..attr(33, 0, 0, max_entries) });
            out.push(note(what.clone(), arena.as_ref().map_err(|e| *e)));
            let Ok(arena) = arena else { continue };
            let size = u64::from(max_entries) * PAGE;
            let address = |offset: u64| {
                let address =
                    [insn(0x18, 0x21, arena.as_raw_fd()), insn(0, 0, offset as u32 as i32)].concat();
                load(kernel, "arena", &[address, returns_0()].concat())
            };
            out.push(note(format!("{what}: program before mapping"), address(0)));
            let memory = kernel.map_memory(arena.as_fd());
            out.push(note(format!("{what}: mapping"), memory.as_ref().map_err(|e| *e)));
            out.push(note(format!("{what}: mapping again"), kernel.map_memory(arena.as_fd())));
            for offset in [0, 4, size - 1, size, size + 1, 1 << 29] {
                out.push(note(format!("{what}: program, offset {offset:#x}"), address(offset)));
            }
            let Ok(memory) = memory else { continue };
            assert_eq!(memory.size(), size);
            for (offset, len) in
                [(0, 8), (PAGE - 1, 2), (size - 1, 1), (size - 1, 2), (size, 0), (size + 1, 0)]
            {
                let bytes = vec![7; len];
                out.push(note(format!("{what}: {len} bytes to {offset}"), memory.write(offset, &bytes)));
                let mut read = vec![0; len];
                if memory.read(offset, &mut read).is_ok() {
                    assert_eq!(read, bytes);
                }
            }
        }
        let array = map(kernel, "array");
        out.push(note("mapping an array", kernel.map_memory(array.as_fd())));
        out
    });
}

#[test]
fn files() {
    in_private("files", || {
        let Some(host) = privileged("files") else { return };
        let root = std::env::temp_dir().join(format!("onebpf-fake-{}", std::process::id()));
        std::fs::create_dir(&root).expect("create_dir");
        rustix::mount::mount("bpf", &root, "bpf", MountFlags::empty(), None).expect("mount -t bpf");
        let fake = FakeKernel::linux(&host.release).with_bpffs(&root);
        let answers = [&Linux as &dyn Kernel, &fake].map(|kernel| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| file_script(kernel, &root)))
        });
        rustix::mount::unmount(&root, UnmountFlags::DETACH).expect("umount");
        std::fs::remove_dir(&root).expect("remove_dir");
        let [real, faked] = answers.map(|answers| answers.expect("script"));
        for (real, faked) in real.iter().zip(&faked) {
            assert_eq!(real, faked);
        }
    });
}

fn file_script(kernel: &dyn Kernel, root: &Path) -> Answers {
    let map = map(kernel, "map");
    let btf = kernel.btf_load(BtfLoad { data: &btf(&INT, b"\0int\0"), ..BtfLoad::default() }).expect("btf");
    let at = |name: &str| root.join(name);
    let mut out = Vec::new();
    let mut ask = |what: &str, result: onebpf_sys::Result<String>| out.push((what.to_owned(), errno(result)));
    let done = |()| String::new();
    ask("is_bpffs", kernel.is_bpffs(root).map(|b| b.to_string()));
    ask("is_bpffs of nothing", kernel.is_bpffs(&at("none")).map(|b| b.to_string()));
    ask("mkdir", kernel.mkdir(&at("dir")).map(done));
    ask("mkdir again", kernel.mkdir(&at("dir")).map(done));
    ask("mkdir without parent", kernel.mkdir(&at("none/dir")).map(done));
    ask("mkdir with a dot", kernel.mkdir(&at("a.b")).map(done));
    ask("pin", kernel.pin(map.as_fd(), &at("dir/map")).map(done));
    ask("pin again", kernel.pin(map.as_fd(), &at("dir/map")).map(done));
    ask("pin on a directory", kernel.pin(map.as_fd(), &at("dir")).map(done));
    ask("pin with a dot", kernel.pin(map.as_fd(), &at("dir/a.b")).map(done));
    ask("pin without parent", kernel.pin(map.as_fd(), &at("none/map")).map(done));
    ask("pin below a pin", kernel.pin(map.as_fd(), &at("dir/map/x")).map(done));
    ask("pin elsewhere", kernel.pin(map.as_fd(), Path::new("/sys/onebpf")).map(done));
    ask("pin BTF", kernel.pin(btf.as_fd(), &at("btf")).map(done));
    ask("open", kernel.open_pin(&at("dir/map")).map(|_| String::new()));
    ask("open nothing", kernel.open_pin(&at("none")).map(|_| String::new()));
    ask("open a directory", kernel.open_pin(&at("dir")).map(|_| String::new()));
    ask("open with a dot", kernel.open_pin(&at("a.b")).map(|_| String::new()));
    ask("open below a pin", kernel.open_pin(&at("dir/map/x")).map(|_| String::new()));
    // A new mount shows two files of the kernel's own, `maps.debug` and `progs.debug`.
    let ours = |name: &&PathBuf| name.extension().is_none();
    ask(
        "list",
        kernel.list_dir(root).map(|names| format!("{:?}", names.iter().filter(ours).collect::<Vec<_>>())),
    );
    ask("list a directory", kernel.list_dir(&at("dir")).map(|names| format!("{names:?}")));
    ask("list a pin", kernel.list_dir(&at("dir/map")).map(|names| format!("{names:?}")));
    ask("list nothing", kernel.list_dir(&at("none")).map(|names| format!("{names:?}")));
    ask("unlink a directory", kernel.unlink(&at("dir")).map(done));
    ask("rmdir a pin", kernel.rmdir(&at("dir/map")).map(done));
    ask("rmdir a full directory", kernel.rmdir(&at("dir")).map(done));
    ask("unlink", kernel.unlink(&at("dir/map")).map(done));
    ask("unlink again", kernel.unlink(&at("dir/map")).map(done));
    ask("rmdir", kernel.rmdir(&at("dir")).map(done));
    ask("rmdir again", kernel.rmdir(&at("dir")).map(done));
    ask("rmdir the mount point", kernel.rmdir(root).map(done));
    out.extend(name_script(kernel, root));
    out
}

fn name_script(kernel: &dyn Kernel, root: &Path) -> Answers {
    use onebpf_sys::RenameMode::{Exchange, NoReplace, Replace};
    let map = map(kernel, "map");
    let at = |name: &str| root.join(name);
    let mut out = Vec::new();
    let mut ask = |what: &str, result: onebpf_sys::Result<()>| out.push(note(what, result));
    for name in ["a", "b"] {
        ask("pin", kernel.pin(map.as_fd(), &at(name)));
    }
    ask("rename nothing", kernel.rename(&at("none"), &at("a"), Replace));
    ask("rename to a taken name", kernel.rename(&at("a"), &at("b"), NoReplace));
    ask("rename to a name with a dot", kernel.rename(&at("a"), &at("a.b"), Replace));
    ask("rename to elsewhere", kernel.rename(&at("a"), Path::new("/sys/onebpf"), Replace));
    ask("exchange with nothing", kernel.rename(&at("a"), &at("none"), Exchange));
    ask("exchange", kernel.rename(&at("a"), &at("b"), Exchange));
    ask("rename to a free name", kernel.rename(&at("a"), &at("c"), NoReplace));
    ask("open the old name", kernel.open_pin(&at("a")).map(drop));
    ask("rename over", kernel.rename(&at("c"), &at("b"), Replace));
    ask("open the new name", kernel.open_pin(&at("b")).map(drop));
    ask("link", kernel.link(&at("b"), &at("a")));
    ask("link to a taken name", kernel.link(&at("b"), &at("a")));
    ask("link nothing", kernel.link(&at("none"), &at("c")));
    ask("symlink", kernel.symlink(&at("b"), &at("s")));
    ask("symlink at a taken name", kernel.symlink(&at("b"), &at("s")));
    ask("symlink with a dot", kernel.symlink(&at("b"), &at("s.s")));
    ask("open through it", kernel.open_pin(&at("s")).map(drop));
    ask("read it", kernel.read_link(&at("s")).map(|to| assert_eq!(to, at("b"))));
    ask("read a pin as a link", kernel.read_link(&at("b")).map(drop));
    ask("read no link", kernel.read_link(&at("none")).map(drop));
    ask("mkdir", kernel.mkdir(&at("d")));
    ask("symlink to it", kernel.symlink(&at("d"), &at("l")));
    ask("pin through it", kernel.pin(map.as_fd(), &at("l/m")));
    ask("open what it is", kernel.open_pin(&at("d/m")).map(drop));
    ask("write a file", kernel.write_file(&at("file"), b"text"));
    for name in ["l/m", "l", "s", "a", "b"] {
        ask(&format!("unlink {name}"), kernel.unlink(&at(name)));
    }
    ask("rmdir", kernel.rmdir(&at("d")));
    out
}
