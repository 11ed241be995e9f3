//! Terminals that come and go: `run -it`, the detach keys, `attach`, two at once.

use crate::support::{BUSYBOX, Host, Pty, need};
use nix::sys::termios::LocalFlags;

const RUN: [&str; 6] = ["run", "-it", "--network", "none", "--name", "tty1"];

fn shell(host: &Host) -> Pty {
    let mut pty = Pty::rbox(host, &[&RUN[..], &[BUSYBOX, "sh"]].concat());
    pty.wait_for("# ");
    pty
}

#[test]
fn the_detach_keys_leave_and_attach_comes_back() {
    need!(Root);
    let host = Host::with_busybox();
    let mut pty = shell(&host);
    pty.send("x=kept; echo s''et\r");
    pty.wait_for("set");
    pty.send("\x10\x11");
    let (code, _) = pty.wait();
    assert_eq!(code, 0);
    assert!(host.shown("tty1", "Status").starts_with("Up "));
    let mut again = Pty::rbox(&host, &["attach", "tty1"]);
    again.send("\recho $x''!\r");
    again.wait_for("kept!");
    again.send("exit 6\r");
    assert_eq!(again.wait().0, 6);
    assert!(host.shown("tty1", "Status").starts_with("Exited (6)"));
}

#[test]
fn other_detach_keys() {
    need!(Root);
    let host = Host::with_busybox();
    let mut pty = Pty::rbox(
        &host,
        &["run", "-it", "--network", "none", "--name", "tty1", "--detach-keys", "ctrl-x", BUSYBOX, "sh"],
    );
    pty.wait_for("# ");
    pty.send("\x18");
    assert_eq!(pty.wait().0, 0);
    let again = Pty::rbox(&host, &["attach", "--detach-keys", "q", "tty1"]);
    again.send("q");
    let (code, screen) = again.wait();
    assert_eq!(code, 1);
    assert!(screen.contains("read escape sequence"), "{screen}");
    host.rbox(&["rm", "-f", "tty1"]).ok();
}

#[test]
fn the_terminal_is_as_before_after_leaving() {
    need!(Root);
    let host = Host::with_busybox();
    // A shell around it, so that the terminal outlives rbox.
    let rbox = format!(
        "{} --root {} --state {}",
        crate::support::rbox().display(),
        host.path("data").display(),
        host.path("state").display()
    );
    let mut pty = Pty::spawn(
        &host,
        24,
        80,
        "/bin/sh",
        &["-c", &format!("{rbox} {} {BUSYBOX} sh; echo left; cat", RUN.join(" "))],
    );
    pty.wait_for("# ");
    let cooked = LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG;
    assert!(!pty.settings().local_flags.intersects(cooked));
    pty.send("\x10\x11");
    pty.wait_for("left");
    assert!(pty.settings().local_flags.contains(cooked));
    host.rbox(&["rm", "-f", "tty1"]).ok();
}

#[test]
fn two_that_are_attached_see_the_same() {
    need!(Root);
    let host = Host::with_busybox();
    let mut first = shell(&host);
    let mut second = Pty::rbox(&host, &["attach", "tty1"]);
    // An empty line makes a prompt: now it is attached.
    second.send("\r");
    second.wait_for("# ");
    first.send("echo from-''first\r");
    first.wait_for("from-first");
    second.wait_for("from-first");
    second.send("echo from-''second\r");
    first.wait_for("from-second");
    second.wait_for("from-second");
    first.send("\x10\x11");
    assert_eq!(first.wait().0, 0);
    second.send("exit 4\r");
    assert_eq!(second.wait().0, 4);
}

#[test]
fn a_new_size_and_control_c_reach_the_program_through_attach() {
    need!(Root);
    let host = Host::with_busybox();
    let script = "trap 'stty size' WINCH; trap 'echo int; exit 5' INT; echo ready; while :; do sleep 0.05; done";
    host.detached(&["-it", "--network", "none", "--name", "tty1"], &["sh", "-c", script]);
    host.until(&["logs", "tty1"], "ready");
    let mut pty = Pty::rbox(&host, &["attach", "tty1"]);
    pty.wait_for("24 80");
    pty.resize(40, 132);
    pty.wait_for("40 132");
    pty.send("\x03");
    assert_eq!(pty.wait().0, 5);
}

#[test]
fn attached_from_a_terminal_of_another_size() {
    need!(Root);
    let host = Host::with_busybox();
    let script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done";
    let mut first = Pty::rbox(&host, &[&RUN[..], &[BUSYBOX, "sh", "-c", script]].concat());
    first.wait_for("ready");
    let mut second = Pty::rbox_sized(&host, (50, 100), &["attach", "tty1"]);
    second.wait_for("50 100");
    first.wait_for("50 100");
    // The last who has changed it says how large it is, as with Docker.
    first.resize(30, 90);
    second.wait_for("30 90");
    second.resize(33, 66);
    first.wait_for("33 66");
    second.send("\x10\x11");
    assert_eq!(second.wait().0, 1, "left");
    first.send("\x10\x11");
    assert_eq!(first.wait().0, 0, "left");
    let mut third = Pty::rbox_sized(&host, (11, 22), &["attach", "tty1"]);
    third.wait_for("11 22");
    host.rbox(&["rm", "-f", "tty1"]).ok();
    assert_eq!(third.wait().0, 137);
}

#[test]
fn a_terminal_that_vanishes_leaves_the_container_as_it_is() {
    need!(Root);
    let host = Host::with_busybox();
    // By its window's end (SIGHUP) nobody is told but the command, as with Docker: this shell would end of it.
    let mut pty = shell(&host);
    pty.send("x=kept; echo s''et\r");
    pty.wait_for("set");
    pty.vanish(&host, "run -it");
    assert!(host.shown("tty1", "Status").starts_with("Up "));
    // Of two that are attached the other one stays.
    let mut stays = Pty::rbox(&host, &["attach", "tty1"]);
    stays.send("\recho $x-''one\r");
    stays.wait_for("kept-one");
    let mut goes = Pty::rbox(&host, &["attach", "--detach-keys", "q", "tty1"]);
    goes.send("\recho $x-''two\r");
    goes.wait_for("kept-two");
    goes.vanish(&host, "attach --detach-keys q");
    stays.send("echo $x-''three; exit 3\r");
    stays.wait_for("kept-three");
    assert_eq!(stays.wait().0, 3);
}

#[test]
fn a_terminal_that_vanishes_while_much_is_written_holds_nobody_up() {
    need!(Root);
    let host = Host::with_busybox();
    let script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo line $i; done; echo through; exec sleep 1000";
    let mut pty = Pty::rbox(&host, &[&RUN[..], &[BUSYBOX, "sh", "-c", script]].concat());
    pty.wait_for("line 10");
    // Its screen is not read any more, and then it is gone.
    pty.vanish(&host, "run -it");
    host.until(&["logs", "--tail", "1", "tty1"], "through");
    host.rbox(&["rm", "-f", "tty1"]).ok();
}

#[test]
fn a_signal_to_the_command_is_not_the_programs_where_there_is_a_terminal() {
    need!(Root);
    let host = Host::with_busybox();
    let pty = shell(&host);
    host.shell("pkill -TERM -f '^[^ ]*rbox .* run -it'").ok();
    let (code, screen) = pty.wait();
    assert_eq!(code, 128 + 15, "{screen}");
    assert!(screen.contains("the program goes on") && screen.contains("rbox attach tty1"), "{screen}");
    assert!(host.shown("tty1", "Status").starts_with("Up "));
    host.rbox(&["rm", "-f", "tty1"]).ok();
}

#[test]
fn detach_keys_of_several_and_where_they_begin_but_do_not_end() {
    need!(Root);
    let host = Host::with_busybox();
    let keys = ["--detach-keys", "ctrl-a,d"];
    let mut pty = Pty::rbox(&host, &[&RUN[..], &keys, &[BUSYBOX, "sh"]].concat());
    pty.wait_for("# ");
    // Ctrl-P Ctrl-Q are keys like others now, and Ctrl-A is one unless d follows.
    pty.send("\x10\x11\x15echo on\x01e''cho c\r");
    let seen = pty.wait_for("echo on");
    assert!(!seen.contains("read escape"), "{seen}");
    pty.send("\x01");
    pty.send("d");
    assert_eq!(pty.wait().0, 0);
    assert!(host.shown("tty1", "Status").starts_with("Up "));
    host.rbox(&["attach", "--detach-keys", "ctrl-?", "tty1"]).code(125).says("--detach-keys");
    host.rbox(&["rm", "-f", "tty1"]).ok();
}

#[test]
fn a_command_killed_with_9_leaves_its_terminal_container_running() {
    need!(Root);
    let host = Host::with_busybox();
    let pty = shell(&host);
    let rbox = crate::support::rbox().display().to_string();
    host.shell(&format!("pkill -9 -o -f '^{rbox} .* run -it'")).ok();
    drop(pty);
    assert!(host.shown("tty1", "Status").starts_with("Up "));
    let mut again = Pty::rbox(&host, &["attach", "tty1"]);
    again.send("\recho al''ive; exit\r");
    again.wait_for("alive");
    assert_eq!(again.wait().0, 0);
}

#[test]
fn attach_without_a_terminal_carries_output_signals_and_the_exit_code() {
    need!(Root);
    let host = Host::with_busybox();
    host.detached(&["--network", "none", "--name", "pro"], &["/probe", "signal-wait"]);
    host.until(&["logs", "pro"], "ready");
    let mut attached = host.rbox_spawn(&["attach", "pro"]);
    // Attached is who hears the answer to a signal.
    std::thread::sleep(std::time::Duration::from_millis(500));
    attached.signal(nix::sys::signal::Signal::SIGUSR1);
    attached.wait_for("SIGUSR1");
    attached.signal(nix::sys::signal::Signal::SIGTERM);
    attached.wait_for("SIGTERM");
    attached.wait().code(0);
    host.rbox(&["attach", "pro"]).code(1).says("cannot attach to container pro: it does not run");
}

#[test]
fn what_is_attached_and_does_not_read_does_not_grow_the_monitor() {
    need!(Root);
    let host = Host::with_busybox();
    host.detached(&["--network", "none", "--name", "pro", "--log-driver", "none"], &["yes"]);
    let attached = host.rbox_spawn(&["attach", "pro"]);
    std::thread::sleep(std::time::Duration::from_secs(1));
    let rss = host.shell("grep -E '^(RssAnon)' /proc/$(pgrep -x rbox:monitor)/status | tr -dc 0-9").ok();
    assert!(rss.text().parse::<u64>().unwrap() < 3000, "RssAnon {} kB", rss.text());
    host.rbox(&["rm", "-f", "pro"]).ok();
    let _ = attached.wait();
}
