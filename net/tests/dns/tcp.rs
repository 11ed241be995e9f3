//! Connections: several questions, slow clients, many clients.

use std::net::Shutdown;
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::upstream::{Upstream as Fake, answers, is_silent};
use super::*;

#[test]
fn one_connection_carries_many_questions() {
    need!(Root, Iptables);
    let world = World::new("nameserver 127.0.0.53\n");
    let _upstream = Fake::at("127.0.0.53", answers);
    world.learn(1, 1, "web", &[]);
    let mut stream = world.dial();
    // All at once, in pieces, a stranger's among ours, and nothing more after them.
    let mut all = Vec::new();
    let mut wanted = std::collections::HashMap::new();
    for number in 0..300u16 {
        let name = if number % 3 == 0 { "www.example.com." } else { "web." };
        let mut asked = question(name, RecordType::A);
        asked.metadata.id = number;
        let bytes = asked.to_vec().unwrap();
        all.extend_from_slice(&u16::try_from(bytes.len()).unwrap().to_be_bytes());
        all.extend_from_slice(&bytes);
        wanted.insert(number, if number % 3 == 0 { "192.0.2.1" } else { "10.0.1.1" });
    }
    let mut writer = stream.try_clone().unwrap();
    let written = std::thread::spawn(move || {
        all.chunks(37).for_each(|part| writer.write_all(part).unwrap());
        writer.shutdown(Shutdown::Write).unwrap();
    });
    while let Some(answer) = hear(&mut stream) {
        assert_eq!(wanted.remove(&answer.metadata.id), Some(said(&answer).as_str()));
    }
    written.join().unwrap();
    assert!(wanted.is_empty(), "no answer to {wanted:?}");
}

#[test]
fn who_says_nothing_whole_is_shown_out() {
    need!(Root, Iptables);
    let world = World::new("nameserver 127.0.0.53\n");
    let mut slow = world.dial();
    let mut writer = slow.try_clone().unwrap();
    let began = Instant::now();
    // A byte each second is no question.
    std::thread::spawn(move || {
        for byte in [0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] {
            let _ = writer.write_all(&[byte]);
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    assert!(slow.read(&mut [0]).is_ok_and(|bytes| bytes == 0) || began.elapsed() > Duration::from_secs(9));
    assert!((9000..11500).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
}

#[test]
fn too_many_connections_are_in_nobodys_way() {
    need!(Root, Iptables);
    let world = World::new("nameserver 127.0.0.53\n");
    let _upstream = Fake::at("127.0.0.53", is_silent);
    world.learn(1, 1, "web", &[]);
    let mut idle: Vec<TcpStream> = world.container.inside(|| (0..300).map(|_| dial()).collect());
    let mut stream = world.dial();
    say(&mut stream, &question("web.", RecordType::A));
    assert_eq!(said(&hear(&mut stream).unwrap()), "10.0.1.1");
    assert_eq!(world.a("web."), "10.0.1.1");
    idle.iter_mut().for_each(|it| it.set_read_timeout(Some(Duration::from_millis(1))).unwrap());
    let still_in = idle
        .iter_mut()
        .filter_map(|it| it.read(&mut [0]).err())
        .filter(|error| matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut));
    assert_eq!(still_in.count(), 99);
}

#[test]
fn a_client_that_takes_nothing_does_not_make_it_grow() {
    need!(Root, Iptables);
    if !alone("dns::tcp::a_client_that_takes_nothing_does_not_make_it_grow") {
        return;
    }
    let world = World::new("");
    (1..=200).for_each(|number| world.learn(1, number, &format!("web{number}"), &["web"]));
    let mut stream = world.dial();
    say(&mut stream, &question("web.", RecordType::A));
    assert_eq!(hear(&mut stream).unwrap().answers.len(), 200);
    let before = resident_kib();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let bytes = question("web.", RecordType::A).to_vec().unwrap();
    let one = [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), &bytes[..]].concat();
    // 3 kB of answer to 21 bytes of question: 60 MB in all, were they all answered.
    let _ = stream.write_all(&one.repeat(20_000));
    std::thread::sleep(Duration::from_secs(3));
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 4096, "{grown} KiB more");
    assert_eq!(world.a("web1."), "10.0.1.1");
}

#[test]
fn to_wait_costs_nothing() {
    need!(Root, Iptables);
    if !alone("dns::tcp::to_wait_costs_nothing") {
        return;
    }
    let world = World::new("nameserver 127.0.0.53\n");
    let upstream = Fake::at("127.0.0.53", is_silent);
    let mut streams: Vec<TcpStream> = world.container.inside(|| (0..5).map(|_| dial()).collect());
    streams[1..].iter_mut().for_each(|stream| say(stream, &question("www.example.com.", RecordType::A)));
    // One of them says nothing more, and one has gone.
    streams[2].shutdown(Shutdown::Write).unwrap();
    streams.pop();
    world.client().send(&question("www.example.com.", RecordType::A).to_vec().unwrap()).unwrap();
    while upstream.heard().len() < 5 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let worked = || {
        let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
        usage.user_time().num_milliseconds() + usage.system_time().num_milliseconds()
    };
    let before = worked();
    std::thread::sleep(Duration::from_millis(1500));
    let took = worked() - before;
    assert!(took < 200, "{took} ms of work in 1.5 s of waiting");
}
