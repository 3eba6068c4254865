//! The kernel side of BPF behind one safe, object-safe trait.
//!
//! [`Kernel`] is all that onebpf asks of a host: bpf(2), bpffs, and a few facts. [`Linux`] is the real
//! one; `onebpf-fake` has one in memory. Plain data goes in, an [`OwnedFd`](std::os::fd::OwnedFd) or
//! plain data comes out, and every failure names the operation and the errno.
//!
//! ```
//! use onebpf_sys::{Feature, Kernel, Linux, Support, probe};
//!
//! let kernel: &dyn Kernel = &Linux;
//! let host = kernel.host()?;
//! println!("Linux {}, {} possible CPUs", host.release, host.possible_cpus);
//!
//! // Asking by trying needs privileges; without them the answer is "unknown", not "no".
//! let answer = probe(kernel, Feature::RingBuffer);
//! println!("ring buffers (Linux {}): {answer:?}", Feature::RingBuffer.since());
//! # Ok::<(), onebpf_sys::Error>(())
//! ```
//!
//! `unsafe` lives only under `linux/`.
#![deny(unsafe_code)]

mod error;
mod features;
mod hook;
mod kernel;
#[allow(unsafe_code)]
mod linux;
mod memory;
mod types;
#[allow(missing_docs, unreachable_pub)]
mod uapi;

pub use error::{Errno, Error, Op, Result};
pub use features::{Feature, FeatureSet, NotARelease, Release, Support, probe, probe_all, probe_with};
pub use hook::Hook;
pub use kernel::Kernel;
pub use linux::{Linux, enter_netns};
pub use memory::Memory;
pub use types::*;
