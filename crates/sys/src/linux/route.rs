//! rtnetlink: one request, and the answer to its end.

use crate::types::RouteReply;
use rustix::io::Errno as Io;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use std::os::fd::{AsRawFd, OwnedFd};

/// `struct nlmsghdr`.
const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;
/// The kernel's messages are at most this long when the reader gives so much room (`netlink_recvmsg()`).
const ROOM: usize = 32 << 10;

pub(super) fn talk(request: &[u8]) -> Result<RouteReply, Io> {
    let number = word(request, 8).ok_or(Io::INVAL)?;
    // Protocol 0 is NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    ask_for_words(&socket);
    send(&socket, request, SendFlags::empty())?;
    let mut reply = RouteReply::default();
    let mut buffer = vec![0; ROOM];
    loop {
        let (_, length) = match recv(&socket, buffer.as_mut_slice(), RecvFlags::TRUNC) {
            Err(Io::INTR) => continue,
            other => other?,
        };
        let datagram = buffer.get(..length).ok_or(Io::MSGSIZE)?;
        if read(datagram, number, &mut reply)? {
            return Ok(reply);
        }
    }
}

/// Extended acknowledgements are a courtesy: without them (before Linux 4.12) there are no words.
fn ask_for_words(socket: &OwnedFd) {
    const NETLINK_CAP_ACK: libc::c_int = 10;
    const NETLINK_EXT_ACK: libc::c_int = 11;
    let on: libc::c_int = 1;
    for option in [NETLINK_CAP_ACK, NETLINK_EXT_ACK] {
        // SAFETY: the fd is open, and the kernel reads the four bytes of `on`, which outlives the call.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_NETLINK,
                option,
                (&raw const on).cast(),
                size_of_val(&on) as libc::socklen_t,
            );
        }
    }
}

/// Takes the messages of a datagram; true when the answer to request `number` has ended.
fn read(mut rest: &[u8], number: u32, reply: &mut RouteReply) -> Result<bool, Io> {
    while !rest.is_empty() {
        let length = word(rest, 0).ok_or(Io::PROTO)? as usize;
        if length < HEADER {
            return Err(Io::PROTO);
        }
        let message = rest.get(..length).ok_or(Io::PROTO)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        if word(message, 8) != Some(number) {
            continue;
        }
        match half(message, 4) {
            Some(NLMSG_ERROR | NLMSG_DONE) => {
                let code = word(message, HEADER).unwrap_or_default() as i32;
                reply.refused = (code < 0).then(|| crate::Errno(code.saturating_neg()));
                reply.text = words(message).unwrap_or_default();
                return Ok(true);
            }
            _ => reply.messages.push(message.to_vec()),
        }
    }
    Ok(false)
}

/// The text of an extended acknowledgement. Between the error and the attributes stands the request's header, and
/// the whole request unless the message says that it is cut short.
fn words(message: &[u8]) -> Option<String> {
    let flags = half(message, 6)?;
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let mut at = HEADER.checked_add(4)?;
    if half(message, 4)? == NLMSG_ERROR {
        let echoed = if flags & NLM_F_CAPPED == 0 { word(message, at)? as usize } else { HEADER };
        at = at.checked_add(echoed)?.checked_next_multiple_of(4)?;
    }
    let mut rest = message.get(at..)?;
    loop {
        let length = half(rest, 0)? as usize;
        let value = rest.get(4..length)?;
        if half(rest, 2)? == NLMSGERR_ATTR_MSG {
            let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, number: u32, body: &[u8]) -> Vec<u8> {
        let mut out = (16 + body.len() as u32).to_ne_bytes().to_vec();
        out.extend(kind.to_ne_bytes());
        out.extend(flags.to_ne_bytes());
        out.extend(number.to_ne_bytes());
        out.extend([0; 4]);
        out.extend(body);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    fn refusal(capped: bool) -> Vec<u8> {
        let request = message(44, 0, 7, &[1, 2, 3, 4]);
        let mut body = (-2_i32).to_ne_bytes().to_vec();
        body.extend(if capped { &request[..16] } else { &request[..] });
        body.extend([8, 0, 9, 0, 1, 2, 3, 4]);
        body.extend([9, 0, 1, 0, b'g', b'o', b'n', b'e', 0, 0, 0, 0]);
        message(NLMSG_ERROR, NLM_F_ACK_TLVS | if capped { NLM_F_CAPPED } else { 0 }, 7, &body)
    }

    #[test]
    fn refusals_have_words() {
        for capped in [true, false] {
            let mut reply = RouteReply::default();
            assert_eq!(read(&refusal(capped), 7, &mut reply), Ok(true));
            assert_eq!(reply.refused, Some(crate::Errno::NOENT));
            assert_eq!(reply.text, "gone");
        }
    }

    #[test]
    fn messages_of_others_are_passed_over_and_damage_is_noticed() {
        let mut reply = RouteReply::default();
        let mut datagram = message(16, 0, 6, &[0; 4]);
        datagram.extend(message(16, 0, 7, &[9; 5]));
        assert_eq!(read(&datagram, 7, &mut reply), Ok(false));
        assert_eq!(reply.messages.len(), 1);
        assert_eq!(read(&message(NLMSG_DONE, 0, 7, &[0; 4]), 7, &mut reply), Ok(true));
        assert_eq!(reply.refused, None);
        let refusal = refusal(false);
        for cut in 1..refusal.len() - 3 {
            assert!(read(&refusal[..cut], 7, &mut reply).is_err());
        }
    }
}
