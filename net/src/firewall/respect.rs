//! `firewall.respect`: a published port is open to others only as far as the host's own firewall would open it to them.
//!
//! ufw and firewalld decide in INPUT, about the port that was asked for. What is for a container never comes there: it is
//! translated before. So their decision is written once more where the port is still the host's, as chain `RBOX-HOST` of nat:
//!
//! ```text
//!   prerouting ─▶ RBOX-HOST: what the host's firewall allows ──▶ RBOX: is it published? ──▶ to the container
//!                     └ all else is not translated, and goes on to INPUT: the firewall denies it itself, and logs it
//! ```
//!
//! Containers and this host itself are not asked, as they are not with programs of the host's. What is not understood of the
//! firewall stays closed; so does everything while it does not run. Whoever looks after the rules ([`crate::watch`]) writes the
//! chain anew when the firewall has changed.

use std::fmt;
use std::fs;
use std::io;

use serde::Deserialize;

use super::bridge::questions;
use super::rule::{Ports, Rule, Table, Verdict};
use super::{Backend, Firewall, Wanted, line, nft};
use crate::error::{Doing, Result};
use crate::foreign::{self, Line, Packets, Stage, flatten};
use crate::ports::{PortRange, Protocol};

/// The chain.
pub(super) const HOST: &str = "RBOX-HOST";
const PUBLISHED: &str = "RBOX";

/// A firewall of the host's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum HostFirewall {
    /// ufw(8)
    Ufw,
    /// firewalld(1)
    Firewalld,
}

impl HostFirewall {
    const ALL: [HostFirewall; 2] = [HostFirewall::Ufw, HostFirewall::Firewalld];

    /// Its name, as it is written in the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            HostFirewall::Ufw => "ufw",
            HostFirewall::Firewalld => "firewalld",
        }
    }

    /// Read such a name; nothing for any other.
    pub(crate) fn of_word(word: &str) -> Option<HostFirewall> {
        HostFirewall::ALL.into_iter().find(|one| one.word() == word)
    }
}

impl fmt::Display for HostFirewall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl TryFrom<String> for HostFirewall {
    type Error = String;

    fn try_from(word: String) -> std::result::Result<HostFirewall, String> {
        HostFirewall::of_word(&word).ok_or_else(|| format!("no firewall {word}: ufw or firewalld"))
    }
}

/// What a firewall allows, in rbox's words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Mirror {
    /// Whether the firewall runs.
    pub(crate) runs: bool,
    /// The rules of the chain, in their order.
    pub(crate) rules: Vec<Rule>,
    /// Rules of the firewall that are not understood: what they may allow stays closed.
    pub(crate) closed: Vec<String>,
}

/// Look at what the host's firewall says now.
pub(crate) fn mirror(of: HostFirewall, ipv6: bool) -> Mirror {
    let bases = foreign::read_input(ipv6, of == HostFirewall::Firewalld);
    let Some(base) = bases.iter().find(|base| foreign::manager(base) == Some(of.word())) else {
        return Mirror::default();
    };
    let links = ["lo".to_owned()];
    let stage = Stage { is_local: true, not_by: &links, is_translated: false };
    let lines = flatten(base, &Packets::default(), stage, &|_| false);
    let mut mirror = Mirror { runs: true, ..Mirror::default() };
    for line in &lines {
        let words = words(line);
        if !line.is_exact || words.is_empty() {
            mirror.closed.push(line.text.clone());
        }
        if line.is_exact || !line.passes {
            mirror.rules.extend(words.into_iter().map(|rule| Rule { ipv6, ..rule }));
        }
    }
    // What the last of them say is so anyway.
    let is_open = |rule: &Rule| rule.verdict != Verdict::Return;
    let count = mirror.rules.iter().rposition(is_open).map_or(0, |last| last + 1);
    mirror.rules.truncate(count);
    mirror
}

/// A line of the firewall as rules of the chain; none where it asks for what cannot be asked there.
fn words(line: &Line) -> Vec<Rule> {
    let Packets { input, output, source, destination, protocol, ports, original_destination, original_ports } =
        line.packets.clone();
    let verdict = if line.passes { Verdict::Jump(PUBLISHED.into()) } else { Verdict::Return };
    let whole = Rule { source, destination, input, ..Rule::new(Table::Nat, HOST, verdict) };
    if output.is_some() || original_destination.is_some() || original_ports.is_some() {
        // What is forbidden only to some is then forbidden to all of the others that the line is about.
        return if line.passes { Vec::new() } else { vec![whole] };
    }
    let every = PortRange::new(1, u16::MAX);
    let (protocols, range) = match (protocol, ports) {
        (None, None) => return vec![whole],
        (None, ports) => (vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp], ports),
        (Some(protocol), ports) => (vec![protocol], ports.or(every)),
    };
    let of = |protocol| Some(Rule { ports: Some(Ports { protocol, range: range? }), ..whole.clone() });
    protocols.into_iter().filter_map(of).collect()
}

impl Firewall {
    /// Whose decision counts for published ports; nobody's where nothing is said, or where others put the rules in. All
    /// processes of the state directory mean the same, whatever they have read of the configuration.
    pub(crate) fn respected(&self) -> Option<HostFirewall> {
        if self.backend() == Backend::None {
            return None;
        }
        HostFirewall::of_word(self.respect_words().split(' ').next()?)
    }

    /// Whether it is this one, and the rules say so.
    pub(crate) fn has_settled_on(&self, wanted: Option<HostFirewall>) -> bool {
        self.respect_words() == wanted.map_or("", HostFirewall::word)
    }

    fn respect_words(&self) -> String {
        fs::read_to_string(&self.respect).unwrap_or_default()
    }

    /// Remember whose it is, and whether the rules say so by now: what is killed in between is done again.
    ///
    /// Errors: `Os`, the state directory cannot be written.
    pub(crate) fn set_respected(&self, wanted: Option<HostFirewall>, is_settled: bool) -> Result<()> {
        let write = || -> io::Result<()> {
            let beside = self.respect.with_extension("new");
            let more = if is_settled { "" } else { " unsettled" };
            fs::write(&beside, format!("{}{more}", wanted.map_or("", HostFirewall::word)))?;
            fs::rename(&beside, &self.respect)
        };
        write().doing(|| format!("write {}", self.respect.display()))
    }

    /// What the host's firewall says now, by family; nothing where it is not asked.
    pub(crate) fn mirrors(&self) -> Option<[Mirror; 2]> {
        let of = self.respected()?;
        Some([mirror(of, false), mirror(of, true)])
    }

    /// Write down what the host's firewall says now, where the rules say anything else. Says whether they did.
    ///
    /// Errors: `Firewall`, `Os`: what the packet filter refuses.
    pub(crate) fn refresh(&self) -> Result<bool> {
        let Some(mirrors) = self.mirrors() else { return Ok(false) };
        let mut was_other = false;
        for (mirror, ipv6) in mirrors.iter().zip([false, true]) {
            was_other |= match self.backend() {
                Backend::Nftables => nft::mirror(&self.socket, mirror, ipv6)?,
                Backend::Iptables(_) => self.refresh_chain(mirror, ipv6)?,
                Backend::None => false,
            };
        }
        Ok(was_other)
    }

    /// Where nothing of rbox's is there, nothing is to be said.
    fn refresh_chain(&self, mirror: &Mirror, ipv6: bool) -> Result<bool> {
        match self.of(ipv6) {
            Ok(iptables) if iptables.has_chain((Table::Nat, PUBLISHED))? => {
                iptables.rewrite((Table::Nat, HOST), &mirror.rules)
            }
            // Without its program nothing of ours can be there.
            Err(error) if !ipv6 => Err(error),
            _ => Ok(false),
        }
    }

    /// What is to be there of it, of one family.
    pub(crate) fn wanted_host(&self, mirror: &Mirror, ipv6: bool) -> Vec<Wanted> {
        match self.backend() {
            Backend::Nftables => nft::wanted_host(mirror, ipv6),
            Backend::Iptables(_) | Backend::None => {
                mirror.rules.iter().map(|rule| Wanted { is_own: false, ..line(rule, self.variant()) }).collect()
            }
        }
    }

    /// Take out of iptables what leads past the host's firewall, or where it is asked no more, what leads to it.
    ///
    /// Errors: `Firewall`.
    pub(crate) fn turn_question(&self) -> Result<()> {
        for ipv6 in [false, true] {
            let Ok(iptables) = self.of(ipv6) else { continue };
            let (plain, asking) = questions(ipv6);
            match self.respected() {
                Some(_) => iptables.delete(&[&plain])?,
                None => {
                    iptables.delete(&[&asking])?;
                    iptables.remove_chain((Table::Nat, HOST))?;
                }
            }
        }
        Ok(())
    }
}
