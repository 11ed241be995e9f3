"""What scripts/conformance and scripts/behaviours ask of a run of the tests: which there are, what became of each."""

import os
import re
import subprocess
import xml.etree.ElementTree as xml

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
# nextest keeps its reports in the workspace, wherever the programs are built.
REPORT = "target/nextest/default/junit.xml"
VM_RESULTS = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "vm/results")


class Run:
    """One run of the tests, or, where there is no report of one, the tests that exist."""

    def __init__(self, report=REPORT):
        self.outcomes = of_report(report) if os.path.exists(report) else None
        self.vm = of_vm(VM_RESULTS) if os.path.exists(VM_RESULTS) else set()
        self.known = existing() if self.outcomes is None else set()

    def complaint(self, test):
        """Why `test` proves nothing, or None. A test that left early ("skipped: …") has not run."""
        if self.outcomes is None:
            exists = test in self.known or test.rsplit("::", 1)[-1] in self.known
            return None if exists else "does not exist"
        if self.outcomes.get(test) == "passed" or test in self.vm:
            return None
        return self.outcomes.get(test, "did not run")

    def praise(self):
        """What is said of the tests when there is no complaint."""
        return "exist (no report of a run)" if self.outcomes is None else "ran and passed"


def cells(line):
    """The cells of a line of a table; none where it is another line."""
    if not line.startswith("|"):
        return []
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def of_report(path):
    """What nextest says of each test."""
    outcomes = {}
    for case in xml.parse(path).getroot().iter("testcase"):
        said = "".join(part.text or "" for part in case if part.tag in ("system-out", "system-err"))
        if case.find("failure") is not None or case.find("error") is not None:
            outcome = "failed"
        elif case.find("skipped") is not None or re.search(r"^\s*skipped: ", said, re.MULTILINE):
            outcome = "was skipped"
        else:
            outcome = "passed"
        outcomes[case.get("name")] = outcome
    return outcomes


def of_vm(path):
    """The names that passed in the VM: libtest's own list."""
    with open(path, errors="replace") as results:
        return set(re.findall(r"^test (\S+) \.\.\. ok", results.read(), re.MULTILINE))


def existing():
    """Every test, by asking nextest, or else by the functions of the sources."""
    listed = subprocess.run(
        ["cargo", "nextest", "list", "--workspace", "-T", "oneline"], capture_output=True, text=True, check=False
    )
    if listed.returncode == 0:
        return {line.split()[-1] for line in listed.stdout.splitlines() if line.strip()}
    found = subprocess.run(
        ["grep", "-rhoE", r"fn [a-z0-9_]+\(\)", "tests", "net/tests", "runtime/src"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {line[3:-2] for line in found.stdout.splitlines()}
