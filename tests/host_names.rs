//! `rbox dns`: the host finds containers by name.

use crate::oci_net_devices::the_card;
use crate::support::{BUSYBOX, Host, Running, need, rbox};
use std::fs;
use std::path::{Path, PathBuf};

const CURL: &str = "curl --silent --show-error --max-time 5";

/// `rbox dns`, as the first name server of the host.
fn serve_names(host: &Host, flags: &[&str]) -> Running {
    let mut running = host.rbox_spawn(&[flags, &["dns"]].concat());
    running.wait_for("containers are called NAME.");
    host.shell("printf 'nameserver 127.0.0.153\\nnameserver 192.0.2.3\\n' >/etc/resolv.conf").ok();
    running
}

/// A container that serves a page with its name on it.
fn web(host: &Host, name: &str, flags: &[&str]) -> String {
    let script = format!("mkdir -p /www; echo I am {name} >/www/index.html; exec httpd -f -h /www -p 80");
    host.detached(&[&["--name", name], flags].concat(), &["sh", "-c", &script])
}

/// The addresses of a name, as the host's programs get them; "" where there are none.
fn addresses(host: &Host, database: &str, name: &str) -> String {
    let output = host.exec("getent", &[database, name]);
    let mut found: Vec<&str> = output.stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
    found.sort_unstable();
    found.dedup();
    found.join(" ")
}

/// What the name server says to a question: the code of the answer, and the longest time that it may be kept.
fn told(host: &Host, name: &str, kind: u8) -> String {
    let script = r#"
import socket, struct, sys
name, kind = sys.argv[1], int(sys.argv[2])
question = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0" + struct.pack(">HH", kind, 1)
asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asked.settimeout(5)
asked.sendto(struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + question, ("127.0.0.153", 53))
answer = asked.recv(4096)
count, place, times = struct.unpack(">H", answer[6:8])[0], 12 + len(question), []
for _ in range(count):
    while answer[place] != 0 and answer[place] < 192: place += 1 + answer[place]
    place += 1 if answer[place] == 0 else 2
    _, _, ttl, size = struct.unpack(">HHIH", answer[place:place + 10])
    place += 10 + size
    times.append(ttl)
print(answer[3] & 15, count, max(times, default=""))
"#;
    host.exec("python3", &["-c", script, name, &kind.to_string()]).ok().text().trim_end().to_owned()
}

#[test]
fn curl_finds_a_container_by_its_name() {
    need!(Root);
    let host = Host::with_busybox();
    host.rbox(&["network", "create", "--subnet", "10.5.0.0/24", "shop"]).ok();
    let _names = serve_names(&host, &[]);
    let curl = |url: &str| host.shell(&format!("{CURL} http://{url}"));
    curl("web.rbox").fails();
    let id = web(&host, "web", &["--network", "shop", "--network-alias", "www"]);
    web(&host, "plain", &[]);
    for name in ["web.rbox", "WEB.rbox", "web.shop.rbox", "www.shop.rbox", &format!("{}.rbox", &id[..12])] {
        assert_eq!(curl(name).ok().text(), "I am web", "{name}");
    }
    assert_eq!(curl("plain.rbox").ok().text(), "I am plain", "on the default bridge");
    curl("www.rbox").fails();
    assert_eq!(
        host.shell("getent hosts 10.5.0.2").ok().stdout.split_whitespace().collect::<Vec<_>>(),
        ["10.5.0.2", "web.rbox"]
    );
    // From the moment that something changes.
    host.rbox(&["rename", "web", "front"]).ok();
    assert_eq!(curl("front.rbox").ok().text(), "I am web");
    curl("web.rbox").fails();
    host.rbox(&["network", "connect", "shop", "plain"]).ok();
    assert_eq!(addresses(&host, "ahostsv4", "plain.rbox"), "10.5.0.3 172.17.0.2");
    assert_eq!(addresses(&host, "ahostsv4", "plain.shop.rbox"), "10.5.0.3");
    host.rbox(&["network", "disconnect", "bridge", "plain"]).ok();
    assert_eq!(addresses(&host, "ahostsv4", "plain.rbox"), "10.5.0.3");
    host.rbox(&["rm", "-f", "front"]).ok();
    curl("front.rbox").fails();
}

#[test]
fn of_both_families_and_only_who_is_reached() {
    need!(Root);
    let host = Host::with_busybox();
    host.rbox(&["network", "create", "--subnet", "10.5.0.0/24", "--subnet", "fd00:5::/64", "--ipv6", "both"]).ok();
    let macvlan = ["network", "create", "-d", "macvlan", "-o", "parent=eth0", "--subnet", "10.6.0.0/24"];
    host.rbox(&[&macvlan[..], &["segment"]].concat()).ok();
    host.rbox(&["network", "create", "--internal", "--subnet", "10.7.0.0/24", "inner"]).ok();
    let config = host.path("config.json").display().to_string();
    fs::write(&config, r#"{ "dns": { "domain": "box.example" } }"#).unwrap();
    let _names = serve_names(&host, &["--config", &config]);
    for (name, network) in [("one", "both"), ("two", "segment"), ("three", "inner"), ("four", "none"), ("five", "host")]
    {
        host.detached(&["--name", name, "--network", network], &["sleep", "1000"]);
    }
    assert_eq!(addresses(&host, "ahostsv6", "one.box.example"), "fd00:5::2");
    let known = ["one", "two", "three", "four", "five"]
        .map(|name| addresses(&host, "ahostsv4", &format!("{name}.box.example")));
    assert_eq!(known, ["10.5.0.2", "", "10.7.0.2", "", ""]);
    assert_eq!(addresses(&host, "ahostsv4", "one.rbox"), "", "another domain");
}

#[test]
fn what_is_not_its_own_is_asked_elsewhere_and_nothing_is_kept() {
    need!(Root);
    let host = Host::with_busybox();
    host.rbox(&["network", "create", "shop"]).ok();
    let _names = serve_names(&host, &[]);
    host.detached(&["--name", "web", "--network", "shop"], &["sleep", "1000"]);
    let (a, ns, aaaa, axfr) = (1, 2, 28, 252);
    let answers = [
        ("web.rbox", a, "0 1 0"),
        ("web.rbox", aaaa, "0 0"),
        // There are names below these.
        ("rbox", ns, "0 0"),
        ("shop.rbox", a, "0 0"),
        ("gone.rbox", a, "3 0"),
        ("web.shop2.rbox", a, "3 0"),
        ("notrbox", a, "5 0"),
        ("web.rbox.example", a, "5 0"),
        ("example.org", a, "5 0"),
        ("1.2.0.192.in-addr.arpa", 12, "5 0"),
        ("rbox", axfr, "5 0"),
    ];
    for (name, kind, wanted) in answers {
        assert_eq!(told(&host, name, kind), wanted, "{name} {kind}");
    }
}

#[test]
fn containers_do_not_see_each_other_by_it() {
    need!(Root);
    let host = Host::with_busybox();
    for network in ["red", "blue"] {
        host.rbox(&["network", "create", network]).ok();
    }
    let _names = serve_names(&host, &[]);
    for (name, network) in [("secret", "red"), ("spy", "blue"), ("plain", "bridge")] {
        host.detached(&["--name", name, "--network", network], &["sleep", "1000"]);
    }
    assert_eq!(addresses(&host, "ahostsv4", "secret.rbox"), "172.18.0.2");
    for name in ["secret.rbox", "SECRET.red.rbox", "rbox"] {
        let asked = host.rbox(&["exec", "spy", "nslookup", name]);
        assert!(asked.code != 0 && asked.stdout.contains("NXDOMAIN"), "{asked}");
    }
    // What the host's name servers are asked for others goes to them still.
    let asked = host.rbox(&["exec", "spy", "nslookup", "notrbox"]);
    assert!(!asked.stdout.contains("NXDOMAIN"), "{asked}");
}

#[test]
fn a_name_in_a_network_is_not_that_of_a_container_called_like_it() {
    need!(Root);
    let host = Host::with_busybox();
    host.rbox(&["network", "create", "--subnet", "10.5.0.0/24", "shop"]).ok();
    let _names = serve_names(&host, &[]);
    host.detached(&["--name", "web.shop"], &["sleep", "1000"]);
    assert_eq!(addresses(&host, "ahostsv4", "web.shop.rbox"), "172.17.0.2");
    host.detached(&["--name", "web", "--network", "shop"], &["sleep", "1000"]);
    assert_eq!(addresses(&host, "ahostsv4", "web.shop.rbox"), "10.5.0.2");
}

#[test]
fn it_says_why_it_cannot_serve_and_leaves_nothing() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&[], &["true"]).ok();
    let before = host.footprint();
    let names = serve_names(&host, &[]);
    host.rbox(&["dns"])
        .code(1)
        .says("rbox: cannot open the name server at 127.0.0.153: address already in use")
        .says("hint: somebody serves at 127.0.0.153:53 already: see ss -lnp");
    host.rbox(&["dns", "--listen", "203.0.113.1"]).code(1).says("hint: --listen takes an address that this host has");
    host.rbox(&["dns", "--listen", "localhost"]).fails().says("not of the form ADDRESS[:PORT]");
    host.detached(&["--name", "web"], &["sleep", "1000"]);
    host.shell("pkill -9 -f 'rbox .*dns$'").ok();
    drop(names);
    // It may be started again at once.
    let names = serve_names(&host, &[]);
    assert_eq!(addresses(&host, "ahostsv4", "web.rbox"), "172.17.0.2");
    host.shell("pkill -f 'rbox .*dns$'").ok();
    drop(names);
    host.rbox(&["run", "--rm", BUSYBOX, "true"]).ok();
    host.rbox(&["rm", "-f", "web"]).ok();
    assert_eq!(host.footprint(), before);
}

/// A file that docs/networks.md shows in whole: its path, and its text.
fn documented(path: &str) -> (PathBuf, String) {
    let docs = include_str!("../docs/networks.md");
    let (_, rest) = docs.split_once(&format!("```ini\n# {path}\n")).expect("it is in the document");
    (PathBuf::from(path), rest.split_once("```").unwrap().0.to_owned())
}

#[test]
fn systemd_resolved_asks_it_with_the_files_of_the_document() {
    need!(Root, Systemd);
    // The network of this machine is that of one test at a time.
    let _alone = the_card();
    let host = Host::machine();
    host.load("busybox");
    let (unit, text) = documented("/etc/systemd/system/rbox-dns.service");
    let words = [vec![rbox().display().to_string()], host.rbox_words(&["dns"])].concat().join(" ");
    assert!(text.contains("ExecStart=/usr/local/bin/rbox dns\n"), "{text}");
    fs::write(&unit, text.replace("/usr/local/bin/rbox dns", &words)).unwrap();
    let (resolved, text) = documented("/etc/systemd/resolved.conf.d/rbox.conf");
    fs::create_dir_all(resolved.parent().unwrap()).unwrap();
    fs::write(&resolved, text).unwrap();
    host.shell("systemctl daemon-reload; systemctl start rbox-dns; systemctl restart systemd-resolved").ok();
    host.detached(&["--name", "web"], &["sleep", "1000"]);
    let address = host.rbox(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web"]).ok().text().to_owned();
    let ask = |name: &str| host.shell(&format!("resolvectl query --legend=no {name}"));
    assert!(ask("web.rbox").ok().stdout.starts_with(&format!("web.rbox: {address}")));
    assert!(ask("gone.rbox").fails().stderr.contains("'gone.rbox' not found"));
    // At once, though systemd-resolved keeps what it may.
    host.rbox(&["rename", "web", "front"]).ok();
    ask("web.rbox").fails();
    ask("front.rbox").ok();
    host.shell("systemctl stop rbox-dns systemd-resolved").ok();
    host.rbox(&["rm", "-f", "front"]).ok();
    host.rbox(&["network", "reset"]).ok();
    [unit, resolved].iter().for_each(|file: &PathBuf| fs::remove_file(Path::new(file)).unwrap());
}
