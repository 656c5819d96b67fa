# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench-fleet`: the guests of many hosts, with a task for each host and with one for each guest. A Markdown table.

Nothing to do, and a change that has every guest made anew, in waves of hosts. Wall time, and the most memory that Ansible
takes on the controller meanwhile. All hosts are simulated ones on this machine: their work is in the time as well.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rows import Row, markdown
from runs import OUT, ROOT, simulated

TABLE = ROOT / ".cache" / "bench-fleet.md"
LOOK_S = 0.5  # seconds between two looks at the memory
WAYS = {"guests": "one task `guests` a host", "guest": "a task `guest` for each guest"}


class Run(NamedTuple):
    """seconds: wall time. memory: bytes at most, of all of Ansible's processes on the controller, shared pages counted once."""

    seconds: float
    memory: int


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make bench-fleet", description=__doc__)
    parser.add_argument("--hosts", type=int, default=50)
    parser.add_argument("--guests", type=int, default=20, help="on each host")
    parser.add_argument("--serial", type=int, default=10, help="hosts in a wave of the change")
    parser.add_argument("--forks", type=int, default=10)
    options = parser.parse_args(arguments)
    OUT.mkdir(parents=True, exist_ok=True)
    names = [f"fleet{os.getpid()}-{number}" for number in range(1, options.hosts + 1)]
    with simulated(names) as inventory:
        rows = list(_measured(inventory, options))
    table = f"{options.hosts} hosts, {options.guests} guests each, {options.forks} forks\n\n{markdown(rows)}"
    TABLE.write_text(table, encoding="utf-8")
    print(f"\n{table}\n== also in {TABLE.relative_to(ROOT)}")
    return 0


def _measured(inventory: Path, options: argparse.Namespace) -> Iterator[Row]:
    first = _run(inventory, options, "guests", 1, True, options.hosts)
    yield Row("all guests made, one task `guests` a host", _said(first))
    still = {way: _run(inventory, options, way, 1, False, options.hosts) for way in WAYS}
    yield from _compared("nothing to do", still)
    change = {way: _run(inventory, options, way, vcpus, True, options.serial) for way, vcpus in (("guests", 2), ("guest", 1))}
    yield from _compared(f"every guest made anew, {options.serial} hosts at a time", change)


def _compared(what: str, runs: dict[str, Run]) -> Iterator[Row]:
    for way, run in runs.items():
        yield Row(f"{what}, {WAYS[way]}", _said(run))
    yield Row(f"{what}: a task for each guest / one a host", f"{runs['guest'].seconds / runs['guests'].seconds:.1f}")


def _said(run: Run) -> str:
    return f"{run.seconds:.0f} s, {run.memory / 1e6:.0f} MB"


def _run(inventory: Path, options: argparse.Namespace, way: str, vcpus: int, changes: bool, serial: int) -> Run:
    """A run of fleet.yml. SystemExit if it failed, or changed other than it should have."""
    variables = {
        "fleet_way": way, "fleet_guests": options.guests, "fleet_vcpus": vcpus, "fleet_changes": changes, "fleet_serial": serial,
    }  # fmt: skip
    command = ["ansible-playbook", "-i", str(inventory), "-f", str(options.forks), "tests/bench/fleet.yml"]
    print("==", *command, variables, flush=True)
    began = time.monotonic()
    with subprocess.Popen([*command, "-e", json.dumps(variables)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as ansible:
        most = [0]
        watch = threading.Thread(target=_watch, args=(ansible, most))
        watch.start()
        said = ansible.communicate()[0]
        watch.join()
    if ansible.returncode:
        sys.exit(f"{said[-5000:]}\n== nothing measured: the playbook failed")
    run = Run(time.monotonic() - began, most[0])
    print(f"   {_said(run)}", flush=True)
    return run


def _watch(ansible: subprocess.Popen[str], most: list[int]) -> None:
    while ansible.poll() is None:
        most[0] = max(most[0], sum(map(_memory, _controllers(ansible.pid))))
        time.sleep(LOOK_S)


def _controllers(pid: int) -> Iterator[int]:
    """The process and those of its children that are Ansible as well: its workers, not what runs on a simulated host."""
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        for child in map(int, children):
            if b"ansible-playbook" in Path(f"/proc/{child}/cmdline").read_bytes():
                yield from _controllers(child)
    except OSError:
        return  # it ended just now


def _memory(pid: int) -> int:
    """Its proportional set size, in bytes (proc(5): smaps_rollup)."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
