//! The life of a container: create, start, state, kill, delete (runtime-spec runtime.md).

use crate::support::{Oci, need};

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
