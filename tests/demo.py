# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make demo`: from nothing to a Xen host with guests, the proof that a second run changes nothing, and a chain that breaks.

Each stage is a command that a person could type, shown before it runs. That nothing changed is read from the report that
Ansible's own callback junit writes, in which a task that reports a change is a failed one.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / ".cache" / "demo"
REPORT = RESULTS / "second-run"
EXAMPLE = "examples/demo"


def main(arguments: Sequence[str]) -> int:
    """Run the stages in order. Returns the exit code; stops at the first stage that fails."""
    options = _parser().parse_args(arguments)
    play = ["ansible-playbook", "-i", options.inventory, "-i", EXAMPLE]
    kept = ["-e", f"demo_results={RESULTS}"]
    stages = [
        ("a real Xen host, emulated", ["make", "--no-print-directory", "lab"], {}),
        ("the host made ready, its images, its guests", [*play, "stubdom.xen.demo", *kept], {}),
        ("the same again: nothing may change", [*play, "stubdom.xen.site"], _reporting()),
        ("what came up, and how", [*play, "stubdom.xen.demo_timeline", *kept], {}),
        ("a guest whose stubdomain cannot come up: what a user reads", [*play, "stubdom.xen.demo_failure"], {}),
    ]
    took = []
    for number, (title, command, environment) in enumerate(stages, 1):
        print(f"\n== {number}/{len(stages)} {title}\n   {shlex.join(command)}", flush=True)
        took.append((title, _run(command, environment)))
        if environment:
            _nothing_changed(_changes(REPORT))
    print(_summary(took, options.inventory))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make demo", description="the main job on the embedded Xen host, from nothing")
    parser.add_argument("--inventory", default=".lab/inventory.yml", help="the Xen hosts, in a group called xen")
    return parser


def _reporting() -> dict[str, str]:
    """The environment of a run whose tasks are reported. Reports of earlier runs go."""
    for old in REPORT.glob("*.xml"):
        old.unlink()
    return {
        "ANSIBLE_CALLBACKS_ENABLED": "ansible.builtin.junit",
        "JUNIT_OUTPUT_DIR": str(REPORT),
        "JUNIT_FAIL_ON_CHANGE": "true",
        "JUNIT_HIDE_TASK_ARGUMENTS": "true",
    }


def _run(command: Sequence[str], environment: Mapping[str, str]) -> float:
    """The seconds that a stage took. SystemExit if it fails."""
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=False)
    seconds = time.monotonic() - began
    if done.returncode:
        sys.exit(f"== failed after {seconds:.0f} s: {shlex.join(command)}")
    print(f"== took {seconds:.0f} s", flush=True)
    return seconds


def _changes(directory: Path) -> list[str]:
    """The tasks that reported a change. SystemExit where there is no report of any task: nothing was seen then."""
    cases = [case for report in directory.glob("*.xml") for case in ElementTree.parse(report).getroot().iter("testcase")]
    if not cases:
        sys.exit(f"== the second run left no report in {directory}: whether anything changed is not known")
    return [str(case.get("name")) for case in cases if case.find("failure") is not None or case.find("error") is not None]


def _nothing_changed(changed: Sequence[str]) -> None:
    if changed:
        sys.exit("== the second run changed something, which it must not:\n" + "\n".join(f"   {name}" for name in changed))
    print("== changed=0: the second run found everything as described", flush=True)


def _summary(took: Sequence[tuple[str, float]], inventory: str) -> str:
    rows = [f"  {seconds:6.0f} s  {title}" for title, seconds in [*took, ("in all", sum(seconds for _title, seconds in took))]]
    steps = [
        ("look around", _ssh(ROOT / inventory)),
        ("change a guest", f"edit {EXAMPLE}/group_vars/xen.yml, then"),
        ("", f"export PATH={ROOT}/.venv/bin:$PATH ANSIBLE_COLLECTIONS_PATH={ROOT}/.cache/collections"),
        ("", f"ansible-playbook -i {inventory} -i {EXAMPLE} stubdom.xen.site --check --diff"),
        ("stop the host", "make lab-stop"),
        ("a Xen host of your own", "examples/yours, and README.md"),
    ]
    return "\n".join(["", *rows, "", "Next:", *(f"  {what:<24}{how}" for what, how in steps)])


def _ssh(inventory: Path) -> str:
    """The command that logs in to the first host of an inventory, the lab's or another."""
    asked = subprocess.run(["ansible-inventory", "-i", str(inventory), "--list"], cwd=ROOT, capture_output=True, check=True)
    groups = json.loads(asked.stdout)
    name = next(host for group in groups.values() for host in group.get("hosts", ()))
    about = groups["_meta"]["hostvars"].get(name, {})  # a host without variables is not in there
    key, port = about.get("ansible_ssh_private_key_file"), about.get("ansible_port")
    options = [*(("-i", key) if key else ()), *(("-p", str(port)) if port else ())]
    throw_away = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"] if key else []
    user = about.get("ansible_user", "root")
    return shlex.join(["ssh", *options, *throw_away, f"{user}@{about.get('ansible_host', name)}"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
