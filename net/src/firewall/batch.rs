//! Changes to nftables that are made all or none, and lists of what it has: linux/netfilter/nfnetlink.h, nf_tables.h.

use std::io;
use std::ops::ControlFlow;

use nix::errno::Errno;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{RcvBufForce, SndBufForce};
use rtnetlink::sys::Socket;

use super::wire::{Dumped, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_ERROR, answer, message, read_all, read_dump};

pub(crate) const NFNL_SUBSYS_NFTABLES: u16 = 10;
const fn kind(number: u16) -> u16 {
    NFNL_SUBSYS_NFTABLES << 8 | number
}
pub(crate) const NFT_MSG_NEWTABLE: u16 = kind(0);
pub(crate) const NFT_MSG_GETTABLE: u16 = kind(1);
pub(crate) const NFT_MSG_DELTABLE: u16 = kind(2);
pub(crate) const NFT_MSG_NEWCHAIN: u16 = kind(3);
pub(crate) const NFT_MSG_GETCHAIN: u16 = kind(4);
pub(crate) const NFT_MSG_DELCHAIN: u16 = kind(5);
pub(crate) const NFT_MSG_NEWRULE: u16 = kind(6);
pub(crate) const NFT_MSG_GETRULE: u16 = kind(7);
pub(crate) const NFT_MSG_DELRULE: u16 = kind(8);
pub(crate) const NFT_MSG_NEWSET: u16 = kind(9);
pub(crate) const NFT_MSG_DELSET: u16 = kind(11);
pub(crate) const NFT_MSG_NEWSETELEM: u16 = kind(12);
pub(crate) const NFT_MSG_GETSETELEM: u16 = kind(13);
pub(crate) const NFT_MSG_DELSETELEM: u16 = kind(14);
pub(crate) const NFT_MSG_NEWGEN: u16 = kind(15);
pub(crate) const NLM_F_CREATE: u16 = 0x400;
pub(crate) const NLM_F_APPEND: u16 = 0x800;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NFPROTO_UNSPEC: u8 = 0;
/// What stands before a message's attributes.
pub(crate) const NFGENMSG_BYTES: usize = 4;
/// A batch longer than this needs more room than a socket has by itself (net.core.wmem_max).
const ROOM_BYTES: usize = 100 * 1024;
/// What an answer takes of a socket's room.
const ANSWER_BYTES: usize = 1024;

/// Changes that are made all or none.
#[derive(Default)]
pub(crate) struct Batch {
    messages: Vec<u8>,
    count: usize,
    /// Where the last one begins.
    last: usize,
}

impl Batch {
    pub(crate) fn add(&mut self, kind: u16, flags: u16, family: u8, attributes: &[(u16, Vec<u8>)]) {
        self.last = self.messages.len();
        message(&mut self.messages, kind, NLM_F_REQUEST | flags, (family, 0), attributes);
        self.count += 1;
    }

    /// Whether nothing is to be changed.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Make the changes.
    ///
    /// What fails is answered in any case. Of all else only the last asks for an answer: those to some hundreds of changes
    /// would be more than a socket has room for.
    ///
    /// Errors: the first that the kernel has against any of them; then none is made.
    pub(crate) fn commit(&self, socket: &Socket) -> io::Result<()> {
        let mut all = Vec::with_capacity(self.messages.len() + 64);
        message(&mut all, NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, (NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES), &[]);
        let last = all.len() + self.last;
        all.extend(&self.messages);
        ask_for_answer(&mut all[last..]);
        message(&mut all, NFNL_MSG_BATCH_END, NLM_F_REQUEST, (NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES), &[]);
        if all.len() > ROOM_BYTES {
            setsockopt(socket, SndBufForce, &(2 * all.len()))?;
            // Each may fail.
            setsockopt(socket, RcvBufForce, &(self.count * ANSWER_BYTES))?;
        }
        socket.send(&all, 0)?;
        // The kernel has said all before `send` comes back. None is left for who asks next.
        let mut answers = Vec::new();
        read_all(socket, |kind, body| {
            if kind == NLMSG_ERROR {
                answers.push(answer(body));
            }
        })?;
        if answers.is_empty() && !self.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answers.into_iter().collect()
    }
}

/// Set NLM_F_ACK in the message that begins here.
fn ask_for_answer(message: &mut [u8]) {
    if let Some(flags) = message.get_mut(6..8) {
        let asked = u16::from_ne_bytes([flags[0], flags[1]]) | NLM_F_ACK;
        flags.copy_from_slice(&asked.to_ne_bytes());
    }
}

/// Read a dump, again where anything changed meanwhile. Where there is no such table or set it is empty.
pub(crate) fn dump(
    socket: &Socket,
    family: u8,
    (get, new): (u16, u16),
    which: &[(u16, Vec<u8>)],
    see: &mut dyn FnMut(&[u8]),
) -> io::Result<()> {
    let mut request = Vec::new();
    message(&mut request, get, NLM_F_REQUEST | NLM_F_DUMP, (family, 0), which);
    loop {
        let mut bodies = Vec::new();
        socket.send(&request, 0)?;
        let read = read_dump(socket, |kind, body| {
            if kind == new {
                bodies.push(body.get(NFGENMSG_BYTES..).unwrap_or_default().to_vec());
            }
            ControlFlow::Continue(())
        });
        match read {
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(error),
            Ok(Dumped::Whole) => {
                bodies.iter().for_each(|body| see(body));
                return Ok(());
            }
            Ok(_) => {}
        }
    }
}

/// Whether what was asked for is not there.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| [Errno::ENOENT, Errno::ENXIO].contains(&Errno::from_raw(code)))
}
