//! Clients that want no answer but harm.

use nix::sys::resource::{Resource, setrlimit};

use super::upstream::{Upstream as Fake, is_silent};
use super::*;
use crate::dice::{Dice, cases};

/// A good message with some of it changed, cut or doubled; or none at all.
fn spoiled(dice: &mut Dice) -> Vec<u8> {
    let name = dice.pick(&["web.", "www.example.com.", "1.1.0.10.in-addr.arpa.", "x.one.", "."]);
    let kind = dice.pick(&[RecordType::A, RecordType::PTR, RecordType::ANY, RecordType::OPT, RecordType::AXFR]);
    let mut message = question(name, kind);
    if dice.one_in(2) {
        message = with_edns(message, 4096);
    }
    let mut bytes = message.to_vec().unwrap();
    for _ in 0..dice.below(5) {
        let at = dice.below(bytes.len().max(1));
        match dice.below(4) {
            0 => bytes.truncate(at),
            1 => bytes.extend_from_within(at.min(bytes.len())..),
            _ if at < bytes.len() => bytes[at] = dice.bits().to_be_bytes()[7],
            _ => {}
        }
    }
    bytes
}

#[test]
fn nothing_that_is_sent_stops_it() {
    need!(Root, Iptables);
    let world = World::new("nameserver 127.0.0.53\n");
    world.learn(1, 1, "web", &[]);
    let client = world.client();
    client.set_nonblocking(true).unwrap();
    let mut answers = 0;
    for mut case in cases(20) {
        let mut stream = world.dial();
        for _ in 0..200 {
            let bytes = spoiled(&mut case.dice);
            let _ = client.send(&bytes);
            let length = u16::try_from(bytes.len()).unwrap() ^ u16::from(case.dice.one_in(9));
            let _ = stream.write_all(&[&length.to_be_bytes(), &bytes[..]].concat());
            let mut answer = [0; 65535];
            while let Ok(length) = client.recv(&mut answer) {
                Message::from_vec(&answer[..length]).unwrap();
                answers += 1;
            }
        }
    }
    assert!(answers > 500, "only {answers} answers");
    // What is left of the flood fills the socket, and the kernel drops what comes then: clients ask again.
    let client = world.client();
    client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let bytes = question("web.", RecordType::A).to_vec().unwrap();
    let heard = (0..10).any(|_| client.send(&bytes).is_ok() && client.recv(&mut [0; 512]).is_ok());
    assert!(heard, "no answer after the flood");
    let mut stream = world.dial();
    say(&mut stream, &question("web.", RecordType::A));
    assert_eq!(said(&hear(&mut stream).unwrap()), "10.0.1.1");
}

#[test]
fn a_flood_for_the_internet_does_not_keep_containers_from_each_other() {
    need!(Root, Iptables);
    if !alone("dns::hostile::a_flood_for_the_internet_does_not_keep_containers_from_each_other") {
        return;
    }
    // What a process has that nobody has raised the limit for.
    setrlimit(Resource::RLIMIT_NOFILE, 1024, 1024).unwrap();
    let world = World::new("nameserver 127.0.0.53\n");
    let _upstream = Fake::at("127.0.0.53", is_silent);
    world.learn(1, 1, "web", &[]);
    let flood = world.client();
    flood.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    for number in 0..3000u16 {
        let mut asked = question("www.example.com.", RecordType::A);
        asked.metadata.id = number;
        flood.send(&asked.to_vec().unwrap()).unwrap();
        if number % 64 == 63 {
            // No faster than it takes them: the kernel drops what the socket cannot hold.
            assert_eq!(world.a("web."), "10.0.1.1");
        }
    }
    let mut bytes = [0; 512];
    let mut refused = 0;
    while flood.recv(&mut bytes).is_ok() {
        assert_eq!(bytes[3] & 15, 2, "SERVFAIL");
        refused += 1;
    }
    assert!(refused > 0, "there is no limit");
    // Half of the descriptors stay free, also when every question is asked again.
    for _ in 0..20 {
        assert!((400..600).contains(&descriptors()), "{} descriptors are open", descriptors());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(world.a("web."), "10.0.1.1");
    let mut stream = world.dial();
    say(&mut stream, &question("web.", RecordType::A));
    assert_eq!(said(&hear(&mut stream).unwrap()), "10.0.1.1");
    std::thread::sleep(Duration::from_secs(3));
    assert!(descriptors() < 64, "{} descriptors are still open", descriptors());
}
