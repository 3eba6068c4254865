//! Many elements with one call.

use super::Map;
use crate::config::Config;
use crate::since::{BATCHES, Batches};
use onebpf_sys::{Batch, BatchCursor, Errno};

impl Map {
    /// Reads elements, as hash tables do (whole buckets) or as all others do (one by one).
    pub(crate) fn read_batch(
        &self,
        cursor: &mut BatchCursor,
        keys: &mut [u8],
        values: &mut [u8],
        flags: u64,
        config: &Config,
    ) -> Result<Batch, Errno> {
        let room = self.elements(keys.len(), Some(values.len()), config)?;
        let token = self.token(cursor)?;
        self.check_readable()?;
        let batches = self.batches(config)?;
        check_flags(flags)?;
        let Found { keys: found, next, stopped } = match batches {
            Batches::Buckets => self.buckets(token, room),
            Batches::Elements { .. } => self.one_by_one(token, room)?,
        };
        let value_size = self.info.value_buffer_size(config.cpus);
        let places =
            keys.chunks_exact_mut(found.first().map_or(1, Vec::len)).zip(values.chunks_exact_mut(value_size));
        for (key, (key_place, value_place)) in found.iter().zip(places) {
            key_place.copy_from_slice(key);
            self.lookup(key, value_place, 0, config)?;
        }
        if !found.is_empty() {
            cursor.token = next;
        }
        Ok(Batch { count: found.len(), stopped })
    }

    /// As [`read_batch`](Self::read_batch), and removes what it reads.
    pub(crate) fn take_batch(
        &mut self,
        cursor: &mut BatchCursor,
        keys: &mut [u8],
        values: &mut [u8],
        flags: u64,
        config: &Config,
    ) -> Result<Batch, Errno> {
        self.elements(keys.len(), Some(values.len()), config)?;
        self.check_writable()?;
        if self.batches(config)? != Batches::Buckets {
            return Err(Errno::NOTSUPP);
        }
        let batch = self.read_batch(cursor, keys, values, flags, config)?;
        for key in keys.chunks_exact(self.info.key_size as usize).take(batch.count) {
            self.values.remove(key);
        }
        Ok(batch)
    }

    pub(crate) fn delete_batch(&mut self, keys: &[u8], flags: u64, config: &Config) -> Result<Batch, Errno> {
        self.elements(keys.len(), None, config)?;
        self.check_writable()?;
        if self.batches(config)? == (Batches::Elements { delete: false }) {
            return Err(Errno::NOTSUPP);
        }
        check_flags(flags)?;
        let mut batch = Batch::default();
        for key in keys.chunks_exact(self.info.key_size as usize) {
            if let Err(errno) = self.delete(key) {
                return Ok(Batch { stopped: Some(errno), ..batch });
            }
            batch.count += 1;
        }
        Ok(batch)
    }

    /// Whether these buffers may be written in a batch: the elements in them.
    pub(crate) fn check_update_batch<'a>(
        &self,
        keys: &'a [u8],
        values: &'a [u8],
        flags: u64,
        config: &Config,
    ) -> Result<impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a>, Errno> {
        self.elements(keys.len(), Some(values.len()), config)?;
        self.check_writable()?;
        self.batches(config)?;
        check_flags(flags)?;
        let keys = keys.chunks_exact(self.info.key_size as usize);
        Ok(keys.zip(values.chunks_exact(self.info.value_buffer_size(config.cpus))))
    }

    /// What the type can do; EINVAL where the kernel does not know the commands, ENOTSUPP where only the type does not.
    fn batches(&self, config: &Config) -> Result<Batches, Errno> {
        if !config.at_least(5, 6) {
            return Err(Errno::INVAL);
        }
        let row = BATCHES
            .iter()
            .find(|(map_type, since, _)| *map_type == self.info.map_type && *since <= config.release);
        row.map(|(_, _, batches)| *batches).ok_or(Errno::NOTSUPP)
    }

    fn elements(&self, keys: usize, values: Option<usize>, config: &Config) -> Result<usize, Errno> {
        let (key, value) = (self.info.key_size as usize, self.info.value_buffer_size(config.cpus));
        let count = keys.checked_div(key).filter(|count| *count > 0).ok_or(Errno::INVAL)?;
        let whole = keys == count * key && values.is_none_or(|values| values == count * value);
        if whole { Ok(count) } else { Err(Errno::INVAL) }
    }

    fn token<'a>(&self, cursor: &'a BatchCursor) -> Result<Option<&'a [u8]>, Errno> {
        let size = (self.info.key_size as usize).max(4);
        match cursor.token.as_slice() {
            [] => Ok(None),
            token if token.len() == size => Ok(Some(token)),
            _ => Err(Errno::INVAL),
        }
    }

    /// Whole buckets, from that of the token on.
    fn buckets(&self, token: Option<&[u8]>, room: usize) -> Found {
        let count = self.info.max_entries.max(1).next_power_of_two();
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_ne_bytes);
        let start = token.and_then(|token| token.get(..4)).map_or(0, number);
        let mut rest: Vec<(u32, &Vec<u8>)> =
            self.values.keys().map(|key| (bucket(key, count), key)).collect();
        rest.retain(|(bucket, _)| *bucket >= start);
        rest.sort_unstable();
        let (mut found, mut next, mut stopped) = (Vec::new(), start, Some(Errno::NOENT));
        for bucket in rest.chunk_by(|a, b| a.0 == b.0) {
            if found.len() + bucket.len() > room {
                stopped = found.is_empty().then_some(Errno::NOSPC);
                break;
            }
            found.extend(bucket.iter().map(|(_, key)| (*key).clone()));
            next = bucket.first().map_or(next, |(number, _)| number + 1);
        }
        let mut token = next.to_ne_bytes().to_vec();
        token.resize((self.info.key_size as usize).max(4), 0);
        Found { keys: found, next: token, stopped }
    }

    /// The keys after that of the token.
    fn one_by_one(&self, token: Option<&[u8]>, room: usize) -> Result<Found, Errno> {
        let size = self.info.key_size as usize;
        let mut last = token.and_then(|token| token.get(..size)).map(<[u8]>::to_vec);
        let mut found = Vec::new();
        let mut stopped = None;
        while found.len() < room {
            let mut next = vec![0; size];
            if !self.next_key(last.as_deref(), &mut next)? {
                stopped = Some(Errno::NOENT);
                break;
            }
            if self.values.contains_key(&next) || self.template.is_none() {
                found.push(next.clone());
            }
            last = Some(next);
        }
        let mut token = last.unwrap_or_default();
        token.resize(size.max(4), 0);
        Ok(Found { keys: found, next: token, stopped })
    }
}

/// What a batch finds.
struct Found {
    keys: Vec<Vec<u8>>,
    /// The token after them.
    next: Vec<u8>,
    stopped: Option<Errno>,
}

/// EINVAL for all but 0: BPF_NOEXIST and the like are for single elements, BPF_F_LOCK for values with a spin lock, which
/// are not modelled.
fn check_flags(flags: u64) -> Result<(), Errno> {
    if flags == 0 { Ok(()) } else { Err(Errno::INVAL) }
}

/// The bucket of a key: any function does that puts some keys together (FNV-1a, folded).
fn bucket(key: &[u8], count: u32) -> u32 {
    let hash =
        key.iter().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    (hash ^ hash >> 9) & (count - 1)
}
