"""Containers that outlive their command: what one costs, and what many cost."""

import contextlib
import os
import signal
import socket
import statistics
import subprocess
import time
from pathlib import Path

from measure import ARCHIVE, BUSYBOX, DOCKER, RBOX, ROUNDS, WORK
from measure import claim, in_turns, quiet, timed

MANY = 300
AT_ONCE = 100
# Starts whose median stands for the first, or for the last of many.
SAMPLE = 10
IDLE = ["sleep", "100000"]


def pss_kb(of: str) -> dict[int, int]:
    """Proportional set size, kB, of every process of that name, or of a program of that name (proc_pid_smaps(5))."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if (process / "comm").read_text().strip() == of or Path(words[0]).name == of:
                rollup = (process / "smaps_rollup").read_text().splitlines()
                found[int(process.name)] = next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return found


def monitors() -> dict[int, int]:
    return pss_kb("rbox:monitor")


def remove_all() -> None:
    ids = subprocess.run([*RBOX, "ps", "-aq"], capture_output=True, text=True, check=True).stdout.split()
    if ids:
        quiet([*RBOX, "rm", "-f", *ids])


def settle() -> None:
    """A monitor gives back what its start needed when half a second has passed without anything to do."""
    time.sleep(2)


def beside_docker(flags: list[str]) -> None:
    """One container that stays, in both engines: memory, and a further program in it."""
    stays = ["run", "-d", "--name", "stays", "-p", "8080:80"]
    quiet([*RBOX, *stays, BUSYBOX, *IDLE])
    settle()
    ours = sum(monitors().values()) / 1024
    quiet([*RBOX, "rm", "-f", "stays"])
    with registry() as name:
        quiet([*RBOX, *stays, "--quiet", name, *IDLE])
        settle()
        after_pull = sum(monitors().values()) / 1024
        quiet([*RBOX, "rm", "-f", "stays"])
    quiet([*DOCKER, *stays, *flags, BUSYBOX, *IDLE])
    settle()
    theirs = [*pss_kb("containerd-shim-runc-v2").values(), *pss_kb("docker-proxy").values()]
    beside = f"docker.io: {sum(theirs) / 1024:.1f} MiB in {len(theirs)} processes, and its daemon"
    claim("a container's monitor, MiB of Pss", ours, "at most", 1.5, beside)
    claim("the same after a pull in the same command", after_pull, "at most", 1.5, beside)
    quiet([*RBOX, "run", "-d", "--name", "stays", BUSYBOX, *IDLE])
    words = ["exec", "stays", "true"]
    ours, theirs = in_turns(ROUNDS, lambda: timed([*RBOX, *words]), lambda: timed([*DOCKER, *words]))
    claim("exec CONTAINER true, of docker.io's", ours / theirs, "at most", 0.15, f"{ours:.1f} of {theirs:.1f} ms")
    quiet([*DOCKER, "rm", "-f", "stays"])
    remove_all()


@contextlib.contextmanager
def registry():
    """Debian's docker-registry on loopback with the busybox image in it: the image's name there."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    place = WORK / "registry"
    config = f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {place}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
    (WORK / "registry.yml").write_text(config)
    null = subprocess.DEVNULL
    server = subprocess.Popen(["docker-registry", "serve", str(WORK / "registry.yml")], stdin=null, stdout=null, stderr=null)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.1)
        name = f"127.0.0.1:{port}/busybox:1"
        quiet(["skopeo", "copy", "-q", "--insecure-policy", "--dest-tls-verify=false", f"docker-archive:{ARCHIVE}", f"docker://{name}"])
        yield name
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def many() -> None:
    """Three hundred that stay, each with a port of its own, and a hundred that are started at once."""
    times = []
    for number in range(MANY):
        times.append(timed([*RBOX, "run", "-d", "-p", f"{20000 + number}:80", BUSYBOX, *IDLE]))
    settle()
    held = monitors()
    first, last = statistics.median(times[1 : SAMPLE + 1]), statistics.median(times[-SAMPLE:])
    course = ", ".join(f"{statistics.median(times[at - SAMPLE : at]):.1f} ms at {at}" for at in range(50, MANY + 1, 50))
    claim(f"start with -p of the {MANY}th, of the first's", last / first, "at most", 1.5, f"{first:.1f} ms at first, {course}")
    total = sum(held.values()) / 1024
    print(f"note  {MANY} idle containers: {len(held)} monitors, {total:.1f} MiB of Pss in all, {total / MANY:.2f} each", flush=True)
    (listed,) = in_turns(20, lambda: timed([*RBOX, "ps"]))
    claim(f"ps with {MANY} containers, ms", listed, "at most", 20, "")
    remove_all()
    at_once()


def at_once() -> None:
    command = [*RBOX, "run", "-d", "-p", "80", BUSYBOX, *IDLE]
    (alone,) = in_turns(10, lambda: timed(command))
    remove_all()
    null = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1)]
    said = str(WORK / "at-once.log")
    null.append((os.POSIX_SPAWN_OPEN, 2, said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    began = time.perf_counter()
    pids = [os.posix_spawn(command[0], command, os.environ, file_actions=null) for _ in range(AT_ONCE)]
    failed = sum(os.waitpid(pid, 0)[1] != 0 for pid in pids)
    took = (time.perf_counter() - began) * 1000
    note = f"{took:.0f} ms for all, {alone:.1f} ms for one alone"
    claim(f"{AT_ONCE} at once: run -d -p 80, of {AT_ONCE} times one alone", took / (AT_ONCE * alone), "at most", 0.8, note)
    claim(f"of the {AT_ONCE} at once, failed", failed, "at most", 0, Path(said).read_text()[:300])
    remove_all()
