//! Questions that are not ours to answer, on their way: asked of one upstream after the other.
//!
//! ```text
//!   question ──▶ first upstream ──1 s, or SERVFAIL──▶ next ──▶ … ──▶ whoever answers first
//!                                                                     4 s: SERVFAIL
//! ```
//!
//! Each attempt has an id of its own, drawn by chance, and a socket of its own, whose port the kernel draws: who wants
//! to slip in a false answer must guess both (RFC 5452). An upstream that was passed over may still answer.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use nix::sys::epoll::Epoll;
use nix::sys::resource::{Resource, getrlimit};

use super::Client;
use super::attempt::{Attempt, Outcome};
use super::message::{self, Question, TCP_BYTES_MAX};
use super::upstream::Servers;

/// How long the next upstream waits for the one before.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a client waits for all of them: Docker's value. Clients ask again after 5 s (resolv.conf(5)).
const GIVE_UP: Duration = Duration::from_secs(4);
/// Questions on their way at once: Docker's value.
const QUESTIONS_MAX: usize = 1024;

/// An answer for a client.
pub(super) struct Answer {
    pub(super) client: Client,
    pub(super) question: Question,
    pub(super) bytes: Vec<u8>,
}

/// All questions on their way.
pub(super) struct Forward {
    servers: Servers,
    open: HashMap<u64, Open>,
    attempts: HashMap<u64, (u64, Attempt)>,
    /// No more sockets than this, because the process needs some for everything else.
    attempts_max: usize,
    ids: Ids,
    next: u64,
}

/// One question on its way.
struct Open {
    client: Client,
    question: Question,
    bytes: Vec<u8>,
    /// Who may still be asked, the next first.
    servers: VecDeque<SocketAddr>,
    /// The attempts that nothing has come of yet, by their tokens.
    attempts: Vec<u64>,
    began: Instant,
    next_at: Instant,
    /// What the last one said that could not help.
    failure: Option<Vec<u8>>,
}

impl Forward {
    /// Tokens for epoll begin at `first`.
    pub(super) fn new(servers: Servers, first: u64) -> Forward {
        let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(QUESTIONS_MAX as u64, |(soft, _)| soft / 2);
        let attempts_max = usize::try_from(files).unwrap_or(QUESTIONS_MAX).min(QUESTIONS_MAX);
        Forward {
            servers,
            open: HashMap::new(),
            attempts: HashMap::new(),
            attempts_max,
            ids: Ids::default(),
            next: first,
        }
    }

    /// Whether nothing is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    /// Send a question on its way. An answer at once when there is no way.
    pub(super) fn ask(&mut self, epoll: &Epoll, client: Client, question: Question, bytes: Vec<u8>) -> Option<Answer> {
        let now = Instant::now();
        let servers = self.servers.list();
        let open = Open {
            client,
            question,
            bytes,
            servers: servers.into(),
            attempts: Vec::new(),
            began: now,
            next_at: now,
            failure: None,
        };
        if self.open.len() >= QUESTIONS_MAX {
            return Some(open.give_up());
        }
        let token = self.token();
        self.open.insert(token, open);
        self.go_on(epoll, token, now)
    }

    /// Serve the socket of an attempt.
    pub(super) fn ready(&mut self, epoll: &Epoll, token: u64) -> Option<Answer> {
        let (of, attempt) = self.attempts.get_mut(&token)?;
        let of = *of;
        let outcome = match self.open.get(&of) {
            Some(open) => attempt.pump(epoll, token, open.question.query()),
            None => Outcome::Failed(None),
        };
        match outcome {
            Outcome::Waits => None,
            Outcome::Answered(bytes) => self.close(of).map(|open| open.answer(bytes)),
            Outcome::Failed(failure) => {
                let (_, attempt) = self.attempts.remove(&token)?;
                let open = self.open.get_mut(&of)?;
                open.attempts.retain(|it| *it != token);
                open.failure = failure.or(open.failure.take());
                open.servers.retain(|server| *server != attempt.server);
                self.go_on(epoll, of, Instant::now())
            }
        }
    }

    /// See whose time has come.
    pub(super) fn tick(&mut self, epoll: &Epoll, now: Instant) -> Vec<Answer> {
        let due: Vec<u64> = self.open.iter().filter(|(_, open)| open.next_at <= now).map(|(of, _)| *of).collect();
        due.into_iter().filter_map(|of| self.go_on(epoll, of, now)).collect()
    }

    /// Ask the next upstream, or give up.
    fn go_on(&mut self, epoll: &Epoll, of: u64, now: Instant) -> Option<Answer> {
        loop {
            let open = self.open.get_mut(&of)?;
            if now.duration_since(open.began) >= GIVE_UP {
                return self.close(of).map(Open::give_up);
            }
            let Some(server) = open.servers.pop_front() else {
                if open.attempts.is_empty() {
                    return self.close(of).map(Open::give_up);
                }
                open.next_at = open.began + GIVE_UP;
                return None;
            };
            open.next_at = (now + PATIENCE).min(open.began + GIVE_UP);
            if self.attempt(epoll, of, server).is_ok() {
                return None;
            }
        }
    }

    fn attempt(&mut self, epoll: &Epoll, of: u64, server: SocketAddr) -> io::Result<()> {
        if self.attempts.len() >= self.attempts_max {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let token = self.token();
        let id = self.ids.draw()?;
        let Some(open) = self.open.get_mut(&of) else { return Err(io::ErrorKind::NotFound.into()) };
        let is_tcp = open.client.is_tcp();
        let socket = self.servers.socket(server, is_tcp)?;
        message::set_id(&mut open.bytes, id);
        let attempt = Attempt::begin(socket, server, is_tcp, id, &open.bytes)?;
        attempt.watch(epoll, token)?;
        open.attempts.push(token);
        if !is_tcp {
            // Its turn comes again: a datagram may be lost.
            open.servers.push_back(server);
        }
        self.attempts.insert(token, (of, attempt));
        Ok(())
    }

    /// Take a question off, with all its sockets.
    fn close(&mut self, of: u64) -> Option<Open> {
        let open = self.open.remove(&of)?;
        open.attempts.iter().for_each(|token| drop(self.attempts.remove(token)));
        Some(open)
    }

    fn token(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Open {
    /// Pass an answer on: nothing is changed in it but the id.
    fn answer(self, mut bytes: Vec<u8>) -> Answer {
        message::set_id(&mut bytes, self.question.id());
        Answer { client: self.client, question: self.question, bytes }
    }

    /// Nobody has helped: say what the last one said, or that it did not work.
    fn give_up(mut self) -> Answer {
        let nothing = || self.question.answer(ResponseCode::ServFail, Vec::new(), TCP_BYTES_MAX);
        let bytes = self.failure.take().unwrap_or_else(nothing);
        self.answer(bytes)
    }
}

/// Ids that nobody can guess, drawn some at a time.
#[derive(Default)]
struct Ids(Vec<u16>);

impl Ids {
    fn draw(&mut self) -> io::Result<u16> {
        if self.0.is_empty() {
            let mut bytes = [0; 256];
            File::open("/dev/urandom")?.read_exact(&mut bytes)?;
            self.0 = bytes.as_chunks().0.iter().map(|pair| u16::from_ne_bytes(*pair)).collect();
        }
        self.0.pop().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}
