//! Every verb against a container in every status: exit code, words and effect, as runc has them.

use crate::support::{Bundle, Need, Oci, Output, lacks, need};
use serde_json::json;

/// Whether the runtime is runc, which these tests are proved on.
pub(crate) fn is_runc() -> bool {
    lacks(Need::OurRuntime).is_some()
}

/// What a container can be when a verb comes. `Gone` was never there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Created,
    Running,
    Paused,
    Stopped,
    Gone,
}

const STATUSES: [Status; 5] = [Status::Created, Status::Running, Status::Paused, Status::Stopped, Status::Gone];

/// What is expected of one verb at one status: it does its work and leaves the container so; or it fails with this code
/// and one of these words, and the container is as before.
enum Answer {
    Leaves(&'static str),
    Fails(i32, &'static [&'static str]),
}

use Answer::{Fails, Leaves};

/// A container of this status.
fn container(oci: &Oci, status: Status) -> Bundle {
    let bundle = oci.bundle_of(&["/probe", "signal-wait"]);
    if status == Status::Gone {
        return bundle;
    }
    oci.create(&bundle).ok();
    if status == Status::Created {
        return bundle;
    }
    oci.call(&["start", &bundle.id]).ok();
    oci.wait_for(&bundle, "ready");
    match status {
        Status::Paused => drop(oci.call(&["pause", &bundle.id]).ok()),
        Status::Stopped => {
            oci.call(&["kill", &bundle.id, "KILL"]).ok();
            oci.wait_status(&bundle, "stopped");
        }
        _ => {}
    }
    bundle
}

/// The container's status, or `gone`.
fn status_of(oci: &Oci, bundle: &Bundle) -> String {
    let output = oci.call(&["state", &bundle.id]);
    if output.code != 0 {
        assert!(output.stderr.contains("does not exist"), "{output}");
        return "gone".to_owned();
    }
    output.json()["status"].as_str().unwrap().to_owned()
}

/// Bring a container to each status, call the verb, and compare.
#[track_caller]
fn matrix(verb: impl Fn(&Oci, &Bundle) -> Output, expected: impl Fn(Status) -> Answer) {
    let oci = Oci::new();
    let before = oci.host.snapshot();
    for status in STATUSES {
        let bundle = container(&oci, status);
        let was = status_of(&oci, &bundle);
        let output = verb(&oci, &bundle);
        match expected(status) {
            Leaves(after) => {
                assert_eq!(output.code, 0, "{status:?}: {output}");
                await_status(&oci, &bundle, after, &format!("{status:?}: {output}"));
            }
            Fails(code, words) => {
                assert_eq!(output.code, code, "{status:?}: {output}");
                assert!(
                    words.iter().any(|word| output.stderr.contains(word)),
                    "{status:?}: none of {words:?}: {output}"
                );
                assert_eq!(status_of(&oci, &bundle), was, "{status:?}: {output}");
            }
        }
        oci.call(&["delete", "--force", &bundle.id]).ok();
    }
    oci.host.assert_unchanged(&before);
}

/// A killed process takes its time to die.
fn await_status(oci: &Oci, bundle: &Bundle, after: &str, context: &str) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while status_of(oci, bundle) != after {
        let is = status_of(oci, bundle);
        assert!(std::time::Instant::now() < end, "{is}, not {after}: {context}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// A verb that takes a container and nothing else.
fn plain(verb: &'static str) -> impl Fn(&Oci, &Bundle) -> Output {
    move |oci, bundle| oci.call(&[verb, &bundle.id])
}

const NOT_THERE: Answer = Fails(1, &["does not exist"]);

#[test]
fn create_in_every_status() {
    need!(Root);
    matrix(
        |oci, bundle| oci.create(bundle),
        |status| match status {
            Status::Gone => Leaves("created"),
            // runc 1.1 has it "with given ID already exists".
            _ => Fails(1, &["already exists"]),
        },
    );
}

#[test]
fn run_in_every_status() {
    need!(Root);
    let run =
        |oci: &Oci, bundle: &Bundle| oci.detached(bundle, &["run", "--detach", "--bundle", &bundle.path(), &bundle.id]);
    matrix(run, |status| match status {
        Status::Gone => Leaves("running"),
        _ => Fails(1, &["already exists"]),
    });
}

#[test]
fn start_in_every_status() {
    need!(Root);
    matrix(plain("start"), |status| match status {
        Status::Created => Leaves("running"),
        Status::Running => Fails(1, &["already running", "it is running"]),
        Status::Paused => Fails(1, &["paused"]),
        Status::Stopped => Fails(1, &["stopped"]),
        Status::Gone => NOT_THERE,
    });
}

#[test]
fn state_in_every_status() {
    need!(Root);
    matrix(plain("state"), |status| match status {
        Status::Created => Leaves("created"),
        Status::Running => Leaves("running"),
        Status::Paused => Leaves("paused"),
        Status::Stopped => Leaves("stopped"),
        Status::Gone => NOT_THERE,
    });
}

#[test]
fn kill_in_every_status() {
    need!(Root);
    matrix(
        |oci, bundle| oci.call(&["kill", &bundle.id, "KILL"]),
        |status| match status {
            Status::Stopped => Fails(1, &["container not running"]),
            Status::Gone => NOT_THERE,
            _ => Leaves("stopped"),
        },
    );
}

#[test]
fn kill_all_in_every_status() {
    need!(Root);
    matrix(
        |oci, bundle| oci.call(&["kill", "--all", &bundle.id, "KILL"]),
        |status| match status {
            Status::Gone => NOT_THERE,
            // Nobody is left to be killed, and that is what was wanted.
            _ => Leaves("stopped"),
        },
    );
}

/// Signal 0 asks only whether there is somebody.
#[test]
fn kill_with_a_mild_signal_in_every_status() {
    need!(Root);
    matrix(
        |oci, bundle| oci.call(&["kill", &bundle.id, "0"]),
        |status| match status {
            Status::Created => Leaves("created"),
            Status::Running => Leaves("running"),
            Status::Paused => Leaves("paused"),
            Status::Stopped => Fails(1, &["container not running"]),
            Status::Gone => NOT_THERE,
        },
    );
}

#[test]
fn delete_in_every_status() {
    need!(Root);
    matrix(plain("delete"), |status| match status {
        Status::Created | Status::Stopped => Leaves("gone"),
        Status::Running => Fails(1, &["not stopped", "it is running"]),
        Status::Paused => Fails(1, &["not stopped", "it is paused"]),
        Status::Gone => NOT_THERE,
    });
}

#[test]
fn delete_by_force_in_every_status() {
    need!(Root);
    matrix(|oci, bundle| oci.call(&["delete", "--force", &bundle.id]), |_| Leaves("gone"));
}

#[test]
fn exec_in_every_status() {
    need!(Root);
    matrix(
        |oci, bundle| oci.call(&["exec", &bundle.id, "/probe", "exit", "0"]),
        |status| match status {
            Status::Created => Leaves("created"),
            Status::Running => Leaves("running"),
            Status::Paused => Fails(255, &["paused"]),
            Status::Stopped => Fails(255, &["stopped"]),
            Status::Gone => Fails(255, &["does not exist"]),
        },
    );
}

#[test]
fn pause_in_every_status() {
    need!(Root);
    matrix(plain("pause"), |status| match status {
        Status::Created | Status::Running => Leaves("paused"),
        Status::Paused | Status::Stopped => Fails(1, &["container not running"]),
        Status::Gone => NOT_THERE,
    });
}

#[test]
fn resume_in_every_status() {
    need!(Root);
    matrix(plain("resume"), |status| match status {
        Status::Paused => Leaves("running"),
        Status::Gone => NOT_THERE,
        _ => Fails(1, &["container not paused"]),
    });
}

#[test]
fn update_in_every_status() {
    need!(Root);
    matrix(
        |oci, bundle| oci.call(&["update", "--pids-limit", "77", &bundle.id]),
        |status| match status {
            Status::Created => Leaves("created"),
            Status::Running => Leaves("running"),
            Status::Paused => Leaves("paused"),
            Status::Stopped => Fails(1, &["container not running"]),
            Status::Gone => NOT_THERE,
        },
    );
}

#[test]
fn ps_in_every_status() {
    need!(Root);
    matrix(plain("ps"), |status| match status {
        Status::Created => Leaves("created"),
        Status::Running => Leaves("running"),
        Status::Paused => Leaves("paused"),
        Status::Stopped => Leaves("stopped"),
        Status::Gone => NOT_THERE,
    });
}

#[test]
fn events_in_every_status() {
    need!(Root);
    matrix(
        |oci, bundle| oci.call(&["events", "--stats", &bundle.id]),
        |status| match status {
            Status::Created => Leaves("created"),
            Status::Running => Leaves("running"),
            Status::Paused => Leaves("paused"),
            Status::Stopped => Fails(1, &["not running"]),
            Status::Gone => NOT_THERE,
        },
    );
}

/// runc checkpoints by way of CRIU; ours says that it does not, whatever is asked of it.
#[test]
fn checkpoint_and_restore_are_refused_in_every_status() {
    need!(Root, OurRuntime);
    for words in [
        &["checkpoint", "--image-path", "/nowhere", "--leave-running", "--tcp-established"][..],
        &["checkpoint", "--status-fd", "7", "--manage-cgroups-mode", "soft", "--empty-ns", "network"],
        &["restore", "--detach", "--bundle", "/nowhere", "--lsm-profile", "apparmor:x"],
        &["restore"],
    ] {
        let call = |oci: &Oci, bundle: &Bundle| {
            let mut words = words.to_vec();
            words.push(&bundle.id);
            oci.call(&words)
        };
        let word: &'static [&'static str] =
            if words[0] == "checkpoint" { &["checkpoint: is not supported"] } else { &["restore: is not supported"] };
        matrix(call, |_| Fails(1, word));
    }
}

#[test]
fn a_paused_container_lets_in_who_asks_for_it_and_keeps_him_waiting() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    oci.call(&["pause", &bundle.id]).ok();
    let words = oci.words(&["exec", "--ignore-paused", &bundle.id, "/probe", "exit", "7"]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let running = oci.host.spawn(&crate::support::runtime().display().to_string(), &words);
    std::thread::sleep(std::time::Duration::from_millis(500));
    oci.call(&["resume", &bundle.id]).ok();
    running.wait().code(7);
}

/// Of a pid namespace that the container shares, nothing dies with its first process.
#[test]
fn kill_ends_all_processes_of_a_container_without_a_pid_namespace_of_its_own() {
    need!(Root, OurRuntime);
    let oci = Oci::new();
    let bundle = oci.bundle(|spec| {
        spec["process"]["args"] = json!(["/bin/sh", "-c", "sleep 1000 & sleep 1001 & echo ready; wait"]);
        spec["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "pid");
    });
    oci.create(&bundle).ok();
    oci.call(&["start", &bundle.id]).ok();
    oci.wait_for(&bundle, "ready");
    oci.call(&["kill", &bundle.id, "KILL"]).ok();
    oci.wait_status(&bundle, "stopped");
    let left = oci.host.shell("sleep 0.2; ps -e -o comm= | grep -c '^sleep'");
    assert_eq!(left.text(), "0", "{left}");
    oci.call(&["delete", &bundle.id]).ok();
}
