//! What came when: map types, map flags, program types. Features have their own table in onebpf-sys.
//!
//! A row is here because a privileged test holds it against the running kernel: whatever a row says that
//! kernel has, it has. First releases are from the kernel's history.

use onebpf_sys::Release;

/// How a map type's elements behave, and with that what its attributes may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Any key, any value.
    Hash,
    /// A 4-byte index.
    Array,
    /// A 4-byte index to an object: programs, or perf events or cgroups (which are not modelled).
    Slots,
    /// Neither keys nor values; whole pages, a power of two.
    Ring,
    /// One value of a kernel's type, written once.
    Table,
    /// Attributes only.
    Opaque,
    /// Pages that processes and programs share.
    Arena,
}

/// Which BTF key types a map type takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyType {
    /// No BTF at all: ENOTSUPP.
    NoBtf,
    /// Any but `void`.
    Any,
    /// A 4-byte integer; arrays take `void` for a section of global data.
    U32,
    /// A structure.
    Struct,
    /// `void`.
    Void,
}

pub(crate) struct MapRow {
    pub(crate) map_type: u32,
    pub(crate) since: Release,
    pub(crate) shape: Shape,
    /// Flags that the type takes, on the newest kernel.
    pub(crate) flags: u32,
    /// What the type's `map_check_btf` wants.
    pub(crate) key: KeyType,
}

const fn map(map_type: u32, since: (u32, u32), shape: Shape, flags: u32, key: KeyType) -> MapRow {
    MapRow { map_type, since: Release::new(since.0, since.1), shape, flags, key }
}

// BPF_F_* for maps.
pub(crate) const NO_PREALLOC: u32 = 1 << 0;
const NO_COMMON_LRU: u32 = 1 << 1;
const NUMA_NODE: u32 = 1 << 2;
pub(crate) const RDONLY: u32 = 1 << 3;
pub(crate) const WRONLY: u32 = 1 << 4;
const STACK_BUILD_ID: u32 = 1 << 5;
const ZERO_SEED: u32 = 1 << 6;
const RDONLY_PROG: u32 = 1 << 7;
const WRONLY_PROG: u32 = 1 << 8;
const CLONE: u32 = 1 << 9;
pub(crate) const LINK: u32 = 1 << 13;
pub(crate) const MMAPABLE: u32 = 1 << 10;
const PRESERVE_ELEMS: u32 = 1 << 11;
pub(crate) const INNER_MAP: u32 = 1 << 12;
pub(crate) const SEGV_ON_FAULT: u32 = 1 << 17;
const NO_USER_CONV: u32 = 1 << 18;
const ACCESS: u32 = RDONLY | WRONLY | RDONLY_PROG | WRONLY_PROG;
const HASH_FLAGS: u32 = NO_PREALLOC | NUMA_NODE | ACCESS | ZERO_SEED;
const LRU_FLAGS: u32 = NO_COMMON_LRU | NUMA_NODE | ACCESS | ZERO_SEED;
const ARRAY_FLAGS: u32 = NUMA_NODE | ACCESS;
/// `fd_array_map_alloc_check`.
const SLOT_FLAGS: u32 = NUMA_NODE | RDONLY | WRONLY;
const DEV_FLAGS: u32 = NUMA_NODE | RDONLY | WRONLY;
const LOCAL_FLAGS: u32 = NO_PREALLOC | CLONE;
const ANY: u32 = u32::MAX;

/// Releases in which a map flag came. MMAPABLE is a [`Feature`](onebpf_sys::Feature).
pub(crate) const MAP_FLAGS: &[(u32, Release)] = &[
    (NO_PREALLOC, Release::new(4, 6)),
    (NO_COMMON_LRU, Release::new(4, 10)),
    (NUMA_NODE, Release::new(4, 14)),
    (RDONLY | WRONLY, Release::new(4, 15)),
    (STACK_BUILD_ID, Release::new(4, 17)),
    (ZERO_SEED, Release::new(5, 0)),
    (RDONLY_PROG | WRONLY_PROG, Release::new(5, 2)),
    (CLONE, Release::new(5, 4)),
    (PRESERVE_ELEMS | INNER_MAP, Release::new(5, 10)),
    (LINK, Release::new(6, 4)),
];

pub(crate) const HASH: u32 = 1;
pub(crate) const ARRAY: u32 = 2;
pub(crate) const PROG_ARRAY: u32 = 3;
pub(crate) const PERCPU_HASH: u32 = 5;
pub(crate) const PERCPU_ARRAY: u32 = 6;
pub(crate) const LRU_HASH: u32 = 9;
pub(crate) const LRU_PERCPU_HASH: u32 = 10;
pub(crate) const LPM_TRIE: u32 = 11;
pub(crate) const STRUCT_OPS: u32 = 26;
pub(crate) const ARRAY_OF_MAPS: u32 = 12;
pub(crate) const HASH_OF_MAPS: u32 = 13;
pub(crate) const ARENA: u32 = 33;
pub(crate) const INSN_ARRAY: u32 = 34;

pub(crate) const MAPS: &[MapRow] = &[
    map(HASH, (3, 19), Shape::Hash, HASH_FLAGS, KeyType::Any),
    map(ARRAY, (3, 19), Shape::Array, ARRAY_FLAGS | MMAPABLE | INNER_MAP, KeyType::U32),
    map(PROG_ARRAY, (4, 2), Shape::Slots, SLOT_FLAGS, KeyType::Any),
    map(4, (4, 3), Shape::Slots, SLOT_FLAGS | PRESERVE_ELEMS, KeyType::NoBtf),
    map(PERCPU_HASH, (4, 6), Shape::Hash, HASH_FLAGS, KeyType::Any),
    map(PERCPU_ARRAY, (4, 6), Shape::Array, ARRAY_FLAGS, KeyType::U32),
    map(7, (4, 6), Shape::Opaque, ANY, KeyType::NoBtf),
    map(8, (4, 8), Shape::Slots, SLOT_FLAGS, KeyType::NoBtf),
    map(LRU_HASH, (4, 10), Shape::Hash, LRU_FLAGS, KeyType::Any),
    map(LRU_PERCPU_HASH, (4, 10), Shape::Hash, LRU_FLAGS, KeyType::Any),
    map(LPM_TRIE, (4, 11), Shape::Hash, NO_PREALLOC | NUMA_NODE | ACCESS, KeyType::Struct),
    map(ARRAY_OF_MAPS, (4, 12), Shape::Array, SLOT_FLAGS, KeyType::NoBtf),
    map(HASH_OF_MAPS, (4, 12), Shape::Hash, HASH_FLAGS, KeyType::NoBtf),
    map(14, (4, 14), Shape::Opaque, DEV_FLAGS, KeyType::NoBtf),
    map(15, (4, 14), Shape::Opaque, DEV_FLAGS, KeyType::NoBtf),
    map(16, (4, 15), Shape::Opaque, NUMA_NODE, KeyType::NoBtf),
    map(17, (4, 18), Shape::Opaque, DEV_FLAGS, KeyType::NoBtf),
    map(18, (4, 18), Shape::Opaque, DEV_FLAGS, KeyType::NoBtf),
    map(19, (4, 19), Shape::Opaque, ANY, KeyType::Any),
    map(20, (4, 19), Shape::Opaque, ANY, KeyType::Any),
    map(21, (4, 20), Shape::Opaque, ANY, KeyType::Any),
    map(22, (4, 20), Shape::Opaque, NUMA_NODE | ACCESS, KeyType::Any),
    map(23, (4, 20), Shape::Opaque, NUMA_NODE | ACCESS, KeyType::Any),
    map(24, (5, 2), Shape::Opaque, LOCAL_FLAGS, KeyType::U32),
    map(25, (5, 4), Shape::Opaque, DEV_FLAGS, KeyType::NoBtf),
    map(STRUCT_OPS, (5, 6), Shape::Table, ANY, KeyType::NoBtf),
    map(27, (5, 8), Shape::Ring, NUMA_NODE, KeyType::NoBtf),
    map(28, (5, 10), Shape::Opaque, LOCAL_FLAGS, KeyType::U32),
    map(29, (5, 11), Shape::Opaque, LOCAL_FLAGS, KeyType::U32),
    map(30, (5, 16), Shape::Opaque, NUMA_NODE | ZERO_SEED | ACCESS, KeyType::Void),
    map(31, (6, 1), Shape::Ring, NUMA_NODE, KeyType::NoBtf),
    map(32, (6, 2), Shape::Opaque, LOCAL_FLAGS, KeyType::U32),
    map(ARENA, (6, 9), Shape::Arena, MMAPABLE | SEGV_ON_FAULT | NO_USER_CONV, KeyType::NoBtf),
    map(INSN_ARRAY, (6, 19), Shape::Array, 0, KeyType::NoBtf),
];

/// Releases in which a map type learnt batches, and what it can do with them.
pub(crate) const BATCHES: &[(u32, Release, Batches)] = &[
    (HASH, Release::new(5, 6), Batches::Buckets),
    (ARRAY, Release::new(5, 6), Batches::Elements { delete: false }),
    (PERCPU_HASH, Release::new(5, 6), Batches::Buckets),
    (PERCPU_ARRAY, Release::new(5, 13), Batches::Elements { delete: false }),
    (LRU_HASH, Release::new(5, 6), Batches::Buckets),
    (LRU_PERCPU_HASH, Release::new(5, 6), Batches::Buckets),
    (LPM_TRIE, Release::new(5, 13), Batches::Elements { delete: true }),
    (ARRAY_OF_MAPS, Release::new(5, 19), Batches::Elements { delete: false }),
    (HASH_OF_MAPS, Release::new(5, 19), Batches::Buckets),
];

/// How a map type does batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Batches {
    /// Whole buckets of a hash table, which can also be removed as they are read.
    Buckets,
    /// One element after the other.
    Elements {
        /// Whether they can be deleted.
        delete: bool,
    },
}

/// First releases of the program types, by number from 1 (`enum bpf_prog_type`).
pub(crate) const PROGS: &[Release] = &[
    Release::new(3, 19), // SOCKET_FILTER
    Release::new(4, 1),  // KPROBE
    Release::new(4, 1),  // SCHED_CLS
    Release::new(4, 1),  // SCHED_ACT
    Release::new(4, 7),  // TRACEPOINT
    Release::new(4, 8),  // XDP
    Release::new(4, 9),  // PERF_EVENT
    Release::new(4, 10), // CGROUP_SKB
    Release::new(4, 10), // CGROUP_SOCK
    Release::new(4, 10), // LWT_IN
    Release::new(4, 10), // LWT_OUT
    Release::new(4, 10), // LWT_XMIT
    Release::new(4, 13), // SOCK_OPS
    Release::new(4, 14), // SK_SKB
    Release::new(4, 15), // CGROUP_DEVICE
    Release::new(4, 17), // SK_MSG
    Release::new(4, 17), // RAW_TRACEPOINT
    Release::new(4, 17), // CGROUP_SOCK_ADDR
    Release::new(4, 18), // LWT_SEG6LOCAL
    Release::new(4, 18), // LIRC_MODE2
    Release::new(4, 19), // SK_REUSEPORT
    Release::new(4, 20), // FLOW_DISSECTOR
    Release::new(5, 2),  // CGROUP_SYSCTL
    Release::new(5, 2),  // RAW_TRACEPOINT_WRITABLE
    Release::new(5, 3),  // CGROUP_SOCKOPT
    Release::new(5, 5),  // TRACING
    Release::new(5, 6),  // STRUCT_OPS
    Release::new(5, 6),  // EXT
    Release::new(5, 7),  // LSM
    Release::new(5, 9),  // SK_LOOKUP
    Release::new(5, 14), // SYSCALL
    Release::new(6, 4),  // NETFILTER
];

/// The row of a map type, if that release has it.
pub(crate) fn map_row(map_type: u32, release: Release) -> Option<&'static MapRow> {
    MAPS.iter().find(|row| row.map_type == map_type && row.since <= release)
}

/// Whether that release has every one of these map flags; flags without a row are as new as it gets.
pub(crate) fn knows_flags(flags: u32, release: Release) -> bool {
    let unknown = MAP_FLAGS.iter().filter(|(_, since)| *since > release).fold(0, |all, (flag, _)| all | flag);
    flags & unknown == 0
}

/// Whether that release has the program type.
pub(crate) fn knows_prog(prog_type: u32, release: Release) -> bool {
    let row = (prog_type as usize).checked_sub(1).and_then(|index| PROGS.get(index));
    row.is_some_and(|since| *since <= release)
}
