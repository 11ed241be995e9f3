//! What a person expects of networks and of the containers in them (docker's answers, 20.10).

use crate::support::{BUSYBOX, Dice, Places};
use std::collections::{BTreeMap, BTreeSet};

/// The names that all commands share.
pub(super) const NAMES: [&str; 3] = ["ant", "bee", "cat"];
pub(super) const NETWORKS: [&str; 3] = ["blue", "green", "red"];
const PORTS: [u16; 2] = [8081, 8082];

/// What is done in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    NetworkCreate,
    NetworkRm,
    NetworkPrune,
    NetworkReload,
    Connect,
    Disconnect,
    Publish,
    Unpublish,
    Create,
    Run,
    Start,
    Stop,
    Kill,
    Rm,
    RmForce,
    KillMonitors,
}

/// Each as often as it is to come.
const ACTS: [(Act, usize); 16] = [
    (Act::NetworkCreate, 14),
    (Act::NetworkRm, 3),
    (Act::NetworkPrune, 1),
    (Act::NetworkReload, 2),
    (Act::Connect, 30),
    (Act::Disconnect, 14),
    (Act::Publish, 12),
    (Act::Unpublish, 8),
    (Act::Create, 5),
    (Act::Run, 14),
    (Act::Start, 14),
    (Act::Stop, 7),
    (Act::Kill, 3),
    (Act::Rm, 2),
    (Act::RmForce, 2),
    (Act::KillMonitors, 5),
];

/// One step of a sequence.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) act: Act,
    name: &'static str,
    network: &'static str,
    /// Those that a container is made with; without any it is on the default one.
    networks: BTreeSet<&'static str>,
    port: Option<u16>,
}

impl Step {
    pub(super) fn draw(dice: &mut Dice) -> Step {
        let mut at = dice.below(ACTS.iter().map(|(_, often)| often).sum());
        let act = ACTS
            .iter()
            .find(|(_, often)| {
                at < *often || {
                    at -= often;
                    false
                }
            })
            .unwrap()
            .0;
        let networks = NETWORKS.into_iter().filter(|_| dice.below(3) == 0).collect();
        let port = dice.pick(&[None, Some(PORTS[0]), Some(PORTS[1])]);
        // The default network too can be joined and left.
        let network = dice.pick(&[NETWORKS[0], NETWORKS[1], NETWORKS[2], BRIDGE]);
        let of_ours = matches!(act, Act::NetworkCreate | Act::NetworkRm) && network == BRIDGE;
        Step { act, name: dice.pick(&NAMES), network: if of_ours { NETWORKS[0] } else { network }, networks, port }
    }

    /// The words of the command; none where no command is meant.
    pub(super) fn words(&self) -> Vec<String> {
        let subnet = format!("10.{}.0.0/24", 1 + NETWORKS.iter().position(|it| *it == self.network).unwrap_or(0));
        let words: &[&str] = match self.act {
            Act::NetworkCreate => &["network", "create", "--subnet", &subnet, self.network],
            Act::NetworkRm => &["network", "rm", self.network],
            Act::NetworkPrune => &["network", "prune", "-f"],
            Act::NetworkReload => &["network", "reload"],
            Act::Connect => &["network", "connect", self.network, self.name],
            Act::Disconnect => &["network", "disconnect", self.network, self.name],
            Act::Publish => &["publish", self.name, &format!("{}:80", self.port())],
            Act::Unpublish => &["unpublish", self.name, &self.port().to_string()],
            Act::Create => return self.making(&["create"]),
            Act::Run => return self.making(&["run", "-d"]),
            Act::Start => &["start", self.name],
            Act::Stop => &["stop", "-t", "0", self.name],
            Act::Kill => &["kill", self.name],
            Act::Rm => &["rm", self.name],
            Act::RmForce => &["rm", "-f", self.name],
            Act::KillMonitors => &[],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// The port that comes or goes.
    fn port(&self) -> u16 {
        self.port.unwrap_or(PORTS[0])
    }

    fn making(&self, verb: &[&str]) -> Vec<String> {
        let mut words: Vec<String> = verb.iter().map(|word| (*word).to_owned()).collect();
        words.extend(["--name".to_owned(), self.name.to_owned()]);
        words.extend(self.networks.iter().flat_map(|network| ["--network".to_owned(), (*network).to_owned()]));
        words.extend(self.port.iter().flat_map(|port| ["-p".to_owned(), format!("{port}:80")]));
        words.extend([BUSYBOX, "sleep", "600"].map(str::to_owned));
        words
    }
}

/// The network that is there from the beginning.
const BRIDGE: &str = "bridge";

/// One network among all that were ever called so.
type Network = (&'static str, usize);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Created,
    Running,
    Exited,
}

#[derive(Debug, Clone)]
struct Container {
    state: State,
    ports: BTreeSet<u16>,
    /// What it is started with; and where it runs the last number of its address there.
    wanted: BTreeMap<Network, Option<u8>>,
}

impl Container {
    fn runs(&self) -> bool {
        self.state == State::Running
    }
}

/// Of a container: its published ports, its state, and its networks with its addresses there.
pub(super) type Expected = (BTreeSet<u16>, String, Places);

/// All networks and containers.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    /// With the how-manieth of its name it is.
    networks: BTreeMap<&'static str, usize>,
    made: usize,
    containers: BTreeMap<&'static str, Container>,
}

impl Model {
    /// Every container, as it should be.
    pub(super) fn expected(&self) -> BTreeMap<String, Expected> {
        let one = |container: &Container| {
            let state = match container.state {
                State::Created => "created",
                State::Running => "running",
                State::Exited => "exited",
            };
            let place = |((network, _), last): (&Network, &Option<u8>)| {
                ((*network).to_owned(), last.map(|last| format!("{}.{last}", prefix(network))))
            };
            (container.ports.clone(), state.to_owned(), container.wanted.iter().map(place).collect())
        };
        self.containers.iter().map(|(name, container)| ((*name).to_owned(), one(container))).collect()
    }

    /// The user-defined networks.
    pub(super) fn networks(&self) -> Vec<&str> {
        self.networks.keys().copied().collect()
    }

    /// Do it, and say with which code the command answers.
    pub(super) fn take(&mut self, step: &Step) -> i32 {
        match step.act {
            Act::NetworkReload | Act::KillMonitors => 0,
            Act::NetworkCreate if self.networks.contains_key(step.network) => 1,
            Act::NetworkCreate => {
                self.made += 1;
                self.networks.insert(step.network, self.made);
                0
            }
            Act::NetworkRm => match self.find(step.network) {
                Some(network) if !self.is_used(network) && network.0 != BRIDGE => {
                    self.networks.remove(network.0);
                    0
                }
                _ => 1,
            },
            Act::NetworkPrune => {
                let unused: Vec<_> =
                    self.networks.iter().filter(|(name, nth)| !self.is_used((name, **nth))).map(|it| *it.0).collect();
                self.networks.retain(|name, _| !unused.contains(name));
                0
            }
            Act::Create | Act::Run => self.make(step),
            Act::RmForce => {
                self.containers.remove(step.name);
                0
            }
            _ if !self.containers.contains_key(step.name) => 1,
            Act::Connect => self.connect(step),
            Act::Disconnect => self.disconnect(step),
            Act::Publish => self.publish(step),
            Act::Unpublish => i32::from(!self.containers.get_mut(step.name).unwrap().ports.remove(&step.port())),
            Act::Start => self.start(step.name),
            Act::Stop | Act::Kill => {
                let container = self.containers.get_mut(step.name).unwrap();
                let ran = container.runs();
                if ran {
                    container.state = State::Exited;
                    container.wanted.values_mut().for_each(|last| *last = None);
                }
                i32::from(!ran && step.act == Act::Kill)
            }
            Act::Rm if self.containers[step.name].runs() => 1,
            Act::Rm => {
                self.containers.remove(step.name);
                0
            }
        }
    }

    /// The network that is called so now.
    fn find(&self, name: &'static str) -> Option<Network> {
        if name == BRIDGE { Some((BRIDGE, 0)) } else { self.networks.get(name).map(|nth| (name, *nth)) }
    }

    fn is_used(&self, network: Network) -> bool {
        self.containers.values().any(|one| one.runs() && one.wanted.contains_key(&network))
    }

    /// Whether a container that runs has one of the ports: for that it has to be in a network.
    fn is_taken(&self, ports: &BTreeSet<u16>) -> bool {
        let has = |one: &Container| one.runs() && !one.wanted.is_empty() && !one.ports.is_disjoint(ports);
        self.containers.values().any(has)
    }

    /// The lowest address that is free.
    fn lease(&self, network: Network) -> u8 {
        let leased: Vec<u8> =
            self.containers.values().filter_map(|one| one.wanted.get(&network).copied().flatten()).collect();
        (2..).find(|last| !leased.contains(last)).unwrap()
    }

    fn make(&mut self, step: &Step) -> i32 {
        let refused = if step.act == Act::Create { 1 } else { 125 };
        let typed: Vec<&'static str> =
            if step.networks.is_empty() { vec![BRIDGE] } else { step.networks.iter().copied().collect() };
        let found: Option<Vec<Network>> = typed.into_iter().map(|name| self.find(name)).collect();
        let Some(found) = found.filter(|_| !self.containers.contains_key(step.name)) else { return refused };
        let wanted = found.into_iter().map(|network| (network, None)).collect();
        self.containers
            .insert(step.name, Container { state: State::Created, ports: step.port.into_iter().collect(), wanted });
        if step.act == Act::Create {
            return 0;
        }
        let code = self.start(step.name);
        if code != 0 {
            // What cannot begin leaves nothing.
            self.containers.remove(step.name);
            return refused;
        }
        0
    }

    fn start(&mut self, name: &'static str) -> i32 {
        let container = &self.containers[name];
        if container.runs() {
            return 0;
        }
        let is_there = |network: &Network| self.find(network.0) == Some(*network);
        let published = !container.wanted.is_empty();
        if !container.wanted.keys().all(is_there) || published && self.is_taken(&container.ports) {
            return 1;
        }
        let leased = container.wanted.keys().map(|network| (*network, Some(self.lease(*network)))).collect();
        let container = self.containers.get_mut(name).unwrap();
        (container.state, container.wanted) = (State::Running, leased);
        0
    }

    fn connect(&mut self, step: &Step) -> i32 {
        let Some(network) = self.find(step.network) else { return 1 };
        let container = &self.containers[step.name];
        let gets_port = container.runs() && container.wanted.is_empty();
        if container.wanted.contains_key(&network) || gets_port && self.is_taken(&container.ports) {
            return 1;
        }
        let last = container.runs().then(|| self.lease(network));
        self.containers.get_mut(step.name).unwrap().wanted.insert(network, last);
        0
    }

    fn publish(&mut self, step: &Step) -> i32 {
        let (container, port) = (&self.containers[step.name], step.port());
        let leads_to_it = container.wanted.keys().any(|network| self.find(network.0) == Some(*network));
        let is_taken = container.ports.contains(&port) || container.runs() && self.is_taken(&[port].into());
        if leads_to_it && !is_taken {
            self.containers.get_mut(step.name).unwrap().ports.insert(port);
        }
        i32::from(!leads_to_it || is_taken)
    }

    /// Those too that were called so and have been removed.
    fn disconnect(&mut self, step: &Step) -> i32 {
        let wanted = &mut self.containers.get_mut(step.name).unwrap().wanted;
        let before = wanted.len();
        wanted.retain(|(name, _), _| *name != step.network);
        i32::from(wanted.len() == before)
    }
}

/// Of a network's addresses.
fn prefix(network: &str) -> String {
    match NETWORKS.iter().position(|it| *it == network) {
        Some(at) => format!("10.{}.0", 1 + at),
        None => "172.17.0".to_owned(),
    }
}
