//! Names: what they mean is reached for as long as they mean it, and what is not allowed is not even asked for.

use super::{refused, told};
use crate::support::{Host, NEIGHBOUR4, Running, need};
use serde_json::{Value, json};
use std::fs;
use std::time::{Duration, Instant};

/// The host's name server, at the neighbour. Servers answer there at 192.0.2.3 and 192.0.2.4 and 2001:db8::3.
struct World {
    host: Host,
    _servers: Vec<Running>,
}

impl World {
    fn new(names: &Value) -> World {
        let host = Host::with_busybox();
        fs::write(host.path("names.json"), names.to_string()).unwrap();
        fs::write(host.path("asked"), "").unwrap();
        fs::write(host.path("names.py"), include_str!("names.py")).unwrap();
        host.neighbour().shell("ip addr add 192.0.2.4/24 dev eth0").ok();
        let pid = fs::read_to_string(host.path("neighbour.pid")).unwrap();
        let net = format!("--net=/proc/{}/ns/net", pid.trim());
        let (names, asked) = (host.path("names.json").display().to_string(), host.path("asked").display().to_string());
        let mut server = host.spawn("nsenter", &[&net, "python3", "names.py", &names, &asked]);
        server.wait_for("ready");
        let serve = |words: &[&str]| host.neighbour_serves(words);
        let servers = vec![server, serve(&["80", "tcp", "6"]), serve(&["443", "tcp", "6"]), serve(&["80", "udp", "6"])];
        World { host, _servers: servers }
    }

    fn say(&self, names: &Value) {
        // Whole or not at all: it may be read in this moment.
        fs::write(self.host.path("names.new"), names.to_string()).unwrap();
        fs::rename(self.host.path("names.new"), self.host.path("names.json")).unwrap();
    }

    /// Every question that has come to the neighbour, as NAME TYPE LENGTH; nothing is left then.
    fn asked(&self) -> Vec<String> {
        let text = fs::read_to_string(self.host.path("asked")).unwrap();
        fs::write(self.host.path("asked"), "").unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn idle(&self, name: &str, flags: &[&str]) -> String {
        self.host.detached(&[&["--name", name], flags].concat(), &["sleep", "1000"])
    }

    /// What is reached of the server of a name, by its port; with the words of why not.
    #[track_caller]
    fn get(&self, container: &str, name: &str, port: u16) -> String {
        let output = self.host.rbox(&["exec", container, "sh", "-c", &format!(
            "ip=$(nslookup {name}. 2>/dev/null | awk '/^Name:/ {{ seen = 1 }} seen && /^Address/ {{ print $NF; exit }}'); \
             [ \"$ip\" ] || {{ echo no such name; exit; }}; /probe connect $ip {port} >/dev/null 2>&1 && echo $ip || echo refused $ip"
        )]);
        output.text().to_owned()
    }
}

/// How many answers there are.
const ASK_BY_TCP: &str = r#"
import socket, struct
name = b"".join(bytes([len(part)]) + part for part in b"many.example.org".split(b".")) + b"\0"
question = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + name + struct.pack(">HH", 1, 1)
asked = socket.create_connection(("127.0.0.11", 53), 5)
asked.sendall(struct.pack(">H", len(question)) + question)
size = struct.unpack(">H", asked.recv(2, socket.MSG_WAITALL))[0]
print(struct.unpack(">H", asked.recv(size, socket.MSG_WAITALL)[6:8])[0])
"#;

/// What is said to port 9000 comes back.
const ECHO: &str = "
import socket
here = socket.create_server((\"\", 9000))
there, _ = here.accept()
while said := there.recv(100): there.sendall(said)
";

fn names() -> Value {
    json!({
        "web.example.com": [["A", 300, "192.0.2.3"]],
        "deep.web.example.com": [["A", 300, "192.0.2.3"]],
        "other.example.com": [["A", 300, "192.0.2.4"]],
        "example.com": [["A", 300, "192.0.2.4"]],
        "alias.example.org": [["CNAME", 300, "further.example.net"]],
        "further.example.net": [["CNAME", 20, "web.example.com"]],
        "six.example.org": [["AAAA", 300, "2001:db8::3"]],
        "secret.example.org": [["A", 300, "169.254.169.254"], ["A", 300, "127.0.0.1"]],
        "many.example.org": (1..=90).map(|last| json!(["A", 300, format!("198.51.100.{last}")])).collect::<Vec<_>>(),
    })
}

#[test]
fn a_name_is_reached_on_its_ports_and_nothing_else_is_asked_for() {
    need!(Root);
    let world = World::new(&names());
    let allow = "allow=web.example.com:80,alias.example.org:443/tcp";
    for (name, flags) in [("plain", vec![]), ("own", vec!["--network", "own"])] {
        if name == "own" {
            world.host.rbox(&["network", "create", "own"]).ok();
        }
        world.idle(&format!("free-{name}"), &flags);
        world.idle(name, &[&flags[..], &["--egress", allow]].concat());
    }
    for (free, guarded) in [("free-plain", "plain"), ("free-own", "own")] {
        // The twin, which is in the same network without the flag.
        for (name, port, address) in [("other.example.com", 80, "192.0.2.4"), ("web.example.com", 443, NEIGHBOUR4)] {
            assert_eq!(world.get(free, name, port), address);
        }
        world.asked();
        assert_eq!(world.get(guarded, "web.example.com", 80), NEIGHBOUR4);
        assert_eq!(world.get(guarded, "web.example.com", 443), format!("refused {NEIGHBOUR4}"));
        assert_eq!(world.get(guarded, "alias.example.org", 443), NEIGHBOUR4, "by its further names");
        // In our own words, whatever the client's were.
        let mut asked = world.asked();
        asked.sort();
        asked.dedup();
        let length = |name: &str| 12 + name.len() + 2 + 4 + 11;
        let wanted = ["alias.example.org", "web.example.com"]
            .map(|name| [1, 28].map(|kind| format!("{name} {kind} {}", length(name))));
        assert_eq!(asked, wanted.concat());
        // What is not allowed is not there, and nobody hears of it.
        let long = "x".repeat(63);
        for name in [
            "other.example.com",
            "example.com",
            "deep.web.example.com",
            &format!("{long}.web.example.com"),
            "xweb.example.com",
            "com",
        ] {
            assert_eq!(world.get(guarded, name, 80), "no such name", "{name}");
        }
        let kinds = ["txt", "mx", "ns", "srv", "any", "cname", "soa", "ptr"];
        for kind in kinds {
            world.host.rbox(&["exec", guarded, "nslookup", &format!("-type={kind}"), "web.example.com."]);
            world.host.rbox(&["exec", guarded, "nslookup", &format!("-type={kind}"), "other.example.com."]);
        }
        world.host.rbox(&["exec", guarded, "nslookup", "192.0.2.3"]);
        assert_eq!(world.asked(), Vec::<String>::new());
        // Nor is another name server heard: the neighbour's own, by both ways.
        world.host.rbox(&["exec", guarded, "nslookup", "web.example.com.", NEIGHBOUR4]).fails();
        assert_eq!(world.asked(), Vec::<String>::new());
        assert!(refused(&told(&world.host, guarded)).contains(&format!("udp {NEIGHBOUR4} 53")));
        world.host.rbox(&["exec", free, "nslookup", "web.example.com.", NEIGHBOUR4]).ok();
    }
}

#[test]
fn a_star_both_families_and_answers_that_lead_inward() {
    need!(Root);
    let world = World::new(&names());
    world.host.rbox(&["network", "create", "--ipv6", "both"]).ok();
    let entries = "allow=*.example.com:80,six.example.org,secret.example.org,many.example.org";
    world.idle("star", &["--network", "both", "--egress", entries]);
    assert_eq!(world.get("star", "web.example.com", 80), NEIGHBOUR4);
    assert_eq!(world.get("star", "deep.web.example.com", 80), NEIGHBOUR4);
    assert_eq!(world.get("star", "other.example.com", 80), "192.0.2.4");
    assert_eq!(world.get("star", "example.com", 80), "no such name");
    assert_eq!(world.get("star", "six.example.org", 443), "2001:db8::3");
    // What a cloud tells its machines, and the machine's own addresses, are never what a name means.
    assert_eq!(world.get("star", "secret.example.org", 80), "no such name");
    // An answer that does not fit a datagram is asked for by tcp, and comes whole.
    let cut = world.host.rbox(&["exec", "star", "nslookup", "-type=a", "many.example.org."]);
    assert!(!cut.stdout.contains("198.51.100."), "{cut}");
    let pid = world.host.rbox(&["inspect", "--format", "{{.State.Pid}}", "star"]).ok().text().to_owned();
    let net = format!("--net=/proc/{pid}/ns/net");
    let many = world.host.exec("nsenter", &[&net, "python3", "-c", ASK_BY_TCP]).ok();
    assert_eq!(many.text(), "90");
    let told = told(&world.host, "star");
    let of = |entry: &str| {
        let all = told["Resolved"].as_array().unwrap().iter().filter(|it| it["Entry"] == *entry);
        all.map(|it| (it["Address"].as_str().unwrap().to_owned(), it["Seconds"].as_u64().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(of("many.example.org").len(), 90);
    let [(address, seconds)] = &of("six.example.org")[..] else { panic!("{told}") };
    assert!(address == "2001:db8::3" && (290..=300).contains(seconds), "{told}");
    assert_eq!(of("secret.example.org"), []);
}

#[test]
fn an_address_goes_when_its_time_is_over_and_connections_stay() {
    need!(Root);
    let short = |address: &str| json!({ "web.example.com": [["A", 1, address]] });
    let world = World::new(&short("192.0.2.3"));
    world.host.neighbour().shell(&format!("python3 -c '{ECHO}' >/dev/null 2>&1 &")).ok();
    world.idle("guarded", &["--egress", "allow=web.example.com"]);
    assert_eq!(world.get("guarded", "web.example.com", 80), "192.0.2.3");
    // A second of lifetime is too short for many programs: it is half a minute.
    let seconds = told(&world.host, "guarded")["Resolved"][0]["Seconds"].as_u64().unwrap();
    assert!((25..=30).contains(&seconds), "{seconds}");
    let began = Instant::now();
    world.say(&short("192.0.2.4"));
    assert_eq!(world.get("guarded", "web.example.com", 80), "192.0.2.4");
    let direct = |address: &str| world.host.rbox(&["exec", "guarded", "/probe", "connect", address, "80"]).code == 0;
    assert!(direct("192.0.2.3") && direct("192.0.2.4"));
    // A connection that stands: what is typed comes back, before and after.
    let talk = "(echo one; sleep 38; echo two; sleep 1) | nc 192.0.2.3 9000";
    let talker = world.host.rbox_spawn(&["exec", "guarded", "sh", "-c", talk]);
    while direct("192.0.2.3") {
        assert!(began.elapsed() < Duration::from_secs(40), "it is still reached");
        std::thread::sleep(Duration::from_millis(300));
    }
    assert!(began.elapsed() > Duration::from_secs(25));
    assert_eq!(talker.wait().stdout, "one\ntwo\n");
}

#[test]
fn other_containers_are_known_as_ever_and_reached_where_they_are_allowed() {
    need!(Root);
    let world = World::new(&names());
    world.host.rbox(&["network", "create", "own"]).ok();
    for name in ["db", "cache"] {
        world.host.detached(&["--name", name, "--network", "own"], &["/probe", "serve", "80"]);
    }
    world.idle("guarded", &["--network", "own", "--egress", "allow=db:80"]);
    let address = |name: &str| {
        let format = "{{.NetworkSettings.Networks.own.IPAddress}}";
        world.host.rbox(&["inspect", "--format", format, name]).ok().text().to_owned()
    };
    assert_eq!(world.get("guarded", "db", 80), address("db"));
    assert_eq!(world.get("guarded", "cache", 80), format!("refused {}", address("cache")));
    // It is another address in another life: names are asked for anew.
    world.host.rbox(&["rm", "-f", "db"]).ok();
    world.host.detached(&["--name", "stranger", "--network", "own", "--ip", "172.18.0.200"], &["sleep", "1000"]);
    world.host.detached(&["--name", "db", "--network", "name=own,ip=172.18.0.100"], &["/probe", "serve", "80"]);
    assert_eq!(world.get("guarded", "db", 80), "172.18.0.100");
}

#[test]
fn it_holds_after_a_restart_in_another_network_and_without_its_monitor() {
    need!(Root);
    let world = World::new(&names());
    world.host.rbox(&["network", "create", "second"]).ok();
    world.idle("guarded", &["--egress", "allow=web.example.com:80", "--restart", "always"]);
    let holds = |when: &str| {
        assert_eq!(world.get("guarded", "web.example.com", 80), NEIGHBOUR4, "{when}");
        assert_eq!(world.get("guarded", "web.example.com", 443), format!("refused {NEIGHBOUR4}"), "{when}");
        assert_eq!(world.get("guarded", "other.example.com", 80), "no such name", "{when}");
        let other = world.host.rbox(&["exec", "guarded", "/probe", "connect", "192.0.2.4", "80"]);
        assert!(other.stderr.contains("ConnectionRefused"), "{when}: {other}");
    };
    holds("at first");
    world.host.rbox(&["network", "connect", "second", "guarded"]).ok();
    holds("in two networks");
    world.host.rbox(&["network", "disconnect", "bridge", "guarded"]).ok();
    holds("in the second alone");
    // Its rules need nobody; names are served again as soon as somebody looks.
    world.host.kill_monitors();
    let pid = world.host.shown("guarded", "Status");
    assert!(pid.starts_with("Up"), "{pid}");
    world.host.until(&["exec", "guarded", "sh", "-c", "nslookup web.example.com. || true"], NEIGHBOUR4);
    holds("with another monitor");
    world.host.rbox(&["restart", "-t", "0", "guarded"]).ok();
    holds("after a restart");
    // From its first instruction on: what it does first is tried.
    let first = ["sh", "-c", "/probe connect 192.0.2.4 80; /probe connect 192.0.2.4 80 udp"];
    let output = world.host.run(&["--egress", "none"], &first);
    assert!(output.stderr.contains("ConnectionRefused") && output.stderr.contains("PermissionDenied"), "{output}");
    world.host.run(&[], &["/probe", "connect", "192.0.2.4", "80"]).ok();
}

#[test]
fn the_containers_own_name_server_asks_those_of_dns() {
    need!(Root);
    let world = World::new(&names());
    fs::write(world.host.path("etc/resolv.conf"), "nameserver 192.0.2.99\n").unwrap();
    world.idle("guarded", &["--dns", NEIGHBOUR4, "--egress", "allow=web.example.com:80"]);
    assert_eq!(world.get("guarded", "web.example.com", 80), NEIGHBOUR4);
    assert_eq!(world.get("guarded", "other.example.com", 80), "no such name");
    world.asked();
    // It alone: the container itself does not reach it.
    world.host.rbox(&["exec", "guarded", "nslookup", "web.example.com.", NEIGHBOUR4]).fails();
    assert_eq!(world.asked(), Vec::<String>::new());
}

#[test]
fn asking_again_begins_the_time_anew() {
    need!(Root);
    let host = Host::with_busybox();
    host.rbox(&["network", "create", "own"]).ok();
    for (name, flags) in [("db", vec![]), ("guarded", vec!["--egress", "allow=db"])] {
        host.detached(&[&["--name", name, "--network", "own"], &flags[..]].concat(), &["/probe", "serve", "80"]);
    }
    let left = || told(&host, "guarded")["Resolved"][0]["Seconds"].as_u64();
    assert_eq!(left(), None);
    let ask = || {
        host.rbox(&["exec", "guarded", "nslookup", "-type=a", "db."]).ok();
        left().unwrap()
    };
    assert!((50..=60).contains(&ask()));
    std::thread::sleep(Duration::from_secs(12));
    assert!(left().unwrap() <= 48);
    assert!((50..=60).contains(&ask()));
}
