//! The loop with real pipes, pseudo-terminals and processes; every child is an ordinary program of the system.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::pty::openpty;

use super::*;

struct Outcome {
    output: Vec<u8>,
    errors: Vec<u8>,
}

fn pidfd(child: &Child) -> OwnedFd {
    let pid = rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap()
}

fn pipes(child: &mut Child) -> Pipes {
    Pipes {
        input: child.stdin.take().map(Into::into),
        output: child.stdout.take().map(Into::into),
        errors: child.stderr.take().map(Into::into),
    }
}

fn read_all(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).unwrap();
        all
    })
}

/// Run `script` with pipes; `input` is what the caller types.
fn with_pipes(script: &str, input: Vec<u8>) -> Outcome {
    let mut child = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (from_caller, mut typed) = io::pipe().unwrap();
    let (seen_output, output) = io::pipe().unwrap();
    let (seen_errors, errors) = io::pipe().unwrap();
    let typist = std::thread::spawn(move || drop(typed.write_all(&input)));
    let (got_output, got_errors) = (read_all(seen_output), read_all(seen_errors));
    let pidfd = pidfd(&child);
    let caller = Caller { input: Some(from_caller.as_fd()), output: output.as_fd(), errors: errors.as_fd() };
    let session = Session {
        child: pidfd.as_fd(),
        streams: Streams::pipes(caller, pipes(&mut child)).unwrap(),
        signals: None,
        forward: &mut |_| {},
        watched: Vec::new(),
    };
    session.run().unwrap();
    drop((output, errors, from_caller));
    child.wait().unwrap();
    typist.join().unwrap();
    Outcome { output: got_output.join().unwrap(), errors: got_errors.join().unwrap() }
}

#[test]
fn a_megabyte_goes_through_unchanged() {
    let input: Vec<u8> = (0..1_000_003_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
    let got = with_pipes("cat; echo done >&2", input.clone());
    assert!(got.output == input, "{} of {} bytes", got.output.len(), input.len());
    assert_eq!(got.errors, b"done\n");
}

#[test]
fn the_end_of_input_reaches_the_program() {
    assert_eq!(with_pipes("wc -c", b"12345".to_vec()).output.trim_ascii(), b"5");
}

#[test]
fn a_program_that_does_not_read_its_input_ends_all_the_same() {
    assert_eq!(with_pipes("echo out", vec![b'x'; 1 << 20]).output, b"out\n");
}

#[test]
fn a_closed_output_ends_a_program_that_writes_for_ever() {
    let mut child = Command::new("yes").stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut seen, output) = io::pipe().unwrap();
    let reader = std::thread::spawn(move || seen.read_exact(&mut [0; 10]).unwrap());
    let pidfd = pidfd(&child);
    let caller = Caller { input: None, output: output.as_fd(), errors: output.as_fd() };
    let session = Session {
        child: pidfd.as_fd(),
        streams: Streams::pipes(caller, pipes(&mut child)).unwrap(),
        signals: None,
        forward: &mut |_| {},
        watched: Vec::new(),
    };
    session.run().unwrap();
    reader.join().unwrap();
    let status = child.wait().unwrap();
    assert!(!status.success(), "yes was told by SIGPIPE or EPIPE: {status}");
}

#[test]
fn an_orphan_that_keeps_the_output_open_is_not_waited_for() {
    let began = Instant::now();
    let got = with_pipes("sleep 5 & echo early", Vec::new());
    assert_eq!(got.output, b"early\n");
    assert!(began.elapsed().as_secs() < 3, "{:?}", began.elapsed());
}

#[test]
fn an_orphan_that_keeps_writing_is_heard_for_two_seconds() {
    let began = Instant::now();
    let got = with_pipes("echo first; while :; do echo more; done &", Vec::new());
    assert!(got.output.starts_with(b"first\nmore\n"));
    assert!((2..10).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[test]
fn a_slow_reader_gets_all_that_the_program_wrote_before_an_orphan() {
    let mut child = Command::new("sh")
        .args(["-c", "seq 1 12000; yes &"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut seen, output) = io::pipe().unwrap();
    let reader = std::thread::spawn(move || {
        // As somebody at a pager: long after the program has ended.
        std::thread::sleep(std::time::Duration::from_secs(3));
        let mut all = Vec::new();
        seen.read_to_end(&mut all).unwrap();
        all
    });
    let pidfd = pidfd(&child);
    let caller = Caller { input: None, output: output.as_fd(), errors: output.as_fd() };
    let streams = Streams::pipes(caller, pipes(&mut child)).unwrap();
    let session = Session { child: pidfd.as_fd(), streams, signals: None, forward: &mut |_| {}, watched: Vec::new() };
    session.run().unwrap();
    drop(output);
    child.wait().unwrap();
    let all = String::from_utf8(reader.join().unwrap()).unwrap();
    assert!(all.contains("\n12000\ny\n"), "{} bytes, the last of them {:?}", all.len(), &all[all.len() - 20..]);
}

#[test]
fn input_from_a_file_and_from_dev_null() {
    for (path, wanted) in [("/dev/null", 0), ("/etc/passwd", std::fs::metadata("/etc/passwd").unwrap().len())] {
        let file = std::fs::File::open(path).unwrap();
        let mut child = Command::new("wc").arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (seen, output) = io::pipe().unwrap();
        let pidfd = pidfd(&child);
        let caller = Caller { input: Some(file.as_fd()), output: output.as_fd(), errors: output.as_fd() };
        let session = Session {
            child: pidfd.as_fd(),
            streams: Streams::pipes(caller, pipes(&mut child)).unwrap(),
            signals: None,
            forward: &mut |_| {},
            watched: Vec::new(),
        };
        session.run().unwrap();
        child.wait().unwrap();
        drop(output);
        let text = String::from_utf8(read_all(seen).join().unwrap()).unwrap();
        assert_eq!(text.trim(), wanted.to_string(), "{path}");
    }
}

/// Run `script` on a terminal, with `act` on the caller's side of the caller's own terminal.
fn on_terminal(script: &str, act: impl FnOnce(OwnedFd) + Send + 'static) -> String {
    let (ours, theirs) = (openpty(None, None).unwrap(), openpty(None, None).unwrap());
    rustix::termios::tcsetwinsize(
        &ours.slave,
        rustix::termios::Winsize { ws_row: 44, ws_col: 111, ws_xpixel: 0, ws_ypixel: 0 },
    )
    .unwrap();
    let raw = terminal::Raw::enter(ours.slave.as_fd()).unwrap();
    let slave = theirs.slave;
    // The size is given before the program starts, as in rbox.
    let caller = Caller { input: Some(ours.slave.as_fd()), output: ours.slave.as_fd(), errors: ours.slave.as_fd() };
    let streams = Streams::terminal(caller, theirs.master).unwrap();
    let mut child = Command::new("setsid")
        .args(["-c", "-w", "sh", "-c", script])
        .stdin(slave.try_clone().unwrap())
        .stdout(slave.try_clone().unwrap())
        .stderr(slave)
        .spawn()
        .unwrap();
    let pidfd = pidfd(&child);
    let keyboard = ours.master.try_clone().unwrap();
    let screen = std::fs::File::from(ours.master);
    let typist = std::thread::spawn(move || act(keyboard));
    let shown = std::thread::spawn(move || {
        let mut all = Vec::new();
        // EIO when the other side is closed.
        let _ = (&screen).read_to_end(&mut all);
        String::from_utf8_lossy(&all).into_owned()
    });
    let session = Session { child: pidfd.as_fd(), streams, signals: None, forward: &mut |_| {}, watched: Vec::new() };
    session.run().unwrap();
    child.wait().unwrap();
    typist.join().unwrap();
    drop(raw);
    drop(ours.slave);
    shown.join().unwrap()
}

#[test]
fn a_terminal_carries_keys_and_output_and_has_the_callers_size() {
    let shown = on_terminal("stty size; read line; echo got $line", |keyboard| {
        std::fs::File::from(keyboard).write_all(b"hello\n").unwrap();
    });
    assert!(shown.contains("44 111\r\n"), "{shown:?}");
    assert!(shown.contains("got hello\r\n"), "{shown:?}");
}

#[test]
fn the_last_words_on_a_terminal_are_not_lost() {
    for _ in 0..20 {
        let shown = on_terminal("seq 1 2000", |_| {});
        assert!(shown.ends_with("\n1999\r\n2000\r\n"), "{}", &shown[shown.len().saturating_sub(40)..]);
    }
}

#[test]
fn signals_are_passed_on_and_watched_descriptors_are_called() {
    let mut child = Command::new("sh")
        .args(["-c", "trap 'echo usr1; exit' USR1; echo ready; while :; do sleep 0.05; done"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let signals = Signals::hold(true).unwrap();
    let (seen, output) = io::pipe().unwrap();
    let (bell, mut ring) = io::pipe().unwrap();
    ring.write_all(b"!").unwrap();
    let pidfd = pidfd(&child);
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    let (mut passed_on, mut rung) = (Vec::new(), 0);
    let me = nix::sys::pthread::pthread_self();
    let caller = Caller { input: None, output: output.as_fd(), errors: output.as_fd() };
    let mut forward = |signal| {
        passed_on.push(signal);
        nix::sys::signal::kill(pid, signal).unwrap();
    };
    let ready = || {
        rung += 1;
        // The trap is set by now or soon.
        std::thread::sleep(std::time::Duration::from_millis(300));
        nix::sys::pthread::pthread_kill(me, Signal::SIGUSR1).unwrap();
        false
    };
    let session = Session {
        child: pidfd.as_fd(),
        streams: Streams::pipes(caller, pipes(&mut child)).unwrap(),
        signals: Some(&signals),
        forward: &mut forward,
        watched: vec![Watched { fd: bell.try_clone().unwrap().into(), ready: Box::new(ready) }],
    };
    session.run().unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!((passed_on, rung), (vec![Signal::SIGUSR1], 1));
    drop(output);
    assert_eq!(read_all(seen).join().unwrap(), b"ready\nusr1\n");
}

#[test]
fn the_callers_descriptors_stay_blocking() {
    let (from, _typed) = io::pipe().unwrap();
    let (_seen, output) = io::pipe().unwrap();
    let (program, _) = io::pipe().unwrap();
    let caller = Caller { input: Some(from.as_fd()), output: output.as_fd(), errors: output.as_fd() };
    let ours = program.as_raw_fd();
    let streams = Streams::pipes(caller, Pipes { output: Some(program.into()), ..Pipes::default() }).unwrap();
    let blocking = |fd: BorrowedFd<'_>| fcntl(fd, FcntlArg::F_GETFL).unwrap() & OFlag::O_NONBLOCK.bits() == 0;
    assert!(blocking(from.as_fd()) && blocking(output.as_fd()));
    let ours = streams.outputs[0].from.fd().filter(|fd| fd.as_raw_fd() == ours).unwrap();
    assert!(!blocking(ours));
}

#[test]
fn a_signal_that_is_not_passed_on_takes_the_program_with_it() {
    let mut child = Command::new("sleep").arg("20").stdout(Stdio::piped()).spawn().unwrap();
    let signals = Signals::hold(false).unwrap();
    let (_seen, output) = io::pipe().unwrap();
    let pidfd = pidfd(&child);
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    let caller = Caller { input: None, output: output.as_fd(), errors: output.as_fd() };
    nix::sys::pthread::pthread_kill(nix::sys::pthread::pthread_self(), Signal::SIGWINCH).unwrap();
    nix::sys::pthread::pthread_kill(nix::sys::pthread::pthread_self(), Signal::SIGTERM).unwrap();
    let mut sent = Vec::new();
    let mut forward = |signal| {
        sent.push(signal);
        nix::sys::signal::kill(pid, signal).unwrap();
    };
    let session = Session {
        child: pidfd.as_fd(),
        streams: Streams::pipes(caller, pipes(&mut child)).unwrap(),
        signals: Some(&signals),
        forward: &mut forward,
        watched: Vec::new(),
    };
    session.run().unwrap();
    assert_eq!(sent, [Signal::SIGKILL]);
    assert!(!child.wait().unwrap().success());
}
