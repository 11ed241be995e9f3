//! Taking rules out in one transaction of the kernel, by the comment that names their owner.
//!
//! `iptables-restore` with `-D` lines commits table by table, and the kernel makes a socket's `close` wait
//! until every rule deleted before it is really freed (an RCU grace period, then a worker): 22 to 45 ms for
//! two tables. The deletion itself takes 0.05 ms. So rbox sends it itself: one dump of each chain, one batch
//! for all tables. The socket stays open until the process has nothing else to do.
//!
//! ```text
//!   NFT_MSG_GETRULE table, chain ──▶ rules; those with our comment ──▶ NFNL_MSG_BATCH_BEGIN
//!                                                                      NFT_MSG_DELRULE handle, …
//!                                                                      NFNL_MSG_BATCH_END ──▶ an answer for each
//! ```
//!
//! linux/netfilter/nf_tables.h, nfnetlink.h; net/netfilter/nf_tables_api.c, nft_rcv_nl_event.

use std::io::{self, IoSlice};
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::sync::Mutex;

use memchr::memmem;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair};
use rtnetlink::sys::Socket;

use super::Table;
use super::batch::{Batch, NFT_MSG_DELRULE, NFT_MSG_GETRULE, NFT_MSG_NEWRULE, NLM_F_CREATE};
use super::handles::Handle;
use super::wire::{
    DUMP_BYTES, Dumped, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_ERROR, answer as said, attribute, family, message, messages,
    open, read_dump, text,
};
use crate::error::{Doing, Result};
use crate::steps;

pub(super) const NFTA_RULE_TABLE: u16 = 1;
pub(super) const NFTA_RULE_CHAIN: u16 = 2;
pub(super) const NFTA_RULE_HANDLE: u16 = 3;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_RULE_USERDATA: u16 = 7;
/// What stands before a message's attributes: family, version, resource.
const NFGENMSG_BYTES: usize = 4;
const NLA_F_NESTED: u16 = 0x8000;

/// A socket to the packet filter, opened at first use and then kept: closing it is what waits.
#[derive(Default)]
pub(crate) struct RuleSocket(Mutex<Option<Socket>>);

impl Drop for RuleSocket {
    fn drop(&mut self) {
        if let Some(socket) = self.0.get_mut().ok().and_then(Option::take) {
            // When this fails the socket is closed here, and that only takes longer.
            let _ = leave_to_the_kernel(socket);
        }
    }
}

/// Let a worker of the kernel close a socket, so that nobody waits for what its close waits for.
///
/// The socket goes into a unix socket's queue together with that unix socket itself. When we close our ends
/// nobody can ever receive them, and the kernel's collector of such circles takes them apart, since Linux 6.9
/// in a worker of its own. unix(7), SCM_RIGHTS; net/unix/garbage.c.
///
/// Our own descriptor must be closed before the circle is cut off: the worker is quick (0.1 ms), and who closes last is
/// the one who waits (3 to 7 ms).
pub(crate) fn leave_to_the_kernel(socket: Socket) -> nix::Result<()> {
    let (one, other) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?;
    let circle = [socket.as_raw_fd(), other.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&circle)];
    sendmsg::<()>(one.as_raw_fd(), &[IoSlice::new(&[0])], &control, MsgFlags::empty(), None)?;
    drop(socket);
    Ok(())
}

struct Found<'a> {
    place: Place<'a>,
    handle: u64,
}

/// A chain: of ip6tables or not, its table, its name.
pub(crate) type Place<'a> = (bool, Table, &'a str);

/// The family as nft calls it.
pub(super) fn word(ipv6: bool) -> &'static str {
    if ipv6 { "ip6" } else { "ip" }
}

impl RuleSocket {
    /// Delete every rule of `chains` that carries the comment `owner`, all or none; they are looked for unless all that is
    /// noted of them holds.
    ///
    /// Same as: `nft delete rule ip TABLE CHAIN handle N` for each, in one `nft -f`.
    /// Rules that are gone already are no error.
    pub(crate) fn delete(&self, chains: &[Place<'_>], owner: &str, noted: Option<&[Handle]>) -> Result<()> {
        let doing = || format!("delete the rules of {owner}");
        self.ask(doing, |socket| {
            let mut known = noted.map_or(Ok(None), |noted| known(socket, noted, owner))?;
            // Another process may delete the same rules between our dump and our batch: look again.
            for _ in 0..100 {
                let found = known.take().map_or_else(|| find(socket, chains, owner), Ok)?;
                if found.is_empty() {
                    return Ok(());
                }
                let words = || found.iter().map(|it| it.command("delete")).collect::<Vec<_>>().join("; ");
                match rbox_explain::step(&steps::RULES_DELETE, words, || delete(socket, &found)) {
                    Err(error) if error.raw_os_error().is_some_and(is_race) => {}
                    answer => return answer,
                }
            }
            Err(Errno::EBUSY.into())
        })
    }

    /// Let the next question have a socket of its own.
    fn leave(&self) {
        let socket = self.0.lock().expect("nothing panics while it is held").take();
        if let Some(socket) = socket {
            let _ = leave_to_the_kernel(socket);
        }
    }
}

impl RuleSocket {
    /// Ask the packet filter something, or tell it.
    pub(super) fn ask<T>(
        &self,
        doing: impl FnOnce() -> String,
        ask: impl FnOnce(&Socket) -> io::Result<T>,
    ) -> Result<T> {
        let mut slot = self.0.lock().expect("nothing panics while it is held");
        let answer = match &mut *slot {
            Some(socket) => ask(socket),
            none => open().and_then(|socket| ask(none.insert(socket))),
        };
        drop(slot);
        if answer.is_err() {
            // Whatever else it has to say would be taken for the answer to another question.
            self.leave();
        }
        answer.doing(doing)
    }
}

/// What was seen of a chain's rules; as the kernel has them, word for word.
pub(super) struct Sighted {
    /// For each word the first rule that has it; nothing where none does.
    pub(super) at: Vec<Option<Seen>>,
    pub(super) has_not: bool,
}

/// A rule as the kernel lists it: its attributes.
pub(super) struct Seen(Vec<u8>);

impl RuleSocket {
    /// Look through a chain for whole words: names of chains that are jumped to, comments. `not` is one, too; where there is
    /// no such word the look ends with the last of the others.
    ///
    /// Nothing when there is no such chain, or it changed meanwhile.
    pub(super) fn sight(&self, place: Place<'_>, words: &[&str], not: Option<&str>) -> Result<Option<Sighted>> {
        let (ipv6, table, chain) = place;
        let told = || format!("nft -a list chain {} {table} {chain}", word(ipv6));
        let whole: Vec<Vec<u8>> = words.iter().map(|word| text(word)).collect();
        let look = |socket: &Socket| {
            socket.send(&listing(place), 0)?;
            sight(socket, &whole, not.map(text).as_deref())
        };
        let doing = || format!("look through chain {chain}");
        let (seen, dumped) = rbox_explain::step(&steps::RULES_LIST, told, || self.ask(doing, look))?;
        if dumped == Dumped::Left {
            self.leave();
        }
        Ok(seen)
    }
}

impl RuleSocket {
    /// Move rules of ours to the head of their chains, as they are, all at once; the last of them comes to stand first.
    ///
    /// Same as: `nft delete rule ip TABLE CHAIN handle N` and `nft insert rule ip TABLE CHAIN …` for each, in one `nft -f`.
    pub(super) fn lift(&self, rules: &[(Place<'_>, Seen)]) -> Result<()> {
        let doing = || "move the common rules to the head of their chains".to_owned();
        let words = || rules.iter().map(|(place, seen)| seen.words(*place)).collect::<Vec<_>>().join("; ");
        let lift = |socket: &Socket| {
            let mut batch = Batch::default();
            rules.iter().try_for_each(|(place, seen)| seen.lift(*place, &mut batch))?;
            batch.commit(socket)
        };
        rbox_explain::step(&steps::RULES_LIFT, words, || self.ask(doing, lift))
    }
}

impl Seen {
    fn handle(&self) -> io::Result<u64> {
        attribute(&self.0, NFTA_RULE_HANDLE).and_then(number).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn lift(&self, place: Place<'_>, batch: &mut Batch) -> io::Result<()> {
        delete_rule(batch, &Found { place, handle: self.handle()? });
        let mut attributes = names(place);
        for kind in [NFTA_RULE_EXPRESSIONS, NFTA_RULE_USERDATA] {
            let nested = if kind == NFTA_RULE_EXPRESSIONS { NLA_F_NESTED } else { 0 };
            attributes.extend(attribute(&self.0, kind).map(|value| (kind | nested, value.to_vec())));
        }
        batch.add(NFT_MSG_NEWRULE, NLM_F_CREATE, family(place.0), &attributes);
        Ok(())
    }

    fn words(&self, (ipv6, table, chain): Place<'_>) -> String {
        let handle = self.handle().unwrap_or_default();
        let family = word(ipv6);
        format!("nft delete rule {family} {table} {chain} handle {handle}; nft insert rule {family} {table} {chain} …")
    }
}

/// Says, too, how the reading ended.
fn sight(socket: &Socket, words: &[Vec<u8>], not: Option<&[u8]>) -> io::Result<(Option<Sighted>, Dumped)> {
    let mut seen = Sighted { at: words.iter().map(|_| None).collect(), has_not: false };
    let read = read_dump(socket, |kind, body| {
        if kind == NFT_MSG_NEWRULE {
            for (at, word) in seen.at.iter_mut().zip(words) {
                if at.is_none() && has(body, word) {
                    *at = Some(Seen(body.get(NFGENMSG_BYTES..).unwrap_or_default().to_vec()));
                }
            }
            seen.has_not |= not.is_some_and(|not| has(body, not));
        }
        match not.is_none() && seen.at.iter().all(Option::is_some) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    match read {
        Err(error) if error.raw_os_error().is_some_and(is_race) => Ok((None, Dumped::Whole)),
        read => read.map(|dumped| ((dumped != Dumped::Torn).then_some(seen), dumped)),
    }
}

/// Whether the word itself stands there, and not the end of a longer one: before it is the length or the kind of what holds
/// it. By its first letter, since chains of a thousand rules are looked through.
fn has(body: &[u8], word: &[u8]) -> bool {
    let Some(first) = word.first() else { return false };
    let mut from = 1;
    while let Some(at) = body.get(from..).and_then(|rest| rest.iter().position(|byte| byte == first)) {
        let at = from + at;
        if body[at..].starts_with(word) && !body[at - 1].is_ascii_graphic() {
            return true;
        }
        from = at + 1;
    }
    false
}

fn is_race(code: i32) -> bool {
    Errno::from_raw(code) == Errno::ENOENT
}

fn find<'a>(socket: &Socket, chains: &[Place<'a>], owner: &str) -> io::Result<Vec<Found<'a>>> {
    let mut found = Vec::new();
    for place in chains {
        let (ipv6, table, chain) = place;
        let request = listing(*place);
        let handles = loop {
            let words = || format!("nft -a list chain {} {table} {chain}", word(*ipv6));
            let listed = rbox_explain::step(&steps::RULES_LIST, words, || {
                socket.send(&request, 0)?;
                dump(socket, owner.as_bytes())
            })?;
            if let Some(handles) = listed {
                break handles;
            }
        };
        found.extend(handles.into_iter().map(|handle| Found { place: *place, handle }));
    }
    Ok(found)
}

/// The rules that are noted, where each is still there and still the owner's.
fn known<'a>(socket: &Socket, noted: &'a [Handle], owner: &str) -> io::Result<Option<Vec<Found<'a>>>> {
    let owner = memmem::Finder::new(owner);
    let mut found = Vec::new();
    for noted in noted {
        let rule = Found { place: noted.place(), handle: noted.number };
        if !rbox_explain::step(&steps::RULES_LOOK, || rule.command("look at"), || rule.is_of(socket, &owner))? {
            return Ok(None);
        }
        found.push(rule);
    }
    Ok(Some(found))
}

/// The request for the rules of a chain.
fn listing(place: Place<'_>) -> Vec<u8> {
    let mut request = Vec::new();
    message(&mut request, NFT_MSG_GETRULE, NLM_F_REQUEST | NLM_F_DUMP, (family(place.0), 0), &names(place));
    request
}

/// The handles of the rules with a comment. Nothing when the rules changed meanwhile and it must be repeated.
fn dump(socket: &Socket, owner: &[u8]) -> io::Result<Option<Vec<u64>>> {
    let mut handles = Vec::new();
    let owner = memmem::Finder::new(owner);
    let dumped = read_dump(socket, |kind, body| {
        if kind == NFT_MSG_NEWRULE && owner.find(body).is_some() {
            handles
                .extend(attribute(body.get(NFGENMSG_BYTES..).unwrap_or_default(), NFTA_RULE_HANDLE).and_then(number));
        }
        ControlFlow::Continue(())
    })?;
    Ok((dumped == Dumped::Whole).then_some(handles))
}

fn delete(socket: &Socket, found: &[Found<'_>]) -> io::Result<()> {
    let mut batch = Batch::default();
    for rule in found {
        delete_rule(&mut batch, rule);
    }
    batch.commit(socket)
}

fn delete_rule(batch: &mut Batch, rule: &Found<'_>) {
    batch.add(NFT_MSG_DELRULE, 0, family(rule.place.0), &rule.attributes());
}

/// The attributes that say where a rule is.
fn names((_, table, chain): Place<'_>) -> Vec<(u16, Vec<u8>)> {
    vec![(NFTA_RULE_TABLE, text(&table.to_string())), (NFTA_RULE_CHAIN, text(chain))]
}

impl Found<'_> {
    fn command(&self, verb: &str) -> String {
        let (ipv6, table, chain) = self.place;
        format!("nft {verb} rule {} {table} {chain} handle {}", word(ipv6), self.handle)
    }

    /// Whether there is such a rule, and it has this comment.
    fn is_of(&self, socket: &Socket, owner: &memmem::Finder<'_>) -> io::Result<bool> {
        let mut request = Vec::new();
        let attributes = self.attributes();
        message(&mut request, NFT_MSG_GETRULE, NLM_F_REQUEST, (family(self.place.0), 0), &attributes);
        socket.send(&request, 0)?;
        let mut datagram = Vec::with_capacity(DUMP_BYTES);
        socket.recv(&mut datagram, 0)?;
        for (kind, _, body) in messages(&datagram) {
            match kind {
                NFT_MSG_NEWRULE => return Ok(owner.find(body).is_some()),
                NLMSG_ERROR => match said(body) {
                    Err(error) if error.raw_os_error().is_some_and(is_race) => return Ok(false),
                    said => said?,
                },
                _ => {}
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }

    /// The attributes that say which rule it is.
    fn attributes(&self) -> Vec<(u16, Vec<u8>)> {
        let mut attributes = names(self.place);
        attributes.push((NFTA_RULE_HANDLE, self.handle.to_be_bytes().to_vec()));
        attributes
    }
}

pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_whole_and_stands_anywhere() {
        let body = b"\x02\x08RBOX-INNER\0\x05RBOX\0nRBOX-USERx\0\x01last";
        for (word, is_there) in [
            ("RBOX\0", true),
            ("RBOX-INNER\0", true),
            ("RBOX-USER\0", false),
            ("BOX\0", false),
            ("last", true),
            ("lasting", false),
        ] {
            assert_eq!(has(body, word.as_bytes()), is_there, "{word}");
        }
        assert!(!has(b"", b"x") && !has(b"x", b"x") && !has(b"ab", b""));
    }
}
