//! `--egress`: what a container may open connections to, each way really tried, with a twin that may reach everything.

mod bypass;
mod names;

use crate::support::{Host, NEIGHBOUR4, Running, need};
use serde_json::Value;

/// The network of these tests has both families.
const NETWORK: [&str; 10] = [
    "network",
    "create",
    "--ipv6",
    "--subnet",
    "10.5.0.0/24",
    "--subnet",
    "fd00:5::/64",
    "--gateway",
    "10.5.0.1",
    "both",
];
const NEIGHBOUR6: &str = "2001:db8::3";
/// The first container of it.
const OTHER4: &str = "10.5.0.2";
const OTHER6: &str = "fd00:5::2";

/// A host with servers all around: at the neighbour on its wire, on itself, and in another container of the same network.
struct World {
    host: Host,
    _servers: Vec<Running>,
}

impl World {
    fn new() -> World {
        let host = Host::with_busybox();
        host.rbox(&NETWORK).ok();
        let serve = "for one in '80' '53' '853' '53 udp' '80 udp'; do /probe serve $one >/dev/null & done; /probe serve 443 4 6";
        let other = host.run_ready(&["--name", "other", "--network", "both"], &["sh", "-c", serve]);
        let mut servers = vec![other];
        for words in [
            ["80", "tcp", "6"],
            ["443", "tcp", "6"],
            ["53", "tcp", "6"],
            ["853", "tcp", "6"],
            ["80", "udp", "6"],
            ["53", "udp", "6"],
        ] {
            servers.push(host.neighbour_serves(&words));
        }
        let mut own = host.spawn(&crate::support::probe().display().to_string(), &["serve", "80", "tcp", "6"]);
        own.wait_for("ready");
        servers.push(own);
        World { host, _servers: servers }
    }

    /// A container of the network that idles.
    #[track_caller]
    fn idle(&self, flags: &[&str]) -> Running {
        self.host.run_ready(&[&["--network", "both"], flags].concat(), &["sh", "-c", "echo ready; exec sleep 1000"])
    }
}

fn questions() -> Vec<String> {
    let mut all = Vec::new();
    for address in [NEIGHBOUR4, NEIGHBOUR6] {
        for question in ["tcp @ 80", "tcp @ 443", "tcp @ 53", "tcp @ 853", "udp @ 80", "udp @ 53", "ping @"] {
            all.push(question.replace('@', address));
        }
    }
    all.extend([OTHER4, OTHER6].map(|address| format!("tcp {address} 443")));
    all.extend([OTHER4, OTHER6].map(|address| format!("ping {address}")));
    // The host itself: by its gateway address, and by the one on its wire.
    all.extend(["tcp 10.5.0.1 80", "ping 10.5.0.1", "tcp 192.0.2.2 80", "tcp 2001:db8::2 80"].map(str::to_owned));
    all
}

#[track_caller]
fn reached(container: &Running) -> Vec<String> {
    let questions = questions();
    container.reaches(&questions.iter().map(String::as_str).collect::<Vec<_>>())
}

/// What `rbox network egress` says.
#[track_caller]
fn told(host: &Host, name: &str) -> Value {
    let text = host.rbox(&["net", "egress", "--format", "json", name]).ok().stdout;
    serde_json::from_str::<Value>(&text).unwrap()[0].clone()
}

/// Those that were refused, as questions.
fn refused(told: &Value) -> Vec<String> {
    let of = |it: &Value| {
        let (address, protocol) = (it["Address"].as_str().unwrap(), it["Protocol"].as_str().unwrap());
        assert!(it["Packets"].as_u64().unwrap() > 0 && it["SecondsAgo"].as_u64().unwrap() < 60, "{it}");
        match it["Port"].as_u64() {
            Some(port) => format!("{protocol} {address} {port}"),
            None => format!("{} {address}", protocol.replace("icmp", "ping")),
        }
    };
    told["Refused"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn none_lets_nothing_out_but_answers_and_tells_at_once() {
    need!(Root);
    let world = World::new();
    let free = world.idle(&["--name", "free"]);
    assert_eq!(reached(&free), questions(), "without the flag all of it is reached");
    let shut = world.idle(&["--name", "shut", "--egress", "none", "-p", "8080:80", "-p", "8080:80/udp"]);
    assert_eq!(reached(&shut), Vec::<String>::new());
    // All of it is told.
    let mut told = refused(&told(&world.host, "shut"));
    let mut wanted = questions();
    told.sort();
    wanted.sort();
    assert_eq!(told, wanted);
    let audit = world.host.rbox(&["net", "audit"]).ok().stdout;
    let (_, audit) =
        audit.split_once("\nshut may reach nobody; refused in the last day:\n").unwrap_or_else(|| panic!("{audit}"));
    assert_eq!(audit.lines().count(), 11, "{audit}");
    assert!(audit.lines().take(10).all(|line| line.contains(" packets, ")), "{audit}");
    assert!(audit.ends_with("more: rbox network egress shut\n"), "{audit}");
    // Where it cannot be told, that is said.
    let id = world.host.rbox(&["inspect", "--format", "{{.Id}}", "shut"]).ok().text().to_owned();
    let intent = format!("data/containers/{id}/intent.json");
    world.host.shell(&format!("mv {intent} {intent}.aside")).ok();
    let audit = world.host.rbox(&["net", "audit"]).ok().stdout;
    assert!(audit.contains("\nwhat shut may reach is not known: "), "{audit}");
    world.host.shell(&format!("mv {intent}.aside {intent}")).ok();
    // Nobody waits for what is refused.
    let quick = shut.inside(&format!("time /probe connect {NEIGHBOUR4} 80 2>&1; /probe connect {NEIGHBOUR4} 80 udp"));
    assert!(quick.stdout.contains("probe: ConnectionRefused") && quick.stdout.contains("0m 0.0"), "{quick}");
    assert!(quick.stderr.contains("probe: PermissionDenied"), "{quick}");
    // Who asks the container is answered: from outside, from the host, from its neighbour.
    let serve = "/probe serve 80 tcp 6 >/dev/null 2>&1 & /probe serve 80 udp 6 >/dev/null 2>&1 & sleep 0.3";
    shut.inside(serve).ok();
    let address = shut.address();
    let wanted = ["tcp 192.0.2.2 8080", "udp 192.0.2.2 8080", "tcp 2001:db8::2 8080"];
    assert_eq!(world.host.neighbour().reaches(&wanted), wanted);
    let direct = [&*format!("tcp {address} 80"), &*format!("udp {address} 80"), &*format!("ping {address}")];
    assert_eq!(world.host.reaches(&direct), direct);
    assert_eq!(free.reaches(&direct), direct);
    // And hears at once that nobody listens, by a reset or by a message of ICMP.
    for protocol in ["tcp", "udp"] {
        world.host.connect(&address, 81, protocol).says("ConnectionRefused");
    }
    // An address of IPv4 in IPv6's clothes is one of IPv4.
    let mapped = format!("tcp ::ffff:{NEIGHBOUR4} 80");
    assert_eq!(free.reaches(&[&mapped]), [&*mapped]);
    assert_eq!(shut.reaches(&[&mapped]), Vec::<String>::new());
    // It reaches itself.
    assert_eq!(shut.reaches(&direct), direct);
    assert_eq!(shut.reaches(&["tcp 127.0.0.1 80"]), ["tcp 127.0.0.1 80"]);
}

#[test]
fn addresses_and_subnets_of_both_families_with_ports_and_protocols() {
    need!(Root);
    let world = World::new();
    let of = |words: &[&str]| questions().into_iter().filter(|question| words.contains(&question.as_str())).collect();
    let table: [(&str, Vec<String>); 8] = [
        // Without a port everything, but another name server.
        ("192.0.2.3", of(&["tcp 192.0.2.3 80", "tcp 192.0.2.3 443", "udp 192.0.2.3 80", "ping 192.0.2.3"])),
        ("192.0.2.0/24:80", of(&["tcp 192.0.2.3 80", "udp 192.0.2.3 80", "tcp 192.0.2.2 80"])),
        ("192.0.2.3:53", of(&["tcp 192.0.2.3 53", "udp 192.0.2.3 53"])),
        ("192.0.2.3:53-443/tcp", of(&["tcp 192.0.2.3 53", "tcp 192.0.2.3 80", "tcp 192.0.2.3 443"])),
        ("0.0.0.0/0/udp", of(&["udp 192.0.2.3 80"])),
        ("[2001:db8::]/32:443", of(&["tcp 2001:db8::3 443"])),
        ("2001:db8::3", of(&["tcp 2001:db8::3 80", "tcp 2001:db8::3 443", "udp 2001:db8::3 80", "ping 2001:db8::3"])),
        ("10.5.0.2:443,[fd00:5::2]:443/tcp", of(&["tcp 10.5.0.2 443", "tcp fd00:5::2 443"])),
    ];
    for (entries, wanted) in table {
        let some = world.idle(&["--egress", &format!("allow={entries}")]);
        assert_eq!(reached(&some), wanted, "{entries}");
        // What is sent in several pieces is one packet to the rules.
        for (address, option) in [(NEIGHBOUR4, "-4"), (NEIGHBOUR6, "-6")] {
            let large = some.inside(&format!("ping {option} -q -c 1 -W 2 -s 4000 {address}"));
            assert_eq!(large.code == 0, wanted.contains(&format!("ping {address}")), "{entries}: {large}");
        }
    }
}

#[test]
fn what_explain_says_is_what_nft_would_make_of_it() {
    need!(Root);
    let host = Host::with_busybox();
    let entries =
        "allow=web.example.com:80-90,*.example.org/udp,10.0.0.0/8:443/tcp,[2001:db8::]/32:53,192.0.2.7,2001:db8::7";
    let explain = host.path("explain").display().to_string();
    let name = ["-d", "--name", "guarded", "--egress", entries];
    let flags = ["run", "--explain=json", "--explain-file", &explain];
    host.rbox(&[&flags[..], &name, &[crate::support::BUSYBOX, "sleep", "1000"]].concat()).ok();
    let text = std::fs::read_to_string(&explain).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let step = lines.into_iter().find(|line| line["kind"] == "egress").unwrap_or_else(|| panic!("{text}"));
    let script = step["request"].as_str().unwrap_or_else(|| panic!("{step}"));
    let pid = host.rbox(&["inspect", "--format", "{{.State.Pid}}", "guarded"]).ok().text().to_owned();
    let listed = host.shell(&format!("nsenter --net=/proc/{pid}/ns/net nft list table inet rbox-egress")).ok().stdout;
    assert!(listed.contains("policy drop") && listed.contains("allowed: *.example.org/udp"), "{listed}");
    // The same by nft's own hand, in a network of its own.
    let by_hand = format!("unshare --net sh -c '{}\nnft list table inet rbox-egress'", script.replace('\'', "'\\''"));
    assert_eq!(host.shell(&by_hand).ok().stdout, listed);
}
