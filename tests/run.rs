//! `rbox run` in the foreground: what goes in, what comes out, how it ends.

use crate::support::{BUSYBOX, Host, need};
use nix::sys::signal::Signal;
use serde_json::json;
use std::fs;
use std::io::Write;

#[test]
fn the_program_runs_and_its_output_and_exit_code_come_back() {
    need!(Root);
    let host = Host::with_busybox();
    let output = host.run(&[], &["sh", "-c", "echo out; echo err >&2; exit 42"]).code(42);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
}

#[test]
fn exit_codes_are_dockers() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&["--no-such-flag"], &["true"]).code(125);
    host.run(&[], &["/etc/passwd"]).code(126);
    host.run(&[], &["/etc"]).code(126);
    host.run(&[], &["no-such-program"]).code(127);
    host.run(&[], &["/no/such/program"]).code(127);
    host.run(&[], &["sh", "-c", "exit 3"]).code(3);
    host.run(&["--init"], &["sh", "-c", "kill -9 $$"]).code(137);
    host.run(&["--init"], &["sh", "-c", "kill -TERM $$"]).code(143);
}

#[test]
fn the_images_own_command_runs_unless_another_is_given() {
    need!(Root);
    let host = Host::new();
    host.load("busybox");
    host.load("probe");
    let see = |words: &[&str]| {
        let words = [&["run", "--rm", "--network", "none"], words].concat();
        host.rbox(&words)
    };
    assert_eq!(see(&["rbox-fixtures/probe", "exit", "9"]).code, 9, "arguments go to the entry point");
    assert_eq!(see(&["--entrypoint", "/bin/echo", BUSYBOX, "one", "two"]).ok().stdout, "one two\n");
    // busybox's own command is a shell: without input it ends at once.
    see(&[BUSYBOX]).ok();
}

#[test]
fn standard_input_is_open_only_with_i() {
    need!(Root);
    let host = Host::with_busybox();
    for (flag, heard) in [("--interactive=true", "typed\n"), ("--interactive=false", "")] {
        let mut running = host.rbox_spawn(&["run", "--rm", "--network", "none", flag, BUSYBOX, "cat"]);
        running.child.stdin.take().unwrap().write_all(b"typed\n").unwrap();
        assert_eq!(running.wait().ok().stdout, heard, "{flag}");
    }
}

#[test]
fn environment_directory_user_and_names() {
    need!(Root);
    let host = Host::with_busybox();
    fs::write(host.path("env"), "FROM_FILE=yes\n# comment\nSECOND=2\n").unwrap();
    let file = host.path("env").display().to_string();
    let seen = host.see(&[
        "--network",
        "none",
        "-e",
        "A=1",
        "--env",
        "B=two words",
        "--env-file",
        &file,
        "-w",
        "/var/www",
        "-u",
        "www-data",
        "-h",
        "inside",
        "--domainname",
        "example.test",
    ]);
    for (key, value) in [("A", "1"), ("B", "two words"), ("FROM_FILE", "yes"), ("SECOND", "2"), ("HOSTNAME", "inside")]
    {
        assert_eq!(seen["env"][key], value, "{key}");
    }
    assert_eq!(seen["env"]["PATH"], "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    assert_eq!(seen["env"]["HOME"], "/var/www");
    assert_eq!(seen["cwd"], "/var/www");
    assert_eq!((&seen["uid"], &seen["gid"]), (&json!(33), &json!(33)));
    assert_eq!((&seen["hostname"], &seen["domainname"]), (&json!("inside"), &json!("example.test")));
    assert_eq!(seen["files"]["/etc/hostname"], "inside\n");
}

#[test]
fn users_are_names_or_numbers_of_the_images_own_files() {
    need!(Root);
    let host = Host::with_busybox();
    for (user, uid, gid) in [
        ("0", 0, 0),
        ("33", 33, 33),
        ("nobody", 65534, 65534),
        ("5000", 5000, 0),
        ("www-data:10", 33, 10),
        ("7:daemon", 7, 1),
    ] {
        let seen = host.see(&["--network", "none", "-u", user]);
        assert_eq!((&seen["uid"], &seen["gid"]), (&json!(uid), &json!(gid)), "{user}");
    }
    host.run(&["--network", "none", "-u", "nosuch"], &["true"]).code(125).says("nosuch");
    let seen = host.see(&["--network", "none", "-u", "www-data", "--group-add", "daemon", "--group-add", "777"]);
    assert_eq!(seen["groups"], json!([1, 33, 777]), "{}", seen["groups"]);
}

#[test]
fn volumes_mounts_and_tmpfs() {
    need!(Root);
    let host = Host::with_busybox();
    let shared = host.path("shared");
    fs::create_dir(&shared).unwrap();
    let shared = shared.display().to_string();
    let (read_write, read_only) = (format!("{shared}:/rw"), format!("{shared}:/ro:ro"));
    let mount = format!("type=bind,source={shared},target=/m,readonly");
    let script = "echo x > /rw/made && cat /ro/made /m/made
                  for d in /ro /m; do touch $d/no 2>/dev/null || echo refused; done
                  echo y > /scratch/f && stat -f -c %T /scratch && grep -q 'size=1024k' /proc/mounts && echo sized";
    let flags = [
        "--network",
        "none",
        "-v",
        &read_write,
        "-v",
        &read_only,
        "--mount",
        &mount,
        "--tmpfs",
        "/scratch:size=1m,mode=700",
    ];
    let output = host.run(&flags, &["sh", "-c", script]).ok();
    assert_eq!(output.stdout, "x\nx\nrefused\nrefused\ntmpfs\nsized\n");
    assert_eq!(fs::read_to_string(host.path("shared/made")).unwrap(), "x\n");
}

#[test]
fn a_read_only_root_file_system() {
    need!(Root);
    let host = Host::with_busybox();
    let script =
        "touch /new 2>/dev/null || echo refused; echo x > /tmp/x 2>/dev/null || echo refused; touch /t/ok && echo ok";
    let output = host.run(&["--network", "none", "--read-only", "--tmpfs", "/t"], &["sh", "-c", script]).ok();
    assert_eq!(output.stdout, "refused\nrefused\nok\n");
}

#[test]
fn a_directory_as_root_file_system() {
    need!(Root);
    let host = Host::new();
    let root = host.path("tree");
    crate::support::make_rootfs(&root);
    let seen =
        host.rbox(&["run", "--rm", "--network", "none", "--rootfs", &root.display().to_string(), "/probe", "see"]);
    assert_eq!(seen.ok().json()["pid"], 1);
}

#[test]
fn what_one_container_writes_the_next_does_not_see() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&["--network", "none"], &["sh", "-c", "echo mine > /left; rm /etc/passwd"]).ok();
    host.run(&["--network", "none"], &["sh", "-c", "test ! -e /left && test -s /etc/passwd"]).ok();
}

#[test]
fn the_cidfile_holds_the_whole_identifier_and_is_not_overwritten() {
    need!(Root);
    let host = Host::with_busybox();
    let file = host.path("cid").display().to_string();
    host.run(&["--network", "none", "--cidfile", &file], &["true"]).ok();
    let id = fs::read_to_string(&file).unwrap();
    assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    host.run(&["--network", "none", "--cidfile", &file], &["true"]).code(125).says(&file);
}

#[test]
fn a_name_is_taken_while_its_container_lives() {
    need!(Root);
    let host = Host::with_busybox();
    let flags = ["--network", "none", "--name", "web"];
    let first = host.run_ready(&flags, &["/probe", "signal-wait"]);
    host.run(&flags, &["true"]).code(125).says("web");
    first.end().ok();
    host.run(&flags, &["true"]).ok();
}

#[test]
fn the_hostname_is_the_first_twelve_digits_of_the_identifier() {
    need!(Root);
    let host = Host::with_busybox();
    let file = host.path("cid").display().to_string();
    let name = host.run_text(&["--network", "none", "--cidfile", &file], &["hostname"]);
    assert_eq!(name, fs::read_to_string(&file).unwrap()[..12]);
}

#[test]
fn signals_reach_the_program() {
    need!(Root);
    let host = Host::with_busybox();
    let mut running = host.run_ready(&["--network", "none"], &["/probe", "signal-wait"]);
    for signal in [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGWINCH, Signal::SIGINT] {
        running.signal(signal);
        running.wait_for(signal.as_str());
    }
    running.signal(Signal::SIGTERM);
    running.wait_for("SIGTERM");
    running.wait().code(0);
}

#[test]
fn without_sig_proxy_a_signal_is_rboxs_own() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&["--network", "none"], &["true"]).ok();
    let before = host.snapshot();
    let running = host.run_ready(&["--network", "none", "--sig-proxy=false"], &["/probe", "signal-wait"]);
    running.signal(Signal::SIGTERM);
    let output = running.wait();
    assert!(!output.stdout.contains("SIGTERM"), "{output}");
    // It ended rbox, as any program; the next command sees to what it left.
    host.run(&["--network", "none"], &["true"]).ok();
    host.assert_unchanged(&before);
}

#[test]
fn a_small_init_reaps_orphans() {
    need!(Root);
    let host = Host::with_busybox();
    let script = "(sleep 0.1 &) ; sleep 0.5; ps -o pid,stat,args; echo end";
    let output = host.run(&["--network", "none", "--init"], &["sh", "-c", script]).ok();
    assert!(!output.stdout.contains(" Z "), "{output}");
    let first = host.run(&["--network", "none", "--init"], &["/probe", "see", "identity"]).ok().json();
    assert_ne!(first["pid"], 1, "process 1 is the init");
}

#[test]
fn a_150_the_namespaces_are_private_or_the_hosts() {
    need!(Root);
    let host = Host::with_busybox();
    let own = |name: &str| host.shell(&format!("readlink /proc/self/ns/{name}")).ok().text().to_owned();
    let private = host.see(&["--network", "none"]);
    for name in ["pid", "net", "ipc", "uts", "mnt"] {
        assert_ne!(private["namespaces"][name], own(name), "{name}");
    }
    for (flag, name) in
        [("--pid=host", "pid"), ("--ipc=host", "ipc"), ("--uts=host", "uts"), ("--cgroupns=host", "cgroup")]
    {
        let shared = host.see(&["--network", "none", flag]);
        assert_eq!(shared["namespaces"][name], own(name), "{flag}");
    }
}

#[test]
fn nothing_is_left_of_a_container() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&[], &["true"]).ok();
    let before = host.snapshot();
    host.run(&["-p", "8080:80"], &["true"]).ok();
    host.run(&["-p", "8080:80"], &["no-such-program"]).code(127);
    host.run(&["-p", "8080:80", "--memory", "1"], &["true"]).fails();
    host.assert_unchanged(&before);
}

#[test]
fn the_kernel_has_nothing_to_complain_of() {
    need!(Root);
    let host = Host::with_busybox();
    let complaints = "dmesg | grep -c 'unrecognized mount option'";
    let before = host.shell(complaints).text().to_owned();
    host.run(&[], &["true"]).ok();
    assert_eq!(host.shell(complaints).text(), before, "an option was tried that this kernel does not know");
    assert!(!before.is_empty());
}
