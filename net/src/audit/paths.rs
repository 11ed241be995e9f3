//! The way of a packet through all that the host's packet filter holds, and who gets through.

use std::net::IpAddr;

use crate::address::Subnet;
use crate::firewall::Is;
use crate::foreign::{Base, Hook, Line, Packets, Stage, Tables, flatten};
use crate::ports::{PortRange, Protocol};

/// What is asked for: on the host, and in the container.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way<'a> {
    /// The address of the host; nothing where every one is meant.
    pub(super) address: Option<IpAddr>,
    pub(super) ports: Option<PortRange>,
    pub(super) protocol: Option<Protocol>,
    /// The link of the container's network, its address, its ports.
    pub(super) bridge: &'a str,
    pub(super) inside: IpAddr,
    pub(super) inside_ports: Option<PortRange>,
    /// The kernel translates one to the other.
    pub(super) is_translated: bool,
    /// Links that nobody outside comes by: the loopback, and those of networks.
    pub(super) own_links: &'a [String],
}

/// Who goes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    Outside,
    Container,
    Host,
}

/// Who of the callers gets through.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Through {
    /// Those alone; all, where nothing is said.
    pub(super) only: Option<Vec<String>>,
    /// And of those, not these.
    pub(super) but: Vec<String>,
    /// Some rule means some of them, and only the kernel can tell whom.
    pub(super) is_unsure: bool,
    /// The rules that say so.
    pub(super) remarks: Vec<String>,
}

impl Through {
    /// Somebody gets through.
    pub(super) fn any(&self) -> bool {
        self.only.as_ref().is_none_or(|only| !only.is_empty())
    }

    /// Those who get through here, and there too.
    pub(super) fn and(&mut self, there: Through) {
        if let Some(only) = there.only {
            self.narrow(only);
        }
        self.but.extend(there.but);
        self.is_unsure |= there.is_unsure;
        self.remarks.extend(there.remarks);
    }

    fn narrow(&mut self, these: Vec<String>) {
        self.only = Some(match self.only.take() {
            None => these,
            Some(before) => before.into_iter().filter(|one| these.contains(one)).collect(),
        });
    }

    fn except(&mut self, line: &Line, about: &Packets) {
        match (line.is_exact, difference(&line.packets, about)) {
            (true, words) if !words.is_empty() => {
                self.remarks.push(format!("not {words}: {}", line.text));
                if !self.but.contains(&words) {
                    self.but.push(words);
                }
            }
            _ => {
                self.is_unsure = true;
                self.remarks.push(format!("perhaps this forbids it: {}", line.text));
            }
        }
    }
}

fn whole(address: IpAddr) -> Is<Subnet> {
    Is::This(Subnet::around(address, u8::MAX))
}

impl Way<'_> {
    /// Before the receiver is translated.
    pub(super) fn before(&self) -> Packets {
        let destination = match self.is_translated {
            true => self.address.map(whole),
            false => Some(whole(self.inside)),
        };
        let ports = if self.is_translated { self.ports } else { self.inside_ports };
        Packets { destination, protocol: self.protocol, ports, ..Packets::default() }
    }

    /// When it is the container.
    fn after(&self) -> Packets {
        let before = self.before();
        Packets {
            output: Some(Is::This(self.bridge.to_owned())),
            destination: Some(whole(self.inside)),
            ports: self.inside_ports,
            original_destination: before.destination,
            original_ports: before.ports,
            protocol: self.protocol,
            ..Packets::default()
        }
    }

    /// Ask every base chain on the way to the container.
    pub(super) fn walk(&self, tables: &Tables, caller: Caller) -> Through {
        let first = if caller == Caller::Host { Hook::Output } else { Hook::Prerouting };
        let mut through = Through::default();
        for base in &tables.bases {
            let is_on_it = base.hook == first
                || base.hook == Hook::Postrouting && !base.translates
                || base.hook == Hook::Forward && caller != Caller::Host;
            if !is_on_it || base.translates && !self.is_translated {
                continue;
            }
            let is_later = base.hook == Hook::Forward || base.hook == Hook::Postrouting || base.sees_translated;
            let is_translated = self.is_translated && is_later && !base.translates;
            let mut about = if is_later && !base.translates { self.after() } else { self.before() };
            match (caller, base.hook) {
                (Caller::Container, Hook::Postrouting) => {}
                (Caller::Container, _) => about.input = Some(Is::This(self.bridge.to_owned())),
                (Caller::Outside, Hook::Prerouting) => about.output = None,
                // By its route, which is looked for again only behind the last chain.
                (Caller::Host, Hook::Output) if self.is_translated => about.output = Some(Is::This("lo".into())),
                _ => {}
            }
            let not_by = if caller == Caller::Outside { self.own_links } else { &[] };
            ask(
                base,
                &about,
                Stage { is_local: self.is_translated && !is_translated, not_by, is_translated },
                &mut through,
            );
        }
        through
    }

    /// Ask every base chain on the way to a program of this host's, which this host reaches by its loopback.
    pub(super) fn walk_in(&self, tables: &Tables, caller: Caller) -> Through {
        let mut through = Through::default();
        for base in tables.bases.iter().filter(|base| !base.translates) {
            let link = |name: &str| Some(Is::This(name.to_owned()));
            let (input, output) = match (caller, base.hook) {
                (Caller::Host, Hook::Output) => (None, link("lo")),
                (_, Hook::Output | Hook::Forward | Hook::Postrouting) => continue,
                (Caller::Host, _) => (link("lo"), None),
                (Caller::Container, _) => (link(self.bridge), None),
                (Caller::Outside, _) => (None, None),
            };
            let about = Packets { input, output, ..self.before() };
            let not_by = if caller == Caller::Outside { self.own_links } else { &[] };
            ask(base, &about, Stage { is_local: true, not_by, is_translated: false }, &mut through);
        }
        through
    }
}

/// What a base chain lets through of some packets.
pub(super) fn ask(base: &Base, about: &Packets, stage: Stage<'_>, through: &mut Through) {
    // What comes to rbox's own chains of translation is translated.
    let own = |chain: &str| base.translates && chain.starts_with("RBOX");
    let mut lines = flatten(base, about, stage, &own);
    let Some(last) = lines.pop() else { return };
    if last.passes {
        lines.iter().filter(|line| !line.passes).for_each(|line| through.except(line, about));
        return;
    }
    let mut open = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        match (line.passes, line.is_exact) {
            (true, true) => open.push(difference(&line.packets, about)),
            (true, false) => {
                through.is_unsure = true;
                through.remarks.push(format!("perhaps this lets some pass: {}", line.text));
            }
            // It matters to those of whom it is said later that they pass.
            (false, _) if lines[at..].iter().any(|line| line.passes) => through.except(line, about),
            (false, _) => {}
        }
    }
    open.dedup();
    let nobody = if open.is_empty() { "nobody" } else { "nobody else" };
    through.remarks.push(format!("{nobody} comes in: {}", last.text));
    through.narrow(open);
}

/// What tells some packets from all of those in question: `192.0.2.0/24`, `by eth0`.
fn difference(some: &Packets, all: &Packets) -> String {
    let mut words = Vec::new();
    match &some.source {
        source if *source == all.source => {}
        Some(Is::This(source)) => words.push(source.to_string()),
        Some(Is::Not(source)) => words.push(format!("all but {source}")),
        None => {}
    }
    match &some.input {
        input if *input == all.input => {}
        Some(Is::This(link)) => words.push(format!("by {link}")),
        Some(Is::Not(link)) => words.push(format!("not by {link}")),
        None => {}
    }
    match &some.destination {
        destination if *destination == all.destination => {}
        Some(Is::This(to)) => words.push(format!("to {to}")),
        Some(Is::Not(to)) => words.push(format!("not to {to}")),
        None => {}
    }
    let protocol = some.protocol.filter(|protocol| Some(*protocol) != all.protocol);
    words.extend(protocol.map(|protocol| protocol.to_string()));
    let ports = some.ports.filter(|ports| Some(*ports) != all.ports);
    words.extend(ports.map(|ports| format!("port {ports}")));
    words.join(" ")
}

/// The last word of a base chain about packets, and the words before it that say the opposite.
pub(super) fn opinion(lines: &[Line], about: &Packets) -> (bool, Vec<String>) {
    let Some((last, before)) = lines.split_last() else { return (true, Vec::new()) };
    let others = before.iter().filter(|line| line.passes != last.passes);
    let mut words: Vec<String> = others
        .map(|line| match (line.is_exact, difference(&line.packets, about)) {
            (true, words) if !words.is_empty() => words,
            _ => line.text.clone(),
        })
        .collect();
    words.dedup();
    (last.passes, words)
}
