//! Random sequences of commands about networks, and about containers in them, against a model of what a person expects; and
//! storms of them from several sides, some killed at any moment.
//!
//! `RBOX_TEST_STEPS=5000 RBOX_TEST_SEED=7 cargo nextest run -p rbox model_networks::` takes other sequences, and longer ones.

mod state;

use crate::support::{Dice, Host, Output, Placed, Snapshot, need};
use state::{Act, Expected, Model, NAMES, NETWORKS, Step};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const STEPS: usize = 300;
/// After so many steps everybody who can tell of it is asked; after each only some.
const ASK_ALL: usize = 15;
/// Commands at once.
const SIDES: usize = 4;
/// The storm has a pause after so many commands, in which all is looked at.
const STORM: usize = 60;

fn steps(else_so_many: usize) -> usize {
    std::env::var("RBOX_TEST_STEPS").ok().and_then(|text| text.parse().ok()).unwrap_or(else_so_many)
}

/// A host on which there was a container once, and what is there with none.
fn stage() -> (Host, Snapshot, Snapshot) {
    let host = Host::with_busybox();
    host.run(&["-p", "8080:80"], &["true"]).ok();
    let (before, footprint) = (host.snapshot(), host.footprint());
    (host, before, footprint)
}

#[test]
fn every_command_about_networks_answers_as_a_person_expects() {
    need!(Root);
    let (host, before, footprint) = stage();
    let mut dice = Dice::of("model of networks");
    let mut model = Model::default();
    let mut told = Vec::new();
    let mut done: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for number in 1..=steps(STEPS) {
        let step = Step::draw(&mut dice);
        told.push(format!("{number}: {:?} {}", step.act, step.words().join(" ")));
        let story = told[told.len().saturating_sub(15)..].join("\n");
        let code = model.take(&step);
        let output = give(&host, &step);
        assert_eq!(output.code, code, "{output}\nafter\n{story}");
        let count = done.entry(format!("{:?}", step.act)).or_default();
        *count = (count.0 + usize::from(code == 0), count.1 + 1);
        if number % ASK_ALL == 0 {
            compare_all(&host, &model, &story);
        } else {
            compare(&host, &model, &story);
        }
    }
    eprintln!("done, of so many: {done:?}");
    assert!(
        done.values().map(|count| count.0).sum::<usize>() > steps(STEPS) / 3,
        "too little was done to tell anything"
    );
    remove_all(&host);
    assert_eq!(host.footprint(), footprint);
    host.assert_unchanged(&before);
}

/// Give the command; what is no command is done to the monitors.
fn give(host: &Host, step: &Step) -> Output {
    if step.act == Act::KillMonitors {
        return host.kill_monitors();
    }
    host.rbox(&step.words().iter().map(String::as_str).collect::<Vec<_>>())
}

#[track_caller]
fn compare(host: &Host, model: &Model, story: &str) {
    assert_eq!(shown(host.places(story)), model.expected(), "after\n{story}");
}

#[track_caller]
fn compare_all(host: &Host, model: &Model, story: &str) {
    let networks = host.rbox(&["network", "ls", "--filter", "type=custom", "--format", "{{.Name}}"]).ok();
    assert_eq!(networks.stdout.lines().collect::<Vec<_>>(), model.networks(), "after\n{story}");
    assert_eq!(shown(host.agreed_places(story)), model.expected(), "after\n{story}");
}

fn shown(all: BTreeMap<String, Placed>) -> BTreeMap<String, Expected> {
    let ports = |one: &Placed| one.ports.iter().map(|(outside, _)| *outside).collect();
    all.into_iter().map(|(name, one)| (name, (ports(&one), one.state, one.places))).collect()
}

fn remove_all(host: &Host) {
    host.rbox(&[&["rm", "-f"], &NAMES[..]].concat()).ok();
    host.rbox(&[&["network", "rm", "-f"], &NETWORKS[..]].concat()).ok();
    assert_eq!(host.rbox(&["ps", "-aq"]).ok().text(), "");
}

#[test]
fn a_storm_about_networks_with_kill_9_leaves_one_story() {
    need!(Root);
    let (host, before, footprint) = stage();
    let mut dice = Dice::of("storm of networks");
    let storms = steps(STORM * 3).div_ceil(STORM);
    let mut done = 0;
    for storm in 1..=storms {
        let seeds: Vec<u64> = (0..SIDES).map(|_| dice.below(1 << 30) as u64).collect();
        done += std::thread::scope(|scope| {
            let sides: Vec<_> = seeds.iter().map(|seed| scope.spawn(|| side(&host, *seed))).collect();
            sides.into_iter().map(|side| side.join().unwrap()).sum::<usize>()
        });
        let told = format!("storm {storm} of {storms}, seeds {seeds:?}");
        // The next command takes up, or cleans up, what the killed have left.
        let next = host.run(&["-p", "8080:80"], &["true"]);
        assert!(next.code == 0 && next.stderr.is_empty(), "{told}: {next}");
        let places = host.agreed_places(&told);
        assert!(places.keys().all(|name| NAMES.contains(&name.as_str())), "{told}: {places:#?}");
        if storm % 3 == 0 || storm == storms {
            remove_all(&host);
            assert_eq!(host.footprint(), footprint, "{told}");
        }
    }
    assert!(done >= storms * SIDES, "only {done} commands did anything");
    eprintln!("{storms} storms, {done} commands did something");
    host.assert_unchanged(&before);
}

/// Words that no person should read, however many others work at the same time.
const NEVER: [&str; 6] = ["panicked", "not what rbox wrote", "is lost", "No such file", "os error", "does not end"];

/// One of several who give commands. What each answers depends on the others; none hangs or breaks. How many succeeded.
fn side(host: &Host, seed: u64) -> usize {
    let mut done = 0;
    let mut dice = Dice::new(seed);
    for _ in 0..STORM / SIDES {
        let step = Step::draw(&mut dice);
        let words = step.words();
        if !words.is_empty() && dice.one_in(4) {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            host.rbox_killed_after(&words, Duration::from_micros(dice.below(60_000) as u64));
            continue;
        }
        let began = Instant::now();
        let output = give(host, &step);
        assert!(began.elapsed() < Duration::from_secs(9), "{output}\ntook {:?}", began.elapsed());
        assert!([0, 1, 125].contains(&output.code), "{output}");
        assert!(!NEVER.iter().any(|words| output.stderr.contains(words)), "{output}");
        done += usize::from(output.code == 0);
    }
    done
}
