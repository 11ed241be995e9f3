//! System calls that somebody else answers: `SCMP_ACT_NOTIFY` and `listenerPath` (runtime-spec config-linux.md#seccomp).

use crate::support::{Oci, need};
use libseccomp::{ScmpNotifReq, ScmpNotifResp, ScmpNotifRespFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// Takes one filter's descriptor and answers `calls` of its calls with "read-only file system" (EROFS, 30).
fn agent(path: &Path, calls: usize) -> JoinHandle<Value> {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut text = vec![0; 64 * 1024];
        let received =
            recvmsg(&stream, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
        // One message: runc keeps the connection open.
        text.truncate(received.bytes);
        let mut descriptors: Vec<OwnedFd> = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                descriptors.extend(fds);
            }
        }
        let [descriptor] = descriptors.as_slice() else { panic!("not one descriptor: {descriptors:?}") };
        for _ in 0..calls {
            let request = ScmpNotifReq::receive(descriptor.as_raw_fd()).unwrap();
            let answer = ScmpNotifResp::new_error(request.id, -30, ScmpNotifRespFlags::empty());
            answer.respond(descriptor.as_raw_fd()).unwrap();
        }
        serde_json::from_slice(&text).unwrap()
    })
}

fn notify(spec: &mut Value, socket: &Path) {
    spec["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": socket,
        "listenerMetadata": "what the agent knows it by",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY" }],
    });
}

fn socket(oci: &Oci, name: &str) -> PathBuf {
    oci.host.path(name)
}

#[test]
fn a_listener_answers_the_containers_calls() {
    need!(Root);
    for no_new_privileges in [true, false] {
        let oci = Oci::new();
        let path = socket(&oci, "agent.sock");
        let agent = agent(&path, 1);
        let bundle = oci.bundle(|spec| {
            notify(spec, &path);
            spec["process"]["noNewPrivileges"] = json!(no_new_privileges);
            spec["process"]["args"] = json!(["/bin/mkdir", "/tmp/new"]);
            spec["annotations"] = json!({ "colour": "green" });
        });
        oci.run(&bundle).fails().says("Read-only file system");
        let told = agent.join().unwrap();
        assert_eq!(told["fds"], json!(["seccompFd"]));
        assert_eq!(told["metadata"], "what the agent knows it by");
        assert!(told["pid"].as_i64().unwrap() > 1 && told["ociVersion"].is_string(), "{told}");
        assert_eq!(told["state"]["id"], bundle.id.as_str());
        assert_eq!(told["state"]["bundle"], bundle.path());
        assert_eq!(told["state"]["annotations"]["colour"], "green");
    }
}

#[test]
fn create_start_and_exec_each_hand_a_descriptor_over() {
    need!(Root);
    let oci = Oci::new();
    let path = socket(&oci, "agent.sock");
    let first = agent(&path, 0);
    let bundle = oci.bundle(|spec| {
        notify(spec, &path);
        spec["process"]["args"] = json!(["/probe", "signal-wait"]);
    });
    oci.create(&bundle).ok();
    oci.call(&["start", &bundle.id]).ok();
    oci.wait_for(&bundle, "ready");
    let pid = oci.state(&bundle)["pid"].as_i64().unwrap();
    assert_eq!(first.join().unwrap()["pid"], pid);
    std::fs::remove_file(&path).unwrap();
    let second = agent(&path, 1);
    oci.call(&["exec", &bundle.id, "/bin/mkdir", "/tmp/new"]).fails().says("Read-only file system");
    let told = second.join().unwrap();
    assert_ne!(told["pid"], pid);
    assert_eq!(told["state"]["status"], "running");
    assert_eq!(told["state"]["pid"], pid);
}

#[test]
fn without_anyone_who_listens_nothing_runs() {
    need!(Root);
    let oci = Oci::new();
    let before = oci.host.snapshot();
    let path = socket(&oci, "agent.sock");
    let bundle = oci.bundle(|spec| notify(spec, &path));
    oci.run(&bundle).fails().says("agent.sock");
    let bundle = oci.bundle(|spec| {
        notify(spec, &path);
        spec["linux"]["seccomp"].as_object_mut().unwrap().remove("listenerPath");
    });
    oci.run(&bundle).fails().says("listenerPath");
    let bundle = oci.bundle(|spec| {
        notify(spec, &path);
        spec["linux"]["seccomp"]["defaultAction"] = json!("SCMP_ACT_NOTIFY");
    });
    oci.run(&bundle).fails().says("SCMP_ACT_NOTIFY");
    oci.host.assert_unchanged(&before);
}
