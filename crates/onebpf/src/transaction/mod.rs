//! Transactions over pins and slots of shared maps.
//!
//! What a load changes for others is staged under names beside the pins, written down in a journal, and published by
//! renames after the commit point, which is one atomic rename of the journal file. A load that fails, and one that is
//! killed, is settled from that journal by the same code: before the commit point it is undone, after it finished, and
//! undone if that cannot be. Names on a BPF filesystem:
//!
//! | name | holds |
//! |---|---|
//! | `PIN:next` | what will have the name PIN; after the swap what had it |
//! | `PIN:old` | the same, for a moment, on kernels that cannot swap names |
//! | `PIN:slot:N` | what slot N of the shared map PIN held |
//! | `PIN:prev`, `PIN:prev:slot:N` | what was replaced, kept for `rollback`; a program array, for programs that run |
//!
//! Whoever holds the lock (`flock` on a file in the state directory; the kernel lets go of it when a process dies) knows
//! that a journal in that directory is nobody's: a living load holds the lock as long as it has one. That holds across
//! containers too, where process ids say nothing.

mod found;
mod names;
mod record;
mod recover;
mod rollback;
mod running;
mod settle;
mod slots;
mod state;
mod status;

pub use record::{Manifest, ManifestPin, ManifestSlot};
pub(crate) use recover::settle_before;
pub use recover::{Recovered, recover};
pub use rollback::{RolledBack, rollback};
pub(crate) use running::Running;
pub(crate) use state::State;
pub use state::{LockHolder, lock_holder};
pub use status::{LoadStatus, ObjectStatus, PinStatus, Status, status};
