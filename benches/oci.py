"""One bundle, three runtimes: rbox-runtime, crun and runc, each by its own command line."""

import contextlib
import json
import shutil
import subprocess
import time
from pathlib import Path

from measure import ARCHIVE, BUSYBOX, PROGRAMS, RBOX, ROUNDS, WORK
from measure import claim, in_turns, quiet, timed

OURS = [str(PROGRAMS / "rbox-runtime"), "--root", str(WORK / "state-rbox")]
CRUN = ["crun", "--root", str(WORK / "state-crun")]
RUNC = ["runc", "--root", str(WORK / "state-runc")]
# Names are never used twice: the kernel takes a control group apart after its last process is gone.
NAMES = iter(f"b{number}" for number in range(10**9))
SHORT, IDLE = ["/bin/true"], ["/bin/sleep", "100000"]


def bundle(name: str, words: list[str], **linux) -> str:
    """A bundle with `runc spec`'s configuration, and these words as its program."""
    folder = WORK / name
    (folder / "rootfs/bin").mkdir(parents=True)
    for directory in ("proc", "sys", "dev", "tmp"):
        (folder / "rootfs" / directory).mkdir()
    shutil.copy("/bin/busybox", folder / "rootfs/bin/busybox")
    for program in (SHORT[0], IDLE[0]):
        (folder / f"rootfs{program}").symlink_to("busybox")
    quiet(["runc", "spec", "--bundle", str(folder)])
    config = json.loads((folder / "config.json").read_text())
    config["process"]["terminal"] = False
    config["process"]["args"] = words
    config["linux"] |= linux
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def hide_hybrid() -> None:
    """crun 1.8 takes a hybrid machine whose unified part has controllers for v2: it then finds none. An empty list
    bound over it makes crun see what is there, cgroup v1. For crun alone would do, but all three get the same."""
    controllers = Path("/sys/fs/cgroup/unified/cgroup.controllers")
    if controllers.exists():
        (WORK / "empty").touch()
        quiet(["mount", "--bind", str(WORK / "empty"), str(controllers)])


def run(program: list[str], folder: str):
    return lambda: timed([*program, "run", "--bundle", folder, next(NAMES)])


def create_start_delete(program: list[str], folder: str):
    """The three commands of an engine; the time in which the container runs and ends is not theirs."""

    def act() -> float:
        name = next(NAMES)
        took = timed([*program, "create", "--bundle", folder, name])
        took += timed([*program, "start", name])
        while json.loads(subprocess.check_output([*program, "state", name]))["status"] != "stopped":
            time.sleep(0.005)
        return took + timed([*program, "delete", name])

    return act


@contextlib.contextmanager
def running(folder: str):
    """One idle container of each runtime; its name is the same for all three."""
    name = next(NAMES)
    try:
        for program in (OURS, CRUN, RUNC):
            timed([*program, "run", "--detach", "--bundle", folder, name])
        yield name
    finally:
        for program in (OURS, CRUN, RUNC):
            subprocess.run([*program, "delete", "--force", name], check=False)


def compare(what: str, rounds: int, act, runc_bound: float | None = None) -> None:
    """Our time of crun's, and of runc's where there is a bound for it."""
    ours, crun, runc = in_turns(rounds, act(OURS), act(CRUN), act(RUNC))
    claim(f"rbox-runtime {what}, of crun's", ours / crun, "at most", 0.45, f"{ours:.2f} of {crun:.2f} ms")
    if runc_bound is None:
        print(f"note  rbox-runtime {what}, of runc's: {ours / runc:.3f}   {ours:.2f} of {runc:.2f} ms")
    else:
        claim(f"rbox-runtime {what}, of runc's", ours / runc, "at most", runc_bound, f"{ours:.2f} of {runc:.2f} ms")


def memory(folder: str) -> None:
    """What `create` needs at most, and what stays of it in the parked init."""

    def create(program: list[str]) -> tuple[float, str]:
        name, note = next(NAMES), WORK / "peak"
        # Not quiet(): who is created holds the pipe on.
        timed(["/usr/bin/time", "--format", "%M", "--output", str(note), *program, "create", "--bundle", folder, name])
        return int(note.read_text()) / 1024, name

    (ours, name), (crun, other) = create(OURS), create(CRUN)
    pid = json.loads(subprocess.check_output([*OURS, "state", name]))["pid"]
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    parked = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))
    quiet([*OURS, "delete", "--force", name])
    quiet([*CRUN, "delete", "--force", other])
    claim("peak memory of create, MiB", ours, "at most", 3.7, f"crun {crun:.1f}")
    claim("RssAnon of an init that waits for start, KiB", parked, "at most", 400, "after create has ended")


def profile() -> dict:
    """Docker's default seccomp profile, as rbox writes it into config.json."""
    quiet([*RBOX, "load", "--input", ARCHIVE])
    name = subprocess.check_output([*RBOX, "run", "--detach", "--network", "none", BUSYBOX, *IDLE], text=True).strip()
    found = next(WORK.glob(f"rbox/**/{name}/**/config.json"), None) or next(Path("/run/rbox").glob(f"**/{name}/**/config.json"))
    seccomp = json.loads(found.read_text())["linux"]["seccomp"]
    quiet([*RBOX, "rm", "--force", name])
    return seccomp


def measure() -> None:
    short, idle = bundle("short", SHORT), bundle("idle", IDLE)
    filtered = bundle("filtered", SHORT, seccomp=profile())
    hide_hybrid()
    compare("run /bin/true", ROUNDS * 2, lambda program: run(program, short), runc_bound=0.15)
    compare("create; start; delete", ROUNDS, lambda program: create_start_delete(program, short))
    with running(idle) as name:
        compare("exec", ROUNDS, lambda program: lambda: timed([*program, "exec", name, *SHORT]))
        compare("state", ROUNDS, lambda program: lambda: timed([*program, "state", name]))
    memory(idle)
    plain, with_profile = in_turns(ROUNDS * 2, run(OURS, short), run(OURS, filtered))
    note = f"{plain:.2f} and {with_profile:.2f} ms"
    claim("Docker's seccomp profile adds to a start, ms", with_profile - plain, "at most", 0.4, note)
