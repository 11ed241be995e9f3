//! Relayed datagrams: each client gets a socket of its own towards the container, so that answers find back.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use nix::libc::in6_pktinfo;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, sendmsg, setsockopt, sockopt,
};

/// The largest datagram of IPv6 without extensions.
const DATAGRAM_BYTES_MAX: usize = 65535;

/// A datagram of a client.
pub(super) struct Datagram {
    pub(super) client: SocketAddrV6,
    /// The address of ours that the client wrote to: the answer must come from there.
    pub(super) to: Option<in6_pktinfo>,
    pub(super) bytes: Vec<u8>,
}

/// One client, as the container sees it.
pub(super) struct Flow {
    /// Connected to the container.
    pub(super) socket: UdpSocket,
    /// The token of the socket that the client writes to.
    pub(super) listener: u64,
    pub(super) client: SocketAddrV6,
    pub(super) answer_from: Option<in6_pktinfo>,
    /// When anything last passed.
    pub(super) used: Instant,
}

/// Have the kernel tell with each datagram which address it was sent to. ipv6(7), IPV6_RECVPKTINFO.
pub(super) fn tell_destination(socket: &impl AsFd) -> nix::Result<()> {
    setsockopt(&socket.as_fd(), sockopt::Ipv6RecvPacketInfo, &true)
}

/// Take one datagram; an error when there is none.
pub(super) fn receive(socket: &UdpSocket) -> io::Result<Datagram> {
    let mut bytes = vec![0; DATAGRAM_BYTES_MAX];
    let mut space = nix::cmsg_space!(in6_pktinfo);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_DONTWAIT)?;
    let to = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(info),
        _ => None,
    });
    let (length, client) = (message.bytes, message.address);
    let client = client.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?.into();
    bytes.truncate(length);
    Ok(Datagram { client, to, bytes })
}

/// Answer a client from the address it wrote to. What cannot be sent is lost, as datagrams are.
pub(super) fn send(socket: &UdpSocket, client: SocketAddrV6, from: Option<in6_pktinfo>, bytes: &[u8]) {
    let control: Vec<ControlMessage<'_>> = from.iter().map(ControlMessage::Ipv6PacketInfo).collect();
    let parts = [IoSlice::new(bytes)];
    let to = SockaddrIn6::from(client);
    let _ = sendmsg(socket.as_raw_fd(), &parts, &control, MsgFlags::MSG_DONTWAIT, Some(&to));
}

impl Flow {
    /// Open a socket to the container for the client of `first`.
    pub(super) fn open(listener: u64, first: &Datagram, server: SocketAddr) -> io::Result<Flow> {
        let any: IpAddr = if server.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_nonblocking(true)?;
        socket.connect(server)?;
        Ok(Flow { socket, listener, client: first.client, answer_from: first.to, used: Instant::now() })
    }

    /// Pass a datagram on to the container.
    pub(super) fn send(&mut self, datagram: &Datagram) {
        self.used = Instant::now();
        self.answer_from = datagram.to;
        // ECONNREFUSED is about an earlier one, and shows that nobody listens: then this is lost too.
        let _ = self.socket.send(&datagram.bytes);
    }

    /// Take one answer of the container; nothing when there is none.
    pub(super) fn receive(&mut self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            match self.socket.recv(&mut bytes) {
                Ok(length) => {
                    self.used = Instant::now();
                    bytes.truncate(length);
                    return Some(bytes);
                }
                // An earlier datagram found nobody; the answer to another may still be behind it.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(_) => return None,
            }
        }
    }
}
