//! `Linux` against the running kernel. Without privileges the tests say so and pass.

mod common;

use common::{
    ARRAY, ARRAY_OF_MAPS, HASH, PERCPU_ARRAY, PERCPU_HASH, PROG_ARRAY, QUEUE, SOCKET_FILTER, btf, btf_int,
    insn, map, returns,
};
use onebpf_sys::{
    Batch, BatchCursor, BtfLoad, Errno, Kernel, Linux, Log, MapBtf, MapCreate, ObjectKind, Op, ProgLoad,
    ProgRun,
};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use testing::privileged;

#[test]
fn host_facts() {
    let host = Linux.host().expect("host");
    assert!(host.release.contains('.'), "{host:?}");
    assert!(host.version_code >= 0x03_12_00, "{host:?}");
    assert!(host.possible_cpus >= 1 && host.page_size >= 4096, "{host:?}");
}

#[test]
fn kernel_btf_is_btf() {
    let Some(data) = Linux.kernel_btf().expect("kernel_btf") else {
        return eprintln!("skipped: this kernel has no BTF");
    };
    let data: &[u8] = data.as_ref().as_ref();
    assert_eq!(data.get(..2), Some(&0xeb9f_u16.to_ne_bytes()[..]));
    let file = std::fs::read("/sys/kernel/btf/vmlinux").expect("read");
    assert!(file == data, "mapped and read BTF differ");
}

#[test]
fn elements_of_a_hash() {
    let Some(_) = privileged("elements_of_a_hash") else { return };
    let map = map(HASH, 4, 8, 2);
    let (map, mut value) = (map.as_fd(), [0u8; 8]);
    let lookup = |key: &[u8], value: &mut [u8]| Linux.map_lookup(map, key, value, 0).map_err(|e| e.errno);
    assert_eq!(lookup(&[1, 0, 0, 0], &mut value), Err(Errno::NOENT));
    Linux.map_update(map, &[1, 0, 0, 0], &[7; 8], 0).expect("update");
    let again = Linux.map_update(map, &[1, 0, 0, 0], &[8; 8], 1).expect_err("BPF_NOEXIST");
    assert_eq!((again.op, again.errno), (Op::MapUpdate, Errno::EXIST));
    lookup(&[1, 0, 0, 0], &mut value).expect("lookup");
    assert_eq!(value, [7; 8]);

    Linux.map_update(map, &[2, 0, 0, 0], &[9; 8], 0).expect("update");
    assert_eq!(Linux.map_update(map, &[3, 0, 0, 0], &[9; 8], 0).map_err(|e| e.errno), Err(Errno::TOOBIG));
    let (mut key, mut next, mut seen) = (None, [0u8; 4], 0);
    while Linux.map_next_key(map, key.as_ref().map(|k: &[u8; 4]| k.as_slice()), &mut next).expect("next") {
        (key, seen) = (Some(next), seen + 1);
    }
    assert_eq!(seen, 2);

    Linux.map_delete(map, &[1, 0, 0, 0]).expect("delete");
    assert_eq!(Linux.map_delete(map, &[1, 0, 0, 0]).map_err(|e| e.errno), Err(Errno::NOENT));
}

#[test]
fn short_buffers_never_reach_the_kernel() {
    let Some(host) = privileged("short_buffers_never_reach_the_kernel") else { return };
    let array = map(PERCPU_ARRAY, 4, 12, 1);
    let size = Linux.map_info(array.as_fd()).expect("info").value_buffer_size(host.possible_cpus);
    assert_eq!(size, 16 * host.possible_cpus as usize);
    let mut value = vec![1u8; size];
    Linux.map_lookup(array.as_fd(), &[0; 4], &mut value, 0).expect("whole buffer");
    assert_eq!(value, vec![0; size]);
    let short = Linux.map_lookup(array.as_fd(), &[0; 4], &mut value[..size - 1], 0);
    assert_eq!(short.map_err(|e| e.errno), Err(Errno::INVAL));
    let short = Linux.map_lookup(array.as_fd(), &[0; 3], &mut value, 0);
    assert_eq!(short.map_err(|e| e.errno), Err(Errno::INVAL));
    let short = Linux.map_update(array.as_fd(), &[0; 4], &value[..12], 0);
    assert_eq!(short.map_err(|e| e.errno), Err(Errno::INVAL));
    let short = Linux.map_next_key(array.as_fd(), None, &mut [0; 3]);
    assert_eq!(short.map_err(|e| e.errno), Err(Errno::INVAL));
}

#[test]
fn a_queue_has_no_keys() {
    let Some(_) = privileged("a_queue_has_no_keys") else { return };
    let queue = map(QUEUE, 0, 4, 2);
    Linux.map_update(queue.as_fd(), &[], &[5, 0, 0, 0], 0).expect("push");
    let mut value = [0; 4];
    Linux.map_lookup(queue.as_fd(), &[], &mut value, 0).expect("peek");
    assert_eq!(value, [5, 0, 0, 0]);
}

#[test]
fn info_and_freeze() {
    let Some(_) = privileged("info_and_freeze") else { return };
    let btf = Linux.btf_load(BtfLoad { data: &btf_int(), ..BtfLoad::default() }).expect("btf");
    let attr = MapCreate {
        map_type: ARRAY,
        key_size: 4,
        value_size: 4,
        max_entries: 3,
        numa_node: Some(0),
        name: "obpf_frozen",
        btf: Some(MapBtf { fd: btf.as_fd(), key_type: 1, value_type: 1 }),
        ..MapCreate::default()
    };
    let map = Linux.map_create(&attr).expect("create");
    let info = Linux.map_info(map.as_fd()).expect("info");
    assert_eq!((info.map_type, info.key_size, info.value_size, info.max_entries), (ARRAY, 4, 4, 3));
    assert_eq!((info.name.as_str(), info.flags, info.frozen), ("obpf_frozen", 4, false));
    assert_eq!((info.btf_key_type, info.btf_value_type), (1, 1));
    let btf_info = Linux.btf_info(btf.as_fd()).expect("btf info");
    assert_eq!((btf_info.id, btf_info.kernel, btf_info.name.as_str()), (info.btf_id, false, ""));
    assert_eq!(btf_info.data, btf_int());

    Linux.map_freeze(map.as_fd()).expect("freeze");
    assert!(Linux.map_info(map.as_fd()).expect("info").frozen);
    assert_eq!(Linux.map_update(map.as_fd(), &[0; 4], &[0; 4], 0).map_err(|e| e.errno), Err(Errno::PERM));
    assert_eq!(Linux.map_info(btf.as_fd()).map_err(|e| e.errno), Err(Errno::INVAL));
}

#[test]
fn names_too_long_are_refused() {
    let attr = MapCreate { map_type: HASH, name: "sixteen_letters_", ..MapCreate::default() };
    assert_eq!(Linux.map_create(&attr).expect_err("16 bytes").errno, Errno::INVAL);
}

#[test]
fn bad_btf_is_explained() {
    let Some(_) = privileged("bad_btf_is_explained") else { return };
    let mut buffer = vec![0u8; 4096];
    let log = Log { level: 1, buffer: &mut buffer };
    let data = btf(&[1, 1 << 24, 4, 1 << 24 | 0x63], b"\0int\0");
    assert_eq!(
        Linux.btf_load(BtfLoad { data: &data, log: Some(log), token: None }).expect_err("99 bits").errno,
        Errno::INVAL
    );
    let text = String::from_utf8_lossy(&buffer);
    assert!(text.contains("int") && text.contains('\0'), "{text}");
}

#[test]
fn programs_load_run_and_tell() {
    let Some(_) = privileged("programs_load_run_and_tell") else { return };
    let counter = map(ARRAY, 4, 8, 1);
    // r1 = map; r0 = 42; exit: so that the program holds the map
    let insns = [
        insn(0x18, 0x11, 0, counter.as_raw_fd()),
        insn(0, 0, 0, 0),
        insn(0xb7, 0, 0, 42),
        insn(0x95, 0, 0, 0),
    ]
    .concat();
    let prog = load(&insns, None).expect("load");
    let info = Linux.prog_info(prog.as_fd()).expect("info");
    assert_eq!((info.prog_type, info.name.as_str(), info.gpl_compatible), (SOCKET_FILTER, "obpf_prog", true));
    assert_eq!(info.map_ids, [Linux.map_info(counter.as_fd()).expect("map info").id]);
    assert!(info.xlated_len >= 32 && info.load_time_ns > 0 && info.tag != [0; 8], "{info:?}");

    let packet = [0x11u8; 64];
    let run = ProgRun { data_in: &packet, data_out_size: 256, repeat: 3, ..ProgRun::default() };
    let result = Linux.prog_run(prog.as_fd(), run).expect("run");
    assert_eq!((result.retval, result.data_out.len()), (42, 64));
    let run = ProgRun { data_in: &packet, ..ProgRun::default() };
    assert_eq!(Linux.prog_run(prog.as_fd(), run).expect("run").data_out, []);
}

#[test]
fn a_rejected_program_has_a_log() {
    let Some(_) = privileged("a_rejected_program_has_a_log") else { return };
    let mut buffer = vec![0u8; 65536];
    let only_exit = insn(0x95, 0, 0, 0);
    let error = load(&only_exit, Some(Log { level: 1, buffer: &mut buffer })).expect_err("r0 unset");
    assert_eq!((error.op, error.errno), (Op::ProgLoad, Errno::ACCES));
    let text = String::from_utf8_lossy(&buffer);
    assert!(text.contains("R0 !read_ok"), "{text}");
    assert_eq!(load(&[0; 7], None).expect_err("7 bytes").errno, Errno::INVAL);
}

#[test]
fn slots_take_objects() {
    let Some(_) = privileged("slots_take_objects") else { return };
    let prog = load(&returns(0), None).expect("load");
    let tails = map(PROG_ARRAY, 4, 4, 2);
    Linux.map_update_object(tails.as_fd(), &[1, 0, 0, 0], prog.as_fd(), 0).expect("prog slot");
    let mut id = [0; 4];
    Linux.map_lookup(tails.as_fd(), &[1, 0, 0, 0], &mut id, 0).expect("lookup gives the id");
    assert_eq!(u32::from_ne_bytes(id), Linux.prog_info(prog.as_fd()).expect("info").id);

    let inner = map(ARRAY, 4, 4, 1);
    let attr = MapCreate {
        map_type: ARRAY_OF_MAPS,
        key_size: 4,
        value_size: 4,
        max_entries: 2,
        inner: Some(inner.as_fd()),
        ..MapCreate::default()
    };
    let outer = Linux.map_create(&attr).expect("outer");
    Linux.map_update_object(outer.as_fd(), &[0; 4], inner.as_fd(), 0).expect("map slot");
    let wrong = Linux.map_update_object(outer.as_fd(), &[0; 4], prog.as_fd(), 0);
    assert_eq!(wrong.map_err(|e| e.errno), Err(Errno::INVAL));
}

#[test]
fn ids_lead_back_to_objects() {
    let Some(_) = privileged("ids_lead_back_to_objects") else { return };
    let map = map(ARRAY, 4, 4, 1);
    let id = Linux.map_info(map.as_fd()).expect("info").id;
    assert_eq!(Linux.next_id(ObjectKind::Map, id - 1).expect("next"), Some(id));
    let again = Linux.open_id(ObjectKind::Map, id).expect("open");
    assert_eq!(Linux.map_info(again.as_fd()).expect("info").id, id);
    assert_eq!(Linux.next_id(ObjectKind::Map, 0x7fff_fff0).expect("next"), None);
    assert_eq!(Linux.open_id(ObjectKind::Btf, 0x7fff_fff0).expect_err("no such").errno, Errno::NOENT);
}

#[test]
fn fds_know_their_kind() {
    let Some(_) = privileged("fds_know_their_kind") else { return };
    let kind = |fd: &OwnedFd| Linux.fd_kind(fd.as_fd()).expect("kind");
    assert_eq!(kind(&map(ARRAY, 4, 4, 1)), Some(ObjectKind::Map));
    assert_eq!(kind(&load(&returns(0), None).expect("load")), Some(ObjectKind::Program));
    let btf = Linux.btf_load(BtfLoad { data: &btf_int(), ..BtfLoad::default() }).expect("btf");
    assert_eq!(kind(&btf), Some(ObjectKind::Btf));
    assert_eq!(kind(&Linux.duplicate(btf.as_fd()).expect("dup")), Some(ObjectKind::Btf));
    let file = std::fs::File::open("/proc/self/status").expect("open");
    assert_eq!(kind(&file.into()), None);
    let flags = rustix::io::fcntl_getfd(&btf).expect("getfd");
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
}

fn load(insns: &[u8], log: Option<Log<'_>>) -> onebpf_sys::Result<OwnedFd> {
    let prog = ProgLoad {
        prog_type: SOCKET_FILTER,
        insns,
        license: "GPL",
        name: "obpf_prog",
        log,
        ..ProgLoad::default()
    };
    Linux.prog_load(prog)
}

#[test]
fn batches_stay_within_their_buffers() {
    let Some(host) = privileged("batches_stay_within_their_buffers") else { return };
    // A key of 2 bytes: the kernel's token has 4.
    let hash = map(PERCPU_HASH, 2, 12, 64);
    let size = Linux.map_info(hash.as_fd()).expect("info").value_buffer_size(host.possible_cpus);
    let keys: Vec<u8> = (0..64u16).flat_map(u16::to_ne_bytes).collect();
    let values: Vec<u8> = (0..64u8).flat_map(|n| vec![n; size]).collect();
    let all = match Linux.map_update_batch(hash.as_fd(), &keys, &values, 0) {
        Err(e) if e.errno == Errno::INVAL => return eprintln!("skipped: batches came with Linux 5.6"),
        all => all.expect("update"),
    };
    assert_eq!(all, Batch { count: 64, stopped: None });
    let full = Linux.map_update_batch(hash.as_fd(), &[99, 0, 98, 0], &values[..2 * size], 0).expect("update");
    assert_eq!(full, Batch { count: 0, stopped: Some(Errno::TOOBIG) });

    let (mut cursor, mut seen) = (BatchCursor::default(), 0);
    let (mut some_keys, mut some_values) = (vec![0; 16 * 2], vec![0; 16 * size]);
    loop {
        let read = Linux
            .map_lookup_batch(hash.as_fd(), &mut cursor, &mut some_keys, &mut some_values, 0)
            .expect("look-up");
        for (key, value) in some_keys.chunks(2).zip(some_values.chunks(size)).take(read.count) {
            // Of each CPU's 16 bytes the kernel moves 12, rounded up; what pads them is nobody's.
            assert!(value.chunks(16).all(|value| value[..12] == vec![key[0]; 12]), "{key:?}: {value:?}");
            seen += 1;
        }
        if read.stopped == Some(Errno::NOENT) {
            break;
        }
        assert_eq!(read.stopped, None);
    }
    assert_eq!(seen, 64);

    let read = |cursor: &mut BatchCursor, keys: &mut [u8], values: &mut [u8]| {
        Linux.map_lookup_batch(hash.as_fd(), cursor, keys, values, 0).map_err(|e| e.errno)
    };
    let start = BatchCursor::default();
    assert_eq!(read(&mut start.clone(), &mut some_keys, &mut some_values[1..]), Err(Errno::INVAL));
    assert_eq!(read(&mut start.clone(), &mut some_keys[1..], &mut some_values), Err(Errno::INVAL));
    assert_eq!(read(&mut start.clone(), &mut [], &mut []), Err(Errno::INVAL));
    assert_eq!(
        read(&mut BatchCursor { token: vec![0; 2] }, &mut some_keys, &mut some_values),
        Err(Errno::INVAL)
    );
    let gone = Linux.map_delete_batch(hash.as_fd(), &[1, 0, 2, 0, 1, 0], 0).expect("delete");
    assert_eq!(gone, Batch { count: 2, stopped: Some(Errno::NOENT) });
}
