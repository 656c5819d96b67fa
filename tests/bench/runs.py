# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's programs run and timed, and simulated hosts of this run's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / ".cache" / "bench"
HOSTS = ROOT / ".lab" / "simulated"


def play(arguments: Sequence[str], reports: Optional[Path] = None) -> None:
    """A playbook, with the time of every task in ``reports``. SystemExit if it fails."""
    for old in reports.glob("*.xml") if reports else ():
        old.unlink()
    reporting = {"ANSIBLE_CALLBACKS_ENABLED": "ansible.builtin.junit", "JUNIT_OUTPUT_DIR": str(reports)} if reports else {}
    command = ["ansible-playbook", *arguments]
    print("==", " ".join(command), flush=True)
    env = {**os.environ, **reporting, "JUNIT_HIDE_TASK_ARGUMENTS": "true"}
    if subprocess.run(command, cwd=ROOT, env=env, check=False).returncode:
        sys.exit("== nothing measured: the playbook failed")


def task_times(directory: Path) -> dict[str, list[float]]:
    """Seconds of each task by its name, in order."""
    found: dict[str, list[float]] = {}
    for report in directory.glob("*.xml"):
        for case in ElementTree.parse(report).getroot().iter("testcase"):
            found.setdefault(str(case.get("name")).rpartition(": ")[2], []).append(float(case.get("time") or 0))
    return found


@contextmanager
def simulated(names: Sequence[str], **more: Any) -> Iterator[Path]:
    """Simulated hosts of these names, which nobody else has; yields their inventory. In the end they are gone."""
    inventory = OUT / "simulated.yml"
    hosts = {"lab_kind": "simulated", "lab_hosts": names, "lab_inventory": str(inventory), "lab_inventory_all": False}
    try:
        _lab({**hosts, **more, "lab_owner": str(os.getpid())})
        yield inventory
    finally:
        _lab({**hosts, "lab_state": "absent"})
        for name in names:
            (HOSTS / f".{name}.lock").unlink(missing_ok=True)


def _lab(variables: dict[str, Any]) -> None:
    play(["-i", "localhost,", "playbooks/lab.yml", "-e", json.dumps(variables)])
