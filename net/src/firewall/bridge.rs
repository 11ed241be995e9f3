//! The rules that every container of a bridge network shares; they stay while the bridge stays.
//!
//! Docker 20.10's, in its order, and five more so that the kernel alone carries every
//! connection that Docker's userland proxy copies:
//!
//! - two jumps to `RBOX-INNER`: published ports for the host's own 127.0.0.1, and for containers;
//! - two masquerades: such a connection must come back through the host, or its answer has the wrong sender;
//! - two drops in `raw`, before connection tracking: containers never reach the host's loopback (class of
//!   CVE-2020-8558), and nobody outside reaches an unpublished port by a route to the bridge (Docker from 28.2).

use super::rule::{Is, Rule, Table, Verdict};
use crate::address::Subnet;

/// Rules of one network, and the chains they need.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Chains of ours: table and name.
    pub(crate) chains: Vec<(Table, &'static str)>,
    /// At the head of their chain, in this order: before those of firewalld or anybody else.
    pub(crate) first: Vec<Rule>,
    /// At the end of their chain, in this order.
    pub(crate) last: Vec<Rule>,
}

/// The user's own chain; rbox makes it and never touches it again.
pub(crate) const USER_CHAIN: &str = "RBOX-USER";
const PUBLISHED: &str = "RBOX";
const INNER: &str = "RBOX-INNER";
const STAGE_1: &str = "RBOX-ISOLATION-STAGE-1";
const STAGE_2: &str = "RBOX-ISOLATION-STAGE-2";

/// Work out what the network with this bridge and subnet needs.
pub(crate) fn shared(bridge: &str, subnet: Subnet) -> Shared {
    let chains = vec![
        (Table::Filter, PUBLISHED),
        (Table::Filter, STAGE_1),
        (Table::Filter, STAGE_2),
        (Table::Filter, USER_CHAIN),
        (Table::Nat, PUBLISHED),
        (Table::Nat, INNER),
    ];
    let mut first = forward(bridge);
    first.extend(isolation(bridge));
    first.push(Rule { input: Some(Is::This(bridge.into())), ..Rule::new(Table::Nat, PUBLISHED, Verdict::Return) });
    let mut last = drops(bridge, subnet);
    last.extend(returns());
    last.extend(translation(bridge, subnet));
    Shared { chains, first, last }
}

fn drops(bridge: &str, subnet: Subnet) -> Vec<Rule> {
    let loopback = Subnet::around(std::net::Ipv4Addr::LOCALHOST, 8);
    vec![
        Rule {
            destination: Some(Is::This(loopback)),
            input: Some(Is::This(bridge.into())),
            ..Rule::new(Table::Raw, "PREROUTING", Verdict::Drop)
        },
        // Not the bridge's own address: what the host says to that goes by its loopback, and is no way in.
        Rule {
            destination: Some(Is::This(subnet)),
            input: Some(Is::Not(bridge.into())),
            destination_type: Some(Is::Not("LOCAL".into())),
            ..Rule::new(Table::Raw, "PREROUTING", Verdict::Drop)
        },
    ]
}

fn forward(bridge: &str) -> Vec<Rule> {
    let rule = |verdict| Rule::new(Table::Filter, "FORWARD", verdict);
    let this = || Some(Is::This(bridge.to_owned()));
    vec![
        rule(Verdict::Jump(USER_CHAIN.into())),
        rule(Verdict::Jump(STAGE_1.into())),
        Rule { output: this(), connection_state: Some("RELATED,ESTABLISHED".into()), ..rule(Verdict::Accept) },
        Rule { output: this(), ..rule(Verdict::Jump(PUBLISHED.into())) },
        Rule { input: this(), output: Some(Is::Not(bridge.into())), ..rule(Verdict::Accept) },
        Rule { input: this(), output: this(), ..rule(Verdict::Accept) },
    ]
}

fn isolation(bridge: &str) -> Vec<Rule> {
    vec![
        Rule {
            input: Some(Is::This(bridge.into())),
            output: Some(Is::Not(bridge.into())),
            ..Rule::new(Table::Filter, STAGE_1, Verdict::Jump(STAGE_2.into()))
        },
        Rule { output: Some(Is::This(bridge.into())), ..Rule::new(Table::Filter, STAGE_2, Verdict::Drop) },
    ]
}

fn returns() -> Vec<Rule> {
    [STAGE_1, STAGE_2, USER_CHAIN].map(|chain| Rule::new(Table::Filter, chain, Verdict::Return)).into()
}

fn translation(bridge: &str, subnet: Subnet) -> Vec<Rule> {
    let local = || Some(Is::This("LOCAL".to_owned()));
    let loopback = Subnet::around(std::net::Ipv4Addr::LOCALHOST, 8);
    let nat = |chain, verdict| Rule::new(Table::Nat, chain, verdict);
    let jump = |chain, to: &str| nat(chain, Verdict::Jump(to.into()));
    let leaving = || Some(Is::This(bridge.to_owned()));
    vec![
        Rule { input: leaving(), destination_type: local(), ..jump("PREROUTING", INNER) },
        Rule { destination_type: local(), ..jump("PREROUTING", PUBLISHED) },
        Rule { destination: Some(Is::This(loopback)), destination_type: local(), ..jump("OUTPUT", INNER) },
        Rule { destination: Some(Is::Not(loopback)), destination_type: local(), ..jump("OUTPUT", PUBLISHED) },
        Rule {
            source: Some(Is::This(subnet)),
            output: Some(Is::Not(bridge.into())),
            ..nat("POSTROUTING", Verdict::Masquerade)
        },
        Rule { source: Some(Is::This(loopback)), output: leaving(), ..nat("POSTROUTING", Verdict::Masquerade) },
        Rule {
            source: Some(Is::This(subnet)),
            output: leaving(),
            connection_state: Some("DNAT".into()),
            ..nat("POSTROUTING", Verdict::Masquerade)
        },
    ]
}

impl Shared {
    /// Every rule, in the order of the tables.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.first.iter().chain(&self.last)
    }

    /// Rules that name this network's bridge or subnet: what goes when the network goes, while others stay.
    pub(crate) fn is_of_one_network(rule: &Rule) -> bool {
        rule.input.is_some() || rule.output.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(table: Table) -> Vec<String> {
        let shared = shared("rbox0", "172.17.0.0/16".parse().unwrap());
        let lines: Vec<String> =
            shared.rules().filter(|rule| rule.table == table).map(|rule| rule.to_string()).collect();
        lines
    }

    #[test]
    fn forward_is_in_dockers_order() {
        //
        let forward: Vec<String> =
            lines(Table::Filter).into_iter().filter(|line| line.starts_with("-A FORWARD")).collect();
        assert_eq!(
            forward,
            [
                "-A FORWARD -j RBOX-USER",
                "-A FORWARD -j RBOX-ISOLATION-STAGE-1",
                "-A FORWARD -o rbox0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                "-A FORWARD -o rbox0 -j RBOX",
                "-A FORWARD -i rbox0 ! -o rbox0 -j ACCEPT",
                "-A FORWARD -i rbox0 -o rbox0 -j ACCEPT",
            ]
        );
    }

    #[test]
    fn translation_is_dockers_with_the_additions() {
        //
        assert_eq!(
            lines(Table::Nat),
            [
                "-A RBOX -i rbox0 -j RETURN",
                "-A PREROUTING -i rbox0 -m addrtype --dst-type LOCAL -j RBOX-INNER",
                "-A PREROUTING -m addrtype --dst-type LOCAL -j RBOX",
                "-A OUTPUT -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j RBOX-INNER",
                "-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j RBOX",
                "-A POSTROUTING -s 172.17.0.0/16 ! -o rbox0 -j MASQUERADE",
                "-A POSTROUTING -s 127.0.0.0/8 -o rbox0 -j MASQUERADE",
                "-A POSTROUTING -s 172.17.0.0/16 -o rbox0 -m conntrack --ctstate DNAT -j MASQUERADE",
            ]
        );
    }

    #[test]
    fn input_and_output_of_filter_are_never_touched() {
        assert!(lines(Table::Filter).iter().all(|line| !line.contains("-A INPUT") && !line.contains("-A OUTPUT")));
    }
}
