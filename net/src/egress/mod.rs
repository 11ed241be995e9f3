//! What a container may open connections to: `--egress`.
//!
//! ```text
//!   container's network namespace                                 │ the process that holds the container
//!                                                                 │
//!   program ──▶ output ──▶ table inet rbox-egress                 │
//!                            what answers, or stays inside: pass  │
//!                            an allowed address: pass             │
//!                            a name's address (@name-0-ipv4) ◀────┼── Gate ◀── the name server: allowed names alone
//!                            all else: @refused-ipv4, refused     │                 └──▶ upstream
//! ```
//!
//! The rules are in the container's own namespace. There they see what goes to a neighbour on the same bridge, which no
//! chain of the host does; nobody on the host flushes them with his own; they are there before the container's first
//! instruction, and end with it. Who could change them, or send beside them, is not to be in the container: that is the
//! caller's part (CAP_NET_ADMIN, CAP_NET_RAW).

mod entry;
mod rule;
mod set;
mod table;

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use entry::Entry;
use set::{Of, REMEMBERED, Set};

use crate::error::{Doing, Result};
use crate::ports::Protocol;

/// The name of the table.
const TABLE: &str = "rbox-egress";
/// How our own name server's questions are told from the container's, who may not mark any ("rbox").
pub(crate) const MARK: u32 = 0x7262_6f78;
/// Who was told an address needs a moment to use it, and many programs keep what they were told for 30 s, whatever its
/// lifetime (Java's networkaddress.cache.ttl).
const LIFETIME_MIN: Duration = Duration::from_secs(30);
/// Longer than this nobody is believed (RFC 8767, 4 keeps answers at most so long).
const LIFETIME_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// More addresses are not taken from one answer.
const ADDRESSES_MAX: usize = 100;

/// What a container may open connections to. Answers to who asks the container may always leave.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Nothing else; where this is empty nothing at all.
    pub allowed: Vec<Entry>,
}

impl Policy {
    /// Which entries are about a name: in small letters, without a dot at its end.
    fn of_name(&self, name: &str) -> impl Iterator<Item = usize> {
        self.allowed.iter().enumerate().filter(move |(_, entry)| entry.is_of(name)).map(|(at, _)| at)
    }
}

/// What has become of a policy so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Addresses that names mean for now.
    pub resolved: Vec<Resolved>,
    /// Receivers that were refused within the last day, the last first: at most 1024 of each family.
    pub refused: Vec<Refused>,
}

/// An address that may be reached, because a name means it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The entry of the policy.
    pub entry: Entry,
    /// The address.
    pub address: IpAddr,
    /// For so long.
    pub remaining: Duration,
}

/// A receiver that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its address.
    pub address: IpAddr,
    /// `tcp`, `udp`, `icmp`; else the number of the protocol.
    pub protocol: String,
    /// Its port, of tcp and udp.
    pub port: Option<u16>,
    /// How many packets.
    pub packets: u64,
    /// How long ago the last.
    pub ago: Duration,
}

/// Put a policy in the network namespace `netns`, before anything that it is about is there.
///
/// Errors: `Os`, what the kernel refuses.
pub(crate) fn install(netns: BorrowedFd<'_>, policy: &Policy) -> Result<()> {
    table::install(netns, policy)
}

/// The same where it may be there already, from an earlier life of who holds the container.
pub(crate) fn install_again(netns: BorrowedFd<'_>, policy: &Policy) -> Result<()> {
    if table::is_there(netns)? { Ok(()) } else { table::install(netns, policy) }
}

/// See what has become of the policy of a container whose network namespace is `netns`.
///
/// # Errors
/// `Os`: the namespace cannot be entered, or nftables asked.
pub fn seen(netns: BorrowedFd<'_>, policy: &Policy) -> Result<Seen> {
    let mut seen = Seen::default();
    let names = policy.allowed.iter().enumerate().flat_map(|(at, _)| Set::both(Of::Name(at)));
    let others = [Of::Ports, Of::Others].into_iter().flat_map(Set::both);
    let sets: Vec<Set> = names.chain(others).collect();
    for (set, found) in table::list(netns, &sets)? {
        match set.of {
            Of::Name(at) => {
                let entry = policy.allowed[at].clone();
                seen.resolved.push(Resolved { entry, address: found.address, remaining: found.remaining });
            }
            Of::Ports | Of::Others => seen.refused.push(Refused {
                address: found.address,
                protocol: protocol(found.protocol.unwrap_or(0)),
                port: found.port,
                packets: found.packets,
                ago: REMEMBERED.saturating_sub(found.remaining),
            }),
        }
    }
    seen.refused.sort_by_key(|refused| refused.ago);
    Ok(seen)
}

fn protocol(number: u8) -> String {
    match (number, Protocol::of_number(number)) {
        (1 | 58, _) => "icmp".into(),
        (_, Some(protocol)) => protocol.to_string(),
        (number, None) => number.to_string(),
    }
}

/// The part of the name server: which names may be asked for, and what follows from the answers.
pub(crate) struct Gate {
    policy: Policy,
    netns: OwnedFd,
}

impl Gate {
    pub(crate) fn new(policy: Policy, netns: BorrowedFd<'_>) -> Result<Gate> {
        let netns = netns.try_clone_to_owned().doing(|| "keep a network namespace".into())?;
        Ok(Gate { policy, netns })
    }

    /// Whether a name, in small letters and without a dot at its end, may be asked for.
    pub(crate) fn is_open_to(&self, name: &str) -> bool {
        // What is no name of a host would be a message: below a * all letters could stand.
        let is_host = name.bytes().all(|letter| letter.is_ascii_alphanumeric() || b"-_.".contains(&letter));
        is_host && self.policy.of_name(name).next().is_some()
    }

    /// Let the container reach what a name means, before it is told. Answers with those addresses that it may be told.
    ///
    /// Errors: `Os`, what the kernel refuses.
    pub(crate) fn open(&self, name: &str, addresses: &[IpAddr], lifetime: Duration) -> Result<Vec<IpAddr>> {
        let mut hosts: Vec<IpAddr> = Vec::new();
        for address in addresses.iter().filter(|address| is_of_a_host(**address)).take(ADDRESSES_MAX) {
            if !hosts.contains(address) {
                hosts.push(*address);
            }
        }
        let entries: Vec<usize> = self.policy.of_name(name).collect();
        if !hosts.is_empty() && !entries.is_empty() {
            let lifetime = lifetime.clamp(LIFETIME_MIN, LIFETIME_MAX);
            table::open(self.netns.as_fd(), name, (&entries, &hosts), lifetime)?;
        }
        Ok(hosts)
    }
}

/// Whoever answers for an allowed name says which addresses are reached by it. Those are not to be the machine's own, nor
/// what a cloud tells only its machines (169.254.169.254), nor everybody at once.
fn is_of_a_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            let is_reserved = ip.octets()[0] == 0 || ip.octets()[0] >= 240;
            !(is_reserved || ip.is_loopback() || ip.is_link_local() || ip.is_multicast())
        }
        IpAddr::V6(ip) => {
            // ::, ::1 and what stands for an address of IPv4 (RFC 4291, 2.5.5) are below ::/64.
            let is_low = ip.segments()[..4] == [0; 4];
            !(is_low || ip.is_unicast_link_local() || ip.is_multicast())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_hosts_alone() {
        let table = [
            ("192.0.2.1", true),
            ("10.0.0.1", true),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("224.0.0.251", false),
            ("255.255.255.255", false),
            ("0.0.0.0", false),
            ("2001:db8::1", true),
            ("fd00::1", true),
            ("fe80::1", false),
            ("ff02::1", false),
            ("::1", false),
            ("::ffff:10.0.0.1", false),
        ];
        for (address, is_host) in table {
            assert_eq!(is_of_a_host(address.parse().unwrap()), is_host, "{address}");
        }
    }
}
