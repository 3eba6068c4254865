//! Where the kernel puts its words.

use crate::config::Config;
use onebpf_sys::{Errno, Log};

/// A refusal and the kernel's words.
pub(crate) struct No {
    pub(crate) errno: Errno,
    pub(crate) log: String,
}

impl No {
    pub(crate) fn new(errno: Errno, log: impl Into<String>) -> Self {
        Self { errno, log: log.into() }
    }
}

impl From<Errno> for No {
    fn from(errno: Errno) -> Self {
        Self::new(errno, "")
    }
}

/// False if the buffer was too small. Since 6.4 the end of the log is kept, before that its beginning.
pub(crate) fn write(log: &mut Log<'_>, text: &str, config: &Config) -> bool {
    let Some((nul, room)) = log.buffer.split_last_mut() else { return false };
    *nul = 0;
    let text = if log.level == 0 { &[] } else { text.as_bytes() };
    let surplus = text.len().saturating_sub(room.len());
    let kept = if config.at_least(6, 4) { text.get(surplus..) } else { text.get(..text.len() - surplus) };
    for (to, from) in room.iter_mut().zip(kept.unwrap_or_default().iter().chain(std::iter::once(&0))) {
        *to = *from;
    }
    surplus == 0
}
