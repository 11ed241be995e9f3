//! IPv6 clients of a container without IPv6.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use crate::world::{Host, greeting};

const MIB: usize = 1 << 20;

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

#[test]
fn a_half_closed_connection_carries_the_rest() {
    need!(Root, Iptables);
    let host = Host::new();
    let mut web = host.container("web", &["8081:81"]);
    let listener = web.netns.inside(|| TcpListener::bind("0.0.0.0:81").unwrap());
    // Reads to the end before it says anything: only a half-close can bring the answer.
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        client.write_all(&all).unwrap();
    });
    let sent = pattern(20 * MIB);
    let got = host.with_relay(&mut web, || {
        let mut stream = TcpStream::connect("[::1]:8081").unwrap();
        stream.write_all(&sent).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        got
    });
    assert!(got == sent, "{} bytes came back of {}", got.len(), sent.len());
}

#[test]
fn a_slow_reader_slows_the_writer_and_loses_nothing() {
    need!(Root, Iptables);
    let host = Host::new();
    let mut web = host.container("web", &["8081:81"]);
    let listener = web.netns.inside(|| TcpListener::bind("0.0.0.0:81").unwrap());
    let sent = pattern(16 * MIB);
    let to_send = sent.clone();
    std::thread::spawn(move || listener.accept().unwrap().0.write_all(&to_send).unwrap());
    let got = host.with_relay(&mut web, || {
        let mut stream = TcpStream::connect("[::1]:8081").unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        got
    });
    assert!(got == sent, "{} bytes of {}", got.len(), sent.len());
}

#[test]
fn two_connections_are_served_side_by_side() {
    need!(Root, Iptables);
    let host = Host::new();
    let mut web = host.container("web", &["8080:80", "8081:81"]);
    let listener = web.netns.inside(|| TcpListener::bind("0.0.0.0:81").unwrap());
    // Floods and never reads.
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        while client.write_all(&[0; 65536]).is_ok() {}
    });
    host.with_relay(&mut web, || {
        let mut flood = TcpStream::connect("[::1]:8081").unwrap();
        let mut some = [0; 4096];
        for _ in 0..50 {
            flood.read_exact(&mut some).unwrap();
            assert_eq!(greeting("[::1]", 8080).as_deref(), Ok("web"));
        }
    });
}

#[test]
fn a_port_where_nobody_listens_is_reset() {
    need!(Root, Iptables);
    let host = Host::new();
    let mut web = host.container("web", &["8081:81"]);
    let error = host.with_relay(&mut web, || greeting("[::1]", 8081)).unwrap_err();
    assert!(error.contains("reset"), "{error}");
}

#[test]
fn datagrams_find_back_from_the_address_they_went_to() {
    need!(Root, Iptables);
    let host = Host::new();
    crate::world::run("ip address add fd00::1/64 dev lo nodad");
    crate::world::run("ip address add fd00::2/64 dev lo nodad");
    let mut web = host.container("web", &["5300:53/udp"]);
    let socket = web.netns.inside(|| UdpSocket::bind("0.0.0.0:53").unwrap());
    std::thread::spawn(move || {
        let mut bytes = [0; 2048];
        while let Ok((length, client)) = socket.recv_from(&mut bytes) {
            socket.send_to(&[b"echo ", &bytes[..length]].concat(), client).unwrap();
        }
    });
    host.with_relay(&mut web, || {
        let clients: Vec<UdpSocket> = (0..5).map(|_| UdpSocket::bind("[::]:0").unwrap()).collect();
        for (number, client) in clients.iter().enumerate() {
            client.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
            // Connected: an answer from any other address would be dropped.
            client.connect("[fd00::2]:5300").unwrap();
            client.send(format!("{number}").as_bytes()).unwrap();
        }
        for (number, client) in clients.iter().enumerate() {
            let mut bytes = [0; 2048];
            let length = client.recv(&mut bytes).unwrap();
            assert_eq!(bytes[..length], *format!("echo {number}").as_bytes());
        }
    });
    assert!(crate::world::rules().contains("-p udp -m udp --dport 5300"));
}

#[test]
fn the_ipv6_loopback_alone_is_published() {
    need!(Root, Iptables);
    let host = Host::new();
    let before = crate::world::rules();
    let mut web = host.container("web", &["[::1]:8080:80"]);
    assert!(!crate::world::rules().contains("8080"), "{before}");
    assert_eq!(host.with_relay(&mut web, || greeting("[::1]", 8080)).as_deref(), Ok("web"));
    assert!(greeting("127.0.0.1", 8080).is_err());
    assert!(TcpListener::bind("0.0.0.0:8080").is_ok());
}
