//! The name server of a container: asked from inside its network, as its programs ask.
//!
//! ```text
//!   host: resolver's thread, upstreams at 127.0.0.53 …      container: client ──127.0.0.11:53──▶
//! ```

mod answers;
mod changes;
mod forward;
mod hostile;
mod tcp;
mod upstream;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sched::{CloneFlags, unshare};
use rbox_net::dns::{Member, Resolver, Settings, Upstream, redirect};
use rbox_net::{Backend, Named, Networks, Variant};
use tempfile::TempDir;

use crate::world::{Netns, run};

/// Where containers ask.
const NAME_SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 0, 11), 53);

/// A host with one container, whose name server is served by a thread on the host.
struct World {
    state: TempDir,
    networks: Networks,
    container: Netns,
    resolver: Arc<Mutex<Resolver>>,
    thread: Option<JoinHandle<()>>,
    ends: Arc<AtomicBool>,
}

impl World {
    /// This thread becomes the host. The container is in the networks `one` and `two`, the host's resolv.conf is
    /// `resolv_conf`.
    fn new(resolv_conf: &str) -> World {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        run("ip link set lo up");
        let state = tempfile::tempdir().unwrap();
        std::fs::write(state.path().join("resolv.conf"), resolv_conf).unwrap();
        let upstream = Upstream::Host { resolv_conf: state.path().join("resolv.conf"), hidden: "rbox".into() };
        World::with(state, upstream)
    }

    /// The same, with `--dns`.
    fn asking(these: &[IpAddr]) -> World {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        run("ip link set lo up");
        World::with(tempfile::tempdir().unwrap(), Upstream::These(these.to_vec()))
    }

    fn with(state: TempDir, upstream: Upstream) -> World {
        let networks = Networks::open(state.path(), state.path()).unwrap();
        let container = Netns::new();
        let settings = Settings { names_dir: networks.names_dir(), upstream, forwards: true, egress: None };
        let mut resolver = Resolver::open(container.0.as_fd(), settings).unwrap();
        redirect(container.0.as_fd(), resolver.ports(), Backend::Iptables(Variant::Usual)).unwrap();
        resolver.set_members(vec![member(1, "one"), member(2, "two")]);
        let resolver = Arc::new(Mutex::new(resolver));
        let ends = Arc::new(AtomicBool::new(false));
        let thread = Some(serve(resolver.clone(), ends.clone()));
        World { state, networks, container, resolver, thread, ends }
    }

    /// Connect a container to network 1 or 2.
    fn learn(&self, network: u8, number: u8, name: &str, aliases: &[&str]) {
        let named = Named {
            endpoint: format!("{network:02x}{number:062x}"),
            container: format!("{number:02x}{:062x}", 0xfeed),
            name: name.to_owned(),
            aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            v4: Some(Ipv4Addr::new(10, 0, network, number)),
            v6: None,
        };
        let lock = self.networks.lock().unwrap();
        self.networks.learn(&lock, &format!("n{network}"), "any", named).unwrap();
    }

    /// Disconnect it.
    fn unlearn(&self, network: u8, number: u8) {
        let lock = self.networks.lock().unwrap();
        self.networks.unlearn(&lock, &format!("n{network}"), &format!("{network:02x}{number:062x}")).unwrap();
    }

    /// A client in the container, by udp.
    fn client(&self) -> UdpSocket {
        self.container.inside(client)
    }

    fn dial(&self) -> TcpStream {
        self.container.inside(dial)
    }

    /// Ask by udp.
    fn ask(&self, name: &str, kind: RecordType) -> Message {
        ask(&self.client(), &question(name, kind))
    }

    /// The code and the answers of a question for IPv4 addresses.
    fn a(&self, name: &str) -> String {
        said(&self.ask(name, RecordType::A))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || std::thread::panicking(), "the name server has panicked");
        }
    }
}

fn member(network: u8, name: &str) -> Member {
    Member {
        network_id: format!("n{network}"),
        network_name: name.to_owned(),
        subnets: vec![(Ipv4Addr::new(10, 0, network, 0).into(), 24)],
        links: Vec::new(),
    }
}

/// Go on with this test only in a process of its own, where no other test opens descriptors or takes memory. Says
/// whether this is that process.
fn alone(test: &str) -> bool {
    const HERE: &str = "RBOX_TEST_ALONE";
    if std::env::var(HERE).is_ok_and(|it| it == test) {
        return true;
    }
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", test, "--nocapture"]).env(HERE, test).output().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

/// The memory of this process that is really there.
fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// What an owner's event loop does, until it ends.
fn serve(resolver: Arc<Mutex<Resolver>>, ends: Arc<AtomicBool>) -> JoinHandle<()> {
    let fd = resolver.lock().unwrap().fd().try_clone_to_owned().unwrap();
    std::thread::spawn(move || {
        while !ends.load(Ordering::Relaxed) {
            let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, 5u8).unwrap() > 0 {
                resolver.lock().unwrap().ready();
            }
        }
    })
}

/// A question as clients write it, with an id of its own.
fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn with_edns(mut message: Message, udp_bytes: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(udp_bytes);
    message.set_edns(edns);
    message
}

/// A socket that only hears 127.0.0.11:53. Call it inside.
fn client() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.connect(NAME_SERVER).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(6))).unwrap();
    socket
}

/// The same by tcp.
fn dial() -> TcpStream {
    let stream = TcpStream::connect(NAME_SERVER).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Ask, and take the answer, which must bear the question and its id.
fn ask(client: &UdpSocket, question: &Message) -> Message {
    client.send(&question.to_vec().unwrap()).unwrap();
    let answer = heard(client);
    assert_eq!(answer.metadata.id, question.metadata.id);
    assert_eq!(answer.queries, question.queries);
    answer
}

fn heard(client: &UdpSocket) -> Message {
    let mut bytes = [0; 65535];
    let length = client.recv(&mut bytes).unwrap();
    Message::from_vec(&bytes[..length]).unwrap()
}

fn say(stream: &mut TcpStream, question: &Message) {
    let bytes = question.to_vec().unwrap();
    let length = u16::try_from(bytes.len()).unwrap();
    stream.write_all(&[&length.to_be_bytes(), &bytes[..]].concat()).unwrap();
}

/// The next answer on a connection; nothing at its end.
fn hear(stream: &mut TcpStream) -> Option<Message> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut bytes = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut bytes).unwrap();
    Some(Message::from_vec(&bytes).unwrap())
}

/// `10.0.1.1 10.0.1.2`, or the code when it is not NOERROR.
fn said(answer: &Message) -> String {
    if answer.metadata.response_code != ResponseCode::NoError {
        return format!("{:?}", answer.metadata.response_code);
    }
    answer.answers.iter().map(|record| record.data.to_string()).collect::<Vec<_>>().join(" ")
}
