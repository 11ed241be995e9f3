//! Hooks: programs of the administrator's at six points of a container's life (runtime-spec config.md#posix-platform-hooks).

use crate::support::{Bundle, Oci, need};
use serde_json::{Value, json};
use std::fs;

/// A hook of the host's shell.
fn hook(script: &str) -> Value {
    json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }])
}

/// Notes its kind, the state from its input, where it is and what it sees, as one line each.
fn note(oci: &Oci, kind: &str) -> Value {
    let log = oci.host.path("hooks.log").display().to_string();
    hook(&format!(
        "{{ echo \"kind {kind}\"; echo \"state $(cat)\"; echo \"cwd $(pwd)\"; echo \"mnt $(readlink /proc/self/ns/mnt)\"; \
         echo \"net $(readlink /proc/self/ns/net)\"; }} >> {log}"
    ))
}

/// What the hooks of [`note`] wrote: (kind, state, the other words by their names).
fn noted(oci: &Oci) -> Vec<(String, Value, String)> {
    let text = fs::read_to_string(oci.host.path("hooks.log")).unwrap_or_default();
    let sections = text.split("kind ").skip(1);
    sections
        .map(|section| {
            let mut lines = section.lines();
            let kind = lines.next().unwrap().to_owned();
            let state = lines.next().unwrap().strip_prefix("state ").unwrap();
            (kind, serde_json::from_str(state).unwrap(), lines.collect::<Vec<_>>().join("\n"))
        })
        .collect()
}

fn kinds(oci: &Oci) -> Vec<String> {
    noted(oci).into_iter().map(|(kind, ..)| kind).collect()
}

#[test]
fn hooks_run_at_their_time_and_read_the_state() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle(|spec| {
        spec["process"]["args"] = json!(["/probe", "signal-wait"]);
        spec["annotations"] = json!({ "colour": "green" });
        spec["hooks"] = json!({});
        for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
            spec["hooks"][kind] = note(&oci, kind);
        }
    });
    oci.create(&bundle).ok();
    // runc before 1.5 calls poststart at the end of create (its issue 4347); runtime-spec runtime.md#lifecycle, step 9.
    if oci.is_ours() {
        assert_eq!(kinds(&oci), ["prestart", "createRuntime", "createContainer"]);
    }
    let pid = oci.state(&bundle)["pid"].as_i64().unwrap();
    let host = oci.host.shell("readlink /proc/self/ns/mnt").ok().text().to_owned();
    let own = oci.host.shell(&format!("readlink /proc/{pid}/ns/mnt")).ok().text().to_owned();
    for (kind, state, rest) in noted(&oci).into_iter().filter(|(kind, ..)| kind != "poststart") {
        assert_eq!(state["id"], bundle.id.as_str());
        assert_eq!(state["bundle"], bundle.path());
        assert_eq!(state["annotations"]["colour"], "green");
        assert_eq!(state["status"], "creating", "{kind}");
        assert!(state["ociVersion"].is_string());
        let inside = kind == "createContainer";
        // Each sees the number that its own pid namespace gives the process.
        assert_eq!(state["pid"], if inside { 1 } else { pid }, "{kind}");
        assert!(rest.contains(&format!("mnt {}", if inside { &own } else { &host })), "{kind}: {rest}");
        let cwd = if inside { bundle.rootfs().display().to_string() } else { bundle.path() };
        assert!(rest.contains(&format!("cwd {cwd}\n")), "{kind}: {rest}");
    }
    fs::remove_file(oci.host.path("hooks.log")).unwrap();

    oci.call(&["start", &bundle.id]).ok();
    if oci.is_ours() {
        let after = noted(&oci);
        assert_eq!(kinds(&oci), ["poststart"]);
        assert_eq!((after[0].1["status"].as_str(), after[0].1["pid"].as_i64()), (Some("running"), Some(pid)));
        fs::remove_file(oci.host.path("hooks.log")).unwrap();
    }

    oci.call(&["kill", &bundle.id, "KILL"]).ok();
    oci.wait_status(&bundle, "stopped");
    assert_eq!(kinds(&oci), [""; 0], "poststop comes with delete");
    oci.call(&["delete", &bundle.id]).ok();
    let last = noted(&oci);
    assert_eq!(kinds(&oci), ["poststop"]);
    assert_eq!(last[0].1["status"], "stopped");
    assert_eq!(last[0].1["id"], bundle.id.as_str());
}

#[test]
fn start_container_runs_inside_as_the_programs_user() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle(|spec| {
        spec["process"]["args"] = json!(["/bin/cat", "/tmp/note"]);
        spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        spec["process"]["env"] = json!(["PATH=/bin", "COLOUR=red"]);
        spec["process"]["cwd"] = json!("/home/user");
        let script = "{ echo $COLOUR $(id -u) $(pwd) $(ls -d /home); cat; } > /tmp/note";
        spec["hooks"] = json!({ "startContainer": [{ "path": "/bin/sh", "args": ["sh", "-c", script] }] });
    });
    let said = oci.run(&bundle).ok().stdout;
    let (first, state) = said.split_once('\n').unwrap();
    assert_eq!(first, "red 1000 /home/user /home");
    let state: Value = serde_json::from_str(state).unwrap();
    assert_eq!((state["status"].as_str(), state["pid"].as_i64()), (Some("created"), Some(1)));
}

#[test]
fn what_a_hook_mounts_before_the_pivot_is_in_the_container() {
    need!(Root);
    let oci = Oci::new();
    fs::create_dir(oci.host.path("driver")).unwrap();
    fs::write(oci.host.path("driver/lib"), "from the host").unwrap();
    let driver = oci.host.path("driver").display().to_string();
    let bundle = oci.bundle(|spec| {
        spec["process"]["args"] = json!(["/bin/sh", "-c", "cat /tmp/one/lib /tmp/two/lib"]);
        // The way of GPU drivers: by the pid of the state, into the mount namespace, onto the root's place on the host.
        let outside = format!(
            "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); nsenter --mount=/proc/$pid/ns/mnt \
             mount --bind {driver} $PWD/rootfs/tmp/one"
        );
        let inside = format!("mount --bind {driver} tmp/two");
        spec["hooks"] = json!({ "createRuntime": hook(&outside), "createContainer": hook(&inside) });
    });
    fs::create_dir_all(bundle.rootfs().join("tmp/one")).unwrap();
    fs::create_dir_all(bundle.rootfs().join("tmp/two")).unwrap();
    let before = oci.host.shell("cat /proc/self/mountinfo | wc -l").ok().stdout;
    assert_eq!(oci.run(&bundle).ok().stdout, "from the hostfrom the host");
    assert_eq!(oci.host.shell("cat /proc/self/mountinfo | wc -l").ok().stdout, before);
}

#[test]
fn a_hook_before_the_pivot_sees_mounts_and_control_groups() {
    need!(Root);
    let oci = Oci::new();
    let log = oci.host.path("seen").display().to_string();
    let bundle = oci.bundle(|spec| {
        let outside = format!(
            "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); cat /proc/$pid/cgroup > {log}; \
             nsenter --mount=/proc/$pid/ns/mnt sh -c \"ls $PWD/rootfs/dev/null $PWD/rootfs/proc/version; ls -d /usr\" >> {log}"
        );
        spec["hooks"] = json!({ "createRuntime": hook(&outside) });
    });
    oci.run(&bundle).ok();
    let seen = fs::read_to_string(&log).unwrap();
    for line in ["rootfs/dev/null", "rootfs/proc/version", "/usr"] {
        assert!(seen.lines().any(|one| one.ends_with(line)), "{line} is not in\n{seen}");
    }
    let groups: Vec<&str> = seen.lines().filter(|line| line.contains(":memory:") || line.starts_with("0::")).collect();
    assert!(groups.iter().any(|line| line.contains(&bundle.id)), "{groups:?}");
}

/// Run the first of `create`, `start` that fails; whether the program ran.
fn fails_at(oci: &Oci, bundle: &Bundle) -> (&'static str, String) {
    let created = oci.create(bundle);
    if created.code != 0 {
        return ("create", created.stderr);
    }
    let started = oci.call(&["start", &bundle.id]);
    if started.code != 0 {
        return ("start", started.stderr);
    }
    ("", String::new())
}

#[test]
fn a_hook_that_fails_ends_the_container_and_is_told_with_its_words() {
    need!(Root);
    for (kind, verb) in [
        ("prestart", "create"),
        ("createRuntime", "create"),
        ("createContainer", "create"),
        ("startContainer", "start"),
        ("poststart", "start"),
    ] {
        let oci = Oci::new();
        let before = oci.host.snapshot();
        let bundle = oci.bundle(|spec| {
            spec["process"]["args"] = json!(["/probe", "signal-wait"]);
            spec["hooks"] = json!({ kind: hook("echo it is broken >&2; exit 3"), "poststop": note(&oci, "poststop") });
        });
        let (failed, said) = fails_at(&oci, &bundle);
        if !oci.is_ours() && (kind, failed) == ("startContainer", "") {
            // runc's start has no way to hear of it: it answers 0, and the container is stopped.
            continue;
        }
        let verb = if oci.is_ours() { verb } else { failed };
        assert_eq!(failed, verb, "{kind}: {said}");
        assert!(said.contains("it is broken") && said.contains('3'), "{kind}: {said}");
        assert!(said.contains(kind) || !oci.is_ours(), "{kind}: {said}");
        if verb == "create" {
            oci.call(&["state", &bundle.id]).fails().says("does not exist");
        } else {
            oci.wait_status(&bundle, "stopped");
            oci.call(&["delete", &bundle.id]).ok();
        }
        assert_eq!(kinds(&oci), ["poststop"], "{kind}");
        if kind != "poststart" {
            assert_eq!(oci.output_of(&bundle), "", "{kind}: the program must not run");
        }
        fs::remove_file(oci.host.path("hooks.log")).unwrap();
        oci.host.assert_unchanged(&before);
    }
}

#[test]
fn a_hook_that_takes_too_long_is_killed() {
    need!(Root);
    for kind in ["createRuntime", "createContainer", "startContainer"] {
        let oci = Oci::new();
        let bundle = oci.bundle(|spec| {
            let path = "/bin/sleep";
            spec["hooks"] = json!({ kind: [{ "path": path, "args": ["sleep", "1000"], "timeout": 1 }] });
        });
        let said = oci.run(&bundle).fails().stderr;
        assert!(said.contains("timeout"), "{kind}: {said}");
        assert_eq!(oci.host.shell("pgrep -x sleep").stdout, "", "{kind}");
    }
}

#[test]
fn every_poststop_hook_runs_whatever_becomes_of_the_others() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle(|spec| {
        let broken = json!({ "path": "/bin/sh", "args": ["sh", "-c", "echo it is broken >&2; exit 3"] });
        spec["hooks"] = json!({ "poststop": [broken, note(&oci, "poststop")[0]] });
    });
    let ended = oci.run(&bundle);
    // runc stops at the first; runtime-spec: "the remaining hooks and lifecycle continue as if the hook had succeeded".
    if oci.is_ours() {
        assert_eq!((ended.code, kinds(&oci)), (0, vec!["poststop".to_owned()]));
        assert!(ended.stderr.contains("level=warning msg=\"cannot run poststop hook /bin/sh"), "{ended}");
    }
    assert!(ended.stderr.contains("it is broken"), "{ended}");
    oci.call(&["state", &bundle.id]).fails().says("does not exist");
}

#[test]
fn what_becomes_of_config_json_after_create_changes_no_hook() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle(|spec| {
        spec["process"]["args"] = json!(["/probe", "signal-wait"]);
        spec["hooks"] = json!({ "poststart": note(&oci, "poststart"), "poststop": note(&oci, "poststop") });
    });
    oci.create(&bundle).ok();
    let path = bundle.dir.join("config.json");
    let mut spec: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    spec["hooks"] = json!({ "poststart": note(&oci, "foreign"), "poststop": note(&oci, "foreign") });
    fs::write(&path, spec.to_string()).unwrap();
    oci.call(&["start", &bundle.id]).ok();
    oci.call(&["delete", "--force", &bundle.id]).ok();
    assert_eq!(kinds(&oci), ["poststart", "poststop"]);
}

#[test]
fn a_hook_that_cannot_be_is_refused() {
    need!(Root);
    let oci = Oci::new();
    let before = oci.host.snapshot();
    for kind in ["createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        let bundle = oci.bundle(|spec| spec["hooks"] = json!({ kind: [{ "path": "bin/true" }] }));
        let ended = oci.run(&bundle);
        // runc does not look at the path, and runs it from wherever it is.
        if oci.is_ours() {
            ended.fails().says(&format!("config.json: hooks.{kind}[0]: path bin/true is not absolute"));
        }
    }
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"] {
        let bundle = oci.bundle(|spec| spec["hooks"] = json!({ kind: [{ "path": "/no/such/hook" }] }));
        oci.run(&bundle).fails().says("no such file or directory");
    }
    oci.host.assert_unchanged(&before);
}

#[test]
fn a_hook_has_the_callers_environment_unless_it_names_one_and_no_descriptor_of_ours() {
    need!(Root);
    let oci = Oci::with_program(&crate::support::runtime().display().to_string(), &[("COLOUR", "blue")]);
    let log = oci.host.path("seen").display().to_string();
    let script = format!("echo \"$COLOUR $(ls /proc/self/fd | tr '\\n' ' ')\" >> {log}");
    let bundle = oci.bundle(|spec| {
        let plain = hook(&script)[0].clone();
        let mut named = plain.clone();
        named["env"] = json!(["PATH=/bin:/usr/bin", "COLOUR=red"]);
        spec["hooks"] = json!({ "createRuntime": [plain, named] });
    });
    oci.run(&bundle).ok();
    // 3 is the directory that ls reads.
    assert_eq!(fs::read_to_string(&log).unwrap(), "blue 0 1 2 3 \nred 0 1 2 3 \n");
}

#[test]
fn hooks_of_both_sides_come_in_the_order_of_the_list() {
    need!(Root);
    let oci = Oci::new();
    let log = oci.host.path("seen").display().to_string();
    let say = |word: &str| json!({ "path": "/bin/sh", "args": ["sh", "-c", format!("echo {word} >> {log}")] });
    let bundle = oci.bundle(|spec| {
        spec["hooks"] = json!({
            "createContainer": [say("3"), say("4")], "createRuntime": [say("1"), say("2")], "poststop": [say("7")],
            "poststart": [say("5"), say("6")],
        });
    });
    oci.run(&bundle).ok();
    assert_eq!(fs::read_to_string(&log).unwrap(), "1\n2\n3\n4\n5\n6\n7\n");
}
