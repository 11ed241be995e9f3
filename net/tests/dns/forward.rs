//! What is not a container's name goes to the host's resolvers, and nothing else does.

use std::collections::HashSet;
use std::time::Instant;

use super::upstream::{Upstream as Fake, addresses, answers, code, fails, is_silent};
use super::*;

fn took<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    (act(), began.elapsed())
}

#[test]
fn a_question_is_passed_on_unchanged_but_for_its_id() {
    need!(Root, Iptables);
    let world = World::new("nameserver 127.0.0.53\n");
    let upstream = Fake::at("127.0.0.53", answers);
    let asked = with_edns(question("www.Example.com.", RecordType::A), 1400);
    let answer = ask(&world.client(), &asked);
    assert_eq!((said(&answer).as_str(), answer.answers[0].ttl), ("192.0.2.1", 60));
    assert!(!answer.metadata.authoritative, "an answer of theirs is not ours");
    let heard = upstream.heard();
    assert_eq!(heard[0].bytes[2..], asked.to_vec().unwrap()[2..]);
    // Types nobody knows, and names that are no host's.
    for (name, kind) in [("_sip._tcp.example.com.", RecordType::Unknown(65400)), (".", RecordType::NS)] {
        ask(&world.client(), &question(name, kind));
    }
    assert_eq!(upstream.heard().len(), 3);
}

#[test]
fn ids_and_ports_cannot_be_guessed() {
    need!(Root, Iptables);
    let world = World::new("nameserver 127.0.0.53\n");
    let upstream = Fake::at("127.0.0.53", answers);
    let client = world.client();
    for _ in 0..64 {
        let mut asked = question("www.example.com.", RecordType::A);
        asked.metadata.id = 7;
        ask(&client, &asked);
    }
    let heard = upstream.heard();
    let ids: HashSet<&[u8]> = heard.iter().map(|it| &it.bytes[..2]).collect();
    let ports: HashSet<u16> = heard.iter().map(|it| it.from.port()).collect();
    // Of 64 drawn, two are alike in one run out of 30; five, never.
    assert!(ids.len() > 60 && ports.len() > 55, "{} ids, {} ports", ids.len(), ports.len());
    let steps: HashSet<i32> =
        heard.windows(2).map(|two| i32::from(two[1].from.port()) - i32::from(two[0].from.port())).collect();
    assert!(steps.len() > 30, "ports follow a rule: {steps:?}");
}

#[test]
fn tcp_questions_go_by_tcp() {
    need!(Root, Iptables);
    let world = World::new("nameserver 127.0.0.53\nnameserver 127.0.0.54\n");
    let upstream = Fake::at("127.0.0.54", |_, question| vec![addresses(question, 250)]);
    let mut stream = world.dial();
    // Nobody listens at the first: the second is asked at once.
    let (answer, time) = took(|| {
        say(&mut stream, &question("www.example.com.", RecordType::A));
        hear(&mut stream).unwrap()
    });
    assert_eq!(answer.answers.len(), 250);
    assert!(upstream.heard().iter().all(|it| it.by_tcp) && time < Duration::from_millis(500), "{time:?}");
    // A datagram that the upstream has cut is passed on as it is.
    let _cuts = Fake::at("127.0.0.53", |_, question| {
        let mut answer = addresses(question, 1);
        answer[2] |= 2;
        vec![answer]
    });
    let cut = world.ask("www.example.com.", RecordType::A);
    assert!(cut.metadata.truncation && cut.answers.len() == 1);
}

#[test]
fn the_next_one_is_asked_when_one_fails_or_is_silent() {
    need!(Root, Iptables);
    let world = World::new("nameserver 127.0.0.53\nnameserver 127.0.0.54\n");
    let second = Fake::at("127.0.0.54", answers);
    // Nobody is there: ICMP says so.
    let (answer, time) = took(|| world.a("closed.example."));
    assert!(answer == "192.0.2.1" && time < Duration::from_millis(500), "{answer} after {time:?}");
    let first = Fake::at("127.0.0.53", |nth, question| match nth {
        0 => fails(nth, question),
        1 => vec![code(question, ResponseCode::Refused)],
        _ => is_silent(nth, question),
    });
    for name in ["servfail.example.", "refused.example."] {
        let (answer, time) = took(|| world.a(name));
        assert!(answer == "192.0.2.1" && time < Duration::from_millis(500), "{name}: {answer} after {time:?}");
    }
    let (answer, time) = took(|| world.a("silent.example."));
    assert!(answer == "192.0.2.1" && time > Duration::from_millis(950), "{answer} after {time:?}");
    assert!(time < Duration::from_millis(1500), "{time:?}");
    assert_eq!((first.heard().len(), second.heard().len()), (3, 4));
}

#[test]
fn other_codes_are_answers() {
    need!(Root, Iptables);
    let world = World::new("nameserver 127.0.0.53\nnameserver 127.0.0.54\n");
    let _first = Fake::at("127.0.0.53", |_, question| vec![code(question, ResponseCode::NXDomain)]);
    let second = Fake::at("127.0.0.54", answers);
    assert_eq!(world.a("no.example."), "NXDomain");
    assert!(second.heard().is_empty());
}

#[test]
fn a_lost_datagram_is_sent_again() {
    need!(Root, Iptables);
    let world = World::new("nameserver 127.0.0.53\n");
    let _upstream = Fake::at("127.0.0.53", |nth, question| match nth {
        0 => is_silent(nth, question),
        _ => answers(nth, question),
    });
    let (answer, time) = took(|| world.a("lossy.example."));
    assert!(answer == "192.0.2.1" && time < Duration::from_millis(1500), "{answer} after {time:?}");
}

#[test]
fn when_nobody_knows_it_is_said_before_the_client_gives_up() {
    need!(Root, Iptables);
    let world = World::new("nameserver 127.0.0.53\nnameserver 127.0.0.54\n");
    let _silent = Fake::at("127.0.0.53", is_silent);
    let fails = Fake::at("127.0.0.54", fails);
    let (answer, time) = took(|| world.a("www.example.com."));
    assert!(answer == "ServFail" && (3900..4500).contains(&time.as_millis()), "{answer} after {time:?}");
    assert_eq!(fails.heard().len(), 1, "who has failed is not asked again");
    std::fs::write(world.state.path().join("resolv.conf"), "nameserver 127.0.0.54\n").unwrap();
    let (answer, time) = took(|| world.a("www.example.com."));
    assert!(answer == "ServFail" && time < Duration::from_millis(500), "{answer} after {time:?}");
}

#[test]
fn a_false_answer_is_not_believed() {
    need!(Root, Iptables);
    let world = World::new("nameserver 127.0.0.53\n");
    let _upstream = Fake::at("127.0.0.53", |_, question| {
        let mut other_id = addresses(question, 9);
        other_id[0] ^= 1;
        let mut other_name = addresses(question, 9);
        other_name[13] ^= 1;
        let no_answer = question.to_vec();
        vec![other_id, other_name, no_answer, vec![0; 3], addresses(question, 1)]
    });
    assert_eq!(world.a("www.example.com."), "192.0.2.1");
}

#[test]
fn nothing_of_the_containers_is_asked_of_the_internet() {
    need!(Root, Iptables);
    let world = World::new("nameserver 127.0.0.53\n");
    let upstream = Fake::at("127.0.0.53", answers);
    world.learn(1, 1, "web", &["www"]);
    world.learn(2, 2, "old", &[]);
    world.learn(9, 3, "elsewhere", &[]);
    world.unlearn(2, 2);
    for name in ["web", "www", "web.one", "old", "old.two", "elsewhere", "elsewhere.one", "010000000000"] {
        for kind in [RecordType::A, RecordType::AAAA, RecordType::MX, RecordType::TXT, RecordType::ANY] {
            world.ask(&format!("{name}."), kind);
        }
    }
    for name in ["1.1.0.10.in-addr.arpa.", "200.2.0.10.in-addr.arpa."] {
        world.ask(name, RecordType::PTR);
    }
    assert_eq!(upstream.names(), Vec::<String>::new());
    for name in ["www.example.com.", "printer.", "pkg.go.two.", "1.9.0.10.in-addr.arpa."] {
        world.ask(name, RecordType::A);
    }
    assert_eq!(upstream.names(), ["www.example.com.", "printer.", "pkg.go.two.", "1.9.0.10.in-addr.arpa."]);
}

#[test]
fn a_container_of_internal_networks_asks_nobody() {
    need!(Root, Iptables);
    let world = World::new("nameserver 127.0.0.53\n");
    let upstream = Fake::at("127.0.0.53", answers);
    world.learn(1, 1, "web", &[]);
    world.resolver.lock().unwrap().set_forwards(false);
    let (answer, time) = took(|| world.a("www.example.com."));
    assert!(answer == "ServFail" && time < Duration::from_millis(500), "{answer} after {time:?}");
    assert_eq!(world.a("web."), "10.0.1.1");
    assert!(upstream.heard().is_empty());
    world.resolver.lock().unwrap().set_forwards(true);
    assert_eq!(world.a("www.example.com."), "192.0.2.1");
}

#[test]
fn servers_of_the_users_are_asked_from_inside() {
    need!(Root, Iptables);
    let ips = ["127.0.0.11", "127.0.0.77", "::1"].map(|ip| ip.parse().unwrap());
    let world = World::asking(&ips);
    // At the same address on the host there is another one.
    let outside = Fake::at("127.0.0.77", fails);
    let inside = world.container.inside(|| Fake::at("127.0.0.77", answers));
    for number in 0..20 {
        assert_eq!(world.a(&format!("w{number}.example.com.")), "192.0.2.1");
    }
    let mut stream = world.dial();
    say(&mut stream, &question("www.example.com.", RecordType::A));
    assert_eq!(said(&hear(&mut stream).unwrap()), "192.0.2.1");
    assert_eq!((inside.heard().len(), outside.heard().len()), (21, 0));
    let ports: HashSet<u16> = inside.heard().iter().map(|it| it.from.port()).collect();
    assert!(ports.len() > 18, "{ports:?}");
    let world = World::asking(&["127.0.0.11".parse().unwrap()]);
    let (answer, time) = took(|| world.a("www.example.com."));
    assert!(answer == "ServFail" && time < Duration::from_millis(500), "{answer} after {time:?}");
}

#[test]
fn the_hosts_resolv_conf_is_followed() {
    need!(Root, Iptables);
    let world = World::new("nameserver 127.0.0.53\n");
    let [first, second, v6] = ["127.0.0.53", "127.0.0.54", "::1"].map(|ip| Fake::at(ip, answers));
    world.a("a.example.");
    std::fs::write(world.state.path().join("resolv.conf"), "nameserver 127.0.0.54\n").unwrap();
    world.a("b.example.");
    std::fs::write(world.state.path().join("new"), "nameserver ::1\n").unwrap();
    std::fs::rename(world.state.path().join("new"), world.state.path().join("resolv.conf")).unwrap();
    world.a("c.example.");
    assert_eq!(
        (first.names(), second.names(), v6.names()),
        (vec!["a.example.".into()], vec!["b.example.".into()], vec!["c.example.".into()])
    );
}
