//! The rules of one endpoint's published ports.
//!
//! A port published on 127.0.0.1 gets no rule where packets from outside pass (chain `RBOX` of nat, `RBOX` of
//! filter). Docker writes one there, and a neighbour on the same wire could use it by sending frames with
//! destination 127.0.0.1 (moby #45610).

use std::net::IpAddr;

use super::rule::{Is, Ports, Rule, Table, Verdict};
use crate::endpoint::{Attachment, Link};
use crate::network::{Network, Passage};
use crate::ports::PortMapping;

/// Work out the rules that carry `mappings` to a container of a bridge network; `owner` becomes their comment.
pub(crate) fn published(mappings: &[PortMapping], network: &Network, to: &Attachment, owner: &str) -> Vec<Rule> {
    let (Some(bridge), Link::Cable { .. }) = (&network.bridge, &to.link) else { return Vec::new() };
    let v6 = to.v6.as_ref().map(|v6| IpAddr::V6(v6.address));
    let families = [(false, Some(IpAddr::V4(to.address))), (true, v6)];
    let mut rules = Vec::new();
    for (ipv6, address) in families {
        let Some(address) = address else { continue };
        let of_family: Vec<&PortMapping> =
            mappings.iter().filter(|mapping| mapping.host_ip.is_ipv6() == ipv6).collect();
        let mut these = of_one_family(&of_family, address, &bridge.name, bridge.passage[usize::from(ipv6)]);
        these.iter_mut().for_each(|rule| rule.ipv6 = ipv6);
        rules.extend(these);
    }
    for rule in &mut rules {
        rule.comment = Some(owner.to_owned());
    }
    // Two host ports of one container port need only one rule to let it through.
    let mut seen: Vec<Rule> = Vec::with_capacity(rules.len());
    for rule in rules {
        if !seen.contains(&rule) {
            seen.push(rule);
        }
    }
    seen
}

fn of_one_family(mappings: &[&PortMapping], address: IpAddr, bridge: &str, passage: Passage) -> Vec<Rule> {
    let is_outer = |mapping: &PortMapping| !mapping.host_ip.is_loopback();
    let mut rules: Vec<Rule> =
        mappings.iter().filter(|mapping| is_outer(mapping)).map(|mapping| accept(mapping, address, bridge)).collect();
    if passage == Passage::Routed {
        return rules;
    }
    rules.extend(mappings.iter().map(|mapping| reach_itself(mapping, address)));
    for mapping in mappings {
        if is_outer(mapping) {
            let outer = Rule { input: Some(Is::Not(bridge.into())), ..translate(mapping, address, "RBOX") };
            rules.push(outer);
        } else if address.is_ipv6() {
            // The kernel lets ::1 out to nobody: the relay carries it.
            continue;
        }
        rules.push(translate(mapping, address, "RBOX-INNER"));
    }
    rules
}

fn accept(mapping: &PortMapping, address: IpAddr, bridge: &str) -> Rule {
    Rule {
        destination: Some(Rule::host(address)),
        input: Some(Is::Not(bridge.into())),
        output: Some(Is::This(bridge.into())),
        ports: Some(Ports { protocol: mapping.protocol, range: mapping.container }),
        ..Rule::new(Table::Filter, "RBOX", Verdict::Accept)
    }
}

fn reach_itself(mapping: &PortMapping, address: IpAddr) -> Rule {
    Rule {
        source: Some(Rule::host(address)),
        destination: Some(Rule::host(address)),
        ports: Some(Ports { protocol: mapping.protocol, range: mapping.container }),
        ..Rule::new(Table::Nat, "POSTROUTING", Verdict::Masquerade)
    }
}

fn translate(mapping: &PortMapping, address: IpAddr, chain: &str) -> Rule {
    Rule {
        destination: (!mapping.host_ip.is_unspecified()).then(|| Rule::host(mapping.host_ip)),
        ports: Some(Ports { protocol: mapping.protocol, range: mapping.host }),
        ..Rule::new(Table::Nat, chain, Verdict::Dnat(target(mapping, address)))
    }
}

/// A range is one rule: an address without a port keeps the port; `A-B/BASE` shifts the whole range.
fn target(mapping: &PortMapping, address: IpAddr) -> String {
    let bracketed = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
    if mapping.host.count() == 1 {
        format!("{bracketed}:{}", mapping.container)
    } else if mapping.host == mapping.container {
        address.to_string()
    } else {
        format!("{bracketed}:{}/{}", mapping.container, mapping.host.first())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Attachment6;
    use crate::network::{Bridge, Driver};
    use crate::ports::{PortRange, Protocol};

    fn mapping(ip: &str, host: (u16, u16), container: (u16, u16)) -> PortMapping {
        PortMapping {
            host_ip: ip.parse().unwrap(),
            host: PortRange::new(host.0, host.1).unwrap(),
            container: PortRange::new(container.0, container.1).unwrap(),
            protocol: Protocol::Tcp,
        }
    }

    fn lines(mappings: &[PortMapping]) -> Vec<String> {
        let rules = of_one_family(
            &mappings.iter().filter(|mapping| mapping.host_ip.is_ipv4()).collect::<Vec<_>>(),
            "172.17.0.2".parse().unwrap(),
            "rbox0",
            Passage::Nat,
        );
        rules.iter().map(|rule| format!("{} {rule}", rule.table)).collect()
    }

    #[test]
    fn the_classic_rules_of_one_port() {
        //
        assert_eq!(
            lines(&[mapping("0.0.0.0", (8080, 8080), (80, 80)), mapping("::", (8080, 8080), (80, 80))]),
            [
                "filter -A RBOX -d 172.17.0.2/32 ! -i rbox0 -o rbox0 -p tcp -m tcp --dport 80 -j ACCEPT",
                "nat -A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE",
                "nat -A RBOX ! -i rbox0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80",
                "nat -A RBOX-INNER -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80",
            ]
        );
    }

    #[test]
    fn a_loopback_publish_opens_nothing_to_the_outside() {
        assert_eq!(
            lines(&[mapping("127.0.0.1", (8080, 8080), (80, 80))]),
            [
                "nat -A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE",
                "nat -A RBOX-INNER -d 127.0.0.1/32 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80",
            ]
        );
    }

    #[test]
    fn a_range_is_one_rule() {
        let equal = lines(&[mapping("0.0.0.0", (20000, 29999), (20000, 29999))]);
        assert_eq!(equal.len(), 4);
        assert_eq!(
            equal[2],
            "nat -A RBOX ! -i rbox0 -p tcp -m tcp --dport 20000:29999 -j DNAT --to-destination 172.17.0.2"
        );
        let shifted = lines(&[mapping("0.0.0.0", (8000, 8010), (80, 90))]);
        assert_eq!(
            shifted[3],
            "nat -A RBOX-INNER -p tcp -m tcp --dport 8000:8010 -j DNAT --to-destination 172.17.0.2:80-90/8000"
        );
    }

    fn network() -> (Network, Attachment) {
        let mut network = Network::new("six", "ab".repeat(32), String::new(), Driver::Bridge);
        let mac = "02:42:00:00:00:01".parse().unwrap();
        network.bridge =
            Some(Bridge { name: "rb-six".into(), mac, icc: true, passage: [Passage::Nat; 2], binding: None });
        let v6 = Attachment6 {
            address: "fd00:1::2".parse().unwrap(),
            subnet: "fd00:1::/64".parse().unwrap(),
            gateway: None,
        };
        let attachment = Attachment {
            address: "172.18.0.2".parse().unwrap(),
            subnet: "172.18.0.0/24".parse().unwrap(),
            gateway: None,
            v6: Some(v6),
            mac,
            mtu_bytes: 1500,
            interface: "eth0".into(),
            link: Link::Cable { bridge: "rb-six".into(), host: "veth0".into(), isolated: false },
        };
        (network, attachment)
    }

    #[test]
    fn two_host_ports_of_one_container_port_are_let_through_once() {
        let (network, attachment) = network();
        let two = [mapping("0.0.0.0", (8080, 8080), (80, 80)), mapping("0.0.0.0", (8081, 8081), (80, 80))];
        let rules = published(&two, &network, &attachment, "web");
        assert_eq!(rules.iter().filter(|rule| rule.verdict == Verdict::Accept).count(), 1);
        assert_eq!(rules.len(), 6);
    }

    #[test]
    fn ipv6_is_translated_by_ip6tables_and_its_loopback_is_left_to_the_relay() {
        let (network, attachment) = network();
        let all = [
            mapping("::", (8080, 8080), (80, 80)),
            mapping("::1", (8081, 8081), (81, 81)),
            mapping("::", (7000, 7001), (6000, 6001)),
        ];
        let rules = published(&all, &network, &attachment, "web");
        assert!(rules.iter().all(|rule| rule.ipv6));
        let lines: Vec<String> = rules.iter().map(|rule| format!("{} {rule}", rule.table)).collect();
        let dnat: Vec<&str> =
            lines.iter().filter_map(|line| line.split_once("--to-destination ")).map(|(_, to)| to).collect();
        let range = "[fd00:1::2]:6000-6001/7000";
        assert_eq!(dnat, ["[fd00:1::2]:80", "[fd00:1::2]:80", range, range]);
    }

    #[test]
    fn a_routed_network_only_lets_its_ports_through() {
        let (mut network, attachment) = network();
        network.bridge.as_mut().unwrap().passage = [Passage::Routed; 2];
        let rules = published(&[mapping("0.0.0.0", (8080, 8080), (80, 80))], &network, &attachment, "web");
        let lines: Vec<String> = rules.iter().map(Rule::to_string).collect();
        let only = "-A RBOX -d 172.18.0.2/32 ! -i rb-six -o rb-six -p tcp -m tcp --dport 80 -m comment --comment web -j ACCEPT";
        assert_eq!(lines, [only]);
    }
}
