//! Port numbers, protocols, and the pair of both ends of a published port.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// A transport protocol that has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// tcp(7)
    Tcp,
    /// udp(7)
    Udp,
    /// sctp(7); many kernels come without it
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// All of them.
const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }

    /// Its number in the header of IP (IANA, Assigned Internet Protocol Numbers).
    pub(crate) fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    /// Whose number this is.
    pub(crate) fn of_number(number: u8) -> Option<Protocol> {
        PROTOCOLS.into_iter().find(|protocol| protocol.number() == number)
    }

    /// Whether a process can carry it from one address to another by reading and writing.
    pub(crate) fn is_relayable(self) -> bool {
        self != Protocol::Sctp
    }

    /// Read `tcp`, `udp` or `sctp`, in capitals too; the error is the reason as words.
    pub(crate) fn read(text: &str) -> Result<Protocol, String> {
        PROTOCOLS
            .into_iter()
            .find(|protocol| text.eq_ignore_ascii_case(protocol.name()))
            .ok_or_else(|| format!("protocol {text} is not one of tcp, udp, sctp"))
    }
}

/// A run of port numbers, `80` or `8000-8010`; never empty, never with port 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// Take `first` to `last`, both included. Nothing when 0 is among them or they are the wrong way round.
    pub fn new(first: u16, last: u16) -> Option<PortRange> {
        (1..=last).contains(&first).then_some(PortRange { first, last })
    }

    /// Whether a port is one of them.
    pub(crate) fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// The lowest port.
    pub fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    pub fn last(self) -> u16 {
        self.last
    }

    /// How many ports, 1 to 65535.
    pub fn count(self) -> u16 {
        self.last - self.first + 1
    }

    /// Every port, lowest first.
    pub fn ports(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }

    /// The same as places in a table by number.
    pub(crate) fn range(self) -> RangeInclusive<usize> {
        usize::from(self.first)..=usize::from(self.last)
    }

    /// Whether any port lies in both.
    pub fn overlaps(self, other: PortRange) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The ports that are in both.
    pub(crate) fn common(self, other: PortRange) -> Option<PortRange> {
        PortRange::new(self.first.max(other.first), self.last.min(other.last))
    }

    /// Read `80` or `80-90`. `what` names the port in the error, which is the reason as words.
    pub(crate) fn read(text: &str, what: &str) -> Result<PortRange, String> {
        let number = |text: &str| {
            // parse() would take "+80" too.
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = if digits { text.parse::<u16>().ok() } else { None };
            number
                .filter(|number| *number > 0)
                .ok_or_else(|| format!("{what} {text} is not a number from 1 to 65535").replace("  ", " "))
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        PortRange::new(number(first)?, number(last)?)
            .ok_or_else(|| format!("{what} range {text} ends before it begins"))
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

/// Ports of the host: what one container alone can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HostPorts {
    pub(crate) ip: IpAddr,
    pub(crate) ports: PortRange,
    pub(crate) protocol: Protocol,
}

impl HostPorts {
    /// Whether both want the same port of the host somewhere.
    pub(crate) fn collides(self, other: HostPorts) -> bool {
        self.is_beside(other) && self.ports.overlaps(other.ports)
    }

    /// Whether both would, if their numbers were the same.
    pub(crate) fn is_beside(self, other: HostPorts) -> bool {
        let same_place = self.ip.is_ipv4() == other.ip.is_ipv4()
            && (self.ip == other.ip || self.ip.is_unspecified() || other.ip.is_unspecified());
        self.protocol == other.protocol && same_place
    }

    /// Read what its `Display` writes; nothing where it is something else.
    pub(crate) fn read(text: &str) -> Option<HostPorts> {
        let (place, protocol) = text.split_once('/')?;
        let (ip, ports) = place.rsplit_once(':')?;
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let ports = PortRange::new(first.parse().ok()?, last.parse().ok()?)?;
        let protocol = PROTOCOLS.into_iter().find(|it| it.name() == protocol)?;
        Some(HostPorts { ip: ip.parse().ok()?, ports, protocol })
    }
}

impl fmt::Display for HostPorts {
    /// `0.0.0.0:8080/tcp`, `:::8000-8010/udp`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.ip, self.ports, self.protocol)
    }
}

/// Ports of the host that lead to ports of a container, as they really are: every number is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortMapping {
    /// Where the host listens: `0.0.0.0`, `::`, or one address.
    pub host_ip: IpAddr,
    /// The host's ports, as many as the container's.
    pub host: PortRange,
    /// The container's ports.
    pub container: PortRange,
    /// Their protocol.
    pub protocol: Protocol,
}

impl PortMapping {
    /// Its end at the host.
    pub(crate) fn of_host(&self) -> HostPorts {
        HostPorts { ip: self.host_ip, ports: self.host, protocol: self.protocol }
    }

    /// Whether both want one host port of one address: `0.0.0.0` stands for every IPv4 address, `::` for every IPv6 address.
    pub fn collides(&self, other: &PortMapping) -> bool {
        self.of_host().collides(other.of_host())
    }

    /// Whether a process must carry the bytes: where the container has no IPv6 address that the kernel could translate to,
    /// and where it has one still from the host's own `::1`, which the kernel never lets out.
    pub fn is_relayed(&self) -> bool {
        self.host_ip.is_ipv6() && self.protocol.is_relayable()
    }

    /// The host port as an error names it: `8080`, `127.0.0.1:8080`.
    pub(crate) fn named(&self, port: u16) -> String {
        match self.host_ip.is_unspecified() {
            true => port.to_string(),
            false => SocketAddr::new(self.host_ip, port).to_string(),
        }
    }
}

impl fmt::Display for PortMapping {
    /// As `ps` prints it: `0.0.0.0:8080->80/tcp`, `:::8080->80/tcp`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}->{}/{}", self.host_ip, self.host, self.container, self.protocol)
    }
}

impl PortMapping {
    /// The container's port that `host` leads to.
    pub(crate) fn target(&self, host: u16, address: IpAddr) -> SocketAddr {
        SocketAddr::new(address, self.container.first + (host - self.host.first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(ip: &str, host: u16, protocol: Protocol) -> PortMapping {
        let host = PortRange::new(host, host).unwrap();
        PortMapping { host_ip: ip.parse().unwrap(), host, container: host, protocol }
    }

    #[test]
    fn mappings_print_as_in_ps() {
        let container = PortRange::new(8080, 8080).unwrap();
        let tcp = PortMapping { container, ..mapping("0.0.0.0", 49154, Protocol::Tcp) };
        assert_eq!(tcp.to_string(), "0.0.0.0:49154->8080/tcp");
        assert_eq!(PortMapping { host_ip: "::".parse().unwrap(), ..tcp }.to_string(), ":::49154->8080/tcp");
    }

    #[test]
    fn a_wildcard_collides_with_every_address_of_its_family() {
        let any = mapping("0.0.0.0", 80, Protocol::Tcp);
        assert!(any.collides(&mapping("127.0.0.1", 80, Protocol::Tcp)));
        assert!(mapping("10.0.0.1", 80, Protocol::Tcp).collides(&any));
        assert!(!any.collides(&mapping("::", 80, Protocol::Tcp)));
        assert!(!any.collides(&mapping("0.0.0.0", 80, Protocol::Udp)));
        assert!(!any.collides(&mapping("0.0.0.0", 81, Protocol::Tcp)));
        assert!(!mapping("127.0.0.1", 80, Protocol::Tcp).collides(&mapping("127.0.0.2", 80, Protocol::Tcp)));
    }

    #[test]
    fn port_ranges() {
        assert_eq!(PortRange::read("80-90", "port").unwrap().count(), 11);
        assert_eq!(PortRange::read("1-65535", "port").unwrap().count(), 65535);
        for bad in ["", "0", "65536", "+80", "a", "80-", "-80", "80-a"] {
            assert!(PortRange::read(bad, "port").unwrap_err().contains("is not a number from 1 to 65535"), "{bad}");
        }
        assert_eq!(PortRange::read("90-80", "port").unwrap_err(), "port range 90-80 ends before it begins");
    }
}
