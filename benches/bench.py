#!/usr/bin/env python3
"""The measurements behind `make bench`. Runs as root in fresh namespaces; its argument is an empty folder.

Every pair of programs is measured in turns (A B A B …), so that a change of the machine's mood hits both, and the
medians are compared. Each bound is one that the project promises; PASS and FAIL say how it stands on this machine.
"""

import os
import shutil
import subprocess
import sys

import firewall
import life
import networks
import oci
import ways
from measure import ARCHIVE, BUSYBOX, DOCKER, RBOX, ROUNDS, WORK
from measure import claim, docker, host, in_turns, quiet, results, timed


def versions() -> None:
    for command in (
        ["/usr/sbin/dockerd", "--version"], ["crun", "--version"], ["runc", "--version"], [*RBOX, "version"],
        ["uname", "-sr"],
    ):  # fmt: skip
        said = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
        print("  ", said[0] if said else command)


def start() -> None:
    """`run --rm` of both engines, with and without a published port."""
    none = ["run", "--rm", "--network", "none"]
    port = ["run", "--rm", "-p", "8080:80"]
    tail = [BUSYBOX, "true"]
    with docker() as flags:
        ours_none, theirs_none, ours_port, theirs_port = in_turns(
            ROUNDS,
            lambda: timed([*RBOX, *none, *tail]),
            lambda: timed([*DOCKER, *none, *flags, *tail]),
            lambda: timed([*RBOX, *port, *tail]),
            lambda: timed([*DOCKER, *port, *flags, *tail]),
        )
        life.beside_docker(flags)
    claim("run --rm --network none, of docker.io's", ours_none / theirs_none, "at most", 0.12, f"{ours_none:.1f} of {theirs_none:.1f} ms")
    claim("run --rm -p 8080:80, of docker.io's", ours_port / theirs_port, "at most", 0.1, f"{ours_port:.1f} of {theirs_port:.1f} ms")
    claim("-p adds to none, ms", ours_port - ours_none, "at most", 15, f"{ours_none:.1f} and {ours_port:.1f} ms")


def podman() -> None:
    """Podman, where it is installed: a comparison without a bound."""
    program = shutil.which("podman")
    if not program:
        print("note  podman is not installed: left out")
        return
    base = [program, "--root", f"{WORK}/podman", "--runroot", f"{WORK}/podman-run", "--tmpdir", f"{WORK}/podman-tmp"]
    base += ["--cgroup-manager", "cgroupfs", "--runtime", "runc"]  # crun refuses a hybrid host
    quiet([*base, "load", "--input", ARCHIVE])
    words = ["run", "--rm", "--network", "none"]
    podmans = [*base, *words, "--pull", "never", "--ulimit", "host", f"localhost/{BUSYBOX}", "true"]
    tried = subprocess.run(podmans, capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        print(f"note  podman does not run here: {tried.stderr.strip().splitlines()[-1]}")
        return
    ours, theirs = in_turns(
        max(ROUNDS // 2, 5),
        lambda: timed([*RBOX, *words, BUSYBOX, "true"]),
        lambda: timed(podmans),
    )
    print(f"note  run --rm --network none, of podman's: {ours / theirs:.3f}   {ours:.1f} of {theirs:.1f} ms")


def main() -> None:
    host()
    print("what is measured, on", os.cpu_count(), "processors,", ROUNDS, "rounds:")
    versions()
    quiet([*RBOX, "load", "--input", ARCHIVE])
    parts = {
        "oci": oci.measure, "start": start, "life": life.many, "networks": networks.measure, "firewall": firewall.measure,
        "podman": podman, "traffic": ways.measure,
    }  # fmt: skip
    for part in os.environ.get("PARTS", "").split() or parts:
        parts[part]()
    quiet([*RBOX, "network", "reset"])
    failed = [what for what, value, relation, bound, _ in results if (value > bound if relation == "at most" else value < bound)]
    print(f"\n{len(results) - len(failed)} of {len(results)} bounds hold on this machine, now")
    sys.exit(1 if failed else 0)


main()
