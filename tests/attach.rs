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
    std::thread::sleep(std::time::Duration::from_millis(300));
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
fn a_terminal_that_vanishes_leaves_the_container_as_it_is() {
    need!(Root);
    let host = Host::with_busybox();
    let mut pty = Pty::rbox(&host, &[&RUN[..], &[BUSYBOX, "sh", "-c", "trap '' HUP; echo ready; sleep 600"]].concat());
    pty.wait_for("ready");
    drop(pty);
    let left = || host.shell("pgrep -fc -- 'rbo[x] .* run -it'").stdout.trim() == "0";
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !left() {
        assert!(std::time::Instant::now() < end, "the command stays without its terminal");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(host.shown("tty1", "Status").starts_with("Up "));
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
