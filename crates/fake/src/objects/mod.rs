//! All that lives in the kernel, and what keeps it alive.

pub(crate) mod btf;
mod link;
pub(crate) mod map;
pub(crate) mod prog;

use crate::handle::{Handle, Identity, held};
use crate::objects::btf::Btf;
use crate::objects::map::Map;
use crate::objects::prog::Prog;
use onebpf_sys::{Errno, ObjectKind};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::{BorrowedFd, OwnedFd};

/// An object's name inside the fake: never used twice, unlike an fd.
pub(crate) type Serial = u64;

pub(crate) struct Object {
    handle: Handle,
    pub(crate) id: u32,
    pub(crate) body: Body,
}

pub(crate) enum Body {
    Map(Map),
    Prog(Prog),
    Btf(Btf),
    /// A right to make the others.
    Token,
    /// What it holds attached: the map of a table.
    Link(Serial),
}

impl Body {
    /// `None`: it has no id and cannot be pinned.
    pub(crate) fn kind(&self) -> Option<ObjectKind> {
        match self {
            Self::Map(_) => Some(ObjectKind::Map),
            Self::Prog(_) => Some(ObjectKind::Program),
            Self::Btf(_) => Some(ObjectKind::Btf),
            Self::Link(_) => Some(ObjectKind::Link),
            Self::Token => None,
        }
    }

    /// Pages charged to RLIMIT_MEMLOCK on kernels that still do.
    fn charge(&self) -> u64 {
        match self {
            Self::Map(map) => map.charge,
            Self::Prog(prog) => prog.charge,
            Self::Btf(_) | Self::Link(_) | Self::Token => 0,
        }
    }

    fn references(&self) -> Vec<Serial> {
        match self {
            Self::Map(map) => map.references(),
            Self::Prog(prog) => prog.maps.iter().chain(&prog.btf).chain(&prog.target).copied().collect(),
            Self::Btf(_) | Self::Token => Vec::new(),
            Self::Link(held) => vec![*held],
        }
    }
}

#[derive(Default)]
pub(crate) struct Objects {
    live: BTreeMap<Serial, Object>,
    by_identity: HashMap<Identity, Serial>,
    last_serial: Serial,
    last_id: HashMap<Option<ObjectKind>, u32>,
}

impl Objects {
    /// Brings an object to life; its first fd keeps it so.
    pub(crate) fn add(&mut self, body: Body) -> Result<OwnedFd, Errno> {
        let (handle, fd) = Handle::new()?;
        self.last_serial += 1;
        let id = self.last_id.entry(body.kind()).or_insert(0);
        *id += 1;
        self.by_identity.insert(handle.identity, self.last_serial);
        self.live.insert(self.last_serial, Object { handle, id: *id, body });
        Ok(fd)
    }

    /// One more fd of an object.
    pub(crate) fn open(&self, serial: Serial) -> Result<OwnedFd, Errno> {
        self.live.get(&serial).ok_or(Errno::NOENT)?.handle.open()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Serial, &Object)> {
        self.live.iter().map(|(serial, object)| (*serial, object))
    }

    pub(crate) fn charged_pages(&self) -> u64 {
        self.live.values().map(|object| object.body.charge()).sum()
    }

    /// EINVAL for an fd of something else.
    pub(crate) fn find(&self, fd: BorrowedFd<'_>) -> Result<(Serial, &Object), Errno> {
        self.by_identity(Identity::of(fd)?).ok_or(Errno::INVAL)
    }

    /// By a bare fd number: EBADF if nothing is open there.
    pub(crate) fn find_number(&self, fd: i32) -> Result<(Serial, &Object), Errno> {
        self.by_identity(Identity::of_number(fd)?).ok_or(Errno::INVAL)
    }

    pub(crate) fn map(&self, fd: BorrowedFd<'_>) -> Result<(Serial, u32, &Map), Errno> {
        match self.find(fd)? {
            (serial, Object { id, body: Body::Map(map), .. }) => Ok((serial, *id, map)),
            _ => Err(Errno::INVAL),
        }
    }

    pub(crate) fn map_mut(&mut self, fd: BorrowedFd<'_>) -> Result<&mut Map, Errno> {
        let (serial, ..) = self.map(fd)?;
        match self.live.get_mut(&serial) {
            Some(Object { body: Body::Map(map), .. }) => Ok(map),
            _ => Err(Errno::INVAL),
        }
    }

    pub(crate) fn prog(&self, fd: BorrowedFd<'_>) -> Result<(u32, &Prog), Errno> {
        match self.find(fd)? {
            (_, Object { id, body: Body::Prog(prog), .. }) => Ok((*id, prog)),
            _ => Err(Errno::INVAL),
        }
    }

    pub(crate) fn prog_mut(&mut self, fd: BorrowedFd<'_>) -> Result<&mut Prog, Errno> {
        let (serial, _) = self.find(fd)?;
        match self.live.get_mut(&serial) {
            Some(Object { body: Body::Prog(prog), .. }) => Ok(prog),
            _ => Err(Errno::INVAL),
        }
    }

    /// EINVAL for an fd of something else (`bpf_token_get_from_fd`).
    pub(crate) fn token(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        match self.find(fd)? {
            (_, Object { body: Body::Token, .. }) => Ok(()),
            _ => Err(Errno::INVAL),
        }
    }

    pub(crate) fn btf(&self, fd: BorrowedFd<'_>) -> Result<(Serial, u32, &Btf), Errno> {
        match self.find(fd)? {
            (serial, Object { id, body: Body::Btf(btf), .. }) => Ok((serial, *id, btf)),
            _ => Err(Errno::INVAL),
        }
    }

    /// The program behind an fd that may be BTF's, too.
    pub(crate) fn prog_serial(&self, fd: BorrowedFd<'_>) -> Result<Option<Serial>, Errno> {
        match self.find(fd)? {
            (serial, Object { body: Body::Prog(_), .. }) => Ok(Some(serial)),
            (_, Object { body: Body::Btf(_), .. }) => Ok(None),
            _ => Err(Errno::INVAL),
        }
    }

    pub(crate) fn id(&self, serial: Serial) -> Option<u32> {
        Some(self.live.get(&serial)?.id)
    }

    pub(crate) fn prog_at(&self, serial: Serial) -> Option<&Prog> {
        if let Body::Prog(prog) = &self.live.get(&serial)?.body { Some(prog) } else { None }
    }

    pub(crate) fn btf_at(&self, serial: Serial) -> Option<&Btf> {
        if let Body::Btf(btf) = &self.live.get(&serial)?.body { Some(btf) } else { None }
    }

    /// Frees what neither an fd, nor a pin, nor a living object holds.
    ///
    /// A program array keeps its programs only while user space holds it (kernel: `map_release_uref`);
    /// otherwise a program that jumps through an array holding itself would live for ever.
    pub(crate) fn sweep(&mut self, pinned: &BTreeSet<Serial>) {
        let open = held(self.live.values().map(|object| &object.handle));
        let users: BTreeSet<Serial> = (self.live.keys().zip(open))
            .filter_map(|(serial, open)| (open || pinned.contains(serial)).then_some(*serial))
            .collect();
        for (serial, object) in &mut self.live {
            if let Body::Map(map) = &mut object.body
                && !users.contains(serial)
            {
                map.last_user_left();
            }
        }
        let mut alive = users.clone();
        let mut todo: Vec<Serial> = users.into_iter().collect();
        while let Some(object) = todo.pop().and_then(|serial| self.live.get(&serial)) {
            todo.extend(object.body.references().into_iter().filter(|serial| alive.insert(*serial)));
        }
        self.live.retain(|serial, _| alive.contains(serial));
        self.by_identity.retain(|_, serial| alive.contains(serial));
    }

    fn by_identity(&self, identity: Identity) -> Option<(Serial, &Object)> {
        let serial = *self.by_identity.get(&identity)?;
        Some((serial, self.live.get(&serial)?))
    }
}
