//! `process.apparmorProfile`: what a profile forbids is forbidden (runtime-spec config.md#linux-process).
//!
//! Profiles are the machine's, so this runs where the machine is the tests' own: in the VM.

use crate::support::{Bundle, Oci, Output, need};
use serde_json::{Value, json};
use std::fs;

/// May do everything but write below /tmp/denied: its other name is what Docker and containerd call theirs.
const PROFILE: &str = "flags=(attach_disconnected,mediate_deleted) {
  file, capability, network, mount, umount, pivot_root, ptrace, signal, unix,
  deny /tmp/denied/** w,
}";

/// A runtime on the machine, where this profile is loaded under each of the names.
fn oci(names: &[&str]) -> Oci {
    let oci = Oci::on_machine();
    for name in names {
        let file = oci.host.path(name);
        fs::write(&file, format!("profile {name} {PROFILE}\n")).unwrap();
        oci.host.shell(&format!("apparmor_parser --replace --skip-cache {}", file.display())).ok();
    }
    oci
}

fn confined(oci: &Oci, profile: &str) -> Bundle {
    let bundle = oci.running(|spec| spec["process"]["apparmorProfile"] = json!(profile));
    fs::create_dir(bundle.rootfs().join("tmp/denied")).unwrap();
    bundle
}

/// Which profile it has, and whether it may write here and there.
const TRY: &str = "cat /proc/self/attr/current; echo x > /tmp/free && echo free; echo x > /tmp/denied/x || echo denied";

/// The file of an `exec --process` that says this profile.
fn process(oci: &Oci, profile: Option<&str>) -> String {
    let file = oci.host.path("process.json");
    let mut process = json!({ "args": ["/bin/sh", "-c", TRY], "cwd": "/", "user": { "uid": 0, "gid": 0 } });
    process["env"] = json!(["PATH=/bin"]);
    if let Some(profile) = profile {
        process["apparmorProfile"] = json!(profile);
    }
    fs::write(&file, process.to_string()).unwrap();
    file.display().to_string()
}

#[track_caller]
fn assert_confined(output: &Output, profile: &str) {
    let said: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(said, [&format!("{profile} (enforce)"), "free", "denied"], "{output}");
    assert!(output.stderr.contains("Permission denied"), "{output}");
}

#[track_caller]
fn assert_free(output: &Output) {
    assert_eq!(output.stdout.lines().collect::<Vec<_>>(), ["unconfined", "free"], "{output}");
}

#[test]
fn the_program_of_config_json_is_confined() {
    need!(Root, AppArmor);
    // The second is what engines ask for by default.
    let names = ["rbox-test-config", "docker-default"];
    let oci = oci(&names);
    for name in names {
        for no_new_privs in [true, false] {
            let bundle = oci.bundle(|spec: &mut Value| {
                spec["process"]["args"] = json!(["/bin/sh", "-c", TRY]);
                spec["process"]["apparmorProfile"] = json!(name);
                spec["process"]["noNewPrivileges"] = json!(no_new_privs);
            });
            fs::create_dir(bundle.rootfs().join("tmp/denied")).unwrap();
            assert_confined(&oci.run(&bundle).ok(), name);
        }
    }
    let bundle = oci.bundle_of(&["/bin/sh", "-c", TRY]);
    fs::create_dir(bundle.rootfs().join("tmp/denied")).unwrap();
    assert_free(&oci.run(&bundle).ok());
}

#[test]
fn an_exec_is_confined_by_its_flag_by_its_process_or_as_the_first_program() {
    need!(Root, AppArmor);
    let oci = oci(&["rbox-test-first", "rbox-test-other"]);
    let free = oci.running(|_| {});
    fs::create_dir(free.rootfs().join("tmp/denied")).unwrap();
    let exec = |bundle: &Bundle, flags: &[&str]| {
        let words = [&["exec"], flags, &[&bundle.id, "/bin/sh", "-c", TRY]].concat();
        oci.call(&words).ok()
    };
    assert_free(&exec(&free, &[]));
    assert_confined(&exec(&free, &["--apparmor", "rbox-test-other"]), "rbox-test-other");
    let said = oci.call(&["exec", "--process", &process(&oci, Some("rbox-test-other")), &free.id]).ok();
    assert_confined(&said, "rbox-test-other");
    let bundle = confined(&oci, "rbox-test-first");
    assert_confined(&exec(&bundle, &[]), "rbox-test-first");
    assert_confined(&exec(&bundle, &["--apparmor", "rbox-test-other"]), "rbox-test-other");
    for bundle in [&free, &bundle] {
        oci.call(&["delete", "--force", &bundle.id]).ok();
    }
}

#[test]
fn a_profile_that_is_not_loaded_is_an_error() {
    need!(Root, AppArmor, OurRuntime);
    let oci = oci(&["rbox-test-first"]);
    let words = "cannot set the AppArmor profile no-such-profile: no profile of this name is loaded";
    let bundle = oci.bundle(|spec| spec["process"]["apparmorProfile"] = json!("no-such-profile"));
    oci.run(&bundle).fails().says(words);
    oci.call(&["delete", "--force", &bundle.id]).ok();
    let bundle = confined(&oci, "rbox-test-first");
    let asked = ["exec", "--apparmor", "no-such-profile", &bundle.id, "/bin/true"];
    oci.call(&asked).code(255).says(words);
    let file = process(&oci, Some("no-such-profile"));
    oci.call(&["exec", "--process", &file, &bundle.id]).code(255).says(words);
    oci.call(&["delete", "--force", &bundle.id]).ok();
}
