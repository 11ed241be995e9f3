//! Podman with `--runtime`, without a daemon.

use super::daemonless::{CONMON, PODMAN, Podman};
use super::stage::{need_engine, until};
use crate::support::need;

/// Lines of `podman run --rm FLAGS @image PROGRAM`, then what it prints.
const PRINTED: &[(&str, &str)] = &[
    ("@image echo hello", "hello"),
    ("--user 33:10 -w /var/www -e A=b @image sh -c 'id -u; id -g; pwd; echo $A'", "33\n10\n/var/www\nb"),
    ("--hostname box --systemd=false @image hostname", "box"),
    ("--cap-drop ALL --cap-add NET_ADMIN @image grep CapEff /proc/self/status", "CapEff:\t0000000000001000"),
    ("--read-only @image sh -c 'touch /file 2>/dev/null || echo refused'", "refused"),
    ("--tmpfs /scratch:size=1m @image sh -c 'stat -f -c %T /scratch'", "tmpfs"),
    (
        "-v @dir:/shared:ro @image sh -c 'cat /shared/file; touch /shared/new 2>/dev/null || echo refused'",
        "from the host\nrefused",
    ),
    ("@image grep Seccomp: /proc/self/status", "Seccomp:\t2"),
    ("--security-opt seccomp=unconfined @image grep Seccomp: /proc/self/status", "Seccomp:\t0"),
    ("--security-opt no-new-privileges @image grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1"),
    ("--memory 64m @image cat /sys/fs/cgroup/memory/memory.limit_in_bytes", "67108864"),
    ("--pids-limit 50 @image cat /sys/fs/cgroup/pids/pids.max", "50"),
    ("--ulimit nofile=100:200 --ulimit nproc=90:90 @image sh -c 'ulimit -n; ulimit -Hn'", "100\n200"),
    ("--network none @image ls /sys/class/net", "lo"),
    ("--init @image sh -c 'tr \"\\0\" \" \" </proc/1/cmdline | cut -c 1-16'", "/run/podman-init"),
    ("--umask 0077 @image sh -c umask", "0077"),
];

#[test]
fn podman_gives_a_container_what_its_flags_ask_for() {
    need!(Root, Iptables, CgroupV1);
    need_engine!(PODMAN, CONMON);
    let podman = Podman::start();
    for (line, printed) in PRINTED {
        let said = podman.podman(&format!("run --rm {line}"));
        assert!(said.code == 0 && said.text() == *printed, "expected `{printed}`:\n{said}");
    }
    podman.podman("run --rm @image sh -c 'exit 42'").code(42);
    assert_eq!(podman.typed("some words", "run --rm -i @image cat").ok().text(), "some words");
    podman.podman("run --rm @image no-such-program").code(127).says("executable file");
    podman.podman("run --rm @image /etc/passwd").code(126).says("ermission denied");
    podman.assert_clean();
}

#[test]
fn podman_enters_watches_pauses_and_ends_a_container() {
    need!(Root, Iptables);
    need_engine!(PODMAN, CONMON);
    let podman = Podman::start();
    podman.podman("run -d --name web @image sh -c 'trap \"echo bye; exit 5\" TERM; echo ready; n=0; while :; do n=$((n+1)); echo $n > /n; sleep 0.02; done'").ok();
    until("it is ready", || podman.podman("logs web"), |said| said.stdout.contains("ready"));
    assert_eq!(
        podman.text("exec -e A=b -w /tmp -u 33 web sh -c 'echo $A; pwd; id -u; head -c 2 /proc/1/cmdline'"),
        "b\n/tmp\n33\nsh"
    );
    assert_eq!(podman.typed("words", "exec -i web cat").ok().text(), "words");
    podman.podman("exec web sh -c 'exit 9'").code(9);
    podman.podman("exec web no-such-program").code(127);
    podman.podman("exec -d web sleep 3301").ok();
    until("it runs beside", || podman.podman("top web args"), |said| said.stdout.contains("sleep 3301"));
    let stats = podman.text("stats --no-stream --format '{{.Name}} {{.PIDs}}' web");
    assert!(stats.strip_prefix("web ").is_some_and(|pids| pids.parse::<u32>().is_ok_and(|pids| pids >= 2)), "{stats}");
    let pid = podman.text("inspect --format '{{.State.Pid}}' web");
    let now = || podman.host.shell(&format!("cat /proc/{pid}/root/n"));
    podman.podman("pause web").ok();
    let before = now().stdout;
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(now().stdout, before, "a paused program goes on");
    assert_eq!(podman.text("inspect --format '{{.State.Status}}' web"), "paused");
    podman.podman("unpause web").ok();
    until("it counts on", now, |said| said.stdout != before);
    podman.podman("stop --time 20 web").ok();
    assert_eq!(podman.text("inspect --format '{{.State.ExitCode}}' web"), "5");
    assert!(podman.text("logs web").ends_with("bye"));
    podman.podman("start web").ok();
    podman.podman("kill web").ok();
    assert_eq!(podman.text("wait web"), "137");
    podman.podman("rm -f web").ok();
    podman.assert_clean();
}

#[test]
fn podman_gives_a_container_and_an_exec_a_terminal() {
    need!(Root, Iptables);
    need_engine!(PODMAN, CONMON);
    let podman = Podman::start();
    let mut screen = podman.on_terminal("run --rm -it --name tty @image sh");
    screen.wait_for("# ");
    screen.send("tty; echo si\"ze\": $(stty size)\r");
    let seen = screen.wait_for("size: 30 100");
    assert!(seen.contains("/dev/pts/0"), "{seen}");
    let mut other = podman.on_terminal("exec -it tty sh");
    other.wait_for("# ");
    other.send("tty; echo si\"ze\": $(stty size); exit 4\r");
    let seen = other.wait_for("size: 30 100");
    assert!(seen.contains("/dev/pts/1"), "{seen}");
    assert_eq!(other.wait().0, 4);
    screen.send("exit 9\r");
    assert_eq!(screen.wait().0, 9);
    podman.assert_clean();
}

#[test]
fn podman_maps_users_as_asked() {
    need!(Root, Iptables);
    need_engine!(PODMAN, CONMON);
    let podman = Podman::start();
    let map = |flags: &str| {
        let said = podman
            .text(&format!("run --rm {flags} @image sh -c 'cat /proc/self/uid_map; id -u; touch /f && stat -c %u /f'"));
        said.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(map("--userns=host")[..5], ["0", "0", "4294967295", "0", "0"]);
    let auto = map("--userns=auto:size=2000");
    assert_eq!([&auto[0], &auto[2], &auto[3], &auto[4]], ["0", "2000", "0", "0"], "{auto:?}");
    assert!(auto[1].parse::<u32>().unwrap() >= 200_000, "{auto:?}");
    assert_eq!(map("--uidmap 0:300000:5000 --gidmap 0:300000:5000"), ["0", "300000", "5000", "0", "0"]);
    podman.assert_clean();
}

#[test]
fn podman_s_pod_shares_its_namespaces() {
    need!(Root, Iptables);
    need_engine!(PODMAN, CONMON);
    let podman = Podman::start();
    let pause = crate::support::fixture("pause").display().to_string();
    podman.podman(&format!("load --quiet --input {pause}")).ok();
    let id = podman
        .text("pod create --name pod --infra-image localhost/rbox-fixtures/pause --share net,ipc,uts,pid -p 8080:80");
    podman.podman("run -d --pod pod --name web @image sh -c 'mkdir -p /var/www; httpd -f -p 80 -h /var/www'").ok();
    podman.podman("run -d --pod pod --name other @image sleep 3302").ok();
    for kind in ["net", "ipc", "uts", "pid"] {
        let see = |name: &str| podman.text(&format!("exec {name} readlink /proc/self/ns/{kind}"));
        assert_eq!(see("web"), see("other"), "{kind}");
    }
    assert_eq!(podman.text("exec other head -c 6 /proc/1/cmdline"), "/probe");
    assert!(podman.text("exec other ps").contains("httpd -f"));
    let fetched = podman.host.neighbour().shell("curl -fsS --max-time 10 http://192.0.2.2:8080/index.html").ok();
    assert!(fetched.stdout.contains("hello from busybox"), "{fetched}");
    podman.podman("pod pause pod").ok();
    podman.podman("pod unpause pod").ok();
    podman.podman("pod stop --time 1 pod").ok();
    podman.podman("pod rm -f pod").ok();
    // Podman 4.3 forgets a pod's cgroup in the hierarchies without controllers. An empty one can be removed.
    for hierarchy in ["systemd", "unified"] {
        podman.host.shell(&format!("rmdir /sys/fs/cgroup/{hierarchy}/libpod_parent/{id}"));
    }
    podman.assert_clean();
}
