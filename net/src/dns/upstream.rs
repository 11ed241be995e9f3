//! Who is asked what we do not know: the host's resolvers from the host's network, or those of `--dns` from the container's.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use hickory_proto::rr::Name;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket, sockopt};

use super::watched::Watched;
use super::zone::text_of;
use super::{NAME_SERVER, PORT};
use crate::hosts::FALLBACK;
use crate::netns::inside;

/// Sockets made each time a thread steps into the container's network: the step costs more than they do.
const SOCKETS: usize = 8;

/// The name servers that are asked what is not a container's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream {
    /// The host's own, asked from the host's network: so a 127.0.0.53 of systemd-resolved works as it is.
    Host {
        /// The file that names them, which may change: `/etc/resolv.conf`.
        resolv_conf: PathBuf,
        /// A domain that they may know, and no container: `rbox`, in which the host finds all of them.
        hidden: String,
    },
    /// `--dns`: these, asked from inside the container's network.
    These(Vec<IpAddr>),
}

impl Upstream {
    /// The host's own.
    pub fn host() -> Upstream {
        Upstream::Host { resolv_conf: "/etc/resolv.conf".into(), hidden: String::new() }
    }

    /// Those of `--dns`; where it names none, the host's, without the domain `hidden`.
    pub fn of(servers: &[IpAddr], hidden: &str) -> Upstream {
        match servers {
            [] => Upstream::Host { resolv_conf: "/etc/resolv.conf".into(), hidden: hidden.to_owned() },
            servers => Upstream::These(servers.to_vec()),
        }
    }

    /// Whether a name is never asked for.
    pub(super) fn hides(&self, name: &Name) -> bool {
        match self {
            Upstream::Host { hidden, .. } if !hidden.is_empty() => {
                let text = text_of(name);
                let rest = text.strip_suffix(&hidden.to_ascii_lowercase());
                rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            _ => false,
        }
    }
}

/// An [`Upstream`] that can be asked.
pub(super) enum Servers {
    Host(Watched<Vec<SocketAddr>>),
    These {
        servers: Vec<SocketAddr>,
        netns: OwnedFd,
        /// What tells our questions from the container's own packets, where that matters.
        mark: Option<u32>,
        unused: HashMap<(bool, bool), Vec<OwnedFd>>,
    },
}

impl Servers {
    /// `netns` is the container's; what is asked from in there bears `mark`.
    pub(super) fn new(upstream: Upstream, netns: impl AsFd, mark: Option<u32>) -> io::Result<Servers> {
        Ok(match upstream {
            Upstream::Host { resolv_conf, .. } => Servers::Host(Watched::new(resolv_conf)),
            Upstream::These(servers) => Servers::These {
                // From in there it is ourselves. (On the host 127.0.0.11 is somebody else: rbox in a container has there
                // the name server of whoever runs it.)
                servers: servers.into_iter().filter(|ip| *ip != NAME_SERVER).map(|ip| (ip, PORT).into()).collect(),
                netns: netns.as_fd().try_clone_to_owned()?,
                mark,
                unused: HashMap::new(),
            },
        })
    }

    /// Who is to be asked now, the first first.
    pub(super) fn list(&mut self) -> Vec<SocketAddr> {
        match self {
            Servers::Host(servers) => servers.current(read).clone(),
            Servers::These { servers, .. } => servers.clone(),
        }
    }

    /// Make a socket that asks `server`: nonblocking, not connected yet, so that the kernel draws its port by chance.
    pub(super) fn socket(&mut self, server: SocketAddr, is_tcp: bool) -> io::Result<OwnedFd> {
        let open = || {
            let family = if server.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
            let kind = if is_tcp { SockType::Stream } else { SockType::Datagram };
            Ok(socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?)
        };
        match self {
            Servers::Host(_) => open(),
            Servers::These { netns, unused, mark, .. } => {
                let unused = unused.entry((server.is_ipv4(), is_tcp)).or_default();
                if unused.is_empty() {
                    let marked = || -> io::Result<OwnedFd> {
                        let socket = open()?;
                        mark.map_or(Ok(()), |mark| setsockopt(&socket, sockopt::Mark, &mark))?;
                        Ok(socket)
                    };
                    // One is enough; there may be no descriptor left for more.
                    let several =
                        || Ok((0..SOCKETS).map_while(|_| marked().ok()).collect::<Vec<_>>()).and_then(at_least_one);
                    *unused = inside(netns.as_fd(), several)?;
                }
                unused.pop().ok_or_else(|| io::ErrorKind::NotFound.into())
            }
        }
    }
}

fn at_least_one(sockets: Vec<OwnedFd>) -> io::Result<Vec<OwnedFd>> {
    if sockets.is_empty() { Err(io::Error::other("no socket can be made")) } else { Ok(sockets) }
}

/// The name servers of a resolv.conf(5). Where there are none, those of last resort, as in a container's own file.
fn read(resolv_conf: &Path) -> Vec<SocketAddr> {
    let mut text = Vec::new();
    // A file that cannot be read counts as empty: resolv.conf(5) has it so.
    let _ = File::open(resolv_conf).and_then(|file| file.take(65536).read_to_end(&mut text));
    let servers: Vec<SocketAddr> = String::from_utf8_lossy(&text).lines().filter_map(server).collect();
    if servers.is_empty() { FALLBACK.map(|ip| (ip, PORT).into()).into() } else { servers }
}

/// The address of a `nameserver` line. A zone (`fe80::1%eth0`) is the host's link, and without it there is no way.
fn server(line: &str) -> Option<SocketAddr> {
    let mut words = line.split_whitespace();
    let address = (words.next() == Some("nameserver")).then(|| words.next())??;
    let Some((address, zone)) = address.split_once('%') else {
        return address.parse::<IpAddr>().ok().map(|ip| (ip, PORT).into());
    };
    let zone = zone.parse().ok().or_else(|| if_nametoindex(zone).ok())?;
    Some(SocketAddrV6::new(address.parse::<Ipv6Addr>().ok()?, PORT, 0, zone).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolv_conf_is_read_with_zones_and_follows_its_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        let mut servers = Servers::new(
            Upstream::Host { resolv_conf: path.clone(), hidden: String::new() },
            File::open("/dev/null").unwrap(),
            None,
        )
        .unwrap();
        let mut list = || servers.list().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(list(), ["8.8.8.8:53", "8.8.4.4:53"]);
        let text = "# nameserver 9.9.9.9\nnameserver 127.0.0.53\nnameserver 127.0.0.11\nnameserver fe80::1%lo\n\
                    nameserver fe80::2%none\nnameserver nonsense\nsearch lan\n nameserver ::1 # mine\n";
        std::fs::write(&path, text).unwrap();
        assert_eq!(list(), ["127.0.0.53:53", "127.0.0.11:53", "[fe80::1%1]:53", "[::1]:53"]);
        std::fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
        assert_eq!(list(), ["192.0.2.1:53"]);
        std::fs::write(&path, "search lan\n").unwrap();
        assert_eq!(list(), ["8.8.8.8:53", "8.8.4.4:53"]);
    }

    #[test]
    fn nobody_is_asked_through_himself() {
        let these = Upstream::These(vec!["127.0.0.11".parse().unwrap(), "127.0.0.1".parse().unwrap()]);
        let mut servers = Servers::new(these, File::open("/dev/null").unwrap(), None).unwrap();
        assert_eq!(servers.list(), ["127.0.0.1:53".parse().unwrap()]);
    }
}
