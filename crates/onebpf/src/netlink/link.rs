//! Devices: their numbers, and XDP.

use super::message::{Message, NLA_F_NESTED, fixed};

const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const IFLA_IFNAME: u16 = 3;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_XDP: u16 = 0x2b | NLA_F_NESTED;
const IFLA_ALT_IFNAME: u16 = 53;
const IFLA_XDP_FD: u16 = 1;
const IFLA_XDP_FLAGS: u16 = 3;
const XDP_FLAGS_UPDATE_IF_NOEXIST: u32 = 1;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
/// `struct ifinfomsg`.
const IFINFOMSG: usize = 16;
/// `IFNAMSIZ` less the NUL.
const NAME_MAX: usize = 15;

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver if it can, else in the kernel's generic path (`xdp`).
    Any,
    /// In the kernel's generic path (`xdpgeneric`).
    Generic,
    /// In the driver (`xdpdrv`).
    Driver,
    /// On the device (`xdpoffload`).
    Hardware,
}

/// Asks for a device by its name, or by an alternative name. [`link_index`] reads the answer.
pub fn find_link(name: &str) -> Vec<u8> {
    let mut message = Message::new(RTM_GETLINK, 0, &[0; IFINFOMSG]);
    message.u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    message.text(if name.len() > NAME_MAX { IFLA_ALT_IFNAME } else { IFLA_IFNAME }, name);
    message.finish()
}

/// The number of the device that an answer is about.
pub fn link_index(message: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(fixed(message, IFINFOMSG)?.get(4..8)?.try_into().ok()?))
}

/// Puts the program of fd `program` on a device, or with `None` takes the one there off. Unless `force`, a program that is
/// there already is not replaced: EBUSY.
pub fn xdp(ifindex: u32, program: Option<i32>, mode: XdpMode, force: bool) -> Vec<u8> {
    let mut info = [0; IFINFOMSG];
    for (to, from) in info.iter_mut().skip(4).zip(ifindex.to_ne_bytes()) {
        *to = from;
    }
    let mode = match mode {
        XdpMode::Any => 0,
        XdpMode::Generic => 2,
        XdpMode::Driver => 4,
        XdpMode::Hardware => 8,
    };
    let flags = mode | if force { 0 } else { XDP_FLAGS_UPDATE_IF_NOEXIST };
    let mut message = Message::new(RTM_SETLINK, 0, &info);
    message.nest(IFLA_XDP, |message| {
        message.u32(IFLA_XDP_FD, program.unwrap_or(-1) as u32);
        if flags != 0 {
            message.u32(IFLA_XDP_FLAGS, flags);
        }
    });
    message.finish()
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::{attrs, nested};
    use super::*;

    #[test]
    fn xdp_is_set_and_taken_off() {
        let options = |program, mode, force| {
            let bytes = xdp(6, program, mode, force);
            assert_eq!(bytes[20..24], 6_u32.to_ne_bytes());
            nested(&attrs(&bytes, IFINFOMSG)[0].1)
        };
        let word = |value: u32| value.to_ne_bytes().to_vec();
        assert_eq!(options(Some(3), XdpMode::Any, true), [(1, word(3))]);
        assert_eq!(options(Some(3), XdpMode::Generic, false), [(1, word(3)), (3, word(3))]);
        assert_eq!(options(None, XdpMode::Driver, true), [(1, word(u32::MAX)), (3, word(4))]);
        assert_eq!(options(None, XdpMode::Hardware, false)[1], (3, word(9)));
    }

    #[test]
    fn long_names_are_alternative_names() {
        let kind = |name| attrs(&find_link(name), IFINFOMSG)[1].0;
        assert_eq!((kind("eth0"), kind("a-name-of-sixteen")), (3, 53));
        assert_eq!(link_index(&xdp(9, None, XdpMode::Any, true)), Some(9));
        assert_eq!(link_index(&[0; 20]), None);
    }
}
