"""What all measurements stand on: the programs, a clock, the small machine they run on, a dockerd of its own."""

import contextlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

WORK = Path(sys.argv[1])
ROUNDS = int(os.environ["ROUNDS"])
PAIRS = int(os.environ["PAIRS"])
# Seconds of rest before each timed command.
REST = 0.2
PROGRAMS = Path(os.environ["RBOX_DIR"])
FIXTURES = Path(os.environ["FIXTURES"])
ARCHIVE = str(FIXTURES / "busybox.tar")
BUSYBOX = "rbox-fixtures/busybox"

RBOX = [str(PROGRAMS / "rbox"), "--root", str(WORK / "rbox/data"), "--state", "/run/rbox"]
DOCKER = ["/usr/bin/docker", "--host", f"unix://{WORK}/docker.sock"]
# With these a container runs the machine's own programs, and the measuring ones.
MACHINE = [
    word
    for path in ("/usr", "/lib", "/lib64", "/etc", str(Path(__file__).parent))
    if Path(path).exists()
    for word in ("--volume", f"{path}:{path}:ro")
]
results: list[tuple[str, float, str, float, str]] = []


def quiet(command: list[str], **options) -> None:
    """Run to the end; what it said is only shown when it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **options)
    if done.returncode != 0:
        raise SystemExit(f"bench: {' '.join(command)}: ended with {done.returncode}\n{done.stdout.decode()}")


def shown(engine: list[str], name: str, field: str) -> str:
    """What `inspect` says of a container."""
    words = [*engine, "inspect", "--format", field, name]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


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


@contextlib.contextmanager
def namespace() -> Iterator[str]:
    """The path of a network namespace with nothing in it but lo."""
    holder = subprocess.Popen(["unshare", "--net", "sleep", "100000"])
    path = f"/proc/{holder.pid}/ns/net"
    while os.readlink(path) == os.readlink("/proc/self/ns/net"):
        time.sleep(0.01)
    try:
        quiet(["nsenter", f"--net={path}", "ip", "link", "set", "lo", "up"])
        yield path
    finally:
        holder.kill()
        holder.wait()


def wire(netns: str, ours: str, address: str, *more: str) -> None:
    """A cable from here to `eth0` there, with that address; `more` is said of our end when it is made."""
    holder = netns.split("/")[2]
    quiet(["ip", "link", "add", ours, "up", *more, "type", "veth", "peer", "name", "eth0", "netns", holder])
    for command in (f"ip addr add {address}/24 dev eth0", "ip link set eth0 up"):
        quiet(["nsenter", f"--net={netns}", *command.split()])


@contextlib.contextmanager
def docker():
    """A dockerd with the busybox image, and the flags that `docker run` needs on this machine."""
    daemon = dockerd()
    try:
        # dockerd refuses capabilities that this machine itself lacks; then it runs with those that both have.
        yield docker_flags(ARCHIVE)
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait()


def dockerd() -> subprocess.Popen:
    """Debian's dockerd by its full path, with everything it keeps in our folder."""
    (WORK / "daemon.json").write_text("{}")
    log = open(WORK / "dockerd.log", "wb")
    daemon = subprocess.Popen(
        [
            "/usr/sbin/dockerd",
            "--data-root", f"{WORK}/docker-data", "--exec-root", "/run/docker", "--pidfile", f"{WORK}/docker.pid",
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


def docker_flags(archive: str) -> list[str]:
    quiet([*DOCKER, "load", "--input", archive])
    for flags in ([], ["--security-opt", "seccomp=unconfined"], ["--cgroupns", "host"]):
        if subprocess.run([*DOCKER, "run", "--rm", *flags, BUSYBOX, "true"], capture_output=True).returncode == 0:
            if flags:
                print("   docker.io needs", *flags, "on this machine")
            return flags
    quiet([*DOCKER, "run", "--rm", BUSYBOX, "true"])
    return []
