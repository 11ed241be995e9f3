//! One question at one upstream: by udp one datagram each way, by tcp each with its length before it (RFC 7766).

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use hickory_proto::op::Query;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::{SockaddrStorage, connect};

use super::message::{self, Heard};

/// The largest datagram.
const DATAGRAM_BYTES_MAX: usize = 65535;
/// Datagrams looked at before others get their turn; more than one only when somebody tries to slip in his own.
const TURN: usize = 16;

/// A socket that has asked.
pub(super) struct Attempt {
    pub(super) server: SocketAddr,
    id: u16,
    by: By,
}

enum By {
    Udp(UdpSocket),
    Tcp { stream: TcpStream, output: Vec<u8>, sent: usize, input: Vec<u8> },
}

/// How an attempt stands.
pub(super) enum Outcome {
    /// Nothing has come yet.
    Waits,
    /// This has come.
    Answered(Vec<u8>),
    /// It did not help: the upstream said so, or could not be reached.
    Failed(Option<Vec<u8>>),
}

impl Attempt {
    /// Ask: begin to, where it is tcp. The socket is connected, so nobody else can answer.
    pub(super) fn begin(
        socket: OwnedFd,
        server: SocketAddr,
        is_tcp: bool,
        id: u16,
        question: &[u8],
    ) -> io::Result<Attempt> {
        match connect(socket.as_raw_fd(), &SockaddrStorage::from(server)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        let by = if is_tcp {
            let length = u16::try_from(question.len()).map_err(io::Error::other)?;
            let output = [&length.to_be_bytes(), question].concat();
            By::Tcp { stream: socket.into(), output, sent: 0, input: Vec::new() }
        } else {
            let socket = UdpSocket::from(socket);
            socket.send(question)?;
            By::Udp(socket)
        };
        Ok(Attempt { server, id, by })
    }

    /// Wait for the socket under this token.
    pub(super) fn watch(&self, epoll: &Epoll, token: u64) -> nix::Result<()> {
        let events = match &self.by {
            By::Udp(_) => EpollFlags::EPOLLIN,
            By::Tcp { .. } => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
        };
        epoll.add(self.socket(), EpollEvent::new(events, token))
    }

    fn socket(&self) -> BorrowedFd<'_> {
        match &self.by {
            By::Udp(socket) => socket.as_fd(),
            By::Tcp { stream, .. } => stream.as_fd(),
        }
    }

    /// Take what has come.
    pub(super) fn pump(&mut self, epoll: &Epoll, token: u64, query: &Query) -> Outcome {
        let moved = match &mut self.by {
            By::Udp(socket) => return receive(socket, self.id, query),
            By::Tcp { stream, output, sent, input } => exchange(stream, output, sent, input),
        };
        let By::Tcp { stream, output, sent, input } = &mut self.by else { return Outcome::Waits };
        if moved.is_err() {
            return Outcome::Failed(None);
        }
        if !output.is_empty() && *sent == output.len() {
            // From now on it is always writable.
            output.clear();
            *sent = 0;
            if epoll.modify(stream, &mut EpollEvent::new(EpollFlags::EPOLLIN, token)).is_err() {
                return Outcome::Failed(None);
            }
        }
        let Some((length, bytes)) = input.split_first_chunk() else { return Outcome::Waits };
        let Some(bytes) = bytes.get(..u16::from_be_bytes(*length).into()) else { return Outcome::Waits };
        match message::judge(bytes, self.id, query) {
            Heard::Answer => Outcome::Answered(bytes.to_vec()),
            Heard::Failure => Outcome::Failed(Some(bytes.to_vec())),
            Heard::Other => Outcome::Failed(None),
        }
    }
}

fn receive(socket: &UdpSocket, id: u16, query: &Query) -> Outcome {
    let mut bytes = vec![0; DATAGRAM_BYTES_MAX];
    for _ in 0..TURN {
        match socket.recv(&mut bytes) {
            Ok(length) => match message::judge(&bytes[..length], id, query) {
                Heard::Answer => return Outcome::Answered(bytes[..length].to_vec()),
                Heard::Failure => return Outcome::Failed(Some(bytes[..length].to_vec())),
                Heard::Other => {}
            },
            Err(error) if would_block(&error) => return Outcome::Waits,
            // ECONNREFUSED, EHOSTUNREACH: ICMP has said so.
            Err(_) => return Outcome::Failed(None),
        }
    }
    Outcome::Waits
}

/// Write what is left of the question, and read what is there of the answer, and no more than that.
fn exchange(stream: &mut TcpStream, output: &[u8], sent: &mut usize, input: &mut Vec<u8>) -> io::Result<()> {
    while *sent < output.len() {
        match stream.write(&output[*sent..]) {
            Ok(bytes) => *sent += bytes,
            Err(error) if would_block(&error) => break,
            Err(error) => return Err(error),
        }
    }
    let mut part = [0; 4096];
    loop {
        let wanted = input.first_chunk().map_or(2, |length| 2 + usize::from(u16::from_be_bytes(*length)));
        let missing = wanted.saturating_sub(input.len()).min(part.len());
        if missing == 0 {
            return Ok(());
        }
        match stream.read(&mut part[..missing]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => input.extend_from_slice(&part[..bytes]),
            Err(error) if would_block(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Whether it is only not its time yet.
pub(super) fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
