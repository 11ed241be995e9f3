//! Keeping a host port: a socket that is bound and does nothing else.
//!
//! The rules take the packets before any socket sees them, so nobody needs to listen. But a port that is
//! not bound is free to everybody: nginx would start on it and never hear a thing. So while the container
//! lives its owner holds the port; the kernel frees it when the owner dies, however it dies.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, bind, listen, setsockopt,
    socket, sockopt,
};

use super::{PortMapping, Protocol, holder};
use crate::error::{Error, Result, words};
use crate::steps;

/// At most so many ports of one container are held; 10,000 sockets for a range would be dearer than the range.
pub(crate) const HELD_PORTS_MAX: usize = 64;

/// A host port in our hand.
#[derive(Debug)]
pub(crate) struct Held {
    /// Where it is bound.
    pub(crate) mapping: PortMapping,
    /// The host port.
    pub(crate) port: u16,
    /// The socket; one that is relayed listens.
    pub(crate) socket: OwnedFd,
}

/// Bind `port` of `mapping`.
///
/// `Ok(None)` when there is nothing to hold: this kernel has no such protocol, or (for the wildcard) no IPv6.
/// Errors: `PortInUse` with the holder, `PortUnavailable`.
pub(crate) fn hold(mapping: &PortMapping, port: u16) -> Result<Option<Held>> {
    let row = if mapping.is_relayed() { &steps::PORT_RELAY } else { &steps::PORT_HOLD };
    let words_of = || {
        let then = if listens(mapping) { ", listen" } else { "" };
        format!("socket({}), bind({}){then}", mapping.protocol, SocketAddr::new(mapping.host_ip, port))
    };
    match rbox_explain::step(row, words_of, || bound(mapping, port)) {
        Ok(socket) => Ok(Some(Held { mapping: *mapping, port, socket })),
        Err(Errno::EADDRINUSE) => Err(Error::PortInUse {
            port: mapping.named(port),
            holder: holder::find(mapping.protocol, SocketAddr::new(mapping.host_ip, port)),
        }),
        Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL)
            if mapping.host_ip.is_ipv6() && mapping.host_ip.is_unspecified() =>
        {
            Ok(None)
        }
        Err(Errno::EPROTONOSUPPORT | Errno::ESOCKTNOSUPPORT) if mapping.protocol == Protocol::Sctp => {
            Err(Error::PortUnavailable { port: mapping.named(port), why: "this kernel has no sctp".into() })
        }
        Err(errno) => Err(Error::PortUnavailable { port: mapping.named(port), why: words(&errno.into()) }),
    }
}

fn listens(mapping: &PortMapping) -> bool {
    mapping.is_relayed() && mapping.protocol == Protocol::Tcp
}

fn bound(mapping: &PortMapping, port: u16) -> nix::Result<OwnedFd> {
    if listens(mapping) {
        // A listening socket keeps the port also with SO_REUSEADDR; and connections that it accepts must have it, else
        // their TIME_WAIT would refuse the port to the next container.
        return try_bind(mapping, port, true);
    }
    match try_bind(mapping, port, false) {
        // A connection of an earlier program may still be in TIME_WAIT here: that is nobody's port. With
        // SO_REUSEADDR the kernel overlooks those, and still refuses a port where anybody listens.
        Err(Errno::EADDRINUSE) if mapping.protocol == Protocol::Tcp => try_bind(mapping, port, true),
        answer => answer,
    }
}

fn try_bind(mapping: &PortMapping, port: u16, overlook_time_wait: bool) -> nix::Result<OwnedFd> {
    let family = if mapping.host_ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let (kind, protocol) = match mapping.protocol {
        Protocol::Tcp => (SockType::Stream, Some(SockProtocol::Tcp)),
        Protocol::Udp => (SockType::Datagram, Some(SockProtocol::Udp)),
        Protocol::Sctp => (SockType::Stream, Some(SockProtocol::Sctp)),
    };
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, protocol)?;
    if mapping.host_ip.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    if overlook_time_wait {
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    }
    match SocketAddr::new(mapping.host_ip, port) {
        SocketAddr::V4(address) => bind(socket.as_raw_fd(), &SockaddrIn::from(address))?,
        SocketAddr::V6(address) => bind(socket.as_raw_fd(), &SockaddrIn6::from(address))?,
    }
    if listens(mapping) {
        listen(&socket, Backlog::MAXCONN)?;
    } else if overlook_time_wait {
        // Whoever comes later must not be as lenient with us as we were with the dead.
        setsockopt(&socket, sockopt::ReuseAddr, &false)?;
    }
    Ok(socket)
}
