//! Links of struct_ops tables: each holds a map. Links of programs are not modelled.

use super::{Body, Object, Objects, Serial};
use crate::config::Config;
use onebpf_sys::{Errno, LinkCreate, LinkInfo};
use std::os::fd::BorrowedFd;

/// `enum bpf_attach_type`.
const BPF_STRUCT_OPS: u32 = 44;
/// `enum bpf_link_type`.
const STRUCT_OPS: u32 = 9;

impl Objects {
    /// What a new link will hold (`bpf_struct_ops_link_create`).
    pub(crate) fn linkable(&self, attr: &LinkCreate<'_>, config: &Config) -> Result<Serial, Errno> {
        let (serial, _, map) = self.map(attr.object)?;
        let registers = attr.attach_type == BPF_STRUCT_OPS && config.at_least(6, 4);
        if registers && map.is_complete_table() { Ok(serial) } else { Err(Errno::INVAL) }
    }

    /// Another table in the place of the one that a link holds (`bpf_struct_ops_map_link_update`).
    pub(crate) fn relink(
        &mut self,
        link: BorrowedFd<'_>,
        table: BorrowedFd<'_>,
        old: Option<BorrowedFd<'_>>,
    ) -> Result<(), Errno> {
        let (new, _, map) = self.map(table)?;
        if !map.is_complete_table() {
            return Err(Errno::INVAL);
        }
        let expected = old.map(|old| self.map(old)).transpose()?.map(|(serial, ..)| serial);
        let (link, _) = self.find(link)?;
        match self.live.get_mut(&link) {
            Some(Object { body: Body::Link(held), .. }) if expected.is_none_or(|old| old == *held) => {
                *held = new;
                Ok(())
            }
            Some(Object { body: Body::Link(_), .. }) => Err(Errno::PERM),
            _ => Err(Errno::INVAL),
        }
    }

    pub(crate) fn link_info(&self, link: BorrowedFd<'_>) -> Result<LinkInfo, Errno> {
        let (_, Object { id, body: Body::Link(held), .. }) = self.find(link)? else {
            return Err(Errno::INVAL);
        };
        let map_id = self.live.get(held).map_or(0, |map| map.id);
        Ok(LinkInfo { id: *id, link_type: STRUCT_OPS, prog_id: 0, map_id })
    }
}
