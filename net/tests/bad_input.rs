//! What is refused, in which words, and that nothing is left of it.

use rbox_net::dns::Upstream;

use crate::world::{Host, request};

#[test]
fn requests_that_cannot_be_met_are_refused_with_the_reason() {
    need!(Root, Iptables);
    let host = Host::new();
    let _web = host.container("web", &[]);
    let refused = |network: &str, ip: Option<&str>, publish: &[&str]| {
        let mut request = request("other", publish).unwrap();
        request.networks[0].network = network.into();
        request.networks[0].ip = ip.map(|ip| ip.parse().unwrap());
        host.networks.reserve(&request).err().expect("refused").to_string()
    };
    assert_eq!(refused("nowhere", None, &[]), "network nowhere: not found");
    assert_eq!(
        refused("bridge", Some("10.0.0.1"), &[]),
        "address 10.0.0.1: not in subnet 172.17.0.0/16 of network bridge"
    );
    assert_eq!(refused("bridge", Some("172.17.0.1"), &[]), "address 172.17.0.1: it is the gateway of network bridge");
    assert_eq!(
        refused("bridge", Some("172.17.255.255"), &[]),
        "address 172.17.255.255: the first and the last address of 172.17.0.0/16 belong to nobody"
    );
    assert_eq!(
        refused("bridge", Some("172.17.0.2"), &[]),
        "cannot lease address 172.17.0.2: already in use (by container web)"
    );
    assert_eq!(refused("host", Some("172.17.0.9"), &[]), "network host: its containers have no address of their own");
    assert_eq!(
        refused("bridge", None, &["203.0.113.1:8080:80"]),
        "cannot publish port 203.0.113.1:8080: cannot assign requested address"
    );
    assert_eq!(
        refused("bridge", None, &["[::1]:8080:80/sctp"]),
        "cannot publish port [::1]:8080: sctp cannot be carried to a network without IPv6"
    );
    assert_eq!(
        refused("bridge", None, &["[::1]:20000-29999:20000-29999"]),
        "cannot publish port [::1]:20000: at most 64 IPv6 ports lead to a network without IPv6"
    );
    assert_eq!(host.networks.endpoints().unwrap().len(), 1, "no lease is left");
}

#[test]
fn a_namespace_that_has_an_eth0_already_is_refused_and_all_is_taken_back() {
    need!(Root, Iptables);
    use std::os::fd::AsFd;
    let host = Host::new();
    host.container("first", &[]).end();
    let before = host.traces();
    let netns = crate::world::Netns::new();
    netns.run("ip link add eth0 type bridge");
    let error = host
        .reserve("web", &["8080:80"])
        .unwrap()
        .connect(netns.0.as_fd(), Upstream::host())
        .err()
        .unwrap()
        .to_string();
    assert!(error.starts_with("cannot create link veth") && error.contains("file exists"), "{error}");
    assert_eq!(host.traces(), before);
    assert_eq!(host.networks.endpoints().unwrap().len(), 0);
}
