//! What stands in `--egress allow=…`: a name, an address or a subnet, with ports and a protocol where only those are meant.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::address::Subnet;
use crate::error::Error;
use crate::ports::{PortRange, Protocol};

/// One thing that a container may reach. What is not said is not restricted: without a port all, and what has no ports;
/// without a protocol both that have ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Entry {
    pub(super) target: Target,
    pub(super) ports: Option<PortRange>,
    pub(super) protocol: Option<Protocol>,
}

/// Whom it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// All addresses of a subnet; one alone is a subnet of itself.
    Subnet(Subnet),
    /// Whoever has this name, in small letters.
    Name(String),
    /// Whoever has a name that ends so: `*.example.com`, which is not `example.com` itself.
    Below(String),
}

/// RFC 1035, 2.3.4: of a name as text.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

impl Entry {
    /// Whether it is about a name. `name` is in small letters, without a dot at its end.
    pub(super) fn is_of(&self, name: &str) -> bool {
        match &self.target {
            Target::Subnet(_) => false,
            Target::Name(own) => own == name,
            Target::Below(own) => name.strip_suffix(own.as_str()).is_some_and(|rest| rest.ends_with('.')),
        }
    }

    /// The protocols in whose header the port stands; none where every protocol is meant.
    pub(super) fn protocols(&self) -> Vec<Protocol> {
        match (self.protocol, self.ports) {
            (Some(protocol), _) => vec![protocol],
            (None, Some(_)) => vec![Protocol::Tcp, Protocol::Udp],
            (None, None) => Vec::new(),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Subnet(subnet) => write_subnet(f, *subnet, self.ports.is_some())?,
            Target::Name(name) => f.write_str(name)?,
            Target::Below(name) => write!(f, "*.{name}")?,
        }
        self.ports.map_or(Ok(()), |ports| write!(f, ":{ports}"))?;
        self.protocol.map_or(Ok(()), |protocol| write!(f, "/{protocol}"))
    }
}

/// `10.0.0.0/8`, `10.0.0.1`; before a port of IPv6 `[2001:db8::]/32`.
fn write_subnet(f: &mut fmt::Formatter<'_>, subnet: Subnet, with_ports: bool) -> fmt::Result {
    match subnet.first() {
        IpAddr::V6(first) if with_ports => write!(f, "[{first}]")?,
        first => write!(f, "{first}")?,
    }
    let is_one = subnet.first() == subnet.last();
    if is_one { Ok(()) } else { write!(f, "/{}", subnet.prefix()) }
}

impl FromStr for Entry {
    type Err = Error;

    /// Read `github.com`, `*.example.com:443/tcp`, `10.0.0.0/8:8000-8010`, `2001:db8::1`, `[2001:db8::]/32:443`.
    ///
    /// Errors: `Invalid`, with what is wrong.
    fn from_str(text: &str) -> Result<Entry, Error> {
        read(text).map_err(|why| Error::Invalid { object: text.to_owned(), why })
    }
}

impl From<Entry> for String {
    fn from(entry: Entry) -> String {
        entry.to_string()
    }
}

impl TryFrom<String> for Entry {
    type Error = Error;

    fn try_from(text: String) -> Result<Entry, Error> {
        text.parse()
    }
}

fn read(text: &str) -> Result<Entry, String> {
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(format!("a name or an address stands alone, without {scheme}://"));
    }
    let (rest, protocol) = match text.rsplit_once('/') {
        // The length of a prefix is a number, a protocol is not.
        Some((rest, word)) if word.bytes().next().is_none_or(|letter| letter.is_ascii_alphabetic()) => {
            let protocol = Protocol::read(word).ok().filter(|it| it.is_relayable());
            (rest, Some(protocol.ok_or_else(|| format!("protocol {word} is not one of tcp, udp"))?))
        }
        _ => (text, None),
    };
    let (target, ports) = halves(rest)?;
    let ports = ports.map(|ports| PortRange::read(ports, "port")).transpose()?;
    Ok(Entry { target: read_target(&target)?, ports, protocol })
}

/// What stands before the port, and the port.
fn halves(text: &str) -> Result<(String, Option<&str>), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or("] is missing")?;
        let (prefix, ports) = rest.split_once(':').map_or((rest, None), |(prefix, ports)| (prefix, Some(ports)));
        return match prefix.is_empty() || prefix.starts_with('/') {
            true => Ok((format!("{address}{prefix}"), ports)),
            false => Err(format!("{prefix} behind ] is neither a prefix nor a port")),
        };
    }
    // More than one colon: an address of IPv6, which has no port without brackets.
    match text.split_once(':') {
        Some((before, ports)) if !ports.contains(':') => Ok((before.to_owned(), Some(ports))),
        _ => Ok((text.to_owned(), None)),
    }
}

fn read_target(text: &str) -> Result<Target, String> {
    if text.contains('/') {
        let why = |error| match error {
            Error::Invalid { why, .. } => why,
            other => other.to_string(),
        };
        return text.parse().map(Target::Subnet).map_err(why);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Target::Subnet(Subnet::around(address, u8::MAX)));
    }
    let small = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let below = small.strip_prefix("*.");
    let name = below.unwrap_or(&small);
    check_name(name)?;
    Ok(if below.is_some() { Target::Below(name.to_owned()) } else { Target::Name(name.to_owned()) })
}

fn check_name(name: &str) -> Result<(), String> {
    if !name.is_ascii() {
        return Err("a name of other letters is written as it stands in DNS: xn--…".into());
    }
    if name.contains('*') {
        return Err("a * stands alone for the first part of a name: *.example.com".into());
    }
    let is_label = |label: &str| {
        let fits = (1..=LABEL_BYTES_MAX).contains(&label.len());
        fits && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    // 10.0.0 or 300.1.1.1 is a slip: no name ends in a number (RFC 3696, 2).
    let is_number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    match name.len() <= NAME_BYTES_MAX && name.split('.').all(is_label) && !is_number {
        true => Ok(()),
        false => Err("neither a name nor an address".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        text.parse::<Entry>().map_or_else(|error| error.to_string(), |entry| entry.to_string())
    }

    #[test]
    fn entries_are_read_and_said_again() {
        let same = [
            "github.com",
            "github.com:443",
            "github.com:443/tcp",
            "db/udp",
            "my_db-1:5432",
            "*.example.com:8000-8010",
            "10.0.0.0/8",
            "10.0.0.0/8:53/udp",
            "10.0.0.1",
            "10.0.0.1:80",
            "2001:db8::1",
            "2001:db8::/32",
            "2001:db8::/32/tcp",
            "[2001:db8::]/32:443",
            "[2001:db8::1]:443/tcp",
            "0.0.0.0/0",
            "::/0",
        ];
        for text in same {
            assert_eq!(said(text), text);
        }
        let table = [
            ("GitHub.COM.:443/TCP", "github.com:443/tcp"),
            ("10.0.0.1/32", "10.0.0.1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::]/32", "2001:db8::/32"),
        ];
        for (text, meant) in table {
            assert_eq!(said(text), meant);
        }
    }

    #[test]
    fn what_is_no_entry_is_refused_with_the_reason() {
        let table = [
            ("", "neither a name nor an address"),
            ("a..b", "neither a name nor an address"),
            ("-/tcp/udp", "not an IP address"),
            ("web:0", "port 0 is not a number from 1 to 65535"),
            ("web:", "port is not a number from 1 to 65535"),
            ("web:90-80", "port range 90-80 ends before it begins"),
            ("web/icmp", "protocol icmp is not one of tcp, udp"),
            ("web/sctp", "protocol sctp is not one of tcp, udp"),
            ("web/", "protocol  is not one of tcp, udp"),
            ("10.0.0.1/8", "it has host bits set; 10.0.0.0/8 is meant"),
            ("10.0.0.0/33", "the prefix is a number from 0 to 32"),
            ("300.1.1.1", "neither a name nor an address"),
            ("10.0.0", "neither a name nor an address"),
            ("[2001:db8::1:443", "] is missing"),
            ("[2001:db8::1]443", "443 behind ] is neither a prefix nor a port"),
            ("*", "a * stands alone for the first part of a name: *.example.com"),
            ("a*.example.com", "a * stands alone for the first part of a name: *.example.com"),
            ("bücher.example", "a name of other letters is written as it stands in DNS: xn--…"),
            ("https://example.com/", "a name or an address stands alone, without https://"),
        ];
        for (text, why) in table {
            assert_eq!(said(text), format!("{text}: {why}"));
        }
        let long = format!("{}.example.com", "a".repeat(64));
        assert!(said(&long).ends_with("neither a name nor an address"));
    }

    #[test]
    fn names_are_taken_whole_and_a_star_takes_all_below() {
        let is = |entry: &str, name: &str| entry.parse::<Entry>().unwrap().is_of(name);
        assert!(is("example.com", "example.com"));
        assert!(
            !is("example.com", "www.example.com") && !is("example.com", "xexample.com") && !is("example.com", "com")
        );
        assert!(is("*.example.com", "www.example.com") && is("*.example.com", "a.b.example.com"));
        assert!(!is("*.example.com", "example.com") && !is("*.example.com", "xexample.com"));
        assert!(!is("10.0.0.1", "10.0.0.1"));
    }
}
