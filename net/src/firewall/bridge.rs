//! The rules that every container of a bridge network shares; they stay while the bridge stays.
//!
//! Docker 20.10's, in its order, and some more so that the kernel alone carries every
//! connection that Docker's userland proxy copies:
//!
//! - two jumps to `RBOX-INNER`: published ports for the host's own 127.0.0.1, and for containers;
//! - two masquerades: such a connection must come back through the host, or its answer has the wrong sender;
//! - two drops in `raw`, before connection tracking: containers never reach the host's loopback (class of
//!   CVE-2020-8558), and nobody outside reaches an unpublished port by a route to the bridge (Docker from 28.2);
//! - a return before the isolation: containers of one network reach the published ports of another's.
//!
//! The rules of a user-defined network carry its id as a comment. For a network with IPv6 ip6tables gets the same.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::respect::HOST;
use super::rule::{Is, Rule, Table, Verdict};
use crate::address::Subnet;
use crate::network::{Network, Passage};

/// Rules of one network, and the chains they need.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Whether they are for ip6tables.
    pub(crate) ipv6: bool,
    /// Chains of ours: table and name.
    pub(crate) chains: Vec<(Table, &'static str)>,
    /// Of other networks: where they are, those at the head come after them.
    pub(crate) before: Vec<Rule>,
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

/// Work out what a bridge network needs of one family; nothing where it has no subnet of it.
pub(crate) fn shared(network: &Network, ipv6: bool) -> Option<Shared> {
    let bridge = network.bridge.as_ref()?;
    let subnet = network.pools_of(ipv6).next()?.subnet;
    let this = Bridged { name: &bridge.name, subnet, passage: bridge.passage[usize::from(ipv6)], ipv6 };
    let mut first = jumps();
    let mut last = Vec::new();
    if network.internal {
        first.push(this.among(bridge.icc));
        // What is shut stays shut for what comes by published ports, too.
        first.extend(this.shut());
        first.push(published_return());
        first.push(Rule { input: this.is(), ..Rule::new(Table::Nat, PUBLISHED, Verdict::Return) });
        last.extend(returns());
    } else {
        first.extend(this.forward(bridge.icc));
        first.extend((!network.is_predefined()).then(published_return));
        first.extend(this.isolation());
        first.push(Rule { input: this.is(), ..Rule::new(Table::Nat, PUBLISHED, Verdict::Return) });
        last.extend(this.drops());
        last.extend(returns());
        last.extend(this.translation());
    }
    let comment = (!network.is_predefined()).then(|| comment(network));
    for rule in first.iter_mut().chain(&mut last) {
        rule.ipv6 = ipv6;
        if Shared::is_of_one_network(rule) {
            rule.comment.clone_from(&comment);
        }
    }
    let before = (!network.internal).then(|| Rule { ipv6, ..published_return() }).into_iter().collect();
    Some(Shared { ipv6, chains: chains(), before, first, last })
}

/// The chains, and the rules that all bridge networks of a family have in common.
pub(crate) fn common(ipv6: bool) -> Shared {
    let any = if ipv6 { Subnet::around(Ipv6Addr::UNSPECIFIED, 128) } else { Subnet::around(Ipv4Addr::UNSPECIFIED, 32) };
    let none = Bridged { name: "", subnet: any, passage: Passage::Nat, ipv6 };
    let mut first = jumps();
    first.push(published_return());
    let mut last = returns();
    last.extend(none.translation());
    for rules in [&mut first, &mut last] {
        rules.retain(|rule| !Shared::is_of_one_network(rule));
        rules.iter_mut().for_each(|rule| rule.ipv6 = ipv6);
    }
    Shared { ipv6, chains: chains(), before: Vec::new(), first, last }
}

fn chains() -> Vec<(Table, &'static str)> {
    let filter = [PUBLISHED, STAGE_1, STAGE_2, USER_CHAIN].map(|chain| (Table::Filter, chain));
    filter.into_iter().chain([PUBLISHED, INNER].map(|chain| (Table::Nat, chain))).collect()
}

/// What tells a user-defined network's own rules from any other's.
pub(crate) fn comment(network: &Network) -> String {
    format!("network-{}", network.short_id())
}

/// A bridge, in one family.
struct Bridged<'a> {
    name: &'a str,
    subnet: Subnet,
    passage: Passage,
    ipv6: bool,
}

/// Of several networks, the containers of one may use what the others publish. With the default network alone there is
/// nobody whom this would be for.
fn published_return() -> Rule {
    Rule {
        connection_state: Some("DNAT".into()),
        comment: Some(BETWEEN.into()),
        ..Rule::new(Table::Filter, STAGE_1, Verdict::Return)
    }
}

/// Its comment, by which it is found among hundreds.
const BETWEEN: &str = "between-networks";

fn jumps() -> Vec<Rule> {
    [USER_CHAIN, STAGE_1].map(|chain| Rule::new(Table::Filter, "FORWARD", Verdict::Jump(chain.into()))).into()
}

impl Bridged<'_> {
    fn is(&self) -> Option<Is<String>> {
        Some(Is::This(self.name.to_owned()))
    }

    fn is_not(&self) -> Option<Is<String>> {
        Some(Is::Not(self.name.to_owned()))
    }

    fn loopback(&self) -> Subnet {
        match self.ipv6 {
            true => Subnet::around(Ipv6Addr::LOCALHOST, 128),
            false => Subnet::around(Ipv4Addr::LOCALHOST, 8),
        }
    }

    /// Containers among themselves. Where they may not speak, their ports of the bridge are isolated from each other too,
    /// so that nothing passes inside of it; this is about what the host would pass between them.
    fn among(&self, icc: bool) -> Rule {
        let verdict = if icc { Verdict::Accept } else { Verdict::Drop };
        Rule { input: self.is(), output: self.is(), ..Rule::new(Table::Filter, "FORWARD", verdict) }
    }

    fn forward(&self, icc: bool) -> Vec<Rule> {
        let rule = |verdict| Rule::new(Table::Filter, "FORWARD", verdict);
        let mut rules = vec![
            Rule { output: self.is(), connection_state: Some("RELATED,ESTABLISHED".into()), ..rule(Verdict::Accept) },
            Rule { output: self.is(), ..rule(Verdict::Jump(PUBLISHED.into())) },
            Rule { input: self.is(), output: self.is_not(), ..rule(Verdict::Accept) },
        ];
        if !icc {
            // A published port is for everybody: Docker's proxy carries a container's connection to another's there too.
            let state = Some("DNAT".into());
            rules.push(Rule { input: self.is(), output: self.is(), connection_state: state, ..rule(Verdict::Accept) });
        }
        rules.push(self.among(icc));
        if self.passage == Passage::Routed {
            rules.push(Rule { output: self.is(), ..rule(Verdict::Drop) });
        }
        rules
    }

    /// Of an internal network: nothing leaves it, nothing comes in.
    ///
    /// Told by the bridge, not by addresses as Docker does: a stranger can send with an address of the subnet; and where
    /// packets within a bridge pass through here, the neighbour discovery of IPv6 goes to groups outside of it.
    fn shut(&self) -> Vec<Rule> {
        let drop = || Rule::new(Table::Filter, STAGE_1, Verdict::Drop);
        vec![
            Rule { input: self.is_not(), output: self.is(), ..drop() },
            Rule { input: self.is(), output: self.is_not(), ..drop() },
        ]
    }

    /// What comes from another network's bridge to this one is dropped, unless it comes by a published port.
    fn isolation(&self) -> Vec<Rule> {
        vec![
            Rule {
                input: self.is(),
                output: self.is_not(),
                ..Rule::new(Table::Filter, STAGE_1, Verdict::Jump(STAGE_2.into()))
            },
            Rule { output: self.is(), ..Rule::new(Table::Filter, STAGE_2, Verdict::Drop) },
        ]
    }

    fn drops(&self) -> Vec<Rule> {
        let drop = || Rule::new(Table::Raw, "PREROUTING", Verdict::Drop);
        let mut rules = Vec::new();
        if !self.ipv6 {
            // The kernel itself drops what comes from a wire with ::1.
            rules.push(Rule { destination: Some(Is::This(self.loopback())), input: self.is(), ..drop() });
        }
        if self.passage == Passage::Nat {
            // Not the bridge's own address: what the host says to that goes by its loopback, and is no way in.
            rules.push(Rule {
                destination: Some(Is::This(self.subnet)),
                input: self.is_not(),
                destination_type: Some(Is::Not("LOCAL".into())),
                ..drop()
            });
        }
        rules
    }

    fn translation(&self) -> Vec<Rule> {
        let local = || Some(Is::This("LOCAL".to_owned()));
        let loopback = self.loopback();
        let nat = |chain, verdict| Rule::new(Table::Nat, chain, verdict);
        let jump = |chain, to: &str| nat(chain, Verdict::Jump(to.into()));
        let mut rules = vec![
            Rule { input: self.is(), destination_type: local(), ..jump("PREROUTING", INNER) },
            Rule { destination_type: local(), ..jump("PREROUTING", PUBLISHED) },
        ];
        if !self.ipv6 {
            rules.push(Rule {
                destination: Some(Is::This(loopback)),
                destination_type: local(),
                ..jump("OUTPUT", INNER)
            });
        }
        rules.push(Rule {
            destination: Some(Is::Not(loopback)),
            destination_type: local(),
            ..jump("OUTPUT", PUBLISHED)
        });
        let masquerade = || nat("POSTROUTING", Verdict::Masquerade);
        if self.passage == Passage::Nat {
            rules.push(Rule { source: Some(Is::This(self.subnet)), output: self.is_not(), ..masquerade() });
        }
        if !self.ipv6 {
            rules.push(Rule { source: Some(Is::This(loopback)), output: self.is(), ..masquerade() });
        }
        rules.push(Rule {
            source: Some(Is::This(self.subnet)),
            output: self.is(),
            connection_state: Some("DNAT".into()),
            ..masquerade()
        });
        rules
    }
}

/// The rule by which what comes from outside is looked for among the published ports; and that by which the host's own
/// firewall is asked before.
pub(super) fn questions(ipv6: bool) -> (Rule, Rule) {
    let jump = |to: &str| Rule {
        ipv6,
        destination_type: Some(Is::This("LOCAL".into())),
        ..Rule::new(Table::Nat, "PREROUTING", Verdict::Jump(to.into()))
    };
    (jump(PUBLISHED), jump(HOST))
}

fn returns() -> Vec<Rule> {
    [STAGE_1, STAGE_2, USER_CHAIN].map(|chain| Rule::new(Table::Filter, chain, Verdict::Return)).into()
}

/// What has to be in a chain for a network's own rules to be put in beside it, and no more: the chain, and the words.
/// Those of the first two are its head, behind which a network's rules stand.
pub(super) fn marks(ipv6: bool) -> Vec<((Table, &'static str), Vec<&'static str>)> {
    let mut marks = vec![
        ((Table::Filter, "FORWARD"), vec![USER_CHAIN, STAGE_1]),
        ((Table::Filter, STAGE_1), vec![BETWEEN]),
        ((Table::Nat, "PREROUTING"), vec![PUBLISHED]),
        ((Table::Nat, "OUTPUT"), vec![PUBLISHED]),
    ];
    if !ipv6 {
        marks[3].1.push(INNER);
    }
    marks
}

impl Shared {
    /// The same, where the host's own firewall is asked before a published port is looked for: see [`super::respect`].
    pub(super) fn asking(mut self) -> Shared {
        self.chains.push((Table::Nat, HOST));
        let (plain, asking) = questions(self.ipv6);
        self.last.iter_mut().filter(|rule| **rule == plain).for_each(|rule| rule.clone_from(&asking));
        self
    }

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

    use crate::network::{Bridge, Driver, Pool};

    fn network(name: &str, subnet: &str) -> Network {
        let mut network = Network::new(name, "ab".repeat(32), String::new(), Driver::Bridge);
        let (subnet, gateway) = (subnet.parse().unwrap(), None);
        network.pools = vec![Pool { subnet, gateway, range: None, span: None, reserved: Default::default() }];
        network.bridge = Some(Bridge {
            name: "rbox0".into(),
            mac: "02:42:00:00:00:01".parse().unwrap(),
            icc: true,
            passage: [Passage::Nat; 2],
            binding: None,
        });
        network
    }

    fn rules(network: &Network, ipv6: bool, table: Table) -> Vec<String> {
        let shared = shared(network, ipv6).unwrap();
        let lines = shared.rules().filter(|rule| rule.table == table).map(|rule| rule.to_string());
        lines.map(|line| line.replace(" -m comment --comment network-abababababab", "")).collect()
    }

    fn lines(table: Table) -> Vec<String> {
        rules(&network("bridge", "172.17.0.0/16"), false, table)
    }

    #[test]
    fn an_internal_network_is_shut_and_has_no_translation() {
        let network = Network { internal: true, ..network("shut", "172.18.0.0/24") };
        assert_eq!(rules(&network, false, Table::Nat), ["-A RBOX -i rbox0 -j RETURN"]);
        assert!(rules(&network, false, Table::Raw).is_empty());
        let filter = rules(&network, false, Table::Filter);
        assert_eq!(
            filter[2..5],
            [
                "-A FORWARD -i rbox0 -o rbox0 -j ACCEPT",
                "-A RBOX-ISOLATION-STAGE-1 ! -i rbox0 -o rbox0 -j DROP",
                "-A RBOX-ISOLATION-STAGE-1 -i rbox0 ! -o rbox0 -j DROP",
            ]
        );
        assert!(shared(&network, true).is_none());
    }

    #[test]
    fn without_icc_only_what_comes_by_a_published_port_passes_between_containers() {
        let mut network = network("quiet", "172.18.0.0/24");
        network.bridge.as_mut().unwrap().icc = false;
        let filter = rules(&network, false, Table::Filter);
        assert_eq!(
            filter[5..7],
            [
                "-A FORWARD -i rbox0 -o rbox0 -m conntrack --ctstate DNAT -j ACCEPT",
                "-A FORWARD -i rbox0 -o rbox0 -j DROP",
            ]
        );
    }

    #[test]
    fn who_has_a_route_passes_where_nothing_is_translated() {
        let mut network = network("open", "172.18.0.0/24");
        let has = |network: &Network, table, line: &str| rules(network, false, table).iter().any(|it| it == line);
        let drop = "-A PREROUTING -d 172.18.0.0/24 ! -i rbox0 -m addrtype ! --dst-type LOCAL -j DROP";
        let masquerade = "-A POSTROUTING -s 172.18.0.0/24 ! -o rbox0 -j MASQUERADE";
        let shut = "-A FORWARD -o rbox0 -j DROP";
        let all = |network: &Network| {
            [(Table::Raw, drop), (Table::Nat, masquerade), (Table::Filter, shut)]
                .map(|(table, it)| has(network, table, it))
        };
        assert_eq!(all(&network), [true, true, false]);
        network.bridge.as_mut().unwrap().passage = [Passage::Unmasqueraded; 2];
        assert_eq!(all(&network), [false, false, false]);
        network.bridge.as_mut().unwrap().passage = [Passage::Routed; 2];
        assert_eq!(all(&network), [false, false, true]);
    }

    #[test]
    fn the_rules_of_ipv6_are_the_same_but_for_the_loopback() {
        let network = network("six", "fd00:1::/64");
        assert_eq!(
            rules(&network, true, Table::Nat),
            [
                "-A RBOX -i rbox0 -j RETURN",
                "-A PREROUTING -i rbox0 -m addrtype --dst-type LOCAL -j RBOX-INNER",
                "-A PREROUTING -m addrtype --dst-type LOCAL -j RBOX",
                "-A OUTPUT ! -d ::1/128 -m addrtype --dst-type LOCAL -j RBOX",
                "-A POSTROUTING -s fd00:1::/64 ! -o rbox0 -j MASQUERADE",
                "-A POSTROUTING -s fd00:1::/64 -o rbox0 -m conntrack --ctstate DNAT -j MASQUERADE",
            ]
        );
        let raw = ["-A PREROUTING -d fd00:1::/64 ! -i rbox0 -m addrtype ! --dst-type LOCAL -j DROP"];
        assert_eq!(rules(&network, true, Table::Raw), raw);
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
