use std::net::{Ipv4Addr, Ipv6Addr};

use tempfile::TempDir;

use super::*;
use crate::{Named, Networks};

/// Two networks, `one` and `two`, and a zone that is in both.
struct World {
    _state: TempDir,
    networks: Networks,
    zone: Zone,
}

fn named(network: u8, number: u8, name: &str, aliases: &[&str]) -> Named {
    Named {
        endpoint: format!("{network:02x}{number:062x}"),
        container: format!("{number:02x}{:062x}", 0xfeed),
        name: name.to_owned(),
        aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
        v4: Some(Ipv4Addr::new(10, 0, network, number)),
        v6: number.is_multiple_of(2).then(|| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, network.into(), number.into())),
    }
}

fn member(network: u8, name: &str) -> Member {
    Member {
        network_id: format!("n{network}"),
        network_name: name.to_owned(),
        subnets: vec![
            (Ipv4Addr::new(10, 0, network, 0).into(), 24),
            (Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, network.into(), 0).into(), 112),
        ],
        links: Vec::new(),
    }
}

impl World {
    fn new() -> World {
        let state = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(state.path().join("net/networks")).unwrap();
        std::fs::write(state.path().join("net/networks/none.json"), "").unwrap();
        let networks = Networks::open(state.path(), state.path()).unwrap();
        let mut zone = Zone::new(networks.names_dir());
        zone.set_members(vec![member(1, "one"), member(2, "two")]);
        World { _state: state, networks, zone }
    }

    fn learn(&self, network: u8, number: u8, name: &str, aliases: &[&str]) {
        let named = named(network, number, name, aliases);
        let lock = self.networks.lock().unwrap();
        self.networks.learn(&lock, &format!("n{network}"), "any", named).unwrap();
    }

    fn unlearn(&self, network: u8, number: u8) {
        let lock = self.networks.lock().unwrap();
        let endpoint = named(network, number, "", &[]).endpoint;
        self.networks.unlearn(&lock, &format!("n{network}"), &endpoint).unwrap();
    }

    fn find(&mut self, name: &str, kind: RecordType) -> Found {
        self.zone.find(&Name::from_ascii(format!("{name}.")).unwrap(), kind)
    }

    /// The addresses of a name as text, or `-` for no such name, `>` for elsewhere.
    fn a(&mut self, name: &str) -> String {
        self.text(name, RecordType::A)
    }

    fn text(&mut self, name: &str, kind: RecordType) -> String {
        match self.find(name, kind) {
            Found::Records(records) => records.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Found::NoSuchName => "-".to_owned(),
            Found::Elsewhere => ">".to_owned(),
        }
    }
}

#[test]
fn a_container_has_its_names_and_each_with_the_network() {
    let mut world = World::new();
    world.learn(1, 1, "Web", &["www", "my.alias"]);
    for name in ["web", "WEB", "web.one", "wEb.ONE", "www", "www.one", "my.alias", "my.alias.one"] {
        assert_eq!(world.a(name), "10.0.1.1", "{name}");
    }
    for name in ["010000000000", "010000000000.one"] {
        assert_eq!(world.a(name), "10.0.1.1", "{name}");
    }
    assert_eq!(world.a("01000000000"), ">", "a shorter id is no name");
    assert_eq!(world.a("web.two"), "-");
    assert_eq!(world.a("web.three"), ">");
    assert_eq!(world.a("a.web"), ">");
}

#[test]
fn a_name_in_two_networks_has_its_addresses_in_both_in_their_order() {
    let mut world = World::new();
    world.learn(2, 4, "web", &[]);
    world.learn(1, 4, "web", &[]);
    assert_eq!(world.a("web"), "10.0.1.4 10.0.2.4");
    assert_eq!(world.a("web.two"), "10.0.2.4");
    assert_eq!(world.text("web", RecordType::AAAA), "fd00::2:4 fd00::1:4", "the order goes round");
}

#[test]
fn an_alias_of_several_gives_all_and_goes_round() {
    let mut world = World::new();
    (1..=3).for_each(|number| world.learn(1, number, &format!("web{number}"), &["web"]));
    let rounds: Vec<String> = (0..4).map(|_| world.a("web")).collect();
    assert_eq!(
        rounds,
        [
            "10.0.1.1 10.0.1.2 10.0.1.3",
            "10.0.1.2 10.0.1.3 10.0.1.1",
            "10.0.1.3 10.0.1.1 10.0.1.2",
            "10.0.1.1 10.0.1.2 10.0.1.3"
        ]
    );
}

#[test]
fn a_known_name_is_never_asked_elsewhere() {
    let mut world = World::new();
    world.learn(1, 1, "web", &["example.com"]);
    for kind in [RecordType::AAAA, RecordType::MX, RecordType::TXT, RecordType::SRV, RecordType::HTTPS] {
        assert_eq!(world.text("web", kind), "", "{kind}");
        assert_eq!(world.text("example.com", kind), "", "{kind}");
    }
}

#[test]
fn what_could_only_be_a_container_is_not_asked_elsewhere() {
    let mut world = World::new();
    world.learn(1, 1, "web", &["www"]);
    world.learn(9, 2, "other", &["cousin", "cousin.example"]);
    assert_eq!((world.a("other.one").as_str(), world.a("COUSIN.two").as_str()), ("-", "-"));
    assert_eq!((world.a("other").as_str(), world.a("Cousin").as_str()), ("-", "-"));
    // Somebody's network may be called dev.
    assert_eq!((world.a("nobody.one").as_str(), world.a("pkg.go.one").as_str()), (">", ">"));
    assert_eq!(world.a("cousin.example"), ">", "with a dot it may be anybody's");
    assert_eq!((world.a("nobody").as_str(), world.a("one").as_str(), world.a("xone").as_str()), (">", ">", ">"));
    world.unlearn(1, 1);
    world.unlearn(9, 2);
    for name in ["web", "www", "web.one", "other", "cousin"] {
        assert_eq!(world.a(name), "-", "{name} is gone");
    }
    assert_eq!(world.find("", RecordType::NS), Found::Elsewhere);
}

#[test]
fn a_link_is_a_name_for_this_container_alone() {
    let mut world = World::new();
    world.learn(1, 1, "tomcat1", &[]);
    world.learn(1, 2, "db", &[]);
    let by_id = named(1, 2, "", &[]).container;
    let links = vec![("tomcat".to_owned(), "tomcat1".to_owned()), ("store".to_owned(), by_id)];
    world.zone.set_members(vec![Member { links, ..member(1, "one") }]);
    assert_eq!((world.a("tomcat").as_str(), world.a("tomcat.one").as_str()), ("10.0.1.1", "10.0.1.1"));
    assert_eq!((world.a("STORE").as_str(), world.a("tomcat1").as_str()), ("10.0.1.2", "10.0.1.1"));
    // The link means one container, even if another takes its alias for a name.
    world.learn(1, 3, "tomcat", &[]);
    assert_eq!(world.a("tomcat"), "10.0.1.1");
    world.unlearn(1, 1);
    assert_eq!(world.a("tomcat"), "-");
}

#[test]
fn an_address_has_the_full_name() {
    let mut world = World::new();
    world.learn(2, 2, "tomcat5", &[]);
    let long = "x".repeat(64);
    world.learn(2, 3, &long, &[]);
    let mut ptr = |name: &str| world.text(name, RecordType::PTR);
    assert_eq!(ptr("2.2.0.10.in-addr.arpa"), "tomcat5.two.");
    assert_eq!(ptr("2.2.0.10.IN-ADDR.arpa"), "tomcat5.two.");
    let v6 = "2.0.0.0.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
    assert_eq!(ptr(v6), "tomcat5.two.");
    assert_eq!(ptr("3.2.0.10.in-addr.arpa"), "", "no name that DNS can carry");
    assert_eq!(ptr("9.2.0.10.in-addr.arpa"), "-", "nobody in our subnet");
    assert_eq!(ptr(&v6.replacen('2', "9", 1)), "-");
    assert_eq!(ptr("2.9.0.10.in-addr.arpa"), ">");
    assert_eq!((ptr("2.0.10.in-addr.arpa").as_str(), ptr("2.2.0.300.in-addr.arpa").as_str()), (">", ">"));
    assert_eq!(world.a("2.2.0.10.in-addr.arpa"), "");
}

#[test]
fn names_are_known_and_unknown_at_once() {
    let mut world = World::new();
    assert_eq!(world.a("web"), ">");
    for round in 0..200u8 {
        world.learn(1, round, "web", &[]);
        assert_eq!(world.a("web"), format!("10.0.1.{round}"));
        world.unlearn(1, round);
        assert_eq!(world.a("web"), "-");
    }
    world.learn(1, 1, "web", &[]);
    let lock = world.networks.lock().unwrap();
    world.networks.rename(&lock, "n1", &named(1, 1, "", &[]).endpoint, "front").unwrap();
    assert_eq!((world.a("web").as_str(), world.a("front").as_str()), ("-", "10.0.1.1"));
    std::fs::write(world.networks.names_dir().join("n1.json.tmp"), "{").unwrap();
    std::fs::rename(world.networks.names_dir().join("n1.json.tmp"), world.networks.names_dir().join("n1.json"))
        .unwrap();
    assert_eq!(world.a("front"), ">", "a broken file counts as empty");
    world.networks.forget_names(&lock, "n1").unwrap();
    assert_eq!(world.a("front"), ">");
}

#[test]
fn odd_names_find_nobody() {
    let mut world = World::new();
    world.learn(1, 1, "web", &[]);
    let raw = |parts: &[&[u8]]| Name::from_labels(parts.iter().copied()).unwrap();
    let mut find = |name: Name| world.zone.find(&name, RecordType::A);
    assert_eq!(find(raw(&[b"web.one"])), Found::Elsewhere, "a dot inside of a part");
    assert_eq!(find(raw(&[b"\xff\x00web", b"one"])), Found::Elsewhere);
    assert_eq!(find(raw(&[b"\xc3\xa9"])), Found::Elsewhere);
    let deep = vec![b"1".as_slice(); 120];
    assert_eq!(find(raw(&deep)), Found::Elsewhere);
}
