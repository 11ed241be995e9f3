//! What ufw or firewalld says of a port of the host, as if a program of the host's listened there.

use std::fmt;
use std::rc::Rc;

use super::paths::{Through, Way, ask, opinion};
use crate::firewall::{self, HostFirewall, Is, Mirror, Rule};
use crate::foreign::{self, Base, Foreign, Hook, Match, Packets, Stage, Tables, Verdict, flatten};
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
    /// Rules about the port of which only the kernel can tell whom they mean.
    pub unclear: Vec<String>,
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
    let (firewall, base) = tables.bases.iter().find_map(|base| Some((foreign::manager(base)?, base)))?;
    let about = Packets {
        destination: (!mapping.host_ip.is_unspecified()).then(|| crate::firewall::Rule::host(mapping.host_ip)),
        protocol: Some(mapping.protocol),
        ports: Some(mapping.host),
        ..Packets::default()
    };
    let lines = flatten(base, &about, Stage { is_local: true, not_by: own_links, is_translated: false }, &|_| false);
    let (allows, others) = opinion(&lines, &about);
    let unclear = lines.iter().filter(|line| !line.is_exact).map(|line| line.text.clone()).collect();
    Some(Belief { firewall, allows, others, unclear })
}

/// What the firewall that is obeyed does to a way into a container.
pub(super) fn obeyed(of: HostFirewall, mirror: &Mirror, way: &Way<'_>, belief: Option<&Belief>) -> Through {
    let base = as_base(mirror);
    let stage = Stage { is_local: true, not_by: way.own_links, is_translated: false };
    let lines = flatten(&base, &way.before(), stage, &|_| true);
    let (allows, _) = opinion(&lines, &way.before());
    let mut through = Through::default();
    ask(&base, &way.before(), stage, &mut through);
    through.remarks.clear();
    match mirror.runs {
        false => through.remarks.push(format!(
            "{of} does not run, so it is closed: start it, or take \"respect\" out of the configuration"
        )),
        true if !allows => {
            let unclear = belief.iter().flat_map(|belief| &belief.unclear);
            through.remarks.extend(unclear.map(|text| format!("closed, since rbox cannot ask for this: {text}")));
        }
        true => {}
    }
    through
}

fn as_base(mirror: &Mirror) -> Base {
    let link = |is: &Is<String>| Match::Input(is.clone());
    let foreign = |rule: &Rule| {
        let (source, destination) = (rule.source.clone(), rule.destination.clone());
        let mut matches: Vec<Match> = rule.input.iter().map(link).collect();
        matches.extend(source.map(Match::Source).into_iter().chain(destination.map(Match::Destination)));
        if let Some(ports) = rule.ports {
            matches.extend([Match::Protocol(Is::This(ports.protocol.number())), Match::Port(Is::This(ports.range))]);
        }
        let verdict = if rule.verdict == firewall::Verdict::Return { Verdict::Drop } else { Verdict::Accept };
        Foreign { text: rule.to_string(), matches, verdict }
    };
    let chains = Rc::new([(String::new(), mirror.rules.iter().map(foreign).collect())].into());
    let (table, chain) = (String::new(), String::new());
    Base { table, chain, hook: Hook::Prerouting, translates: false, sees_translated: false, passes: false, chains }
}
