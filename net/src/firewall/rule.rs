//! One rule as a value. Its `Display` is the line that iptables-save(8) prints for it.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::address::Subnet;
use crate::ports::{PortRange, Protocol};

/// The tables rbox writes to, in the order in which it writes: a change that stops half-way is closed, not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Table {
    /// Before connection tracking: drops what must never come in.
    Raw,
    /// Lets packets through, or not.
    Filter,
    /// Translates addresses and ports.
    Nat,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Table::Raw => "raw",
            Table::Filter => "filter",
            Table::Nat => "nat",
        })
    }
}

impl Table {
    /// The one of this name.
    pub(super) fn of_name(name: &str) -> Option<Table> {
        [Table::Raw, Table::Filter, Table::Nat].into_iter().find(|table| table.to_string() == name)
    }
}

/// A match that may be turned round by `!`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Is<T> {
    /// The packet has it.
    #[serde(rename = "is")]
    This(T),
    /// The packet has anything else.
    #[serde(rename = "not")]
    Not(T),
}

impl<T: fmt::Display> Is<T> {
    fn write(&self, f: &mut fmt::Formatter<'_>, option: &str) -> fmt::Result {
        match self {
            Is::This(value) => write!(f, " {option} {value}"),
            Is::Not(value) => write!(f, " ! {option} {value}"),
        }
    }
}

/// Destination ports of a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ports {
    pub(crate) protocol: Protocol,
    pub(crate) range: PortRange,
}

/// What becomes of a packet that matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Accept,
    Drop,
    Return,
    Masquerade,
    Jump(String),
    /// Send it to another address; the text is what follows `--to-destination`.
    Dnat(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Accept => f.write_str("ACCEPT"),
            Verdict::Drop => f.write_str("DROP"),
            Verdict::Return => f.write_str("RETURN"),
            Verdict::Masquerade => f.write_str("MASQUERADE"),
            Verdict::Jump(chain) => f.write_str(chain),
            Verdict::Dnat(to) => write!(f, "DNAT --to-destination {to}"),
        }
    }
}

/// One rule of the packet filter, with the table and chain it lives in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its table.
    pub table: Table,
    /// Whether it is one of ip6tables.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ipv6: bool,
    /// Its chain.
    pub chain: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<Is<Subnet>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) destination: Option<Is<Subnet>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) input: Option<Is<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) output: Option<Is<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ports: Option<Ports>,
    /// The destination is (or is not) an address of this host: `LOCAL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) destination_type: Option<Is<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) connection_state: Option<String>,
    /// Whose rule it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) comment: Option<String>,
    pub(crate) verdict: Verdict,
}

impl Rule {
    /// Of a rule that sends datagrams elsewhere: whether it is of IPv6, and the ports where they come.
    pub(crate) fn takes_datagrams(&self) -> Option<(bool, PortRange)> {
        let ports = self.ports.filter(|ports| ports.protocol == Protocol::Udp)?;
        matches!(self.verdict, Verdict::Dnat(_)).then_some((self.ipv6, ports.range))
    }

    /// Whether it sends packets elsewhere.
    pub(crate) fn translates(&self) -> bool {
        matches!(self.verdict, Verdict::Dnat(_))
    }

    /// A rule without any match; add those by `Rule { input: …, ..Rule::new(…) }`.
    pub(crate) fn new(table: Table, chain: &str, verdict: Verdict) -> Rule {
        Rule {
            table,
            ipv6: false,
            chain: chain.to_owned(),
            source: None,
            destination: None,
            input: None,
            output: None,
            ports: None,
            destination_type: None,
            connection_state: None,
            comment: None,
            verdict,
        }
    }

    /// Everything after the name of the chain: matches, then the target.
    pub(crate) fn body(&self) -> String {
        let line = self.to_string();
        line.strip_prefix(&format!("-A {} ", self.chain)).expect("Display begins so").to_owned()
    }

    /// The whole of one address, as iptables-save prints a host.
    pub(crate) fn host(address: IpAddr) -> Is<Subnet> {
        Is::This(Subnet::around(address, u8::MAX))
    }
}

impl fmt::Display for Rule {
    /// `-A RBOX ! -i rbox0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "-A {}", self.chain)?;
        if let Some(source) = &self.source {
            source.write(f, "-s")?;
        }
        if let Some(destination) = &self.destination {
            destination.write(f, "-d")?;
        }
        if let Some(input) = &self.input {
            input.write(f, "-i")?;
        }
        if let Some(output) = &self.output {
            output.write(f, "-o")?;
        }
        if let Some(Ports { protocol, range }) = &self.ports {
            let range = range.to_string().replace('-', ":");
            write!(f, " -p {protocol} -m {protocol} --dport {range}")?;
        }
        if let Some(kind) = &self.destination_type {
            f.write_str(" -m addrtype")?;
            kind.write(f, "--dst-type")?;
        }
        if let Some(state) = &self.connection_state {
            write!(f, " -m conntrack --ctstate {state}")?;
        }
        if let Some(comment) = &self.comment {
            write!(f, " -m comment --comment {comment}")?;
        }
        write!(f, " -j {}", self.verdict)
    }
}
