//! Carrying IPv6 clients to a container that has only an IPv4 address.
//!
//! Rules of the kernel cannot translate from one family to the other. So the process that owns the container
//! listens on `[::]` or `[::1]` itself, and copies:
//!
//! ```text
//!   client ──[::]:8080──▶ listener ──▶ Connection: client ⇄ pipe ⇄ server ──▶ 172.17.0.2:80   (tcp: splice)
//!                                  ──▶ Flow: one socket for each client    ──▶ 172.17.0.2:53   (udp: datagrams)
//! ```
//!
//! A container that has an IPv6 address, too, is reached through rules. But these cannot send on what the host says to
//! `[::1]`, so that alone is carried, to the IPv6 address.
//!
//! It has no thread and never blocks: the owner's event loop waits for [`Relay::fd`] to be readable, and calls
//! [`Relay::ready`].

mod internal;
mod tcp;
mod udp;

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::OsString;
use std::fs::File;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::error::{Doing, Result};
use crate::ports::{Held, PortMapping, Protocol};

use internal::Internal;
use tcp::{Connection, Pipes};
use udp::Flow;

/// A udp client that is silent for so long is forgotten; docker-proxy's value.
const FLOW_LASTS: Duration = Duration::from_secs(90);
/// How often forgotten clients are looked for.
const TICK: Duration = Duration::from_secs(10);
/// Clients remembered at once; the longest silent makes room.
const FLOWS_MAX: usize = 1024;
/// Connections taken, or datagrams copied, from one socket before the others get their turn.
const TURN: usize = 64;

/// Names the two sockets that are the relay's own.
const MORE: u64 = 0;
const CLOCK: u64 = 1;

/// Listens on IPv6 for one container, and copies.
pub(crate) struct Relay {
    epoll: Epoll,
    sources: HashMap<u64, Source>,
    next: u64,
    flows: HashMap<(u64, SocketAddrV6), u64>,
    pipes: Pipes,
    internal: Internal,
    /// Connections that could go on at once, had it not been the turn of others.
    busy: VecDeque<u64>,
    /// Readable while `busy` holds anything.
    more: EventFd,
    clock: TimerFd,
    /// Given up for a moment when the process has no descriptor left, to take a connection and refuse it.
    spare: Option<File>,
}

enum Source {
    Listener(TcpListener, Door),
    Connection(Connection),
    Socket(UdpSocket, Door),
    Flow(Flow),
}

/// Where clients come, and where they are carried.
#[derive(Clone, Copy)]
struct Door {
    mapping: PortMapping,
    port: u16,
    target: SocketAddr,
}

impl Relay {
    /// A relay of nothing. `defined`: the directory of the user-defined networks.
    pub(crate) fn new(defined: PathBuf) -> Result<Relay> {
        Relay::empty(defined).doing(|| "set up the relay of IPv6 ports".into())
    }

    /// Carry who comes to this port to the container at `address` from now on.
    pub(crate) fn open(&mut self, held: Held, address: IpAddr) -> Result<()> {
        let Held { mapping, port, socket } = held;
        let door = Door { mapping, port, target: mapping.target(port, address) };
        listen_for(&socket, address).doing(|| "set up the relay of IPv6 ports".into())?;
        let source = match mapping.protocol {
            Protocol::Udp => {
                udp::tell_destination(&socket).doing(|| "set up the relay of IPv6 ports".into())?;
                Source::Socket(UdpSocket::from(socket), door)
            }
            Protocol::Tcp | Protocol::Sctp => Source::Listener(TcpListener::from(socket), door),
        };
        self.add(source).map(drop).doing(|| "watch a port".into())
    }

    /// Let go of every port that is not to be kept. Connections go on, as those do that the kernel carries; datagrams do not.
    pub(crate) fn close(&mut self, is_kept: impl Fn(&PortMapping) -> bool) {
        let closes = |source: &Source| source.door().is_some_and(|door| !is_kept(&door.mapping));
        let closed: HashSet<u64> =
            self.sources.iter().filter(|(_, source)| closes(source)).map(|(token, _)| *token).collect();
        self.flows.retain(|(listener, _), flow| {
            let stays = !closed.contains(listener);
            if !stays {
                self.sources.remove(flow);
            }
            stays
        });
        self.sources.retain(|token, _| !closed.contains(token));
    }

    /// Whether it listens there.
    pub(crate) fn has(&self, mapping: &PortMapping, port: u16) -> bool {
        let mut doors = self.sources.values().filter_map(Source::door);
        doors.any(|door| door.mapping == *mapping && door.port == port)
    }

    /// The container has another address now: connections that come from now on are carried there.
    pub(crate) fn redirect(&mut self, address: IpAddr) {
        for source in self.sources.values_mut() {
            // The loopback is always there, and the sockets are ours: it cannot fail.
            let _ = match source {
                Source::Listener(socket, door) => {
                    door.target.set_ip(address);
                    listen_for(socket, address)
                }
                Source::Socket(socket, door) => {
                    door.target.set_ip(address);
                    listen_for(socket, address)
                }
                Source::Connection(_) | Source::Flow(_) => Ok(()),
            };
        }
    }

    fn empty(defined: PathBuf) -> nix::Result<Relay> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let more = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let clock = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        epoll.add(&more, EpollEvent::new(EpollFlags::EPOLLIN, MORE))?;
        epoll.add(&clock, EpollEvent::new(EpollFlags::EPOLLIN, CLOCK))?;
        Ok(Relay {
            epoll,
            sources: HashMap::new(),
            next: CLOCK + 1,
            flows: HashMap::new(),
            pipes: Pipes::default(),
            internal: Internal::new(defined),
            busy: VecDeque::new(),
            more,
            clock,
            spare: File::open("/dev/null").ok(),
        })
    }

    /// Wait for this to be readable, then call [`Relay::ready`].
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// Copy what can be copied now, without waiting.
    pub(crate) fn ready(&mut self) {
        let mut events = [EpollEvent::empty(); 64];
        let count = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        for event in &events[..count] {
            match event.data() {
                MORE => {}
                CLOCK => self.tick(),
                token => self.serve(token, event.events()),
            }
        }
        for _ in 0..self.busy.len() {
            let Some(token) = self.busy.pop_front() else { break };
            self.serve(token, EpollFlags::empty());
        }
        if self.busy.is_empty() {
            // EAGAIN: it was not raised.
            let _ = self.more.read();
        }
    }

    fn serve(&mut self, token: u64, events: EpollFlags) {
        match self.sources.get_mut(&token) {
            None => {}
            Some(Source::Listener(..)) => self.accept(token),
            Some(Source::Socket(..)) => self.receive(token),
            Some(Source::Connection(connection)) => match connection.pump(events, &mut self.pipes) {
                tcp::Progress::Waits => {}
                tcp::Progress::CouldGoOn => {
                    self.busy.push_back(token);
                    // It cannot overflow: it is read empty before it is raised again.
                    let _ = self.more.write(1);
                }
                tcp::Progress::Ended => drop(self.sources.remove(&token)),
            },
            Some(Source::Flow(_)) => self.answer(token),
        }
    }

    fn accept(&mut self, token: u64) {
        for _ in 0..TURN {
            let Some(Source::Listener(listener, door)) = self.sources.get(&token) else { return };
            let target = door.target;
            let (client, address) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                    Some(Errno::EMFILE | Errno::ENFILE) => {
                        self.spare = None;
                        // Taken and closed at once: left in the queue it would wake us for ever.
                        drop(listener.accept());
                        self.spare = File::open("/dev/null").ok();
                        return;
                    }
                    // The client gave up in the queue.
                    Some(Errno::ECONNABORTED | Errno::EINTR) => continue,
                    _ => return,
                },
            };
            if let SocketAddr::V6(address) = address
                && self.internal.holds(address, 0)
            {
                tcp::reset(&client);
                continue;
            }
            let Ok(connection) = Connection::open(client, target) else { continue };
            // When it cannot be watched it is dropped, and the client sees the end.
            let _ = self.add(Source::Connection(connection));
        }
    }

    fn receive(&mut self, token: u64) {
        for _ in 0..TURN {
            let Some(Source::Socket(socket, door)) = self.sources.get(&token) else { return };
            let Ok(datagram) = udp::receive(socket) else { return };
            let target = door.target;
            if self.internal.holds(datagram.client, datagram.to.map_or(0, |to| to.ipi6_ifindex)) {
                continue;
            }
            let key = (token, datagram.client);
            let flow = match self.flows.get(&key) {
                Some(flow) => *flow,
                None => {
                    self.make_room();
                    let Ok(flow) = Flow::open(token, &datagram, target) else { continue };
                    let Ok(flow) = self.add(Source::Flow(flow)) else { continue };
                    self.flows.insert(key, flow);
                    self.wind_clock(TICK);
                    flow
                }
            };
            if let Some(Source::Flow(flow)) = self.sources.get_mut(&flow) {
                flow.send(&datagram);
            }
        }
    }

    fn answer(&mut self, token: u64) {
        for _ in 0..TURN {
            let Some(Source::Flow(flow)) = self.sources.get_mut(&token) else { return };
            let Some(answer) = flow.receive() else { return };
            let (listener, client, source) = (flow.listener, flow.client, flow.answer_from);
            if let Some(Source::Socket(socket, _)) = self.sources.get(&listener) {
                udp::send(socket, client, source, &answer);
            }
        }
    }

    fn make_room(&mut self) {
        if self.flows.len() < FLOWS_MAX {
            return;
        }
        let used = |token: &u64| match self.sources.get(token) {
            Some(Source::Flow(flow)) => Some(flow.used),
            _ => None,
        };
        if let Some((key, token)) = self.flows.iter().min_by_key(|(_, token)| used(token)).map(|(k, t)| (*k, *t)) {
            self.flows.remove(&key);
            self.sources.remove(&token);
        }
    }

    fn tick(&mut self) {
        let _ = self.clock.wait();
        let now = Instant::now();
        let sources = &mut self.sources;
        self.flows.retain(|_, token| match sources.get(token) {
            Some(Source::Flow(flow)) if now.duration_since(flow.used) < FLOW_LASTS => true,
            _ => {
                sources.remove(token);
                false
            }
        });
        if !self.flows.is_empty() {
            self.wind_clock(TICK);
        }
    }

    fn wind_clock(&self, after: Duration) {
        // The arguments are right, and the timer is ours: it cannot fail.
        let _ = self.clock.set(Expiration::OneShot(TimeSpec::from(after)), TimerSetTimeFlags::empty());
    }

    /// Watch a source. Connections are watched by edge and served until nothing moves; the others by level.
    fn add(&mut self, source: Source) -> nix::Result<u64> {
        let token = self.next;
        self.next += 1;
        let readable = EpollEvent::new(EpollFlags::EPOLLIN, token);
        match &source {
            Source::Listener(socket, _) => self.epoll.add(socket, readable)?,
            Source::Socket(socket, _) => self.epoll.add(socket, readable)?,
            Source::Flow(flow) => self.epoll.add(&flow.socket, readable)?,
            Source::Connection(connection) => {
                let edges = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
                for socket in connection.sockets() {
                    self.epoll.add(socket, EpollEvent::new(edges, token))?;
                }
            }
        }
        self.sources.insert(token, source);
        Ok(token)
    }
}

impl Source {
    fn door(&self) -> Option<&Door> {
        match self {
            Source::Listener(_, door) | Source::Socket(_, door) => Some(door),
            Source::Connection(_) | Source::Flow(_) => None,
        }
    }
}

/// Hear the whole host for a container with an IPv4 `address`; for one with IPv6 the loopback alone. From elsewhere only
/// those would come whom the rules keep away from it, an internal network's containers.
fn listen_for(socket: &impl AsFd, address: IpAddr) -> nix::Result<()> {
    setsockopt(socket, sockopt::BindToDevice, &OsString::from(if address.is_ipv6() { "lo" } else { "" }))
}
