"""How much passes: by every way to a published port, and from container to container."""

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import firewall
from measure import BUSYBOX, DOCKER, MACHINE, PAIRS, claim, docker, namespace, quiet, shown, wire

STREAM = str(Path(__file__).parent / "stream.py")
TURNS = 20 * PAIRS
HERE = f"/proc/{os.getpid()}/ns/net"


def serves(port: int) -> list[str]:
    return ["/usr/bin/python3", STREAM, "serve", str(port)]


def streams(ways: dict[str, str]) -> dict[str, list[float]]:
    """Gbit/s of each slice by each way, `NETNS,ADDRESS,PORT`, in turns."""
    words = ["/usr/bin/python3", STREAM, "send", str(TURNS), *ways.values()]
    for _ in range(50):
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode == 0:
            return dict(zip(ways, json.loads(done.stdout)))
        # Whom it asks is still on his way.
        time.sleep(0.1)
    raise SystemExit(f"bench: {' '.join(words)}:\n{done.stderr}")


def ratio(some: list[float], others: list[float]) -> float:
    """The median of what was measured one after the other."""
    return statistics.median(one / other for one, other in zip(some, others))


def published(who: str, engine: list[str], flags: list[str], judge: Callable[..., None]) -> None:
    """By each way to a published port, beside the direct one: from container to container, inside of the bridge."""
    quiet([*engine, "run", "-d", "--name", "answers", "-p", "5201:80", *flags, *MACHINE, BUSYBOX, *serves(80)])
    quiet([*engine, "run", "-d", "--name", "asks", *flags, BUSYBOX, "sleep", "100000"])
    address = shown(engine, "answers", "{{.NetworkSettings.IPAddress}}")
    inside = f"/proc/{shown(engine, 'asks', '{{.State.Pid}}')}/ns/net"
    with namespace() as neighbour:
        wire(neighbour, "lan0", "192.0.3.2")
        quiet("ip addr add 192.0.3.1/24 dev lan0".split())
        passed = streams({
            "direct": f"{inside},{address},80",
            "direct once more": f"{inside},{address},80",
            "the host, without a published port": f"{HERE},{address},80",
            "the host's 127.0.0.1": f"{HERE},127.0.0.1,5201",
            "the host's own address": f"{HERE},192.0.2.2,5201",
            "the host's ::1": f"{HERE},::1,5201",
            "another container, by the host's address": f"{inside},192.0.2.2,5201",
            "a neighbour of the host": f"{neighbour},192.0.3.1,5201",
        })  # fmt: skip
        # The kernel takes it away with the namespace, but when it pleases.
        quiet("ip link delete lan0".split())
    quiet([*engine, "rm", "-f", "answers", "asks"])
    direct, again, plain = (passed.pop(way) for way in ("direct", "direct once more", "the host, without a published port"))
    print(f"note  {who}: the direct bridge: {statistics.median(direct):.1f} Gbit/s, against itself {ratio(again, direct):.3f}")
    print(f"note  {who}: the host to the container's own address, of the direct bridge: {ratio(plain, direct):.3f}")
    for way, some in passed.items():
        note = f"{statistics.median(some):.1f} Gbit/s"
        if way.startswith("the host"):
            note += f", {ratio(some, plain):.3f} of the host's to the container's own address"
        judge(f"{who}: {way}, of the direct bridge's TCP throughput", ratio(some, direct), "at least", 0.93, note)


def only_told(what: str, value: float, _relation: str, _bound: float, note: str) -> None:
    print(f"note  {what}: {value:.3f}   {note}", flush=True)


def measure() -> None:
    for backend in firewall.BACKENDS:
        rbox = firewall.engine(backend)
        published(backend, rbox, [], claim)
        quiet([*rbox, "network", "reset"])
    with docker() as flags:
        published("docker.io", DOCKER, flags, only_told)
