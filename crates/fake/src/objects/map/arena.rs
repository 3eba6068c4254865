//! Arenas: pages that processes and programs share. The fake is one process.

use super::Map;
use crate::config::Config;
use onebpf_sys::{Errno, Error, MapInfo, Memory, Op};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Where the first arena without an address of its own is put, and how far from each other they are.
const FIRST: u64 = 0x7000_0000_0000;
const GAP: u64 = 1 << 32;

/// An arena's address and pages.
pub(crate) struct Arena {
    /// 0 until a process has mapped it (`user_vm_start`).
    start: u64,
    pages: Arc<Pages>,
    mapped: Weak<Mapping>,
}

/// Pages by number. One that is not there holds zeros.
struct Pages {
    size: u64,
    page: u64,
    there: Mutex<BTreeMap<u64, Vec<u8>>>,
}

struct Mapping {
    start: u64,
    pages: Arc<Pages>,
}

impl Arena {
    pub(super) fn new(info: &MapInfo, config: &Config) -> Self {
        let page = u64::from(config.page_size);
        let pages = Pages { size: u64::from(info.max_entries) * page, page, there: Mutex::default() };
        Self { start: info.extra, pages: Arc::new(pages), mapped: Weak::new() }
    }

    /// Whether programs that use it can be loaded: they must know where processes have it.
    pub(crate) fn has_address(&self) -> bool {
        self.start != 0
    }

    pub(crate) fn size(&self) -> u64 {
        self.pages.size
    }
}

impl Map {
    /// `arena_map_mmap()`: of an arena that was mapped without `map_extra`, nobody tells the address.
    pub(crate) fn memory(&mut self, serial: u64) -> Result<Arc<dyn Memory>, Errno> {
        let segv = self.info.flags & crate::since::SEGV_ON_FAULT != 0;
        let Some(arena) = self.arena.as_mut().filter(|_| !segv) else { return Err(Errno::OPNOTSUPP) };
        match (self.info.extra, arena.mapped.strong_count()) {
            (0, _) if arena.start != 0 => return Err(Errno::INVAL),
            (0, _) => arena.start = FIRST + serial * GAP,
            (_, 0) => {}
            _ => return Err(Errno::EXIST),
        }
        let mapping = Arc::new(Mapping { start: arena.start, pages: arena.pages.clone() });
        arena.mapped = Arc::downgrade(&mapping);
        Ok(mapping)
    }
}

impl Pages {
    /// Goes through the bytes of a span, page by page: page number, place in the page, place in the span.
    fn span(
        &self,
        offset: u64,
        len: usize,
        mut each: impl FnMut(&mut Vec<u8>, usize, std::ops::Range<usize>),
    ) -> onebpf_sys::Result<()> {
        if offset.checked_add(len as u64).is_none_or(|end| end > self.size) {
            return Err(Error { op: Op::MapMemory, errno: Errno::FAULT });
        }
        let mut there = self.there.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let within = (at % self.page) as usize;
            let some = (self.page as usize - within).min(len - done);
            let page = there.entry(at / self.page).or_insert_with(|| vec![0; self.page as usize]);
            each(page, within, done..done + some);
            done += some;
        }
        Ok(())
    }
}

impl Memory for Mapping {
    fn address(&self) -> u64 {
        self.start
    }

    fn size(&self) -> u64 {
        self.pages.size
    }

    fn read(&self, offset: u64, to: &mut [u8]) -> onebpf_sys::Result<()> {
        self.pages.span(offset, to.len(), |page, at, span| {
            let from = page.get(at..at + span.len());
            if let Some((to, from)) = to.get_mut(span).zip(from) {
                to.copy_from_slice(from);
            }
        })
    }

    fn write(&self, offset: u64, from: &[u8]) -> onebpf_sys::Result<()> {
        self.pages.span(offset, from.len(), |page, at, span| {
            let to = page.get_mut(at..at + span.len());
            if let Some((to, from)) = to.zip(from.get(span)) {
                to.copy_from_slice(from);
            }
        })
    }
}
