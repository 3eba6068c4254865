#![forbid(unsafe_code)]
//! A BPF kernel in memory, and faults on demand: test a loader without root.
//!
//! [`FakeKernel`] implements [`onebpf_sys::Kernel`], the one door between onebpf and a host. Give it to a
//! loader in place of [`onebpf_sys::Linux`], and see what the loader did:
//!
//! ```
//! use onebpf_fake::{FakeKernel, Faulty};
//! use onebpf_sys::{Errno, Kernel, MapCreate, Result};
//! use std::os::fd::{AsFd, OwnedFd};
//! use std::{path::Path, sync::Arc};
//!
//! /// The loader under test: makes a map and pins it, and leaves nothing behind when that fails.
//! fn load(kernel: &dyn Kernel) -> Result<OwnedFd> {
//!     let dir = Path::new("/sys/fs/bpf/mine");
//!     kernel.mkdir(dir)?;
//!     let array = MapCreate { map_type: 2, key_size: 4, value_size: 8, max_entries: 1, ..MapCreate::default() };
//!     let attr = MapCreate { name: "hits", ..array };
//!     let pinned = |map: OwnedFd| kernel.pin(map.as_fd(), &dir.join("hits")).map(|()| map);
//!     let map = kernel.map_create(&attr).and_then(pinned);
//!     if map.is_err() {
//!         kernel.rmdir(dir)?;
//!     }
//!     map
//! }
//!
//! // It does what it should ...
//! let fake = FakeKernel::linux("5.4");
//! let map = load(&fake).unwrap();
//! drop(map);
//! assert_eq!(fake.live().maps, ["hits"], "the pin holds the map");
//!
//! // ... and whichever call fails, it cleans up.
//! let calls = {
//!     let counting = Faulty::counting(Arc::new(FakeKernel::new()));
//!     load(&counting).unwrap();
//!     counting.calls()
//! };
//! assert_eq!(calls, 3);
//! for n in 1..=calls {
//!     let fake = FakeKernel::new();
//!     let faulty = Faulty::new(Arc::new(fake.clone()), n, Errno::NOMEM).sparing_clean_up();
//!     assert_eq!(load(&faulty).unwrap_err().errno, Errno::NOMEM);
//!     assert!(fake.live().is_empty(), "call {n}: {:?}", fake.live());
//! }
//! ```
//!
//! # What it imitates
//!
//! - **Life and death.** An object lives as long as somebody holds it: an fd, a copy of one, a pin, a
//!   program that uses it, a map that it is in. [`FakeKernel::live`] tells what is left.
//! - **Elements** of hashes, arrays, their per-CPU and LRU kinds, LPM tries (exact keys only), program
//!   arrays and maps of maps: bounds, EXIST flags, full maps, inner maps that do not fit; batches, by whole buckets. An LRU map drops its
//!   smallest key. Other map types have attributes only; their elements answer ENOTSUPP.
//! - **Programs**: attributes, references to maps and functions, func_info. There is no verifier and nothing
//!   runs: [`FakeKernel::reject`] and [`FakeKernel::answer_runs`] say what a program of some name does.
//! - **BTF**: the kinds of the release, DATASEC sizes and offsets, linkages, types of keys and values.
//! - **Releases**: [`FakeKernel::linux`] takes map types, flags, program types, attributes, names and every
//!   [`Feature`](onebpf_sys::Feature) from tables; RLIMIT_MEMLOCK bites before 5.11. Rows are held against the
//!   running kernel by tests where it can prove them.
//! - **Modules**: [`FakeKernel::with_module`] loads one, with BTF that programs name by fd.
//! - **Files**: a tree of directories with BPF filesystems, pins, symbolic links and ordinary files.
//!
//! It is deterministic, and may be used from several threads at once. It needs Linux with /proc: objects are
//! pipes, so that fds of the fake are real fds. One thing to know: a process that is being spawned holds
//! copies of all fds until it has called exec, so look at [`FakeKernel::live`] when no other thread spawns one.

mod bpffs;
mod config;
mod faults;
mod handle;
mod kernel;
mod live;
mod log;
mod objects;
mod setup;
mod since;

pub use faults::Faulty;
pub use kernel::FakeKernel;
pub use live::Live;
pub use objects::prog::Loaded;
