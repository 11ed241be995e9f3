//! Random sequences of commands against a model of what a person expects, and storms of them from several sides.
//!
//! `RBOX_TEST_STEPS=5000 RBOX_TEST_SEED=7 cargo nextest run -p rbox model::` takes other sequences, and longer ones.

mod state;

use crate::support::{Dice, Host, Output, need};
use serde_json::Value;
use state::{Act, Model, NAMES, State, Step};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const STEPS: usize = 300;
/// Commands at once, and how many each of them gives in an ordinary run.
const SIDES: usize = 4;

fn steps(else_so_many: usize) -> usize {
    std::env::var("RBOX_TEST_STEPS").ok().and_then(|text| text.parse().ok()).unwrap_or(else_so_many)
}

/// A container as `ps -a` and `inspect` show it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    state: String,
    code: i64,
    address: String,
    ports: BTreeSet<String>,
}

#[test]
fn every_command_of_a_long_sequence_answers_as_a_person_expects() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&["-p", "8080:80"], &["true"]).ok();
    let (before, footprint) = (host.snapshot(), host.footprint());
    let mut dice = Dice::of("model");
    let mut model = Model::default();
    let mut told = Vec::new();
    for number in 1..=steps(STEPS) {
        let step = Step::draw(&mut dice);
        if model.blocks(&step) {
            continue;
        }
        told.push(format!("{number}: {}", step.words().join(" ")));
        let story = told[told.len().saturating_sub(12)..].join("\n");
        let answer = model.take(&step);
        let output = give(&host, &step);
        assert_eq!(output.code, answer.code, "{output}\nafter\n{story}");
        if let Some(text) = &answer.text {
            assert_eq!(output.text(), text, "{output}\nafter\n{story}");
        }
        if answer.ends {
            let waited = host.rbox(&["wait", step.name]);
            assert_eq!((waited.code, waited.text()), (0, "3"), "{waited}\nafter\n{story}");
            model.ended(step.name);
        }
        compare(&host, &model, &story);
    }
    remove_all(&host);
    assert_eq!(host.footprint(), footprint);
    host.assert_unchanged(&before);
}

/// Give the command; what is no command is done to the monitors.
fn give(host: &Host, step: &Step) -> Output {
    if step.act == Act::KillMonitors {
        return host.kill_monitors();
    }
    let words = step.words();
    host.rbox(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

#[track_caller]
fn compare(host: &Host, model: &Model, story: &str) {
    let shown = shown(host, story);
    let wanted = model.states();
    let names: Vec<&str> = shown.keys().map(String::as_str).collect();
    assert_eq!(names, wanted.keys().copied().collect::<Vec<_>>(), "after\n{story}");
    for (name, state) in wanted {
        let one = &shown[name];
        let word = match state {
            State::Created => "created",
            State::Running => "running",
            State::Paused => "paused",
            State::Exited(_) => "exited",
        };
        assert_eq!(one.state, word, "{name} after\n{story}");
        if let State::Exited(Some(code)) = state {
            assert_eq!(one.code, i64::from(code), "{name} after\n{story}");
        }
    }
    assert_apart(&shown, story);
}

/// What `ps -a` and `inspect` say, which is the same; they are asked again while something changes by itself.
#[track_caller]
fn shown(host: &Host, story: &str) -> BTreeMap<String, Shown> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let listed = host.rbox(&["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.State}}"]);
        assert!(listed.code == 0 && listed.stderr.is_empty(), "{listed}\nafter\n{story}");
        let rows: Vec<Vec<&str>> = listed.stdout.lines().map(|line| line.split(' ').collect()).collect();
        let names: BTreeSet<&str> = rows.iter().map(|row| row[1]).collect();
        assert_eq!(names.len(), rows.len(), "two have one name: {listed}\nafter\n{story}");
        let mut shown = BTreeMap::new();
        if !rows.is_empty() {
            let ids: Vec<&str> = rows.iter().map(|row| row[0]).collect();
            let inspected = host.rbox(&[&["inspect"], &ids[..]].concat());
            let all = if inspected.code == 0 { inspected.json() } else { Value::Null };
            shown = all.as_array().into_iter().flatten().map(one).collect();
        }
        if rows.len() == shown.len() && rows.iter().all(|row| shown.get(row[1]).is_some_and(|it| it.state == row[2])) {
            return shown;
        }
        assert!(Instant::now() < end, "ps and inspect differ: {listed}\n{shown:?}\nafter\n{story}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn one(inspected: &Value) -> (String, Shown) {
    let text = |pointer: &str| inspected.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let published = inspected.pointer("/NetworkSettings/Ports").and_then(Value::as_object);
    let bindings = published.into_iter().flat_map(|ports| ports.values()).filter_map(Value::as_array).flatten();
    let state = text("/State/Status");
    let is_up = inspected.pointer("/State/Running") == Some(&Value::Bool(true));
    assert_eq!(is_up, ["running", "paused", "restarting"].contains(&state.as_str()), "{inspected:#}");
    let shown = Shown {
        state,
        code: inspected.pointer("/State/ExitCode").and_then(Value::as_i64).unwrap_or(-1),
        address: text("/NetworkSettings/IPAddress"),
        ports: bindings.filter_map(|binding| Some(binding.get("HostPort")?.as_str()?.to_owned())).collect(),
    };
    (text("/Name").trim_start_matches('/').to_owned(), shown)
}

/// Those that run have an address, no two the same, and no two a port.
#[track_caller]
fn assert_apart(shown: &BTreeMap<String, Shown>, story: &str) {
    let up: Vec<&Shown> = shown.values().filter(|one| ["running", "paused"].contains(&one.state.as_str())).collect();
    let addresses: BTreeSet<&str> = up.iter().map(|one| one.address.as_str()).collect();
    assert!(addresses.len() == up.len() && !addresses.contains(""), "{shown:#?}\nafter\n{story}");
    let ports: Vec<&String> = up.iter().flat_map(|one| &one.ports).collect();
    assert_eq!(ports.len(), ports.iter().collect::<BTreeSet<_>>().len(), "{shown:#?}\nafter\n{story}");
}

fn remove_all(host: &Host) {
    let list = host.rbox(&["ps", "-aq"]).ok();
    let ids: Vec<&str> = list.stdout.lines().collect();
    if !ids.is_empty() {
        host.rbox(&[&["rm", "-f"], &ids[..]].concat()).ok();
    }
    assert_eq!(host.rbox(&["ps", "-aq"]).ok().text(), "");
}

#[test]
fn commands_from_several_sides_at_once_leave_each_container_in_one_state() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&["-p", "8080:80"], &["true"]).ok();
    let (before, footprint) = (host.snapshot(), host.footprint());
    let mut dice = Dice::of("storm");
    let each = steps(160) / SIDES;
    for storm in 0..4 {
        let seeds: Vec<u64> = (0..SIDES).map(|_| dice.below(1 << 30) as u64).collect();
        std::thread::scope(|scope| {
            let sides: Vec<_> = seeds.iter().map(|seed| scope.spawn(|| side(&host, *seed, each / 4))).collect();
            // An exec whose container was paused in the same moment waits until somebody lets it go on.
            while !sides.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                std::thread::sleep(Duration::from_millis(500));
                host.rbox(&[&["unpause"], &NAMES[..]].concat());
            }
            let done: usize = sides.into_iter().map(|side| side.join().unwrap()).sum();
            assert!(done >= SIDES, "only {done} commands did anything");
        });
        let told = format!("storm {storm}");
        // The next command takes up what the killed monitors left.
        host.run(&["-p", "8080:80"], &["true"]).ok();
        let shown = shown(&host, &told);
        assert!(shown.keys().all(|name| NAMES.contains(&name.as_str())), "{shown:?}");
        assert_apart(&shown, &told);
        for (name, one) in &shown {
            let answers = host.rbox(&["exec", name, "true"]).code;
            assert_eq!(answers == 0, one.state == "running", "{name} is {}, and exec answers {answers}", one.state);
        }
        remove_all(&host);
        assert_eq!(host.footprint(), footprint, "{told}");
    }
    host.assert_unchanged(&before);
}

/// Words that no person should read, however many others work at the same time.
const NEVER: [&str; 6] = ["panicked", "not what rbox wrote", "is lost", "No such file", "os error", "does not end"];

/// One of several who give commands. What each answers depends on the others; none hangs or breaks. How many succeeded.
fn side(host: &Host, seed: u64, count: usize) -> usize {
    let mut done = 0;
    let mut dice = Dice::new(seed);
    for _ in 0..count {
        let step = Step::draw(&mut dice);
        // Which may have to wait for ever.
        if step.act == Act::Wait {
            continue;
        }
        let began = Instant::now();
        let output = give(host, &step);
        // A container that is told to end has ten seconds; nobody waits for another command for so long.
        assert!(began.elapsed() < Duration::from_secs(9), "{output}\ntook {:?}", began.elapsed());
        // 137: what an exec ran was killed with its container.
        assert!([0, 1, 3, 125, 137].contains(&output.code), "{output}");
        assert!(!NEVER.iter().any(|words| output.stderr.contains(words)), "{output}");
        done += usize::from(output.code == 0);
    }
    done
}
