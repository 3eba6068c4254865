//! The part of libbpf that the oracle needs, behind safe functions. All `unsafe` of this crate is here.
//!
//! libbpf prints what it finds at debug level, and some of it (which instruction refers to which extern) has no getter:
//! so the print callback keeps every line, and [`crate::log`] reads them.

use std::ffi::{CStr, CString, OsStr};
use std::marker::PhantomData;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::os::raw::{c_char, c_int};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use libbpf_sys as sys;

/// An opened object; closed when dropped.
#[derive(Debug)]
pub struct Object(NonNull<sys::bpf_object>);

/// A map of an [`Object`], or the template of a map of maps.
#[derive(Clone, Copy, Debug)]
pub struct Map<'a>(NonNull<sys::bpf_map>, PhantomData<&'a Object>);

/// An entry program of an [`Object`]; subprograms are not listed by libbpf.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a>(NonNull<sys::bpf_program>, PhantomData<&'a Object>);

/// A parsed BTF blob.
#[derive(Debug)]
pub struct Btf(NonNull<sys::btf>);

/// What libbpf answered: a positive errno (values from 4000 are libbpf's own, `LIBBPF_ERRNO__*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Object {
    /// `bpf_object__open_file`, strict about map definitions (`relaxed_maps` off). Calls no kernel.
    pub fn open(path: &Path) -> Result<Self, Errno> {
        Self::open_against(path, crate::run::kernel_btf().as_deref())
    }

    /// As [`Object::open`], to be relocated against the BTF of this file; `None`: the running kernel's.
    pub fn open_against(path: &Path, btf: Option<&Path>) -> Result<Self, Errno> {
        let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno(22))?;
        let btf = btf.and_then(|path| CString::new(path.as_os_str().as_bytes()).ok());
        let opts = sys::bpf_object_open_opts {
            sz: size_of::<sys::bpf_object_open_opts>() as sys::size_t,
            btf_custom_path: btf.as_ref().map_or(std::ptr::null(), |path| path.as_ptr()),
            ..Default::default()
        };
        // SAFETY: all pointers outlive the call; libbpf copies what it keeps.
        let raw = unsafe { sys::bpf_object__open_file(path.as_ptr(), &raw const opts) };
        // libbpf >= 1.0 returns NULL and sets errno.
        NonNull::new(raw).map(Self).ok_or_else(last_errno)
    }

    /// The object's name: the file's name up to its first dot. The prefix of the names of its data maps.
    pub fn name(&self) -> String {
        // SAFETY: the object is open; the string lives as long as it does.
        unsafe { string(sys::bpf_object__name(self.0.as_ptr())) }
    }

    /// The maps in libbpf's order: those of `.maps`, global data, `.kconfig`, `struct_ops`.
    pub fn maps(&self) -> Vec<Map<'_>> {
        let mut maps = Vec::new();
        let mut at = std::ptr::null();
        loop {
            // SAFETY: the object is open and `at` is null or a map of it.
            let next = unsafe { sys::bpf_object__next_map(self.0.as_ptr(), at) };
            let Some(map) = NonNull::new(next) else { return maps };
            maps.push(Map(map, PhantomData));
            at = next;
        }
    }

    /// The entry programs, in the order of their sections.
    pub fn programs(&self) -> Vec<Program<'_>> {
        let mut programs = Vec::new();
        let mut at = std::ptr::null_mut();
        loop {
            // SAFETY: the object is open and `at` is null or a program of it.
            let next = unsafe { sys::bpf_object__next_program(self.0.as_ptr(), at) };
            let Some(program) = NonNull::new(next) else { return programs };
            programs.push(Program(program, PhantomData));
            at = next;
        }
    }

    /// `bpf_object__prepare`: externs, CO-RE, calls, references, then BTF and maps in the kernel; loads no program.
    /// After a failure only what relocation did to the instructions is left.
    pub fn prepare(&self) -> Result<(), Errno> {
        // SAFETY: the object is open; no other thread uses it (`Object` is neither `Send` nor `Sync`).
        check(unsafe { sys::bpf_object__prepare(self.0.as_ptr()) })
    }

    /// `bpf_object__load`: everything.
    pub fn load(&self) -> Result<(), Errno> {
        // SAFETY: as in `prepare`.
        check(unsafe { sys::bpf_object__load(self.0.as_ptr()) })
    }

    /// libbpf's list of the system calls that loading would make (`bpf_object__gen_loader`); asks nothing of the kernel.
    /// The messages at debug level say what is where in it.
    pub fn generate(&self) -> Result<Vec<u8>, Errno> {
        let mut opts = sys::gen_loader_opts {
            sz: size_of::<sys::gen_loader_opts>() as sys::size_t,
            ..Default::default()
        };
        // SAFETY: libbpf keeps the pointer until the load below is done; `opts` lives until then.
        check(unsafe { sys::bpf_object__gen_loader(self.0.as_ptr(), &raw mut opts) })?;
        self.load()?;
        // SAFETY: after a successful load `data` points to `data_sz` bytes that live as long as the object.
        let data = unsafe {
            // Read through a pointer, for libbpf wrote behind the compiler's back.
            let opts = (&raw const opts).read_volatile();
            if opts.data.is_null() {
                &[]
            } else {
                std::slice::from_raw_parts(opts.data.cast::<u8>(), opts.data_sz as usize)
            }
        };
        Ok(data.to_vec())
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: the object is open, and nothing borrowed from it lives on.
        unsafe { sys::bpf_object__close(self.0.as_ptr()) }
    }
}

/// A getter of a map or a program that returns a plain number.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $raw:ident, $type:ty) => {
        $(#[$doc])*
        pub fn $name(&self) -> $type {
            // SAFETY: the borrowed object is open, and the call only reads it.
            unsafe { sys::$raw(self.0.as_ptr()) }
        }
    };
}

impl Map<'_> {
    number!(/** `BPF_MAP_TYPE_*`. */ kind, bpf_map__type, u32);
    number!(/** Bytes of a key. */ key_size, bpf_map__key_size, u32);
    number!(/** Bytes of a value. */ value_size, bpf_map__value_size, u32);
    number!(/** As declared: 0 when it is left to the loader. */ max_entries, bpf_map__max_entries, u32);
    number!(/** `BPF_F_*`. */ flags, bpf_map__map_flags, u32);
    number!(/** `map_extra`. */ extra, bpf_map__map_extra, u64);
    number!(/** 0 when not given. */ numa_node, bpf_map__numa_node, u32);
    number!(/** Global data or kconfig. */ is_internal, bpf_map__is_internal, bool);
    number!(/** -1 before `prepare`. */ fd, bpf_map__fd, i32);

    /// The name that libbpf shows its users: the section for `.data.x` and `.rodata.x`.
    pub fn name(&self) -> String {
        // SAFETY: the borrowed object is open.
        unsafe { string(sys::bpf_map__name(self.0.as_ptr())) }
    }

    /// Where it will be pinned; empty when nowhere.
    pub fn pin_path(&self) -> String {
        // SAFETY: the borrowed object is open; null stands for no path.
        unsafe { string(sys::bpf_map__pin_path(self.0.as_ptr())) }
    }

    /// Whether `prepare` creates it; references to a map that is not created are poisoned.
    pub fn set_autocreate(&self, on: bool) -> Result<(), Errno> {
        // SAFETY: the borrowed object is open and used by one thread.
        check(unsafe { sys::bpf_map__set_autocreate(self.0.as_ptr(), on) })
    }

    /// The template of a map of maps.
    pub fn inner(&self) -> Option<Self> {
        // SAFETY: the borrowed object is open; the template lives as long as its map.
        NonNull::new(unsafe { sys::bpf_map__inner_map(self.0.as_ptr()) }).map(|m| Map(m, PhantomData))
    }
}

impl Program<'_> {
    number!(/** `BPF_PROG_TYPE_*`; 0 when the section's name says nothing. */ kind, bpf_program__type, u32);
    number!(/** `BPF_CGROUP_*` and its kin. */ attach_type, bpf_program__expected_attach_type, u32);
    number!(/** -1 before `load`. */ fd, bpf_program__fd, i32);
    number!(/** False for `SEC("?...")`. */ autoload, bpf_program__autoload, bool);

    /// The function's name.
    pub fn name(&self) -> String {
        // SAFETY: the borrowed object is open.
        unsafe { string(sys::bpf_program__name(self.0.as_ptr())) }
    }

    /// The section's name, without the leading `?`.
    pub fn section(&self) -> String {
        // SAFETY: the borrowed object is open.
        unsafe { string(sys::bpf_program__section_name(self.0.as_ptr())) }
    }

    /// Whether `prepare` and `load` take this program.
    pub fn set_autoload(&self, on: bool) -> Result<(), Errno> {
        // SAFETY: the borrowed object is open and used by one thread.
        check(unsafe { sys::bpf_program__set_autoload(self.0.as_ptr(), on) })
    }

    /// Changes the type: `prepare` lets the maps of a `struct_ops` program decide whether it takes the program.
    pub fn set_kind(&self, kind: u32) -> Result<(), Errno> {
        // SAFETY: the borrowed object is open and used by one thread.
        check(unsafe { sys::bpf_program__set_type(self.0.as_ptr(), kind) })
    }

    /// The instructions as they stand now, each as the eight bytes that a little-endian kernel gets.
    pub fn insns(&self) -> Vec<[u8; 8]> {
        // SAFETY: libbpf owns `insn_cnt` instructions of eight bytes at `insns`; they are copied before any other call.
        let words = unsafe {
            let at = sys::bpf_program__insns(self.0.as_ptr()).cast::<[u8; 8]>();
            let count = sys::bpf_program__insn_cnt(self.0.as_ptr()) as usize;
            if at.is_null() { &[] } else { std::slice::from_raw_parts(at, count) }
        };
        words.to_vec()
    }
}

impl Program<'_> {
    /// `struct bpf_func_info` after `prepare`: instruction and BTF type of each function.
    pub fn func_info(&self) -> Vec<[u32; 2]> {
        // SAFETY: libbpf owns `func_info_cnt` records of two words; they are copied before any other call.
        unsafe {
            let count = sys::bpf_program__func_info_cnt(self.0.as_ptr());
            records(sys::bpf_program__func_info(self.0.as_ptr()).cast(), count)
        }
    }

    /// `struct bpf_line_info` after `prepare`: instruction, file, text and position of each line.
    pub fn line_info(&self) -> Vec<[u32; 4]> {
        // SAFETY: libbpf owns `line_info_cnt` records of four words; they are copied before any other call.
        unsafe {
            let count = sys::bpf_program__line_info_cnt(self.0.as_ptr());
            records(sys::bpf_program__line_info(self.0.as_ptr()).cast(), count)
        }
    }
}

impl Btf {
    /// Parses the file (`btf__parse`): raw BTF or an ELF object.
    pub fn parse(path: &Path) -> Result<Self, Errno> {
        let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno(22))?;
        // SAFETY: the path outlives the call.
        let raw = unsafe { sys::btf__parse(path.as_ptr(), std::ptr::null_mut()) };
        NonNull::new(raw).map(Self).ok_or_else(last_errno)
    }

    /// The id of the type with this name and kind (`BTF_KIND_*`), by a linear search, as libbpf does.
    pub fn find(&self, name: &str, kind: u32) -> Option<u32> {
        let name = CString::new(name).ok()?;
        // SAFETY: the BTF is alive, the name outlives the call.
        let id = unsafe { sys::btf__find_by_name_kind(self.0.as_ptr(), name.as_ptr(), kind) };
        u32::try_from(id).ok()
    }
}

impl Drop for Btf {
    fn drop(&mut self) {
        // SAFETY: freed once.
        unsafe { sys::btf__free(self.0.as_ptr()) }
    }
}

/// libbpf's name of a map type; empty when it knows none.
pub fn map_type_name(kind: u32) -> String {
    // SAFETY: any number is allowed; the string is static or null.
    unsafe { string(sys::libbpf_bpf_map_type_str(kind)) }
}

/// libbpf's name of a program type; empty when it knows none.
pub fn program_type_name(kind: u32) -> String {
    // SAFETY: any number is allowed; the string is static or null.
    unsafe { string(sys::libbpf_bpf_prog_type_str(kind)) }
}

/// libbpf's name of an attach type; empty when it knows none.
pub fn attach_type_name(kind: u32) -> String {
    // SAFETY: any number is allowed; the string is static or null.
    unsafe { string(sys::libbpf_bpf_attach_type_str(kind)) }
}

/// libbpf's reading of a section's name (`libbpf_prog_type_by_name`): program type and expected attach type.
pub fn types_by_section(section: &str) -> Option<(u32, u32)> {
    let section = CString::new(section).ok()?;
    let (mut kind, mut attach) = (0, 0);
    // SAFETY: the name outlives the call, which writes two words.
    let found = unsafe { sys::libbpf_prog_type_by_name(section.as_ptr(), &raw mut kind, &raw mut attach) };
    check(found).ok().map(|()| (kind, attach))
}

/// The version of libbpf that is linked.
pub fn version() -> String {
    // SAFETY: a static string.
    unsafe { string(sys::libbpf_version_string()) }
}

/// A map that the kernel has.
pub fn map_by_id(id: u32) -> Option<OwnedFd> {
    // SAFETY: a system call with a number; the descriptor that it returns is nobody else's.
    owned(unsafe { sys::bpf_map_get_fd_by_id(id) })
}

/// A program that the kernel has.
pub fn program_by_id(id: u32) -> Option<OwnedFd> {
    // SAFETY: as in `map_by_id`.
    owned(unsafe { sys::bpf_prog_get_fd_by_id(id) })
}

/// What the kernel says of a map.
pub fn map_info(fd: RawFd) -> Option<sys::bpf_map_info> {
    let mut info = sys::bpf_map_info::default();
    let mut size = size_of::<sys::bpf_map_info>() as u32;
    // SAFETY: the kernel writes at most `size` bytes, all of them plain numbers.
    check(unsafe { sys::bpf_map_get_info_by_fd(fd, &raw mut info, &raw mut size) }).ok().map(|()| info)
}

/// What the kernel says of a program.
pub fn program_info(fd: RawFd) -> Option<sys::bpf_prog_info> {
    let mut info = sys::bpf_prog_info::default();
    let mut size = size_of::<sys::bpf_prog_info>() as u32;
    // SAFETY: as in `map_info`; all pointers in it are null and all counts 0, so the kernel writes nowhere else.
    check(unsafe { sys::bpf_prog_get_info_by_fd(fd, &raw mut info, &raw mut size) }).ok().map(|()| info)
}

fn owned(fd: c_int) -> Option<OwnedFd> {
    // SAFETY: only called with descriptors that a system call has just made.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What a map of the kernel holds under the keys 0, 1, ... as far as there are such.
pub fn array_values(fd: RawFd) -> Option<Vec<Vec<u8>>> {
    let info = map_info(fd).filter(|info| info.key_size == 4)?;
    let value = |key: u32| {
        let mut value = vec![0_u8; info.value_size as usize];
        // SAFETY: the key has the four bytes, and the value the room, that the kernel says the map has.
        let done =
            unsafe { sys::bpf_map_lookup_elem(fd, (&raw const key).cast(), value.as_mut_ptr().cast()) };
        check(done).ok().map(|()| value)
    };
    (0..info.max_entries).map(value).collect()
}

unsafe extern "C" {
    fn __real_bpf_map_create(
        kind: u32,
        name: *const c_char,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        opts: *const sys::bpf_map_create_opts,
    ) -> c_int;
}

/// What the linker gives libbpf for `bpf_map_create` (`--wrap` in build.rs). libbpf makes the maps of jump tables while it
/// relocates: a kernel without INSN_ARRAY (before 6.19) makes an array of the same shape, so that relocation goes on.
///
/// # Safety
/// As `bpf_map_create`: `name` and `opts` are null or valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_bpf_map_create(
    kind: u32,
    name: *const c_char,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    opts: *const sys::bpf_map_create_opts,
) -> c_int {
    // SAFETY: the caller keeps to the contract.
    let create = |kind| unsafe { __real_bpf_map_create(kind, name, key_size, value_size, max_entries, opts) };
    match create(kind) {
        fd if fd < 0 && kind == sys::BPF_MAP_TYPE_INSN_ARRAY => create(sys::BPF_MAP_TYPE_ARRAY),
        fd => fd,
    }
}

/// How much of what libbpf prints is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: for measurements.
    Nothing,
    /// Every line, down to debug level.
    Everything,
}

/// Says what happens to libbpf's messages from now on, in the whole process. Nothing reaches standard error.
pub fn keep_log(keep: Keep) {
    let callback = match keep {
        Keep::Nothing => None,
        Keep::Everything => Some(print as unsafe extern "C" fn(_, _, _) -> _),
    };
    // SAFETY: the callback is a static function that keeps to libbpf's contract.
    unsafe { sys::libbpf_set_print(callback) };
}

/// What libbpf printed since the last call; warnings start with `W `, the rest with a blank and a space.
pub fn take_log() -> String {
    std::mem::take(&mut *LOG.lock().unwrap_or_else(PoisonError::into_inner))
}

static LOG: Mutex<String> = Mutex::new(String::new());

/// A line longer than this is cut; libbpf's longest hold a path or a type's name.
const LINE: usize = 4096;

unsafe extern "C" {
    fn vsnprintf(to: *mut c_char, size: usize, format: *const c_char, args: *mut sys::__va_list_tag)
    -> c_int;
}

/// libbpf's print callback: formats into a buffer of fixed size and appends to the log.
unsafe extern "C" fn print(level: u32, format: *const c_char, args: *mut sys::__va_list_tag) -> c_int {
    let mut line = [0u8; LINE];
    // SAFETY: `format` and `args` are libbpf's, valid for this call; at most LINE bytes are written, with a NUL.
    let wanted = unsafe { vsnprintf(line.as_mut_ptr().cast(), LINE, format, args) };
    let length = usize::try_from(wanted).unwrap_or(0).min(LINE - 1);
    let mut log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    log.push_str(if level == sys::LIBBPF_WARN { "W " } else { "  " });
    log.push_str(String::from_utf8_lossy(&line[..length]).trim_end());
    log.push('\n');
    wanted
}

/// # Safety
/// `at` is null or points to a NUL-terminated string.
unsafe fn string(at: *const c_char) -> String {
    if at.is_null() {
        return String::new();
    }
    // SAFETY: by the contract of this function.
    let bytes = unsafe { CStr::from_ptr(at) };
    OsStr::from_bytes(bytes.to_bytes()).to_string_lossy().into_owned()
}

/// # Safety
/// `at` is null or points to `count` records.
unsafe fn records<R: Copy>(at: *const R, count: u32) -> Vec<R> {
    if at.is_null() {
        return Vec::new();
    }
    // SAFETY: by the contract of this function.
    unsafe { std::slice::from_raw_parts(at, count as usize) }.to_vec()
}

fn check(result: c_int) -> Result<(), Errno> {
    if result < 0 { Err(Errno(-result)) } else { Ok(()) }
}

fn last_errno() -> Errno {
    Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}
