//! Filters run in a small machine and compared with what their profile says, read by other code than the compiler.

use std::collections::HashMap;

use oci_spec::runtime::Arch;

use super::*;

mod machine;
mod random;

use machine::{Call, KILL_THREAD, Machine};

use crate::meaning::{AARCH64, ALLOW, ENOSYS, I386, X32_BIT, X86_64, answer, header, holds};

/// The rules of the profile by name, looked up once.
struct Meaning<'a> {
    profile: &'a LinuxSeccomp,
    rules: HashMap<&'a str, Vec<&'a oci_spec::runtime::LinuxSyscall>>,
}

impl<'a> Meaning<'a> {
    fn of(profile: &'a LinuxSeccomp) -> Meaning<'a> {
        let mut rules: HashMap<&str, Vec<_>> = HashMap::new();
        for rule in profile.syscalls().iter().flatten() {
            for name in rule.names() {
                rules.entry(name).or_default().push(rule);
            }
        }
        Meaning { profile, rules }
    }

    /// The highest number that the profile speaks of.
    fn last(&self, calls: &HashMap<u32, Vec<String>>) -> u32 {
        let known = calls.iter().filter(|(_, names)| names.iter().any(|name| self.rules.contains_key(&**name)));
        known.map(|(number, _)| *number).max().unwrap()
    }

    fn says(&self, calls: &HashMap<u32, Vec<String>>, last: u32, call: &Call) -> u32 {
        if call.number > last {
            return ENOSYS;
        }
        let rules = calls.get(&call.number).into_iter().flatten().filter_map(|name| self.rules.get(&**name)).flatten();
        let holds = |condition| holds(condition, &call.args, |value| value);
        match rules.rev().find(|rule| rule.args().iter().flatten().all(holds)) {
            Some(rule) => answer(rule.action(), rule.errno_ret()),
            None => answer(self.profile.default_action(), self.profile.default_errno_ret()),
        }
    }
}

const FIRST_ARGUMENTS: [u64; 17] =
    [0, 1, 8, 9, 11, 12, 13, 16, 17, 38, 39, 40, 45, 0x2_0000, 0x2_0008, 0x0002_0000 | 17, 0x1000_0000];

fn compare(profile: &LinuxSeccomp, program: &[u8]) {
    let all = [(X86_64, "unistd_64.h", 0), (X86_64, "unistd_x32.h", X32_BIT), (I386, "unistd_32.h", 0)];
    compare_on(profile, program, &all);
}

/// On each ABI: the kernel's name for its architecture, its header, its bit in the numbers.
fn compare_on(profile: &LinuxSeccomp, program: &[u8], abis: &[(u32, &str, u32)]) {
    let meaning = Meaning::of(profile);
    for &(arch, name, bit) in abis {
        let Some(calls) = header(&format!("x86_64-linux-gnu/asm/{name}")) else {
            crate::skip::skip(&format!("it needs asm/{name} of the package linux-libc-dev"));
            return;
        };
        let last = meaning.last(&calls);
        for number in 0..600 {
            for first in FIRST_ARGUMENTS.into_iter().chain([
                0xffff_ffff,
                0x7e02_0000,
                0x1_0000_0001,
                0x1_0000_0002,
                0x0100_0000_0000_0000,
            ]) {
                // The two 32-bit ABIs have no such arguments, and the library compares 32 bits for them.
                if name != "unistd_64.h" && first > u64::from(u32::MAX) {
                    continue;
                }
                let call = Call::new(arch, number | bit, first);
                let expected = meaning.says(&calls, last, &call);
                let found = Machine::run(program, &call);
                let names = calls.get(&call.number);
                assert_eq!(found, expected, "{name} {number} {names:?} ({first:#x}): {found:#x}, not {expected:#x}");
            }
        }
    }
    assert_eq!(Machine::run(program, &Call::new(AARCH64, 1, 0)), KILL_THREAD, "an architecture of another family");
}

fn usual() -> LinuxSeccomp {
    profile::usual("x86_64")
}

#[test]
fn the_built_in_filter_does_what_docker_s_profile_says() {
    compare(&usual(), DEFAULT_FILTER);
    assert_eq!(DEFAULT_FILTER.len() % 8, 0);
    assert!(DEFAULT_FILTER.len() / 8 <= 4096);
}

#[test]
fn every_capability_opens_its_own_calls() {
    let every = ["SYS_ADMIN", "SYS_BOOT", "SYS_PTRACE", "SYSLOG", "BPF", "PERFMON", "SYS_TIME", "DAC_READ_SEARCH"];
    let every: Vec<Capability> =
        every.iter().map(|name| serde_json::from_value(format!("CAP_{name}").into()).unwrap()).collect();
    for count in [0, 1, every.len()] {
        let profile = default_profile(&every[..count].iter().copied().collect());
        compare(&profile, &cached(&profile, None).unwrap().program);
    }
}

#[test]
fn calls_that_a_container_lives_and_dies_by() {
    let say = |number: u32, first: u64| Machine::run(DEFAULT_FILTER, &Call::new(X86_64, number, first));
    let eperm = 0x0005_0001;
    for (number, first, expected, what) in [
        (0, 0, ALLOW, "read"),
        (59, 0, ALLOW, "execve"),
        (41, 2, ALLOW, "socket(AF_INET)"),
        (41, 16, ALLOW, "socket(AF_NETLINK)"),
        (41, 38, eperm, "socket(AF_ALG)"),
        (41, 40, eperm, "socket(AF_VSOCK)"),
        (56, 0x0120_0011, ALLOW, "clone for fork"),
        (56, 0x1000_0011, eperm, "clone(CLONE_NEWUSER)"),
        (435, 0, ENOSYS, "clone3"),
        (165, 0, eperm, "mount"),
        (272, 0, eperm, "unshare"),
        (246, 0, eperm, "kexec_load"),
        (250, 0, eperm, "keyctl"),
        (135, 0xffff_ffff, ALLOW, "personality(query)"),
        (135, 0x0040_0000, eperm, "personality(READ_IMPLIES_EXEC)"),
        (425, 0, eperm, "io_uring_setup"),
        (462, 0, ALLOW, "mseal"),
        (335, 0, ALLOW, "uretprobe"),
        (459, 0, eperm, "lsm_get_self_attr"),
        (999, 0, ENOSYS, "a call of the future"),
    ] {
        assert_eq!(say(number, first), expected, "{what}");
    }
}

#[test]
fn the_profile_for_the_usual_capabilities_is_not_compiled_again() {
    let capabilities = HashSet::from(crate::capabilities::DEFAULT);
    let profile = default_profile(&capabilities);
    assert!(DEFAULT_DIGEST.starts_with(&cache::digest(&profile)));
    // Through the text of a config.json it is still the same profile.
    let text = serde_json::to_string(&profile).unwrap();
    let again: LinuxSeccomp = serde_json::from_str(&text).unwrap();
    assert_eq!(cached(&again, None).unwrap(), compile::compile(&profile).unwrap());
}

fn profile_of(text: &str) -> LinuxSeccomp {
    serde_json::from_str(text).unwrap()
}

#[test]
fn every_operator_and_action_means_what_the_spec_says() {
    let rule = |name: &str, action: &str, op: &str, value: u64, two: u64| {
        let errno = if ["SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"].contains(&action) { r#""errnoRet":7,"# } else { "" };
        format!(
            r#"{{"names":["{name}"],"action":"{action}",{errno}
               "args":[{{"index":0,"value":{value},"valueTwo":{two},"op":"SCMP_CMP_{op}"}}]}}"#
        )
    };
    let rules = [
        rule("read", "SCMP_ACT_ERRNO", "NE", 8, 0),
        rule("write", "SCMP_ACT_ALLOW", "LT", 12, 0),
        rule("open", "SCMP_ACT_LOG", "LE", 12, 0),
        rule("close", "SCMP_ACT_TRAP", "EQ", 0xffff_ffff, 0),
        rule("dup", "SCMP_ACT_KILL_PROCESS", "GE", 12, 0),
        rule("pipe", "SCMP_ACT_KILL", "GT", 12, 0),
        rule("lseek", "SCMP_ACT_TRACE", "MASKED_EQ", 0xff, 0x10),
        rule("access", "SCMP_ACT_KILL_THREAD", "EQ", 1, 0),
        r#"{"names":["umask"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"},
            {"index":1,"value":0,"op":"SCMP_CMP_EQ"}]}"#
            .to_owned(),
        r#"{"names":["mseal","futex_waitv"],"action":"SCMP_ACT_ALLOW"}"#.to_owned(),
    ];
    let profile = profile_of(&format!(
        r#"{{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":99,
           "architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32"],"syscalls":[{}]}}"#,
        rules.join(",")
    ));
    compare(&profile, &compile::compile(&profile).unwrap().program);
}

#[test]
fn two_conditions_on_one_argument_are_alternatives() {
    let profile = profile_of(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["personality"],"action":"SCMP_ACT_ALLOW","args":[
            {"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":0,"value":8,"op":"SCMP_CMP_EQ"}]}]}"#,
    );
    let program = compile::compile(&profile).unwrap().program;
    for (first, expected) in [(1, ALLOW), (8, ALLOW), (2, 0x0005_0001)] {
        assert_eq!(Machine::run(&program, &Call::new(X86_64, 135, first)), expected);
    }
}

#[test]
fn where_the_default_lets_calls_through_new_ones_go_through_too() {
    for (default, new) in [("ALLOW", ALLOW), ("LOG", 0x7ffc_0000), ("ERRNO", ENOSYS), ("KILL", ENOSYS)] {
        let profile = profile_of(&format!(
            r#"{{"defaultAction":"SCMP_ACT_{default}","architectures":["SCMP_ARCH_X86_64"],
               "syscalls":[{{"names":["mseal","no_such_call"],"action":"SCMP_ACT_ERRNO","errnoRet":5}}]}}"#
        ));
        let program = compile::compile(&profile).unwrap().program;
        assert_eq!(Machine::run(&program, &Call::new(X86_64, 462, 0)), 0x0005_0005, "{default}: mseal");
        assert_eq!(Machine::run(&program, &Call::new(X86_64, 999, 0)), new, "{default}: a call of the future");
    }
}

#[test]
fn flags_are_passed_on() {
    let flags = |flags: &str, action: &str| {
        let text = format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW"{flags},"syscalls":[{{"names":["mount"],"action":"{action}"}}]}}"#
        );
        compile::compile(&profile_of(&text)).unwrap().flags
    };
    let kill = "SCMP_ACT_KILL";
    assert_eq!(flags("", kill), 4, "as runc where nothing is said");
    assert_eq!(flags(r#","flags":[]"#, kill), 0);
    assert_eq!(flags(r#","flags":["SECCOMP_FILTER_FLAG_LOG","SECCOMP_FILTER_FLAG_SPEC_ALLOW"]"#, kill), 6);
    assert_eq!(flags(r#","flags":["SECCOMP_FILTER_FLAG_TSYNC"]"#, kill), 0, "one thread");
    let wait = r#","flags":["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]"#;
    assert_eq!(flags(wait, kill), 0);
    assert_eq!(flags(wait, "SCMP_ACT_NOTIFY"), 40);
}

#[test]
fn profiles_that_cannot_work_are_refused_by_name() {
    for (text, expected) in [
        (
            r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#,
            "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be the default",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["write"],"action":"SCMP_ACT_NOTIFY"}]}"#,
            "linux.seccomp.syscalls: SCMP_ACT_NOTIFY cannot be used for write",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_S390X"]}"#,
            "linux.seccomp.architectures: SCMP_ARCH_S390X has another byte order than this machine",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mount"],"action":"SCMP_ACT_KILL",
               "args":[{"index":6,"value":1,"op":"SCMP_CMP_EQ"}]}]}"#,
            "linux.seccomp.syscalls[0].args[0].index: mount has no argument 6: a system call has at most 6",
        ),
    ] {
        assert_eq!(compile::compile(&profile_of(text)).unwrap_err().to_string(), expected);
    }
}

/// config-linux.md#seccomp: "the runtime MUST print and error and fail if this property is set".
#[test]
fn an_errno_of_an_action_that_takes_none_is_refused() {
    for action in ["ALLOW", "LOG", "TRAP", "KILL", "KILL_THREAD", "KILL_PROCESS"] {
        let refused = |text: &str| compile::compile(&profile_of(text)).unwrap_err().to_string();
        let default = format!(r#"{{"defaultAction":"SCMP_ACT_{action}","defaultErrnoRet":0}}"#);
        let words = format!("linux.seccomp.defaultErrnoRet: SCMP_ACT_{action} takes none");
        assert_eq!(refused(&default), words);
        let rule = format!(r#"{{"names":["mount"],"action":"SCMP_ACT_{action}","errnoRet":1}}"#);
        let rules = format!(r#"{{"names":["read"],"action":"SCMP_ACT_LOG"}},{rule}"#);
        let words = format!("linux.seccomp.syscalls[1].errnoRet: SCMP_ACT_{action} takes none");
        assert_eq!(refused(&format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{rules}]}}"#)), words);
    }
    for (action, errno, highest) in
        [("ERRNO", 4095, true), ("ERRNO", 4096, false), ("TRACE", 65535, true), ("TRACE", 65536, false)]
    {
        let text = format!(r#"{{"defaultAction":"SCMP_ACT_{action}","defaultErrnoRet":{errno}}}"#);
        let made = compile::compile(&profile_of(&text));
        let words = format!("linux.seccomp.defaultErrnoRet: {errno} is above {}, the highest there is", errno - 1);
        assert_eq!(made.map_err(|error| error.to_string()).err(), (!highest).then_some(words));
    }
    // What podman writes: no number is no number.
    compile::compile(&profile_of(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","defaultErrnoRet":null,
        "syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG","errnoRet":null}]}"#,
    ))
    .unwrap();
}

/// libseccomp 2.5.4 answers the last of these with the first rule, though its own listing of the filter says otherwise.
#[test]
fn a_rule_that_does_not_hold_decides_nothing() {
    let profile = profile_of(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {"names":["fsconfig"],"action":"SCMP_ACT_LOG","args":[{"index":4,"value":4294967296,"op":"SCMP_CMP_GE"}]},
            {"names":["fsconfig"],"action":"SCMP_ACT_ERRNO","errnoRet":99,"args":[
                {"index":5,"value":16499184997401378261,"op":"SCMP_CMP_LE"},
                {"index":4,"value":9223372036854775807,"op":"SCMP_CMP_LT"}]}]}"#,
    );
    let program = compile::compile(&profile).unwrap().program;
    for (fourth, fifth, expected) in [(1 << 32, 0, 0x7ffc_0000), (1, 1, 0x0005_0063), (0xffff_ffff, u64::MAX, ALLOW)] {
        let call = Call { args: [0, 0, 0, 0, fourth, fifth], ..Call::new(X86_64, 431, 0) };
        assert_eq!(Machine::run(&program, &call), expected, "{fourth:#x}, {fifth:#x}");
    }
}

#[test]
fn at_most_behind_another_condition_holds_on_32_bit_abis() {
    let profile = profile_of(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"syscalls":[
            {"names":["setuid"],"action":"SCMP_ACT_ERRNO","args":[
                {"index":0,"value":7,"op":"SCMP_CMP_EQ"},{"index":1,"value":5,"op":"SCMP_CMP_LE"}]}]}"#,
    );
    let program = compile::compile(&profile).unwrap().program;
    for (second, expected) in [(4, 0x0005_0001), (5, 0x0005_0001), (6, ALLOW)] {
        let call = Call { args: [7, second, 0, 0, 0, 0], ..Call::new(I386, 23, 7) };
        assert_eq!(Machine::run(&program, &call), expected, "{second}");
    }
}

/// libseccomp has an order of its own, or refuses such a profile.
#[test]
fn of_several_rules_with_conditions_the_first_that_holds_decides() {
    let rule = |action: &str, op: &str, value: u64| {
        format!(
            r#"{{"names":["close"],"action":"{action}","args":[{{"index":0,"value":{value},"op":"SCMP_CMP_{op}"}}]}}"#
        )
    };
    let rules = [
        rule("SCMP_ACT_LOG", "GE", 9),
        rule("SCMP_ACT_TRAP", "GE", 5),
        rule("SCMP_ACT_LOG", "EQ", 7),
        rule("SCMP_ACT_KILL", "LT", 3),
    ];
    let profile = profile_of(&format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{}]}}"#, rules.join(",")));
    let program = compile::compile(&profile).unwrap().program;
    for (first, expected) in [(9, 0x7ffc_0000), (8, 0x0003_0000), (7, 0x0003_0000), (4, ALLOW), (2, KILL_THREAD)] {
        assert_eq!(Machine::run(&program, &Call::new(X86_64, 3, first)), expected, "{first}");
    }
}

/// The library has no number for it; runc lets it go by the default then.
#[test]
fn conditions_on_a_call_that_is_younger_than_the_library_count() {
    let profile = profile_of(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
            {"names":["mseal"],"action":"SCMP_ACT_ALLOW","args":[{"index":2,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
    );
    let program = compile::compile(&profile).unwrap().program;
    let flags = |flags| Call { args: [0, 0, flags, 0, 0, 0], ..Call::new(X86_64, 462, 0) };
    assert_eq!(Machine::run(&program, &flags(0)), ALLOW);
    assert_eq!(Machine::run(&program, &flags(1)), 0x0005_0001);
}

#[test]
fn conditions_look_at_all_64_bits() {
    let profile = profile_of(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
            {"names":["close"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":4294967297,"op":"SCMP_CMP_EQ"}]},
            {"names":["dup"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":4294967297,"op":"SCMP_CMP_GT"}]},
            {"names":["read"],"action":"SCMP_ACT_ALLOW",
             "args":[{"index":0,"value":18374686479671623680,"valueTwo":72057594037927936,"op":"SCMP_CMP_MASKED_EQ"}]}]}"#,
    );
    compare_on(&profile, &compile::compile(&profile).unwrap().program, &[(X86_64, "unistd_64.h", 0)]);
}

#[test]
fn foreign_architectures_of_our_byte_order_can_be_in_a_filter() {
    let foreign = docker::ARCHITECTURES.iter().filter(|family| {
        let names = ["AARCH64", "MIPSEL64", "RISCV64"].map(|name| format!("SCMP_ARCH_{name}"));
        names.contains(&family[0].to_string())
    });
    for family in foreign {
        let text = serde_json::to_string(family).unwrap();
        let profile = profile_of(&format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO","architectures":{text},
               "syscalls":[{{"names":["read"],"action":"SCMP_ACT_ALLOW"}}]}}"#
        ));
        let filter = compile::compile(&profile).unwrap_or_else(|error| panic!("{text}: {error}"));
        if family[0] == Arch::ScmpArchAarch64 {
            // 63 is read there, 64 is write and 65 the first that the profile is too old for.
            assert_eq!(Machine::run(&filter.program, &Call::new(AARCH64, 63, 0)), ALLOW);
            assert_eq!(Machine::run(&filter.program, &Call::new(AARCH64, 62, 0)), 0x0005_0001);
            assert_eq!(Machine::run(&filter.program, &Call::new(AARCH64, 64, 0)), ENOSYS);
        }
    }
}

#[test]
fn a_filter_that_notifies_says_so() {
    let profile =
        profile_of(r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mount"],"action":"SCMP_ACT_NOTIFY"}]}"#);
    assert!(cached(&profile, None).unwrap().asks_listener());
}

#[test]
fn docker_s_own_file_format_is_understood() {
    let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,
        "archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}],
        "syscalls":[
          {"names":["read"],"action":"SCMP_ACT_ALLOW","args":[],"comment":"x","includes":{},"excludes":{}},
          {"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
          {"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38,"excludes":{"caps":["CAP_SYS_ADMIN"]}},
          {"name":"ptrace","action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}},
          {"names":["futex"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"99.0"}},
          {"names":["brk"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["arm64"]}}]}"#;
    let names = |capabilities: &HashSet<Capability>| {
        let target = Target { capabilities, architecture: "x86_64", kernel: (6, 1) };
        let profile = custom::resolve(text, &target).unwrap();
        assert_eq!(profile.architectures().as_deref(), Some(&[Arch::ScmpArchX86_64, Arch::ScmpArchX86][..]));
        profile.syscalls().iter().flatten().flat_map(|rule| rule.names().clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&HashSet::new()), ["read", "clone3", "ptrace"]);
    assert_eq!(names(&HashSet::from([Capability::SysAdmin])), ["read", "mount", "ptrace"]);
    for broken in ["{}", "[]", r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"action":"SCMP_ACT_ALLOW"}]}"#] {
        profile_from_json(broken, &HashSet::new()).unwrap_err();
    }
}

#[test]
fn a_kept_filter_is_used_and_a_spoiled_one_is_not() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("kept");
    let profile =
        profile_of(r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}"#);
    let filter = cached(&profile, Some(&directory)).unwrap();
    let kept: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [file] = kept.as_slice() else { panic!("one file: {kept:?}") };
    assert_eq!(std::fs::metadata(file).unwrap().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
    assert_eq!(cache::load(file).unwrap(), filter);

    let whole = std::fs::read(file).unwrap();
    for spoiled in [&whole[..whole.len() - 8], &whole[..20], b"".as_slice()] {
        std::fs::write(file, spoiled).unwrap();
        assert_eq!(cache::load(file), None);
        std::fs::remove_file(file).unwrap();
        assert_eq!(cached(&profile, Some(&directory)).unwrap(), filter);
        assert_eq!(cache::load(file).unwrap(), filter, "kept again");
    }
    std::fs::set_permissions(file, PermissionsExt::from_mode(0o666)).unwrap();
    assert_eq!(cache::load(file), None, "others could have written it");
    std::fs::remove_file(file).unwrap();
    std::os::unix::fs::symlink("/dev/zero", file).unwrap();
    assert_eq!(cache::load(file), None, "not followed");
}
