//! The entries of an endpoint's published ports, made of the same rules as iptables gets.

use std::collections::HashSet;
use std::rc::Rc;

use super::layout::target;
use super::set::Element;
use crate::firewall::rule::{Is, Rule, Table, Verdict};
use crate::ports::PortRange;

/// What the rules of an endpoint are in sets and maps, those of one family. Of those whose work the chains of its network do
/// there is nothing: what comes by a translated port is let in by that.
pub(super) fn elements(rules: &[&Rule]) -> Vec<Element> {
    let is_routed = !rules.iter().any(|rule| matches!(rule.verdict, Verdict::Dnat(_)));
    // The same port stands in one chain for packets from outside, and in another for those from containers.
    let mut seen = HashSet::new();
    let all = rules.iter().flat_map(|rule| of_rule(rule, is_routed));
    all.filter(|element| seen.insert((element.set, element.key.clone()))).collect()
}

fn of_rule(rule: &Rule, is_routed: bool) -> Vec<Element> {
    let owner: Rc<str> = rule.comment.as_deref().unwrap_or_default().into();
    let Some(ports) = rule.ports else { return Vec::new() };
    let at = rule.destination.as_ref().and_then(|is| match is {
        Is::This(subnet) => Some(subnet.first()),
        Is::Not(_) => None,
    });
    match &rule.verdict {
        // One by one: of two ranges that lie over each other, one may go.
        Verdict::Accept if is_routed && rule.table == Table::Filter => {
            let each = ports.range.ports().filter_map(|port| PortRange::new(port, port));
            each.map(|port| Element::ports((at, ports.protocol, port), None, &owner)).collect()
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
