//! The sockets of the host that keep a port: one dump for each family, as ss(8) makes it.
//!
//! sock_diag(7), linux/inet_diag.h. It tells what `/proc/net/tcp` does not: TCP sockets that are bound and do not listen
//! (Linux 6.8), and whether `[::]` has the port of IPv4, too.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::ControlFlow;

use nix::libc::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP};
use rtnetlink::sys::protocols::NETLINK_SOCK_DIAG;

use super::Protocol;
use crate::firewall::wire::{NLM_F_DUMP, NLM_F_REQUEST, attribute, open_to, read_dump};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const INET_DIAG_SKV6ONLY: u16 = 11;
/// LISTEN; CLOSE, in which every unconnected socket of udp is; BOUND_INACTIVE. include/net/tcp_states.h.
///
/// What is connected is left out: its answers come by the flow that it has begun, and no rule takes them from it.
const KEEPS_A_PORT: u32 = 1 << 10 | 1 << 7 | 1 << 13;
/// `struct inet_diag_sockid`, of which a dump asks for nothing.
const SOCKET_ID_BYTES: usize = 48;
/// `struct inet_diag_msg`, behind which the attributes stand.
const MESSAGE_BYTES: usize = 72;

/// A socket that has a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bound {
    /// Where it is bound.
    pub(crate) at: SocketAddr,
    /// Of one at `[::]`: whether it leaves the port of IPv4 to others.
    pub(crate) v6_only: bool,
    /// Its inode in `/proc/PID/fd`; 0 when no process has it any more.
    pub(crate) inode: u64,
}

impl Bound {
    /// Whether it keeps another from binding `wanted`.
    pub(crate) fn keeps_from(&self, wanted: SocketAddr) -> bool {
        if self.at.port() != wanted.port() {
            return false;
        }
        match (self.at.ip(), wanted.ip()) {
            (IpAddr::V6(bound), IpAddr::V4(_)) => bound.is_unspecified() && !self.v6_only,
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
            (bound, wanted) => bound == wanted || bound.is_unspecified() || wanted.is_unspecified(),
        }
    }
}

/// Every socket of `protocol` that keeps a port, in this thread's network namespace; none of sctp.
///
/// Errors: the kernel's; `NotFound` when it is built without these dumps.
pub(crate) fn dump(protocol: Protocol) -> io::Result<Vec<Bound>> {
    let number = match protocol {
        Protocol::Tcp => IPPROTO_TCP,
        Protocol::Udp => IPPROTO_UDP,
        Protocol::Sctp => return Ok(Vec::new()),
    };
    let socket = open_to(NETLINK_SOCK_DIAG)?;
    let mut sockets = Vec::new();
    for family in [AF_INET, AF_INET6] {
        socket.send(&request(byte(family), byte(number)), 0)?;
        read_dump(&socket, |kind, body| {
            if kind == SOCK_DIAG_BY_FAMILY {
                sockets.extend(read(body));
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(sockets)
}

fn byte(number: i32) -> u8 {
    u8::try_from(number).expect("families and protocols of the internet are small numbers")
}

/// `struct inet_diag_req_v2` behind a netlink header.
fn request(family: u8, protocol: u8) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    out.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    out.extend([0; 8]);
    out.extend([family, protocol, 0, 0]);
    out.extend(KEEPS_A_PORT.to_ne_bytes());
    out.resize(out.len() + SOCKET_ID_BYTES, 0);
    let length = u32::try_from(out.len()).expect("it is short");
    out[..4].copy_from_slice(&length.to_ne_bytes());
    out
}

/// One `struct inet_diag_msg` and its attributes; nothing where it has no port.
fn read(body: &[u8]) -> Option<Bound> {
    let port = u16::from_be_bytes(body.get(4..6)?.try_into().ok()?);
    let address: [u8; 16] = body.get(8..24)?.try_into().ok()?;
    let ip = match i32::from(*body.first()?) {
        AF_INET => Ipv4Addr::from(<[u8; 4]>::try_from(&address[..4]).ok()?).into(),
        _ => IpAddr::V6(Ipv6Addr::from(address)).to_canonical(),
    };
    let inode = u32::from_ne_bytes(body.get(68..MESSAGE_BYTES)?.try_into().ok()?);
    let v6_only = attribute(body.get(MESSAGE_BYTES..)?, INET_DIAG_SKV6ONLY) == Some(&[1]);
    (port != 0).then_some(Bound { at: SocketAddr::new(ip, port), v6_only, inode: inode.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn6, bind, setsockopt, socket, sockopt};
    use std::os::fd::AsRawFd;

    fn found(protocol: Protocol, port: u16) -> Option<Bound> {
        dump(protocol).unwrap().into_iter().find(|bound| bound.at.port() == port)
    }

    #[test]
    fn what_listens_and_what_is_only_bound_is_found() {
        let listens = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listens.local_addr().unwrap();
        assert_eq!(found(Protocol::Tcp, at.port()).unwrap().at, at);
        let hears = UdpSocket::bind("[::]:0").unwrap();
        let seen = found(Protocol::Udp, hears.local_addr().unwrap().port()).unwrap();
        assert_eq!((seen.at.ip(), seen.v6_only), (Ipv6Addr::UNSPECIFIED.into(), false));
        let bound = socket(AddressFamily::Inet6, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        setsockopt(&bound, sockopt::Ipv6V6Only, &true).unwrap();
        bind(bound.as_raw_fd(), &SockaddrIn6::from("[::]:50987".parse::<std::net::SocketAddrV6>().unwrap())).unwrap();
        let seen = found(Protocol::Tcp, 50987).unwrap();
        assert!(seen.v6_only && seen.inode != 0);
        drop(bound);
        assert_eq!(found(Protocol::Tcp, 50987), None);
    }

    #[test]
    fn a_wildcard_keeps_every_address_of_what_it_hears() {
        let keeps = |at: &str, v6_only, wanted: &str| {
            Bound { at: at.parse().unwrap(), v6_only, inode: 1 }.keeps_from(wanted.parse().unwrap())
        };
        assert!(keeps("0.0.0.0:80", false, "127.0.0.1:80") && keeps("127.0.0.1:80", false, "0.0.0.0:80"));
        assert!(keeps("[::]:80", false, "0.0.0.0:80") && !keeps("[::]:80", true, "0.0.0.0:80"));
        assert!(!keeps("0.0.0.0:80", false, "[::]:80") && !keeps("0.0.0.0:80", false, "0.0.0.0:81"));
        assert!(!keeps("127.0.0.1:80", false, "127.0.0.2:80"));
    }
}
