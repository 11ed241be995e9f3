//! How long a container's name takes to be found, and how many a name server finds in a second: in a network namespace of
//! its own, through the rules of port 53. Run as root.
//!
//! `cargo run --release -p rbox-net --example names`
//!
//! With `serve` instead, it prints the namespace's path (`nsenter --net=PATH`) and serves `web` until it is killed.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use rbox_net::dns::{Member, Resolver, Settings, Upstream, redirect};
use rbox_net::{Backend, Named, Networks};

/// Containers in the network.
const CONTAINERS: u8 = 20;
/// Questions one after the other, for the latency.
const QUESTIONS: usize = 20_000;
/// How long questions are asked without waiting for their answers, for the throughput.
const FOR: Duration = Duration::from_secs(3);
/// So many of them under way at once: no more than the socket holds.
const AHEAD: usize = 32;

type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Error> {
    let state = tempfile::tempdir()?;
    let networks = Networks::open(state.path(), state.path())?;
    for number in 1..=CONTAINERS {
        let name = if number == 1 { "web".to_owned() } else { format!("c{number}") };
        let named = Named {
            endpoint: format!("{number:064x}"),
            container: format!("{number:064x}"),
            name,
            aliases: Vec::new(),
            v4: Some(Ipv4Addr::new(172, 18, 0, number)),
            v6: None,
        };
        networks.learn(&networks.lock()?, "n1", "mynetwork", named)?;
    }
    let netns = namespace()?;
    let upstream = Upstream::These(Vec::new());
    let settings = Settings { names_dir: networks.names_dir(), upstream, forwards: false, egress: None };
    let began = Instant::now();
    let mut resolver = Resolver::open(netns.as_fd(), settings)?;
    let opened = began.elapsed();
    redirect(netns.as_fd(), resolver.ports(), Backend::of_this_host())?;
    let redirected = began.elapsed() - opened;
    resolver.set_members(vec![Member {
        network_id: "n1".into(),
        network_name: "mynetwork".into(),
        subnets: vec![(Ipv4Addr::new(172, 18, 0, 0).into(), 16)],
        links: Vec::new(),
    }]);
    let mut out = std::io::stdout();
    if std::env::args().nth(1).as_deref() == Some("serve") {
        writeln!(out, "/proc/{}/fd/{}", std::process::id(), netns.as_raw_fd())?;
        loop {
            turn(&mut resolver, PollTimeout::NONE)?;
        }
    }
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    writeln!(out, "open {:.2} ms, redirect {:.2} ms", ms(opened), ms(redirected))?;
    measure(&netns, resolver, &mut out)
}

fn measure(netns: &File, mut resolver: Resolver, out: &mut impl Write) -> Result<(), Error> {
    let client = std::thread::scope(|scope| {
        let client = scope.spawn(|| -> std::io::Result<UdpSocket> {
            setns(netns, CloneFlags::CLONE_NEWNET)?;
            let client = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            client.connect((Ipv4Addr::new(127, 0, 0, 11), 53))?;
            client.set_read_timeout(Some(Duration::from_secs(5)))?;
            Ok(client)
        });
        client.join().map_err(|_| "the thread panicked")?.map_err(Error::from)
    })?;
    std::thread::scope(|scope| {
        let asking =
            scope.spawn(|| -> Result<(Vec<Duration>, f64), Error> { Ok((latencies(&client)?, rate(&client)?)) });
        while !asking.is_finished() {
            turn(&mut resolver, PollTimeout::from(5u8))?;
        }
        let (mut times, rate) = asking.join().map_err(|_| "the client panicked")??;
        times.sort();
        let at = |hundredth: usize| times[times.len() * hundredth / 100].as_secs_f64() * 1e6;
        writeln!(out, "a container's name, one after the other   p50 {:.0} µs, p99 {:.0} µs", at(50), at(99))?;
        writeln!(out, "{AHEAD} under way at once                   {rate:.0} a second")?;
        Ok(())
    })
}

/// What an owner's event loop does.
fn turn(resolver: &mut Resolver, patience: PollTimeout) -> Result<(), Error> {
    let mut fds = [PollFd::new(resolver.fd(), PollFlags::POLLIN)];
    if poll(&mut fds, patience)? > 0 {
        resolver.ready();
    }
    Ok(())
}

/// `web.mynetwork`, A, as a C library asks.
const QUESTION: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x09mynetwork\x00\x00\x01\x00\x01";

fn latencies(client: &UdpSocket) -> Result<Vec<Duration>, Error> {
    (0..QUESTIONS)
        .map(|_| {
            let began = Instant::now();
            client.send(QUESTION)?;
            hear(client)?;
            Ok(began.elapsed())
        })
        .collect()
}

fn rate(client: &UdpSocket) -> Result<f64, Error> {
    let began = Instant::now();
    let mut answers = 0u32;
    for _ in 0..AHEAD {
        client.send(QUESTION)?;
    }
    while began.elapsed() < FOR {
        hear(client)?;
        client.send(QUESTION)?;
        answers += 1;
    }
    Ok(f64::from(answers) / began.elapsed().as_secs_f64())
}

fn hear(client: &UdpSocket) -> Result<(), Error> {
    let mut bytes = [0; 512];
    let length = client.recv(&mut bytes)?;
    if bytes[..length].ends_with(&[172, 18, 0, 1]) { Ok(()) } else { Err("a wrong answer".into()) }
}

/// A network namespace with `lo`, that lives as long as the file is open.
fn namespace() -> Result<File, Error> {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
        if !up.success() {
            return Err(std::io::Error::other("ip cannot set lo up"));
        }
        File::open("/proc/thread-self/ns/net")
    });
    Ok(thread.join().map_err(|_| "the thread panicked")??)
}
