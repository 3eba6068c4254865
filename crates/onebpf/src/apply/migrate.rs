//! Copying the entries of a pinned map into the one that replaces it.

use super::Run;
use crate::error::{Code, Error, Result, Retry};
use crate::loaded::Migrated;
use crate::plan::{BPF_F_NO_COMMON_LRU, Migration, Slot, object};
use crate::walk::{Elements, Walk, has_no_batches};
use onebpf_object::MapType;
use onebpf_sys::{Batch, Errno, Kernel, MapInfo, Op};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};

const BPF_NOEXIST: u64 = 1;
/// As many reasons as anybody reads.
const MOST_REASONS: usize = 20;
/// How often the old map is read, as long as there is something new in it.
const MOST_PASSES: usize = 4;

impl Run<'_> {
    /// The old map stays in use until the load is done. An entry that is there all the while gets a value that it had
    /// during the copy: what programs write to it later is not taken along. One that comes while the map is read is
    /// found by reading again, until nothing new is there; one that comes after that is missed, and one that goes may
    /// still be in the new map.
    pub(super) fn migrate(&mut self, to: Slot<object::Map>, name: &str, migration: &Migration) -> Result<()> {
        let kernel = &**self.kernel;
        let what = format!("map `{name}`: reading {}", migration.from.display());
        let gone = |e| Error::refused(Code::PinChanged, &what, e).retry(Retry::ObserveAgain);
        let from = kernel.open_pin(&migration.from).map_err(gone)?;
        let old = kernel.map_info(from.as_fd()).map_err(gone)?;
        if old.id != migration.id {
            let text = format!("map `{name}`: {} is another map now", migration.from.display());
            return Err(Error::new(Code::PinChanged, text).retry(Retry::ObserveAgain));
        }
        let new = kernel.map_info(self.fd(to)?).map_err(gone)?;
        let mut copy = Copy {
            kernel,
            name,
            migration,
            from: from.as_fd(),
            to: self.fd(to)?,
            cpus: self.plan.host.possible_cpus,
            old: &old,
            new: &new,
            // Batches overwrite: two keys that have become one would not be noticed.
            batches: migration.key.same,
            done: Migrated { reasons: migration.notes(), ..Migrated::default() },
            reasons: BTreeSet::new(),
        };
        copy.run()?;
        let done = copy.finish()?;
        self.migrated.insert(name.to_owned(), done);
        Ok(())
    }
}

struct Copy<'a> {
    kernel: &'a dyn Kernel,
    name: &'a str,
    migration: &'a Migration,
    from: BorrowedFd<'a>,
    to: BorrowedFd<'a>,
    cpus: u32,
    old: &'a MapInfo,
    new: &'a MapInfo,
    batches: bool,
    done: Migrated,
    reasons: BTreeSet<String>,
}

/// Entries on their way: what goes into the new map, and what it comes from.
#[derive(Default)]
struct Load<'w> {
    old: Vec<(&'w [u8], &'w [u8])>,
    keys: Vec<u8>,
    values: Vec<u8>,
    whole: Vec<bool>,
}

impl Copy<'_> {
    fn run(&mut self) -> Result<()> {
        let mut walk = Walk::new(self.kernel, self.from, self.old, self.cpus);
        for _ in 0..MOST_PASSES {
            let mut found = false;
            while let Some(elements) = walk.next().map_err(|e| self.unread(e))? {
                found = true;
                let load = self.convert_all(&elements)?;
                self.write(&load)?;
            }
            if !found || !walk.has_changing_keys() {
                return Ok(());
            }
            walk.again();
        }
        self.reasons
            .insert("entries kept coming while it was copied: the last ones may be missing".to_owned());
        Ok(())
    }

    fn convert_all<'w>(&mut self, elements: &Elements<'w>) -> Result<Load<'w>> {
        let mut load = Load::default();
        let mut new_key = vec![0; self.new.key_size as usize];
        let mut new_value = vec![0; self.new.value_buffer_size(self.cpus)];
        for (key, value) in elements.iter() {
            let mut losses: Vec<String> = self
                .migration
                .key
                .apply(key, &mut new_key)
                .iter()
                .map(|loss| format!("key: {loss}"))
                .collect();
            losses
                .extend(self.convert(value, &mut new_value).into_iter().map(|loss| format!("value: {loss}")));
            load.whole.push(losses.is_empty());
            for loss in losses {
                self.lose(key, loss)?;
            }
            load.old.push((key, value));
            load.keys.extend(&new_key);
            load.values.extend(&new_value);
        }
        Ok(load)
    }

    fn write(&mut self, load: &Load<'_>) -> Result<()> {
        let (key_size, value_size) = (self.new.key_size as usize, self.new.value_buffer_size(self.cpus));
        let (mut keys, mut values) = (load.keys.as_slice(), load.values.as_slice());
        let mut entries = load.old.iter().zip(&load.whole);
        while !keys.is_empty() {
            let Some(Batch { count, stopped }) = self.write_some(keys, values, (key_size, value_size))?
            else {
                self.batches = false;
                continue;
            };
            for (_, whole) in entries.by_ref().take(count) {
                self.arrived(*whole);
            }
            let refused = stopped.and_then(|errno| Some((errno, entries.next()?.0)));
            if let Some((errno, (key, value))) = refused {
                self.refused(key, value, errno)?;
            }
            let done = count + usize::from(refused.is_some());
            keys = keys.get(done.saturating_mul(key_size)..).unwrap_or_default();
            values = values.get(done.saturating_mul(value_size)..).unwrap_or_default();
        }
        Ok(())
    }

    /// As many as go at once, at least one or a refusal; `None` if batches do not.
    fn write_some(&self, keys: &[u8], values: &[u8], sizes: (usize, usize)) -> Result<Option<Batch>> {
        let unwritten = |e| {
            let what = format_args!("map `{}`: writing entries", self.name).to_string();
            Error::refused(Code::MapOp, what, e)
        };
        if self.batches {
            return match self.kernel.map_update_batch(self.to, keys, values, 0) {
                Ok(Batch { count: 0, stopped: None }) => Ok(None),
                Err(e) if has_no_batches(e.errno) => Ok(None),
                done => done.map(Some).map_err(unwritten),
            };
        }
        let flags = if self.is_array() { 0 } else { BPF_NOEXIST };
        let (key, value) = (keys.get(..sizes.0).unwrap_or(keys), values.get(..sizes.1).unwrap_or(values));
        match self.kernel.map_update(self.to, key, value, flags) {
            Ok(()) => Ok(Some(Batch { count: 1, stopped: None })),
            Err(e) => Ok(Some(Batch { count: 0, stopped: Some(e.errno) })),
        }
    }

    fn arrived(&mut self, whole: bool) {
        let same = self.migration.key.same && self.migration.value.same;
        let counter = match (whole, same) {
            (false, _) => &mut self.done.dropped,
            (true, true) => &mut self.done.copied,
            (true, false) => &mut self.done.converted,
        };
        *counter += 1;
    }

    fn refused(&mut self, key: &[u8], value: &[u8], errno: Errno) -> Result<()> {
        let why = match errno {
            // Elements that an array no longer has, and that never held anything.
            Errno::TOOBIG if self.is_array() && value.iter().all(|byte| *byte == 0) => return Ok(()),
            Errno::TOOBIG | Errno::NOSPC => {
                format!("the new map is full with {} entries", self.new.max_entries)
            }
            Errno::EXIST => "another entry has the same key now".to_owned(),
            errno => {
                let what = format_args!("map `{}`: writing an entry", self.name).to_string();
                let op = if self.batches { Op::MapUpdateBatch } else { Op::MapUpdate };
                let error = onebpf_sys::Error { op, errno };
                return Err(Error::refused(Code::MapOp, what, error));
            }
        };
        self.lose(key, why)?;
        self.done.dropped += 1;
        Ok(())
    }

    fn is_array(&self) -> bool {
        matches!(MapType(self.new.map_type), MapType::ARRAY | MapType::PERCPU_ARRAY)
    }

    fn unread(&self, error: onebpf_sys::Error) -> Error {
        Error::refused(Code::MapOp, format_args!("map `{}`: reading the pinned map", self.name), error)
    }

    /// One value, or one for each CPU, each in a place of its own that is a multiple of 8 bytes.
    fn convert(&self, old: &[u8], new: &mut [u8]) -> Vec<String> {
        let sizes = (self.old.value_size as usize, self.new.value_size as usize);
        let per_cpu = old.len() != sizes.0 || new.len() != sizes.1 || MapType(self.new.map_type).is_per_cpu();
        let step = |size: usize| if per_cpu { size.next_multiple_of(8).max(8) } else { size.max(1) };
        let (from, to) = (step(sizes.0), step(sizes.1));
        let mut losses = Vec::new();
        for (old, new) in old.chunks(from).zip(new.chunks_mut(to)) {
            let old = old.get(..sizes.0).unwrap_or(old);
            let length = sizes.1.min(new.len());
            let Some(new) = new.get_mut(..length) else { continue };
            losses.extend(self.migration.value.apply(old, new).iter().map(ToString::to_string));
        }
        losses.sort();
        losses.dedup();
        losses
    }

    /// An error, unless the caller has agreed to losses.
    fn lose(&mut self, key: &[u8], why: String) -> Result<()> {
        if self.migration.lossy {
            if self.reasons.len() < MOST_REASONS {
                self.reasons.insert(why);
            }
            return Ok(());
        }
        let bytes: Vec<String> = key.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Err(self.loss("an entry", why).note(format!("the entry with key {}", bytes.join(" "))))
    }

    fn loss(&self, what: &str, why: impl Into<String>) -> Error {
        let text = format!("map `{}`: {what} of {} would be lost", self.name, self.migration.from.display());
        Error::new(Code::Loss, text)
            .note(why)
            .hint("make room in the object, or agree to losses with `--lossy`: they are counted")
    }

    /// An LRU map makes room by itself, and begins before it is full: what is not in it any more was dropped. Any writer
    /// of such a map agrees to that. Nobody agrees to what comes of `BPF_F_NO_COMMON_LRU`: each CPU has a share of the
    /// entries, and a writer drops those of its own share while the others are empty (`bpf_percpu_lru_pop_free()` in
    /// kernel/bpf/bpf_lru_list.c).
    fn finish(mut self) -> Result<Migrated> {
        let lru = matches!(MapType(self.new.map_type), MapType::LRU_HASH | MapType::LRU_PERCPU_HASH);
        let put = self.done.copied + self.done.converted;
        let gone = if lru { put.saturating_sub(self.count()?) } else { 0 };
        if gone > 0 {
            if self.new.flags & BPF_F_NO_COMMON_LRU != 0 && !self.migration.lossy {
                let why = format!(
                    "each of {} CPUs has its own share of the new map's {} entries (BPF_F_NO_COMMON_LRU): a copy fills one",
                    self.cpus, self.new.max_entries
                );
                return Err(self.loss(&format!("{gone} of {put} entries"), why));
            }
            self.done.dropped += gone;
            let copied = gone.min(self.done.copied);
            self.done.copied -= copied;
            self.done.converted -= gone - copied;
            self.reasons.insert(format!("the new LRU map dropped {gone} to make room"));
        }
        self.done.reasons.extend(self.reasons);
        Ok(self.done)
    }

    fn count(&self) -> Result<u64> {
        let (mut count, mut walk) = (0, Walk::new(self.kernel, self.to, self.new, self.cpus));
        while let Some(elements) = walk.next().map_err(|e| self.unread(e))? {
            count += elements.iter().count() as u64;
        }
        Ok(count)
    }
}
