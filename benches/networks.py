"""User-defined networks: connect, names, throughput between containers, and hundreds of networks."""

import json
import os
import statistics
import subprocess
import time
from pathlib import Path

import ways
from measure import BUSYBOX, MACHINE, RBOX, ROUNDS, claim, in_turns, namespace, quiet, shown, timed, wire

HERE = Path(__file__).parent
# How many networks are made for the last figure, and how many of them at each end are compared.
MANY = int(os.environ.get("NETWORKS", "200"))
END = 20


def idle(name: str, *flags: str) -> None:
    quiet([*RBOX, "run", "-d", "--name", name, *flags, BUSYBOX, "sleep", "100000"])


def connect() -> None:
    """A running container gets a further network; what disconnects it is not timed."""
    quiet([*RBOX, "network", "create", "one"])
    idle("joins")

    def act() -> float:
        took = timed([*RBOX, "network", "connect", "one", "joins"])
        quiet([*RBOX, "network", "disconnect", "one", "joins"])
        return took

    [took] = in_turns(ROUNDS, act)
    claim("network connect of a running container, ms", took, "at most", 10, f"{ROUNDS} rounds")
    quiet([*RBOX, "rm", "-f", "joins"])


def names() -> None:
    """The name server of a container: its monitor, on a processor of its own."""
    idle("asks", "--network", "one")
    idle("answers", "--network", "one")
    pid = shown(RBOX, "asks", "{{.State.Pid}}")
    # In this pid namespace; the container's first process is its monitor's child.
    monitor = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1]
    if (os.cpu_count() or 1) > 1:
        quiet(["taskset", "-acp", "0", monitor])
    pinned = ["taskset", "-c", "1"] if (os.cpu_count() or 1) > 1 else []
    ask = [*pinned, "nsenter", f"--net=/proc/{pid}/ns/net", "python3", str(HERE / "dns_client.py"), "answers"]
    measured = [json.loads(subprocess.run([*ask, "5000", "3"], capture_output=True, check=True).stdout)]
    before = private_kb(monitor)
    measured += [json.loads(subprocess.run([*ask, "5000", "3"], capture_output=True, check=True).stdout) for _ in range(4)]
    grown = private_kb(monitor) - before
    p50 = statistics.median(one["p50_us"] for one in measured)
    rate = statistics.median(one["rate"] for one in measured)
    p99 = statistics.median(one["p99_us"] for one in measured)
    claim("a container's name, p50, µs", p50, "at most", 150, f"p99 {p99:.0f} µs")
    claim("names answered a second, by one processor", rate, "at least", 20000, "32 under way at once")
    claim("memory of the monitor after so many, kB more", grown, "at most", 64, f"{before} kB before")
    quiet([*RBOX, "rm", "-f", "asks", "answers"])


def private_kb(pid: str) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def between() -> None:
    """TCP from container to container, and between two namespaces on a bridge that `ip` has made."""
    quiet([*RBOX, "run", "-d", "--name", "answers", "--network", "one", *MACHINE, BUSYBOX, *ways.serves(80)])
    idle("asks", "--network", "one")
    address = shown(RBOX, "answers", '{{(index .NetworkSettings.Networks "one").IPAddress}}')
    quiet("ip link add byhand up type bridge".split())
    with namespace() as there, namespace() as here:
        wire(there, "h2", "10.99.0.2", "master", "byhand")
        wire(here, "h3", "10.99.0.3", "master", "byhand")
        server = subprocess.Popen(["nsenter", f"--net={there}", *ways.serves(80)])
        try:
            passed = ways.streams({
                "rbox": f"/proc/{shown(RBOX, 'asks', '{{.State.Pid}}')}/ns/net,{address},80",
                "by hand": f"{here},10.99.0.2,80",
            })  # fmt: skip
        finally:
            server.kill()
            server.wait()
    quiet("ip link delete byhand".split())
    note = f"{statistics.median(passed['rbox']):.1f} of {statistics.median(passed['by hand']):.1f} Gbit/s"
    ratio = ways.ratio(passed["rbox"], passed["by hand"])
    claim("container to container, of a bridge made by hand", ratio, "at least", 0.95, note)
    quiet([*RBOX, "rm", "-f", "answers", "asks"])


def hundreds() -> None:
    """Networks with two containers each: the last ones against the first."""
    made, removed = [], []
    for number in range(MANY):
        began = time.perf_counter()
        quiet([*RBOX, "network", "create", f"n{number}"])
        for side in "ab":
            idle(f"n{number}{side}", "--network", f"n{number}")
        made.append((time.perf_counter() - began) * 1000)
    for number in reversed(range(MANY)):
        began = time.perf_counter()
        quiet([*RBOX, "rm", "-f", f"n{number}a", f"n{number}b"])
        quiet([*RBOX, "network", "rm", f"n{number}"])
        removed.append((time.perf_counter() - began) * 1000)
    for what, times in (("made", made), ("removed", list(reversed(removed)))):
        first, last = statistics.median(times[:END]), statistics.median(times[-END:])
        note = f"{first:.1f} and {last:.1f} ms for a network with two containers"
        claim(f"{MANY} networks {what}: the last {END}, of the first", last / first, "at most", 1.5, note)


def measure() -> None:
    connect()
    names()
    between()
    hundreds()
    quiet([*RBOX, "network", "rm", "one"])
