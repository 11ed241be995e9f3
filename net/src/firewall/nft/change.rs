//! One change of a table: the messages of a batch, and nft's words for them.

use std::fmt::Write as _;
use std::io;

use rtnetlink::sys::Socket;

use super::TABLE;
use super::layout::{HOOKED, HOST, Hooked, Own, PUBLISH, REDIRECTION, common, host, redirection};
use super::set::{Element, Set, comment};
use super::statement::NftRule;
use crate::firewall::Mirror;
use crate::firewall::batch::{
    Batch, NFT_MSG_DELCHAIN, NFT_MSG_DELRULE, NFT_MSG_DELSETELEM, NFT_MSG_DELTABLE, NFT_MSG_GETCHAIN, NFT_MSG_GETTABLE,
    NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE, NFT_MSG_NEWSET, NFT_MSG_NEWSETELEM, NFT_MSG_NEWTABLE, NLM_F_APPEND,
    NLM_F_CREATE, is_absent,
};
use crate::firewall::wire::{NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR, answer, family, message, messages, nested, text};

/// So many entries go into one message: its length, and that of its attributes, is a number of 16 bits.
const ELEMENTS_MAX: usize = 300;

/// A change in the making.
pub(super) struct Change {
    ipv6: bool,
    batch: Batch,
    words: String,
}

impl Change {
    pub(super) fn new(ipv6: bool) -> Change {
        Change { ipv6, batch: Batch::default(), words: String::new() }
    }

    /// nft's words, a line each, and the messages.
    pub(super) fn done(self) -> (String, Batch) {
        (self.words, self.batch)
    }

    fn say(&mut self, verb: &str, what: &str, more: &str) {
        if !rbox_explain::listening() {
            return;
        }
        let family = super::family(self.ipv6);
        let more = if more.is_empty() { String::new() } else { format!(" {more}") };
        let _ = writeln!(self.words, "{verb} {what} {family} {TABLE}{more}");
    }

    fn put(&mut self, kind: u16, flags: u16, attributes: &[(u16, Vec<u8>)]) {
        self.batch.add(kind, flags, family(self.ipv6), attributes);
    }

    /// Take the table out, with all that is in it.
    pub(super) fn no_table(&mut self) {
        // One that is not there cannot be deleted.
        self.table();
        self.say("delete", "table", "");
        self.put(NFT_MSG_DELTABLE, 0, &[(1, text(TABLE))]);
    }

    fn table(&mut self) {
        self.say("add", "table", "");
        self.put(NFT_MSG_NEWTABLE, NLM_F_CREATE, &[(1, text(TABLE))]);
    }

    /// The table, its sets, the chains that the kernel calls, and what all networks have in common.
    pub(super) fn common(&mut self, mirror: Option<&Mirror>) {
        self.table();
        Set::ALL.into_iter().for_each(|set| self.set(set));
        for hooked in HOOKED {
            self.hooked(&hooked);
        }
        self.chain(PUBLISH);
        if let Some(mirror) = mirror {
            self.host(mirror);
        }
        common(self.ipv6, mirror.is_some()).iter().for_each(|rule| self.rule(rule));
    }

    /// What the host's own firewall allows, in place of what it allowed before.
    pub(super) fn host(&mut self, mirror: &Mirror) {
        self.chain(HOST);
        self.flush(HOST);
        host(mirror).iter().for_each(|rule| self.rule(rule));
    }

    /// A table with nothing but a map of ports that a namespace says to itself, before whatever else it translates.
    pub(super) fn redirection(&mut self, elements: &[Element]) {
        self.table();
        self.set(Set::PortsAt);
        self.hooked(&REDIRECTION);
        self.rule(&redirection());
        self.add(elements);
    }

    fn set(&mut self, set: Set) {
        self.say("add", set.kind(), &format!("{set} {{ {} }}", set.words(self.ipv6)));
        self.put(NFT_MSG_NEWSET, NLM_F_CREATE, &set.attributes(self.ipv6, TABLE));
    }

    fn hooked(&mut self, chain: &Hooked) {
        let Hooked { name, kind, hook, priority } = chain;
        self.say("add", "chain", &format!("{name} {{ type {kind} hook {} priority {priority}; }}", chain.hook_name()));
        let hook = nested(&[(1, hook.to_be_bytes().to_vec()), (2, priority.to_be_bytes().to_vec())]);
        let attributes = [(1, text(TABLE)), (3, text(name)), (4, hook), (7, text(kind))];
        self.put(NFT_MSG_NEWCHAIN, NLM_F_CREATE, &attributes);
    }

    fn chain(&mut self, name: &str) {
        self.say("add", "chain", name);
        self.put(NFT_MSG_NEWCHAIN, NLM_F_CREATE, &[(1, text(TABLE)), (3, text(name))]);
    }

    fn rule(&mut self, rule: &NftRule) {
        if rbox_explain::listening() {
            let _ = writeln!(self.words, "add rule {} comment \"{}\"", rule.words(self.ipv6), rule.why);
        }
        let attributes =
            [(1, text(TABLE)), (2, text(&rule.chain)), (4, rule.encode(self.ipv6)), (7, comment(&rule.why))];
        self.put(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, &attributes);
    }

    /// What a network has of its own, in place of whatever of it is there.
    pub(super) fn own(&mut self, own: &Own) {
        for chain in &own.chains {
            self.chain(chain);
            self.flush(chain);
        }
        own.rules.iter().for_each(|rule| self.rule(rule));
        self.add(&own.elements);
    }

    fn flush(&mut self, chain: &str) {
        self.say("flush", "chain", chain);
        self.put(NFT_MSG_DELRULE, 0, &[(1, text(TABLE)), (2, text(chain))]);
    }

    /// Take out what a network has of its own.
    pub(super) fn without(&mut self, own: &Own) {
        // What is not there cannot be deleted.
        own.chains.iter().for_each(|chain| self.chain(chain));
        self.add(&own.elements);
        self.delete(&own.elements);
        own.chains.iter().for_each(|chain| self.flush(chain));
        for chain in &own.chains {
            self.say("delete", "chain", chain);
            self.put(NFT_MSG_DELCHAIN, 0, &[(1, text(TABLE)), (3, text(chain))]);
        }
    }

    /// Put entries into sets.
    pub(super) fn add(&mut self, elements: &[Element]) {
        self.elements("add", (NFT_MSG_NEWSETELEM, NLM_F_CREATE), elements);
    }

    /// Take them out.
    pub(super) fn delete(&mut self, elements: &[Element]) {
        self.elements("delete", (NFT_MSG_DELSETELEM, 0), elements);
    }

    fn elements(&mut self, verb: &str, (kind, flags): (u16, u16), elements: &[Element]) {
        for set in Set::ALL {
            let of_set: Vec<&Element> = elements.iter().filter(|element| element.set == set).collect();
            for some in of_set.chunks(ELEMENTS_MAX) {
                if rbox_explain::listening() {
                    let words: Vec<String> = some.iter().filter_map(|element| element.words()).collect();
                    self.say(verb, "element", &format!("{set} {{ {} }}", words.join(", ")));
                }
                let list: Vec<(u16, Vec<u8>)> = some.iter().map(|element| element.encode()).collect();
                self.put(kind, flags, &[(1, text(TABLE)), (2, text(set.name())), (3, nested(&list))]);
            }
        }
    }
}

/// Whether the table is there.
pub(super) fn has_table(socket: &Socket, ipv6: bool) -> io::Result<bool> {
    is_there(socket, ipv6, NFT_MSG_GETTABLE, &[(1, text(TABLE))])
}

/// Whether a chain of it is.
pub(super) fn has_chain(socket: &Socket, ipv6: bool, name: &str) -> io::Result<bool> {
    is_there(socket, ipv6, NFT_MSG_GETCHAIN, &[(1, text(TABLE)), (3, text(name))])
}

fn is_there(socket: &Socket, ipv6: bool, kind: u16, attributes: &[(u16, Vec<u8>)]) -> io::Result<bool> {
    let mut request = Vec::new();
    message(&mut request, kind, NLM_F_REQUEST | NLM_F_ACK, (family(ipv6), 0), attributes);
    socket.send(&request, 0)?;
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        for (kind, _, body) in messages(&datagram) {
            if kind == NLMSG_ERROR {
                return match answer(body) {
                    Err(error) if is_absent(&error) => Ok(false),
                    answer => answer.map(|()| true),
                };
            }
        }
    }
}
