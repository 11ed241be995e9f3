//! The life of a container: create, start, state, kill, delete (runtime-spec runtime.md).

use crate::support::{Oci, need};
use serde_json::json;

#[test]
fn created_running_stopped_and_gone() {
    need!(Root);
    let oci = Oci::new();
    let before = oci.host.snapshot();
    let bundle = oci.bundle_of(&["/probe", "signal-wait"]);
    oci.create(&bundle).ok();
    let state = oci.state(&bundle);
    assert_eq!(state["status"], "created");
    assert_eq!(state["id"], bundle.id.as_str());
    assert_eq!(state["bundle"], bundle.path());
    assert!(state["pid"].as_i64().unwrap() > 1);
    assert!(state["ociVersion"].as_str().unwrap().starts_with("1."));
    assert_eq!(oci.output_of(&bundle), "", "the program must not run before start");

    oci.call(&["start", &bundle.id]).ok();
    oci.wait_for(&bundle, "ready");
    assert_eq!(oci.state(&bundle)["status"], "running");

    oci.call(&["kill", &bundle.id, "TERM"]).ok();
    oci.wait_status(&bundle, "stopped");
    assert!(oci.output_of(&bundle).contains("SIGTERM"));

    oci.call(&["delete", &bundle.id]).ok();
    oci.call(&["state", &bundle.id]).fails().says("does not exist");
    oci.host.assert_unchanged(&before);
}

#[test]
fn state_tells_root_file_system_owner_and_annotations() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|spec| spec["annotations"] = json!({ "org.example.colour": "green" }));
    let state = oci.state(&bundle);
    assert_eq!(state["annotations"]["org.example.colour"], "green");
    assert_eq!(state["rootfs"], bundle.rootfs().display().to_string());
    let pid = state["pid"].as_u64().unwrap();
    assert_eq!(oci.host.shell(&format!("cat /proc/{pid}/comm")).ok().text(), "probe");
}

#[test]
fn the_exit_code_of_the_program_is_the_exit_code_of_run() {
    need!(Root);
    let oci = Oci::new();
    for code in [0, 1, 42, 125, 126, 127, 255] {
        let bundle = oci.bundle_of(&["/probe", "exit", &code.to_string()]);
        oci.run(&bundle).code(code);
    }
}

#[test]
fn a_signal_that_ends_the_program_is_128_and_its_number() {
    need!(Root);
    let oci = Oci::new();
    for (name, number) in [("KILL", 9), ("USR1", 10)] {
        // A child of the container's first process: nobody may kill the first one from inside.
        let bundle = oci.bundle_of(&["/bin/sh", "-c", &format!("sh -c 'kill -{name} $$'; exit $?")]);
        oci.run(&bundle).code(128 + number);
    }
    let bundle = oci.running(|_| {});
    let pid = oci.state(&bundle)["pid"].to_string();
    oci.host.shell(&format!("kill -9 {pid}")).ok();
    oci.wait_status(&bundle, "stopped");
}

#[test]
fn run_returns_the_first_signal_that_killed_the_container() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle_of(&["/probe", "sleep", "60"]);
    let mut running = oci.run_spawn(&bundle);
    running.wait_for("ready");
    oci.call(&["kill", &bundle.id, "KILL"]).ok();
    running.wait().code(137);
    oci.call(&["state", &bundle.id]).fails().says("does not exist");
}

#[test]
fn kill_knows_signals_by_name_with_and_without_sig_and_by_number() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    for (word, name) in [("USR1", "SIGUSR1"), ("SIGUSR2", "SIGUSR2"), ("1", "SIGHUP"), ("winch", "SIGWINCH")] {
        oci.call(&["kill", &bundle.id, word]).ok();
        oci.wait_for(&bundle, name);
    }
    oci.call(&["kill", &bundle.id, "NOSUCH"]).fails();
    oci.call(&["kill", &bundle.id, "-7"]).fails();
    assert_eq!(oci.state(&bundle)["status"], "running");
    // SIGTERM is the default.
    oci.call(&["kill", &bundle.id]).ok();
    oci.wait_status(&bundle, "stopped");
}

#[test]
fn kill_all_reaches_every_process_of_the_container() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|spec| {
        spec["process"]["args"] = json!(["/bin/sh", "-c", "sleep 1000 & sleep 1001 & echo ready; wait"]);
    });
    // They are there from the fork on, and called so from the exec on.
    let before = oci.host.shell(
        "for i in $(seq 200); do n=$(ps -e -o comm= | grep -c '^sleep'); [ $n = 2 ] && break; sleep 0.05; done; echo $n",
    );
    assert_eq!(before.text(), "2", "{before}");
    oci.call(&["kill", "--all", &bundle.id, "KILL"]).ok();
    oci.wait_status(&bundle, "stopped");
    let after = oci.host.shell("sleep 0.2; ps -e -o comm= | grep -c '^sleep'");
    assert_eq!(after.text(), "0", "{after}");
}

#[test]
fn the_end_of_the_first_process_ends_all_others() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle_of(&["/bin/sh", "-c", "sleep 1000 & exit 3"]);
    let output = oci.run(&bundle);
    assert_eq!(output.code, 3, "{output}");
    assert_eq!(oci.host.shell("ps -e -o comm= | grep -c '^sleep'").text(), "0");
}

#[test]
fn a_running_container_is_only_deleted_by_force() {
    need!(Root);
    let oci = Oci::new();
    let before = oci.host.snapshot();
    let bundle = oci.running(|_| {});
    oci.call(&["delete", &bundle.id]).fails();
    assert_eq!(oci.state(&bundle)["status"], "running");
    oci.call(&["delete", "--force", &bundle.id]).ok();
    oci.call(&["state", &bundle.id]).fails();
    oci.host.assert_unchanged(&before);
}

#[test]
fn a_created_container_can_be_killed_and_deleted() {
    need!(Root);
    let oci = Oci::new();
    let before = oci.host.snapshot();
    let killed = oci.bundle_of(&["/probe", "sleep", "60"]);
    oci.create(&killed).ok();
    oci.call(&["kill", &killed.id, "KILL"]).ok();
    oci.wait_status(&killed, "stopped");
    oci.call(&["delete", &killed.id]).ok();

    // runtime-spec: a created container may be deleted only by force; runc kills it and deletes.
    let forced = oci.bundle_of(&["/probe", "sleep", "60"]);
    oci.create(&forced).ok();
    oci.call(&["delete", "--force", &forced.id]).ok();
    oci.host.assert_unchanged(&before);
}

#[test]
fn deleting_what_does_not_exist_is_an_error_unless_forced() {
    need!(Root);
    let oci = Oci::new();
    oci.call(&["delete", "nobody"]).fails().says("does not exist");
    oci.call(&["delete", "--force", "nobody"]).ok();
    oci.call(&["start", "nobody"]).fails().says("does not exist");
    oci.call(&["kill", "nobody", "KILL"]).fails().says("does not exist");
    oci.call(&["state", "nobody"]).fails().says("does not exist");
    oci.call(&["exec", "nobody", "true"]).fails().says("does not exist");
}

#[test]
fn start_needs_a_created_container() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    oci.call(&["start", &bundle.id]).fails();
    oci.call(&["kill", &bundle.id, "KILL"]).ok();
    oci.wait_status(&bundle, "stopped");
    oci.call(&["start", &bundle.id]).fails();
    oci.call(&["exec", &bundle.id, "/bin/true"]).fails();
    oci.call(&["delete", &bundle.id]).ok();
}

#[test]
fn kill_of_a_stopped_container_says_that_it_is_not_running() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    oci.call(&["kill", &bundle.id, "KILL"]).ok();
    oci.wait_status(&bundle, "stopped");
    // containerd's shim looks for these words.
    oci.call(&["kill", &bundle.id, "TERM"]).fails().says("container not running");
    oci.call(&["delete", &bundle.id]).ok();
}

#[test]
fn an_id_is_taken_once() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    oci.create(&bundle).fails();
    assert_eq!(oci.state(&bundle)["status"], "running", "the first one lives on");
    oci.call(&["delete", "--force", &bundle.id]).ok();
}

#[test]
fn an_id_cannot_lead_out_of_the_state_folder() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle_of(&["/bin/true"]);
    for id in ["../up", "a/b", "..", ".", "", "spa ce", "a\nb"] {
        oci.call(&["run", "--bundle", &bundle.path(), id]).fails();
    }
    for id in ["a", "A-b_c.d+e"] {
        oci.call(&["run", "--bundle", &bundle.path(), id]).ok();
    }
}

#[test]
fn the_pid_file_holds_the_pid_of_the_first_process() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle_of(&["/probe", "signal-wait"]);
    let file = oci.host.path("pid").display().to_string();
    oci.create_with(&bundle, &["--pid-file", &file]).ok();
    let written = std::fs::read_to_string(&file).unwrap();
    assert_eq!(written, oci.state(&bundle)["pid"].to_string(), "digits alone, no newline");
    oci.call(&["delete", "--force", &bundle.id]).ok();
}

#[test]
fn run_detached_returns_while_the_program_runs() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle_of(&["/probe", "signal-wait"]);
    oci.detached(&bundle, &["run", "--detach", "--bundle", &bundle.path(), &bundle.id]).ok();
    assert_eq!(oci.state(&bundle)["status"], "running");
    oci.wait_for(&bundle, "ready");
    oci.call(&["kill", &bundle.id, "TERM"]).ok();
    oci.wait_status(&bundle, "stopped");
    oci.call(&["delete", &bundle.id]).ok();
}

#[test]
fn run_passes_signals_on_to_the_program() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle_of(&["/probe", "signal-wait"]);
    let mut running = oci.run_spawn(&bundle);
    running.wait_for("ready");
    let runtime = crate::support::runtime().display().to_string();
    for signal in ["USR1", "TERM"] {
        oci.host.shell(&format!("pkill -{signal} -o -f '^{runtime} .*run --bundle'")).ok();
        running.wait_for(&format!("SIG{signal}"));
    }
    running.wait().code(0);
}

#[test]
fn standard_input_reaches_the_program() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle_of(&["/bin/cat"]);
    let mut running = oci.run_spawn(&bundle);
    use std::io::Write;
    running.child.stdin.take().unwrap().write_all(b"through the wall\n").unwrap();
    assert_eq!(running.wait().ok().stdout, "through the wall\n");
}

#[test]
fn spec_writes_a_config_that_can_be_parsed_and_does_not_overwrite() {
    need!(Root);
    let oci = Oci::new();
    let dir = oci.host.path("fresh").display().to_string();
    std::fs::create_dir(&dir).unwrap();
    oci.call(&["spec", "--bundle", &dir]).ok();
    let text = std::fs::read_to_string(oci.host.path("fresh/config.json")).unwrap();
    let spec: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(spec["process"]["args"], json!(["sh"]));
    assert_eq!(spec["root"]["path"], "rootfs");
    oci.call(&["spec", "--bundle", &dir]).fails();
    assert_eq!(std::fs::read_to_string(oci.host.path("fresh/config.json")).unwrap(), text);
}

#[test]
fn the_config_that_spec_writes_runs() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle_of(&[]);
    std::fs::remove_file(bundle.dir.join("config.json")).unwrap();
    oci.call(&["spec", "--bundle", &bundle.path()]).ok();
    let path = bundle.dir.join("config.json");
    let mut spec: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!(["/probe", "see", "identity"]);
    std::fs::write(&path, spec.to_string()).unwrap();
    let seen = oci.run(&bundle).ok().json();
    assert_eq!(seen["pid"], 1);
}

#[test]
fn many_containers_live_side_by_side() {
    need!(Root);
    let oci = Oci::new();
    let before = oci.host.snapshot();
    let bundles: Vec<_> = (0..8).map(|_| oci.bundle_of(&["/bin/true"])).collect();
    let running: Vec<_> = bundles.iter().map(|bundle| oci.run_spawn(bundle)).collect();
    for one in running {
        one.wait().ok();
    }
    oci.host.assert_unchanged(&before);
}

#[test]
fn what_fails_behind_the_gate_is_told_by_start_in_words() {
    need!(Root, OurRuntime);
    let oci = Oci::new();
    let late = |key: &str, value: serde_json::Value| {
        let bundle = oci.bundle(|spec| spec["process"][key] = value);
        oci.create(&bundle).ok();
        oci.call(&["start", &bundle.id]).fails()
    };
    late("scheduler", json!({ "policy": "SCHED_FIFO", "priority": 1000 }))
        .says("cannot set the scheduler: invalid argument");
    // A program that is there, and for another machine: only execve finds out.
    let bundle = oci.bundle_of(&["/bin/odd"]);
    std::fs::write(bundle.rootfs().join("bin/odd"), b"\x7fELF no program").unwrap();
    oci.host.shell(&format!("chmod 755 {}", bundle.rootfs().join("bin/odd").display())).ok();
    oci.create(&bundle).ok();
    oci.call(&["start", &bundle.id]).fails().says("cannot execute /bin/odd: ");
}
