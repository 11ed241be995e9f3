//! The host's packet filter: rules as values, and the backend that puts them in.
//!
//! ```text
//!   bridge.rs    what a network needs once (chains, jumps, masquerade)  ┐
//!   published.rs what one endpoint's ports need                         ┴─▶ Vec<Rule> ─▶ iptables.rs (one restore)
//!   nfnetlink.rs taking rules out again, in one transaction of the kernel's own
//!   flows.rs     what goes on by rules that are no more, or as if there were none yet: forgotten
//! ```
//!
//! A [`Rule`]'s `Display` is its line in `iptables-save`, so what rbox says, what it sends, and what the kernel
//! lists are one text. The layout is Docker 20.10's, with additions; each is explained where it is made.

mod bridge;
pub(crate) mod flows;
mod iptables;
mod nfnetlink;
mod published;
mod rule;
mod why;
pub(crate) mod wire;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use iptables::Iptables;
use nfnetlink::{Place, RuleSocket};

use crate::error::{Doing, Result};
use crate::network::Network;

pub(crate) use bridge::{comment, common, shared};
pub(crate) use flows::Meant;
pub(crate) use iptables::{Seen, finish, program};
pub(crate) use published::published;
pub use rule::{Rule, Table};
pub(crate) use why::why;

/// The packet filter of both families.
pub(crate) struct Firewall {
    /// Locked by every `iptables-restore` that runs, also by one whose caller was killed.
    running: PathBuf,
    backends: [OnceLock<Iptables>; 2],
    socket: RuleSocket,
}

impl Firewall {
    /// Nothing is looked for before it is needed. `running` is a file for a lock.
    pub(crate) fn new(running: PathBuf) -> Firewall {
        Firewall { running, backends: Default::default(), socket: RuleSocket::default() }
    }

    fn of(&self, ipv6: bool) -> Result<&Iptables> {
        let slot = &self.backends[usize::from(ipv6)];
        if let Some(found) = slot.get() {
            return Ok(found);
        }
        let found = Iptables::find(ipv6, self.running.clone())?;
        Ok(slot.get_or_init(|| found))
    }

    /// Put in what is missing of a bridge network's shared rules. Says whether anything was.
    ///
    /// Errors: `Firewall`, when iptables refuses or is not here.
    pub(crate) fn ensure(&self, network: &Network) -> Result<bool> {
        self.settle()?;
        let mut were_missing = false;
        for shared in [shared(network, false), shared(network, true)].into_iter().flatten() {
            were_missing |= match self.heads(network, shared.ipv6)? {
                Some(heads) => self.of(shared.ipv6)?.add_own(&shared, heads).map(|()| true)?,
                None => self.of(shared.ipv6)?.ensure(&shared)?,
            };
        }
        Ok(were_missing)
    }

    /// Of a user-defined network that has no rules yet, beside others that have: how many rules stand at the head of each
    /// chain before a network's. To list hundreds of networks' rules takes longer than to add those of one.
    fn heads(&self, network: &Network, ipv6: bool) -> Result<Option<HashMap<(Table, &'static str), usize>>> {
        let mut heads = HashMap::new();
        if network.is_predefined() || network.internal || !self.of(ipv6)?.is_nft {
            return Ok(None);
        }
        for ((table, chain), words) in bridge::marks(ipv6) {
            let seen = self.socket.sight((ipv6, table, chain), &words, &bridge::comment(network))?;
            match seen.filter(|seen| !seen.has_not).map(|seen| seen.at.into_iter().collect::<Option<Vec<usize>>>()) {
                // Behind the last of them.
                Some(Some(at)) if table == Table::Filter => {
                    heads.insert((table, chain), at.into_iter().max().map_or(0, |at| at + 1));
                }
                Some(Some(_)) => {}
                _ => return Ok(None),
            }
        }
        Ok(Some(heads))
    }

    /// Add rules at the ends of their chains.
    ///
    /// Errors: `Firewall`, also when a chain is missing: somebody emptied the tables.
    pub(crate) fn append(&self, rules: &[Rule]) -> Result<()> {
        for ipv6 in [false, true] {
            let these: Vec<&Rule> = rules.iter().filter(|rule| rule.ipv6 == ipv6).collect();
            if !these.is_empty() {
                self.of(ipv6)?.append(&these)?;
            }
        }
        Ok(())
    }

    /// Take out every rule with the comment `owner`; `rules` tells which chains to look in.
    ///
    /// A rule or chain that is gone already is no error.
    pub(crate) fn delete<'a>(&self, rules: impl Iterator<Item = &'a Rule> + Clone, owner: &str) -> Result<()> {
        let mut places: Vec<Place<'_>> = Vec::new();
        for ipv6 in [false, true] {
            let these: Vec<&Rule> = rules.clone().filter(|rule| rule.ipv6 == ipv6).collect();
            if these.is_empty() {
                continue;
            }
            let backend = self.of(ipv6)?;
            match backend.is_nft {
                true => places.extend(these.iter().map(|rule| (ipv6, rule.table, rule.chain.as_str()))),
                false => backend.delete(&these)?,
            }
        }
        places.sort_unstable();
        places.dedup();
        if places.is_empty() { Ok(()) } else { self.socket.delete(&places, owner) }
    }

    /// Take out these rules alone, in one transaction of each table, and leave their owner's others.
    ///
    /// A rule or chain that is gone already is no error.
    pub(crate) fn take_out(&self, rules: &[Rule]) -> Result<()> {
        for ipv6 in [false, true] {
            let these: Vec<&Rule> = rules.iter().filter(|rule| rule.ipv6 == ipv6).collect();
            if !these.is_empty() {
                self.of(ipv6)?.delete(&these)?;
            }
        }
        Ok(())
    }

    /// Take out a network's shared rules.
    pub(crate) fn remove(&self, network: &Network) -> Result<()> {
        for shared in [shared(network, false), shared(network, true)].into_iter().flatten() {
            let backend = self.of(shared.ipv6)?;
            // A user-defined network's rules are told by their comment.
            if backend.is_nft && !network.is_predefined() {
                let own: Vec<&Rule> = shared.rules().filter(|rule| bridge::Shared::is_of_one_network(rule)).collect();
                self.delete(own.into_iter(), &bridge::comment(network))?;
            } else {
                backend.remove(&shared)?;
            }
        }
        Ok(())
    }

    /// Take out the chains that all networks have in common, where no network is left that uses them.
    ///
    /// The user's chain stays when it holds any rule of the user's.
    pub(crate) fn remove_chains(&self) -> Result<()> {
        for ipv6 in [false, true] {
            match self.of(ipv6) {
                Ok(backend) => backend.remove(&bridge::common(ipv6))?,
                // Without its program nothing of ours can be there.
                Err(_) if ipv6 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// List our rules of one family as the kernel has them.
    pub(crate) fn show(&self, ipv6: bool, is_ours: impl Fn(&str) -> bool) -> Result<Vec<Seen>> {
        self.of(ipv6)?.show(is_ours)
    }

    /// Wait until every `iptables-restore` has ended whose caller was killed meanwhile: only then is it known what it has
    /// put in.
    ///
    /// Errors: `Os` when the lock cannot be taken.
    pub(crate) fn settle(&self) -> Result<()> {
        let doing = || format!("lock {}", self.running.display());
        let file = lock_file(&self.running).doing(doing)?;
        file.lock().doing(doing)
    }
}

fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).open(path)
}
