//! What goes into the kernel and what comes out, as plain data.

use crate::Errno;
use std::os::fd::BorrowedFd;

/// The longest name that the kernel keeps (`BPF_OBJ_NAME_LEN` less the NUL).
pub const OBJ_NAME_MAX: usize = 15;

/// The four kinds of object that have ids and can be pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum ObjectKind {
    Map,
    Program,
    Link,
    Btf,
}

/// What a rename does with what has the new name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RenameMode {
    /// It loses its name.
    Replace,
    /// It stays, and the rename fails (`RENAME_NOREPLACE`; on bpffs since Linux 4.9).
    NoReplace,
    /// The two swap names (`RENAME_EXCHANGE`; on bpffs since Linux 5.17).
    Exchange,
}

/// `BPF_MAP_CREATE`. Numbers are the kernel's; zero means "not given".
#[derive(Clone, Debug, Default)]
pub struct MapCreate<'a> {
    /// `enum bpf_map_type`.
    pub map_type: u32,
    /// Bytes in a key.
    pub key_size: u32,
    /// Bytes in a value.
    pub value_size: u32,
    /// How many entries fit.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// Template for a map of maps.
    pub inner: Option<BorrowedFd<'a>>,
    /// `BPF_F_NUMA_NODE` is set by the implementation when given. Since Linux 4.14.
    pub numa_node: Option<u32>,
    /// At most [`OBJ_NAME_MAX`] bytes of `[A-Za-z0-9_.]`; empty for none. Since Linux 4.15.
    pub name: &'a str,
    /// BTF for the key and value types. Since Linux 4.18.
    pub btf: Option<MapBtf<'a>>,
    /// `map_extra`: e.g. the number of a bloom filter's hash functions. Since Linux 5.16.
    pub extra: u64,
    /// The network device whose hardware is to hold it; 0: none. Since Linux 4.16.
    pub ifindex: u32,
    /// By whose right, if not by this process's own. Since Linux 6.9.
    pub token: Option<BorrowedFd<'a>>,
    /// The kernel's type that its value has: for struct_ops, which need [`btf`](Self::btf), too, without types. Since
    /// Linux 5.6.
    pub kernel_value: Option<KernelValue<'a>>,
}

/// A type of the kernel's that a map's value has.
#[derive(Clone, Copy, Debug)]
pub struct KernelValue<'a> {
    /// BTF type id, in the kernel's BTF or the module's.
    pub type_id: u32,
    /// The module's BTF. `BPF_F_VTYPE_BTF_OBJ_FD` is set by the implementation when given. Since Linux 6.9.
    pub module: Option<BorrowedFd<'a>>,
}

/// `BPF_LINK_CREATE`.
#[derive(Clone, Copy, Debug)]
pub struct LinkCreate<'a> {
    /// What is attached: a program, or the map of a struct_ops table.
    pub object: BorrowedFd<'a>,
    /// To what: an fd or an interface's index, as the attach type wants it; 0 for struct_ops.
    pub target: u32,
    /// `enum bpf_attach_type`.
    pub attach_type: u32,
    /// `BPF_F_*` for links.
    pub flags: u32,
}

/// Where a walk through a map in batches stands; at first, at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchCursor {
    /// Empty at the start, then what the kernel makes of it: as long as a key, and at least 4 bytes (the number of a
    /// hash table's bucket).
    pub token: Vec<u8>,
}

/// What became of a batch. An error instead means that the kernel has not touched a single element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Elements done: the first ones in the caller's buffers.
    pub count: usize,
    /// What stopped the kernel before the end of the buffers: for what was written or removed, why the element after
    /// the last one done was refused.
    pub stopped: Option<Errno>,
}

/// Key and value types of a map.
#[derive(Clone, Copy, Debug)]
pub struct MapBtf<'a> {
    /// The loaded BTF.
    pub fd: BorrowedFd<'a>,
    /// BTF type id of the key, or 0.
    pub key_type: u32,
    /// BTF type id of the value, or 0.
    pub value_type: u32,
}

/// Where the kernel writes what it thinks.
#[derive(Debug)]
pub struct Log<'b> {
    /// 1: what went wrong; 2: every step; 4: statistics only (cheap).
    pub level: u32,
    /// Filled with NUL-terminated text.
    pub buffer: &'b mut [u8],
}

/// `BPF_BTF_LOAD`.
#[derive(Debug, Default)]
pub struct BtfLoad<'a, 'b> {
    /// The whole blob.
    pub data: &'a [u8],
    /// By whose right, if not by this process's own. Since Linux 6.9.
    pub token: Option<BorrowedFd<'a>>,
    /// The kernel's complaints.
    pub log: Option<Log<'b>>,
}

/// `BPF_PROG_LOAD`.
#[derive(Debug, Default)]
pub struct ProgLoad<'a, 'b> {
    /// `enum bpf_prog_type`.
    pub prog_type: u32,
    /// `enum bpf_attach_type` that the program will be attached as; 0 if that does not matter. Since Linux
    /// 4.17.
    pub expected_attach_type: u32,
    /// Instructions, 8 bytes each, native endian.
    pub insns: &'a [u8],
    /// Licence text, without a NUL.
    pub license: &'a str,
    /// Kernel version for kprobes before Linux 5.0.
    pub kernel_version: u32,
    /// `BPF_F_*` for programs.
    pub flags: u32,
    /// At most [`OBJ_NAME_MAX`] bytes; empty for none. Since Linux 4.15.
    pub name: &'a str,
    /// BTF that the infos below speak of. Since Linux 5.0.
    pub btf: Option<BorrowedFd<'a>>,
    /// `struct bpf_func_info` records of 8 bytes.
    pub func_info: &'a [u8],
    /// `struct bpf_line_info` records of 16 bytes.
    pub line_info: &'a [u8],
    /// BTF id of the kernel function or type that the program attaches to. Since Linux 5.5.
    pub attach_btf_id: u32,
    /// Program (for `freplace`) or module BTF that `attach_btf_id` belongs to.
    pub attach_btf: Option<BorrowedFd<'a>>,
    /// Module BTFs that kfunc calls index. Since Linux 5.14.
    pub fd_array: &'a [i32],
    /// The network device whose hardware is to run it; 0: none. Since Linux 4.15.
    pub ifindex: u32,
    /// By whose right, if not by this process's own. Since Linux 6.9.
    pub token: Option<BorrowedFd<'a>>,
    /// The verifier's log.
    pub log: Option<Log<'b>>,
}

/// `BPF_PROG_TEST_RUN`.
#[derive(Clone, Debug, Default)]
pub struct ProgRun<'a> {
    /// Packet or other input.
    pub data_in: &'a [u8],
    /// How many bytes of output to make room for.
    pub data_out_size: u32,
    /// Context structure, for types that take one.
    pub ctx_in: &'a [u8],
    /// Room for the context afterwards.
    pub ctx_out_size: u32,
    /// How often to run; 0 is 1.
    pub repeat: u32,
    /// `BPF_F_TEST_*`.
    pub flags: u32,
    /// CPU to run on, with BPF_F_TEST_RUN_ON_CPU.
    pub cpu: u32,
    /// XDP live frames batch size.
    pub batch_size: u32,
}

/// What a test run gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgRunResult {
    /// The program's return value.
    pub retval: u32,
    /// Average time of a run, in nanoseconds.
    pub duration_ns: u32,
    /// The packet afterwards.
    pub data_out: Vec<u8>,
    /// The context afterwards; without room for it, if the program wrote to it in place.
    pub ctx_out: Vec<u8>,
}

/// `struct bpf_map_info`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MapInfo {
    /// Unique while the map lives; 0 on kernels without ids.
    pub id: u32,
    /// `enum bpf_map_type`.
    pub map_type: u32,
    /// Bytes in a key.
    pub key_size: u32,
    /// Bytes in a value (one CPU's, for per-CPU maps).
    pub value_size: u32,
    /// How many entries fit.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// Name, cut to [`OBJ_NAME_MAX`].
    pub name: String,
    /// Id of the BTF object, 0 if none.
    pub btf_id: u32,
    /// BTF type of the key.
    pub btf_key_type: u32,
    /// BTF type of the value.
    pub btf_value_type: u32,
    /// `map_extra`.
    pub extra: u64,
    /// Whether user space can no longer write (from /proc/self/fdinfo).
    pub frozen: bool,
    /// Of a program array that has held a program: the type that its programs have (from /proc/self/fdinfo).
    #[serde(default)]
    pub owner_prog_type: Option<u32>,
    /// Of such an array: whether its programs are compiled to machine code.
    #[serde(default)]
    pub owner_jited: Option<bool>,
}

impl MapInfo {
    /// Bytes that a look-up or update moves: for per-CPU types one value, rounded up to 8, for each possible
    /// CPU. Kernel: `bpf_map_value_size()` in kernel/bpf/syscall.c.
    pub fn value_buffer_size(&self, possible_cpus: u32) -> usize {
        const PER_CPU: [u32; 4] = [5, 6, 10, 21];
        let value = self.value_size as usize;
        if PER_CPU.contains(&self.map_type) {
            value.next_multiple_of(8).saturating_mul(possible_cpus as usize)
        } else if matches!(self.map_type, 3 | 4 | 8 | 12 | 13) {
            4
        } else {
            value
        }
    }
}

/// `struct bpf_prog_info`, the parts that a loader reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ProgInfo {
    /// Unique while the program lives.
    pub id: u32,
    /// `enum bpf_prog_type`.
    pub prog_type: u32,
    /// First 8 bytes of a SHA of the instructions.
    pub tag: [u8; 8],
    /// Name, cut to [`OBJ_NAME_MAX`].
    pub name: String,
    /// When it was loaded, in nanoseconds since boot.
    pub load_time_ns: u64,
    /// Ids of the maps that it uses.
    pub map_ids: Vec<u32>,
    /// Id of its BTF, 0 if none.
    pub btf_id: u32,
    /// Bytes of machine code, 0 if interpreted.
    pub jited_len: u32,
    /// Bytes of verified instructions.
    pub xlated_len: u32,
    /// Instructions that the verifier walked. Since Linux 5.16.
    pub verified_insns: u32,
    /// Whether its licence is GPL compatible.
    pub gpl_compatible: bool,
    /// Runs so far, if statistics are on.
    pub run_count: u64,
    /// Time spent running, in nanoseconds.
    pub run_time_ns: u64,
}

/// `struct bpf_link_info`, the parts that all links have.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LinkInfo {
    /// Unique while the link lives.
    pub id: u32,
    /// `enum bpf_link_type`.
    pub link_type: u32,
    /// The program that it holds attached; 0 for a struct_ops table's.
    pub prog_id: u32,
    /// The map of a struct_ops table; 0 for others.
    pub map_id: u32,
}

/// `struct bpf_btf_info` with the data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BtfInfo {
    /// Unique while it lives.
    pub id: u32,
    /// `vmlinux` or the module's name; empty for a program's.
    pub name: String,
    /// Whether the kernel itself holds it.
    pub kernel: bool,
    /// The blob.
    pub data: Vec<u8>,
}

/// What rtnetlink answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteReply {
    /// Messages before the end, each with its header.
    pub messages: Vec<Vec<u8>>,
    /// Why it is refused, if it is.
    pub refused: Option<Errno>,
    /// What the kernel says in words (`NLMSGERR_ATTR_MSG`), a reason or a warning; often empty. Since Linux 4.12.
    pub text: String,
}

/// What a host is, as far as loading cares.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Host {
    /// `uname -r`.
    pub release: String,
    /// `LINUX_VERSION_CODE` as kprobes before 5.0 want it.
    pub version_code: u32,
    /// Possible CPUs, as /sys/devices/system/cpu/possible says.
    pub possible_cpus: u32,
    /// Bytes in a page.
    pub page_size: u32,
    /// Whether this process may use bpf(2) freely (CAP_BPF or CAP_SYS_ADMIN).
    pub privileged: bool,
}
