//! The entries of an endpoint's published ports, made of the same rules as iptables gets.

use std::collections::HashSet;
use std::rc::Rc;

use super::layout::target;
use super::set::Element;
use crate::firewall::rule::{Is, Rule, Table, Verdict};
use crate::ports::PortRange;

/// What the rules of an endpoint are in sets and maps. Of those whose work the chains of its network do there is nothing.
pub(super) fn elements(rules: &[&Rule]) -> Vec<Element> {
    // The same port stands in one chain for packets from outside, and in another for those from containers.
    let mut seen = HashSet::new();
    let all = rules.iter().flat_map(|rule| of_rule(rule));
    all.filter(|element| seen.insert((element.set, element.key.clone()))).collect()
}

fn of_rule(rule: &Rule) -> Vec<Element> {
    let owner: Rc<str> = rule.comment.as_deref().unwrap_or_default().into();
    let Some(ports) = rule.ports else { return Vec::new() };
    let at = rule.destination.as_ref().and_then(|is| match is {
        Is::This(subnet) => Some(subnet.first()),
        Is::Not(_) => None,
    });
    match &rule.verdict {
        Verdict::Accept if rule.table == Table::Filter => {
            vec![Element::ports((at, ports.protocol, ports.range), None, &owner)]
        }
        Verdict::Dnat(text) => match target(text) {
            Some((to, Some(first))) => shifted(ports.range, first)
                .map(|(host, port)| Element::ports((at, ports.protocol, host), Some((to, Some(port))), &owner))
                .collect(),
            Some((to, None)) => vec![Element::ports((at, ports.protocol, ports.range), Some((to, None)), &owner)],
            None => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// Each port of a range, and where it leads: nftables has no way to count from another first port.
fn shifted(host: PortRange, first: u16) -> impl Iterator<Item = (PortRange, u16)> {
    let steps = host.first()..=host.last();
    steps.zip(first..).filter_map(|(port, to)| Some((PortRange::new(port, port)?, to)))
}
