//! Random seccomp profiles, loaded into the kernel: each call is answered as the profile means it.
//!
//! `RBOX_TEST_CASES=1000 RBOX_TEST_SEED=7 cargo nextest run -p rbox oci_seccomp::` takes other profiles, and more.

use crate::support::meaning::{ABIS, ALLOW, Meaning, condition, numbers};
use crate::support::{Dice, Oci, cases, need, skip};
use oci_spec::runtime::LinuxSeccomp;
use serde_json::{Value, json};

/// Calls that change nothing, by name, with the arguments that the probe chooses (the others are 0): none of them
/// is made by a program on its way to the probe's verb, nor at its end.
const CALLS: [(&str, &[usize]); 4] =
    [("lseek", &[1]), ("ftruncate", &[1]), ("fadvise64", &[1, 2]), ("fallocate", &[2, 3])];

/// What no call of these answers by itself.
const ERRNOS: [(u32, &str); 5] =
    [(61, "ENODATA"), (62, "ETIME"), (71, "EPROTO"), (74, "EBADMSG"), (113, "EHOSTUNREACH")];

fn act(dice: &mut Dice, rule: &mut Value, keys: (&str, &str)) {
    rule[keys.0] =
        json!(dice.pick(&["SCMP_ACT_ERRNO", "SCMP_ACT_ERRNO", "SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW", "SCMP_ACT_TRACE"]));
    if rule[keys.0] == "SCMP_ACT_ERRNO" {
        rule[keys.1] = json!(dice.pick(&ERRNOS).0);
    }
}

/// Everything else is let through, by the default or by name.
fn profile(dice: &mut Dice, others: &[&String]) -> Value {
    let mut profile = json!({ "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"] });
    let mut rules = Vec::new();
    if dice.one_in(2) {
        profile["defaultAction"] = json!("SCMP_ACT_ALLOW");
    } else {
        act(dice, &mut profile, ("defaultAction", "defaultErrnoRet"));
        rules.push(json!({ "names": others, "action": "SCMP_ACT_ALLOW" }));
    }
    for _ in 0..2 + dice.below(8) {
        let (name, arguments) = dice.pick(&CALLS);
        let mut rule = json!({ "names": [name] });
        act(dice, &mut rule, ("action", "errnoRet"));
        let many = if dice.one_in(6) { 0 } else { 1 + dice.below(2) };
        let conditions: Vec<Value> = (0..many)
            .map(|_| {
                let index = dice.pick(arguments);
                condition(dice, index)
            })
            .collect();
        rule["args"] = json!(conditions);
        rules.push(rule);
    }
    profile["syscalls"] = json!(rules);
    profile
}

/// The probe's word for one call, and its arguments as the filter sees them.
fn call(dice: &mut Dice, meaning: &Meaning, number: u32, which: usize) -> (String, [u64; 6]) {
    let (name, chosen) = CALLS[which];
    let tries = meaning.arguments(number, dice);
    let tried = dice.pick(&tries);
    let mut args = [0; 6];
    chosen.iter().for_each(|index| args[*index] = tried[*index]);
    let words: Vec<String> = chosen.iter().map(|index| args[*index].cast_signed().to_string()).collect();
    (format!("{name}:{}", words.join(":")), args)
}

#[test]
fn the_kernel_answers_what_the_profile_means() {
    need!(Root, OurRuntime); // runc's filters are libseccomp's, which 2.5 makes wrong (docs/runc-differences.md)
    let Some(table) = numbers(&ABIS[0]).filter(|_| cfg!(target_arch = "x86_64")) else {
        skip("it needs the headers of the package linux-libc-dev, on x86-64");
        return;
    };
    let mut others: Vec<&String> = table.keys().filter(|name| CALLS.iter().all(|(known, _)| known != name)).collect();
    others.sort();
    let oci = Oci::new();
    for mut case in cases(25) {
        let dice = &mut case.dice;
        let profile = profile(dice, &others);
        let parsed: LinuxSeccomp = serde_json::from_value(profile.clone()).unwrap();
        let meaning = Meaning::of(&parsed, &ABIS[0], true, &table);
        let calls: Vec<_> = (0..120)
            .map(|_| {
                let which = dice.below(CALLS.len());
                let number = table[CALLS[which].0];
                (call(dice, &meaning, number, which), number)
            })
            .collect();
        let bundle = |filter: Option<&Value>| {
            oci.bundle(|spec| {
                let words = ["/probe", "calls"].into_iter().chain(calls.iter().map(|((words, _), _)| words.as_str()));
                spec["process"]["args"] = json!(words.collect::<Vec<_>>());
                if let Some(filter) = filter {
                    spec["linux"]["seccomp"] = filter.clone();
                }
            })
        };
        let free = oci.run(&bundle(None)).ok().json();
        let answers = oci.run(&bundle(Some(&profile))).ok().json();
        for (at, ((words, args), number)) in calls.iter().enumerate() {
            let says = meaning.says(*number, args);
            let expected = match says {
                ALLOW => free[at].clone(),
                // Without a tracer: seccomp(2).
                0x7ff0_0000.. => json!("ENOSYS"),
                errno => json!(ERRNOS.iter().find(|(number, _)| errno == 0x5_0000 | number).unwrap().1),
            };
            assert_eq!(answers[at], expected, "{words}, {says:#x}: {profile:#}");
        }
    }
}
