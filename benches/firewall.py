"""The packet filter: both backends side by side, many published containers, many ports."""

import contextlib
import os
import socket
import statistics
import time

from measure import ARCHIVE, BUSYBOX, MACHINE, RBOX, ROUNDS, WORK, claim, in_turns, quiet, timed

# How many containers with a port there are in the end, and how many attachments are timed at each end.
MANY = int(os.environ.get("CONTAINERS", "1000"))
END = 20
PORTS = 10000
BACKENDS = ("iptables", "nftables")


def engine(backend: str) -> list[str]:
    """rbox with its rules there: directories of its own, so that both are in these namespaces at once."""
    words = [RBOX[0], "--root", str(WORK / backend / "data"), "--state", f"/run/{backend}", "--firewall", backend]
    if not (WORK / backend).exists():
        quiet([*words, "load", "--input", ARCHIVE])
    return words


def starts() -> None:
    """`run --rm -p` with each, and without any network."""
    words = ["run", "--rm", "-p", "8080:80", BUSYBOX, "true"]
    bare = ["run", "--rm", "--network", "none", BUSYBOX, "true"]
    iptables, nftables = (engine(backend) for backend in BACKENDS)
    old, new, none = in_turns(
        ROUNDS,
        lambda: timed([*iptables, *words]),
        lambda: timed([*nftables, *words]),
        lambda: timed([*nftables, *bare]),
    )
    note = f"{new:.1f} of {old:.1f} ms, {none:.1f} without network"
    claim("run --rm -p with nftables, of iptables", new / old, "at most", 0.7, note)
    print(f"note  what -p adds with nftables, of iptables: {(new - none) / (old - none):.2f}")


def attach(rbox: list[str]) -> float:
    """A container with a published port gets its network back; what took it away is not timed."""
    quiet([*rbox, "network", "disconnect", "bridge", "joins"])
    return timed([*rbox, "network", "connect", "bridge", "joins"])


def undo(rbox: list[str]) -> float:
    quiet([*rbox, "run", "-d", "--name", "goes", "-p", "7000:80", BUSYBOX, "sleep", "100000"])
    return timed([*rbox, "rm", "-f", "goes"])


def thousand(backend: str) -> None:
    """One more published container beside none, and beside very many."""
    rbox = engine(backend)
    idle = ["sleep", "100000"]
    quiet([*rbox, "run", "-d", "--name", "joins", "-p", "7001:80", BUSYBOX, *idle])
    first = statistics.median(attach(rbox) for _ in range(END)), statistics.median(undo(rbox) for _ in range(END))
    names = [f"c{number}" for number in range(MANY)]
    for number, name in enumerate(names):
        quiet([*rbox, "run", "-d", "--name", name, "-p", f"{10000 + number}:80", BUSYBOX, *idle])
    last = statistics.median(attach(rbox) for _ in range(END)), statistics.median(undo(rbox) for _ in range(END))
    for verb, before, after in zip(("attached", "removed"), first, last):
        note = f"{before:.1f} and {after:.1f} ms"
        what = f"{backend}: a published container {verb} beside {MANY}, of beside none"
        if (backend, verb) in (("nftables", "attached"), ("iptables", "removed")):
            claim(what, after / before, "at most", 1.5, note)
        else:
            print(f"note  {what}: {after / before:.2f}   {note}", flush=True)
    for some in range(0, MANY, 100):
        quiet([*rbox, "rm", "-f", *names[some : some + 100]])
    quiet([*rbox, "rm", "-f", "joins"])


SERVES = "import socket\ns = socket.create_server(('', 80), backlog=1024)\nwhile True: s.accept()[0].close()"


def connections(port: int) -> float:
    """Connections a second, one after the other, for two seconds: who asks hears the end of each."""
    count, end = 0, time.perf_counter() + 2
    while time.perf_counter() < end:
        with socket.create_connection(("192.0.2.2", port)) as asked:
            asked.recv(1)
        count += 1
    return count / 2


def ten_thousand() -> None:
    """Connections by one port beside none, and beside very many that lead elsewhere, in turns: what was asked before is in
    the kernel's table of connections for a while, and makes the next ones slower."""
    for backend, rounds in zip(BACKENDS, (2, 7)):
        rbox = engine(backend)
        quiet([*rbox, "run", "-d", "--name", "serves", "-p", "9000:80", *MACHINE, BUSYBOX, "/usr/bin/python3", "-c", SERVES])
        # Each port leads to another one, so that each is an entry, or a rule, of its own.
        ports = [word for number in range(PORTS) for word in ("-p", f"{20000 + number}:{40000 - number}/tcp")]
        reachable(9000)
        alone, beside = [], []
        for _ in range(rounds):
            alone.append(connections(9000))
            quiet([*rbox, "run", "-d", "--name", "many", *ports, BUSYBOX, "sleep", "100000"])
            # The rules of who came before stand before: who is asked comes after them.
            quiet([*rbox, "unpublish", "serves", "9000"])
            quiet([*rbox, "publish", "serves", "9000:80"])
            beside.append(connections(9000))
            quiet([*rbox, "rm", "-f", "many"])
        cost = 1 - statistics.median(b / a for a, b in zip(alone, beside))
        note = f"{statistics.median(beside):.0f} a second, {statistics.median(alone):.0f} alone"
        if backend == "nftables":
            claim(f"{PORTS} published ports cost of the connections a second", cost, "at most", 0.05, note)
        else:
            print(f"note  {backend}: {PORTS} published ports cost {cost:.2f} of the connections a second   {note}", flush=True)
        quiet([*rbox, "rm", "-f", "serves"])


def reachable(port: int) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError):
            socket.create_connection(("192.0.2.2", port), timeout=1).close()
            return
        time.sleep(0.1)
    raise SystemExit(f"bench: nobody answers at port {port}")


def measure() -> None:
    starts()
    ten_thousand()
    for backend in reversed(BACKENDS):
        thousand(backend)
    for backend in BACKENDS:
        quiet([*engine(backend), "network", "reset"])
