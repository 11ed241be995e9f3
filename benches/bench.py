#!/usr/bin/env python3
"""The measurements behind `make bench`. Runs as root in fresh namespaces; its argument is an empty folder.

Every pair of programs is measured in turns (A B A B …), so that a change of the machine's mood hits both, and the
medians are compared. Each bound is one that the project promises; PASS and FAIL say how it stands on this machine.
"""

import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

WORK = Path(sys.argv[1])
ROUNDS = int(os.environ["ROUNDS"])
PAIRS = int(os.environ["PAIRS"])
# Seconds of rest before each timed command.
REST = 0.2
PROGRAMS = Path(os.environ["RBOX_DIR"])
FIXTURES = Path(os.environ["FIXTURES"])
BUSYBOX = "rbox-fixtures/busybox"

RBOX = [str(PROGRAMS / "rbox"), "--root", str(WORK / "rbox/data"), "--state", str(WORK / "rbox/state")]
DOCKER = ["/usr/bin/docker", "--host", f"unix://{WORK}/docker.sock"]
results: list[tuple[str, float, str, float, str]] = []


def quiet(command: list[str], **options) -> None:
    """Run to the end; what it said is only shown when it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **options)
    if done.returncode != 0:
        raise SystemExit(f"bench: {' '.join(command)}: ended with {done.returncode}\n{done.stdout.decode()}")


def timed(command: list[str]) -> float:
    """Milliseconds from the start of the process to its end. posix_spawn, because pipes and threads of the measuring
    program would be half of what is measured."""
    program = shutil.which(command[0]) or command[0]
    null = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
    began = time.perf_counter()
    pid = os.posix_spawn(program, command, os.environ, file_actions=null)
    _, status = os.waitpid(pid, 0)
    took = (time.perf_counter() - began) * 1000
    if status != 0:
        quiet(command)
        raise SystemExit(f"bench: {' '.join(command)}: ended with wait status {status}, and well the second time")
    return took


def in_turns(rounds: int, *acts) -> list[float]:
    """Each act once a round; the median of each, after two rounds to warm up.

    A rest before each: what the one before left to its daemon and to the kernel (namespaces end one at a time, 20 to
    30 ms each, after the command) is not this one's."""
    times: list[list[float]] = [[] for _ in acts]
    for number in range(rounds + 2):
        for act, own in zip(acts, times):
            time.sleep(REST)
            value = act()
            if number >= 2:
                own.append(value)
    return [statistics.median(own) for own in times]


def claim(what: str, value: float, relation: str, bound: float, note: str) -> None:
    """Note a result, and print it at once."""
    results.append((what, value, relation, bound, note))
    good = value <= bound if relation == "at most" else value >= bound
    print(f"{'PASS' if good else 'FAIL'}  {what}: {value:.3f} ({relation} {bound})   {note}", flush=True)


def host() -> None:
    """A small machine in these namespaces: lo, an uplink with a default route, a /run and a /sys of its own."""
    for command in (
        "mount --make-rprivate /",
        "mount -t tmpfs -o mode=755 tmpfs /run",
        "ip link set lo up",
        "ip link add up0 type veth peer name up1",
        "ip addr add 192.0.2.2/24 dev up0",
        "ip link set up0 up",
        "ip link set up1 up",
        "ip route add default via 192.0.2.3",
    ):
        quiet(command.split())


def dockerd() -> subprocess.Popen:
    """Debian's dockerd by its full path, with everything it keeps in our folder."""
    (WORK / "daemon.json").write_text("{}")
    log = open(WORK / "dockerd.log", "wb")
    daemon = subprocess.Popen(
        [
            "/usr/sbin/dockerd",
            "--data-root", f"{WORK}/docker-data", "--exec-root", f"{WORK}/docker-exec", "--pidfile", f"{WORK}/docker.pid",
            "--host", f"unix://{WORK}/docker.sock", "--bip", "172.30.0.1/16", "--config-file", f"{WORK}/daemon.json",
        ],
        stdout=log, stderr=log, stdin=subprocess.DEVNULL,
        env=os.environ | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )  # fmt: skip
    for _ in range(300):
        if subprocess.run([*DOCKER, "version"], capture_output=True).returncode == 0:
            return daemon
        if daemon.poll() is not None:
            break
        time.sleep(0.1)
    raise SystemExit(f"bench: dockerd does not start:\n{(WORK / 'dockerd.log').read_text()[-2000:]}")


def versions() -> None:
    for command in (
        ["/usr/sbin/dockerd", "--version"], ["crun", "--version"], ["runc", "--version"], ["iperf3", "--version"], [*RBOX, "version"],
        ["uname", "-sr"],
    ):  # fmt: skip
        said = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
        print("  ", said[0] if said else command)


def start() -> None:
    """`run --rm` of both engines, with and without a published port."""
    archive = str(FIXTURES / "busybox.tar")
    quiet([*RBOX, "load", "--input", archive])
    daemon = dockerd()
    try:
        # dockerd refuses capabilities that this machine itself lacks; then it runs with those that both have.
        flags = docker_flags(archive)
        none = ["run", "--rm", "--network", "none"]
        port = ["run", "--rm", "-p", "8080:80"]
        tail = [BUSYBOX, "true"]
        ours_none, theirs_none, ours_port, theirs_port = in_turns(
            ROUNDS,
            lambda: timed([*RBOX, *none, *tail]),
            lambda: timed([*DOCKER, *none, *flags, *tail]),
            lambda: timed([*RBOX, *port, *tail]),
            lambda: timed([*DOCKER, *port, *flags, *tail]),
        )
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait()
    claim("run --rm --network none, of docker.io's", ours_none / theirs_none, "at most", 0.12, f"{ours_none:.1f} of {theirs_none:.1f} ms")
    claim("run --rm -p 8080:80, of docker.io's", ours_port / theirs_port, "at most", 0.1, f"{ours_port:.1f} of {theirs_port:.1f} ms")
    claim("-p adds to none, ms", ours_port - ours_none, "at most", 15, f"{ours_none:.1f} and {ours_port:.1f} ms")


def docker_flags(archive: str) -> list[str]:
    quiet([*DOCKER, "load", "--input", archive])
    for flags in ([], ["--security-opt", "seccomp=unconfined"], ["--cgroupns", "host"]):
        if subprocess.run([*DOCKER, "run", "--rm", *flags, BUSYBOX, "true"], capture_output=True).returncode == 0:
            if flags:
                print("   docker.io needs", *flags, "on this machine")
            return flags
    quiet([*DOCKER, "run", "--rm", BUSYBOX, "true"])
    return []


def podman() -> None:
    """Podman, where it is installed: a comparison without a bound."""
    program = shutil.which("podman")
    if not program:
        print("note  podman is not installed: left out")
        return
    base = [program, "--root", f"{WORK}/podman", "--runroot", f"{WORK}/podman-run", "--tmpdir", f"{WORK}/podman-tmp"]
    quiet([*base, "load", "--input", str(FIXTURES / "busybox.tar")])
    words = ["run", "--rm", "--network", "none"]
    ours, theirs = in_turns(
        max(ROUNDS // 2, 5),
        lambda: timed([*RBOX, *words, BUSYBOX, "true"]),
        lambda: timed([*base, *words, f"docker.io/{BUSYBOX}", "true"]),
    )
    print(f"note  run --rm --network none, of podman's: {ours / theirs:.3f}   {ours:.1f} of {theirs:.1f} ms")


def oci() -> None:
    """One bundle, three runtimes."""
    bundle = WORK / "bundle"
    (bundle / "rootfs/bin").mkdir(parents=True)
    for name in ("proc", "sys", "dev", "tmp"):
        (bundle / "rootfs" / name).mkdir()
    shutil.copy("/bin/busybox", bundle / "rootfs/bin/busybox")
    (bundle / "rootfs/bin/true").symlink_to("busybox")
    quiet(["runc", "spec", "--bundle", str(bundle)])
    config = json.loads((bundle / "config.json").read_text())
    config["process"]["terminal"] = False
    config["process"]["args"] = ["/bin/true"]
    (bundle / "config.json").write_text(json.dumps(config))

    count = iter(range(10**9))

    def run(program: list[str], name: str):
        state = str(WORK / f"state-{name}")
        return lambda: timed([*program, "--root", state, "run", "--bundle", str(bundle), f"b{next(count)}"])

    hide_hybrid()
    ours, crun, runc = in_turns(
        ROUNDS * 2,
        run([str(PROGRAMS / "rbox-runtime")], "rbox"),
        run(["crun"], "crun"),
        run(["runc"], "runc"),
    )
    claim("rbox-runtime run /bin/true, of crun's", ours / crun, "at most", 0.45, f"{ours:.2f} of {crun:.2f} ms")
    claim("rbox-runtime run /bin/true, of runc's", ours / runc, "at most", 0.15, f"{ours:.2f} of {runc:.2f} ms")


def hide_hybrid() -> None:
    """crun 1.8 takes a hybrid machine whose unified part has controllers for v2: it then finds none. An empty list
    bound over it makes crun see what is there, cgroup v1. For crun alone would do, but all three get the same."""
    controllers = Path("/sys/fs/cgroup/unified/cgroup.controllers")
    if controllers.exists():
        (WORK / "empty").touch()
        quiet(["mount", "--bind", str(WORK / "empty"), str(controllers)])


def traffic() -> None:
    """One TCP stream to the same server: to 127.0.0.1 and the published port, and to the bridge address."""
    bind = [f"{path}:{path}:ro" for path in ("/usr", "/lib", "/lib64", "/etc") if Path(path).exists()]
    volumes = [word for path in bind for word in ("-v", path)]
    server = subprocess.Popen(
        [*RBOX, "run", "--rm", "--name", "iperf", "-p", "5201:5201", *volumes, BUSYBOX, "/usr/bin/iperf3", "--server"],
        stdout=subprocess.DEVNULL, stderr=open(WORK / "iperf.log", "wb"), stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        address = wait_for_server()

        def rate(to: str):
            def measure() -> float:
                command = ["iperf3", "--client", to, "--time", "2", "--json", "--omit", "1"]
                answer = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
                return answer["end"]["sum_received"]["bits_per_second"] / 1e9

            return measure

        published, direct = [], []
        local, bridge = rate("127.0.0.1"), rate(address)
        for _ in range(PAIRS):
            published.append(local())
            direct.append(bridge())
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()
    ratio = statistics.median(a / b for a, b in zip(published, direct))
    note = f"{statistics.median(published):.1f} of {statistics.median(direct):.1f} Gbit/s, {PAIRS} pairs"
    claim("127.0.0.1 to a published port, of the bridge's TCP throughput", ratio, "at least", 0.93, note)


def wait_for_server() -> str:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", 5201), timeout=1).close()
            break
        except OSError:
            time.sleep(0.1)
    else:
        raise SystemExit(f"bench: iperf3 does not answer:\n{(WORK / 'iperf.log').read_text()}")
    time.sleep(0.5)
    found = subprocess.run([*RBOX, "network", "inspect", "bridge"], capture_output=True, text=True, check=True).stdout
    containers = json.loads(found)[0]["Containers"].values()
    return next(one["IPv4Address"].split("/")[0] for one in containers if one["Name"] == "iperf")


def main() -> None:
    host()
    print("what is measured, on", os.cpu_count(), "processors,", ROUNDS, "rounds:")
    versions()
    oci()
    start()
    podman()
    traffic()
    quiet([*RBOX, "network", "reset"])
    failed = [what for what, value, relation, bound, _ in results if (value > bound if relation == "at most" else value < bound)]
    print(f"\n{len(results) - len(failed)} of {len(results)} bounds hold on this machine, now")
    sys.exit(1 if failed else 0)


main()
