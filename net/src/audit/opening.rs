//! One way into a container, and who can go it, in words.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::Belief;
use crate::ports::{PortRange, Protocol};

/// A way into a container.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The container's name.
    pub container: String,
    /// Its id, 64 hex digits.
    pub container_id: String,
    /// The network's name.
    pub network: String,
    /// The address that is asked: the host's, or where no port is published, the container's own.
    pub address: IpAddr,
    /// The ports there; every one, where nothing is said.
    pub ports: Option<PortRange>,
    /// Their protocol; every one, where nothing is said.
    pub protocol: Option<Protocol>,
    /// The container's ports that they lead to.
    pub inside: Option<PortRange>,
    /// Who can go it.
    pub reach: Reach,
    /// What makes it: a rule as `network rules` shows it, or a process.
    pub by: String,
    /// What ufw or firewalld says of these ports of the host.
    pub firewall: Option<Belief>,
    /// What else a person should know of it, and what can be done.
    pub remarks: Vec<String>,
}

impl Opening {
    /// `0.0.0.0:8080/tcp`, `[::]:8000-8010/udp`, `172.18.3.2` for all of its ports.
    pub fn place(&self) -> String {
        let (Some(ports), Some(protocol)) = (self.ports, self.protocol) else { return self.address.to_string() };
        let first = SocketAddr::new(self.address, ports.first());
        let rest = if ports.count() == 1 { String::new() } else { format!("-{}", ports.last()) };
        format!("{first}{rest}/{protocol}")
    }
}

/// Who can go a way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// This host.
    pub host: bool,
    /// The containers of bridge networks that have a way out.
    pub containers: bool,
    /// Everybody else.
    pub outside: Outside,
}

/// Who can go a way, of those who are neither this host nor its containers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outside {
    /// These.
    pub who: Who,
    /// But not these of them: `198.51.100.0/24`, `by eth1`.
    pub but: Vec<String>,
    /// Whether that is known. Else there is a rule about some of them of which only the kernel can tell whom it means.
    pub is_unsure: bool,
}

/// Some of those outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Who {
    /// No one.
    #[default]
    Nobody,
    /// Who has such an address, or comes by such a link: `192.0.2.0/24`, `by eth1`.
    These(Vec<String>),
    /// Whoever can send a packet to this host and be answered.
    Anyone,
    /// The same, where the packet is for the container's own address, and has to find its way to this host.
    Routed,
}

impl Outside {
    /// Whether there is anybody.
    pub fn is_open(&self) -> bool {
        self.who != Who::Nobody
    }
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.who {
            Who::Nobody => f.write_str("nobody")?,
            Who::These(these) => f.write_str(&these.join(", "))?,
            Who::Anyone => f.write_str("anyone")?,
            Who::Routed => f.write_str("anyone with a route")?,
        }
        if !self.but.is_empty() {
            write!(f, " but {}", self.but.join(", "))?;
        }
        if self.is_unsure { f.write_str(" (perhaps)") } else { Ok(()) }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let everybody = matches!(self.outside.who, Who::Anyone | Who::Routed);
        let mut all = Vec::new();
        if self.outside.is_open() || self.outside.is_unsure {
            all.push(self.outside.to_string());
        }
        // Of those who are among "anyone", only their absence is worth a word.
        for (word, is) in [("this host", self.host), ("containers", self.containers)] {
            match (everybody, is) {
                (false, true) => all.push(word.to_owned()),
                (true, false) => all.push(format!("not {word}")),
                _ => {}
            }
        }
        if all.is_empty() {
            all.push("nobody".into());
        }
        f.write_str(&all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reaches_a_port_is_said_in_few_words() {
        let words = |host, containers, who, but: &[&str]| {
            let but = but.iter().map(|it| (*it).to_owned()).collect();
            Reach { host, containers, outside: Outside { who, but, is_unsure: false } }.to_string()
        };
        let these = || Who::These(vec!["192.0.2.0/24".into()]);
        assert_eq!(words(true, true, Who::Anyone, &[]), "anyone");
        assert_eq!(words(true, true, Who::Anyone, &["198.51.100.0/24"]), "anyone but 198.51.100.0/24");
        assert_eq!(words(true, false, Who::Nobody, &[]), "this host");
        assert_eq!(words(true, true, these(), &[]), "192.0.2.0/24, this host, containers");
        assert_eq!(words(true, false, Who::Routed, &[]), "anyone with a route, not containers");
        assert_eq!(words(false, false, Who::Nobody, &[]), "nobody");
    }

    #[test]
    fn a_place_is_written_as_a_person_types_it() {
        let opening = |address: &str, ports: Option<(u16, u16)>| Opening {
            container: String::new(),
            container_id: String::new(),
            network: String::new(),
            address: address.parse().unwrap(),
            ports: ports.and_then(|(first, last)| PortRange::new(first, last)),
            protocol: Some(Protocol::Udp),
            inside: None,
            reach: Reach::default(),
            by: String::new(),
            firewall: None,
            remarks: Vec::new(),
        };
        assert_eq!(opening("0.0.0.0", Some((80, 80))).place(), "0.0.0.0:80/udp");
        assert_eq!(opening("::", Some((8000, 8010))).place(), "[::]:8000-8010/udp");
        assert_eq!(opening("172.18.0.2", None).place(), "172.18.0.2");
    }
}
