//! Messages and attributes, byte by byte: `struct nlmsghdr`, `struct nlattr`.

pub(super) const NLM_F_REQUEST: u16 = 1;
pub(super) const NLM_F_ACK: u16 = 4;
pub(super) const NLM_F_REPLACE: u16 = 0x100;
pub(super) const NLM_F_EXCL: u16 = 0x200;
pub(super) const NLM_F_CREATE: u16 = 0x400;
pub(super) const NLM_F_APPEND: u16 = 0x800;
/// Marks an attribute that holds attributes.
pub(super) const NLA_F_NESTED: u16 = 1 << 15;

const HEADER: usize = 16;
/// Any number but 0 will do: a socket carries one request.
const SEQUENCE: u32 = 1;

/// A request being written. Its callers bound what goes in: names of 255 bytes, 32 actions.
#[derive(Debug)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// Header (asking for an acknowledgement) and the fixed part of a message.
    pub(super) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
        bytes.extend(SEQUENCE.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(fixed);
        Self(bytes).aligned()
    }

    /// An attribute.
    pub(super) fn attr(&mut self, kind: u16, value: &[u8]) {
        self.nest(kind, |message| message.0.extend(value));
    }

    pub(super) fn u8(&mut self, kind: u16, value: u8) {
        self.attr(kind, &[value]);
    }

    pub(super) fn u16(&mut self, kind: u16, value: u16) {
        self.attr(kind, &value.to_ne_bytes());
    }

    pub(super) fn u32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_ne_bytes());
    }

    /// Text with its NUL.
    pub(super) fn text(&mut self, kind: u16, value: &str) {
        self.nest(kind, |message| {
            message.0.extend(value.bytes().take_while(|byte| *byte != 0));
            message.0.push(0);
        });
    }

    /// An attribute that holds what `fill` writes.
    pub(super) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend(kind.to_ne_bytes());
        fill(self);
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        if let Some(place) = self.0.get_mut(start..start + 2) {
            place.copy_from_slice(&length.to_ne_bytes());
        }
        self.align();
    }

    /// The bytes, with their length in front.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        if let Some(place) = self.0.get_mut(..4) {
            place.copy_from_slice(&length.to_ne_bytes());
        }
        self.0
    }

    fn align(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn aligned(mut self) -> Self {
        self.align();
        self
    }
}

/// The fixed part of a message that came in, of `length` bytes.
pub(super) fn fixed(message: &[u8], length: usize) -> Option<&[u8]> {
    message.get(HEADER..HEADER.checked_add(length)?)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Type and value of each attribute after the fixed part.
    pub(in crate::netlink) fn attrs(message: &[u8], fixed: usize) -> Vec<(u16, Vec<u8>)> {
        nested(&message[HEADER + fixed..])
    }

    pub(in crate::netlink) fn nested(mut rest: &[u8]) -> Vec<(u16, Vec<u8>)> {
        let mut found = Vec::new();
        while !rest.is_empty() {
            let half = |at: usize| u16::from_ne_bytes([rest[at], rest[at + 1]]);
            let length = half(0) as usize;
            found.push((half(2), rest[4..length].to_vec()));
            rest = &rest[length.next_multiple_of(4)..];
        }
        found
    }

    #[test]
    fn attributes_are_aligned_and_nest() {
        let mut message = Message::new(44, NLM_F_CREATE, &[7; 5]);
        message.u8(1, 9);
        message.nest(2, |message| message.text(3, "ab"));
        let bytes = message.finish();
        assert_eq!(bytes.len(), 16 + 8 + 8 + 12);
        assert_eq!(bytes[..8], [44, 0, 0, 0, 44, 0, 5, 4]);
        assert_eq!(attrs(&bytes, 8)[0], (1, vec![9]));
        assert_eq!(nested(&attrs(&bytes, 8)[1].1), [(3, b"ab\0".to_vec())]);
        assert_eq!(fixed(&bytes, 5), Some(&[7; 5][..]));
        assert_eq!(fixed(&bytes, 99), None);
    }
}
