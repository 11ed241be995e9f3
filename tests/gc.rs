//! `network gc`: what bears our mark and is nobody's goes, and nothing else.

use crate::support::{Host, is_on_nftables, need};

/// A container and an endpoint that never were.
const NOBODY: &str = "00000000000000000000000000000000000000000000000000000000deadbeef-0123456789ab";

/// Two that live, with ports.
fn host() -> Host {
    let host = Host::with_busybox();
    host.without_repair();
    host.rbox(&["network", "create", "--ipv6", "shop"]).ok();
    host.detached(&["--name", "web", "-p", "8080:80"], &["/probe", "serve", "80"]);
    host.detached(&["--name", "shop", "--network", "shop", "-p", "9090:80"], &["/probe", "serve", "80"]);
    host
}

/// All that a person could miss: rules without what they have counted, links, records.
fn all(host: &Host) -> String {
    let script = "iptables-save | grep -v '^#' | sed 's/\\[.*\\]//'; ip6tables-save | grep -v '^#' | sed 's/\\[.*\\]//'
        nft -s list table ip rbox 2>/dev/null; ip -o link | sed 's/ state .*//'; grep -ho '\"endpoint\": *\"[0-9a-f]*' $D/net/names/*";
    let told = host.shell(&script.replace("$D", &host.path("state").display().to_string())).stdout;
    // nft lists the entries of a set in any order.
    let entry = |line: &str| {
        line.trim().trim_start_matches("elements = { ").trim_end_matches(" }").trim_end_matches(',').to_owned()
    };
    let mut lines: Vec<String> = told.split('\n').flat_map(|line| line.split(", ")).map(entry).collect();
    lines.sort();
    lines.join("\n")
}

fn links(host: &Host, owner: &str) {
    let state = host.path("state/net").display().to_string();
    host.shell(&format!(
        "set -e
         ip link add vethdead type veth peer name inside; ip link set vethdead master rbox0 up alias 'rbox {owner} state={state}'
         ip link add rb-gone type bridge; ip link set rb-gone alias 'rbox network=gone id=0123456789ab state={state}'"
    ))
    .ok();
}

fn names(host: &Host) {
    let ids = host.rbox(&["network", "inspect", "--format", "{{.Id}}", "shop"]).ok().text().to_owned();
    let file = host.path(&format!("state/net/names/{ids}.json"));
    let text = std::fs::read_to_string(&file).unwrap();
    let mut names: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut ghost = names["known"][0].clone();
    ghost["endpoint"] = "0123".into();
    ghost["name"] = "ghost".into();
    names["known"].as_array_mut().unwrap().push(ghost);
    std::fs::write(&file, names.to_string()).unwrap();
}

#[test]
fn what_bears_our_mark_and_is_nobodys_goes() {
    need!(Root);
    let host = host();
    let before = all(&host);
    assert_eq!(host.rbox(&["network", "gc"]).ok().stdout, "");
    let (container, _) = NOBODY.split_once('-').unwrap();
    links(&host, &format!("container={container} endpoint=0123456789ab pid=1 start=1 boot=0-0"));
    names(&host);
    let rules = if is_on_nftables() {
        "nft add element ip rbox ports '{ tcp . 7777 comment \"NOBODY\" : 172.17.0.9 . 80 }'
         nft add chain ip rbox to-gone; nft add rule ip rbox to-gone accept comment '\"NOBODY\"'"
    } else {
        "iptables -t nat -A RBOX ! -i rbox0 -p tcp --dport 7777 -m comment --comment NOBODY -j DNAT --to 172.17.0.9:80
         iptables -t nat -A POSTROUTING -s 172.17.0.9 -d 172.17.0.9 -p tcp --dport 80 -m comment --comment NOBODY -j MASQUERADE
         iptables -A FORWARD -o rb-gone -m comment --comment network-0123456789ab -j ACCEPT
         ip6tables -t nat -A POSTROUTING -s fd00::9 -m comment --comment NOBODY -j MASQUERADE"
    };
    host.shell(&format!("set -e\n{}", rules.replace("NOBODY", NOBODY))).ok();
    let planted = all(&host);
    let told = host.rbox(&["network", "gc", "--dry-run"]).ok().stdout;
    for what in ["link vethdead\n", "link rb-gone\n", "name ghost in network shop\n"] {
        assert!(told.contains(what), "{what}: {told}");
    }
    let expected = 3 + if is_on_nftables() { 2 } else { 4 };
    assert_eq!((told.lines().count(), all(&host)), (expected, planted), "{told}");
    assert_eq!(host.rbox(&["network", "gc"]).ok().stdout, told);
    assert_eq!(all(&host), before);
    assert_eq!(host.rbox(&["network", "gc"]).ok().stdout, "");
    for port in [8080, 9090] {
        host.neighbour().connect("192.0.2.2", port, "tcp").ok();
    }
}

#[test]
fn what_is_not_ours_or_is_somebodys_stays() {
    need!(Root);
    let host = host();
    // Its monitor's number, as everybody in the host's pid namespace sees it.
    let claim = host
        .shell(&format!(
            "ls -l {} | grep -o '[a-z]*\\.[0-9]*\\.[0-9]*\\..*' | head -n 1",
            host.path("state/claims").display()
        ))
        .ok();
    let mut words = claim.text().split('.').skip(1);
    let (pid, start) = (words.next().unwrap(), words.next().unwrap());
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    // A container whose records are lost, and whose owner lives.
    links(
        &host,
        &format!("container={} endpoint=0123456789ab pid={pid} start={start} boot={}", "1".repeat(64), boot.trim()),
    );
    host.shell("ip link del rb-gone").ok();
    // Of another rbox, with a state directory of its own; a person's; libvirt's; Docker's.
    let foreign = "set -e
        ip link add rb-other type bridge; ip link set rb-other alias 'rbox network=other id=0123456789ab state=/elsewhere/net'
        iptables -A FORWARD -o rb-other -m comment --comment network-0123456789ab -j ACCEPT
        iptables -t nat -A POSTROUTING -s 10.99.0.0/24 ! -o rb-other -m comment --comment network-0123456789ab -j MASQUERADE
        ip link add vethmine type veth peer name mine; ip link set vethmine master rbox0 up alias 'my own'
        iptables -N RBOX-USER 2>/dev/null || true
        iptables -I RBOX-USER -s 203.0.113.9 -m comment --comment mine -j DROP
        iptables -I FORWARD -m comment --comment network-of-mine -j ACCEPT
        ip link add virbr0 type bridge; ip address add 192.168.122.1/24 dev virbr0; ip link set virbr0 up
        iptables -N LIBVIRT_FWO; iptables -A FORWARD -j LIBVIRT_FWO; iptables -A LIBVIRT_FWO -s 192.168.122.0/24 -i virbr0 -j ACCEPT
        iptables -t nat -N DOCKER; iptables -t nat -A DOCKER -i docker0 -j RETURN
        ip link add docker0 type bridge";
    host.shell(foreign).ok();
    let before = all(&host);
    assert_eq!(host.rbox(&["network", "gc"]).ok().stdout, "");
    assert_eq!(all(&host), before);
}

#[test]
fn everything_says_whose_it_is() {
    need!(Root);
    let host = host();
    let told = host.shell("ip -o -d link | grep -o 'alias.*'").ok().stdout;
    let web = host.rbox(&["inspect", "--format", "{{.Id}}", "web"]).ok().text().to_owned();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert!(told.contains(&format!("rbox container={web} ")) && told.contains(boot.trim()), "{told}");
    assert!(told.contains("rbox network=bridge ") && told.contains("rbox network=shop "), "{told}");
}

#[test]
fn what_is_being_made_meanwhile_is_somebodys() {
    need!(Root);
    let host = host();
    let rbox = crate::support::rbox().display().to_string();
    let gc = host.rbox_words(&["network", "gc"]).join(" ");
    let script = format!("until [ -e stop ]; do {rbox} {gc} >> collected 2>&1; echo >> rounds; done");
    let collects = host.spawn("/bin/sh", &["-c", &script]);
    for number in 0..12 {
        let network = format!("n{number}");
        host.rbox(&["network", "create", &network]).ok();
        let ports = format!("{}:80", 7000 + number);
        host.detached(&["--name", &network, "--network", &network, "-p", &ports], &["/probe", "serve", "80"]);
    }
    host.shell("touch stop").ok();
    collects.wait().ok();
    let collected = |name: &str| std::fs::read_to_string(host.path(name)).unwrap();
    assert!(collected("rounds").lines().count() >= 3, "it was looked at meanwhile");
    assert_eq!(collected("collected"), "", "nothing was anybody's to take");
    for number in 0..12 {
        host.neighbour().connect("192.0.2.2", 7000 + number, "tcp").ok();
    }
}
