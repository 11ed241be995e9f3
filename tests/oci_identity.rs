//! Who the program is and what it may do: user, groups, capabilities, limits, seccomp, environment.

use crate::support::{Oci, need};
use serde_json::{Value, json};

#[test]
fn user_groups_umask_and_directory() {
    need!(Root);
    let oci = Oci::new();
    let seen = oci.see(|spec| {
        spec["process"]["user"] = json!({ "uid": 1000, "gid": 1001, "additionalGids": [20, 30], "umask": 0o027 });
        spec["process"]["cwd"] = json!("/home/user");
    });
    assert_eq!((&seen["uid"], &seen["euid"], &seen["gid"]), (&json!(1000), &json!(1000), &json!(1001)));
    assert_eq!(seen["groups"], json!([20, 30]));
    assert_eq!(seen["umask"], 0o027);
    assert_eq!(seen["cwd"], "/home/user");
}

#[test]
fn without_additional_groups_none_of_the_callers_is_left() {
    need!(Root);
    let oci = Oci::new();
    assert_eq!(oci.see(|_| {})["groups"], json!([]));
    assert_eq!(oci.see(|_| {})["umask"], 0o022);
}

#[test]
fn a_directory_that_is_missing_is_made() {
    need!(Root);
    let oci = Oci::new();
    assert_eq!(oci.see(|spec| spec["process"]["cwd"] = json!("/work/here"))["cwd"], "/work/here");
    let relative = oci.bundle(|spec| spec["process"]["cwd"] = json!("tmp"));
    oci.run(&relative).fails();
}

#[test]
fn the_environment_is_exactly_the_configs() {
    need!(Root);
    let oci = Oci::new();
    let seen = oci.see(|spec| spec["process"]["env"] = json!(["A=1", "B=two words", "C=", "HOME=/root"]));
    assert_eq!(seen["env"], json!({ "A": "1", "B": "two words", "C": "", "HOME": "/root" }));
}

#[test]
fn home_is_taken_from_the_containers_passwd() {
    need!(Root);
    let oci = Oci::new();
    let seen = oci.see(|spec| {
        spec["process"]["env"] = json!(["PATH=/bin"]);
        spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    });
    assert_eq!(seen["env"]["HOME"], "/home/user");
}

#[test]
fn arguments_arrive_as_they_are() {
    need!(Root);
    let oci = Oci::new();
    let words = ["/probe", "echo", "a b", "", "*", "$HOME", "-x", "ü", "'\""];
    let bundle = oci.bundle_of(&words);
    assert_eq!(oci.run(&bundle).ok().json(), json!(words[2..]));
}

#[test]
fn a_program_is_looked_for_in_the_containers_path() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle(|spec| {
        spec["process"]["env"] = json!(["PATH=/nowhere:/bin"]);
        spec["process"]["args"] = json!(["id", "-u"]);
    });
    assert_eq!(oci.run(&bundle).ok().text(), "0");
}

#[test]
fn what_cannot_be_executed_is_said_in_the_words_that_engines_look_for() {
    need!(Root);
    let oci = Oci::new();
    let before = oci.host.snapshot();
    for (program, words) in [
        ("no-such-program", "executable file not found"),
        ("/no/such/program", "no such file or directory"),
        ("/etc/passwd", "permission denied"),
        ("/etc", "permission denied"),
    ] {
        let bundle = oci.bundle_of(&[program]);
        let output = oci.create(&bundle);
        // runc looks before it creates; whoever looks later must say it at start.
        let output = if output.code == 0 { oci.call(&["start", &bundle.id]) } else { output };
        assert!(output.fails().stderr.to_lowercase().contains(words), "{program}: not `{words}`");
        oci.call(&["delete", "--force", &bundle.id]).ok();
    }
    oci.host.assert_unchanged(&before);
}

#[test]
fn the_five_capability_sets_are_what_the_config_says() {
    need!(Root);
    let oci = Oci::new();
    let seen = oci.see(|spec| {
        spec["process"]["capabilities"] = json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
            "permitted": ["CAP_CHOWN", "CAP_KILL"],
            "effective": ["CAP_CHOWN"],
            "inheritable": ["CAP_KILL"],
            "ambient": ["CAP_KILL"],
        });
        spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    });
    // execve as an ordinary user keeps the ambient set alone in permitted and effective: capabilities(7).
    assert_eq!(seen["caps"]["bounding"], json!(["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"]));
    assert_eq!(seen["caps"]["inheritable"], json!(["CAP_KILL"]));
    assert_eq!(seen["caps"]["ambient"], json!(["CAP_KILL"]));
    assert_eq!(seen["caps"]["permitted"], json!(["CAP_KILL"]));
    assert_eq!(seen["caps"]["effective"], json!(["CAP_KILL"]));
}

#[test]
fn root_gets_the_bounding_set_and_no_more() {
    need!(Root);
    let oci = Oci::new();
    let caps = json!(["CAP_CHOWN", "CAP_SYS_CHROOT"]);
    let seen = oci.see(|spec| {
        spec["process"]["capabilities"] = json!({ "bounding": caps, "effective": caps, "permitted": caps });
    });
    for set in ["bounding", "permitted", "effective"] {
        assert_eq!(seen["caps"][set], caps, "{set}");
    }
    for set in ["inheritable", "ambient"] {
        assert_eq!(seen["caps"][set], json!([]), "{set}");
    }
    let none = oci.see(|spec| spec["process"]["capabilities"] = json!({}));
    assert_eq!(none["caps"]["effective"], json!([]));
    assert_eq!(none["caps"]["bounding"], json!([]));
}

#[test]
fn an_unprivileged_user_has_no_capability() {
    need!(Root);
    let oci = Oci::new();
    let seen = oci.see(|spec| spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 }));
    assert_eq!(seen["caps"]["effective"], json!([]));
    assert_eq!(seen["caps"]["permitted"], json!([]));
}

#[test]
fn no_new_privs_is_what_the_config_says() {
    need!(Root);
    let oci = Oci::new();
    assert_eq!(oci.see(|_| {})["no_new_privs"], true);
    assert_eq!(oci.see(|spec| spec["process"]["noNewPrivileges"] = json!(false))["no_new_privs"], false);
}

#[test]
fn rlimits_are_set_soft_and_hard() {
    need!(Root);
    let oci = Oci::new();
    let seen = oci.see(|spec| {
        spec["process"]["rlimits"] = json!([
            { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 },
            { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
            { "type": "RLIMIT_NPROC", "soft": 50, "hard": 60 },
            { "type": "RLIMIT_FSIZE", "soft": 1048576, "hard": 2097152 },
            { "type": "RLIMIT_STACK", "soft": 8388608, "hard": 16777216 },
        ]);
    });
    assert_eq!(seen["rlimits"]["RLIMIT_NOFILE"], json!({ "soft": 100, "hard": 200 }));
    assert_eq!(seen["rlimits"]["RLIMIT_CORE"], json!({ "soft": 0, "hard": 0 }));
    assert_eq!(seen["rlimits"]["RLIMIT_NPROC"], json!({ "soft": 50, "hard": 60 }));
    assert_eq!(seen["rlimits"]["RLIMIT_FSIZE"], json!({ "soft": 1_048_576, "hard": 2_097_152 }));
    assert_eq!(seen["rlimits"]["RLIMIT_STACK"], json!({ "soft": 8_388_608, "hard": 16_777_216 }));
    let bundle =
        oci.bundle(|spec| spec["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOSUCH", "soft": 1, "hard": 1 }]));
    oci.run(&bundle).fails();
}

/// (soft, hard) of each line of /proc/PID/limits, which has the order of setrlimit(2)'s numbers.
fn limits(text: &str) -> Vec<(u64, u64)> {
    let words = |line: &str| -> Vec<u64> {
        // The name ends in column 26.
        let numbers = line[26..].split_whitespace().take(2);
        numbers.map(|word| if word == "unlimited" { Ok(u64::MAX) } else { word.parse() }.unwrap()).collect()
    };
    text.lines().skip(1).map(words).map(|pair| (pair[0], pair[1])).collect()
}

#[test]
fn every_limit_of_the_kernel_can_be_set() {
    need!(Root);
    let oci = Oci::new();
    let names = ["CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS"];
    let names = names.into_iter().chain(["SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME"]);
    // Not above the caller's own, which needs a further privilege; and enough bytes for a program to run.
    let own = limits(&oci.host.shell("cat /proc/self/limits").ok().stdout);
    let value = |number: usize| 1_u64 << if matches!(number, 1..=5 | 9) { 30 } else { 9 };
    let wanted: Vec<(u64, u64)> = (0..16)
        .map(|number| own[number].1.min(value(number) + number as u64))
        .map(|hard| (hard.saturating_sub(1), hard))
        .collect();
    let bundle = oci.bundle(|spec| {
        let limit = |(name, (soft, hard)): (&str, &(u64, u64))| json!({ "type": format!("RLIMIT_{name}"), "soft": soft, "hard": hard });
        spec["process"]["rlimits"] = names.zip(&wanted).map(limit).collect();
        spec["process"]["args"] = json!(["/bin/cat", "/proc/self/limits"]);
    });
    let output = oci.run(&bundle).ok();
    assert_eq!(limits(&output.stdout), wanted, "{output}");
}

#[test]
fn a_limit_that_is_there_twice_is_refused() {
    need!(Root, OurRuntime); // Debian's runc 1.1.5 takes the last; runtime-spec config.md#posix-process: an error
    let oci = Oci::new();
    let limit = json!({ "type": "RLIMIT_NOFILE", "soft": 10, "hard": 20 });
    let bundle = oci.bundle(|spec| spec["process"]["rlimits"] = json!([limit, limit]));
    oci.run(&bundle).fails().says("process.rlimits: RLIMIT_NOFILE is there twice");
}

#[test]
fn the_descriptor_limit_is_felt() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle(|spec| {
        spec["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 20, "hard": 20 }]);
        spec["process"]["args"] = json!(["/probe", "exhaust"]);
    });
    let answer = oci.run(&bundle).ok().json();
    assert_eq!(answer, json!({ "opened": 17, "refused": "EMFILE" }));
}

#[test]
fn the_out_of_memory_score_is_set() {
    need!(Root);
    let oci = Oci::new();
    assert_eq!(oci.see(|spec| spec["process"]["oomScoreAdj"] = json!(321))["oom_score_adj"], 321);
    // Unset, it stays the caller's.
    let callers = oci.host.shell("cat /proc/self/oom_score_adj").ok();
    assert_eq!(oci.see(|_| {})["oom_score_adj"].to_string(), callers.text());
}

fn seccomp(action: &str, rules: Value) -> Value {
    json!({ "defaultAction": action, "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], "syscalls": rules })
}

#[test]
fn seccomp_refuses_with_the_errno_of_the_profile() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle(|spec| {
        spec["linux"]["seccomp"] = seccomp(
            "SCMP_ACT_ALLOW",
            json!([
                { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" },
                { "names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 },
                { "names": ["sethostname", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 22 },
            ]),
        );
        spec["process"]["args"] =
            json!(["/probe", "syscall", "mkdir", "personality", "sethostname", "getpid", "socket-tcp"]);
    });
    let answer = oci.run(&bundle).ok().json();
    let wanted = json!({
        "mkdir": "EPERM", "personality": "ENOSYS", "sethostname": "EINVAL", "getpid": "ok", "socket-tcp": "ok",
    });
    assert_eq!(answer, wanted);
}

#[test]
fn seccomp_can_look_at_arguments() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle(|spec| {
        // AF_VSOCK is 40.
        spec["linux"]["seccomp"] = seccomp(
            "SCMP_ACT_ALLOW",
            json!([{ "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
                     "args": [{ "index": 0, "value": 40, "op": "SCMP_CMP_EQ" }] }]),
        );
        spec["process"]["args"] = json!(["/probe", "syscall", "socket-vsock", "socket-tcp", "socket-unix"]);
    });
    let answer = oci.run(&bundle).ok().json();
    assert_eq!(answer, json!({ "socket-vsock": "EPERM", "socket-tcp": "ok", "socket-unix": "ok" }));
}

#[test]
fn seccomp_can_kill() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle(|spec| {
        spec["linux"]["seccomp"] =
            seccomp("SCMP_ACT_ALLOW", json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS" }]));
        spec["process"]["args"] = json!(["/probe", "syscall", "mkdir"]);
    });
    // SIGSYS is 31.
    oci.run(&bundle).code(159);
}

#[test]
fn without_seccomp_there_is_no_filter() {
    need!(Root);
    let oci = Oci::new();
    assert_eq!(oci.see(|_| {})["seccomp"], "0");
    let seen = oci.see(|spec| {
        spec["linux"]["seccomp"] = seccomp("SCMP_ACT_ALLOW", json!([{ "names": ["acct"], "action": "SCMP_ACT_ERRNO" }]))
    });
    assert_eq!(seen["seccomp"], "2");
}

#[test]
fn a_seccomp_profile_with_an_unknown_action_is_refused() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle(|spec| spec["linux"]["seccomp"] = seccomp("SCMP_ACT_NOSUCH", json!([])));
    oci.run(&bundle).fails();
}

#[test]
fn no_signal_is_blocked_or_ignored_at_the_start() {
    need!(Root);
    let oci = Oci::new();
    // The probe itself, as every Rust program, ignores SIGPIPE (13): look with cat.
    let bundle = oci.bundle_of(&["/bin/grep", "^Sig[BI]", "/proc/self/status"]);
    let output = oci.run(&bundle).ok();
    for line in output.stdout.lines() {
        let mask = u64::from_str_radix(line.split_once('\t').unwrap().1, 16).unwrap();
        // Signals 32 and up belong to the C library of whoever started us.
        assert_eq!(mask & 0x7fff_ffff, 0, "{output}");
    }
}

#[test]
fn the_program_leads_its_own_session() {
    need!(Root);
    let oci = Oci::new();
    let seen = oci.see(|_| {});
    assert_eq!((&seen["sid"], &seen["pgid"]), (&json!(1), &json!(1)));
}

#[test]
fn a_capability_that_nobody_knows_is_left_out_with_a_warning() {
    need!(Root);
    let oci = Oci::new();
    let caps = json!(["CAP_KILL", "CAP_FLY"]);
    let bundle = oci.bundle(|spec| {
        spec["process"]["args"] = json!(["/probe", "see", "identity"]);
        spec["process"]["capabilities"] = json!({ "bounding": caps, "effective": caps, "permitted": caps });
    });
    let ended = oci.run(&bundle).ok().says("CAP_FLY");
    assert_eq!(ended.json()["caps"]["effective"], json!(["CAP_KILL"]));
}

#[test]
fn a_capability_that_the_caller_has_not_is_left_out_with_a_warning() {
    need!(Root, OurRuntime); // Debian's runc 1.1.5 fails
    let oci = Oci::new();
    let caps = json!(["CAP_KILL", "CAP_NET_RAW"]);
    let bundle = oci.bundle(|spec| {
        spec["process"]["args"] = json!(["/probe", "see", "identity"]);
        spec["process"]["capabilities"] = json!({ "bounding": caps, "effective": caps, "permitted": caps });
    });
    let words = oci.words(&["run", "--bundle", &bundle.path(), &bundle.id]).join(" ");
    let call = format!("setpriv --bounding-set=-net_raw {} {words}", crate::support::runtime().display());
    let ended = oci.host.shell(&call).ok();
    assert_eq!(ended.stderr.matches("CAP_NET_RAW cannot be granted here and is left out").count(), 1, "{ended}");
    assert_eq!(ended.json()["caps"]["effective"], json!(["CAP_KILL"]));
    // And so for exec.
    let bundle = oci.running(|spec| {
        spec["process"]["capabilities"] = json!({ "bounding": caps, "effective": caps, "permitted": caps });
    });
    let words = oci.words(&["exec", "--cap", "CAP_NET_ADMIN", &bundle.id, "/probe", "see", "identity"]).join(" ");
    let call = format!("setpriv --bounding-set=-net_admin {} {words}", crate::support::runtime().display());
    let ended = oci.host.shell(&call).ok().says("CAP_NET_ADMIN cannot be granted here and is left out");
    assert_eq!(ended.json()["caps"]["effective"], caps);
}
