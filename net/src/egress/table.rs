//! The table in the container's namespace: `nft list table inet rbox-egress` there.

use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::rule::{Action, Match, OUT, REFUSED, Rule, Transport};
use super::set::{Found, Of, Set, element};
use super::{Entry, MARK, Policy, TABLE};
use crate::error::{Doing, Result};
use crate::firewall::batch::{
    Batch, NFT_MSG_DELSETELEM, NFT_MSG_GETSETELEM, NFT_MSG_GETTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE, NFT_MSG_NEWSET,
    NFT_MSG_NEWSETELEM, NFT_MSG_NEWTABLE, NLM_F_APPEND, NLM_F_CREATE, dump,
};
use crate::firewall::wire::{nested, open as open_socket, text};
use crate::firewall::{comment, leave_to_the_kernel};
use crate::netns::inside;
use crate::ports::{PortRange, Protocol};
use crate::steps;

/// A table for both families: linux/netfilter.h.
const NFPROTO_INET: u8 = 1;
const NF_INET_LOCAL_OUT: u32 = 3;
const NF_DROP: u32 = 0;
/// Where names are asked for: in the open, and by TLS (RFC 7858; with QUIC, RFC 9250).
const NAME_PORTS: [u16; 2] = [53, 853];

/// The rules of a policy, in their order.
fn rules(policy: &Policy) -> Vec<Rule> {
    let mut all = common();
    let add = |all: &mut Vec<Rule>, wanted: bool| {
        for (at, entry) in policy.allowed.iter().enumerate().filter(|(_, entry)| entry.ports.is_some() == wanted) {
            all.extend(of_entry(at, entry));
        }
    };
    add(&mut all, true);
    for port in NAME_PORTS.iter().filter_map(|port| PortRange::new(*port, *port)) {
        let why = "another name server would be a way round the names: only an entry with its port allows one";
        for protocol in [Transport::Tcp, Transport::Udp] {
            all.push(rule(why, [Match::Protocol(protocol), Match::Port(port)], Action::Refuse));
        }
    }
    add(&mut all, false);
    all.push(rule("nothing allows it", [], Action::Refuse));
    all.extend(refused());
    all
}

fn rule(why: &str, matches: impl IntoIterator<Item = Match>, action: Action) -> Rule {
    Rule { chain: OUT, why: why.to_owned(), matches: matches.into_iter().collect(), action }
}

/// What is so in every container.
fn common() -> Vec<Rule> {
    use Match::{Established, Icmpv6, Marked, Options, Protocol, Related, RoutingHeader, ToItself};
    let accept = |why: &str, matches: Vec<Match>| rule(why, matches, Action::Accept);
    let related = "what tells of an error in such a connection";
    let by_hand = "by these a router may send it on to somebody else";
    let mld = "the kernel says which groups it listens to, or a switch would keep neighbours' questions from it";
    vec![
        accept("a container reaches itself, and its name server", vec![ToItself]),
        rule(by_hand, [Options], Action::Refuse),
        rule(by_hand, [RoutingHeader], Action::Refuse),
        accept("connections that were allowed, and answers to those who asked", vec![Established]),
        accept(related, vec![Protocol(Transport::Icmp), Related]),
        accept(related, vec![Protocol(Transport::Icmpv6), Related]),
        accept("the kernel asks its neighbours for their hardware addresses", vec![Icmpv6(133..=136, 255)]),
        accept(mld, vec![Icmpv6(131..=132, 1)]),
        accept(mld, vec![Icmpv6(143..=143, 1)]),
        accept("the questions of the container's own name server", vec![Marked(MARK)]),
    ]
}

/// What an entry allows.
fn of_entry(at: usize, entry: &Entry) -> Vec<Rule> {
    let receivers = match &entry.target {
        super::entry::Target::Subnet(subnet) => vec![Match::To(*subnet)],
        _ => Set::both(Of::Name(at)).map(Match::In).to_vec(),
    };
    let transport = |protocol| if protocol == Protocol::Udp { Transport::Udp } else { Transport::Tcp };
    let protocols: Vec<Transport> = entry.protocols().into_iter().map(transport).collect();
    let port = || entry.ports.map(Match::Port);
    let of_receiver = |receiver: Match| -> Vec<Rule> {
        let why = format!("allowed: {entry}");
        let of = |more: Vec<Match>| rule(&why, std::iter::once(receiver.clone()).chain(more), Action::Accept);
        match protocols.is_empty() {
            true => vec![of(Vec::new())],
            false => {
                protocols.iter().map(|it| of(std::iter::once(Match::Protocol(*it)).chain(port()).collect())).collect()
            }
        }
    };
    receivers.into_iter().flat_map(of_receiver).collect()
}

/// Who was asked for in vain is remembered, and the program is told.
fn refused() -> Vec<Rule> {
    let in_refused = |rule: Rule| Rule { chain: REFUSED, ..rule };
    let mut all = Vec::new();
    for (protocol, of) in [(Some(Transport::Tcp), Of::Ports), (Some(Transport::Udp), Of::Ports), (None, Of::Others)] {
        for set in Set::both(of) {
            let matches = match protocol {
                Some(protocol) => vec![Match::Protocol(protocol)],
                None => vec![Match::NotProtocol(Transport::Tcp), Match::NotProtocol(Transport::Udp)],
            };
            all.push(in_refused(rule("who was asked for is remembered", matches, Action::Record(set))));
        }
    }
    let why = "the program hears of it at once";
    all.push(in_refused(rule(why, [Match::Protocol(Transport::Tcp)], Action::Reset)));
    all.push(in_refused(rule(why, [], Action::Reject)));
    all
}

/// A change in the making: nft's words, and the kernel's messages.
#[derive(Default)]
struct Change {
    words: String,
    batch: Batch,
    sets: u32,
}

impl Change {
    fn say(&mut self, words: std::fmt::Arguments<'_>) {
        if rbox_explain::listening() {
            let _ = writeln!(self.words, "{words}");
        }
    }

    fn set(&mut self, set: Set) {
        self.sets += 1;
        self.say(format_args!("add set inet {TABLE} {set} {{ {} }}", set.words()));
        self.batch.add(NFT_MSG_NEWSET, NLM_F_CREATE, NFPROTO_INET, &set.attributes(self.sets));
    }

    fn rule(&mut self, rule: &Rule) {
        self.say(format_args!("add rule inet {TABLE} {rule}"));
        let attributes = [(1, text(TABLE)), (2, text(rule.chain)), (4, rule.encode()), (7, comment(&rule.why))];
        self.batch.add(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, NFPROTO_INET, &attributes);
    }

    /// Addresses for a while, whether they were there before or not. Before Linux 6.12 one that is there keeps its time, and
    /// one that is not cannot be deleted: hence all three.
    fn addresses(&mut self, set: Set, addresses: &[IpAddr], lifetime: Duration) {
        let messages = [
            ("add", NFT_MSG_NEWSETELEM, NLM_F_CREATE, Some(lifetime)),
            ("delete", NFT_MSG_DELSETELEM, 0, None),
            ("add", NFT_MSG_NEWSETELEM, NLM_F_CREATE, Some(lifetime)),
        ];
        for (verb, kind, flags, lifetime) in messages {
            let time = lifetime.map(|time| format!(" timeout {}s", time.as_secs())).unwrap_or_default();
            let words: Vec<String> = addresses.iter().map(|address| format!("{address}{time}")).collect();
            self.say(format_args!("{verb} element inet {TABLE} {set} {{ {} }}", words.join(", ")));
            let list: Vec<(u16, Vec<u8>)> = addresses.iter().map(|address| element(*address, lifetime)).collect();
            let attributes = [(1, text(TABLE)), (2, text(&set.name())), (3, nested(&list))];
            self.batch.add(kind, flags, NFPROTO_INET, &attributes);
        }
    }

    fn commit(self, netns: BorrowedFd<'_>, row: &'static rbox_explain::Row) -> io::Result<()> {
        let words = || format!("nft -f - <<EOF\n{}EOF", self.words);
        rbox_explain::step(row, words, || {
            inside(netns, || {
                let socket = open_socket()?;
                let made = self.batch.commit(&socket);
                // Its close would wait until what was deleted is really gone.
                let _ = leave_to_the_kernel(socket);
                made
            })
        })
    }
}

/// Put the table in.
pub(super) fn install(netns: BorrowedFd<'_>, policy: &Policy) -> Result<()> {
    let mut change = Change::default();
    change.say(format_args!("add table inet {TABLE}"));
    change.batch.add(NFT_MSG_NEWTABLE, NLM_F_CREATE, NFPROTO_INET, &[(1, text(TABLE))]);
    for (at, entry) in policy.allowed.iter().enumerate() {
        if !matches!(entry.target, super::entry::Target::Subnet(_)) {
            Set::both(Of::Name(at)).into_iter().for_each(|set| change.set(set));
        }
    }
    [Of::Ports, Of::Others].into_iter().flat_map(Set::both).for_each(|set| change.set(set));
    change.say(format_args!("add chain inet {TABLE} {REFUSED}"));
    let refused = [(1, text(TABLE)), (3, text(REFUSED))];
    change.batch.add(NFT_MSG_NEWCHAIN, NLM_F_CREATE, NFPROTO_INET, &refused);
    change.say(format_args!("add chain inet {TABLE} {OUT} {{ type filter hook output priority 0; policy drop; }}"));
    let hook = nested(&[(1, NF_INET_LOCAL_OUT.to_be_bytes().to_vec()), (2, vec![0; 4])]);
    let policy_drop = NF_DROP.to_be_bytes().to_vec();
    let out = [(1, text(TABLE)), (3, text(OUT)), (4, hook), (5, policy_drop), (7, text("filter"))];
    change.batch.add(NFT_MSG_NEWCHAIN, NLM_F_CREATE, NFPROTO_INET, &out);
    rules(policy).iter().for_each(|rule| change.rule(rule));
    change.commit(netns, &steps::EGRESS).doing(|| "put in the rules of --egress".into())
}

/// Let addresses, each named once, be reached for a while, as what these entries mean by `name`.
pub(super) fn open(
    netns: BorrowedFd<'_>,
    name: &str,
    (entries, addresses): (&[usize], &[IpAddr]),
    lifetime: Duration,
) -> Result<()> {
    let mut change = Change::default();
    for set in entries.iter().flat_map(|entry| Set::both(Of::Name(*entry))) {
        let of_family: Vec<IpAddr> = addresses.iter().filter(|it| it.is_ipv6() == set.ipv6).copied().collect();
        if !of_family.is_empty() {
            change.addresses(set, &of_family, lifetime);
        }
    }
    change.commit(netns, &steps::EGRESS_NAME).doing(|| format!("let the addresses of {name} be reached"))
}

/// Whether there is such a table.
pub(super) fn is_there(netns: BorrowedFd<'_>) -> Result<bool> {
    let ask = || {
        let mut is_there = false;
        let kinds = (NFT_MSG_GETTABLE, NFT_MSG_NEWTABLE);
        dump(&open_socket()?, NFPROTO_INET, kinds, &[], &mut |body| {
            is_there |= crate::firewall::wire::attribute(body, 1) == Some(&text(TABLE)[..]);
        })?;
        Ok(is_there)
    };
    inside(netns, ask).doing(|| "look for the rules of --egress".into())
}

/// List what is in these sets.
pub(super) fn list(netns: BorrowedFd<'_>, sets: &[Set]) -> Result<Vec<(Set, Found)>> {
    let ask = || {
        let socket = open_socket()?;
        let mut all = Vec::new();
        for set in sets {
            let of_set = [(1, text(TABLE)), (2, text(&set.name()))];
            dump(&socket, NFPROTO_INET, (NFT_MSG_GETSETELEM, NFT_MSG_NEWSETELEM), &of_set, &mut |body| {
                all.extend(set.read(body).into_iter().map(|found| (*set, found)));
            })?;
        }
        Ok(all)
    };
    inside(netns, ask).doing(|| "list what --egress has let pass and refused".into())
}
