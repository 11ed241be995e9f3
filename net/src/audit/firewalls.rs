//! What ufw or firewalld says of a port of the host, as if a program of the host's listened there.

use std::fmt;

use super::paths::opinion;
use crate::foreign::{Base, Hook, Match, Packets, Stage, Tables, Verdict, flatten};
use crate::ports::PortMapping;

/// What a firewall says of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Belief {
    /// `ufw`, `firewalld`
    pub firewall: &'static str,
    /// Whether everybody may come, but for those of `others`; else nobody but those.
    pub allows: bool,
    /// Who is treated the other way: `192.0.2.0/24`, `by eth0`.
    pub others: Vec<String>,
}

impl fmt::Display for Belief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others = self.others.join(", ");
        match (self.allows, self.others.is_empty()) {
            (true, true) => write!(f, "{} allows", self.firewall),
            (true, false) => write!(f, "{} allows, but not {others}", self.firewall),
            (false, true) => write!(f, "{} denies", self.firewall),
            (false, false) => write!(f, "{} allows only {others}", self.firewall),
        }
    }
}

/// What the firewall that runs on this host says of a port that is published; nothing where none runs.
pub(super) fn belief(tables: &Tables, mapping: &PortMapping, own_links: &[String]) -> Option<Belief> {
    let (firewall, base) = tables.bases.iter().find_map(|base| Some((manager(base)?, base)))?;
    let about = Packets {
        destination: (!mapping.host_ip.is_unspecified()).then(|| crate::firewall::Rule::host(mapping.host_ip)),
        protocol: Some(mapping.protocol),
        ports: Some(mapping.host),
        ..Packets::default()
    };
    let lines = flatten(base, &about, Stage { is_local: true, not_by: own_links, is_translated: false }, &|_| false);
    let (allows, others) = opinion(&lines, &about);
    Some(Belief { firewall, allows, others })
}

/// Whose a base chain is, where it is the one that lets programs of the host be reached.
pub(super) fn manager(base: &Base) -> Option<&'static str> {
    if base.hook != Hook::Input {
        return None;
    }
    if base.table == "nft inet firewalld" && base.chain == "filter_INPUT" {
        return Some("firewalld");
    }
    // Switched off, ufw leaves its chains behind, and nothing in them.
    let of_ufw = ["ufw-before-input", "ufw6-before-input"];
    let asks_user = |name: &&str| {
        let rules = base.chains.get(*name).map(Vec::as_slice).unwrap_or_default();
        let to_user = |verdict: &Verdict| matches!(verdict, Verdict::Jump(to) if to.ends_with("-user-input"));
        rules.iter().any(|rule| rule.matches.is_empty() && to_user(&rule.verdict))
    };
    if of_ufw.iter().any(asks_user) {
        return Some("ufw");
    }
    let to_zones = |matches: &[Match], to: &Verdict| matches.is_empty() && *to == Verdict::Jump("INPUT_ZONES".into());
    let input = base.chains.get(&base.chain).map(Vec::as_slice).unwrap_or_default();
    input.iter().any(|rule| to_zones(&rule.matches, &rule.verdict)).then_some("firewalld")
}
