//! The name server of one container: at 127.0.0.11 in its own network, served by the process that holds it. And that of
//! the host, which knows all of them: see the module `host`.
//!
//! ```text
//!   container's network namespace              │ the process that holds the container
//!                                              │
//!   client ──127.0.0.11:53──▶ rules (redirect) ┼─▶ Resolver ──▶ Zone: who is in its networks, by their names files
//!                                              │      │ not a container's name
//!                                              │      ▼
//!                                              │   Forward ──▶ the host's resolvers, or those of --dns
//! ```
//!
//! It has no thread and never blocks: the owner's event loop waits for [`Resolver::fd`] to be readable, and calls
//! [`Resolver::ready`]. It keeps nothing of what it answers. What a name means is looked up at the moment it is asked
//! for, so nothing is ever reloaded and no question is lost when a network changes.
//!
//! Where the rules differ from Docker's, and why: see [`Member`] and the modules `zone` and `forward`.

mod attempt;
mod door;
mod forward;
mod gated;
mod host;
mod known;
mod message;
mod redirect;
mod upstream;
pub(crate) mod watched;
mod zone;

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::egress::{Gate, MARK, Policy};
use crate::error::{Doing, Result};
use crate::netns::inside;
use crate::networks::Networks;
use crate::steps;

use door::Door;
use forward::{Answer, Forward};
use host::HostZone;
use message::{Asked, QUESTION_BYTES_MAX, Question, TCP_BYTES_MAX};
use upstream::Servers;
use zone::{Found, Zone};

pub use redirect::redirect;
pub use upstream::Upstream;
pub use zone::Member;

/// Where containers find their name server: Docker's address.
pub(crate) const NAME_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11));
/// Where every name server listens.
const PORT: u16 = 53;
/// Datagrams taken before the owner gets its turn.
const TURN: usize = 64;
/// How often it is looked whose time has come, while anybody waits.
const TICK: Duration = Duration::from_millis(50);

/// Names the sources of events: the first two and the listener are one each, above them lie many.
const CLOCK: u64 = 0;
const DATAGRAMS: u64 = 1;
const DOOR: u64 = 1 << 62;
const FORWARD: u64 = 1 << 63;

/// What a name server needs to know of its container.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the names files are: [`crate::Networks::names_dir`].
    pub names_dir: PathBuf,
    /// Who is asked what is not a container's name.
    pub upstream: Upstream,
    /// Whether anybody is asked at all: not when all its networks are internal.
    pub forwards: bool,
    /// What the container may reach, where not all: then only what that names is asked for.
    pub egress: Option<Policy>,
}

/// Who wants an answer.
#[derive(Debug, Clone, Copy)]
enum Client {
    Udp(SocketAddr),
    /// A connection, by its token.
    Tcp(u64),
}

impl Client {
    fn is_tcp(self) -> bool {
        matches!(self, Client::Tcp(_))
    }
}

/// What became of a message.
enum Done {
    Answered(Vec<u8>),
    /// The answer comes later, through [`Resolver::pass_on`].
    OnItsWay,
    /// There is nothing to be said to it.
    Ignored,
}

/// Whose questions are answered.
enum View {
    Container {
        zone: Zone,
        /// Whether anybody else is asked.
        forwards: bool,
        /// Who that would be.
        upstream: Upstream,
        /// What the container may reach, where not all.
        gate: Option<Gate>,
    },
    Host(HostZone),
}

impl View {
    /// What is said of a name that is not for us to know, where nobody else is asked.
    fn refusal(&self, question: &Question) -> Option<ResponseCode> {
        match self {
            View::Container { gate, forwards, upstream, .. } => {
                let closed = gate.as_ref().and_then(|gate| gated::closed(gate, question));
                let mute = (!forwards).then_some(ResponseCode::ServFail);
                let hidden = || upstream.hides(question.name()).then_some(ResponseCode::NXDomain);
                closed.or(mute).or_else(hidden)
            }
            View::Host(_) => Some(ResponseCode::Refused),
        }
    }

    fn gate(&self) -> Option<&Gate> {
        match self {
            View::Container { gate, .. } => gate.as_ref(),
            View::Host(_) => None,
        }
    }
}

/// Answers for one container, or for the host.
pub struct Resolver {
    epoll: Epoll,
    clock: TimerFd,
    is_ticking: bool,
    datagrams: UdpSocket,
    door: Door,
    view: View,
    forward: Forward,
    ports: (u16, u16),
}

impl Resolver {
    /// Listen at 127.0.0.11 in the network namespace `netns`, where `lo` is up; [`redirect`] lets clients find it.
    ///
    /// It knows nobody before [`Resolver::set_members`].
    ///
    /// # Errors
    /// `Os`: the namespace cannot be entered, or no descriptor is left.
    pub fn open(netns: BorrowedFd<'_>, settings: Settings) -> Result<Resolver> {
        let Settings { names_dir, upstream, forwards, egress } = settings.clone();
        let gate = egress.map(|policy| Gate::new(policy, netns)).transpose()?;
        let view = View::Container { zone: Zone::new(names_dir), forwards, upstream, gate };
        Resolver::listen(netns, SocketAddr::new(NAME_SERVER, 0), view, settings.upstream)
    }

    /// Listen at `address` of the host, for what is called `web.domain` there: every container that the host reaches.
    /// Nobody else is asked; who asks for another name is told to ask elsewhere (REFUSED).
    ///
    /// # Errors
    /// `Os`: the address is not the host's, or is taken.
    pub fn of_host(networks: &Networks, domain: &str, address: SocketAddr) -> Result<Resolver> {
        let here = File::open("/proc/self/ns/net").doing(|| "open /proc/self/ns/net".into())?;
        let view = View::Host(HostZone::new(networks.endpoints_dir(), domain));
        Resolver::listen(here.as_fd(), address, view, Upstream::These(Vec::new()))
    }

    fn listen(netns: BorrowedFd<'_>, address: SocketAddr, view: View, upstream: Upstream) -> Result<Resolver> {
        let listen = || Ok((UdpSocket::bind(address)?, TcpListener::bind(address)?));
        let words = || match &view {
            View::Container { .. } => {
                format!("bind({NAME_SERVER}, udp) and bind({NAME_SERVER}, tcp) in the container's network")
            }
            View::Host(_) => format!("bind({address}, udp) and bind({address}, tcp)"),
        };
        let set_up = || -> io::Result<_> {
            let (datagrams, listener) = rbox_explain::step(&steps::NAME_SERVER, words, || inside(netns, listen))?;
            let ports = (datagrams.local_addr()?.port(), listener.local_addr()?.port());
            datagrams.set_nonblocking(true)?;
            let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
            let clock = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
            epoll.add(&clock, EpollEvent::new(EpollFlags::EPOLLIN, CLOCK))?;
            epoll.add(&datagrams, EpollEvent::new(EpollFlags::EPOLLIN, DATAGRAMS))?;
            let door = Door::new(listener, &epoll, DOOR)?;
            let mark = view.gate().map(|_| MARK);
            let forward = Forward::new(Servers::new(upstream, netns, mark)?, FORWARD);
            Ok((epoll, clock, datagrams, door, forward, ports))
        };
        let (epoll, clock, datagrams, door, forward, ports) =
            set_up().doing(|| format!("open the name server at {}", address.ip()))?;
        Ok(Resolver { epoll, clock, is_ticking: false, datagrams, door, view, forward, ports })
    }

    /// Its ports: udp, tcp.
    pub fn ports(&self) -> (u16, u16) {
        self.ports
    }

    /// The networks that the container is in from now on, in the order in which their addresses are given. The host's name
    /// server has no members: it knows all.
    pub fn set_members(&mut self, members: Vec<Member>) {
        if let View::Container { zone, .. } = &mut self.view {
            zone.set_members(members);
        }
    }

    /// Whether anybody else is asked from now on, for a container.
    pub fn set_forwards(&mut self, wanted: bool) {
        if let View::Container { forwards, .. } = &mut self.view {
            *forwards = wanted;
        }
    }

    /// Wait for this to be readable, then call [`Resolver::ready`].
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// Answer what can be answered now, without waiting.
    pub fn ready(&mut self) {
        let mut events = [EpollEvent::empty(); 64];
        let count = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        for event in &events[..count] {
            match event.data() {
                CLOCK => self.tick(),
                DATAGRAMS => self.receive(),
                DOOR => self.door.accept(&self.epoll),
                token if token > FORWARD => {
                    let answer = self.forward.ready(&self.epoll, token);
                    answer.into_iter().for_each(|answer| self.pass_on(answer));
                }
                token => {
                    self.door.ready(token, event.events());
                    self.serve(token);
                }
            }
        }
        let is_idle = self.door.is_idle() && self.forward.is_idle();
        if !self.is_ticking && !is_idle {
            self.is_ticking = true;
            // The arguments are right, and the timer is ours: it cannot fail.
            let _ = self.clock.set(Expiration::OneShot(TimeSpec::from(TICK)), TimerSetTimeFlags::empty());
        }
    }

    fn tick(&mut self) {
        let _ = self.clock.wait();
        self.is_ticking = false;
        let now = Instant::now();
        self.door.tick(now);
        for answer in self.forward.tick(&self.epoll, now) {
            self.pass_on(answer);
        }
    }

    fn receive(&mut self) {
        let mut bytes = [0; QUESTION_BYTES_MAX + 1];
        for _ in 0..TURN {
            let Ok((length, client)) = self.datagrams.recv_from(&mut bytes) else { return };
            let client = Client::Udp(client);
            if let Done::Answered(answer) = self.handle(client, &bytes[..length]) {
                self.send(client, &answer);
            }
        }
    }

    /// Answer the questions of a connection that can be answered now.
    fn serve(&mut self, token: u64) {
        while let Some(question) = self.door.question(token) {
            match self.handle(Client::Tcp(token), &question) {
                Done::Answered(answer) => self.door.answer(token, Some(&answer)),
                Done::Ignored => self.door.answer(token, None),
                Done::OnItsWay => {}
            }
        }
        self.door.settle(token, &self.epoll);
    }

    /// Answer at once, or send the question on its way.
    fn handle(&mut self, client: Client, bytes: &[u8]) -> Done {
        let mut question = match message::read(bytes) {
            Asked::Question(question) => question,
            Asked::Refused(answer) => return Done::Answered(answer),
            Asked::Rubbish => return Done::Ignored,
        };
        let (name, kind) = (question.name(), question.kind());
        let found = match &mut self.view {
            View::Container { zone, .. } => zone.find(name, kind),
            View::Host(zone) => zone.find(name, kind),
        };
        if let View::Host(_) = self.view {
            // Who caches for the whole host must not remember who has gone.
            question.keep_for(0);
        }
        let (code, records) = match found {
            Found::Records(records) => self.found_here(&mut question, records),
            Found::NoSuchName => (ResponseCode::NXDomain, Vec::new()),
            Found::Elsewhere => match self.view.refusal(&question) {
                Some(code) => (code, Vec::new()),
                None => return self.ask(client, question, bytes),
            },
        };
        let bytes_max = if client.is_tcp() { TCP_BYTES_MAX } else { question.udp_bytes_max() };
        Done::Answered(question.answer(code, records, bytes_max))
    }

    /// Ask upstream. The answer may be there at once.
    fn ask(&mut self, client: Client, question: Question, bytes: &[u8]) -> Done {
        let (question, bytes) = match self.view.gate() {
            Some(_) => question.of_our_own(),
            None => (question, bytes.to_vec()),
        };
        let answer = self.forward.ask(&self.epoll, client, question, bytes);
        answer.map_or(Done::OnItsWay, |answer| Done::Answered(self.checked(answer)))
    }

    /// Bring an answer to whom it is for, who may have gone meanwhile.
    fn pass_on(&mut self, answer: Answer) {
        let client = answer.client;
        let bytes = self.checked(answer);
        self.send(client, &bytes);
        if let Client::Tcp(token) = client {
            // It may have more questions, which have waited for this.
            self.serve(token);
        }
    }

    fn send(&mut self, client: Client, bytes: &[u8]) {
        match client {
            // What cannot be sent is lost, as datagrams are.
            Client::Udp(client) => drop(self.datagrams.send_to(bytes, client)),
            Client::Tcp(token) => self.door.answer(token, Some(bytes)),
        }
    }
}
