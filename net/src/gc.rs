//! `network gc`: what carries rbox's mark in the kernel, and nobody has it any more.
//!
//! Each command removes what the dead left by their records. This is for what has no record: a state directory that was
//! lost, or tampered with. Everything of ours says whose it is, and where it does not say so it is not touched:
//!
//! ```text
//!   link    its alias   rbox container=… endpoint=… pid=… start=… boot=… state=…  `ip -d link`
//!                       rbox network=NAME id=… state=…
//!   rule    its comment CONTAINER-ENDPOINT, network-ID                            `iptables-save`, `nft list ruleset`
//!   name    its endpoint, in names/NETWORK.json
//! ```

use std::collections::HashSet;

use crate::endpoint::{EndpointRecord, Owner, short};
use crate::error::Result;
use crate::firewall::{Backend, Firewall};
use crate::netlink::{LinkState, Netlink};
use crate::network::Network;
use crate::networks::Networks;

/// Longer ones the kernel refuses (IFALIASZ in linux/if.h, with its NUL).
const ALIAS_BYTES_MAX: usize = 255;

/// Something that nobody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// What it is, as a person would find it: `link veth0a1b2c3`, `iptables -t nat -A RBOX …`.
    pub text: String,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Link(String),
    /// A line of iptables: whether for IPv6, `-t TABLE -A CHAIN …`.
    Rule(bool, String),
    /// An entry or a chain of our table of nftables: it is made anew.
    Entry,
    /// An endpoint that a network has names of: network, endpoint.
    Name(String, String),
}

/// What there is of ours, and known.
struct Known {
    networks: Vec<Network>,
    endpoints: Vec<EndpointRecord>,
}

impl Networks {
    /// The alias of the host's end of an endpoint's cable. Nothing where it would be longer than aliases are.
    pub(crate) fn alias_of_endpoint(&self, record: &EndpointRecord) -> Option<String> {
        let Owner { container, pid, start_time, boot_id, .. } = &record.owner;
        let id = short(&record.id);
        self.alias(&format!("container={container} endpoint={id} pid={pid} start={start_time} boot={boot_id}"))
    }

    /// The alias of a network's bridge. The same.
    pub(crate) fn alias_of_network(&self, network: &Network) -> Option<String> {
        self.alias(&format!("network={} id={}", network.name, network.short_id()))
    }

    fn alias(&self, of: &str) -> Option<String> {
        let alias = format!("rbox {of} state={}", self.dir().display());
        (alias.len() <= ALIAS_BYTES_MAX).then_some(alias)
    }

    /// Find what carries our mark and is nobody's: neither in a record, nor of a living owner. Where it `goes`, it is removed.
    ///
    /// # Errors
    /// `Os`, `Record`, `Firewall`: it cannot be looked at; or the first that cannot be removed, and the rest stays.
    pub fn leftovers(&self, alive: &dyn Fn(&Owner) -> bool, goes: bool) -> Result<Vec<Leftover>> {
        // An endpoint's record and its rules change together under these.
        let _changes = self.lock_changes()?;
        let _rules = self.lock_rules()?;
        let found = self.nobodys(alive)?;
        if goes {
            self.remove_leftovers(&found)?;
        }
        Ok(found)
    }

    fn nobodys(&self, alive: &dyn Fn(&Owner) -> bool) -> Result<Vec<Leftover>> {
        // And a network's under this one.
        let _lock = self.lock()?;
        // The kernel is looked at before the records: what is made meanwhile had its record first.
        let links = Netlink::here()?.links()?;
        let lines = self.marked_lines()?;
        let known = Known { networks: self.made_and_in_the_making()?, endpoints: self.endpoints()? };
        let mut found = self.leftover_links(&links, &known, alive);
        found.extend(self.leftover_rules(lines, &known, &found)?);
        found.extend(self.leftover_names(&known)?);
        Ok(found)
    }

    fn remove_leftovers(&self, leftovers: &[Leftover]) -> Result<()> {
        for ipv6 in [false, true] {
            let lines = leftovers.iter().filter_map(|it| match &it.what {
                What::Rule(of, line) if *of == ipv6 => Some(line.as_str()),
                _ => None,
            });
            self.firewall().delete_lines(ipv6, &lines.collect::<Vec<_>>())?;
        }
        if leftovers.iter().any(|it| it.what == What::Entry) {
            self.rebuild()?;
        }
        let mut netlink = Netlink::here()?;
        for leftover in leftovers {
            match &leftover.what {
                What::Link(name) => netlink.delete_link(name)?,
                What::Name(network, endpoint) => self.unlearn(&self.lock()?, network, endpoint)?,
                What::Rule(..) | What::Entry => {}
            }
        }
        Ok(())
    }

    fn leftover_links(&self, links: &[LinkState], known: &Known, alive: &dyn Fn(&Owner) -> bool) -> Vec<Leftover> {
        let here = format!(" state={}", self.dir().display());
        let is_nobodys = |alias: &str, index: u32| {
            let words: Vec<(&str, &str)> = alias.split(' ').filter_map(|word| word.split_once('=')).collect();
            match words[..] {
                [("container", container), ("endpoint", id), ("pid", pid), ("start", start), ("boot", boot)] => {
                    let is_it = |it: &EndpointRecord| it.owner.container == container && short(&it.id) == id;
                    let is_kept = || owner(container, (pid, start, boot)).is_some_and(|owner| alive(&owner));
                    !known.endpoints.iter().any(is_it) && !is_kept()
                }
                [("network", _), ("id", id)] => {
                    let is_known = known.networks.iter().any(|network| network.short_id() == id);
                    !is_known && !links.iter().any(|link| link.master == Some(index))
                }
                _ => false,
            }
        };
        let marked = |link: &LinkState| {
            let alias = link.alias.as_deref()?.strip_prefix("rbox ")?.strip_suffix(&here)?;
            is_nobodys(alias, link.index)
                .then(|| Leftover { text: format!("link {}", link.name), what: What::Link(link.name.clone()) })
        };
        links.iter().filter_map(marked).collect()
    }

    /// The rules of iptables that bear a mark of ours, of IPv4 and of IPv6.
    fn marked_lines(&self) -> Result<[Vec<String>; 2]> {
        let mut lines = [Vec::new(), Vec::new()];
        if matches!(self.backend(), Backend::Iptables(_)) {
            for (lines, ipv6) in lines.iter_mut().zip([false, true]) {
                // Without its program nothing of ours can be there.
                if !ipv6 || self.firewall().has(ipv6) {
                    let seen = self.firewall().show(ipv6, |line| mark(line).is_some())?;
                    lines.extend(seen.into_iter().map(|seen| seen.text));
                }
            }
        }
        Ok(lines)
    }

    fn leftover_rules(&self, lines: [Vec<String>; 2], known: &Known, links: &[Leftover]) -> Result<Vec<Leftover>> {
        if self.backend() == Backend::Nftables {
            let nobodys = self.rules(&known.networks)?.into_iter().filter(|line| line.is_nobodys);
            return Ok(nobodys.map(|line| Leftover { text: line.text, what: What::Entry }).collect());
        }
        let mut found = Vec::new();
        for (lines, ipv6) in lines.into_iter().zip([false, true]) {
            found.extend(leftover_lines(lines, (known, links), ipv6)?);
        }
        Ok(found)
    }

    fn leftover_names(&self, known: &Known) -> Result<Vec<Leftover>> {
        let mut found = Vec::new();
        for network in &known.networks {
            for named in self.names_of(&network.id)? {
                if !known.endpoints.iter().any(|it| it.id == named.endpoint) {
                    found.push(Leftover {
                        text: format!("name {} in network {}", named.name, network.name),
                        what: What::Name(network.id.clone(), named.endpoint),
                    });
                }
            }
        }
        Ok(found)
    }
}

/// Of lines that bear a mark, those of nobody.
fn leftover_lines(mut lines: Vec<String>, (known, links): (&Known, &[Leftover]), ipv6: bool) -> Result<Vec<Leftover>> {
    let of_networks = known.networks.iter().map(Firewall::comment);
    let of_endpoints = known.endpoints.iter().map(|it| EndpointRecord::comment(&it.owner.container, &it.id));
    let owned: HashSet<String> = of_networks.chain(of_endpoints).collect();
    lines.retain(|line| mark(line).is_some_and(|comment| !owned.contains(comment)));
    // A rule that names a bridge which is there and not ours is of another rbox, with a state directory of its own; and
    // so are all that have its comment.
    let of_networks = known.networks.iter().filter_map(|it| it.bridge.as_ref());
    let going = links.iter().filter_map(|it| match &it.what {
        What::Link(name) => Some(name.as_str()),
        _ => None,
    });
    let ours: HashSet<&str> = of_networks.map(|bridge| bridge.name.as_str()).chain(going).collect();
    let mut netlink = Netlink::here()?;
    let mut others = HashSet::new();
    for line in &lines {
        for bridge in bridges(line).filter(|bridge| !ours.contains(bridge)) {
            if netlink.show_link(bridge)?.is_some() {
                others.extend(mark(line));
            }
        }
    }
    let nobodys = lines.iter().filter(|line| !mark(line).is_some_and(|comment| others.contains(comment)));
    let leftover = |line: &String| {
        let rule = line.split_once(' ').map_or("", |(_, rule)| rule).to_owned();
        Leftover { text: line.clone(), what: What::Rule(ipv6, rule) }
    };
    Ok(nobodys.map(leftover).collect())
}

/// Who an alias says the owner is.
fn owner(container: &str, (pid, start_time, boot_id): (&str, &str, &str)) -> Option<Owner> {
    Some(Owner {
        container: container.to_owned(),
        name: String::new(),
        pid: pid.parse().ok()?,
        start_time: start_time.parse().ok()?,
        boot_id: boot_id.to_owned(),
        netns: None,
    })
}

/// The comment of a line of iptables, where it is one of ours.
fn mark(line: &str) -> Option<&str> {
    let comment = line.split_once(" --comment ")?.1.split(' ').next()?;
    let is_hex = |text: &str, digits| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_ours = match comment.split_once('-')? {
        ("network", id) => is_hex(id, 12),
        (container, endpoint) => is_hex(container, 64) && is_hex(endpoint, 12),
    };
    is_ours.then_some(comment)
}

/// The links that a line of iptables names.
fn bridges(line: &str) -> impl Iterator<Item = &str> {
    let words: Vec<&str> = line.split(' ').collect();
    let named = words.windows(2).filter(|pair| matches!(pair[0], "-i" | "-o")).map(|pair| pair[1]).collect::<Vec<_>>();
    named.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_ours_by_its_form_alone() {
        let (container, endpoint) = ("0a".repeat(32), "0123456789ab");
        let rule =
            |comment: &str| format!("iptables -t nat -A RBOX ! -i rbox0 -m comment --comment {comment} -j RETURN");
        let own = format!("{container}-{endpoint}");
        assert_eq!(mark(&rule(&own)), Some(own.as_str()));
        assert_eq!(mark(&rule("network-0123456789ab")), Some("network-0123456789ab"));
        for other in ["\"a b\"", "network-shop", "between-networks", "0a-0123456789ab", &container] {
            assert_eq!(mark(&rule(other)), None, "{other}");
        }
        assert_eq!(bridges(&rule(&own)).collect::<Vec<_>>(), ["rbox0"]);
    }
}
