//! A base chain with all that it jumps to, as one list: the first line that is about a packet decides.

use super::packets::Met;
use super::{Base, Foreign, Match, Packets, Stage, Verdict};

/// A chain that jumps in circles the kernel does not take; so deep none is.
const DEPTH_MAX: usize = 16;

/// What becomes of some of the packets in question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) packets: Packets,
    /// It is about all of them; else about some of them, and nobody knows which.
    pub(crate) is_exact: bool,
    pub(crate) passes: bool,
    /// The rule that says so; of a policy, that.
    pub(crate) text: String,
}

/// What a base chain does with packets. The last line is about all that are left.
///
/// `own`: chains that are rbox's; what goes there is let pass.
pub(crate) fn flatten(base: &Base, about: &Packets, stage: Stage<'_>, own: &dyn Fn(&str) -> bool) -> Vec<Line> {
    let mut flat = Flat { base, stage, own, lines: Vec::new() };
    let whole = Part { packets: about.clone(), is_exact: true };
    if flat.chain(&base.chain, &whole, 0) != Way::Ended {
        let text = format!("{} -P {} {}", base.table, base.chain, if base.passes { "ACCEPT" } else { "DROP" });
        flat.lines.push(Line { packets: about.clone(), is_exact: true, passes: base.passes, text });
    }
    flat.lines
}

/// Some of the packets: those that come to a rule.
#[derive(Clone)]
struct Part {
    packets: Packets,
    is_exact: bool,
}

/// Whether anything is left of the packets after a chain.
#[derive(PartialEq, Eq)]
enum Way {
    Ended,
    GoesOn,
}

struct Flat<'a> {
    base: &'a Base,
    stage: Stage<'a>,
    own: &'a dyn Fn(&str) -> bool,
    lines: Vec<Line>,
}

impl Flat<'_> {
    fn chain(&mut self, name: &str, all: &Part, depth: usize) -> Way {
        let mut here = all.clone();
        let rules = self.base.chains.get(name).map(Vec::as_slice).unwrap_or_default();
        if depth > DEPTH_MAX {
            return self.decide(&Part { is_exact: false, ..here }, false, name);
        }
        for rule in rules {
            for part in self.parts(rule, &here) {
                let is_all = part.is_exact && part.packets == here.packets;
                match self.rule(rule, &part, depth) {
                    Turn::Ends if is_all => return Way::Ended,
                    // Of what is left it is not known any more which it is.
                    Turn::Returns if is_all => return Way::GoesOn,
                    Turn::Returns => here.is_exact = false,
                    _ => {}
                }
            }
        }
        Way::GoesOn
    }

    /// What of the packets a rule is about: several parts, where it names several things.
    fn parts(&self, rule: &Foreign, here: &Part) -> Vec<Part> {
        let mut parts = vec![here.clone()];
        for wanted in &rule.matches {
            let each = match wanted {
                Match::Any(each) => each.as_slice(),
                one => std::slice::from_ref(one),
            };
            let narrowed = |part: &Part| -> Vec<Part> {
                let met = each.iter().filter_map(|wanted| match part.packets.meet(wanted, self.stage) {
                    Met::None => None,
                    Met::All => Some(part.clone()),
                    Met::Some(packets) => Some(Part { packets, ..part.clone() }),
                    Met::Unsure(packets) => Some(Part { packets, is_exact: false }),
                });
                met.collect()
            };
            parts = parts.iter().flat_map(narrowed).collect();
        }
        parts
    }

    fn rule(&mut self, rule: &Foreign, part: &Part, depth: usize) -> Turn {
        let way = match &rule.verdict {
            Verdict::Nothing => Way::GoesOn,
            Verdict::Return => return Turn::Returns,
            Verdict::Accept => self.decide(part, true, &rule.text),
            Verdict::Drop | Verdict::Translate => self.decide(part, false, &rule.text),
            Verdict::Unknown => self.decide(&Part { is_exact: false, ..part.clone() }, false, &rule.text),
            Verdict::Jump(chain) | Verdict::Goto(chain) if (self.own)(chain) => self.decide(part, true, &rule.text),
            Verdict::Jump(chain) => self.chain(chain, part, depth + 1),
            Verdict::Goto(chain) => match self.chain(chain, part, depth + 1) {
                Way::GoesOn => return Turn::Returns,
                ended => ended,
            },
        };
        if way == Way::Ended { Turn::Ends } else { Turn::GoesOn }
    }

    fn decide(&mut self, part: &Part, passes: bool, text: &str) -> Way {
        let Part { packets, is_exact } = part.clone();
        self.lines.push(Line { packets, is_exact, passes, text: text.to_owned() });
        if is_exact { Way::Ended } else { Way::GoesOn }
    }
}

/// How a chain goes on after a rule, for what the rule is about.
enum Turn {
    Ends,
    Returns,
    GoesOn,
}

#[cfg(test)]
mod tests {
    use super::super::{Hook, iptables, nft};
    use super::*;
    use crate::ports::{PortRange, Protocol};

    /// What ufw 0.36 puts in, without what is about other packets.
    const UFW: &str = r#"-P INPUT DROP
-N ufw-user-input
-A INPUT -j ufw-before-input
-A INPUT -j ufw-after-input
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT
-A ufw-before-input -j ufw-not-local
-A ufw-before-input -j ufw-user-input
-A ufw-after-input -m limit --limit 3/min -j LOG --log-prefix "[UFW BLOCK] "
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j ufw-logging-deny
-A ufw-not-local -j DROP
-A ufw-user-input -p tcp -m multiport --dports 80,8000:8010 -j ACCEPT
-A ufw-user-input -s 192.0.2.0/24 -p tcp -m tcp --dport 81 -j ACCEPT
-A ufw-user-input -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -m recent --set --name DEFAULT --rsource
-A ufw-user-input -p tcp -m tcp --dport 22 -m recent --update --seconds 30 --name DEFAULT --rsource -j ufw-user-limit
-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT
-A ufw-user-limit -j REJECT --reject-with icmp-port-unreachable"#;

    /// What is said of one port: passes or not, exactly or not, from where.
    fn said(base: &Base, port: u16) -> Vec<(bool, bool, Option<String>)> {
        let ports = PortRange::new(port, port);
        let about = Packets { protocol: Some(Protocol::Tcp), ports, ..Packets::default() };
        let links = ["lo".to_owned()];
        let lines = flatten(base, &about, Stage { is_local: true, not_by: &links, is_translated: false }, &|_| false);
        let source = |line: &Line| match line.packets.source.as_ref()? {
            crate::firewall::Is::This(subnet) | crate::firewall::Is::Not(subnet) => Some(subnet.to_string()),
        };
        lines.iter().map(|line| (line.passes, line.is_exact, source(line))).collect()
    }

    fn input(bases: &[Base]) -> &Base {
        bases.iter().find(|base| base.hook == Hook::Input).unwrap()
    }

    #[test]
    fn of_ufw_what_is_about_a_port_is_left() {
        let bases = iptables::bases("iptables -t filter", UFW);
        let base = input(&bases);
        assert_eq!(said(base, 8005), [(true, true, None)]);
        assert_eq!(said(base, 81), [(true, true, Some("192.0.2.0/24".into())), (false, true, None)]);
        assert_eq!(said(base, 99), [(false, true, None)]);
        // How often somebody came nobody knows but the kernel.
        assert_eq!(said(base, 22), [(false, false, None), (true, true, None)]);
    }

    #[test]
    fn of_firewalld_the_zone_decides() {
        let rule = |chain: &str, expr: &str| {
            format!(
                r#"{{"rule": {{"family": "inet", "table": "firewalld", "chain": "{chain}", "handle": 7, "expr": [{expr}]}}}}"#
            )
        };
        let port = |number: &str| {
            format!(
                r#"{{"match": {{"op": "==", "left": {{"payload": {{"protocol": "tcp", "field": "dport"}}}}, "right": {number}}}}}"#
            )
        };
        let source = |family: &str, address: &str| {
            format!(
                r#"{{"match": {{"op": "==", "left": {{"payload": {{"protocol": "{family}", "field": "saddr"}}}}, "right": {{"prefix": {{"addr": "{address}", "len": 24}}}}}}}}"#
            )
        };
        let state = r#"{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}"#;
        let objects = [
            r#"{"chain": {"family": "inet", "table": "firewalld", "name": "filter_INPUT", "type": "filter", "hook": "input", "prio": 10, "policy": "accept"}}"#.to_owned(),
            rule("filter_INPUT", &format!(r#"{state}, {{"accept": null}}"#)),
            rule("filter_INPUT", r#"{"jump": {"target": "zones"}}"#),
            rule("filter_INPUT", r#"{"reject": {"type": "icmpx"}}"#),
            rule("zones", r#"{"goto": {"target": "public"}}"#),
            rule("public", &format!(r#"{}, {{"accept": null}}"#, port(r#"{"set": [80, {"range": [8000, 8010]}]}"#))),
            rule("public", &format!(r#"{}, {}, {{"accept": null}}"#, source("ip", "192.0.2.0"), port("81"))),
            rule("public", &format!(r#"{}, {}, {{"accept": null}}"#, source("ip6", "2001:db8::"), port("82"))),
            rule("public", r#"{"reject": {"type": "icmpx"}}"#),
        ];
        let listing = serde_json::from_str(&format!(r#"{{"nftables": [{}]}}"#, objects.join(","))).unwrap();
        let bases = nft::bases(&listing, false, &[]);
        let base = input(&bases);
        assert_eq!(said(base, 8005), [(true, true, None)]);
        assert_eq!(said(base, 81), [(true, true, Some("192.0.2.0/24".into())), (false, true, None)]);
        assert_eq!(said(base, 82), [(false, true, None)]);
    }

    #[test]
    fn behind_a_return_of_some_nothing_is_sure() {
        let rules = "-P INPUT ACCEPT\n-A INPUT -j mine\n-A mine -s 192.0.2.0/24 -j RETURN\n-A mine -j DROP";
        let bases = iptables::bases("iptables -t filter", rules);
        assert_eq!(said(input(&bases), 80), [(false, false, None), (true, true, None)]);
    }
}
