//! Docker with the runtime under test: `dockerd --add-runtime rbox=… --default-runtime rbox`.

use super::dockerd::Docker;
use super::stage::{root_is_whole, until};
use crate::docker::lacks_docker;
use crate::support::{BUSYBOX, need, skip};

/// Leave the test where docker.io is not installed.
macro_rules! need_docker {
    () => {
        need!(Root, Iptables);
        if let Some(reason) = lacks_docker() {
            skip(&reason);
            return;
        }
    };
}

/// Lines of `docker run --rm FLAGS @image PROGRAM`: the flags and the program, then what it prints.
const PRINTED: &[(&str, &str)] = &[
    ("@image echo hello", "hello"),
    ("--user 33:10 @image sh -c 'id -u; id -g'", "33\n10"),
    ("--user www-data --group-add 7 @image sh -c 'id -u; id -G'", "33\n33 7"),
    ("-w /var/www -e A=b @image sh -c 'pwd; echo $A'", "/var/www\nb"),
    ("--hostname box @image hostname", "box"),
    ("--cap-drop ALL @image grep CapEff /proc/self/status", "CapEff:\t0000000000000000"),
    ("--cap-drop ALL --cap-add NET_ADMIN @image grep CapEff /proc/self/status", "CapEff:\t0000000000001000"),
    ("@image grep CapEff /proc/self/status", "CapEff:\t00000000a80425fb"),
    ("--read-only @image sh -c 'touch /file 2>/dev/null || echo refused'", "refused"),
    (
        "--read-only --tmpfs /scratch:size=1m @image sh -c 'echo x >/scratch/f; df -k /scratch | tail -n 1 | cut -c 1-5'",
        "tmpfs",
    ),
    (
        "-v @dir:/shared:ro @image sh -c 'cat /shared/file; touch /shared/new 2>/dev/null || echo refused'",
        "from the host\nrefused",
    ),
    ("-v @dir:/shared @image sh -c 'echo back >/shared/back; cat /shared/back'", "back"),
    ("-v data:/data --mount type=tmpfs,dst=/t @image sh -c 'echo x >/data/f; stat -f -c %T /t'", "tmpfs"),
    ("@image grep Seccomp: /proc/self/status", "Seccomp:\t2"),
    ("--security-opt seccomp=unconfined @image grep Seccomp: /proc/self/status", "Seccomp:\t0"),
    ("--security-opt no-new-privileges @image grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1"),
    ("--device /dev/null:/dev/nothing:r @image stat -c %F /dev/nothing", "character special file"),
    ("--ulimit nofile=100:200 @image sh -c 'ulimit -n; ulimit -Hn'", "100\n200"),
    ("--sysctl net.ipv4.ip_unprivileged_port_start=80 @image cat /proc/sys/net/ipv4/ip_unprivileged_port_start", "80"),
    ("--shm-size 8m @image sh -c 'df -k /dev/shm | tail -n 1 | tr -s \" \" | cut -d \" \" -f 2'", "8192"),
    ("--memory 64m @image cat /sys/fs/cgroup/memory/memory.limit_in_bytes", "67108864"),
    ("--pids-limit 50 @image cat /sys/fs/cgroup/pids/pids.max", "50"),
    ("--cpus 0.5 --cpu-shares 512 @image sh -c 'cd /sys/fs/cgroup/cpu; cat cpu.cfs_quota_us cpu.shares'", "50000\n512"),
    ("--cpuset-cpus 0 @image cat /sys/fs/cgroup/cpuset/cpuset.cpus", "0"),
    ("--oom-score-adj 500 @image cat /proc/self/oom_score_adj", "500"),
    ("--network none @image ls /sys/class/net", "lo"),
    ("--add-host other:192.0.2.9 @image grep -c other /etc/hosts", "1"),
    ("--init @image sh -c 'tr \"\\0\" \" \" </proc/1/cmdline | cut -c 1-18'", "/sbin/docker-init"),
    ("--ipc none @image sh -c 'test -d /dev/shm || echo none'", "none"),
    ("--cgroupns private @image sed -n 's/.*memory://p' /proc/self/cgroup", "/"),
];

#[test]
fn docker_gives_a_container_what_its_flags_ask_for() {
    need_docker!();
    let docker = Docker::start();
    for (line, printed) in PRINTED {
        let said = docker.docker(&format!("run --rm {line}"));
        assert!(said.code == 0 && said.text() == *printed, "expected `{printed}`:\n{said}");
    }
    docker.docker("volume rm data").ok();
    if root_is_whole() {
        let see = "sh -c 'grep Seccomp: /proc/self/status; test -e /dev/kmsg && echo all devices'";
        assert_eq!(docker.text(&format!("run --rm --privileged @image {see}")), "Seccomp:\t0\nall devices");
    }
    docker.assert_clean();
}

#[test]
fn docker_passes_on_how_a_program_ends_and_why_it_cannot_start() {
    need_docker!();
    let docker = Docker::start();
    docker.docker("run --rm @image sh -c 'exit 42'").code(42);
    docker.docker("run --rm --init @image sh -c 'kill -9 $$'").code(137);
    assert_eq!(docker.typed("some words", "run --rm -i @image cat").ok().text(), "some words");
    docker.docker("run --rm @image no-such-program").code(127).says("executable file not found");
    docker.docker("run --rm @image /etc/passwd").code(126).says("permission denied");
    docker
        .docker("run --rm -v @dir/file:/bin @image true")
        .code(125)
        .says("Are you trying to mount a directory onto a file");
    docker.docker("run --rm --user nobody-there @image true").code(125).says("unable to find user");
    let said =
        docker.docker("run --rm --restart no --oom-kill-disable=false --memory 16m @image sh -c 'tail /dev/zero'");
    said.code(137);
    docker.assert_clean();
}

#[test]
fn docker_enters_watches_and_ends_a_container_in_the_background() {
    need_docker!();
    let docker = Docker::start();
    let id = docker.text(
        "run -d --name web @image sh -c 'trap \"echo bye; exit 5\" TERM; echo ready; while :; do sleep 0.1; done'",
    );
    docker.until("logs web", "ready");
    assert_eq!(docker.shown("web", "State.Status"), "running");
    assert_eq!(
        docker.text("exec -e A=b -w /tmp -u 33 web sh -c 'echo $A; pwd; id -u; head -c 2 /proc/1/cmdline'"),
        "b\n/tmp\n33\nsh"
    );
    assert_eq!(docker.typed("words", "exec -i web cat").ok().text(), "words");
    docker.docker("exec web sh -c 'exit 9'").code(9);
    // Docker 20.10 says this on the standard output, and has one code for both.
    for (program, why) in [("no-such-program", "executable file not found"), ("/etc/passwd", "permission denied")] {
        let said = docker.docker(&format!("exec web {program}")).code(126);
        assert!(said.stdout.contains(why), "{said}");
    }
    docker.docker("exec -d web sleep 3101").ok();
    docker.until("top web", "sleep 3101");
    let stats = docker.text("stats --no-stream --format '{{.ID}} {{.PIDs}} {{.MemUsage}}' web");
    let fields: Vec<&str> = stats.split_whitespace().collect();
    assert_eq!(fields[0], &id[..12]);
    assert!(fields[1].parse::<u32>().unwrap() >= 2 && fields[2] != "0B", "{stats}");
    std::fs::write(docker.engine.host.path("dir").join("sent"), "sent\n").unwrap();
    docker.docker("cp @dir/sent web:/tmp/sent").ok();
    assert_eq!(docker.text("exec web cat /tmp/sent"), "sent");
    docker.docker("cp web:/etc/passwd @dir/passwd").ok();
    assert!(std::fs::read_to_string(docker.engine.host.path("dir").join("passwd")).unwrap().contains("www-data"));
    docker.docker("stop --time 20 web").ok();
    assert_eq!(docker.shown("web", "State.ExitCode"), "5");
    assert!(docker.text("logs web").ends_with("bye"));
    docker.docker("start web").ok();
    docker.docker("kill web").ok();
    assert_eq!(docker.text("wait web"), "137");
    docker.docker("restart web").ok();
    assert_eq!(docker.shown("web", "State.Status"), "running");
    docker.docker("rm -f web").ok();
    docker.assert_clean();
}

#[test]
fn docker_pauses_and_updates_a_running_container() {
    need_docker!();
    let docker = Docker::start();
    docker.docker("run -d --name web --memory 64m --memory-swap 64m @image sh -c 'n=0; while :; do n=$((n+1)); echo $n > /n; sleep 0.01; done'").ok();
    docker.until("exec web cat /n", "\n");
    let pid = docker.shown("web", "State.Pid");
    let now = || docker.engine.host.shell(&format!("cat /proc/{pid}/root/n"));
    docker.docker("pause web").ok();
    assert_eq!(docker.shown("web", "State.Status"), "paused");
    let before = now().stdout;
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(now().stdout, before, "a paused program goes on");
    docker.docker("exec web true").fails().says("is paused");
    docker.docker("unpause web").ok();
    until("it counts on", now, |answer| answer.stdout != before);
    docker
        .docker(
            "update --memory 96m --memory-swap 128m --cpus 0.25 --cpu-shares 300 --pids-limit 77 --cpuset-cpus 0 web",
        )
        .ok();
    let see = "exec web sh -c 'cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes \
               cpu/cpu.cfs_quota_us cpu/cpu.shares pids/pids.max cpuset/cpuset.cpus'";
    assert_eq!(docker.text(see), "100663296\n134217728\n25000\n300\n77\n0");
    // What is not named stays.
    docker.docker("update --cpus 0.5 web").ok();
    assert_eq!(docker.text(see), "100663296\n134217728\n50000\n300\n77\n0");
    docker.docker("pause web").ok();
    docker.docker("kill web").ok();
    docker.docker("rm -f web").ok();
    docker.assert_clean();
}

#[test]
fn docker_starts_a_failing_container_again() {
    need_docker!();
    let docker = Docker::start();
    docker.docker("run -d --name again --restart on-failure:2 @image sh -c 'echo run; exit 3'").ok();
    until(
        "it is given up",
        || docker.docker("inspect --format '{{.RestartCount}} {{.State.Status}}' again"),
        |answer| answer.text() == "2 exited",
    );
    assert_eq!(docker.text("logs again"), "run\nrun\nrun");
    docker.docker("rm again").ok();
    // One whose program is killed from outside comes back as well.
    docker.docker("run -d --name always --restart always @image sleep 3102").ok();
    docker.engine.host.shell(&format!("kill -9 {}", docker.shown("always", "State.Pid"))).ok();
    until(
        "it is back",
        || docker.docker("inspect --format '{{.RestartCount}} {{.State.Status}}' always"),
        |answer| answer.text() == "1 running",
    );
    docker.docker("rm -f always").ok();
    docker.assert_clean();
}

#[test]
fn docker_gives_a_container_and_an_exec_a_terminal() {
    need_docker!();
    let docker = Docker::start();
    let mut screen = docker.on_terminal("run --rm -it --name tty @image sh");
    screen.wait_for("# ");
    screen.send("tty; ls -l /dev/console | cut -c 1; echo si\"ze\": $(stty size)\r");
    let seen = screen.wait_for("size: 30 100");
    assert!(seen.contains("/dev/pts/0"), "{seen}");
    let mut other = docker.on_terminal("exec -it tty sh");
    other.wait_for("# ");
    other.send("tty; echo si\"ze\": $(stty size); exit 4\r");
    let seen = other.wait_for("size: 30 100");
    assert!(seen.contains("/dev/pts/1"), "{seen}");
    assert_eq!(other.wait().0, 4);
    screen.resize(20, 60);
    until("the size arrives", || docker.docker("exec tty stty -F /dev/pts/0 size"), |answer| answer.text() == "20 60");
    // Ctrl-P Ctrl-Q leaves it; attach comes back.
    screen.send("\u{10}\u{11}");
    assert_eq!(screen.wait().0, 0);
    let mut back = docker.on_terminal("attach tty");
    back.send("\recho he\"re\"\r");
    back.wait_for("here");
    back.send("exit 9\r");
    assert_eq!(back.wait().0, 9);
    docker.until("ps -aq", "");
    until("it is removed", || docker.docker("ps -aq"), |answer| answer.text().is_empty());
    docker.assert_clean();
}

#[test]
fn docker_shares_and_separates_namespaces() {
    need_docker!();
    let docker = Docker::start();
    docker.docker("run -d --name web -p 8080:80 --ipc shareable -v @probe:/probe:ro @image /probe serve 80").ok();
    docker.until("logs web", "ready");
    let answer = docker.engine.host.neighbour().connect("192.0.2.2", 8080, "tcp").ok();
    assert!(answer.stdout.contains("192.0.2.3"), "{answer}");
    let address = docker.shown("web", "NetworkSettings.IPAddress");
    let probe = "-v @probe:/probe:ro @image /probe";
    docker.docker(&format!("run --rm {probe} connect {address} 80 tcp")).ok();
    docker.docker(&format!("run --rm --network container:web {probe} connect 127.0.0.1 80 tcp")).ok();
    docker.docker(&format!("run --rm --network host {probe} connect {address} 80 tcp")).ok();
    docker.docker(&format!("run --rm --network none {probe} connect {address} 80 tcp")).fails();
    for (flag, kind) in [("--pid", "pid"), ("--ipc", "ipc"), ("--network", "net")] {
        let own = docker.text(&format!("exec web readlink /proc/1/ns/{kind}"));
        let inside = |flag: &str| docker.text(&format!("run --rm {flag} @image readlink /proc/self/ns/{kind}"));
        assert_eq!(inside(&format!("{flag} container:web")), own, "{flag}");
        assert_ne!(inside(""), own, "{flag}");
    }
    let host = |kind: &str| docker.engine.host.shell(&format!("readlink /proc/self/ns/{kind}")).ok().text().to_owned();
    for (flag, kind) in [("--pid host", "pid"), ("--ipc host", "ipc"), ("--network host", "net"), ("--uts host", "uts")]
    {
        assert_eq!(docker.text(&format!("run --rm {flag} @image readlink /proc/self/ns/{kind}")), host(kind), "{flag}");
    }
    assert!(docker.text("run --rm --pid container:web @image ps -o args").contains("/probe serve 80"));
    docker.docker("network create own").ok();
    docker.docker("run -d --name named --network own @image sleep 3103").ok();
    docker.docker("run --rm --network own @image ping -c 1 -w 5 named").ok();
    docker.docker("rm -f web named").ok();
    docker.docker("network rm own").ok();
    docker.assert_clean();
}

#[test]
fn docker_builds_an_image_with_programs_that_run() {
    need_docker!();
    let docker = Docker::start();
    let file = format!(
        "FROM {BUSYBOX}\nRUN echo made >/made && id -u >>/made\nUSER 33\nWORKDIR /var/www\nRUN id -u >/tmp/who\nCMD cat /made /tmp/who\n"
    );
    std::fs::write(docker.engine.host.path("dir").join("Dockerfile"), file).unwrap();
    docker.docker("build -t made @dir").ok();
    assert_eq!(docker.text("run --rm made"), "made\n0\n33");
    let failed = "FROM rbox-fixtures/busybox\nRUN exit 12\n";
    std::fs::write(docker.engine.host.path("dir").join("Dockerfile"), failed).unwrap();
    docker.docker("build --force-rm -t failed @dir").fails().says("returned a non-zero code: 12");
    docker.assert_clean();
}
