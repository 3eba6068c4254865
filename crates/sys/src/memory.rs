//! Memory that a process shares with BPF programs.

use crate::Result;

/// Part of this process's address space where a map's memory is. It stays so until this is dropped.
///
/// BPF programs may write to it at any moment: bytes are copied in and out, never borrowed. What is aligned to its size of
/// 2, 4 or 8 bytes is copied whole, also where it is a part of a longer copy.
pub trait Memory: Send + Sync {
    /// Where it begins in this process.
    fn address(&self) -> u64;

    /// Bytes.
    fn size(&self) -> u64;

    /// Copies what is at `offset`. EFAULT: that is not all within the memory.
    fn read(&self, offset: u64, to: &mut [u8]) -> Result<()>;

    /// Writes to `offset`. EFAULT: that is not all within the memory.
    fn write(&self, offset: u64, from: &[u8]) -> Result<()>;
}
