//! `network rules` and `network reload`: what of the packet filter is ours, why, and how it is put back.

use std::collections::{HashMap, HashSet};

use crate::driver::bridge;
use crate::endpoint::EndpointRecord;
use crate::error::Result;
use crate::files::Lock;
use crate::firewall::{Age, Backend, Firewall, HostFirewall, Rule, Seen, Wanted};
use crate::network::Network;
use crate::networks::Networks;

/// A rule that is in the kernel, or should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The command that would put it in; of one that nobody asked for, how it is found.
    pub text: String,
    /// What it is for; of one that nobody asked for, that.
    pub why: String,
    /// Whose it is: a network's or a container's name; nobody's where all share it.
    pub owner: String,
    /// What the kernel has counted there: packets, bytes. Nothing when it has no such rule.
    pub seen: Option<(u64, u64)>,
    /// Nobody asked for it, and it is not the user's own.
    pub is_nobodys: bool,
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
        let all = self.list()?;
        let mut lines = Vec::new();
        let mirrors = self.firewall().mirrors();
        for ipv6 in [false, true] {
            let of_family = |networks: &[Network]| -> Vec<Network> {
                networks.iter().filter(|it| !self.firewall().wanted(it, ipv6).is_empty()).cloned().collect()
            };
            let asked = of_family(networks);
            if !asked.is_empty() {
                let there = self.seen_of(&asked, &all, &endpoints, ipv6)?;
                let mut wanted = self.wanted_rules(&asked, &endpoints, ipv6);
                if let Some(mirror) = mirrors.as_ref().map(|mirrors| &mirrors[usize::from(ipv6)]) {
                    let host = self.firewall().wanted_host(mirror, ipv6);
                    wanted.extend(host.into_iter().map(|wanted| (wanted, String::new())));
                    lines.extend(mirror.closed.iter().map(|text| closed(text)));
                }
                // What belongs to networks that were not asked for is none of this; nor is what all share and the last of
                // them that needed it has left.
                let mut elsewhere: HashSet<String> =
                    self.wanted_rules(&all, &endpoints, ipv6).into_iter().map(|(wanted, _)| wanted.id).collect();
                elsewhere.extend(self.firewall().common(ipv6).into_iter().map(|wanted| wanted.id));
                lines.extend(compare(wanted, there, &elsewhere));
            }
        }
        Ok(lines)
    }

    fn seen_of(
        &self,
        asked: &[Network],
        all: &[Network],
        endpoints: &[EndpointRecord],
        ipv6: bool,
    ) -> Result<Vec<Seen>> {
        let comments: Vec<String> = all.iter().map(Firewall::comment).collect();
        let bridges: Vec<&str> =
            asked.iter().filter_map(|it| it.bridge.as_ref()).map(|bridge| bridge.name.as_str()).collect();
        let is_ours = |line: &str| {
            let mut words = line.split(' ');
            words
                .any(|word| bridges.contains(&word) || word.starts_with("RBOX") || comments.iter().any(|it| it == word))
                || endpoints.iter().any(|endpoint| line.contains(&endpoint.owner.container))
        };
        self.firewall().show(ipv6, is_ours)
    }

    /// Whether whoever looks after this host's packet filter has to put the rules in: see [`Networks::script`].
    #[must_use]
    pub fn leaves_rules_to_others(&self) -> bool {
        self.firewall().backend() == Backend::None
    }

    /// Word the rules of networks as input for iptables-restore(8) and ip6tables-restore(8), each with its reason.
    ///
    /// # Errors
    /// `Os`, `Record`: the state directory cannot be read.
    pub fn script(&self, networks: &[Network]) -> Result<String> {
        let endpoints = self.endpoints()?;
        let of_these = |it: &&EndpointRecord| networks.iter().any(|network| network.id == it.network_id);
        let rules: Vec<&Rule> = endpoints.iter().filter(of_these).flat_map(|endpoint| &endpoint.rules).collect();
        Ok(Firewall::script(networks, &rules))
    }

    /// What is wanted, and whose it is.
    fn wanted_rules(&self, networks: &[Network], endpoints: &[EndpointRecord], ipv6: bool) -> Vec<(Wanted, String)> {
        let mut all = Vec::new();
        for network in networks {
            let wanted = self.firewall().wanted(network, ipv6);
            if wanted.is_empty() {
                continue;
            }
            all.extend(wanted.into_iter().map(|wanted| {
                let owner = if wanted.is_own { network.name.clone() } else { String::new() };
                (wanted, owner)
            }));
            for endpoint in endpoints.iter().filter(|endpoint| endpoint.network_id == network.id) {
                let wanted = self.firewall().wanted_of(&endpoint.rules, ipv6);
                all.extend(wanted.into_iter().map(|wanted| (wanted, endpoint.owner.name.clone())));
            }
        }
        all
    }

    /// Put back whatever of the networks' rules is gone, and of their endpoints'.
    ///
    /// # Errors
    /// `Firewall` when iptables refuses or is not here.
    pub fn reload(&self, networks: &[Network]) -> Result<()> {
        let _changes = self.lock_changes()?;
        let _rules = self.lock_rules()?;
        self.put_back(networks)
    }

    /// Put back whatever of any network's rules is gone, unless somebody is changing something now: then nothing is done.
    /// Says whether all is there. Waits for nobody who may wait for this process.
    pub(crate) fn mend(&self) -> Result<bool> {
        let Some(_changes) = Lock::attempt(self.dir(), "changes")? else { return Ok(false) };
        let Some(_rules) = Lock::attempt(self.dir(), "rules")? else { return Ok(false) };
        let networks = self.made_and_in_the_making()?;
        let up = networks.iter().filter(|network| bridge::is_up(network).unwrap_or(false));
        let up: Vec<Network> = up.cloned().collect();
        if self.rules(&up)?.iter().any(|line| line.seen.is_none()) {
            self.put_back(&networks)?;
        }
        self.obey()?;
        Ok(true)
    }

    /// Every network that may have rules.
    pub(crate) fn made_and_in_the_making(&self) -> Result<Vec<Network>> {
        // In this order: whatever is finished between the two looks is seen by the second.
        let making = self.in_the_making()?;
        let mut all = self.list()?;
        for network in making {
            if !all.iter().any(|other| other.id == network.id) {
                all.push(network);
            }
        }
        Ok(all)
    }

    /// Write down what the host's own firewall allows by now, where it is asked. Who sends datagrams is asked again.
    fn obey(&self) -> Result<()> {
        if self.firewall().refresh()? {
            let rules: Vec<Rule> = self.endpoints()?.into_iter().flat_map(|endpoint| endpoint.rules).collect();
            bridge::forget_senders(&rules)?;
        }
        Ok(())
    }

    /// The host's own firewall whose decision counts for published ports; none, where nobody has said so.
    #[must_use]
    pub fn respected(&self) -> Option<HostFirewall> {
        self.firewall().respected()
    }

    /// Whether that firewall runs. While it does not, nobody outside reaches a published port.
    #[must_use]
    pub fn is_respected_running(&self) -> bool {
        self.firewall().mirrors().is_none_or(|[ipv4, _]| ipv4.runs)
    }

    /// From now on this firewall's decision counts for published ports, or nobody's: also for those that there are.
    ///
    /// # Errors
    /// `Os`: the state directory cannot be written; `Firewall`: the rules cannot be changed. The next attempt goes on.
    pub fn respect(&self, wanted: Option<HostFirewall>) -> Result<()> {
        if self.firewall().has_settled_on(wanted) || self.leaves_rules_to_others() {
            return Ok(());
        }
        let _changes = self.lock_changes()?;
        let _rules = self.lock_rules()?;
        let networks = self.made_and_in_the_making()?;
        let is_used = networks.iter().any(|network| bridge::is_up(network).unwrap_or(false));
        self.firewall().set_respected(wanted, false)?;
        if is_used {
            if self.firewall().backend() != Backend::Nftables {
                self.firewall().turn_question()?;
            }
            self.put_back(&networks)?;
        }
        self.firewall().set_respected(wanted, true)
    }

    fn put_back(&self, networks: &[Network]) -> Result<()> {
        match self.firewall().backend() {
            Backend::Nftables => return self.rebuild(),
            Backend::None => return Ok(()),
            Backend::Iptables(_) => {}
        }
        let mut up = Vec::new();
        for network in networks.iter().filter(|network| network.bridge.is_some()) {
            let _lock = self.lock()?;
            // What nobody uses is made when somebody does.
            if bridge::is_up(network)? {
                self.firewall().ensure(network, Age::Known)?;
                up.push(network);
            }
        }
        let endpoints: Vec<EndpointRecord> =
            self.endpoints()?.into_iter().filter(|endpoint| !endpoint.is_leaving()).collect();
        let of = |endpoint: &EndpointRecord| up.iter().find(|network| network.id == endpoint.network_id);
        let rules: Vec<&Rule> = endpoints.iter().filter(|it| of(it).is_some()).flat_map(|it| &it.rules).collect();
        let mut there: HashMap<String, usize> = HashMap::new();
        for ipv6 in [false, true] {
            if rules.iter().any(|rule| rule.ipv6 == ipv6) {
                for seen in self.firewall().show(ipv6, |_| true)? {
                    *there.entry(seen.id).or_default() += 1;
                }
            }
        }
        let is_whole = |endpoint: &EndpointRecord| {
            let mut wanted = [false, true].into_iter().flat_map(|it| self.firewall().wanted_of(&endpoint.rules, it));
            wanted.all(|wanted| there.get(&wanted.id) == Some(&1))
        };
        for endpoint in &endpoints {
            // What is right is not touched: somebody uses it, and this may be killed.
            if let Some(network) = of(endpoint).filter(|_| !is_whole(endpoint)) {
                self.delete_rules(endpoint)?;
                bridge::publish(self, network, &endpoint.rules)?;
            }
        }
        Ok(())
    }
}

impl Networks {
    /// Make the tables of nftables anew. A network that is being made or taken away changes under the lock, and is up, or has
    /// no chains yet.
    pub(crate) fn rebuild(&self) -> Result<()> {
        let _lock = self.lock()?;
        let mut up = self.made_and_in_the_making()?;
        up.retain(|network| bridge::is_up(network).unwrap_or(false));
        let endpoints = self.endpoints()?;
        let of_one = |endpoint: &&EndpointRecord| {
            !endpoint.is_leaving() && up.iter().any(|network| network.id == endpoint.network_id)
        };
        let rules: Vec<&Rule> = endpoints.iter().filter(of_one).flat_map(|endpoint| &endpoint.rules).collect();
        self.firewall().rebuild(&up, &rules)
    }
}

/// A rule of the host's firewall that is not understood.
fn closed(text: &str) -> Line {
    let why = "the host's own firewall says this, and rbox cannot ask for it: what it may allow stays closed";
    Line { text: text.to_owned(), why: why.into(), owner: String::new(), seen: Some((0, 0)), is_nobodys: false }
}

/// Each rule that is wanted, whether it is there or not; and those that are there though nobody wants them.
fn compare(wanted: Vec<(Wanted, String)>, there: Vec<Seen>, elsewhere: &HashSet<String>) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut known: HashSet<String> = HashSet::new();
    let counted: HashMap<&str, (u64, u64)> =
        there.iter().rev().map(|seen| (seen.id.as_str(), (seen.packets, seen.bytes))).collect();
    for (Wanted { id, text, why, .. }, owner) in wanted {
        let seen = counted.get(id.as_str()).copied();
        if known.insert(id) {
            lines.push(Line { text, why: why.into(), owner, seen, is_nobodys: false });
        }
    }
    for Seen { id, text, packets, bytes } in there {
        if !known.contains(&id) && !elsewhere.contains(&id) {
            let is_users = text.contains(" -A RBOX-USER ");
            let why = if is_users { "your own" } else { "nobody's: rbox did not ask for it" };
            let seen = Some((packets, bytes));
            lines.push(Line { text, why: why.into(), owner: String::new(), seen, is_nobodys: !is_users });
        }
    }
    lines
}
