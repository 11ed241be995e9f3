//! Host ports: who has them, and that nobody else gets them.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};

use rbox_net::PortMapping;

use crate::world::{HOST, Host, greeting, run};

fn shown(ports: &[PortMapping]) -> Vec<String> {
    ports.iter().map(PortMapping::to_string).collect()
}

#[test]
fn second_publish_of_8080_names_the_holder() {
    need!(Root, Iptables);
    let host = Host::new();
    let web = host.container("web", &["8080:80"]);
    let before = host.traces();
    let error = host.reserve("other", &["8080:80"]).err().unwrap();
    assert_eq!(error.to_string(), "cannot publish port 8080: address already in use (by container web)");
    assert_eq!(host.traces(), before, "before anything is created");
    assert_eq!(host.networks.endpoints().unwrap().len(), 1, "and no lease is left");
    web.end();
    assert!(host.reserve("other", &["8080:80"]).is_ok());
}

#[test]
fn a_port_of_another_program_names_it() {
    need!(Root, Iptables);
    let host = Host::new();
    let _listener = TcpListener::bind("0.0.0.0:8080").unwrap();
    let name = std::fs::read_to_string("/proc/self/comm").unwrap();
    let by = format!("(by {}, pid {})", name.trim(), std::process::id());
    let refused = |publish: &str| host.reserve("web", &[publish]).err().unwrap().to_string();
    assert_eq!(refused("8080:80"), format!("cannot publish port 8080: address already in use {by}"));
    assert_eq!(
        refused("127.0.0.1:8080:80"),
        format!("cannot publish port 127.0.0.1:8080: address already in use {by}")
    );
    assert_eq!(refused("8000-9000:8000-9000"), format!("cannot publish port 8080: address already in use {by}"));
    let _udp = UdpSocket::bind("[::]:53").unwrap();
    assert_eq!(refused("53:53/udp"), format!("cannot publish port 53: address already in use {by}"));
    assert!(host.reserve("web", &["8080:80/udp"]).is_ok());
}

#[test]
fn a_published_port_is_taken_for_other_programs() {
    need!(Root, Iptables);
    let host = Host::new();
    let web = host.container("web", &["8080:80", "53:53/udp"]);
    assert!(TcpListener::bind("0.0.0.0:8080").is_err());
    assert!(TcpListener::bind("127.0.0.1:8080").is_err());
    assert!(TcpListener::bind("[::1]:8080").is_err());
    assert!(UdpSocket::bind("0.0.0.0:53").is_err());
    web.end();
    assert!(TcpListener::bind("0.0.0.0:8080").is_ok());
}

#[test]
fn free_ports_begin_at_49153() {
    need!(Root, Iptables);
    let host = Host::new();
    //
    let first = host.reserve("first", &["8080"]).unwrap();
    assert_eq!(shown(&first.ports()), ["0.0.0.0:49153->8080/tcp", ":::49153->8080/tcp"]);
    let second = host.reserve("second", &["8080"]).unwrap();
    assert_eq!(shown(&second.ports()), ["0.0.0.0:49154->8080/tcp", ":::49154->8080/tcp"]);
    drop(first);
    let third = host.reserve("third", &["127.0.0.1::80", "53/udp"]).unwrap();
    assert_eq!(shown(&third.ports()), ["127.0.0.1:49153->80/tcp", "0.0.0.0:49153->53/udp", ":::49153->53/udp"]);
}

#[test]
fn reserved_and_taken_ports_are_passed_over() {
    need!(Root, Iptables);
    let host = Host::new();
    std::fs::write("/proc/sys/net/ipv4/ip_local_reserved_ports", "49153-49155").unwrap();
    let _listener = TcpListener::bind("127.0.0.1:49156").unwrap();
    let web = host.reserve("web", &["80"]).unwrap();
    assert_eq!(shown(&web.ports()), ["0.0.0.0:49157->80/tcp", ":::49157->80/tcp"]);
}

#[test]
fn ten_thousand_ports_are_one_rule_each_way() {
    need!(Root, Iptables);
    let host = Host::new();
    let before = crate::world::rules().lines().count();
    let web = host.container("web", &["20000-29999:20000-29999"]);
    assert_eq!(shown(&web.endpoints.records()[0].ports), ["0.0.0.0:20000-29999->20000-29999/tcp"]);
    let rules = crate::world::rules();
    assert_eq!(rules.lines().filter(|line| line.contains("20000:29999")).count(), 4, "{before} {rules}");
    web.netns.serve(27777, "deep");
    assert_eq!(greeting("127.0.0.1", 27777).as_deref(), Ok("deep"));
    assert_eq!(host.neighbour.inside(|| greeting(HOST, 27777)).as_deref(), Ok("deep"));
    web.end();
    assert!(!crate::world::rules().contains("20000:29999"));
}

/// A program that binds a port of udp, for as long as it has an input.
fn squatter(port: u16) -> Child {
    let script = format!(
        "import socket, sys; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('127.0.0.1', {port}))\n\
         print('bound', flush=True); sys.stdin.read()"
    );
    let mut python = Command::new("python3");
    python.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = python.spawn().unwrap();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
    child
}

#[test]
fn who_binds_a_port_of_a_range_later_is_found() {
    need!(Root, Iptables);
    let host = Host::new();
    let web = host.container("web", &["20000-29999:20000-29999/udp", "30000:80/udp", "31000-31999:1-1000"]);
    let before = squatter(19999);
    assert_eq!(host.networks.squatters().unwrap(), [], "its own sockets are none, nor are those beside its ports");
    let mut other = squatter(27777);
    let found = host.networks.squatters().unwrap();
    let [one] = &found[..] else { panic!("{found:?}") };
    assert_eq!((one.container.as_str(), one.bound), ("web", "127.0.0.1:27777".parse().unwrap()));
    assert_eq!(one.mapping.to_string(), "0.0.0.0:20000-29999->20000-29999/udp");
    assert_eq!(one.process, Some(format!("python3, pid {}", other.id())));
    drop(other.stdin.take());
    other.wait().unwrap();
    assert_eq!(host.networks.squatters().unwrap(), []);
    web.end();
    drop(before);
}

#[test]
fn up_to_64_ports_are_held_and_of_a_longer_range_none_is() {
    need!(Root, Iptables);
    let host = Host::new();
    let web = host.container("web", &["20000-20064:1-65", "8080:80", "9000-9061:1-62", "7000-7001:1-2"]);
    let free = |port: u16| TcpListener::bind(("0.0.0.0", port)).is_ok();
    assert!(free(20000) && free(20064) && !free(8080) && !free(9000) && !free(9061));
    assert!(free(7000), "that would be the 64th and the 65th");
    let relayed = shown(&web.endpoints.records()[0].ports).into_iter().filter(|it| it.starts_with(":::")).count();
    assert_eq!(relayed, 2, "each needs a socket");
    let _udp = host.container("udp", &["20000-20063:1-64/udp"]);
    assert!(UdpSocket::bind("0.0.0.0:20063").is_err());
    web.end();
}

#[test]
fn one_address_is_published_alone() {
    need!(Root, Iptables);
    let host = Host::new();
    run("ip address add 192.0.2.11/24 dev eth0");
    let _web = host.container("web", &["192.0.2.11:8080:80"]);
    let from_neighbour = |ip: &'static str| host.neighbour.inside(|| greeting(ip, 8080));
    assert_eq!(from_neighbour("192.0.2.11").as_deref(), Ok("web"));
    assert!(from_neighbour(HOST).is_err());
    assert!(greeting("127.0.0.1", 8080).is_err());
    assert_eq!(greeting("192.0.2.11", 8080).as_deref(), Ok("web"));
    let other = host.container("other", &["192.0.2.10:8080:80"]);
    assert_eq!(from_neighbour(HOST).as_deref(), Ok("other"));
    other.end();
}

#[test]
fn time_wait_of_an_earlier_program_is_nobodys_port() {
    need!(Root, Iptables);
    let host = Host::new();
    {
        let listener = TcpListener::bind("127.0.0.1:8080").unwrap();
        let client = std::net::TcpStream::connect("127.0.0.1:8080").unwrap();
        let (server, _) = listener.accept().unwrap();
        // The server closes first, so its end waits.
        drop(server);
        drop(client);
    }
    assert!(run("ss -Htan").contains("TIME-WAIT"));
    assert!(host.reserve("web", &["8080:80"]).is_ok());
}
