# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make matrix` runs: the contract tests on a real Xen host of each Debian, one after the other, as a table in the docs.

An emulated host of each suite is built and booted, tested as `make test` does with its own, and stopped. Takes hours on two
cores, which is why `make test` does not. Arguments are names of suites, to run only these: the others' columns stay as they
were; those that begin with - are pytest's, to run some of the tests, and another run of the same day adds to them. What came
out is kept in docs/matrix.json, and written into docs/support-matrix.md.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
PAGE, KEPT = ROOT / "docs" / "support-matrix.md", ROOT / "docs" / "matrix.json"
RESULTS = ROOT / ".cache" / "matrix"
INVENTORY = ROOT / ".lab" / "inventory.yml"
# suite -> Debian's number
SUITES = {"bullseye": "11", "bookworm": "12", "trixie": "13"}
VERSIONS = {
    "xen": "xl info | sed -n 's/^xen_version *: *//p'",
    "qemu": "$(ls /usr/lib/xen-*/bin/qemu-system-i386 /usr/libexec/xen-qemu-system-i386 2>/dev/null | head -1) --version"
    " | sed -n 's/.*version \\([0-9.]*\\).*/\\1/p'",
    "kernel": "uname -r",
    "python": "python3 -c 'import platform; print(platform.python_version())'",
}
BEGIN, END = "<!-- make matrix: begin -->", "<!-- make matrix: end -->"


def host_of(suite):
    return f"xen-{suite}"


def make(target, suite):
    """One of the lab's targets for the host of this suite. subprocess.CalledProcessError where that fails."""
    subprocess.run(("make", target, f"HOSTS={host_of(suite)}", f"LAB_ARGS=-e lab_suite={suite}"), cwd=ROOT, check=True)


def asked(suite, command):
    """What a shell command says on the host: str."""
    argv = ("ansible", "-i", INVENTORY, host_of(suite), "-m", "ansible.builtin.raw", "-a", command)
    said = subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return said.split(">>\n", 1)[1].strip()


def tested(suite, more):
    """Runs the tests, with more arguments of pytest (list of str); {test: word}. A test that failed has its reason there."""
    report = RESULTS / f"{suite}.xml"
    which = ("--kind", "embedded", "--host", host_of(suite), "--suite", suite)
    subprocess.run(("pytest", "-v", "tests/contract", *which, f"--junitxml={report}", *more), cwd=ROOT, check=False)
    return {_name(case): _outcome(case) for case in ElementTree.parse(report).iter("testcase")}


def _name(case):
    """test_life[pv], as test file and function say it."""
    return f"{case.get('classname', '').rpartition('.')[2]}: {case.get('name')}"


def _outcome(case):
    for child in case:
        if child.tag in ("failure", "error"):
            return f"FAILED: {(child.get('message') or '').splitlines()[0][:200]}"
        if child.tag == "skipped":
            return f"not run: {child.get('message')}"
    return "passed"


def column(suite, more):
    """The results of one suite: dict for KEPT."""
    make("lab", suite)
    try:
        versions = {what: asked(suite, command) for what, command in VERSIONS.items()}
        return {"date": date.today().isoformat(), "versions": versions, "tests": tested(suite, more)}
    finally:
        make("lab-stop", suite)


def table(kept):
    """The Markdown of all that is known, as lines: none where nothing is. kept: suite -> column."""
    suites = [suite for suite in SUITES if suite in kept]
    if not suites:
        return []
    heads = [f"Xen {kept[suite]['versions']['xen']}, Debian {SUITES[suite]}" for suite in suites]
    rows = [["what", *heads], ["---"] * (len(suites) + 1)]
    for what in ("qemu", "kernel", "python"):
        rows.append([what, *(kept[suite]["versions"][what] for suite in suites)])
    rows.append(["tested on", *(kept[suite]["date"] for suite in suites)])
    for test in sorted({test for suite in suites for test in kept[suite]["tests"]}):
        rows.append([f"`{test}`", *(_short(kept[suite]["tests"].get(test, "not run")) for suite in suites)])
    return [f"| {' | '.join(row)} |" for row in rows]


def _short(outcome):
    """passed, or a word in capitals: the reason is below the table, and in KEPT."""
    return outcome.partition(":")[0].replace("FAILED", "**failed**")


def joined(before, column):
    """The column with what an earlier run of the same day saw of other tests, on the same host: pytest was given a choice."""
    if before is None or any(before[what] != column[what] for what in ("date", "versions")):
        return column
    return column | {"tests": before["tests"] | column["tests"]}


def known():
    """{suite: column} of what was kept."""
    return json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}


def write(kept):
    KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    block = "\n".join((BEGIN, *table(kept), END))
    PAGE.write_text(re.sub(f"{BEGIN}.*?{END}", lambda _match: block, page, flags=re.S), encoding="utf-8")


def main(argv):
    suites = [word for word in argv if not word.startswith("-")] or list(SUITES)
    more = [word for word in argv if word.startswith("-")]
    if unknown := set(suites) - set(SUITES):
        sys.exit(f"no such suite: {', '.join(sorted(unknown))}. There are: {', '.join(SUITES)}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    columns = {}
    for suite in suites:
        columns[suite] = column(suite, more)
        kept = known()  # anew: another run may have ended meanwhile
        write(kept | {suite: joined(kept.get(suite), columns[suite])})
    return any(outcome.startswith("FAILED") for found in columns.values() for outcome in found["tests"].values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
