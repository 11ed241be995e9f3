//! What a network is made of: sandbox, endpoint and network, and what the kernel has for each.

use crate::support::{Host, need};
use serde_json::Value;

/// 64 hex digits.
fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn bridge(host: &Host) -> Value {
    host.rbox(&["network", "inspect", "bridge"]).ok().json()[0].take()
}

#[test]
fn a_160_an_endpoint_joins_one_container_to_one_network() {
    need!(Root);
    let host = Host::with_busybox();
    let ids = [(); 2].map(|()| host.detached(&[], &["sleep", "1000"]));
    let network = bridge(&host);
    let mut endpoints = Vec::new();
    for id in &ids {
        let entry = &network["Containers"][id];
        let endpoint = entry["EndpointID"].as_str().unwrap();
        assert!(is_id(endpoint) && endpoint != id && network["Id"] != endpoint, "{network:#}");
        let told = host.rbox(&["inspect", id]).ok().json()[0]["NetworkSettings"]["Networks"].take();
        assert_eq!(told.as_object().unwrap().len(), 1);
        assert_eq!(
            (&told["bridge"]["EndpointID"], &told["bridge"]["NetworkID"]),
            (&entry["EndpointID"], &network["Id"])
        );
        // What it says is what the container has.
        let seen = host.rbox(&["exec", id, "sh", "-c", "cat /sys/class/net/eth0/address; ip -o -4 addr show dev eth0"]);
        let seen = seen.ok().stdout;
        let address = format!(" {} ", entry["IPv4Address"].as_str().unwrap());
        assert!(seen.starts_with(entry["MacAddress"].as_str().unwrap()) && seen.contains(&address), "{entry}: {seen}");
        endpoints.push(endpoint.to_owned());
    }
    assert_ne!(endpoints[0], endpoints[1]);
    // It ends with the container's life, and another life has another.
    host.rbox(&["stop", "-t", "0", &ids[0]]).ok();
    assert!(bridge(&host)["Containers"].get(&ids[0]).is_none());
    host.rbox(&["start", &ids[0]]).ok();
    assert_ne!(bridge(&host)["Containers"][&ids[0]]["EndpointID"], endpoints[0].as_str());
}

#[test]
fn a_161_who_is_on_the_network_is_reached_and_who_is_not_is_not() {
    need!(Root);
    let host = Host::with_busybox();
    let members = [(); 3].map(|()| host.serve(&[], 80));
    let apart = host.serve(&["--network", "none"], 80);
    let network = bridge(&host);
    let addresses: Vec<&str> = network["Containers"]
        .as_object()
        .unwrap()
        .values()
        .map(|entry| entry["IPv4Address"].as_str().unwrap().split('/').next().unwrap())
        .collect();
    assert_eq!(addresses.len(), members.len(), "{network:#}");
    for address in addresses {
        for member in &members {
            member.inside(&format!("/probe connect {address} 80")).ok();
        }
        apart.inside(&format!("/probe connect {address} 80")).fails();
    }
}

#[test]
fn a_162_bridge_namespace_veth_and_iptables_and_nothing_else() {
    need!(Root);
    let host = Host::with_busybox();
    let kinds =
        || host.shell("ip -d -o link | grep -oE ' (bridge|veth|tun|macvlan|ipvlan|vxlan|dummy) ' | sort | uniq -c");
    let processes = || host.shell("ps -e -o comm= | sort -u").ok().stdout;
    // The host's own wire is a veth too.
    assert_eq!(kinds().stdout.split_whitespace().collect::<Vec<_>>(), ["1", "veth"]);
    let before = processes();
    let web = host.serve(&["-p", "8080:80"], 80);
    assert_eq!(kinds().stdout.split_whitespace().collect::<Vec<_>>(), ["1", "bridge", "2", "veth"]);
    let own = web.inside("readlink /proc/self/ns/net").ok().text().to_owned();
    assert_ne!(own, host.shell("readlink /proc/self/ns/net").ok().text());
    assert!(host.shell("iptables-save").ok().stdout.contains("-j DNAT --to-destination 172.17.0.2:80"));
    // No process carries packets: rbox and the container's program are all that came to stay. Whoever looks after the
    // rules may be asking a program what they are.
    let new = || -> Vec<String> {
        let ours = |name: &&str| ["rbox", "probe"].contains(name) || before.lines().any(|old| old == *name);
        processes().lines().filter(|name| !ours(name)).map(str::to_owned).collect()
    };
    let mut lasting = new();
    for _ in 0..50 {
        if lasting.is_empty() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        let now = new();
        lasting.retain(|name| now.contains(name));
    }
    panic!("these stay: {lasting:?}");
}

#[test]
fn a_166_a_veth_has_two_ends_and_carries_both_ways() {
    need!(Root);
    let host = Host::with_busybox();
    let web = host.serve(&[], 80);
    let shown = |command: &str| -> Value { host.shell(command).ok().json()[0].take() };
    let port = shown("ip -j -d link show master rbox0");
    let name = port["ifname"].as_str().unwrap().to_owned();
    let enter = format!(
        "nsenter --net=/proc/{}/ns/net",
        host.rbox(&["inspect", "-f", "{{.State.Pid}}", &latest(&host)]).ok().text()
    );
    let card = shown(&format!("{enter} ip -j -d link show eth0"));
    assert_eq!((&port["linkinfo"]["info_kind"], &card["linkinfo"]["info_kind"]), (&"veth".into(), &"veth".into()));
    assert_eq!((&port["link_index"], &card["link_index"]), (&card["ifindex"], &port["ifindex"]));
    assert!(card.get("master").is_none(), "{card}");
    // Full duplex, and what one end has sent the other has received.
    assert_eq!(web.inside("cat /sys/class/net/eth0/duplex").ok().text(), "full");
    assert_eq!(host.shell(&format!("cat /sys/class/net/{name}/duplex")).ok().text(), "full");
    host.shell("ping -q -c 3 -i 0.2 172.17.0.2").ok();
    let counts = |side: &str, place: &str| format!("{side}cat {place}/rx_packets {place}/tx_packets");
    let same = (0..50).any(|_| {
        let inside = web.inside(&counts("", "/sys/class/net/eth0/statistics")).ok().stdout;
        let outside = host.shell(&counts("", &format!("/sys/class/net/{name}/statistics"))).ok().stdout;
        let (inside, outside): (Vec<&str>, Vec<&str>) = (inside.lines().collect(), outside.lines().rev().collect());
        // A frame that passes between the two looks is counted by one of them alone.
        inside == outside && inside.iter().all(|count| count.parse::<u32>().unwrap() >= 3)
    });
    assert!(same, "the two ends do not agree");
}

fn latest(host: &Host) -> String {
    host.rbox(&["ps", "-ql"]).ok().text().to_owned()
}
