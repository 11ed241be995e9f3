//! One command of the life cycle, killed after each of its steps: what is looked at after every kill.

use crate::support::{BUSYBOX, Dice, Host, Output, Snapshot, built_with};
use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// So many steps of one story are taken in an ordinary run; `RBOX_TEST_EVERY_STEP=1` takes all.
const STEPS_TAKEN: usize = 20;

/// Who is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Victim {
    Command,
    /// The monitor that the command starts.
    Monitor,
}

/// One command, and what is before and after it.
pub(super) struct Story<'a> {
    /// Done before, each time.
    pub(super) before: &'a [&'a [&'a str]],
    pub(super) words: &'a [&'a str],
    pub(super) victim: Victim,
    /// Done by others afterwards: it brings a monitor that lives still to its end. What they answer is not looked at.
    pub(super) then: &'a [&'a [&'a str]],
    /// The states that the container `cat` may have once the next command has come; "" when it is gone.
    pub(super) states: &'a [&'a str],
}

/// A host on which stories are told.
pub(super) struct Stage {
    pub(super) host: Host,
    program: String,
    before: Snapshot,
    footprint: Snapshot,
}

/// Every state that `ps` knows.
const STATES: [&str; 6] = ["created", "running", "paused", "restarting", "exited", "dead"];

impl Stage {
    pub(super) fn new() -> Stage {
        let host = Host::with_busybox();
        host.run(&["-p", "8080:80"], &["true"]).ok();
        let (before, footprint) = (host.snapshot(), host.footprint());
        Stage { host, program: built_with("crash-points", "rbox"), before, footprint }
    }

    /// Tell the story once to the end, which says how many steps it has, then kill it at each of them.
    pub(super) fn tell(&self, what: &str, story: &Story<'_>) {
        let keys = self.steps_of(story, || {});
        let steps = chosen(what, keys.len(), STEPS_TAKEN);
        eprintln!("{what}: {} steps, killed after {}", keys.len(), steps.len());
        for step in steps {
            let told = format!("{what}, killed after step {step} of {} ({})", keys.len(), keys[step - 1]);
            self.prepare(story);
            self.act(story, "AFTER", &step.to_string());
            self.look(&told);
            self.end(story);
            self.next_command(&told);
            let states = self.look(&told);
            let state = states.get("cat").or_else(|| states.get("dog")).map_or("", String::as_str);
            assert!(story.states.contains(&state), "{told}: it is `{state}`, not one of {:?}", story.states);
            self.clear(&told);
        }
        self.host.assert_unchanged(&self.before);
    }

    /// The story to its end, which says what steps it has. `clear_more` removes what is no container.
    pub(super) fn steps_of(&self, story: &Story<'_>, clear_more: impl Fn()) -> Vec<String> {
        let trace = self.host.path("trace");
        let _ = fs::remove_file(&trace);
        self.prepare(story);
        self.act(story, "TRACE", &trace.display().to_string()).ok();
        self.end(story);
        self.clear_with("nothing was killed", clear_more);
        let keys: Vec<String> = fs::read_to_string(&trace).unwrap_or_default().lines().map(str::to_owned).collect();
        assert!(!keys.is_empty(), "no steps: is the program built with crash-points?");
        keys
    }

    pub(super) fn prepare(&self, story: &Story<'_>) {
        for words in story.before {
            if let ["kill-monitors"] = words {
                self.kill_monitors();
            } else {
                self.host.rbox(words).ok();
            }
        }
    }

    /// The command itself, with a variable for who is to be killed.
    pub(super) fn act(&self, story: &Story<'_>, variable: &str, value: &str) -> Output {
        let words = self.host.rbox_words(story.words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = self.host.command(&self.program, &words);
        let whose = if story.victim == Victim::Monitor { "MONITOR_" } else { "" };
        command.env(format!("RBOX_CRASH_{whose}{variable}"), value).stdin(Stdio::null());
        self.host.finish(&mut command, &format!("rbox {} ({variable} {value})", story.words.join(" ")))
    }

    pub(super) fn end(&self, story: &Story<'_>) {
        for words in story.then {
            if let ["kill-monitors"] = words {
                self.kill_monitors();
            } else {
                self.host.rbox(words);
            }
        }
    }

    pub(super) fn kill_monitors(&self) {
        self.host.kill_monitors();
    }

    /// A command that has nothing to do with the story: it takes up, or cleans up, and says nothing about it.
    pub(super) fn next_command(&self, told: &str) {
        let next = self.host.run(&["-p", "8081:80"], &["true"]);
        assert!(next.code == 0 && next.stderr.is_empty(), "{told}: the next command: {next}");
    }

    /// Each container's state by its name: `ps -a` and `inspect` agree, or agree a moment later.
    #[track_caller]
    pub(super) fn look(&self, told: &str) -> BTreeMap<String, String> {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let listed = self.listed(told);
            let inspected: BTreeMap<String, String> =
                listed.keys().map(|name| (name.clone(), self.inspected(name))).collect();
            if listed == inspected {
                for (name, state) in &listed {
                    assert!(STATES.contains(&state.as_str()), "{told}: {name} is `{state}`");
                }
                return listed;
            }
            assert!(Instant::now() < end, "{told}: ps says {listed:?}, inspect {inspected:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn listed(&self, told: &str) -> BTreeMap<String, String> {
        let list = self.host.rbox(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
        assert!(list.code == 0 && list.stderr.is_empty(), "{told}: {list}");
        let mut states = BTreeMap::new();
        for line in list.stdout.lines() {
            let (name, state) = line.split_once(' ').unwrap_or_else(|| panic!("{told}: {list}"));
            assert!(
                states.insert(name.to_owned(), state.to_owned()).is_none(),
                "{told}: two are called {name}: {list}"
            );
        }
        states
    }

    fn inspected(&self, name: &str) -> String {
        self.host.rbox(&["inspect", "--format", "{{.State.Status}}", name]).text().to_owned()
    }

    /// `rm -f` of all: nothing of any of them is left.
    #[track_caller]
    pub(super) fn clear(&self, told: &str) {
        self.clear_with(told, || {});
    }

    /// The same, where `more` removes what is no container.
    #[track_caller]
    pub(super) fn clear_with(&self, told: &str, more: impl Fn()) {
        let list = self.host.rbox(&["ps", "-aq", "--no-trunc"]).ok();
        let ids: Vec<&str> = list.stdout.lines().collect();
        if !ids.is_empty() {
            // One with --rm may have gone by itself in between, so only the code is looked at.
            let removed = self.host.rbox(&[&["rm", "-f"], &ids[..]].concat());
            assert_eq!(removed.code, 0, "{told}: {removed}");
        }
        more();
        let end = Instant::now() + Duration::from_secs(20);
        while self.host.footprint() != self.footprint {
            let left = || format!("before {:?}\nafter {:?}", self.footprint, self.host.footprint());
            assert!(Instant::now() < end, "{told}: something is left:\n{}", left());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The whole host is as it was before the first story.
    #[track_caller]
    pub(super) fn assert_unchanged(&self) {
        self.host.assert_unchanged(&self.before);
    }
}

/// Which steps of so many: all of a short story; of a long one every n-th, shifted by the seed, `taken` at most.
pub(super) fn chosen(what: &str, count: usize, taken: usize) -> Vec<usize> {
    let stride = match std::env::var_os("RBOX_TEST_EVERY_STEP") {
        Some(_) => 1,
        None => count.div_ceil(taken),
    };
    let shift = if stride > 1 { Dice::of(what).below(stride) } else { 0 };
    (1..=count).skip(shift).step_by(stride).collect()
}

/// `run -d --name cat` with these flags and this program.
pub(super) fn detached<'a>(flags: &[&'a str], program: &[&'a str]) -> Vec<&'a str> {
    [&["run", "-d", "--name", "cat"], flags, &[BUSYBOX], program].concat()
}
