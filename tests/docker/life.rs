//! The life of a container side by side: steps that both engines take one after the other, each in its own host.
//!
//! ```text
//!   see    a command line: what it prints and its exit code are compared, under a name
//!   typed  the same, with something on its standard input
//!   during the same, in the background: once it has said something, another thing is done, and it ends by that
//!   host   a shell script of the host's is compared; `@engine` is the engine
//!   run    not compared: has to succeed
//!   ready  a container in the background, until its program has said `ready`
//!   until  wait until a command prints this line
//!   gone   wait until there is no such container
//! ```
//!
//! Nothing waits for a time: what the next step needs is waited for.

mod begin;
mod end;
mod listed;
mod output;

use super::engine::Engine;
use super::sight::{Sight, of_answer};
use super::{Answers, compare_all, known, lacks_docker};
use crate::support::{BUSYBOX, Output, need, skip};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

/// Words of a command line as a shell splits them; those that begin with @ are short for what [`SHORT`] says.
pub(super) type Words = &'static str;

/// One step; the drawing above says what each does.
#[derive(Clone, Copy)]
pub(super) enum Step {
    See(&'static str, Sight, Words),
    Typed(&'static str, Sight, &'static str, Words),
    During(&'static str, Words, &'static str, Then),
    Host(&'static str, &'static str),
    Run(Words),
    Ready(&'static str, Words, Words),
    Until(Words, &'static str),
    Gone(&'static str),
}

/// What is done to a command in the background, so that it ends.
#[derive(Clone, Copy)]
pub(super) enum Then {
    Words(Words),
    Signal(Signal),
}

/// What is too long, or too often said, to stand in the tables.
const SHORT: &[(&str, &str)] = &[
    ("@image", BUSYBOX),
    // Ends with 5 when it is asked to, with 6 after SIGUSR1.
    (
        "@polite",
        "sh -c 'trap \"echo bye; exit 5\" TERM; trap \"echo usr; exit 6\" USR1; echo ready; sleep 1000 & wait'",
    ),
    // Says so again and again, until it is asked to end.
    ("@ticking", "sh -c 'trap \"echo bye; exit 4\" TERM; while :; do echo tick; sleep 1 & wait; done'"),
    // The first process of a container does not hear a SIGTERM that it does not ask for.
    ("@deaf", "sh -c 'echo ready; exec sleep 1000'"),
    (
        "@state",
        "inspect -f '{{.State.Status}} running={{.State.Running}} paused={{.State.Paused}} \
         restarting={{.State.Restarting}} oom={{.State.OOMKilled}} dead={{.State.Dead}} code={{.State.ExitCode}} \
         restarts={{.RestartCount}} pid={{if .State.Pid}}some{{end}} error={{if .State.Error}}some{{end}} \
         from {{.State.StartedAt}} to {{.State.FinishedAt}}'",
    ),
    ("@end", "inspect -f '{{.State.Status}} {{.State.ExitCode}}'"),
    ("@status", "inspect -f {{.State.Status}}"),
    ("@names", "--format {{.Names}}"),
    // Serves both families.
    ("@with-probe", "-v @probe:/probe:ro"),
    ("@server", "/probe serve 80 6"),
];

#[test]
fn life_side_by_side_with_docker() {
    need!(Root, Iptables);
    if let Some(reason) = lacks_docker() {
        skip(&reason);
        return;
    }
    compare_all(Engine::docker, everything, &known::LIFE.iter().collect::<Vec<_>>());
}

fn everything(engine: &Engine) -> Answers {
    engine.load_with_stop_signal("busybox-usr1", "SIGUSR1");
    play(engine, all_steps())
}

/// What an engine answers to these steps.
pub(super) fn play(engine: &Engine, steps: impl IntoIterator<Item = Step>) -> Answers {
    let private = engine.host.path("").display().to_string();
    let mut life = Life { engine, private: private.trim_end_matches('/'), answers: Answers::new() };
    steps.into_iter().for_each(|step| life.take(step));
    life.answers
}

fn all_steps() -> impl Iterator<Item = Step> {
    [begin::STEPS, end::STEPS, output::STEPS, listed::STEPS].concat().into_iter()
}

struct Life<'e> {
    engine: &'e Engine,
    private: &'e str,
    answers: Answers,
}

impl Life<'_> {
    fn take(&mut self, step: Step) {
        match step {
            Step::See(name, sight, words) => self.see(name, sight, &self.say(words)),
            Step::Typed(name, sight, input, words) => {
                let output = self.engine.typed(input, &strs(&split(words)));
                self.see(name, sight, &output);
            }
            Step::During(name, words, says, then) => self.during(name, (words, says), then),
            Step::Host(name, script) => self.see(name, Sight::Text, &self.engine.script(&in_full(script))),
            Step::Run(words) => drop(self.run(words)),
            Step::Ready(name, flags, program) => {
                let (begun, logs) =
                    (self.run(&format!("run -d --name {name} {flags} @image {program}")), format!("logs {name}"));
                if begun { self.until(&logs, "ready") } else { self.complain(&logs, None) }
            }
            Step::Until(words, line) => self.until(words, line),
            Step::Gone(name) => {
                let here = format!("inspect -f '{{{{.Name}}}}' {name}");
                self.wait_for(&here, |output| output.code != 0);
            }
        }
    }

    fn say(&self, words: &str) -> Output {
        self.engine.words(&strs(&split(words)))
    }

    fn see(&mut self, name: &str, sight: Sight, output: &Output) {
        self.answers.push((name.to_owned(), of_answer(sight, output, self.private)));
    }

    /// Something that has to succeed did not. Each engine says its own name, so that it is a difference even when it
    /// happens to both.
    fn complain(&mut self, words: &str, output: Option<&Output>) {
        let who = if self.engine.is_docker() { "docker" } else { "rbox" };
        let what = output.map(|output| format!("{who} did not do this: {output}"));
        self.answers.push((format!("preparing: {words}"), what.into_iter().collect()));
    }

    /// Whether it has succeeded, as it has to.
    fn run(&mut self, words: &str) -> bool {
        let output = self.say(words);
        let done = output.code == 0;
        self.complain(words, Some(output).filter(|_| !done).as_ref());
        done
    }

    /// The whole output of a command in the background; when it has said `says`, `then` is done.
    fn during(&mut self, name: &str, (words, says): (Words, &str), then: Then) {
        let mut running = self.engine.spawn(&strs(&split(words)));
        let heard = if says.is_empty() { String::new() } else { running.wait_for(says) };
        match then {
            Then::Words(words) => drop(self.run(words)),
            Then::Signal(signal) => running.signal(signal),
        }
        let rest = running.wait();
        self.see(name, Sight::Once, &Output { stdout: heard + &rest.stdout, ..rest });
    }

    /// Wait until one line of what a command prints is this.
    fn until(&mut self, words: &str, line: &str) {
        self.wait_for(words, |output| output.stdout.lines().any(|one| one.trim_end() == line));
    }

    fn wait_for(&mut self, words: &str, is_there: impl Fn(&Output) -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        let mut output = self.say(words);
        while !is_there(&output) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
            output = self.say(words);
        }
        self.complain(words, Some(output).filter(|output| !is_there(output)).as_ref());
    }
}

fn strs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

fn in_full(line: &str) -> String {
    SHORT.iter().fold(line.to_owned(), |line, (short, long)| line.replace(short, long))
}

/// The words of a line, with what is short for others replaced: split at spaces but within single quotes.
fn split(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    for letter in in_full(line).chars() {
        match letter {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

#[test]
fn words_are_split_as_a_shell_splits_them() {
    assert_eq!(split("a  'b c' ''  d'e f'"), ["a", "b c", "", "de f"]);
    assert_eq!(split("run @image true"), ["run", BUSYBOX, "true"]);
}

#[test]
fn each_step_of_a_life_has_a_name_of_its_own() {
    let mut names: Vec<&str> = Vec::new();
    for step in all_steps() {
        if let Step::See(name, ..) | Step::Typed(name, ..) | Step::During(name, ..) | Step::Host(name, _) = step {
            assert!(!names.contains(&name), "{name} stands there twice");
            names.push(name);
        }
    }
}
