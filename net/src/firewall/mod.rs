//! The host's packet filter: rules as values, and the backend that puts them in.
//!
//! ```text
//!   bridge.rs    what a network needs once (chains, jumps, masquerade)  ┐             ┌▶ iptables.rs (one restore)
//!   published.rs what one endpoint's ports need                         ┴─▶ Vec<Rule> ┴▶ nft/ (one batch, maps)
//!   nfnetlink.rs taking iptables' rules out again, in one transaction of the kernel's own
//!   handles.rs   where the kernel keeps them, noted when they are put in
//!   batch.rs, expression.rs, wire.rs  the kernel's messages
//!   respect.rs   what the host's own firewall allows, where published ports are to obey it
//!   watch.rs     hearing of what others change
//!   script.rs    all of it for an administrator who puts it in himself
//!   flows.rs     what goes on by rules that are no more, or as if there were none yet: forgotten
//! ```
//!
//! A [`Rule`]'s `Display` is its line in `iptables-save`, so what rbox says, what it sends, and what the kernel
//! lists are one text. The layout is Docker 20.10's, with additions; each is explained where it is made.

mod backend;
pub(crate) mod batch;
mod bridge;
pub(crate) mod expression;
pub(crate) mod flows;
mod handles;
mod iptables;
mod nfnetlink;
mod nft;
mod published;
mod respect;
mod rule;
mod script;
#[cfg(test)]
mod table;
mod watch;
mod why;
pub(crate) mod wire;

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use handles::{Ear, Handles};
use iptables::Iptables;
use nfnetlink::{Place, RuleSocket};

use crate::error::{Doing, Result};
use crate::network::Network;

pub use backend::{Backend, Variant};
use bridge::Shared;
pub(crate) use flows::Meant;
pub(crate) use iptables::{finish, program};
pub(crate) use nfnetlink::leave_to_the_kernel;
pub(crate) use nft::comment;
pub(crate) use published::published;
pub use respect::HostFirewall;
pub(crate) use respect::Mirror;
pub(crate) use rule::{Is, Verdict};
pub use rule::{Rule, Table};
pub(crate) use watch::{Heard, changes, heard};
use why::why;

/// Whether a network may have rules already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Age {
    /// Nobody can have heard of it: its id was drawn a moment ago.
    New,
    /// It may.
    Known,
}

/// Something of ours that has to be in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// What tells it from any other.
    pub(crate) id: String,
    /// The command that would put it in.
    pub(crate) text: String,
    pub(crate) why: &'static str,
    /// It is one network's, or one endpoint's; else all networks have it in common.
    pub(crate) is_own: bool,
}

/// Something of ours that is in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The same as in [`Wanted`].
    pub(crate) id: String,
    /// How it is found there.
    pub(crate) text: String,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

/// The packet filter of both families.
pub(crate) struct Firewall {
    chosen: backend::Chosen,
    /// Locked by every `iptables-restore` that runs, also by one whose caller was killed.
    running: PathBuf,
    backends: [OnceLock<Iptables>; 2],
    socket: RuleSocket,
    handles: Handles,
    /// Whose decision counts for published ports.
    respect: PathBuf,
}

impl Firewall {
    /// Nothing is looked for before it is needed. `dir` is where the lock and the choice of the backend are kept.
    pub(crate) fn new(dir: &Path) -> Firewall {
        let chosen = backend::Chosen::kept_in(dir.join("backend"));
        Firewall {
            chosen,
            running: dir.join("firewall"),
            backends: Default::default(),
            socket: RuleSocket::default(),
            handles: Handles::kept_in(dir.join("handles")),
            respect: dir.join("respect"),
        }
    }

    /// Which one it is.
    pub(crate) fn backend(&self) -> Backend {
        self.chosen.get()
    }

    /// Use this one from now on, in all processes. What the other has is the caller's to take out before.
    ///
    /// Errors: `Os`, the state directory cannot be written.
    pub(crate) fn choose(&self, backend: Backend) -> Result<()> {
        self.chosen.set(backend)
    }

    /// Which iptables it is, where it is one.
    fn variant(&self) -> Variant {
        match self.backend() {
            Backend::Iptables(variant) => variant,
            Backend::Nftables | Backend::None => Variant::Usual,
        }
    }

    fn of(&self, ipv6: bool) -> Result<&Iptables> {
        let slot = &self.backends[usize::from(ipv6)];
        if let Some(found) = slot.get() {
            return Ok(found);
        }
        let found = Iptables::find(self.variant(), ipv6, self.running.clone())?;
        Ok(slot.get_or_init(|| found))
    }

    /// Put in what is missing of a bridge network's shared rules. Says whether anything was.
    ///
    /// Errors: `Firewall`, when iptables refuses or is not here.
    pub(crate) fn ensure(&self, network: &Network, age: Age) -> Result<bool> {
        match self.backend() {
            Backend::Nftables => return nft::ensure(&self.socket, network, self.mirrors().as_ref()),
            Backend::None => return Ok(false),
            Backend::Iptables(_) => {}
        }
        self.settle()?;
        let mut were_missing = false;
        for shared in [false, true].into_iter().filter_map(|ipv6| self.shared(network, ipv6)) {
            were_missing |= match self.heads((network, age), shared.ipv6)? {
                Some(heads) => {
                    self.of(shared.ipv6)?.add_own(&shared)?;
                    self.socket.lift(&heads)?;
                    true
                }
                None => self.of(shared.ipv6)?.ensure(&shared)?,
            };
        }
        self.refresh()?;
        Ok(were_missing)
    }

    /// Of a user-defined network that has no rules yet, beside others that have: the rules at the heads of the chains, which
    /// stay before a network's own. To list hundreds of networks' rules takes longer than to add those of one.
    fn heads(
        &self,
        (network, age): (&Network, Age),
        ipv6: bool,
    ) -> Result<Option<Vec<(Place<'static>, nfnetlink::Seen)>>> {
        if network.is_predefined() || network.internal || !self.of(ipv6)?.is_nft {
            return Ok(None);
        }
        let own = bridge::comment(network);
        let mut heads = Vec::new();
        for ((table, chain), words) in bridge::marks(ipv6) {
            let place = (ipv6, table, chain);
            let seen = self.socket.sight(place, &words, (age == Age::Known).then_some(own.as_str()))?;
            let Some(seen) = seen.filter(|seen| !seen.has_not && seen.at.iter().all(Option::is_some)) else {
                return Ok(None);
            };
            if table == Table::Filter {
                // The last is lifted first.
                heads.extend(seen.at.into_iter().flatten().rev().map(|seen| (place, seen)));
            }
        }
        Ok(Some(heads))
    }

    /// What a network and the others share, of one family.
    fn shared(&self, network: &Network, ipv6: bool) -> Option<Shared> {
        let shared = bridge::shared(network, ipv6)?;
        Some(if self.respected().is_some() { shared.asking() } else { shared })
    }

    fn common_rules(&self, ipv6: bool) -> Shared {
        let common = bridge::common(ipv6);
        if self.respected().is_some() { common.asking() } else { common }
    }

    /// Add rules at the ends of their chains.
    ///
    /// Errors: `Firewall`, also when a chain is missing: somebody emptied the tables.
    pub(crate) fn append(&self, rules: &[Rule]) -> Result<()> {
        self.refresh()?;
        match self.backend() {
            Backend::Nftables => return nft::append(&self.socket, &rules.iter().collect::<Vec<_>>()),
            Backend::None => return Ok(()),
            Backend::Iptables(_) => {}
        }
        for ipv6 in [false, true] {
            let these: Vec<&Rule> = rules.iter().filter(|rule| rule.ipv6 == ipv6).collect();
            if these.is_empty() {
                continue;
            }
            let backend = self.of(ipv6)?;
            let ear = backend.is_nft.then(Ear::open);
            backend.append(&these)?;
            if let Some(ear) = ear {
                self.handles.note(&ear, &these);
            }
        }
        Ok(())
    }

    /// Take out every rule with the comment `owner`; `rules` tells which chains to look in.
    ///
    /// A rule or chain that is gone already is no error.
    pub(crate) fn delete<'a>(&self, rules: impl Iterator<Item = &'a Rule> + Clone, owner: &str) -> Result<()> {
        match self.backend() {
            Backend::Nftables => return nft::delete(&self.socket, &rules.collect::<Vec<_>>(), &[]),
            Backend::None => return Ok(()),
            Backend::Iptables(_) => {}
        }
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
        if places.is_empty() {
            return Ok(());
        }
        let noted = self.handles.of(owner, rules.count());
        self.socket.delete(&places, owner, noted.as_deref())?;
        self.handles.forget(owner)
    }

    /// Take out these rules alone, in one transaction of each table, and leave their owner's others, `left`.
    ///
    /// A rule or chain that is gone already is no error.
    pub(crate) fn take_out(&self, rules: &[Rule], left: &[Rule]) -> Result<()> {
        match self.backend() {
            Backend::Nftables => {
                let (rules, left): (Vec<&Rule>, Vec<&Rule>) = (rules.iter().collect(), left.iter().collect());
                return nft::delete(&self.socket, &rules, &left);
            }
            Backend::None => return Ok(()),
            Backend::Iptables(_) => {}
        }
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
        match self.backend() {
            Backend::Nftables => return nft::remove(&self.socket, network),
            Backend::None => return Ok(()),
            Backend::Iptables(_) => {}
        }
        for shared in [false, true].into_iter().filter_map(|ipv6| self.shared(network, ipv6)) {
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
        match self.backend() {
            Backend::Nftables => return nft::remove_all(&self.socket),
            Backend::None => return Ok(()),
            Backend::Iptables(_) => {}
        }
        for ipv6 in [false, true] {
            match self.of(ipv6) {
                Ok(backend) => backend.remove(&self.common_rules(ipv6))?,
                // Without its program nothing of ours can be there.
                Err(_) if ipv6 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What a network needs of one family; nothing where it has no subnet of it.
    pub(crate) fn wanted(&self, network: &Network, ipv6: bool) -> Vec<Wanted> {
        match self.backend() {
            Backend::Nftables => nft::wanted(network, ipv6, self.respected().is_some()),
            Backend::Iptables(_) | Backend::None => {
                let shared = self.shared(network, ipv6);
                let rules = shared.iter().flat_map(|shared| shared.rules());
                rules
                    .map(|rule| Wanted {
                        is_own: bridge::Shared::is_of_one_network(rule),
                        ..line(rule, self.variant())
                    })
                    .collect()
            }
        }
    }

    /// What an endpoint's rules are, of one family.
    pub(crate) fn wanted_of(&self, rules: &[Rule], ipv6: bool) -> Vec<Wanted> {
        let of_family: Vec<&Rule> = rules.iter().filter(|rule| rule.ipv6 == ipv6).collect();
        match self.backend() {
            Backend::Nftables => nft::wanted_of(&of_family, ipv6),
            Backend::Iptables(_) | Backend::None => {
                of_family.into_iter().map(|rule| line(rule, self.variant())).collect()
            }
        }
    }

    /// What all networks have in common and the last that needed it may have left.
    pub(crate) fn common(&self, ipv6: bool) -> Vec<Wanted> {
        match self.backend() {
            Backend::Nftables => Vec::new(),
            Backend::Iptables(_) | Backend::None => {
                self.common_rules(ipv6).rules().map(|rule| line(rule, self.variant())).collect()
            }
        }
    }

    /// What tells a network's own rules.
    pub(crate) fn comment(network: &Network) -> String {
        bridge::comment(network)
    }

    /// List our rules of one family as the kernel has them; of iptables' lines those that are ours.
    pub(crate) fn show(&self, ipv6: bool, is_ours: impl Fn(&str) -> bool) -> Result<Vec<Seen>> {
        match self.backend() {
            Backend::Nftables => nft::show(&self.socket, ipv6),
            Backend::Iptables(_) => self.of(ipv6)?.show(is_ours),
            Backend::None => Ok(Vec::new()),
        }
    }

    /// What everything that is wanted is for iptables-restore(8) and ip6tables-restore(8), with the reason above each rule.
    pub(crate) fn script(networks: &[Network], rules: &[&Rule]) -> String {
        script::script(networks, rules)
    }

    /// Whether the programs of iptables are here for a family.
    pub(crate) fn has(&self, ipv6: bool) -> bool {
        self.of(ipv6).is_ok()
    }

    /// Take out lines of iptables, `-t nat -A RBOX …`, all or none of each table.
    ///
    /// Errors: `Firewall`, also where one is gone.
    pub(crate) fn delete_lines(&self, ipv6: bool, lines: &[&str]) -> Result<()> {
        if lines.is_empty() { Ok(()) } else { self.of(ipv6)?.delete_lines(lines) }
    }

    /// Make the tables of nftables anew, with these networks and endpoints' rules and nothing else.
    ///
    /// Errors: `Os`, what the kernel refuses; then they are as they were.
    pub(crate) fn rebuild(&self, networks: &[Network], rules: &[&Rule]) -> Result<()> {
        nft::rebuild(&self.socket, networks, rules, self.mirrors().as_ref())
    }

    /// Lead 127.0.0.11:53 of this thread's network namespace to a name server's ports there, udp and tcp, by nftables.
    ///
    /// Errors: `Os`, what the kernel refuses.
    pub(crate) fn redirect_names(ports: (u16, u16)) -> Result<()> {
        nft::redirect(ports)
    }

    /// Whether the kernel tells of changes where the rules are: see [`changes`]. Nothing where they are not rbox's to keep.
    pub(crate) fn tells_of_changes(&self) -> Option<bool> {
        match self.backend() {
            Backend::Nftables => Some(true),
            Backend::Iptables(_) => self.of(false).ok().map(|iptables| iptables.is_nft),
            Backend::None => None,
        }
    }

    /// All rules of iptables, of both families, without what they have counted: to see whether anything has changed.
    ///
    /// Errors: `Firewall` when iptables refuses or is not here.
    pub(crate) fn image(&self) -> Result<String> {
        let mut image = self.of(false)?.image()?;
        // Without its program nothing of ours can be there.
        if let Ok(iptables) = self.of(true) {
            image += &iptables.image()?;
        }
        Ok(image)
    }

    /// Wait until every `iptables-restore` has ended whose caller was killed meanwhile: only then is it known what it has
    /// put in.
    ///
    /// Errors: `Os` when the lock cannot be taken.
    pub(crate) fn settle(&self) -> Result<()> {
        if !matches!(self.backend(), Backend::Iptables(_)) {
            return Ok(());
        }
        let doing = || format!("lock {}", self.running.display());
        let file = lock_file(&self.running).doing(doing)?;
        file.lock().doing(doing)
    }
}

/// A rule as a command of iptables.
fn line(rule: &Rule, variant: Variant) -> Wanted {
    let text = format!("{} -t {} {rule}", variant.names(rule.ipv6), rule.table);
    Wanted { id: text.clone(), text, why: why(rule), is_own: true }
}

fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).open(path)
}
