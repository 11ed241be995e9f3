//! All rules as text for iptables-restore(8): for hosts whose packet filter is somebody else's to change.

use std::fmt::Write as _;

use super::bridge::{self, shared};
use super::rule::{Rule, Table};
use super::why::why;
use crate::network::Network;

/// Word what these networks and endpoints' rules need, each family as input for its own program.
pub(super) fn script(networks: &[Network], rules: &[&Rule]) -> String {
    let mut text = String::new();
    for (ipv6, program) in [(false, "iptables-restore"), (true, "ip6tables-restore")] {
        let own: Vec<&Rule> = rules.iter().filter(|rule| rule.ipv6 == ipv6).copied().collect();
        let tables = tables(networks, &own, ipv6);
        if !tables.is_empty() {
            let _ = write!(text, "# {program} --noflush\n{tables}");
        }
    }
    text
}

fn tables(networks: &[Network], own: &[&Rule], ipv6: bool) -> String {
    let mut text = String::new();
    let shared: Vec<_> = networks.iter().filter_map(|network| shared(network, ipv6)).collect();
    if shared.is_empty() {
        return text;
    }
    // What all have in common stands once, and where it stands among the rules of one network.
    let (mut first, mut last): (Vec<&Rule>, Vec<&Rule>) = (Vec::new(), Vec::new());
    for shared in &shared {
        shared.before.iter().chain(&shared.first).for_each(|rule| add(&mut first, rule));
        shared.last.iter().for_each(|rule| add(&mut last, rule));
    }
    // The jumps, and what is for all, before any network's own.
    first.sort_by_key(|rule| bridge::Shared::is_of_one_network(rule));
    for table in [Table::Raw, Table::Filter, Table::Nat] {
        let _ = writeln!(text, "*{table}");
        for (_, chain) in shared[0].chains.iter().filter(|(of, _)| *of == table) {
            let _ = writeln!(text, ":{chain} - [0:0]");
        }
        let heads = first.iter().filter(|rule| rule.table == table);
        for (at, rule) in numbered(heads) {
            let _ = writeln!(text, "# {}\n-I {} {at} {}", why(rule), rule.chain, rule.body());
        }
        for rule in last.iter().chain(own).filter(|rule| rule.table == table) {
            let _ = writeln!(text, "# {}\n{rule}", why(rule));
        }
        text += "COMMIT\n";
    }
    text
}

fn add<'a>(rules: &mut Vec<&'a Rule>, rule: &'a Rule) {
    if !rules.contains(&rule) {
        rules.push(rule);
    }
}

/// Each rule, and which of its chain it is, from 1.
fn numbered<'a>(rules: impl Iterator<Item = &'a &'a Rule>) -> Vec<(usize, &'a Rule)> {
    let mut counts = std::collections::HashMap::new();
    let number = |rule: &&'a Rule| {
        let count = counts.entry(&rule.chain).or_insert(0);
        *count += 1;
        (*count, *rule)
    };
    rules.map(number).collect()
}
