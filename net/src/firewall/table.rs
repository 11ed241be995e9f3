//! The table of all rules in docs/firewall.md: each as it is worded, and what it is for. Written by this test, and held to it.

use std::fmt::Write as _;
use std::path::Path;

use super::rule::Ports;
use super::{Mirror, Rule, Table, Variant, Verdict, bridge, line, nft, published, respect};
use crate::endpoint::{Attachment, Link};
use crate::network::{Bridge, Driver, Network, Passage, Pool};
use crate::ports::{PortMapping, PortRange, Protocol};

const BEGIN: &str =
    "<!-- The tables are written by `RBOX_WRITE_DOCS=1 cargo test -p rbox-net --lib firewall::table`. -->\n";

fn network(name: &str, bridge: &str, third: u8) -> Network {
    let mut network = Network::new(name, "ab".repeat(32), String::new(), Driver::Bridge);
    let subnet = format!("172.18.{third}.0/24").parse().unwrap();
    network.pools = vec![Pool { subnet, gateway: None, range: None, span: None, reserved: Default::default() }];
    let mac = "02:42:00:00:00:01".parse().unwrap();
    network.bridge = Some(Bridge { name: bridge.into(), mac, icc: true, passage: [Passage::Nat; 2], binding: None });
    network
}

/// One network of each kind, and what a container publishes in the first.
fn networks() -> Vec<(&'static str, Network)> {
    let mut quiet = network("quiet", "rb-quiet", 2);
    quiet.bridge.as_mut().unwrap().icc = false;
    let mut open = network("open", "rb-open", 3);
    open.bridge.as_mut().unwrap().passage = [Passage::Unmasqueraded; 2];
    let mut routed = network("routed", "rb-routed", 4);
    routed.bridge.as_mut().unwrap().passage = [Passage::Routed; 2];
    let shut = Network { internal: true, ..network("shut", "rb-shut", 5) };
    vec![
        ("A network, `network create shop`", network("shop", "rb-shop", 1)),
        ("Without words between its containers, `--opt com.docker.network.bridge.enable_icc=false`", quiet),
        ("Without masquerade, `--opt com.docker.network.bridge.enable_ip_masquerade=false`", open),
        ("Routed, `--opt com.docker.network.bridge.gateway_mode_ipv4=routed`", routed),
        ("Without a way out, `--internal`", shut),
    ]
}

fn rules(network: &Network) -> Vec<Rule> {
    let mapping = |ip: &str, host: (u16, u16), container: (u16, u16)| PortMapping {
        host_ip: ip.parse().unwrap(),
        host: PortRange::new(host.0, host.1).unwrap(),
        container: PortRange::new(container.0, container.1).unwrap(),
        protocol: Protocol::Tcp,
    };
    let ports = [
        mapping("0.0.0.0", (8080, 8080), (80, 80)),
        mapping("127.0.0.1", (8081, 8081), (81, 81)),
        mapping("0.0.0.0", (7000, 7005), (7000, 7005)),
    ];
    let to = Attachment {
        address: "172.18.1.2".parse().unwrap(),
        subnet: "172.18.1.0/24".parse().unwrap(),
        gateway: None,
        v6: None,
        mac: "02:42:ac:12:01:02".parse().unwrap(),
        mtu_bytes: 1500,
        interface: "eth0".into(),
        link: Link::Cable { bridge: "rb-shop".into(), host: "veth0".into(), isolated: false },
    };
    published(&ports, network, &to, "web")
}

fn rows(out: &mut String, all: impl IntoIterator<Item = (String, &'static str)>) {
    for (text, why) in all {
        let text =
            text.replace(" -m comment --comment network-abababababab", "").replace(" -m comment --comment web", "");
        writeln!(out, "| `{}` | {why} |", text.replace('|', "\\|")).unwrap();
    }
}

fn tables() -> String {
    let mut out = String::new();
    let mut told: Vec<String> = Vec::new();
    for (title, network) in networks() {
        writeln!(out, "\n### {title}\n\n| rule | what it is for |\n| --- | --- |").unwrap();
        let shared = bridge::shared(&network, false).unwrap();
        let iptables: Vec<(String, &str)> =
            shared.rules().map(|rule| line(rule, Variant::Usual)).map(|it| (it.text, it.why)).collect();
        let nftables = nft::wanted(&network, false, false).into_iter().map(|it| (it.text, it.why));
        // What all have in common is told with the first.
        let all: Vec<(String, &str)> =
            iptables.into_iter().chain(nftables).filter(|(text, _)| !told.contains(text)).collect();
        told.extend(all.iter().map(|(text, _)| text.clone()));
        rows(&mut out, all);
    }
    out += &asking(&networks()[0].1, &told);
    let rules = rules(&networks()[0].1);
    writeln!(out, "\n### Published ports, `-p 8080:80 -p 127.0.0.1:8081:81 -p 7000-7005:7000-7005`\n").unwrap();
    writeln!(out, "| rule | what it is for |\n| --- | --- |").unwrap();
    rows(&mut out, rules.iter().map(|rule| line(rule, Variant::Usual)).map(|it| (it.text, it.why)));
    let entries = nft::wanted_of(&rules.iter().collect::<Vec<_>>(), false);
    rows(&mut out, entries.into_iter().map(|it| (it.text, it.why)));
    out
}

/// What is otherwise where the host's own firewall is asked.
fn asking(network: &Network, told: &[String]) -> String {
    let mut out = String::new();
    writeln!(out, "\n### Where the host's own firewall is asked, `\"respect\": \"ufw\"`, after `ufw allow 8080/tcp`\n")
        .unwrap();
    writeln!(out, "| rule | what it is for |\n| --- | --- |").unwrap();
    let shared = bridge::shared(network, false).unwrap().asking();
    let range = PortRange::new(8080, 8080).unwrap();
    let allowed = Rule {
        ports: Some(Ports { protocol: Protocol::Tcp, range }),
        ..Rule::new(Table::Nat, respect::HOST, Verdict::Jump("RBOX".into()))
    };
    let mirror = Mirror { runs: true, rules: vec![allowed], closed: Vec::new() };
    let iptables = shared.rules().chain(&mirror.rules).map(|rule| line(rule, Variant::Usual));
    let nftables = nft::wanted(network, false, true).into_iter().chain(nft::wanted_host(&mirror, false));
    let all = iptables.chain(nftables).map(|it| (it.text, it.why));
    rows(&mut out, all.filter(|(text, _)| !told.contains(text)));
    out
}

#[test]
fn the_tables_of_the_documentation_say_what_is_put_in() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/firewall.md");
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, now) = text.split_once(BEGIN).expect("the mark is there");
    let tables = tables();
    if std::env::var_os("RBOX_WRITE_DOCS").is_some() {
        std::fs::write(&file, format!("{before}{BEGIN}{tables}")).unwrap();
        return;
    }
    assert!(now == tables, "docs/firewall.md: write the tables anew, as it says there");
}
