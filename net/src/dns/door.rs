//! Clients that ask by tcp: any number of questions on one connection, answered in the order in which answers come
//! (RFC 7766).
//!
//! Who does not say anything whole for ten seconds is shown out; when too many are in, the longest silent makes room. So
//! a client that opens connections and leaves them alone is in nobody's way but its own.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use super::attempt::would_block;
use super::message::QUESTION_BYTES_MAX;

/// How long a client may take for one question, or for taking in an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections at once.
const CONNECTIONS_MAX: usize = 100;
/// Questions of one connection under way at once. The next ones are not read before.
const QUESTIONS_MAX: usize = 4;
/// Bytes of answers that a client has not taken yet. Before it has, no question of it is read.
const UNTAKEN_BYTES_MAX: usize = 65536;
/// Connections taken before the others get their turn.
const TURN: usize = 64;

/// The tcp side of a name server.
pub(super) struct Door {
    listener: TcpListener,
    connections: HashMap<u64, Connection>,
    next: u64,
    /// Given up for a moment when the process has no descriptor left, to take a connection and refuse it.
    spare: Option<File>,
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Questions without an answer yet.
    open: usize,
    /// When a question was last complete, or a part of an answer taken.
    used: Instant,
    /// The client will not ask any more.
    ended: bool,
    watched: EpollFlags,
}

impl Door {
    /// Tokens for epoll begin at `first`, which is the listener's.
    pub(super) fn new(listener: TcpListener, epoll: &Epoll, first: u64) -> io::Result<Door> {
        listener.set_nonblocking(true)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, first))?;
        Ok(Door { listener, connections: HashMap::new(), next: first, spare: File::open("/dev/null").ok() })
    }

    /// Whether nobody is in.
    pub(super) fn is_idle(&self) -> bool {
        self.connections.is_empty()
    }

    /// Let clients in.
    pub(super) fn accept(&mut self, epoll: &Epoll) {
        for _ in 0..TURN {
            match self.listener.accept() {
                Ok((stream, _)) => self.add(stream, epoll),
                Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                    Some(Errno::EMFILE | Errno::ENFILE) => {
                        self.spare = None;
                        // Taken and closed at once: left in the queue it would wake us for ever.
                        drop(self.listener.accept());
                        self.spare = File::open("/dev/null").ok();
                        return;
                    }
                    // The client gave up in the queue.
                    Some(Errno::ECONNABORTED | Errno::EINTR) => {}
                    _ => return,
                },
            }
        }
    }

    fn add(&mut self, stream: TcpStream, epoll: &Epoll) {
        if self.connections.len() >= CONNECTIONS_MAX
            && let Some(token) = self.connections.iter().min_by_key(|(_, it)| it.used).map(|(token, _)| *token)
        {
            self.connections.remove(&token);
        }
        self.next += 1;
        let watched = EpollFlags::EPOLLIN;
        let begun = stream
            .set_nonblocking(true)
            .and_then(|()| stream.set_nodelay(true))
            .and_then(|()| Ok(epoll.add(&stream, EpollEvent::new(watched, self.next))?));
        // When it cannot be watched it is dropped, and the client sees the end.
        if begun.is_ok() {
            let connection = Connection {
                stream,
                input: Vec::new(),
                output: Vec::new(),
                open: 0,
                used: Instant::now(),
                ended: false,
                watched,
            };
            self.connections.insert(self.next, connection);
        }
    }

    /// Take what a client says, and give it what it has to get.
    pub(super) fn ready(&mut self, token: u64, events: EpollFlags) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let is_broken = events.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP);
        if is_broken || connection.write().is_err() || connection.read().is_err() {
            self.connections.remove(&token);
        }
    }

    /// The next question of a client that may be answered now.
    pub(super) fn question(&mut self, token: u64) -> Option<Vec<u8>> {
        let connection = self.connections.get_mut(&token)?;
        if !connection.may_ask() {
            return None;
        }
        let (length, rest) = connection.input.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes(*length));
        if length > QUESTION_BYTES_MAX {
            self.connections.remove(&token);
            return None;
        }
        let question = rest.get(..length)?.to_vec();
        connection.input.drain(..2 + length);
        connection.open += 1;
        connection.used = Instant::now();
        Some(question)
    }

    /// Answer one question of a client; nothing where there is nothing to be said.
    pub(super) fn answer(&mut self, token: u64, bytes: Option<&[u8]>) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        connection.open = connection.open.saturating_sub(1);
        let length = bytes.and_then(|bytes| u16::try_from(bytes.len()).ok());
        if let (Some(bytes), Some(length)) = (bytes, length) {
            connection.output.extend_from_slice(&length.to_be_bytes());
            connection.output.extend_from_slice(bytes);
        }
        if connection.write().is_err() {
            self.connections.remove(&token);
        }
    }

    /// Wait for what a client does next; or show it out, when there is nothing more to wait for.
    pub(super) fn settle(&mut self, token: u64, epoll: &Epoll) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let mut wanted = EpollFlags::empty();
        wanted.set(EpollFlags::EPOLLIN, !connection.ended && connection.may_ask());
        wanted.set(EpollFlags::EPOLLOUT, !connection.output.is_empty());
        let is_over = connection.ended && connection.open == 0 && connection.output.is_empty();
        let is_watched = wanted == connection.watched
            || epoll.modify(&connection.stream, &mut EpollEvent::new(wanted, token)).is_ok();
        connection.watched = wanted;
        if is_over || !is_watched {
            self.connections.remove(&token);
        }
    }

    /// Show out who has been silent for too long. Who waits for an answer is not silent.
    pub(super) fn tick(&mut self, now: Instant) {
        self.connections.retain(|_, it| it.open > 0 || now.duration_since(it.used) < PATIENCE);
    }
}

impl Connection {
    fn may_ask(&self) -> bool {
        self.open < QUESTIONS_MAX && self.output.len() < UNTAKEN_BYTES_MAX
    }

    /// Read what is there, up to the longest question.
    fn read(&mut self) -> io::Result<()> {
        let mut part = [0; 2 + QUESTION_BYTES_MAX];
        while !self.ended && self.input.len() < part.len() {
            let room = part.len() - self.input.len();
            match self.stream.read(&mut part[..room]) {
                Ok(0) => self.ended = true,
                Ok(bytes) => self.input.extend_from_slice(&part[..bytes]),
                Err(error) if would_block(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.output.len() {
            match self.stream.write(&self.output[sent..]) {
                Ok(bytes) => sent += bytes,
                Err(error) if would_block(&error) => break,
                Err(error) => return Err(error),
            }
        }
        if sent > 0 {
            self.used = Instant::now();
            self.output.drain(..sent);
            // What a long answer took is given back.
            self.output.shrink_to(UNTAKEN_BYTES_MAX);
        }
        Ok(())
    }
}
