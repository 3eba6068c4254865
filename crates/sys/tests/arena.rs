//! Arenas of the running kernel. Without privileges the test says so and passes.

mod common;

use common::ARRAY;
use onebpf_sys::{Errno, Kernel, Linux, MapCreate, Op};
use std::os::fd::AsFd;
use testing::privileged;

#[test]
fn arenas_are_shared_memory() {
    let Some(host) = privileged("arenas_are_shared_memory") else { return };
    let attr = MapCreate { map_type: 33, max_entries: 4, flags: 1 << 10, ..MapCreate::default() };
    let arena = match Linux.map_create(&attr) {
        Ok(arena) => arena,
        Err(e) => return eprintln!("skipped: no arenas before Linux 6.9: {e}"),
    };
    let memory = Linux.map_memory(arena.as_fd()).expect("map_memory");
    let size = 4 * u64::from(host.page_size);
    assert_eq!((memory.size(), memory.address() % u64::from(host.page_size)), (size, 0));
    let bytes: Vec<u8> = (0..=255).collect();
    for (offset, len) in
        [(0, 256), (1, 255), (7, 9), (5, 2), (u64::from(host.page_size) - 3, 100), (size - 1, 1), (size, 0)]
    {
        memory.write(offset, &bytes[..len]).expect("write");
        let mut read = vec![0xee; len];
        memory.read(offset, &mut read).expect("read");
        assert_eq!(read, bytes[..len], "{len} bytes at {offset}");
    }
    for (offset, len) in [(size, 1), (size - 1, 2), (u64::MAX, 1), (u64::MAX, 0), (0, size as usize + 1)] {
        let fault = Err(onebpf_sys::Error { op: Op::MapMemory, errno: Errno::FAULT });
        assert_eq!(memory.write(offset, &vec![0; len]), fault, "{len} bytes at {offset}");
        assert_eq!(memory.read(offset, &mut vec![0; len]), fault);
    }

    let refused = |attr: MapCreate<'_>| {
        let map = Linux.map_create(&attr).expect("map_create");
        Linux.map_memory(map.as_fd()).map(|memory| memory.size()).unwrap_err().errno
    };
    assert_eq!(Linux.map_memory(arena.as_fd()).map(|it| it.size()).unwrap_err().errno, Errno::INVAL);
    let here = MapCreate { extra: memory.address(), ..attr.clone() };
    assert_eq!(refused(here), Errno::EXIST);
    assert_eq!(refused(MapCreate { flags: attr.flags | 1 << 17, ..attr.clone() }), Errno::OPNOTSUPP);
    assert_eq!(refused(MapCreate { key_size: 4, value_size: 4, map_type: ARRAY, ..attr }), Errno::OPNOTSUPP);
}
