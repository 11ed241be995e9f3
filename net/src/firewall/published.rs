//! The rules of one endpoint's published ports.
//!
//! A port published on 127.0.0.1 gets no rule where packets from outside pass (chain `RBOX` of nat, `RBOX` of
//! filter). Docker writes one there, and a neighbour on the same wire could use it by sending frames with
//! destination 127.0.0.1 (moby #45610).

use std::net::{IpAddr, Ipv4Addr};

use super::rule::{Is, Ports, Rule, Table, Verdict};
use crate::ports::PortMapping;

/// Work out the rules that carry `mappings` to `address`; `owner` becomes their comment.
pub(crate) fn published(mappings: &[PortMapping], address: Ipv4Addr, bridge: &str, owner: &str) -> Vec<Rule> {
    let kernel: Vec<(&PortMapping, Ipv4Addr)> = mappings
        .iter()
        .filter_map(|mapping| match mapping.host_ip {
            IpAddr::V4(ip) => Some((mapping, ip)),
            IpAddr::V6(_) => None,
        })
        .collect();
    let mut rules = Vec::new();
    for (mapping, ip) in &kernel {
        if !ip.is_loopback() {
            rules.push(accept(mapping, address, bridge));
        }
    }
    for (mapping, _) in &kernel {
        rules.push(reach_itself(mapping, address));
    }
    for (mapping, ip) in &kernel {
        if !ip.is_loopback() {
            let outer = Rule { input: Some(Is::Not(bridge.into())), ..translate(mapping, *ip, address, "RBOX") };
            rules.push(outer);
        }
        rules.push(translate(mapping, *ip, address, "RBOX-INNER"));
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

fn accept(mapping: &PortMapping, address: Ipv4Addr, bridge: &str) -> Rule {
    Rule {
        destination: Some(Rule::host(address)),
        input: Some(Is::Not(bridge.into())),
        output: Some(Is::This(bridge.into())),
        ports: Some(Ports { protocol: mapping.protocol, range: mapping.container }),
        ..Rule::new(Table::Filter, "RBOX", Verdict::Accept)
    }
}

fn reach_itself(mapping: &PortMapping, address: Ipv4Addr) -> Rule {
    Rule {
        source: Some(Rule::host(address)),
        destination: Some(Rule::host(address)),
        ports: Some(Ports { protocol: mapping.protocol, range: mapping.container }),
        ..Rule::new(Table::Nat, "POSTROUTING", Verdict::Masquerade)
    }
}

fn translate(mapping: &PortMapping, ip: Ipv4Addr, address: Ipv4Addr, chain: &str) -> Rule {
    Rule {
        destination: (!ip.is_unspecified()).then(|| Rule::host(ip)),
        ports: Some(Ports { protocol: mapping.protocol, range: mapping.host }),
        ..Rule::new(Table::Nat, chain, Verdict::Dnat(target(mapping, address)))
    }
}

/// A range is one rule: an address without a port keeps the port; `A-B/BASE` shifts the whole range.
fn target(mapping: &PortMapping, address: Ipv4Addr) -> String {
    if mapping.host.count() == 1 {
        format!("{address}:{}", mapping.container)
    } else if mapping.host == mapping.container {
        address.to_string()
    } else {
        format!("{address}:{}/{}", mapping.container, mapping.host.first())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let rules = published(mappings, Ipv4Addr::new(172, 17, 0, 2), "rbox0", "web");
        rules.iter().map(|rule| format!("{} {rule}", rule.table).replace(" -m comment --comment web", "")).collect()
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

    #[test]
    fn two_host_ports_of_one_container_port_are_let_through_once() {
        let rules = lines(&[mapping("0.0.0.0", (8080, 8080), (80, 80)), mapping("0.0.0.0", (8081, 8081), (80, 80))]);
        assert_eq!(rules.iter().filter(|line| line.contains("ACCEPT")).count(), 1);
        assert_eq!(rules.len(), 6);
    }
}
