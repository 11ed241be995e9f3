//! What stands in rbox's own table: chains that the kernel calls, which look up in sets and maps what a packet is about,
//! and two chains for each network.
//!
//! ```text
//!                 guard (raw)      a container speaks to the host's 127.0.0.0/8: no
//!   prerouting ─▶ dnat-in  ─┐
//!   output     ─▶ dnat-out ─┴─▶ publish: @ports-at @ports @ranges-at @ranges ──▶ to the container
//!   forward    ─▶ forward: @from[iif] ─▶ from-BRIDGE (internal networks)
//!                          @to[oif]   ─▶ to-BRIDGE: who may come in
//!   postrouting ─▶ postrouting: @subnets[saddr] ─▶ out-BRIDGE: whose sender is changed
//! ```
//!
//! It lets pass and drops what the rules of [`super::super::bridge`] and [`super::super::published`] do. One difference is
//! nftables' own: each table has its say, so what another one drops (a policy of ufw's, of iptables' FORWARD) is gone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::set::{Element, Set};
use super::statement::{NftRule, Statement};
use crate::address::Subnet;
use crate::firewall::rule::{Is, Rule, Verdict};
use crate::firewall::{Mirror, bridge};
use crate::network::{Network, Passage};

/// A chain that the kernel calls: name, type, hook, priority.
pub(super) struct Hooked {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    /// NF_INET_PRE_ROUTING and so on.
    pub(super) hook: u32,
    pub(super) priority: i32,
}

impl Hooked {
    pub(super) fn hook_name(&self) -> &'static str {
        ["prerouting", "input", "forward", "output", "postrouting"][self.hook as usize]
    }
}

const fn hooked(name: &'static str, kind: &'static str, hook: u32, priority: i32) -> Hooked {
    Hooked { name, kind, hook, priority }
}

/// linux/netfilter.h, enum nf_inet_hooks; linux/netfilter_ipv4.h, enum nf_ip_hook_priorities.
pub(super) const HOOKED: [Hooked; 5] = [
    hooked("guard", "filter", 0, -300),
    hooked("dnat-in", "nat", 0, -100),
    hooked("dnat-out", "nat", 3, -100),
    hooked("forward", "filter", 2, 0),
    hooked("postrouting", "nat", 4, 100),
];

/// In a container: before whatever it translates itself.
pub(super) const REDIRECTION: Hooked = hooked("dnat-out", "nat", 3, -101);

/// The one rule there.
pub(super) fn redirection() -> NftRule {
    rule(
        REDIRECTION.name,
        "port 53 of 127.0.0.11 is the name server, wherever it listens",
        [Statement::Dnat(Set::PortsAt)],
    )
}

/// Where published ports are looked up.
pub(super) const PUBLISH: &str = "publish";

/// What the host's own firewall allows: see [`super::super::respect`].
pub(super) const HOST: &str = "host";

/// That chain's rules. Each is told from all others by its number and its words, which are its comment.
pub(super) fn host(mirror: &Mirror) -> Vec<NftRule> {
    mirror.rules.iter().enumerate().map(|(at, rule)| as_nft(at, rule)).collect()
}

fn as_nft(at: usize, rule: &Rule) -> NftRule {
    let mut statements = Vec::new();
    statements.extend(rule.input.as_ref().map(|is| match is {
        Is::This(link) => Statement::In(link.clone()),
        Is::Not(link) => Statement::NotIn(link.clone()),
    }));
    for (is, is_receiver) in [(&rule.source, false), (&rule.destination, true)] {
        statements.extend(is.as_ref().map(|is| match (is, is_receiver) {
            (Is::This(subnet), false) => Statement::From(*subnet),
            (Is::This(subnet), true) => Statement::To(*subnet),
            (Is::Not(subnet), _) => Statement::Outside(is_receiver, *subnet),
        }));
    }
    statements.extend(rule.ports.map(Statement::Ports));
    statements.push(Statement::Counter);
    statements.push(if rule.verdict == Verdict::Return { Statement::Return } else { Statement::Jump(PUBLISH) });
    NftRule { chain: HOST.into(), why: format!("{} {}", at + 1, rule.body()).into(), statements }
}

/// What a network has of its own.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub(super) chains: Vec<String>,
    pub(super) rules: Vec<NftRule>,
    pub(super) elements: Vec<Element>,
}

fn rule(chain: &str, why: &'static str, statements: impl IntoIterator<Item = Statement>) -> NftRule {
    NftRule { chain: chain.to_owned(), why: why.into(), statements: statements.into_iter().collect() }
}

fn loopback(ipv6: bool) -> Subnet {
    match ipv6 {
        true => Subnet::around(Ipv6Addr::LOCALHOST, 128),
        false => Subnet::around(Ipv4Addr::LOCALHOST, 8),
    }
}

/// The rules that all networks have in common; `asks` the host's own firewall about who comes from outside, or does not.
pub(super) fn common(ipv6: bool, asks: bool) -> Vec<NftRule> {
    use Statement::*;
    let mut rules = Vec::new();
    if !ipv6 {
        // The kernel itself drops what comes from a wire with ::1.
        let why = "no container reaches what the host keeps to itself, its 127.0.0.0/8";
        rules.push(rule("guard", why, [InAny(Set::Bridges), To(loopback(false)), Counter, Drop]));
    }
    let why = "only what is for an address of this host can be for a published port";
    rules.push(rule("dnat-in", why, [Local(false), Return]));
    let why = "who is in a network without a way out uses no published port";
    rules.push(rule("dnat-in", why, [InAny(Set::Internal), Return]));
    let why = "nobody outside speaks to 127.0.0.0/8 or ::1, where ports are for this host alone";
    rules.push(rule("dnat-in", why, [To(loopback(ipv6)), Return]));
    if asks {
        rules.push(rule("dnat-in", "containers are served unasked", [InAny(Set::Bridges), Jump(PUBLISH)]));
        let why = "what comes to this host is looked up as far as the host's own firewall allows";
        rules.push(rule("dnat-in", why, [Jump(HOST)]));
    } else {
        rules.push(rule("dnat-in", "what comes to this host is looked up", [Jump(PUBLISH)]));
    }
    let why = "only what this host says to itself can be for a published port";
    rules.push(rule("dnat-out", why, [Local(false), Return]));
    if ipv6 {
        let why = "the kernel lets ::1 out to nobody: such connections are carried by the container's monitor";
        rules.push(rule("dnat-out", why, [To(loopback(true)), Return]));
    }
    rules.push(rule("dnat-out", "what this host says to itself is looked up", [Jump(PUBLISH)]));
    for (set, why) in [
        (Set::PortsAt, "a port of one address of this host leads to a container"),
        (Set::Ports, "a port of every address of this host leads to a container"),
        (Set::RangesAt, "a range of ports of one address leads to the same ports of a container"),
        (Set::Ranges, "a range of ports of every address leads to the same ports of a container"),
    ] {
        rules.push(rule(PUBLISH, why, [Dnat(set)]));
    }
    rules.push(rule("forward", "what comes from a network without a way out", [ByIn(Set::From)]));
    rules.push(rule("forward", "what goes to a network", [ByOut(Set::To)]));
    if !ipv6 {
        let why = "what the host says from 127.0.0.1 to a container comes back only by an address that can be answered";
        rules.push(rule("postrouting", why, [OutAny(Set::Bridges), From(loopback(false)), Counter, Masquerade]));
    }
    rules.push(rule("postrouting", "what a network's containers send out", [BySource(Set::Subnets)]));
    rules
}

/// The chain of what goes to a bridge.
fn to(bridge: &str) -> String {
    format!("to-{bridge}")
}

fn from(bridge: &str) -> String {
    format!("from-{bridge}")
}

fn out(bridge: &str) -> String {
    format!("out-{bridge}")
}

/// What a bridge network has of one family; nothing where it has no subnet of it.
pub(super) fn own(network: &Network, ipv6: bool) -> Option<Own> {
    let link = network.bridge.as_ref()?;
    let subnet = network.pools_of(ipv6).next()?.subnet;
    let (name, owner) = (link.name.as_str(), bridge::comment(network));
    let to = to(name);
    let mut own = Own { chains: vec![to.clone()], ..Own::default() };
    own.rules = among(name, link.icc, &to);
    own.elements.push(Element::way(Set::To, name, &to, &owner));
    if network.internal {
        own.rules.push(rule(&to, "nobody comes in", [Statement::Counter, Statement::Drop]));
        let from = from(name);
        let back = "what stays in the network is seen to where it goes to";
        own.rules.push(rule(&from, back, [Statement::Out(true, name.into()), Statement::Return]));
        own.rules.push(rule(&from, "nobody leaves", [Statement::Counter, Statement::Drop]));
        own.elements.push(Element::bridge(Set::Internal, name, &owner));
        own.elements.push(Element::way(Set::From, name, &from, &owner));
        own.chains.push(from);
        return Some(own);
    }
    let passage = link.passage[usize::from(ipv6)];
    own.rules.extend(into(&to, passage));
    own.elements.push(Element::bridge(Set::Bridges, name, &owner));
    let out = out(name);
    own.rules.extend(translation(name, &out, passage));
    own.elements.extend(Element::subnet(subnet, &out, &owner));
    own.chains.push(out);
    Some(own)
}

/// Containers of one network among themselves.
fn among(name: &str, icc: bool, to: &str) -> Vec<NftRule> {
    use Statement::*;
    let among = || In(name.into());
    match icc {
        true => vec![rule(to, "the containers of the network speak to each other", [among(), Counter, Accept])],
        false => vec![
            rule(to, "they reach each other's published ports", [among(), Translated(true), Counter, Accept]),
            rule(to, "the containers of the network do not speak to each other", [among(), Counter, Drop]),
        ],
    }
}

/// Who comes in from elsewhere.
fn into(to: &str, passage: Passage) -> Vec<NftRule> {
    use Statement::*;
    let mut rules = Vec::new();
    let why = "from another network nobody comes in but by a published port";
    rules.push(rule(to, why, [InAny(Set::Bridges), Translated(false), Counter, Drop]));
    let shut = "everybody else stays outside";
    match passage {
        Passage::Nat => {
            rules.push(rule(to, "answers come back", [Known, Counter, Accept]));
            rules.push(rule(to, "who comes by a published port", [Translated(true), Counter, Accept]));
            rules.push(rule(to, shut, [Counter, Drop]));
        }
        Passage::Unmasqueraded => {
            rules.push(rule(to, "who has a route to the network comes in", [Counter, Accept]));
        }
        Passage::Routed => {
            rules.push(rule(to, "answers come back", [Known, Counter, Accept]));
            let why = "a published port is open at the container's own address";
            rules.push(rule(to, why, [Open(Set::Open), Counter, Accept]));
            rules.push(rule(to, shut, [Counter, Drop]));
        }
    }
    rules
}

/// Whose sender becomes the host.
fn translation(name: &str, out: &str, passage: Passage) -> Vec<NftRule> {
    use Statement::*;
    let mut rules = Vec::new();
    if passage == Passage::Nat {
        let why = "what leaves the network has the host's address for its sender";
        rules.push(rule(out, why, [Out(false, name.into()), Counter, Masquerade]));
    }
    let why = "a container that uses a published port of its own network is answered through the host";
    rules.push(rule(out, why, [Out(true, name.into()), Translated(true), Counter, Masquerade]));
    rules
}

/// Whom a rule's `--to-destination` names: the address, and the first port where they do not stay as they are.
pub(super) fn target(text: &str) -> Option<(IpAddr, Option<u16>)> {
    let whole = |text: &str| text.trim_start_matches('[').trim_end_matches(']').parse().ok();
    if let Some(address) = whole(text) {
        return Some((address, None));
    }
    let (address, ports) = text.rsplit_once(':')?;
    let first = ports.split(['-', '/']).next()?;
    Some((whole(address)?, Some(first.parse().ok()?)))
}
