//! A host, its neighbour, and containers: network namespaces, wired up with `ip`.
//!
//! ```text
//!   neighbour 192.0.2.20 ── wire ── 192.0.2.10 host ── rbox0 ── containers
//! ```
//!
//! A namespace belongs to a thread; each test runs on a thread of its own, and that thread is the host.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use rbox_net::dns::Upstream;
use rbox_net::{EPHEMERAL_PORTS, EndpointRequest, Endpoints, Networks, Owner, Request, Reservation, Result, Service};
use tempfile::TempDir;

/// The host's address on the wire.
pub(crate) const HOST: &str = "192.0.2.10";
/// The neighbour's.
pub(crate) const NEIGHBOUR: &str = "192.0.2.20";

/// What a test needs of the machine.
#[derive(Clone, Copy)]
pub(crate) enum Need {
    Root,
    Iptables,
    BridgeNetfilter,
}

impl Need {
    pub(crate) fn is_met(self) -> std::result::Result<(), &'static str> {
        let (met, why) = match self {
            Need::Root => (nix::unistd::geteuid().is_root(), "it needs root"),
            Need::Iptables => (Command::new("iptables-save").output().is_ok(), "it needs iptables"),
            Need::BridgeNetfilter => {
                (std::path::Path::new("/proc/sys/net/bridge").exists(), "it needs the kernel module br_netfilter")
            }
        };
        if met { Ok(()) } else { Err(why) }
    }
}

pub(crate) fn skip(why: &str) {
    let strict = std::env::var("RBOX_TEST_NO_SKIP").is_ok_and(|value| value == "1");
    assert!(!strict, "cannot skip with RBOX_TEST_NO_SKIP=1: {why}");
    eprintln!("skipped: {why}");
}

/// A network namespace, alive as long as this is.
pub(crate) struct Netns(pub(crate) File);

impl Netns {
    pub(crate) fn new() -> Netns {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let netns = Netns(File::open("/proc/thread-self/ns/net").unwrap());
            run("ip link set lo up");
            netns
        };
        std::thread::spawn(make).join().unwrap()
    }

    /// Do something inside.
    pub(crate) fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(self.0.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
                act()
            });
            thread.join().unwrap()
        })
    }

    pub(crate) fn run(&self, command: &str) -> String {
        self.inside(|| run(command))
    }

    /// Serve on `port` until the test ends: answers a greeting and the client's address, then closes.
    pub(crate) fn serve(&self, port: u16, greeting: &'static str) {
        let listener = self.inside(|| TcpListener::bind(("0.0.0.0", port)).unwrap());
        serve(listener, greeting);
    }

    /// Where `ip` finds it.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

pub(crate) fn serve(listener: TcpListener, greeting: &'static str) {
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let from = client.peer_addr().unwrap().ip();
            let _ = write!(client, "{greeting} {from}");
        }
    });
}

/// Fetch the greeting, and who the server thinks we are. The error is the reason.
pub(crate) fn fetch(ip: &str, port: u16) -> std::result::Result<(String, IpAddr), String> {
    let address: SocketAddr = format!("{ip}:{port}").parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(700)).map_err(|e| e.to_string())?;
    stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(|error| error.to_string())?;
    let (greeting, from) = text.split_once(' ').ok_or("no answer")?;
    Ok((greeting.to_owned(), from.parse().unwrap()))
}

pub(crate) fn greeting(ip: &str, port: u16) -> std::result::Result<String, String> {
    fetch(ip, port).map(|(greeting, _)| greeting)
}

/// Run a command line; its standard output. Words are split at blanks.
pub(crate) fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    let (out, error) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(output.status.success(), "{command}: {error}");
    out
}

/// The host a test runs on.
pub(crate) struct Host {
    pub(crate) neighbour: Netns,
    pub(crate) networks: Networks,
    pub(crate) state: TempDir,
}

impl Host {
    /// Turn this thread into a host with a neighbour, and a default route through it.
    pub(crate) fn new() -> Host {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        run("ip link set lo up");
        let neighbour = Netns::new();
        wire(&neighbour);
        let state = tempfile::tempdir().unwrap();
        let networks = Networks::open(state.path(), state.path()).unwrap();
        Host { neighbour, networks, state }
    }

    /// Connect a new container that serves its name on port 80.
    pub(crate) fn container(&self, name: &'static str, publish: &[&str]) -> Container {
        let netns = Netns::new();
        let endpoints = self.reserve(name, publish).unwrap().connect(netns.0.as_fd(), Upstream::host()).unwrap();
        netns.serve(80, name);
        Container { netns, endpoints }
    }

    pub(crate) fn reserve(&self, name: &str, publish: &[&str]) -> Result<Reservation> {
        self.networks.reserve(&request(name, publish)?)
    }

    /// Everything of the kernel that rbox could leave behind: links, rules.
    pub(crate) fn traces(&self) -> (String, String) {
        let links = run("ip -o -br link");
        let links: Vec<&str> = links.lines().filter_map(|line| line.split(['@', ' ']).next()).collect();
        (links.join(" "), rules())
    }

    /// Do something on this host while the relay of `container` is served.
    pub(crate) fn with_relay<T: Send>(&self, container: &mut Container, act: impl FnOnce() -> T + Send) -> T {
        let here = File::open("/proc/thread-self/ns/net").unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(here.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
                act()
            });
            let service = container.endpoints.service();
            assert!(service.fds().next().is_some(), "it has a relay");
            while !thread.is_finished() {
                turn(service);
            }
            thread.join().unwrap()
        })
    }
}

/// Wait a moment for the service's descriptors, and serve it: what an owner's event loop does.
fn turn(service: &mut Service) {
    let mut fds: Vec<_> = service.fds().map(|fd| nix::poll::PollFd::new(fd, nix::poll::PollFlags::POLLIN)).collect();
    if nix::poll::poll(&mut fds, 5u8).unwrap() > 0 {
        service.ready();
    }
}

/// A connected network namespace.
pub(crate) struct Container {
    pub(crate) netns: Netns,
    pub(crate) endpoints: Endpoints,
}

impl Container {
    pub(crate) fn ip(&self) -> String {
        self.endpoints.records()[0].attachment.as_ref().unwrap().address.to_string()
    }

    /// Disconnect it. Its server lives on, so its namespace does.
    pub(crate) fn end(self) {
        let errors = self.endpoints.disconnect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}

/// The rules without counters, as iptables-save writes them.
pub(crate) fn rules() -> String {
    let tables = ["raw", "filter", "nat"].map(|table| run(&format!("iptables-save -t {table}")));
    let lines = tables.iter().flat_map(|text| text.lines());
    lines.filter(|line| line.starts_with("-A")).map(|line| format!("{line}\n")).collect()
}

fn wire(neighbour: &Netns) {
    run(&format!("ip link add eth0 type veth peer name eth0 netns {}", neighbour.path()));
    run(&format!("ip address add {HOST}/24 dev eth0"));
    run("ip link set eth0 up");
    neighbour.run(&format!("ip address add {NEIGHBOUR}/24 dev eth0"));
    neighbour.run("ip link set eth0 up");
    run(&format!("ip route add default via {NEIGHBOUR}"));
    // Until the kernel has noticed the wire's carrier, frames are lost.
    while [run("ip -o link show eth0"), neighbour.run("ip -o link show eth0")].iter().any(|it| !it.contains("state UP"))
    {
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn owner(name: &str) -> Owner {
    let hex: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    Owner {
        container: format!("{hex:0<64}"),
        name: name.to_owned(),
        pid: std::process::id().try_into().unwrap(),
        start_time: 1,
        boot_id: "this".into(),
        netns: None,
    }
}

pub(crate) fn request(name: &str, publish: &[&str]) -> Result<Request> {
    Ok(Request {
        owner: owner(name),
        hostname: name.to_owned(),
        networks: vec![EndpointRequest { network: "bridge".into(), ..EndpointRequest::default() }],
        publish: publish.iter().map(|text| text.parse()).collect::<Result<_>>()?,
        names_on_default: false,
        publish_at: None,
        ephemeral_ports: EPHEMERAL_PORTS,
        egress: None,
    })
}
