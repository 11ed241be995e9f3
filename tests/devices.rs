//! `rbox network connect --netdev`: a device of the host's in a container.

use crate::oci_net_devices::the_card;
use crate::support::{Host, need};
use serde_json::Value;

/// A cable from lab0 to lab1, whose ends are devices like any other.
fn host() -> Host {
    let host = Host::with_busybox();
    host.shell(
        "set -e
         ip link add lab0 mtu 1400 address 02:00:00:00:00:77 type veth peer name lab1
         ip address add 10.7.0.1/24 dev lab0; ip address add 10.7.1.1/24 dev lab0
         ip address add 2001:db8:7::1/64 dev lab0 nodad
         ip address add 10.7.0.2/24 dev lab1; ip link set lab1 up; ip link set lab0 up",
    )
    .ok();
    host.detached(&["--name", "web"], &["sleep", "1000"]);
    host
}

/// Name, state, MTU and lasting addresses of a device, on the host or in a container.
fn device(host: &Host, enter: &str, name: &str) -> Option<(Value, Value, Vec<String>)> {
    let shown = host.shell(&format!("{enter} ip -j address show dev {name}"));
    let all: Value = serde_json::from_str(shown.stdout.trim()).ok()?;
    let it = all.as_array()?.iter().find(|it| it["ifname"] == name)?.clone();
    let addresses = it["addr_info"].as_array()?.iter().filter(|it| it["scope"] == "global");
    let addresses = addresses.map(|it| format!("{}/{}", it["local"].as_str().unwrap(), it["prefixlen"]));
    Some((it["address"].clone(), it["mtu"].clone(), addresses.collect()))
}

fn inside(host: &Host) -> String {
    let pid = host.rbox(&["inspect", "--format", "{{.State.Pid}}", "web"]).ok().text().to_owned();
    format!("nsenter --net=/proc/{pid}/ns/net")
}

#[test]
fn a_152_a_device_is_in_one_network_at_a_time() {
    need!(Root);
    let host = host();
    let at_home = device(&host, "", "lab0").unwrap();
    assert_eq!(at_home.2.len(), 3);
    host.rbox(&["network", "connect", "--netdev", "lab0", "--ifname", "lan0", "web"]).ok();
    assert_eq!(device(&host, "", "lab0"), None, "it is no more on the host");
    assert_eq!(device(&host, &inside(&host), "lan0").unwrap(), at_home, "it has kept what it had");
    host.rbox(&["exec", "web", "ping", "-c", "1", "-W", "1", "10.7.0.2"]).ok();
    host.rbox(&["network", "connect", "--netdev", "lab0", "web"]).code(1).says("device lab0: there is none");
    host.rbox(&["network", "disconnect", "--netdev", "lab0", "web"]).ok();
    assert_eq!(device(&host, "", "lab0").unwrap(), at_home, "it is back as it was");
    assert_eq!(device(&host, &inside(&host), "lan0"), None);
    host.rbox(&["network", "disconnect", "--netdev", "lab0", "web"]).code(1).says("container web does not have it");
    // A container without a network can have one too, and keeps it under the name that it had.
    host.detached(&["--name", "alone", "--network", "none"], &["sleep", "1000"]);
    host.rbox(&["network", "connect", "--netdev", "lab0", "alone"]).ok();
    host.rbox(&["exec", "alone", "ping", "-c", "1", "-W", "1", "10.7.0.2"]).ok();
    host.rbox(&["network", "disconnect", "--netdev", "lab0", "alone"]).ok();
    assert_eq!(device(&host, "", "lab0").unwrap(), at_home);
}

#[test]
fn a_device_that_cannot_be_spared_stays() {
    need!(Root);
    let host = host();
    // What a first time leaves once and for all is there already.
    host.rbox(&["network", "connect", "--netdev", "lab0", "web"]).ok();
    host.rbox(&["network", "disconnect", "--netdev", "lab0", "web"]).ok();
    let before = host.snapshot();
    for (device, why) in [
        ("lo", "device lo: every network has its own"),
        ("eth0", "device eth0: it is the host's way out"),
        ("rbox0", "device rbox0: network bridge stands on it"),
        ("nosuch", "device nosuch: there is none"),
    ] {
        host.rbox(&["network", "connect", "--netdev", device, "web"]).code(1).says(why);
    }
    let taken = ["network", "connect", "--netdev", "lab0", "--ifname", "eth0", "web"];
    host.rbox(&taken).code(1).says("interface eth0: the container has one of this name");
    host.rbox(&["network", "connect", "--netdev", "lab0", "nobody"]).code(1).says("container nobody: not found");
    host.rbox(&["network", "connect", "--netdev", "lab0", "bridge", "web"]).code(1).says("no network");
    host.rbox(&["create", "--name", "later", crate::support::BUSYBOX, "true"]).ok();
    host.rbox(&["network", "connect", "--netdev", "lab0", "later"]).code(1).says("it is not running");
    host.rbox(&["rm", "later"]).ok();
    host.assert_unchanged(&before);
}

#[test]
fn a_153_a_card_comes_back_when_its_container_has_ended() {
    // The kernel gives cards to the machine's first network alone, so this host is the machine: a VM with a second card.
    need!(Root, Systemd);
    let _alone = the_card();
    let host = Host::machine();
    host.load("busybox");
    let cards = "for n in /sys/class/net/*; do if [ -e $n/device ]; then basename $n; fi; done";
    let card = host.shell(cards).ok().text().to_owned();
    host.shell(&format!("ip address add 10.7.0.1/24 dev {card}; ip link set {card} up")).ok();
    let at_home = device(&host, "", &card).unwrap();
    for end in ["kill -9", "rm -f"] {
        host.detached(&["--name", "web"], &["sleep", "1000"]);
        host.rbox(&["network", "connect", "--netdev", &card, "--ifname", "lan0", "web"]).ok();
        assert_eq!(device(&host, &inside(&host), "lan0").unwrap(), at_home);
        if end == "kill -9" {
            let pid = host.rbox(&["inspect", "--format", "{{.State.Pid}}", "web"]).ok().text().to_owned();
            host.kill_monitors();
            host.shell(&format!("kill -9 {pid}")).ok();
            host.until(&["ps", "-a"], "Exited");
        }
        host.rbox(&["rm", "-f", "web"]).ok();
        assert_eq!(device(&host, "", &card).unwrap(), at_home, "{end}: by its own name, with its addresses");
    }
    host.shell(&format!("ip address flush dev {card}; ip link set {card} down")).ok();
    host.rbox(&["network", "reset"]).ok();
}
