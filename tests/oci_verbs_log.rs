//! What is said of an error, on standard error and in the log, and which flags hold for every verb.

use crate::oci_verbs::is_runc;
use crate::support::{Oci, need};
use serde_json::Value;
use std::fs;

#[test]
fn a_wrong_command_line_is_refused_and_does_nothing() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    for words in [
        &["state"][..],
        &["state", &bundle.id, "more"],
        &["pause"],
        &["kill", "--no-such-flag", &bundle.id],
        &["delete", "-x", &bundle.id],
        &["events", &bundle.id, "--stats=maybe"],
        &["--log-format", "xml", "state", &bundle.id],
    ] {
        let output = oci.call(words).code(1);
        if !is_runc() {
            assert_eq!(output.stderr.lines().count(), 1, "{output}");
            assert!(output.stderr.starts_with("rbox-runtime: "), "{output}");
        }
    }
    assert_eq!(oci.state(&bundle)["status"], "running");
}

/// (command line, exit code, what is said)
const WORDS: &[(&[&str], i32, &str)] = &[
    (&["state", "nobody"], 1, "container nobody does not exist"),
    (&["state", "a/b"], 1, "container id \"a/b\": invalid: letters, digits and _ + - . are allowed"),
    (&["start", "ID"], 1, "cannot start container ID: it is paused"),
    (&["exec", "ID", "true"], 255, "cannot exec in container ID: it is paused"),
    (&["pause", "ID"], 1, "cannot pause container ID: container not running: it is paused"),
    (&["delete", "ID"], 1, "cannot delete container ID: it is paused"),
    (&["checkpoint", "ID"], 1, "checkpoint: is not supported"),
    (&["restore", "--lazy-pages", "ID"], 1, "restore: is not supported"),
    (
        &["exec", "--cgroup", "../x", "--ignore-paused", "ID", "true"],
        255,
        "--cgroup ../x: leads out of the container's group",
    ),
    (
        &["update", "ID", "--l3-cache-schema", "x"],
        1,
        "--l3-cache-schema: this container was made without linux.intelRdt",
    ),
    (
        &["update", "ID", "--memory", "x"],
        1,
        "invalid value 'x' for '--memory <BYTES>': must be a number of bytes, as 512m, or -1",
    ),
    (&["list", "-f", "xml"], 1, "invalid value 'xml' for '--format <FORMAT>' [possible values: table, json]"),
    (&["lisst"], 1, "unrecognized subcommand 'lisst' tip: a similar subcommand exists: 'list'"),
    (&["kill", "--al", "ID"], 1, "unexpected argument '--al' found tip: a similar argument exists: '--all'"),
    (&["kill"], 1, "the following required arguments were not provided: <ID>"),
];

#[test]
fn errors_are_one_line_with_the_name_that_was_typed() {
    need!(Root, OurRuntime);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    oci.call(&["pause", &bundle.id]).ok();
    for (words, code, said) in WORDS {
        let words: Vec<&str> = words.iter().map(|word| if *word == "ID" { bundle.id.as_str() } else { word }).collect();
        let output = oci.call(&words).code(*code);
        assert_eq!(
            output.stderr,
            format!(
                "rbox-runtime: {}\n",
                said.replace("ID:", &format!("{}:", bundle.id))
                    .replace("container ID", &format!("container {}", bundle.id))
            ),
            "{output}"
        );
    }
}

/// Docker reads the first line of it.
#[test]
fn the_version_is_told_as_runc_tells_it() {
    need!(Root);
    let oci = Oci::new();
    for flag in ["--version", "-v"] {
        let output = oci.call(&[flag]).ok();
        let lines: Vec<&str> = output.stdout.lines().collect();
        let (name, number) = lines[0].split_once(" version ").unwrap();
        assert!(
            ["runc", "rbox-runtime"].contains(&name) && number.starts_with(|c: char| c.is_ascii_digit()),
            "{output}"
        );
        let spec = lines.iter().find_map(|line| line.strip_prefix("spec: ")).unwrap();
        assert_eq!(oci.call(&["features"]).ok().json()["ociVersionMax"], spec);
        let bundle = oci.running(|_| {});
        assert_eq!(oci.state(&bundle)["ociVersion"], spec);
    }
}

/// The lines of the log, parsed.
fn log(oci: &Oci) -> Vec<Value> {
    let text = fs::read_to_string(oci.host.path("log")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn logged<'a>(path: &'a str, words: &[&'a str]) -> Vec<&'a str> {
    [&["--log", path, "--log-format", "json"], words].concat()
}

#[test]
fn the_log_has_one_json_object_a_line() {
    need!(Root);
    let oci = Oci::new();
    let path = oci.host.path("log").display().to_string();
    let output = oci.call(&logged(&path, &["pause", "nobody"])).code(1);
    assert!(output.stderr.contains("does not exist"), "{output}");
    let lines = log(&oci);
    let last = lines.last().unwrap().as_object().unwrap();
    assert_eq!(last.keys().collect::<Vec<_>>(), ["level", "msg", "time"]);
    assert_eq!(last["level"], "error");
    assert!(last["msg"].as_str().unwrap().contains("does not exist"), "{last:?}");
    let time = last["time"].as_str().unwrap();
    assert!(time.len() >= 20 && &time[10..11] == "T", "{time}");
    let count = lines.len();

    // It goes on where it was.
    oci.call(&logged(&path, &["pause", "nobody"])).code(1);
    assert_eq!(log(&oci).len(), 2 * count);
}

#[test]
fn without_a_file_standard_error_is_the_log() {
    need!(Root);
    let oci = Oci::new();
    let output = oci.call(&["--log-format", "json", "pause", "nobody"]).code(1);
    let line: Value = serde_json::from_str(&output.stderr).unwrap_or_else(|error| panic!("{error}: {output}"));
    assert_eq!(line["level"], "error");
}

#[test]
fn the_log_of_each_step_is_json_too() {
    need!(Root);
    let oci = Oci::new();
    let path = oci.host.path("log").display().to_string();
    let bundle = oci.bundle_of(&["/bin/true"]);
    let words = ["--debug", "run", "--bundle", &bundle.path(), &bundle.id];
    let output = oci.call(&logged(&path, &words)).ok();
    assert_eq!(output.stderr, "");
    let lines = log(&oci);
    assert!(lines.len() > 2 && lines.iter().all(|line| line["level"] == "debug"), "{lines:#?}");
}

#[test]
fn the_log_as_text_has_level_message_and_time() {
    need!(Root);
    let oci = Oci::new();
    let path = oci.host.path("log").display().to_string();
    oci.call(&["--log", &path, "pause", "nobody"]).code(1);
    let text = fs::read_to_string(&path).unwrap();
    let line = text.lines().last().unwrap();
    assert!(line.starts_with("time=\"20") && line.contains(" level=error msg=\""), "{line}");
}

#[test]
fn a_log_that_cannot_be_written_is_an_error() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    oci.call(&["--log", "/nowhere/log", "kill", &bundle.id, "KILL"]).code(1).says("/nowhere/log");
    assert_eq!(oci.state(&bundle)["status"], "running");
}

/// containerd reads nothing but the log. (runc 1.1 prints its usage and leaves the log empty.)
#[test]
fn a_wrong_flag_is_in_the_log_too() {
    need!(Root, OurRuntime);
    let oci = Oci::new();
    let path = oci.host.path("log").display().to_string();
    oci.call(&logged(&path, &["pause", "--no-such-flag", "nobody"])).code(1);
    let lines = log(&oci);
    assert!(lines[0]["msg"].as_str().unwrap().contains("--no-such-flag"), "{lines:?}");
    oci.call(&logged(&path, &["nap", "nobody"])).code(1);
    assert!(log(&oci)[1]["msg"].as_str().unwrap().contains("nap"));
}

#[test]
fn the_path_of_criu_is_taken_as_runc_takes_it() {
    need!(Root);
    let oci = Oci::new();
    oci.call(&["--criu", "/usr/sbin/criu", "list"]).ok();
    if !is_runc() {
        oci.call(&["--criu", "/usr/sbin/criu", "list"]).ok().says("level=warning");
    }
}

#[test]
fn rootless_takes_runcs_words() {
    need!(Root);
    let oci = Oci::new();
    for word in ["auto", "false", "0", "F"] {
        oci.call(&["--rootless", word, "list"]).ok();
    }
    // runc asks for it only where it matters.
    if !is_runc() {
        oci.call(&["--rootless", "perhaps", "list"]).code(1);
    }
}
