//! `rbox exec`: a further program in a running container (A-013, A-020).

use crate::support::{BUSYBOX, Host, Output, Pty, Running, need};
use nix::sys::signal::Signal;
use nix::sys::termios::LocalFlags;
use serde_json::json;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

/// A container that does nothing, for a long time.
fn idle(host: &Host, flags: &[&str]) -> Running {
    let flags = [&["--network", "none", "--name", "web"], flags].concat();
    host.run_ready(&flags, &["sh", "-c", "echo ready; exec sleep 1000"])
}

fn exec(host: &Host, flags: &[&str], program: &[&str]) -> Output {
    host.rbox(&[&["exec"], flags, &["web"], program].concat())
}

#[test]
fn the_programs_output_and_exit_code_come_back() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = idle(&host, &[]);
    let output = exec(&host, &[], &["sh", "-c", "echo out; echo err >&2; exit 42"]).code(42);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
    exec(&host, &[], &["sh", "-c", "kill -9 $$"]).code(137);
    exec(&host, &[], &["sh", "-c", "kill -TERM $$"]).code(143);
    let listed = exec(&host, &[], &["ps", "-o", "pid,args"]).ok();
    assert!(listed.stdout.contains("1 sleep 1000"), "it sees the container's processes: {listed}");
}

#[test]
fn what_cannot_be_run_has_dockers_codes() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = idle(&host, &[]);
    exec(&host, &[], &["no-such-program"]).code(127).says("executable file not found in $PATH");
    exec(&host, &[], &["/etc/passwd"]).code(126).says("permission denied");
    exec(&host, &["-w", "/no/such/place"], &["true"]).code(126).says("/no/such/place");
    exec(&host, &["-u", "nosuch"], &["true"]).code(126).says("nosuch");
    exec(&host, &["-d"], &["no-such-program"]).code(1).says("executable file not found");
    exec(&host, &["--nosuch"], &["true"]).code(125).says("unknown flag --nosuch");
    host.rbox(&["exec", "web"]).code(1).says("COMMAND is missing");
    host.rbox(&["exec", "nosuch", "true"]).code(1).says("container nosuch: not found");
}

#[test]
fn only_a_running_container_takes_a_program() {
    need!(Root);
    let host = Host::with_busybox();
    host.rbox(&["run", "--name", "done", "--network", "none", BUSYBOX, "true"]).ok();
    host.rbox(&["exec", "done", "true"]).code(1).says("cannot exec in container done: it is not running");
    let _web = idle(&host, &[]);
    host.rbox(&["pause", "web"]).ok();
    exec(&host, &[], &["true"]).code(1).says("it is paused");
    host.rbox(&["unpause", "web"]).ok();
    exec(&host, &[], &["true"]).ok();
}

#[test]
fn environment_directory_and_user_are_the_containers_unless_typed() {
    need!(Root);
    let host = Host::with_busybox();
    let _web =
        idle(&host, &["-e", "A=1", "-e", "B=2", "-w", "/var", "-u", "www-data", "--group-add", "7", "-h", "box"]);
    let see = |flags: &[&str]| exec(&host, flags, &["/probe", "see"]).ok().json();
    let seen = see(&[]);
    assert_eq!((&seen["env"]["A"], &seen["env"]["HOSTNAME"]), (&json!("1"), &json!("box")));
    assert_eq!((&seen["cwd"], &seen["uid"], &seen["env"]["HOME"]), (&json!("/var"), &json!(33), &json!("/var/www")));
    assert_eq!(seen["groups"], json!([7, 33]));
    assert_eq!(seen["env"].get("TERM"), None);
    fs::write(host.path("env"), "FROM_FILE=yes\nB=3\n").unwrap();
    let file = host.path("env").display().to_string();
    let seen = see(&["-e", "A", "-e", "C=4", "--env-file", &file, "-w", "/tmp", "-u", "0:10"]);
    assert_eq!(seen["env"].get("A"), None, "a name that the caller has not takes the variable away");
    assert_eq!((&seen["env"]["B"], &seen["env"]["C"]), (&json!("3"), &json!("4")));
    assert_eq!((&seen["cwd"], &seen["uid"], &seen["gid"]), (&json!("/tmp"), &json!(0), &json!(10)));
}

#[test]
fn privileged_gives_all_capabilities_and_keeps_the_filter() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = idle(&host, &["--cap-drop", "ALL"]);
    let status = |flags: &[&str]| exec(&host, flags, &["grep", "-E", "^(CapEff|Seccomp):", "/proc/self/status"]).ok();
    assert!(status(&[]).stdout.contains("CapEff:\t0000000000000000"), "the container's own");
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let all = own.lines().find(|line| line.starts_with("CapEff")).unwrap();
    let privileged = status(&["--privileged"]);
    assert!(privileged.stdout.contains(all) && privileged.stdout.contains("Seccomp:\t2"), "{privileged}");
}

#[test]
fn standard_input_is_open_only_with_i() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = idle(&host, &[]);
    for (flags, heard) in [(&["exec", "-i"][..], "typed\n"), (&["exec"], "")] {
        let mut running = host.rbox_spawn(&[flags, &["web", "cat"]].concat());
        running.child.stdin.take().unwrap().write_all(b"typed\n").unwrap();
        assert_eq!(running.wait().ok().stdout, heard, "{flags:?}");
    }
    host.rbox(&["exec", "-it", "web", "true"]).code(1).says("not a terminal");
}

#[test]
fn a_program_that_is_not_root_opens_its_own_streams_by_name() {
    need!(Root);
    let host = Host::with_busybox();
    let script = "read line </dev/stdin; echo got $line >/dev/stdout; echo err >/dev/stderr";
    let _web = idle(&host, &["-u", "www-data"]);
    for flags in [&["-i"][..], &["-i", "-u", "33:10"], &["-i", "-u", "0"]] {
        let mut running = host.rbox_spawn(&[&["exec"], flags, &["web", "sh", "-c", script]].concat());
        running.child.stdin.take().unwrap().write_all(b"typed\n").unwrap();
        let output = running.wait().ok();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("got typed\n", "err\n"), "{flags:?}");
    }
    let mut running =
        host.rbox_spawn(&["run", "-i", "--rm", "-u", "33", "--network", "none", BUSYBOX, "sh", "-c", script]);
    running.child.stdin.take().unwrap().write_all(b"typed\n").unwrap();
    let output = running.wait().ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("got typed\n", "err\n"), "run");
    assert_eq!(fs::metadata("/dev/null").unwrap().uid(), 0, "the host's device is nobody's but its own");
}

#[test]
fn a_020_a_program_has_a_terminal_of_the_persons_size() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = idle(&host, &[]);
    let mut pty = Pty::rbox(&host, &["exec", "-it", "web", "sh"]);
    pty.wait_for("# ");
    pty.send("stty size; echo $TERM $((6 * 7))\r");
    let seen = pty.wait_for("xterm 42");
    assert!(seen.contains("24 80"), "{seen}");
    pty.resize(40, 132);
    pty.send("until stty size | grep '40 132'; do sleep 0.1; done; echo re''sized\r");
    pty.wait_for("resized");
    pty.send("exit 9\r");
    assert_eq!(pty.wait().0, 9);
}

#[test]
fn a_new_size_reaches_the_program_as_a_signal() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = idle(&host, &[]);
    let script = "trap 'stty size' WINCH; trap 'echo int; exit 5' INT; echo ready; while :; do sleep 0.05; done";
    let mut pty = Pty::rbox(&host, &["exec", "-it", "web", "sh", "-c", script]);
    pty.wait_for("ready");
    pty.resize(40, 132);
    pty.wait_for("40 132");
    pty.send("\x03");
    pty.wait_for("int");
    assert_eq!(pty.wait().0, 5);
}

#[test]
fn a_terminal_that_vanishes_takes_its_program_along_and_not_the_container() {
    need!(Root);
    let host = Host::with_busybox();
    let web = idle(&host, &[]);
    let mut pty = Pty::rbox(&host, &["exec", "-it", "web", "sh", "-c", "echo ready; sleep 4321; true"]);
    pty.wait_for("ready");
    pty.vanish(&host, "exec -it");
    let waits = "for n in $(seq 200); do pgrep -f 'sleep 432[1]' >/dev/null || exit 0; sleep 0.05; done; exit 1";
    exec(&host, &[], &["sh", "-c", waits]).ok();
    assert!(web.try_pid().is_some());
}

#[test]
fn a_signal_reaches_the_program_and_not_the_container() {
    need!(Root);
    let host = Host::with_busybox();
    let web = idle(&host, &[]);
    let mut running = host.rbox_spawn(&["exec", "web", "/probe", "signal-wait"]);
    running.wait_for("ready");
    running.signal(Signal::SIGUSR1);
    running.wait_for("SIGUSR1");
    running.signal(Signal::SIGTERM);
    running.wait().code(0);
    assert!(web.try_pid().is_some());
    exec(&host, &[], &["true"]).ok();
}

#[test]
fn what_a_program_leaves_behind_does_not_keep_exec_waiting() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = idle(&host, &[]);
    let writes = "while test ! -e /enough; do echo more; done & echo first; exit 7";
    let output = exec(&host, &[], &["sh", "-c", writes]).code(7);
    assert!(output.stdout.contains("first\n"), "{}", output.stdout.len());
    exec(&host, &[], &["touch", "/enough"]).ok();
}

/// A container that stops whatever enters it, until the file `go` is in the folder: an `exec` hangs on its way in.
fn hostile(host: &Host) -> Running {
    let folder = host.path("hold");
    fs::create_dir(&folder).unwrap();
    let bind = format!("{}:/hold", folder.display());
    let script = "echo ready; while test ! -e /hold/go; do kill -STOP -1 2>/dev/null; done; \
                  while :; do kill -CONT -1 2>/dev/null; sleep 0.1; done";
    host.run_ready(&["--network", "none", "--name", "web", "-v", &bind], &["sh", "-c", script])
}

/// Name and pid of the process that is stopped; nothing when nobody is.
fn stopped(host: &Host) -> Option<(String, String)> {
    let script = "for one in /proc/[0-9]*; do grep -qs '^State:.T' $one/status && cat $one/comm && echo ${one#/proc/} && exit; done";
    let said = host.shell(script).stdout;
    let (name, pid) = said.trim().split_once('\n')?;
    Some((name.to_owned(), pid.to_owned()))
}

/// Start an `exec` until one is stopped before it has become the program: some are faster than the container.
#[track_caller]
fn caught<T>(host: &Host, start: impl Fn() -> T) -> T {
    for _ in 0..20 {
        let one = start();
        let (name, pid) = until(|| stopped(host));
        if name.starts_with("rbox") {
            return one;
        }
        host.shell(&format!("kill -9 {pid}; rm -f hold/ran")).ok();
        until(|| stopped(host).is_none().then_some(()));
    }
    panic!("none was stopped on its way in");
}

#[track_caller]
fn until<T>(look: impl Fn() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not within 20 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_exec_that_hangs_on_its_way_in_is_ended_by_a_signal() {
    need!(Root);
    let host = Host::with_busybox();
    let web = hostile(&host);
    let mut killed = None;
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGKILL, 137)] {
        let words = ["exec", "web", "sh", "-c", "echo >/hold/ran; exec sleep 1000"];
        let mut running = caught(&host, || host.rbox_spawn(&words));
        running.signal(signal);
        let end = Instant::now() + Duration::from_secs(20);
        while running.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "{signal} does not end it");
            std::thread::sleep(Duration::from_millis(20));
        }
        // What it had begun goes with it. After kill -9 that may be when it is let go on.
        if signal == Signal::SIGKILL {
            killed = Some((running, code));
        } else {
            until(|| stopped(&host).is_none().then_some(()));
            running.wait().code(code);
        }
    }
    fs::write(host.path("hold/go"), "").unwrap();
    until(|| stopped(&host).is_none().then_some(()));
    let (running, code) = killed.unwrap();
    running.wait().code(code);
    assert!(!host.path("hold/ran").exists(), "the program ran though nobody waits for it");
    assert!(web.try_pid().is_some());
}

#[test]
fn keys_typed_before_the_program_runs_reach_it_and_a_key_ends_one_that_never_does() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = hostile(&host);
    let pty = caught(&host, || Pty::rbox(&host, &["exec", "-it", "web", "sh"]));
    assert!(pty.settings().local_flags.contains(LocalFlags::ISIG | LocalFlags::ECHO), "the terminal is the person's");
    pty.send("\x03");
    assert_ne!(pty.wait().0, 0);
    until(|| stopped(&host).is_none().then_some(()));
    let mut pty = caught(&host, || Pty::rbox(&host, &["exec", "-it", "web", "sh"]));
    pty.send("echo ty''ped; stty size\r");
    pty.resize(40, 132);
    fs::write(host.path("hold/go"), "").unwrap();
    let seen = pty.wait_for("40 132");
    assert!(seen.contains("typed\r\n"), "{seen}");
    pty.send("exit 9\r");
    assert_eq!(pty.wait().0, 9);
}

#[test]
fn detached_it_goes_on_alone() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = idle(&host, &[]);
    for flag in ["-d", "-dt"] {
        let script = "trap 'touch /gone' HUP; test -t 1 && touch /tty; seq 1 20000; touch /done$0; sleep 1000";
        let output = exec(&host, &[flag], &["sh", "-c", script, flag]).ok();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""), "{flag}");
        let waits = format!("for i in $(seq 100); do test -e /done{flag} && exit 0; sleep 0.1; done; exit 1");
        exec(&host, &[], &["sh", "-c", &waits]).ok();
        exec(&host, &[], &["test", "-e", "/tty"]).code(i32::from(flag == "-d"));
    }
    exec(&host, &[], &["test", "!", "-e", "/gone"]).ok();
}
