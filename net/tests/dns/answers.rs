//! What a container's programs hear of the containers in its networks.

use std::fs::File;

use super::*;
use crate::world::serve as serve_tcp;

#[test]
fn a_container_is_found_by_udp_and_by_tcp() {
    need!(Root, Iptables);
    let world = World::new("nameserver 127.0.0.53\n");
    world.learn(1, 1, "web", &["www"]);
    world.learn(2, 1, "web", &[]);
    let answer = world.ask("WeB.one.", RecordType::A);
    assert_eq!(said(&answer), "10.0.1.1");
    // The name as it was asked for (draft-vixie-dnsext-dns0x20), Docker's time, RA as Docker.
    assert_eq!((answer.answers[0].name.to_ascii().as_str(), answer.answers[0].ttl), ("WeB.one.", 600));
    assert!(answer.metadata.authoritative && answer.metadata.recursion_available && answer.metadata.recursion_desired);
    assert_eq!(world.a("web."), "10.0.1.1 10.0.2.1");
    assert_eq!(world.a("010000000000."), "10.0.2.1 10.0.1.1", "the order goes round");
    assert_eq!(said(&world.ask("1.1.0.10.in-addr.arpa.", RecordType::PTR)), "web.one.");
    world.learn(1, 2, "x", &[]);
    world.unlearn(1, 2);
    let mut stream = world.dial();
    for (name, kind, wanted) in
        [("www.", RecordType::A, "10.0.1.1"), ("www.", RecordType::AAAA, ""), ("x.one.", RecordType::A, "NXDomain")]
    {
        say(&mut stream, &question(name, kind));
        assert_eq!(said(&hear(&mut stream).unwrap()), wanted, "{name} {kind}");
    }
}

#[test]
fn a_container_has_port_53_for_itself() {
    need!(Root, Iptables);
    let world = World::new("");
    world.learn(1, 1, "web", &[]);
    let (datagrams, listener) = world
        .container
        .inside(|| (UdpSocket::bind("0.0.0.0:53").unwrap(), std::net::TcpListener::bind("0.0.0.0:53").unwrap()));
    serve_tcp(listener, "mine");
    std::thread::spawn(move || {
        let mut bytes = [0; 512];
        while let Ok((_, client)) = datagrams.recv_from(&mut bytes) {
            datagrams.send_to(b"mine", client).unwrap();
        }
    });
    let (by_udp, by_tcp) = world.container.inside(|| {
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(6))).unwrap();
        client.send_to(b"x", "127.0.0.1:53").unwrap();
        let mut bytes = [0; 512];
        let length = client.recv(&mut bytes).unwrap();
        (bytes[..length].to_vec(), crate::world::greeting("127.0.0.1", 53))
    });
    assert_eq!((by_udp.as_slice(), by_tcp.as_deref()), (b"mine".as_slice(), Ok("mine")));
    assert_eq!(world.a("web."), "10.0.1.1");
    let mut stream = world.dial();
    say(&mut stream, &question("web.", RecordType::A));
    assert_eq!(said(&hear(&mut stream).unwrap()), "10.0.1.1");
}

#[test]
fn the_c_library_finds_a_container() {
    need!(Root, Iptables);
    let world = World::new("nameserver 127.0.0.53\n");
    world.learn(1, 1, "web", &[]);
    // Without an address of its own it would not look for any (AI_ADDRCONFIG).
    world.container.run("ip address add 10.0.1.9/24 dev lo");
    let resolv_conf = world.state.path().join("container-resolv.conf");
    std::fs::write(&resolv_conf, "nameserver 127.0.0.11\noptions ndots:0\n").unwrap();
    let script = format!("mount --bind {} /etc/resolv.conf && exec getent \"$@\"", resolv_conf.display());
    let getent = |words: &[&str]| {
        let mut command = std::process::Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script, "getent"]).args(words);
        let output = world.container.inside(|| command.output().unwrap());
        let text = String::from_utf8(output.stdout).unwrap();
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        (output.status.code(), text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    };
    assert_eq!(getent(&["ahostsv4", "web"]).1[0], "10.0.1.1");
    assert_eq!(getent(&["hosts", "10.0.1.1"]), (Some(0), vec!["10.0.1.1".into(), "web.one".into()]));
    assert_eq!(getent(&["hosts", "nobody.one"]).0, Some(2));
}

#[test]
fn a_long_answer_comes_whole_by_tcp() {
    need!(Root, Iptables);
    let world = World::new("");
    (1..=60).for_each(|number| world.learn(1, number, &format!("web{number}"), &["web"]));
    let cut = world.ask("web.", RecordType::A);
    assert!(cut.metadata.truncation && cut.answers.len() < 60);
    let whole = ask(&world.client(), &with_edns(question("web.", RecordType::A), 4096));
    assert_eq!((whole.metadata.truncation, whole.answers.len()), (false, 60));
    let mut stream = world.dial();
    say(&mut stream, &question("web.", RecordType::A));
    let whole = hear(&mut stream).unwrap();
    assert_eq!((whole.metadata.truncation, whole.answers.len()), (false, 60));
}

#[test]
fn another_name_server_takes_the_place_of_the_one_before() {
    need!(Root, Iptables);
    let world = World::new("");
    world.learn(1, 1, "web", &[]);
    let nat = || {
        let text = world.container.run("iptables-save -t nat");
        text.lines().filter(|line| line.starts_with("-A")).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = nat();
    assert_eq!(before.len(), 6, "{before:?}");
    // The process that served it was killed; another one opens anew, and may be killed before it has redirected.
    let settings = Settings {
        names_dir: world.networks.names_dir(),
        upstream: Upstream::These(Vec::new()),
        forwards: false,
        egress: None,
    };
    let mut resolver = Resolver::open(world.container.0.as_fd(), settings).unwrap();
    let ports = resolver.ports();
    resolver.set_members(vec![member(1, "uno")]);
    *world.resolver.lock().unwrap() = resolver;
    redirect(world.container.0.as_fd(), ports, Backend::Iptables(Variant::Usual)).unwrap();
    let after = nat();
    assert_eq!(after.len(), 6, "{after:?}");
    assert!(after.iter().any(|line| line.ends_with(&format!("--to-destination 127.0.0.11:{}", ports.0))), "{after:?}");
    assert!(ports.0 > 1024 && ports.1 > 1024);
    // Somebody has taken out a jump, and put in a rule of his own.
    world.container.run("iptables -t nat -F OUTPUT");
    world.container.run("iptables -t nat -A OUTPUT -d 192.0.2.1 -j ACCEPT");
    redirect(world.container.0.as_fd(), ports, Backend::Iptables(Variant::Usual)).unwrap();
    assert_eq!(nat().len(), 7, "{:?}", nat());
}

#[test]
fn with_nftables_one_map_leads_to_the_name_server() {
    need!(Root, Iptables);
    let world = World::new("");
    world.learn(1, 1, "web", &[]);
    let answer = world.a("web.");
    // Without the rules of iptables.
    world.container.run("nft flush ruleset");
    assert!(world.container.inside(|| TcpStream::connect("127.0.0.11:53").is_err()));
    let ports = world.resolver.lock().unwrap().ports();
    for (udp, tcp) in [(1, 2), ports] {
        redirect(world.container.0.as_fd(), (udp, tcp), Backend::Nftables).unwrap();
        let rules = world.container.run("nft list ruleset");
        assert!(
            rules.contains(&format!("127.0.0.11 . udp . 53 comment \"name-server\" : 127.0.0.11 . {udp}")),
            "{rules}"
        );
        assert!(rules.contains(&format!(": 127.0.0.11 . {tcp}")) && !rules.contains("iptables"), "{rules}");
    }
    assert_eq!(world.a("web."), answer);
    world.dial();
}

#[test]
fn a_redirect_that_fails_says_why() {
    need!(Root, Iptables);
    for backend in [Backend::Iptables(Variant::Usual), Backend::Nftables] {
        let error = redirect(File::open("/dev/null").unwrap().as_fd(), (70, 70), backend).unwrap_err();
        assert_eq!(error.to_string(), "cannot redirect 127.0.0.11:53 to the name server: invalid argument");
    }
}
