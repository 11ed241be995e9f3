//! Changes to nftables that are made all or none: linux/netfilter/nfnetlink.h, nf_tables.h.

use std::io;

use nix::sys::socket::{setsockopt, sockopt::SndBufForce};
use rtnetlink::sys::Socket;

use super::wire::{NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR, answer, family, message, messages};

pub(super) const NFNL_SUBSYS_NFTABLES: u16 = 10;
const fn kind(number: u16) -> u16 {
    NFNL_SUBSYS_NFTABLES << 8 | number
}
pub(super) const NFT_MSG_NEWTABLE: u16 = kind(0);
pub(super) const NFT_MSG_GETTABLE: u16 = kind(1);
pub(super) const NFT_MSG_DELTABLE: u16 = kind(2);
pub(super) const NFT_MSG_NEWCHAIN: u16 = kind(3);
pub(super) const NFT_MSG_GETCHAIN: u16 = kind(4);
pub(super) const NFT_MSG_DELCHAIN: u16 = kind(5);
pub(super) const NFT_MSG_NEWRULE: u16 = kind(6);
pub(super) const NFT_MSG_GETRULE: u16 = kind(7);
pub(super) const NFT_MSG_DELRULE: u16 = kind(8);
pub(super) const NFT_MSG_NEWSET: u16 = kind(9);
pub(super) const NFT_MSG_DELSET: u16 = kind(11);
pub(super) const NFT_MSG_NEWSETELEM: u16 = kind(12);
pub(super) const NFT_MSG_GETSETELEM: u16 = kind(13);
pub(super) const NFT_MSG_DELSETELEM: u16 = kind(14);
pub(super) const NFT_MSG_NEWGEN: u16 = kind(15);
pub(super) const NLM_F_CREATE: u16 = 0x400;
pub(super) const NLM_F_APPEND: u16 = 0x800;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NFPROTO_UNSPEC: u8 = 0;
/// A batch longer than this needs more room than a socket has by itself (net.core.wmem_max).
const ROOM_BYTES: usize = 100 * 1024;

/// Changes that are made all or none.
#[derive(Default)]
pub(super) struct Batch {
    messages: Vec<u8>,
    count: usize,
}

impl Batch {
    pub(super) fn add(&mut self, kind: u16, flags: u16, ipv6: bool, attributes: &[(u16, Vec<u8>)]) {
        message(&mut self.messages, kind, NLM_F_REQUEST | NLM_F_ACK | flags, (family(ipv6), 0), attributes);
        self.count += 1;
    }

    /// Whether nothing is to be changed.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Make the changes.
    ///
    /// Errors: the first that the kernel has against any of them; then none is made.
    pub(super) fn commit(&self, socket: &Socket) -> io::Result<()> {
        let mut all = Vec::with_capacity(self.messages.len() + 64);
        message(&mut all, NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, (NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES), &[]);
        all.extend(&self.messages);
        message(&mut all, NFNL_MSG_BATCH_END, NLM_F_REQUEST, (NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES), &[]);
        if all.len() > ROOM_BYTES {
            setsockopt(socket, SndBufForce, &(2 * all.len()))?;
        }
        socket.send(&all, 0)?;
        let mut result = Ok(());
        let mut answers = 0;
        while answers < self.count {
            let (datagram, _) = socket.recv_from_full()?;
            for (_, _, body) in messages(&datagram).filter(|(kind, ..)| *kind == NLMSG_ERROR) {
                answers += 1;
                result = result.and(answer(body));
            }
        }
        result
    }
}
