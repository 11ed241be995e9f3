//! Messages to and from the packet filter and connection tracking: netlink(7), linux/netfilter/nfnetlink.h. The list of sockets
//! (sock_diag(7)) is read with these, too.

use std::io;
use std::ops::ControlFlow;

use nix::sys::socket::{MsgFlags, setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::{TimeVal, TimeValLike};
use rtnetlink::sys::{Socket, protocols::NETLINK_NETFILTER};

pub(crate) const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
pub(crate) const NLM_F_REQUEST: u16 = 1;
pub(crate) const NLM_F_ACK: u16 = 4;
pub(crate) const NLM_F_DUMP: u16 = 0x300;
pub(crate) const NLM_F_DUMP_INTR: u16 = 0x10;
/// As much as the kernel puts into one datagram of a dump; it puts in less for who asks with less room (af_netlink.c,
/// netlink_dump).
pub(crate) const DUMP_BYTES: usize = 32 * 1024;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;

/// The family of addresses.
pub(crate) fn family(ipv6: bool) -> u8 {
    if ipv6 { NFPROTO_IPV6 } else { NFPROTO_IPV4 }
}

/// A socket for requests.
pub(crate) fn open() -> io::Result<Socket> {
    open_to(NETLINK_NETFILTER)
}

/// A socket for requests to another part of the kernel.
pub(crate) fn open_to(protocol: isize) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    // The kernel answers while it handles the request; this only keeps a surprise from hanging us.
    setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(5))?;
    Ok(socket)
}

/// A text as the kernel keeps it, with a zero at its end.
pub(crate) fn text(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// Append one netlink message. `family` is nfgenmsg's family and resource id.
pub(crate) fn message(out: &mut Vec<u8>, kind: u16, flags: u16, family: (u8, u16), attributes: &[(u16, Vec<u8>)]) {
    let start = out.len();
    out.extend([0; 4]);
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend([0; 8]);
    out.push(family.0);
    out.push(0);
    out.extend(family.1.to_be_bytes());
    nest(out, attributes);
    let length = u32::try_from(out.len() - start).expect("a message is short");
    out[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

/// Append attributes: type, length, value.
pub(crate) fn nest(out: &mut Vec<u8>, attributes: &[(u16, Vec<u8>)]) {
    for (kind, value) in attributes {
        let length = u16::try_from(value.len() + 4).expect("names are short");
        out.extend(length.to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend(value);
        out.resize(out.len().next_multiple_of(4), 0);
    }
}

/// The same as a value of its own: what the kernel calls nested.
pub(crate) fn nested(attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    nest(&mut out, attributes);
    out
}

/// All attributes: kind, value.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        // The two top bits say "nested" and "network byte order".
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The messages of a datagram: type, flags, and what follows nlmsghdr.
pub(crate) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = (u16, u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(datagram.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(datagram.get(4..6)?.try_into().ok()?);
        let flags = u16::from_ne_bytes(datagram.get(6..8)?.try_into().ok()?);
        let body = datagram.get(16..length)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, flags, body))
    })
}

/// Read all that the kernel has said so far, without waiting for more: `see` gets each message, its type and what follows
/// nlmsghdr.
///
/// Errors: the kernel's; ENOBUFS where it had more to say than the socket keeps.
pub(crate) fn read_all(socket: &Socket, mut see: impl FnMut(u16, &[u8])) -> io::Result<()> {
    let mut datagram = Vec::with_capacity(DUMP_BYTES);
    loop {
        datagram.clear();
        match socket.recv(&mut datagram, MsgFlags::MSG_DONTWAIT.bits()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            received => received?,
        };
        messages(&datagram).for_each(|(kind, _, body)| see(kind, body));
    }
}

/// How the reading of a dump has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dumped {
    /// With all that there is.
    Whole,
    /// Something was changed meanwhile (NLM_F_DUMP_INTR): it may be wrong, and is asked for again.
    Torn,
    /// The reader has seen enough. The kernel has not said all: nothing else is to be asked by this socket.
    Left,
}

/// Read the answer to NLM_F_DUMP: `see` gets each message, its type and what follows nlmsghdr.
///
/// Errors: the kernel's.
pub(crate) fn read_dump(socket: &Socket, mut see: impl FnMut(u16, &[u8]) -> ControlFlow<()>) -> io::Result<Dumped> {
    let mut is_whole = true;
    let mut datagram = Vec::with_capacity(DUMP_BYTES);
    loop {
        datagram.clear();
        socket.recv(&mut datagram, 0)?;
        for (kind, flags, body) in messages(&datagram) {
            is_whole &= flags & NLM_F_DUMP_INTR == 0;
            match kind {
                NLMSG_DONE => return Ok(if is_whole { Dumped::Whole } else { Dumped::Torn }),
                NLMSG_ERROR => answer(body)?,
                _ if is_whole && see(kind, body).is_break() => return Ok(Dumped::Left),
                _ => {}
            }
        }
    }
}

/// The value of the first attribute of `kind`.
pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(this, _)| *this == kind).map(|(_, value)| value)
}

/// The body of NLMSG_ERROR: a negative errno, 0 for an acknowledgement.
pub(crate) fn answer(body: &[u8]) -> io::Result<()> {
    let code = body.get(..4).and_then(|code| code.try_into().ok()).map_or(0, i32::from_ne_bytes);
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_back() {
        let mut out = Vec::new();
        message(
            &mut out,
            0xa08,
            NLM_F_REQUEST,
            (NFPROTO_IPV4, 0),
            &[(2, text("RBOX")), (3, 7u64.to_be_bytes().to_vec())],
        );
        assert_eq!(out.len() % 4, 0);
        let (kind, flags, body) = messages(&out).next().unwrap();
        assert_eq!((kind, flags), (0xa08, NLM_F_REQUEST));
        assert_eq!(attribute(&body[4..], 3), Some(&7u64.to_be_bytes()[..]));
        assert_eq!(attribute(&body[4..], 9), None);
        assert_eq!(messages(&out).count(), 1);
    }
}
