//! The nftables backend: a table of rbox's own in each family, changed over netlink, one transaction for each change.
//!
//! No program runs. Nobody else's tables are touched, and what flushes those of others leaves this one alone.
//!
//! ```text
//!   layout.rs     chains, and the rules in them                   ┐
//!   ports.rs      an endpoint's rules ─▶ entries of sets and maps ┼─▶ change.rs ─▶ one batch
//!   set.rs        sets and maps, their keys and entries           │
//!   statement.rs  what rules are made of                          ┘
//!   listing.rs    what of it the kernel has
//! ```

mod change;
mod layout;
mod listing;
mod ports;
mod set;
mod statement;

use std::borrow::Cow;
use std::collections::HashSet;
use std::io;
use std::net::IpAddr;

use nix::errno::Errno;

use super::batch::{Batch, is_absent};
use super::nfnetlink::RuleSocket;
use super::{Mirror, Rule, Seen, Wanted};
use crate::error::Result;
use crate::network::Network;
use crate::ports::{PortRange, Protocol};
use crate::steps;

pub(crate) use set::comment;

/// The name of the tables.
const TABLE: &str = "rbox";

fn family(ipv6: bool) -> &'static str {
    if ipv6 { "ip6" } else { "ip" }
}

/// Put in what is missing of a bridge network's chains. Says whether anything was.
///
/// Errors: `Os`, what the kernel refuses.
pub(super) fn ensure(socket: &RuleSocket, network: &Network, mirrors: Option<&[Mirror; 2]>) -> Result<bool> {
    let mut was_missing = false;
    for ipv6 in [false, true] {
        let Some(own) = layout::own(network, ipv6) else { continue };
        let doing = || "install the network's chains".to_owned();
        let (has_table, has_chain) = socket.ask(doing, |socket| {
            Ok((change::has_table(socket, ipv6)?, change::has_chain(socket, ipv6, &own.chains[0])?))
        })?;
        if has_table && has_chain {
            continue;
        }
        was_missing = true;
        let mut batch = change::Change::new(ipv6);
        if !has_table {
            batch.common(of_family(mirrors, ipv6));
        }
        batch.own(&own);
        commit(socket, &steps::NFT_BASE, batch, doing)?;
    }
    Ok(was_missing)
}

/// Take out a network's chains; with the last network the table goes too. What is gone already is no error.
pub(super) fn remove(socket: &RuleSocket, network: &Network) -> Result<()> {
    for ipv6 in [false, true] {
        let Some(own) = layout::own(network, ipv6) else { continue };
        let doing = || "remove the network's chains".to_owned();
        if !socket.ask(doing, |socket| change::has_table(socket, ipv6))? {
            continue;
        }
        let mut batch = change::Change::new(ipv6);
        batch.without(&own);
        commit(socket, &steps::NFT_REMOVE, batch, doing)?;
        if socket.ask(doing, |socket| listing::is_empty(socket, ipv6, set::Set::To))? {
            remove_table(socket, ipv6)?;
        }
    }
    Ok(())
}

/// Take everything out. Gone already is fine.
pub(super) fn remove_all(socket: &RuleSocket) -> Result<()> {
    [false, true].into_iter().try_for_each(|ipv6| remove_table(socket, ipv6))
}

fn remove_table(socket: &RuleSocket, ipv6: bool) -> Result<()> {
    let mut batch = change::Change::new(ipv6);
    batch.no_table();
    commit(socket, &steps::NFT_REMOVE, batch, || "remove the table".to_owned())
}

/// Put in the entries of published ports.
///
/// Errors: `Os`, also when the table is missing: somebody has deleted it.
pub(super) fn append(socket: &RuleSocket, rules: &[&Rule]) -> Result<()> {
    of_each_family(rules, |ipv6, rules| {
        let mut batch = change::Change::new(ipv6);
        batch.add(&ports::elements(rules));
        commit(socket, &steps::NFT_ADD, batch, || "add the entries of the published ports".to_owned())
    })
}

/// Take them out again, but for those that are entries of `left` too. Those that are gone already are no error; another's are
/// left alone.
pub(super) fn delete(socket: &RuleSocket, rules: &[&Rule], left: &[&Rule]) -> Result<()> {
    of_each_family(rules, |ipv6, rules| {
        let doing = || "delete the entries of the published ports".to_owned();
        let left: Vec<&Rule> = left.iter().filter(|rule| rule.ipv6 == ipv6).copied().collect();
        let left: HashSet<_> = ports::elements(&left).into_iter().map(|it| (it.set, it.key)).collect();
        let mut elements = ports::elements(rules);
        elements.retain(|it| !left.contains(&(it.set, it.key.clone())));
        for _ in 0..100 {
            // Some may be gone, and another's may stand there.
            let words = || listing::question(ipv6, &elements);
            let ask = || socket.ask(doing, |socket| listing::owners(socket, ipv6, &elements));
            let there = rbox_explain::step(&steps::RULES_LIST, words, ask)?;
            elements.retain(|it| there.get(&(it.set, it.key.clone())).is_some_and(|owner| **owner == *it.owner));
            let mut batch = change::Change::new(ipv6);
            batch.delete(&elements);
            match commit(socket, &steps::NFT_DELETE, batch, doing) {
                Err(crate::error::Error::Os { source, .. }) if is_absent(&source) => {}
                answer => return answer,
            }
        }
        Err(Errno::EBUSY.into()).map_err(|source: io::Error| crate::error::Error::Os { doing: doing(), source })
    })
}

/// Make the tables anew, with all that is wanted, each in one transaction: no packet ever sees the half of it.
pub(super) fn rebuild(
    socket: &RuleSocket,
    networks: &[Network],
    rules: &[&Rule],
    mirrors: Option<&[Mirror; 2]>,
) -> Result<()> {
    for ipv6 in [false, true] {
        let owns: Vec<layout::Own> = networks.iter().filter_map(|network| layout::own(network, ipv6)).collect();
        let own: Vec<&Rule> = rules.iter().filter(|rule| rule.ipv6 == ipv6).copied().collect();
        let mut batch = change::Change::new(ipv6);
        batch.no_table();
        if !owns.is_empty() {
            batch.common(of_family(mirrors, ipv6));
            owns.iter().for_each(|own| batch.own(own));
            batch.add(&ports::elements(&own));
        }
        commit(socket, &steps::NFT_REBUILD, batch, || "put the networks' chains back".to_owned())?;
    }
    Ok(())
}

/// Lead 127.0.0.11:53 of this thread's network namespace to a name server's ports there: udp, tcp. What an earlier one has left
/// is replaced.
pub(super) fn redirect((udp, tcp): (u16, u16)) -> Result<()> {
    let to = |protocol, port| {
        let (host, dns) = (IpAddr::from([127, 0, 0, 11]), PortRange::new(53, 53)?);
        Some(set::Element::ports((Some(host), protocol, dns), Some((host, Some(port))), &"name-server".into()))
    };
    let elements: Vec<set::Element> = [to(Protocol::Udp, udp), to(Protocol::Tcp, tcp)].into_iter().flatten().collect();
    let mut batch = change::Change::new(false);
    batch.no_table();
    batch.redirection(&elements);
    commit(&RuleSocket::default(), &steps::RULES_REDIRECT, batch, || "lead 127.0.0.11:53 to the name server".to_owned())
}

/// What a network needs of one family: first what all have in common.
pub(super) fn wanted(network: &Network, ipv6: bool, asks: bool) -> Vec<Wanted> {
    let Some(own) = layout::own(network, ipv6) else { return Vec::new() };
    let mut all: Vec<Wanted> = layout::common(ipv6, asks).iter().map(|rule| of_rule(rule, ipv6, false)).collect();
    all.extend(own.rules.iter().map(|rule| of_rule(rule, ipv6, true)));
    let why = "the network's entry: what is looked up there";
    all.extend(own.elements.iter().filter_map(|element| of_element(element, ipv6, why)));
    all
}

fn of_rule(rule: &statement::NftRule, ipv6: bool, is_own: bool) -> Wanted {
    Wanted {
        id: listing::rule_id(ipv6, &rule.chain, &rule.why),
        text: format!("nft add rule {}", rule.words(ipv6)),
        why: match rule.why {
            Cow::Borrowed(why) => why,
            Cow::Owned(_) => "what the host's own firewall says",
        },
        is_own,
    }
}

/// What the chain holds that says what the host's own firewall allows.
pub(super) fn wanted_host(mirror: &Mirror, ipv6: bool) -> Vec<Wanted> {
    layout::host(mirror).iter().map(|rule| of_rule(rule, ipv6, false)).collect()
}

/// Write that chain anew, where it says anything else. Says whether it did.
pub(super) fn mirror(socket: &RuleSocket, mirror: &Mirror, ipv6: bool) -> Result<bool> {
    let doing = || "write down what the host's own firewall allows".to_owned();
    if !socket.ask(doing, |socket| change::has_chain(socket, ipv6, layout::HOST))? {
        return Ok(false);
    }
    let mut there = show(socket, ipv6)?;
    let prefix = listing::rule_id(ipv6, layout::HOST, "");
    there.retain(|seen| seen.id.starts_with(&prefix));
    if there.iter().map(|seen| &seen.id).eq(wanted_host(mirror, ipv6).iter().map(|wanted| &wanted.id)) {
        return Ok(false);
    }
    let mut batch = change::Change::new(ipv6);
    batch.host(mirror);
    commit(socket, &steps::NFT_BASE, batch, doing)?;
    Ok(true)
}

fn of_family(mirrors: Option<&[Mirror; 2]>, ipv6: bool) -> Option<&Mirror> {
    mirrors.map(|mirrors| &mirrors[usize::from(ipv6)])
}

/// What an endpoint's rules are here, of one family.
pub(super) fn wanted_of(rules: &[&Rule], ipv6: bool) -> Vec<Wanted> {
    let why = "a published port: where it leads, or that it is open";
    ports::elements(rules).iter().filter_map(|element| of_element(element, ipv6, why)).collect()
}

fn of_element(element: &set::Element, ipv6: bool, why: &'static str) -> Option<Wanted> {
    let text = format!("nft add element {} {TABLE} {} {{ {} }}", family(ipv6), element.set, element.words()?);
    Some(Wanted { id: listing::element_id(ipv6, element.set, &element.key), text, why, is_own: true })
}

/// List what the kernel has in our table of one family.
pub(super) fn show(socket: &RuleSocket, ipv6: bool) -> Result<Vec<Seen>> {
    let words = || format!("nft list table {} {TABLE}", family(ipv6));
    let doing = || "list the table".to_owned();
    let list = || socket.ask(doing, |socket| listing::all(socket, ipv6));
    rbox_explain::step(&steps::RULES_LIST, words, list)
}

fn of_each_family(rules: &[&Rule], act: impl Fn(bool, &[&Rule]) -> Result<()>) -> Result<()> {
    for ipv6 in [false, true] {
        let of_family: Vec<&Rule> = rules.iter().filter(|rule| rule.ipv6 == ipv6).copied().collect();
        if !of_family.is_empty() {
            act(ipv6, &of_family)?;
        }
    }
    Ok(())
}

fn commit(
    socket: &RuleSocket,
    row: &'static rbox_explain::Row,
    change: change::Change,
    doing: impl Fn() -> String,
) -> Result<()> {
    let (words, batch): (String, Batch) = change.done();
    if batch.is_empty() {
        return Ok(());
    }
    let words = || format!("nft -f - <<EOF\n{words}EOF");
    rbox_explain::step(row, words, || socket.ask(&doing, |socket| batch.commit(socket)))
}
