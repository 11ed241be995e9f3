//! Names that change while they are asked for, and what 100 000 questions leave behind.

use std::time::Instant;

use super::upstream::{Upstream as Fake, is_silent};
use super::*;

#[test]
fn no_question_is_lost_while_names_change() {
    need!(Root, Iptables);
    let world = World::new("nameserver 127.0.0.53\n");
    let upstream = Fake::at("127.0.0.53", is_silent);
    world.learn(1, 1, "web", &[]);
    world.learn(1, 2, "flicker", &[]);
    let ends = Instant::now() + Duration::from_secs(2);
    let client = world.client();
    let mut asked = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while Instant::now() < ends {
                world.unlearn(1, 2);
                world.learn(1, 2, "flicker", &[]);
                world.resolver.lock().unwrap().set_members(vec![member(2, "two"), member(1, "one")]);
            }
        });
        while Instant::now() < ends {
            assert_eq!(said(&ask(&client, &question("web.", RecordType::A))), "10.0.1.1");
            let flicker = said(&ask(&client, &question("flicker.", RecordType::A)));
            assert!(["10.0.1.2", "NXDomain"].contains(&flicker.as_str()), "{flicker}");
            asked += 2;
        }
    });
    assert!(asked > 200, "only {asked} questions");
    assert!(upstream.names().is_empty());
}

#[test]
fn a_network_is_joined_and_left_while_it_is_served() {
    need!(Root, Iptables);
    let world = World::new("");
    world.resolver.lock().unwrap().set_forwards(false);
    world.learn(1, 1, "web", &[]);
    world.learn(3, 1, "web", &[]);
    assert_eq!(world.a("web."), "10.0.1.1");
    world.resolver.lock().unwrap().set_members(vec![member(3, "three"), member(1, "one")]);
    assert_eq!(world.a("web."), "10.0.3.1 10.0.1.1");
    world.resolver.lock().unwrap().set_members(vec![member(3, "three")]);
    assert_eq!(world.a("web."), "10.0.3.1");
    world.resolver.lock().unwrap().set_members(Vec::new());
    assert_eq!(world.a("web."), "NXDomain", "a container of others is still none of the internet's");
    assert_eq!(world.a("web.three."), "ServFail");
}

#[test]
fn a_hundred_thousand_questions_leave_nothing_behind() {
    need!(Root, Iptables);
    if !alone("dns::changes::a_hundred_thousand_questions_leave_nothing_behind") {
        return;
    }
    let world = World::new("nameserver 127.0.0.53\n");
    // Nobody listens there: each question that is passed on fails at once.
    world.learn(1, 1, "web", &[]);
    let client = world.client();
    let names = ["web.", "web.one.", "nobody.one.", "web.", "1.1.0.10.in-addr.arpa.", "www.example.com."];
    let messages: Vec<Vec<u8>> = names.iter().map(|name| question(name, RecordType::A).to_vec().unwrap()).collect();
    let mut bytes = [0; 2048];
    let mut ask = |count: usize| {
        for _ in 0..count / messages.len() {
            messages.iter().for_each(|message| assert!(client.send(message).is_ok()));
            messages.iter().for_each(|_| assert!(client.recv(&mut bytes).is_ok()));
        }
    };
    ask(10_000);
    let before = resident_kib();
    ask(100_000);
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 1024, "{grown} KiB more");
    assert!(descriptors() < 64, "{} descriptors are open", descriptors());
}
