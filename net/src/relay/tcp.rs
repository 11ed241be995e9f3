//! One relayed tcp connection: two sockets, and a pipe for each direction while anything is under way.
//!
//! splice(2) moves pages from a socket to a pipe and on to the other socket; the bytes never come here. A
//! direction ends by itself: the end of file is passed on (`shutdown`) when the pipe is empty, and the other
//! direction goes on. A slow reader fills its pipe, and then its writer's window: that is all the back-pressure
//! there is to it.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, SpliceFFlags, splice};
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt};
use nix::unistd::pipe2;

/// What a pipe holds: 16 pages.
const PIPE_BYTES: usize = 65536;
/// What one connection may move before the others get their turn.
const TURN_BYTES: usize = 16 * PIPE_BYTES;

/// A client and the container's server.
pub(super) struct Connection {
    client: TcpStream,
    server: TcpStream,
    up: Way,
    down: Way,
}

/// One direction.
#[derive(Default)]
struct Way {
    /// Only there while it holds something.
    pipe: Option<Pipe>,
    filled: usize,
    /// The sender has said that nothing more comes.
    ended: bool,
    /// And the receiver has been told.
    told: bool,
}

/// Reading end and writing end.
type Pipe = (OwnedFd, OwnedFd);

/// Empty pipes, to be used again.
#[derive(Default)]
pub(super) struct Pipes(Vec<Pipe>);

/// How far a connection came.
pub(super) enum Progress {
    /// Until the kernel says more.
    Waits,
    /// It had its turn.
    CouldGoOn,
    /// It is over.
    Ended,
}

impl Connection {
    /// Begin to connect `client` to `server`; does not wait.
    pub(super) fn open(client: TcpStream, server: SocketAddr) -> io::Result<Connection> {
        client.set_nonblocking(true)?;
        client.set_nodelay(true)?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let family = if server.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
        let to = socket(family, SockType::Stream, flags, None)?;
        match connect(to.as_raw_fd(), &SockaddrStorage::from(server)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(errno) => {
                reset(&client);
                return Err(errno.into());
            }
        }
        let server = TcpStream::from(to);
        server.set_nodelay(true)?;
        for socket in [&client, &server] {
            // A peer that vanished without a word is noticed after two hours, and not never.
            setsockopt(socket, sockopt::KeepAlive, &true)?;
        }
        Ok(Connection { client, server, up: Way::default(), down: Way::default() })
    }

    pub(super) fn sockets(&self) -> [&TcpStream; 2] {
        [&self.client, &self.server]
    }

    /// Move what can be moved in both directions.
    pub(super) fn pump(&mut self, events: EpollFlags, pipes: &mut Pipes) -> Progress {
        if events.contains(EpollFlags::EPOLLERR) {
            return self.broken();
        }
        let up = self.up.pump(&self.client, &self.server, pipes);
        let down = self.down.pump(&self.server, &self.client, pipes);
        match (up, down) {
            (Ok(_), Ok(_)) if self.up.told && self.down.told => Progress::Ended,
            (Ok(false), Ok(false)) => Progress::Waits,
            (Ok(_), Ok(_)) => Progress::CouldGoOn,
            _ => self.broken(),
        }
    }

    /// Pass on to both that this is no orderly end.
    fn broken(&self) -> Progress {
        reset(&self.client);
        reset(&self.server);
        Progress::Ended
    }
}

/// Let the close that follows be a reset (RST): socket(7), SO_LINGER 0.
pub(super) fn reset(socket: &TcpStream) {
    let _ = setsockopt(socket, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 });
}

impl Way {
    /// Move until one side would block. `true`: it could go on, but had its turn.
    fn pump(&mut self, from: &TcpStream, to: &TcpStream, pipes: &mut Pipes) -> nix::Result<bool> {
        let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
        let mut moved = 0;
        loop {
            while self.filled > 0 {
                let Some((out, _)) = &self.pipe else { return Err(Errno::EPIPE) };
                match splice(out, None, to, None, self.filled, flags) {
                    Ok(bytes) => {
                        self.filled -= bytes;
                        moved += bytes;
                    }
                    Err(Errno::EAGAIN) => return Ok(false),
                    Err(Errno::EINTR) => {}
                    Err(errno) => return Err(errno),
                }
            }
            if self.ended {
                pipes.put_back(self.pipe.take());
                if !self.told {
                    self.told = true;
                    // The receiver may have gone already; that is the end too.
                    let _ = to.shutdown(Shutdown::Write);
                }
                return Ok(false);
            }
            if moved >= TURN_BYTES {
                return Ok(true);
            }
            if self.pipe.is_none() {
                self.pipe = Some(pipes.take()?);
            }
            let Some((_, into)) = &self.pipe else { return Err(Errno::EPIPE) };
            match splice(from, None, into, None, PIPE_BYTES, flags) {
                Ok(0) => self.ended = true,
                Ok(bytes) => self.filled = bytes,
                Err(Errno::EAGAIN) => {
                    pipes.put_back(self.pipe.take());
                    return Ok(false);
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

impl Pipes {
    fn take(&mut self) -> nix::Result<Pipe> {
        match self.0.pop() {
            Some(pipe) => Ok(pipe),
            None => pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK),
        }
    }

    /// Only empty pipes may come here.
    fn put_back(&mut self, pipe: Option<Pipe>) {
        if self.0.len() < 8 {
            self.0.extend(pipe);
        }
    }
}
