//! A map's elements, many at a time where the kernel can.

use onebpf_object::MapType;
use onebpf_sys::{Batch, BatchCursor, Errno, Error, Kernel, MapInfo, Op, Result};
use std::collections::HashSet;
use std::os::fd::BorrowedFd;

/// Bytes that one call may move: much more makes no difference (half of the time is the kernel's then).
const BATCH_BYTES: usize = 256 << 10;
/// How often the same call is made when somebody is in the way.
const PATIENCE: u32 = 100;

/// Goes through a map, in batches if kernel and map type can, else key by key. Each key comes once, however often the
/// walk starts over: [`again`](Self::again) gives what has come since.
///
/// An element that is there all the while is not missed, and comes with a value that it had meanwhile; one that comes or
/// goes may be.
pub(crate) struct Walk<'a> {
    kernel: &'a dyn Kernel,
    map: BorrowedFd<'a>,
    key_size: usize,
    value_size: usize,
    /// All keys up to now; an array needs no such memory.
    seen: Option<HashSet<Vec<u8>>>,
    batches: bool,
    at: Position,
    keys: Vec<u8>,
    values: Vec<u8>,
    /// Room for so many elements, and as many as a bucket can have.
    room: usize,
    most: usize,
    /// A map that changes all the time must not hold its reader for ever.
    steps: u64,
    patience: u32,
}

enum Position {
    /// In batches.
    Cursor(BatchCursor),
    /// Key by key: the last one.
    Key(Option<Vec<u8>>),
    End,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(
        kernel: &'a dyn Kernel,
        map: BorrowedFd<'a>,
        info: &MapInfo,
        possible_cpus: u32,
    ) -> Self {
        let (key_size, value_size) = (info.key_size as usize, info.value_buffer_size(possible_cpus));
        let entries = info.max_entries as usize;
        let is_array = matches!(MapType(info.map_type), MapType::ARRAY | MapType::PERCPU_ARRAY);
        Self {
            kernel,
            map,
            key_size,
            value_size,
            seen: (!is_array).then(HashSet::new),
            batches: true,
            at: Position::Cursor(BatchCursor::default()),
            keys: Vec::new(),
            values: Vec::new(),
            room: BATCH_BYTES.checked_div(key_size + value_size).unwrap_or(1).clamp(1, entries.max(1)),
            most: entries.saturating_mul(2).saturating_add(1024),
            steps: u64::from(info.max_entries).saturating_mul(8).saturating_add(1024),
            patience: PATIENCE,
        }
    }

    /// Starts over.
    pub(crate) fn again(&mut self) {
        let start = Position::Cursor(BatchCursor::default());
        self.at = if self.batches { start } else { Position::Key(None) };
    }

    /// Whether keys come and go: an array has all of them always.
    pub(crate) fn has_changing_keys(&self) -> bool {
        self.seen.is_some()
    }

    /// The next elements, at least one; `None` at the end. EAGAIN: the map changes faster than it can be read.
    pub(crate) fn next(&mut self) -> Result<Option<Elements<'_>>> {
        loop {
            let fresh = match &self.at {
                Position::End => return Ok(None),
                Position::Cursor(_) => self.batch()?,
                Position::Key(_) => self.one()?,
            };
            if !fresh.is_empty() {
                let sizes = (self.key_size, self.value_size);
                return Ok(Some(Elements { keys: &self.keys, values: &self.values, sizes, fresh }));
            }
        }
    }

    /// The places of new elements among those just read.
    fn batch(&mut self) -> Result<Vec<usize>> {
        let Position::Cursor(cursor) = &mut self.at else { return Ok(Vec::new()) };
        self.keys.resize(self.room.saturating_mul(self.key_size), 0);
        self.values.resize(self.room.saturating_mul(self.value_size), 0);
        let read = self.kernel.map_lookup_batch(self.map, cursor, &mut self.keys, &mut self.values, 0);
        let Batch { count, stopped } = match read {
            Err(e) if has_no_batches(e.errno) => return Ok(self.key_by_key()),
            read => read?,
        };
        match stopped {
            Some(Errno::NOENT) => self.at = Position::End,
            Some(Errno::NOSPC) if self.room < self.most => {
                self.room = self.room.saturating_mul(2).min(self.most);
            }
            None | Some(Errno::NOSPC | Errno::BUSY | Errno::DEADLK | Errno::TIMEDOUT | Errno::INTR) => {
                self.patience = if count > 0 { PATIENCE } else { self.patience.saturating_sub(1) };
                if self.patience == 0 {
                    return Ok(self.key_by_key());
                }
            }
            Some(errno) => return Err(Error { op: Op::MapLookupBatch, errno }),
        }
        self.spend(count, Op::MapLookupBatch)?;
        let Some(seen) = &mut self.seen else { return Ok((0..count).collect()) };
        let keys = self.keys.chunks_exact(self.key_size.max(1)).take(count).enumerate();
        Ok(keys.filter(|(_, key)| seen.insert(key.to_vec())).map(|(place, _)| place).collect())
    }

    fn one(&mut self) -> Result<Vec<usize>> {
        let Position::Key(last) = &mut self.at else { return Ok(Vec::new()) };
        self.keys.resize(self.key_size, 0);
        self.values.resize(self.value_size, 0);
        if !self.kernel.map_next_key(self.map, last.as_deref(), &mut self.keys)? {
            self.at = Position::End;
            return Ok(Vec::new());
        }
        *last = Some(self.keys.clone());
        self.spend(1, Op::MapNextKey)?;
        if self.seen.as_ref().is_some_and(|seen| seen.contains(&self.keys)) {
            return Ok(Vec::new());
        }
        match self.kernel.map_lookup(self.map, &self.keys, &mut self.values, 0) {
            Err(e) if e.errno == Errno::NOENT => return Ok(Vec::new()),
            read => read?,
        }
        if let Some(seen) = &mut self.seen {
            seen.insert(self.keys.clone());
        }
        Ok(vec![0])
    }

    fn key_by_key(&mut self) -> Vec<usize> {
        self.batches = false;
        // An array's cursor is the last key.
        let last = match &self.at {
            Position::Cursor(cursor) if self.seen.is_none() => cursor.token.get(..self.key_size),
            _ => None,
        };
        self.at = Position::Key(last.map(<[u8]>::to_vec));
        Vec::new()
    }

    fn spend(&mut self, steps: usize, op: Op) -> Result<()> {
        let left = self.steps.checked_sub(steps as u64);
        self.steps = left.ok_or(Error { op, errno: Errno::AGAIN })?;
        Ok(())
    }
}

/// Elements just read.
pub(crate) struct Elements<'w> {
    keys: &'w [u8],
    values: &'w [u8],
    sizes: (usize, usize),
    fresh: Vec<usize>,
}

impl<'w> Elements<'w> {
    /// Keys and values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'w [u8], &'w [u8])> {
        let part = |all: &'w [u8], place: usize, size: usize| {
            let start = place.saturating_mul(size);
            all.get(start..start.saturating_add(size)).unwrap_or_default()
        };
        self.fresh.iter().map(move |place| {
            (part(self.keys, *place, self.sizes.0), part(self.values, *place, self.sizes.1))
        })
    }
}

/// What kernels say that do not know the commands (before Linux 5.6), or whose map type cannot.
pub(crate) fn has_no_batches(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::NOTSUPP | Errno::OPNOTSUPP)
}

#[cfg(test)]
mod tests {
    use super::Walk;
    use onebpf_fake::FakeKernel;
    use onebpf_sys::{Errno, Kernel, Linux, MapCreate};
    use std::collections::HashSet;
    use std::os::fd::{AsFd, OwnedFd};

    const HASH: u32 = 1;
    /// Room is for two of these.
    const LARGE: u32 = 100_000;

    fn filled(kernel: &dyn Kernel) -> OwnedFd {
        let attr = MapCreate {
            map_type: HASH,
            key_size: 4,
            value_size: LARGE,
            max_entries: 64,
            ..MapCreate::default()
        };
        let map = kernel.map_create(&attr).unwrap();
        for n in 0..64u8 {
            kernel.map_update(map.as_fd(), &[n, 0, 0, 0], &vec![n; LARGE as usize], 0).unwrap();
        }
        map
    }

    fn keys(walk: &mut Walk<'_>) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        while let Some(elements) = walk.next().unwrap() {
            for (key, value) in elements.iter() {
                assert!(value.len() == LARGE as usize && value.iter().all(|byte| *byte == key[0]));
                keys.push(key.to_vec());
            }
        }
        keys
    }

    #[test]
    fn buckets_that_need_more_room() {
        let mut kernels: Vec<Box<dyn Kernel>> =
            vec![Box::new(FakeKernel::new()), Box::new(FakeKernel::linux("5.4"))];
        if Linux.host().unwrap().privileged {
            kernels.push(Box::new(Linux));
        }
        for kernel in kernels {
            let _ = kernel.lift_memlock(); // where it is needed at all
            let map = filled(&*kernel);
            let info = kernel.map_info(map.as_fd()).unwrap();
            let mut walk = Walk::new(&*kernel, map.as_fd(), &info, 1);
            let found = keys(&mut walk);
            assert_eq!((found.len(), found.iter().collect::<HashSet<_>>().len()), (64, 64));
            walk.again();
            assert!(keys(&mut walk).is_empty(), "nothing new");
            kernel.map_delete(map.as_fd(), &[1, 0, 0, 0]).unwrap();
            kernel.map_update(map.as_fd(), &[99, 0, 0, 0], &vec![99; LARGE as usize], 0).unwrap();
            walk.again();
            assert_eq!(keys(&mut walk), [vec![99, 0, 0, 0]]);
        }
    }

    #[test]
    fn a_map_that_always_changes_is_given_up() {
        let fake = FakeKernel::new();
        let map = filled(&fake);
        let info = fake.map_info(map.as_fd()).unwrap();
        let mut walk = Walk::new(&fake, map.as_fd(), &info, 1);
        let given_up = (0..100).find_map(|_| {
            walk.again();
            while let Ok(Some(_)) = walk.next() {}
            walk.again();
            walk.next().err()
        });
        assert_eq!(given_up.map(|e| e.errno), Some(Errno::AGAIN));
    }
}
