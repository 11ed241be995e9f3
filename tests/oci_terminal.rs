//! A terminal for the container: made inside, handed out over the console socket (runc's `docs/terminals.md`).

use crate::oci_users::{FIRST, give, own_users};
use crate::support::{Oci, Pty, need};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::json;
use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

/// Wait for the runtime to send the master of the container's terminal.
fn receive_terminal(listener: &UnixListener) -> File {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0_u8; 4096];
    recvmsg(&stream, &mut [IoSliceMut::new(&mut name)], &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            let fds: Vec<_> = fds.collect();
            assert_eq!(fds.len(), 1, "one terminal, one descriptor");
            return File::from(fds.into_iter().next().unwrap());
        }
    }
    panic!("no descriptor came over the console socket");
}

fn read_until(terminal: &mut File, words: &str) -> String {
    let mut screen = String::new();
    let end = Instant::now() + Duration::from_secs(10);
    let mut buffer = [0_u8; 1024];
    while !screen.contains(words) && Instant::now() < end {
        match terminal.read(&mut buffer) {
            // EIO: nobody has the other side open (any more, or yet).
            Ok(0) | Err(_) => std::thread::sleep(Duration::from_millis(5)),
            Ok(length) => screen += &String::from_utf8_lossy(&buffer[..length]),
        }
    }
    assert!(screen.contains(words), "no `{words}` on the screen:\n{screen}");
    screen
}

fn listen(at: &Path) -> UnixListener {
    UnixListener::bind(at).unwrap()
}

#[test]
fn create_sends_the_terminal_over_the_console_socket() {
    need!(Root);
    let oci = Oci::new();
    let socket = oci.host.path("console.sock");
    let listener = listen(&socket);
    let bundle = oci.bundle(|spec| {
        spec["process"]["terminal"] = json!(true);
        spec["process"]["consoleSize"] = json!({ "height": 33, "width": 99 });
        let script = "stty size; /probe tty-size; read line; echo \"got $line\"";
        spec["process"]["args"] = json!(["/bin/sh", "-c", script]);
    });
    oci.create_with(&bundle, &["--console-socket", &socket.display().to_string()]).ok();
    let mut terminal = receive_terminal(&listener);
    oci.call(&["start", &bundle.id]).ok();
    let screen = read_until(&mut terminal, "}");
    assert!(screen.contains("33 99"), "{screen}");
    let answer = &screen[screen.find('{').unwrap()..=screen.rfind('}').unwrap()];
    let answer: serde_json::Value = serde_json::from_str(answer).unwrap();
    for side in ["stdin", "stdout", "stderr", "controlling"] {
        assert_eq!(answer[side], true, "{side}");
    }
    assert!(["/dev/pts/0", "/dev/console"].contains(&answer["name"].as_str().unwrap()), "{answer}");
    terminal.write_all(b"hello\n").unwrap();
    read_until(&mut terminal, "got hello");
    oci.wait_status(&bundle, "stopped");
    oci.call(&["delete", &bundle.id]).ok();
}

#[test]
fn the_console_is_the_containers_terminal() {
    need!(Root);
    let oci = Oci::new();
    let socket = oci.host.path("console.sock");
    let listener = listen(&socket);
    let bundle = oci.bundle(|spec| {
        spec["process"]["terminal"] = json!(true);
        spec["process"]["args"] = json!(["/bin/sh", "-c", "echo by the back door > /dev/console; sleep 60"]);
    });
    oci.create_with(&bundle, &["--console-socket", &socket.display().to_string()]).ok();
    let mut terminal = receive_terminal(&listener);
    oci.call(&["start", &bundle.id]).ok();
    read_until(&mut terminal, "by the back door");
    oci.call(&["delete", "--force", &bundle.id]).ok();
}

#[test]
fn exec_has_a_terminal_of_its_own() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    let socket = oci.host.path("console.sock");
    let listener = listen(&socket);
    let words = ["exec", "--detach", "--tty", "--console-socket", &socket.display().to_string(), &bundle.id];
    let words: Vec<&str> = words.into_iter().chain(["/bin/sh", "-c", "tty; read x"]).collect();
    oci.detached(&bundle, &words).ok();
    let mut terminal = receive_terminal(&listener);
    read_until(&mut terminal, "/dev/pts/0");
    oci.call(&["delete", "--force", &bundle.id]).ok();
}

#[test]
fn a_terminal_needs_a_console_socket_when_detached_and_none_otherwise() {
    need!(Root);
    let oci = Oci::new();
    let wanted = oci.bundle(|spec| spec["process"]["terminal"] = json!(true));
    oci.create(&wanted).fails();
    let not_wanted = oci.bundle(|_| {});
    oci.create_with(&not_wanted, &["--console-socket", "/run/none.sock"]).fails();
}

#[test]
fn run_in_the_foreground_ties_its_own_terminal_to_the_containers() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle(|spec| {
        spec["process"]["terminal"] = json!(true);
        // runc ties the terminals together after the program has begun: on a busy machine the first look is too early.
        let looks = "until stty size | grep -v '^0 0'; do sleep 0.1; done";
        let script = format!("{looks}; echo ready; read line; echo \"got $line\"; stty size; exit 7");
        spec["process"]["args"] = json!(["/bin/sh", "-c", script]);
    });
    let words = oci.words(&["run", "--bundle", &bundle.path(), &bundle.id]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut pty = Pty::spawn(&oci.host, 31, 91, &crate::support::runtime().display().to_string(), &words);
    let screen = pty.wait_for("ready");
    assert!(screen.contains("31 91"), "{screen}");
    pty.resize(41, 101);
    std::thread::sleep(Duration::from_millis(300));
    pty.send("typed\r");
    let (code, screen) = pty.wait();
    assert_eq!(code, 7, "{screen}");
    assert!(screen.contains("got typed") && screen.contains("41 101"), "{screen}");
}

#[test]
fn a_terminal_belongs_to_a_user_of_the_containers_user_namespace() {
    need!(Root);
    let oci = Oci::new();
    let socket = oci.host.path("console.sock");
    let listener = listen(&socket);
    let bundle = oci.bundle(|spec| {
        own_users(spec);
        spec["process"]["terminal"] = json!(true);
        spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        spec["process"]["args"] = json!(["/bin/sh", "-c", "stat -c %u:%g $(tty); read line; echo \"got $line\""]);
    });
    oci.host.shell(&format!("chmod 755 {}", oci.host.path("").display())).ok();
    give(&bundle.rootfs(), FIRST);
    oci.create_with(&bundle, &["--console-socket", &socket.display().to_string()]).ok();
    let mut terminal = receive_terminal(&listener);
    oci.call(&["start", &bundle.id]).ok();
    read_until(&mut terminal, "1000:5");
    terminal.write_all(b"hello\n").unwrap();
    read_until(&mut terminal, "got hello");
}
