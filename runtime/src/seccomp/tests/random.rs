//! Random profiles: what the filter answers is what the profile means, for every call and many arguments.
//!
//! `RBOX_TEST_CASES=10000 RBOX_TEST_SEED=7 cargo nextest run -p rbox-runtime seccomp::tests::random` takes other
//! profiles, and more of them.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

use super::machine::{Call, KILL_THREAD, Machine};
use super::{Error, LinuxSeccomp, compile};
use crate::dice::{Dice, cases};
use crate::meaning::{ABIS, Abi, Meaning, X32_BIT, condition, numbers};

/// Actions, and whether they carry a number.
const ACTIONS: [(&str, bool); 8] = [
    ("SCMP_ACT_ERRNO", true),
    ("SCMP_ACT_TRACE", true),
    ("SCMP_ACT_ALLOW", false),
    ("SCMP_ACT_LOG", false),
    ("SCMP_ACT_TRAP", false),
    ("SCMP_ACT_KILL", false),
    ("SCMP_ACT_KILL_THREAD", false),
    ("SCMP_ACT_KILL_PROCESS", false),
];

/// Put an action in, under the names that a profile or a rule has for it.
fn act(dice: &mut Dice, into: &mut Value, action_key: &str, errno_key: &str) {
    let (action, carries) = dice.pick(&ACTIONS);
    into[action_key] = json!(action);
    if carries && dice.one_in(2) {
        into[errno_key] = json!(dice.pick(&[0, 1, 2, 38, 99, 4095]));
    }
}

/// Conditions on arguments that differ, or now and then alternatives for one argument.
fn conditions(dice: &mut Dice) -> Vec<Value> {
    let first = dice.below(6);
    let repeats = dice.one_in(5);
    let many = dice.pick(&[0, 0, 1, 1, 1, 2, 2, 3]);
    (0..many).map(|at| condition(dice, if repeats { first } else { (first + at * 5) % 6 })).collect()
}

fn rule(dice: &mut Dice, names: &[&str]) -> Value {
    let many = if dice.one_in(8) { 30 } else { 1 + dice.below(3) };
    let named: Vec<&str> = (0..many).map(|_| dice.pick(names)).collect();
    let mut rule = json!({ "names": named });
    act(dice, &mut rule, "action", "errnoRet");
    let conditions = conditions(dice);
    if !conditions.is_empty() || dice.one_in(3) {
        rule["args"] = json!(conditions);
    }
    rule
}

fn profile(dice: &mut Dice, names: &[&str]) -> Value {
    let mut profile = json!({});
    act(dice, &mut profile, "defaultAction", "defaultErrnoRet");
    let mut words: Vec<&str> = ABIS.iter().map(|abi| abi.word).filter(|_| dice.one_in(2)).collect();
    if dice.one_in(4) {
        words.push("SCMP_ARCH_NATIVE");
    }
    if !words.is_empty() || dice.one_in(2) {
        profile["architectures"] = json!(words);
    }
    // More than 32 names make a tree of it.
    let rules = dice.pick(&[1, 2, 5, 12, 40]);
    // A small set of names makes rules that overlap.
    let few: Vec<&str> = (0..3).map(|_| dice.pick(names)).collect();
    let overlaps = dice.one_in(3);
    let rules: Vec<Value> = (0..rules).map(|_| rule(dice, if overlaps { &few } else { names })).collect();
    profile["syscalls"] = json!(rules);
    profile
}

/// Numbers of no call, of no ABI, and at the ends of what a number can be.
const ODD: [u32; 7] = [601, 999, 9999, 0x1234_5678, 0x3fff_ffff, 0x4000_0400, 0x7fff_ffff];

#[test]
fn a_filter_answers_what_its_profile_means() {
    let Some(tables) = ABIS.iter().map(numbers).collect::<Option<Vec<_>>>() else {
        crate::skip::skip("it needs the headers of the package linux-libc-dev");
        return;
    };
    let names = tables.iter().flat_map(HashMap::keys).map(String::as_str).chain(["no_such_call"]);
    let names: Vec<&str> = names.collect::<BTreeSet<_>>().into_iter().collect();
    for mut case in cases(500) {
        let text = profile(&mut case.dice, &names);
        let parsed: LinuxSeccomp = serde_json::from_value(text.clone()).unwrap();
        let filter = match compile::compile(&parsed) {
            // Many names with many conditions on four architectures.
            Err(Error::TooLong { .. }) => continue,
            filter => filter.unwrap_or_else(|error| panic!("{error}: {text:#}")),
        };
        let listed: Vec<&str> =
            text["architectures"].as_array().into_iter().flatten().flat_map(Value::as_str).collect();
        for (abi, table) in ABIS.iter().zip(&tables) {
            // The machine's own is there also when it is not listed, as in runc.
            let native = abi.word == "SCMP_ARCH_X86_64";
            let is_listed =
                listed.contains(&abi.word) || native && (listed.is_empty() || listed.contains(&"SCMP_ARCH_NATIVE"));
            if native || is_listed {
                agrees(&filter.program, abi, &Meaning::of(&parsed, abi, is_listed, table), &mut case.dice, &text);
            } else {
                is_foreign(&filter.program, abi);
            }
        }
    }
}

fn agrees(program: &[u8], abi: &Abi, meaning: &Meaning, dice: &mut Dice, text: &Value) {
    let odd = ODD.into_iter().filter(|number| number & X32_BIT == abi.bit);
    for number in (0..=600).map(|number| number | abi.bit).chain(odd) {
        for args in meaning.arguments(number, dice) {
            let call = Call { arch: abi.audit, number, args };
            let (found, says) = (Machine::run(program, &call), meaning.says(number, &args));
            assert_eq!(found, says, "{} {call:x?}: {found:#x}, not {says:#x}: {text:#}", abi.word);
        }
    }
}

fn is_foreign(program: &[u8], abi: &Abi) {
    for number in [0, 1, 59, 600] {
        let call = Call::new(abi.audit, number | abi.bit, 0);
        assert_eq!(Machine::run(program, &call), KILL_THREAD, "{}, which is not listed: {call:x?}", abi.word);
    }
}
