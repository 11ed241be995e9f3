//! What a person expects of containers: names, states, and what each command answers (docker's, 20.10).

use crate::support::{BUSYBOX, Dice};
use std::collections::BTreeMap;

/// The names that all commands share.
pub(super) const NAMES: [&str; 3] = ["ant", "bee", "cat"];
const PORTS: [u16; 2] = [8081, 8082];

/// What is done in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Create,
    Run,
    RunDetached,
    Start,
    Stop,
    Kill,
    Restart,
    Pause,
    Unpause,
    Rename,
    Rm,
    RmForce,
    Wait,
    Exec,
    KillMonitors,
}

const ACTS: [Act; 22] = [
    Act::Create,
    Act::Create,
    Act::Run,
    Act::RunDetached,
    Act::RunDetached,
    Act::RunDetached,
    Act::Start,
    Act::Start,
    Act::Start,
    Act::Stop,
    Act::Kill,
    Act::Restart,
    Act::Restart,
    Act::Pause,
    Act::Pause,
    Act::Unpause,
    Act::Rename,
    Act::Rm,
    Act::RmForce,
    Act::Wait,
    Act::Exec,
    Act::KillMonitors,
];

/// One step of a sequence.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) act: Act,
    pub(super) name: &'static str,
    other: &'static str,
    made: Made,
}

/// What a container was made with.
#[derive(Debug, Clone, Copy)]
struct Made {
    /// Its program ends by itself, with 3; else it stays.
    is_short: bool,
    port: Option<u16>,
    /// `--rm`.
    goes: bool,
}

/// What a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Created,
    Running,
    Paused,
    /// With its code, where that is certain.
    Exited(Option<i32>),
}

#[derive(Debug, Clone, Copy)]
struct Container {
    state: State,
    made: Made,
    /// Its monitor was killed once: who took it up may be unable to learn its code.
    is_orphan: bool,
}

/// All containers.
#[derive(Debug, Clone, Default)]
pub(super) struct Model(BTreeMap<&'static str, Container>);

/// What a command is to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) code: i32,
    /// The standard output, where it is certain.
    pub(super) text: Option<String>,
    /// The program begins, and ends by itself: wait for it.
    pub(super) ends: bool,
}

impl Step {
    pub(super) fn draw(dice: &mut Dice) -> Step {
        let act = dice.pick(&ACTS);
        let is_short = act == Act::Run || dice.below(4) == 0;
        let port = dice.pick(&[None, Some(PORTS[0]), Some(PORTS[1])]);
        let goes = dice.below(5) == 0 && (!is_short || act == Act::Run);
        let made = Made { is_short, port, goes };
        Step { act, name: dice.pick(&NAMES), other: dice.pick(&NAMES), made }
    }

    /// The words of the command; none where no command is meant.
    pub(super) fn words(&self) -> Vec<String> {
        let verb: &[&str] = match self.act {
            Act::Create => return self.making(&["create"]),
            Act::Run => return self.making(&["run"]),
            Act::RunDetached => return self.making(&["run", "-d"]),
            Act::Start => &["start"],
            Act::Stop => &["stop", "-t", "0"],
            Act::Kill => &["kill"],
            Act::Restart => &["restart", "-t", "0"],
            Act::Pause => &["pause"],
            Act::Unpause => &["unpause"],
            Act::Rename => &["rename"],
            Act::Rm => &["rm"],
            Act::RmForce => &["rm", "-f"],
            Act::Wait => &["wait"],
            Act::Exec => &["exec"],
            Act::KillMonitors => return Vec::new(),
        };
        let mut words: Vec<String> = verb.iter().map(|word| (*word).to_owned()).collect();
        words.push(self.name.to_owned());
        match self.act {
            Act::Rename => words.push(self.other.to_owned()),
            Act::Exec => words.push("true".to_owned()),
            _ => {}
        }
        words
    }

    fn making(&self, verb: &[&str]) -> Vec<String> {
        let mut words: Vec<String> = verb.iter().map(|word| (*word).to_owned()).collect();
        words.extend(["--name".to_owned(), self.name.to_owned()]);
        words.extend(self.made.port.iter().flat_map(|port| ["-p".to_owned(), format!("{port}:80")]));
        words.extend(self.made.goes.then(|| "--rm".to_owned()));
        let program: &[&str] = if self.made.is_short { &["sh", "-c", "exit 3"] } else { &["sleep", "600"] };
        words.push(BUSYBOX.to_owned());
        words.extend(program.iter().map(|word| (*word).to_owned()));
        words
    }
}

fn answer(code: i32) -> Answer {
    Answer { code, text: None, ends: false }
}

impl Model {
    /// Every container's state by its name.
    pub(super) fn states(&self) -> BTreeMap<&'static str, State> {
        self.0.iter().map(|(name, container)| (*name, container.state)).collect()
    }

    /// Whether somebody would wait for ever.
    pub(super) fn blocks(&self, step: &Step) -> bool {
        step.act == Act::Wait && self.0.get(step.name).is_some_and(|one| is_up(one.state))
    }

    /// Do it, and say what the command answers.
    pub(super) fn take(&mut self, step: &Step) -> Answer {
        match step.act {
            Act::Create | Act::Run | Act::RunDetached => self.make(step),
            Act::KillMonitors => {
                self.0.values_mut().filter(|one| is_up(one.state)).for_each(|one| one.is_orphan = true);
                answer(0)
            }
            Act::RmForce => {
                self.0.remove(step.name);
                answer(0)
            }
            _ if !self.0.contains_key(step.name) => answer(1),
            Act::Rename if self.0.contains_key(step.other) => answer(1),
            Act::Rename => {
                let container = self.0.remove(step.name).unwrap();
                self.0.insert(step.other, container);
                answer(0)
            }
            Act::Start => self.start(step.name),
            Act::Restart => {
                self.end(step.name, 137);
                // With --rm it goes with its end, and is not there to be started.
                if self.0.contains_key(step.name) { self.start(step.name) } else { answer(1) }
            }
            _ => self.change(step),
        }
    }

    /// The program that was awaited has ended by itself.
    pub(super) fn ended(&mut self, name: &str) {
        self.end(name, 3);
    }

    fn make(&mut self, step: &Step) -> Answer {
        if self.0.contains_key(step.name) {
            return answer(if step.act == Act::Create { 1 } else { 125 });
        }
        let taken = self.is_taken(step.made.port);
        let mut container = Container { state: State::Created, made: step.made, is_orphan: false };
        match step.act {
            Act::Create => {}
            // What cannot begin leaves nothing.
            _ if taken => return answer(125),
            Act::Run if step.made.goes => return answer(3),
            Act::Run => container.state = State::Exited(Some(3)),
            _ => container.state = State::Running,
        }
        self.0.insert(step.name, container);
        let ends = step.act == Act::RunDetached && step.made.is_short;
        Answer { ends, ..answer(if step.act == Act::Run { 3 } else { 0 }) }
    }

    fn is_taken(&self, port: Option<u16>) -> bool {
        port.is_some() && self.0.values().any(|one| is_up(one.state) && one.made.port == port)
    }

    fn start(&mut self, name: &str) -> Answer {
        let container = self.0[name];
        match container.state {
            State::Running => return answer(0),
            State::Paused => return answer(1),
            State::Created | State::Exited(_) => {}
        }
        let taken = self.is_taken(container.made.port);
        let container = self.0.get_mut(name).unwrap();
        if taken {
            if container.state != State::Created {
                container.state = State::Exited(None);
            }
            return answer(1);
        }
        container.state = State::Running;
        container.is_orphan = false;
        Answer { ends: container.made.is_short, ..answer(0) }
    }

    fn end(&mut self, name: &str, code: i32) {
        let Some(container) = self.0.get_mut(name).filter(|one| is_up(one.state)) else { return };
        container.state = State::Exited((!container.is_orphan).then_some(code));
        if container.made.goes {
            self.0.remove(name);
        }
    }

    /// What changes one container that is there.
    fn change(&mut self, step: &Step) -> Answer {
        let container = self.0.get_mut(step.name).unwrap();
        let state = container.state;
        match (step.act, state) {
            (Act::Pause, State::Running) => container.state = State::Paused,
            (Act::Unpause, State::Paused) => container.state = State::Running,
            (Act::Exec, State::Running) => {}
            (Act::Stop, _) | (Act::Kill, State::Running | State::Paused) => self.end(step.name, 137),
            (Act::Rm, State::Created | State::Exited(_)) => drop(self.0.remove(step.name)),
            (Act::Wait, State::Created) => return Answer { text: Some("0".to_owned()), ..answer(0) },
            (Act::Wait, State::Exited(code)) => {
                return Answer { text: code.map(|code| code.to_string()), ..answer(0) };
            }
            _ => return answer(1),
        }
        answer(0)
    }
}

fn is_up(state: State) -> bool {
    matches!(state, State::Running | State::Paused)
}
