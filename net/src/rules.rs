//! `network rules` and `network reload`: what of the packet filter is ours, why, and how it is put back.

use std::collections::{HashMap, HashSet};

use crate::driver::bridge;
use crate::endpoint::EndpointRecord;
use crate::error::Result;
use crate::files::Lock;
use crate::firewall::{Age, Rule, Table, comment, common, shared, why};
use crate::network::Network;
use crate::networks::Networks;

/// A rule that is in the kernel, or should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Whether it is one of ip6tables.
    pub ipv6: bool,
    /// Its table.
    pub table: Table,
    /// The line of `iptables-save`.
    pub text: String,
    /// What it is for; of one that nobody asked for, that.
    pub why: String,
    /// Whose it is: a network's or a container's name; nobody's where all share it.
    pub owner: String,
    /// What the kernel has counted there: packets, bytes. Nothing when it has no such rule.
    pub seen: Option<(u64, u64)>,
}

impl Networks {
    /// Held from the record of an endpoint to its rules, and from the end of its rules to that of its record: whoever goes by
    /// the record in between would put them in twice, or for nobody.
    pub(crate) fn share_rules(&self) -> Result<Lock> {
        Lock::share(self.dir(), "rules")
    }

    /// Wait until each endpoint that there is has its rules, and hold all others back.
    pub(crate) fn lock_rules(&self) -> Result<Lock> {
        Lock::take(self.dir(), "rules")
    }

    /// List the rules of networks: what they need, whether it is there, and what else of ours is.
    ///
    /// # Errors
    /// `Firewall` when iptables refuses or is not here.
    pub fn rules(&self, networks: &[Network]) -> Result<Vec<Line>> {
        let endpoints = self.endpoints()?;
        let mut lines = Vec::new();
        for ipv6 in [false, true] {
            let of_family: Vec<&Network> = networks.iter().filter(|network| shared(network, ipv6).is_some()).collect();
            if of_family.is_empty() {
                continue;
            }
            let comments: Vec<String> = self.list()?.iter().map(comment).collect();
            let bridges: Vec<&str> =
                of_family.iter().filter_map(|it| it.bridge.as_ref()).map(|bridge| bridge.name.as_str()).collect();
            let is_ours = |line: &str| {
                let mut words = line.split(' ');
                words.any(|word| {
                    bridges.contains(&word) || word.starts_with("RBOX") || comments.iter().any(|it| it == word)
                }) || endpoints.iter().any(|endpoint| line.contains(&endpoint.owner.container))
            };
            let there = self.firewall().show(ipv6, is_ours)?;
            let mut known: HashSet<(Table, String)> = HashSet::new();
            for (rule, owner) in self.wanted_rules(&of_family, &endpoints, ipv6) {
                let key = (rule.table, rule.to_string());
                if known.insert(key.clone()) {
                    let seen = there.iter().find(|seen| (seen.table, &seen.line) == (key.0, &key.1));
                    let seen = seen.map(|seen| (seen.packets, seen.bytes));
                    lines.push(Line { ipv6, table: key.0, text: key.1, why: why(&rule).into(), owner, seen });
                }
            }
            // What belongs to networks that were not asked for is none of this; nor is what all share and the last of them
            // that needed it has left.
            let all = self.list()?;
            let others: Vec<&Network> = all.iter().collect();
            let elsewhere: HashSet<(Table, String)> = self
                .wanted_rules(&others, &endpoints, ipv6)
                .into_iter()
                .map(|(rule, _)| rule)
                .chain(common(ipv6).rules().cloned())
                .map(|rule| (rule.table, rule.to_string()))
                .collect();
            for seen in there {
                let key = (seen.table, seen.line);
                if known.contains(&key) || elsewhere.contains(&key) {
                    continue;
                }
                let (table, text) = key;
                let is_users = text.starts_with("-A RBOX-USER ");
                let why = if is_users { "your own" } else { "nobody's: rbox did not ask for it" };
                let seen = Some((seen.packets, seen.bytes));
                lines.push(Line { ipv6, table, text, why: why.into(), owner: String::new(), seen });
            }
        }
        Ok(lines)
    }

    fn wanted_rules(&self, networks: &[&Network], endpoints: &[EndpointRecord], ipv6: bool) -> Vec<(Rule, String)> {
        let mut wanted = Vec::new();
        for network in networks {
            let Some(shared) = shared(network, ipv6) else { continue };
            wanted.extend(shared.rules().map(|rule| {
                let is_own = rule.input.is_some() || rule.output.is_some();
                (rule.clone(), if is_own { network.name.clone() } else { String::new() })
            }));
            let here = endpoints.iter().filter(|endpoint| endpoint.network_id == network.id);
            for endpoint in here {
                let rules = endpoint.rules.iter().filter(|rule| rule.ipv6 == ipv6);
                wanted.extend(rules.map(|rule| (rule.clone(), endpoint.owner.name.clone())));
            }
        }
        wanted
    }

    /// Put back whatever of the networks' rules is gone, and of their endpoints'.
    ///
    /// # Errors
    /// `Firewall` when iptables refuses or is not here.
    pub fn reload(&self, networks: &[Network]) -> Result<()> {
        let _changes = self.lock_changes()?;
        let _rules = self.lock_rules()?;
        let mut up = Vec::new();
        for network in networks.iter().filter(|network| network.bridge.is_some()) {
            let _lock = self.lock()?;
            // What nobody uses is made when somebody does.
            if bridge::is_up(network)? {
                self.firewall().ensure(network, Age::Known)?;
                up.push(network);
            }
        }
        let endpoints = self.endpoints()?;
        let mut there: HashMap<(bool, Table, String), usize> = HashMap::new();
        for ipv6 in [false, true] {
            if endpoints.iter().any(|endpoint| endpoint.rules.iter().any(|rule| rule.ipv6 == ipv6)) {
                for seen in self.firewall().show(ipv6, |_| true)? {
                    *there.entry((ipv6, seen.table, seen.line)).or_default() += 1;
                }
            }
        }
        let is_once = |rule: &Rule| there.get(&(rule.ipv6, rule.table, rule.to_string())) == Some(&1);
        for endpoint in endpoints.iter().filter(|endpoint| !endpoint.is_leaving()) {
            let network = up.iter().find(|network| network.id == endpoint.network_id);
            // What is right is not touched: somebody uses it, and this may be killed.
            if let Some(network) = network.filter(|_| !endpoint.rules.iter().all(is_once)) {
                self.delete_rules(endpoint)?;
                bridge::publish(self, network, &endpoint.rules)?;
            }
        }
        Ok(())
    }
}
