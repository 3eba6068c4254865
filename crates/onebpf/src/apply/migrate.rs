//! Copying the entries of a pinned map into the one that replaces it.

use super::Run;
use crate::error::{Code, Error, Result, Retry};
use crate::loaded::Migrated;
use crate::plan::{Migration, Slot, object};
use onebpf_object::MapType;
use onebpf_sys::{Errno, Kernel, MapInfo};
use std::collections::{BTreeSet, HashSet};
use std::os::fd::{AsFd, BorrowedFd};

const BPF_NOEXIST: u64 = 1;
/// As many reasons as anybody reads.
const MOST_REASONS: usize = 20;

impl Run<'_> {
    /// Entries that programs write to the old map meanwhile may be missed: it stays in use until the load is done.
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
            done: Migrated { reasons: migration.notes(), ..Migrated::default() },
            reasons: BTreeSet::new(),
        };
        copy.run()?;
        let done = copy.finish();
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
    done: Migrated,
    reasons: BTreeSet<String>,
}

impl Copy<'_> {
    fn run(&mut self) -> Result<()> {
        let what = format!("map `{}`: reading the pinned map", self.name);
        let reading = |e| Error::refused(Code::MapOp, &what, e);
        let (kernel, from) = (self.kernel, self.from);
        let mut next = vec![0; self.old.key_size as usize];
        let mut value = vec![0; self.old.value_buffer_size(self.cpus)];
        let mut key: Option<Vec<u8>> = None;
        // The walk starts over when a program deletes the key that it stands at.
        let mut seen: HashSet<Vec<u8>> = HashSet::new();
        let mut steps = u64::from(self.old.max_entries).saturating_mul(8).saturating_add(1024);
        while steps > 0 && kernel.map_next_key(from, key.as_deref(), &mut next).map_err(reading)? {
            steps -= 1;
            if seen.insert(next.clone()) {
                match kernel.map_lookup(from, &next, &mut value, 0) {
                    Ok(()) => self.entry(&next, &value)?,
                    Err(e) if e.errno == Errno::NOENT => {}
                    Err(e) => return Err(reading(e)),
                }
            }
            key = Some(next.clone());
        }
        Ok(())
    }

    fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let is_array = matches!(MapType(self.new.map_type), MapType::ARRAY | MapType::PERCPU_ARRAY);
        let mut new_key = vec![0; self.new.key_size as usize];
        let mut new_value = vec![0; self.new.value_buffer_size(self.cpus)];
        let mut losses: Vec<String> =
            self.migration.key.apply(key, &mut new_key).iter().map(|loss| format!("key: {loss}")).collect();
        losses.extend(self.convert(value, &mut new_value).into_iter().map(|loss| format!("value: {loss}")));
        let whole = losses.is_empty();
        for loss in losses {
            self.lose(key, loss)?;
        }
        let same = self.migration.key.same && self.migration.value.same;
        let flags = if is_array { 0 } else { BPF_NOEXIST };
        let refusal = match self.kernel.map_update(self.to, &new_key, &new_value, flags) {
            Ok(()) if !whole => {
                self.done.dropped += 1;
                return Ok(());
            }
            Ok(()) => {
                *(if same { &mut self.done.copied } else { &mut self.done.converted }) += 1;
                return Ok(());
            }
            // Elements that an array no longer has, and that never held anything.
            Err(e) if is_array && e.errno == Errno::TOOBIG && value.iter().all(|byte| *byte == 0) => {
                return Ok(());
            }
            Err(e) => e,
        };
        match refusal.errno {
            Errno::TOOBIG | Errno::NOSPC => {
                self.lose(key, format!("the new map is full with {} entries", self.new.max_entries))?;
            }
            Errno::EXIST => self.lose(key, "another entry has the same key now".to_owned())?,
            _ => {
                let what = format_args!("map `{}`: writing an entry", self.name).to_string();
                return Err(Error::refused(Code::MapOp, what, refusal));
            }
        }
        self.done.dropped += 1;
        Ok(())
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
        let text =
            format!("map `{}`: an entry of {} would be lost", self.name, self.migration.from.display());
        let error =
            Error::new(Code::Loss, text).note(why).note(format!("the entry with key {}", bytes.join(" ")));
        Err(error.hint("make room for it in the object, or agree to losses with `--lossy`: they are counted"))
    }

    /// An LRU map makes room by itself: what is not in it any more was dropped.
    fn finish(mut self) -> Migrated {
        let lru = matches!(MapType(self.new.map_type), MapType::LRU_HASH | MapType::LRU_PERCPU_HASH);
        let put = self.done.copied + self.done.converted;
        if lru && let Some(there) = self.count().filter(|there| *there < put) {
            let gone = put - there;
            self.done.dropped += gone;
            let copied = gone.min(self.done.copied);
            self.done.copied -= copied;
            self.done.converted -= gone - copied;
            self.reasons.insert(format!("the new LRU map dropped {gone} to make room"));
        }
        self.done.reasons.extend(self.reasons);
        self.done
    }

    fn count(&self) -> Option<u64> {
        let (mut count, mut key, mut next) = (0, None::<Vec<u8>>, vec![0; self.new.key_size as usize]);
        while count < u64::from(self.new.max_entries) {
            if !self.kernel.map_next_key(self.to, key.as_deref(), &mut next).ok()? {
                break;
            }
            count += 1;
            key = Some(next.clone());
        }
        Some(count)
    }
}
