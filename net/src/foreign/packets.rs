//! A kind of packets, and what of it a rule is about.

use super::Match;
use crate::address::Subnet;
use crate::firewall::Is;
use crate::ports::{PortRange, Protocol};

/// What is known of some packets that begin a connection. What is not said may be anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Packets {
    pub(crate) input: Option<Is<String>>,
    pub(crate) output: Option<Is<String>>,
    pub(crate) source: Option<Is<Subnet>>,
    pub(crate) destination: Option<Is<Subnet>>,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) ports: Option<PortRange>,
    /// What they were for before they were translated.
    pub(crate) original_destination: Option<Is<Subnet>>,
    pub(crate) original_ports: Option<PortRange>,
}

/// How far they have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stage<'a> {
    /// They are for an address of this host.
    pub(crate) is_local: bool,
    /// Links that none of them came by.
    pub(crate) not_by: &'a [String],
    /// They are for a container by now, by a published port.
    pub(crate) is_translated: bool,
}

/// What of some packets a match is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Met {
    All,
    None,
    /// These, exactly.
    Some(Packets),
    /// None but these, and it is not known which.
    Unsure(Packets),
}

impl Packets {
    /// What of these is also in a match.
    pub(super) fn meet(&self, that: &Match, stage: Stage<'_>) -> Met {
        match that {
            Match::Never => Met::None,
            Match::Unknown | Match::Any(_) => Met::Unsure(self.clone()),
            Match::State(is, states) => {
                let has = |word: &str| states.iter().any(|state| state.eq_ignore_ascii_case(word));
                settled(*is == (has("NEW") || stage.is_translated && has("DNAT")))
            }
            Match::DestinationType(is, kinds) => {
                let own = if stage.is_local { "LOCAL" } else { "UNICAST" };
                settled(*is == kinds.iter().any(|kind| kind.eq_ignore_ascii_case(own)))
            }
            Match::Protocol(is) => self.meet_protocol(is),
            Match::Port(is) => self.within(range(self.ports, is), |it, ports| it.ports = Some(ports)),
            Match::OriginalPort(is) => {
                self.within(range(self.original_ports, is), |it, ports| it.original_ports = Some(ports))
            }
            Match::Source(is) => self.within(subnet(self.source.as_ref(), is), |it, is| it.source = Some(is)),
            Match::Destination(is) => {
                self.within(subnet(self.destination.as_ref(), is), |it, is| it.destination = Some(is))
            }
            Match::OriginalDestination(is) => {
                let met = subnet(self.original_destination.as_ref(), is);
                self.within(met, |it, is| it.original_destination = Some(is))
            }
            Match::Input(is) => self.within(link(self.input.as_ref(), is, stage.not_by), |it, is| it.input = Some(is)),
            Match::Output(is) => self.within(link(self.output.as_ref(), is, &[]), |it, is| it.output = Some(is)),
        }
    }

    fn meet_protocol(&self, is: &Is<u8>) -> Met {
        let number = match is {
            Is::This(number) | Is::Not(number) => *number,
        };
        match (self.protocol, is, Protocol::of_number(number)) {
            (Some(own), Is::This(_), _) => settled(own.number() == number),
            (Some(own), Is::Not(_), _) => settled(own.number() != number),
            // None but those have published ports.
            (None, Is::This(_), None) => Met::None,
            (None, Is::Not(_), None) => Met::All,
            (None, Is::This(_), Some(protocol)) => Met::Some(Packets { protocol: Some(protocol), ..self.clone() }),
            (None, Is::Not(_), Some(_)) => Met::Unsure(self.clone()),
        }
    }

    fn within<T>(&self, part: Part<T>, set: impl FnOnce(&mut Packets, T)) -> Met {
        match part {
            Part::All => Met::All,
            Part::None => Met::None,
            Part::Unsure => Met::Unsure(self.clone()),
            Part::Of(value) => {
                let mut these = self.clone();
                set(&mut these, value);
                Met::Some(these)
            }
        }
    }
}

fn settled(holds: bool) -> Met {
    if holds { Met::All } else { Met::None }
}

/// What of one quality of packets a match is about.
enum Part<T> {
    All,
    None,
    Of(T),
    Unsure,
}

fn range(own: Option<PortRange>, is: &Is<PortRange>) -> Part<PortRange> {
    match (own, is) {
        (None, Is::This(wanted)) => Part::Of(*wanted),
        (None, Is::Not(_)) => Part::Unsure,
        (Some(own), Is::This(wanted)) => match own.common(*wanted) {
            None => Part::None,
            Some(both) if both == own => Part::All,
            Some(both) => Part::Of(both),
        },
        (Some(own), Is::Not(other)) => match own.common(*other) {
            None => Part::All,
            Some(both) if both == own => Part::None,
            Some(_) => Part::Unsure,
        },
    }
}

fn subnet(own: Option<&Is<Subnet>>, is: &Is<Subnet>) -> Part<Is<Subnet>> {
    match (own, is) {
        (None, Is::This(wanted) | Is::Not(wanted)) if wanted.prefix() == 0 => match is {
            Is::This(_) => Part::All,
            Is::Not(_) => Part::None,
        },
        (None, _) => Part::Of(is.clone()),
        (Some(Is::This(own)), Is::This(wanted)) => match (wanted.covers(*own), own.covers(*wanted)) {
            (true, _) => Part::All,
            (_, true) => Part::Of(is.clone()),
            _ => Part::None,
        },
        (Some(Is::This(own)), Is::Not(other)) => match (other.covers(*own), own.covers(*other)) {
            (true, _) => Part::None,
            (_, true) => Part::Unsure,
            _ => Part::All,
        },
        (Some(Is::Not(own)), Is::This(wanted)) => match (own.covers(*wanted), wanted.covers(*own)) {
            (true, _) => Part::None,
            (_, true) => Part::Unsure,
            _ => Part::Of(is.clone()),
        },
        (Some(Is::Not(own)), Is::Not(other)) => {
            if own.covers(*other) {
                Part::All
            } else {
                Part::Unsure
            }
        }
    }
}

fn link(own: Option<&Is<String>>, is: &Is<String>, not: &[String]) -> Part<Is<String>> {
    let fits = |name: &str, pattern: &str| match pattern.strip_suffix('*') {
        Some(begin) => name.starts_with(begin),
        None => name == pattern,
    };
    let (Is::This(wanted) | Is::Not(wanted)) = is;
    let turned = |fits: bool| if fits == matches!(is, Is::This(_)) { Part::All } else { Part::None };
    match own {
        Some(Is::This(own)) => turned(fits(own, wanted)),
        Some(Is::Not(own)) if own == wanted => turned(false),
        None if not.contains(wanted) => turned(false),
        _ if wanted == "*" => turned(true),
        _ if wanted.ends_with('*') => Part::Unsure,
        None => Part::Of(is.clone()),
        Some(Is::Not(_)) if matches!(is, Is::This(_)) => Part::Of(is.clone()),
        Some(Is::Not(_)) => Part::Unsure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet_of(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    fn meet(packets: &Packets, wanted: &Match) -> Met {
        let links = ["lo".to_owned(), "rbox0".to_owned()];
        packets.meet(wanted, Stage { is_local: true, not_by: &links, is_translated: false })
    }

    #[test]
    fn of_addresses_the_smaller_part_is_what_both_mean() {
        let all = Packets::default();
        let some = |text: &str| Packets { source: Some(Is::This(subnet_of(text))), ..Packets::default() };
        let wanted = |text: &str| Match::Source(Is::This(subnet_of(text)));
        assert_eq!(meet(&all, &wanted("0.0.0.0/0")), Met::All);
        assert_eq!(meet(&all, &wanted("192.0.2.0/24")), Met::Some(some("192.0.2.0/24")));
        assert_eq!(meet(&some("192.0.2.0/25"), &wanted("192.0.2.0/24")), Met::All);
        assert_eq!(meet(&some("192.0.2.0/24"), &wanted("198.51.100.0/24")), Met::None);
        let not = Match::Source(Is::Not(subnet_of("192.0.2.0/25")));
        assert_eq!(meet(&some("198.51.100.0/24"), &not), Met::All);
        assert_eq!(meet(&some("192.0.2.0/24"), &not), Met::Unsure(some("192.0.2.0/24")));
        assert_eq!(meet(&some("192.0.2.0/26"), &not), Met::None);
    }

    #[test]
    fn nobody_outside_comes_by_the_hosts_own_links() {
        let by = |link: &str| Match::Input(Is::This(link.to_owned()));
        let all = Packets::default();
        assert_eq!(meet(&all, &by("lo")), Met::None);
        assert_eq!(meet(&all, &by("rbox0")), Met::None);
        assert_eq!(meet(&all, &Match::Input(Is::Not("lo".into()))), Met::All);
        assert_eq!(meet(&all, &by("*")), Met::All);
        assert_eq!(meet(&all, &by("eth*")), Met::Unsure(all.clone()));
        let eth0 = Packets { input: Some(Is::This("eth0".into())), ..Packets::default() };
        assert_eq!(meet(&all, &by("eth0")), Met::Some(eth0.clone()));
        assert_eq!(meet(&eth0, &by("eth*")), Met::All);
        assert_eq!(meet(&eth0, &by("eth1")), Met::None);
    }

    #[test]
    fn a_connection_that_begins_is_new_and_for_this_host() {
        let all = Packets::default();
        let state = |is, words: &[&str]| Match::State(is, words.iter().map(|it| (*it).to_owned()).collect());
        assert_eq!(meet(&all, &state(true, &["RELATED", "ESTABLISHED"])), Met::None);
        assert_eq!(meet(&all, &state(true, &["NEW"])), Met::All);
        assert_eq!(meet(&all, &state(false, &["INVALID"])), Met::All);
        assert_eq!(meet(&all, &state(true, &["DNAT"])), Met::None);
        assert_eq!(meet(&all, &Match::DestinationType(true, vec!["LOCAL".into()])), Met::All);
        assert_eq!(meet(&all, &Match::DestinationType(true, vec!["MULTICAST".into()])), Met::None);
        assert_eq!(meet(&all, &Match::Protocol(Is::This(1))), Met::None);
        assert_eq!(meet(&all, &Match::Unknown), Met::Unsure(all.clone()));
    }
}
