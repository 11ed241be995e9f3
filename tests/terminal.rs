//! `rbox run -t`: a terminal of its own for the program, tied to the person's.

use crate::support::{BUSYBOX, Host, Pty, need};
use nix::sys::termios::LocalFlags;
use serde_json::Value;

const RUN: [&str; 5] = ["run", "--rm", "-it", "--network", "none"];

fn start(host: &Host, program: &[&str]) -> Pty {
    Pty::rbox(host, &[&RUN[..], &[BUSYBOX], program].concat())
}

#[test]
fn the_program_has_a_terminal_of_the_persons_size() {
    need!(Root);
    let host = Host::with_busybox();
    let bind = format!("{}:/probe:ro", crate::support::probe().display());
    let pty = Pty::rbox(&host, &[&RUN[..], &["-v", &bind, BUSYBOX, "/probe", "tty-size"]].concat());
    let (code, screen) = pty.wait();
    assert_eq!(code, 0, "{screen}");
    let seen: Value = serde_json::from_str(&screen[screen.find('{').unwrap()..]).unwrap();
    for side in ["stdin", "stdout", "stderr", "controlling"] {
        assert_eq!(seen[side], true, "{side}: {seen}");
    }
    assert_eq!(seen["size"], "24 80");
}

#[test]
fn a_new_size_is_passed_on() {
    need!(Root);
    let host = Host::with_busybox();
    // The first size may arrive as a signal too, when the program is quick.
    let script =
        "trap 'stty size' WINCH; echo ready; until stty size | grep -q '40 132'; do sleep 0.05; done; sleep 0.1";
    let mut pty = start(&host, &["sh", "-c", script]);
    pty.wait_for("ready");
    pty.resize(40, 132);
    pty.wait_for("40 132");
    assert_eq!(pty.wait().0, 0);
}

#[test]
fn keys_arrive_one_by_one_and_control_c_is_the_programs() {
    need!(Root);
    let host = Host::with_busybox();
    let script = "trap 'echo interrupted; exit 5' INT; echo ready; while :; do sleep 0.05; done";
    let mut pty = start(&host, &["sh", "-c", script]);
    pty.wait_for("ready");
    assert!(!pty.settings().local_flags.contains(LocalFlags::ICANON), "the person's terminal is raw meanwhile");
    pty.send("\x03");
    pty.wait_for("interrupted");
    assert_eq!(pty.wait().0, 5);
}

#[test]
fn a_shell_can_be_talked_to() {
    need!(Root);
    let host = Host::with_busybox();
    let mut pty = start(&host, &["sh"]);
    pty.wait_for("# ");
    pty.send("echo $((6 * 7)); tty\r");
    pty.wait_for("42");
    pty.send("exit 9\r");
    assert_eq!(pty.wait().0, 9);
}

#[test]
fn the_terminal_is_restored_at_the_end_and_after_kill_9() {
    need!(Root);
    let host = Host::with_busybox();
    let mut pty = start(&host, &["sh", "-c", "echo ready; sleep 60"]);
    let cooked = LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG;
    pty.wait_for("ready");
    assert!(!pty.settings().local_flags.contains(cooked));
    let rbox = crate::support::rbox().display().to_string();
    host.shell(&format!("pkill -9 -o -f '^{rbox} '")).ok();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while !pty.settings().local_flags.contains(cooked) {
        assert!(std::time::Instant::now() < end, "the terminal stayed raw after kill -9");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn output_without_a_terminal_is_left_as_it_is() {
    need!(Root);
    let host = Host::with_busybox();
    // With -t line feeds become CR LF, as on any terminal; without it bytes are bytes.
    assert_eq!(host.run(&["--network", "none"], &["printf", "a\\nb\\n"]).ok().stdout, "a\nb\n");
    assert_eq!(host.run(&["--network", "none", "-t"], &["printf", "a\\nb\\n"]).ok().stdout, "a\r\nb\r\n");
}

#[test]
fn i_and_t_without_a_terminal_are_refused() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&["--network", "none", "-it"], &["true"]).code(125).says("terminal");
}

#[test]
fn much_output_arrives_whole() {
    need!(Root);
    let host = Host::with_busybox();
    let output = host.run(&["--network", "none"], &["seq", "1", "200000"]).ok();
    assert_eq!(output.stdout.lines().count(), 200_000);
    assert!(output.stdout.ends_with("\n200000\n"));
}
