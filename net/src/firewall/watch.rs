//! What the kernel tells of changes to nftables, also of those by iptables' nft variant. linux/netfilter/nf_tables.h.

use std::io;

use rtnetlink::sys::Socket;

use super::batch::{
    NFT_MSG_DELCHAIN, NFT_MSG_DELRULE, NFT_MSG_DELSET, NFT_MSG_DELSETELEM, NFT_MSG_DELTABLE, NFT_MSG_NEWCHAIN,
    NFT_MSG_NEWGEN, NFT_MSG_NEWRULE, NFT_MSG_NEWSETELEM,
};
use super::wire::{attribute, open, read_all};

/// linux/netfilter/nfnetlink.h, enum nfnetlink_groups.
const NFNLGRP_NFTABLES: u32 = 7;
const NFTA_GEN_PROC_NAME: u16 = 3;

/// What was heard since the last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing, or nothing that can have taken anything from us.
    Nothing,
    /// Somebody else has put something in.
    Added,
    /// Somebody else has deleted something.
    Deleted,
}

/// A socket that hears of every change from now on.
pub(crate) fn changes() -> io::Result<Socket> {
    let socket = open()?;
    socket.add_membership(NFNLGRP_NFTABLES)?;
    socket.set_non_blocking(true)?;
    Ok(socket)
}

/// Read all that it has heard.
pub(crate) fn heard(socket: &Socket) -> Heard {
    let mut heard = Heard::Nothing;
    let (mut is_addition, mut is_deletion) = (false, false);
    let read = read_all(socket, |kind, body| match kind {
        NFT_MSG_DELTABLE | NFT_MSG_DELCHAIN | NFT_MSG_DELRULE | NFT_MSG_DELSET | NFT_MSG_DELSETELEM => {
            is_deletion = true
        }
        NFT_MSG_NEWCHAIN | NFT_MSG_NEWRULE | NFT_MSG_NEWSETELEM => is_addition = true,
        // The end of a change, and who has made it.
        NFT_MSG_NEWGEN => {
            let by = body.get(4..).and_then(|body| attribute(body, NFTA_GEN_PROC_NAME)).unwrap_or_default();
            let (deleted, added) = (std::mem::take(&mut is_deletion), std::mem::take(&mut is_addition));
            heard = match (deleted, added) {
                _ if by.starts_with(b"rbox") => heard,
                (true, _) => Heard::Deleted,
                (_, true) if heard == Heard::Nothing => Heard::Added,
                _ => heard,
            };
        }
        _ => {}
    });
    // Where there was more than the socket keeps, that may have been a deletion.
    if read.is_ok() { heard } else { Heard::Deleted }
}
