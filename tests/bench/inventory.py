# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory of the guests of many simulated hosts, beside `ansible -m ping` of the same hosts: time and memory.

`python tests/bench/inventory.py 50` measures this alone; `make bench` does it too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from rows import KB, Row, markdown
from runs import OUT, ROOT, simulated

FORKS, GUESTS, REPEAT = 20, 3, 3
BETWEEN = 0.1  # seconds between two looks at the memory
KERNEL = "/usr/lib/xenfake/kernel"  # nothing runs it


class Run(NamedTuple):
    """seconds: wall. memory: the most bytes (PSS) that the command and all its children had at a time. out: what it printed."""

    seconds: float
    memory: int
    out: str


def inventory(count: int) -> Iterator[Row]:
    """Rows about ``count`` hosts with GUESTS guests each. SystemExit if one of them is missing."""
    with simulated([f"inv{os.getpid()}-{number}" for number in range(1, count + 1)]) as hosts:
        yield from measured(hosts, count)


def measured(hosts: Path, count: int) -> Iterator[Row]:
    _make_guests(hosts)
    source = OUT / "xen.guests.yml"
    given = {
        "plugin": "stubdom.xen.guests",
        "inventory": [str(hosts)],
        "forks": FORKS,
        "timeout": 600,
        "hostnames": ["name@host"],
    }
    source.write_text(json.dumps(given), encoding="utf-8")
    ping = ["ansible", "-i", str(hosts), "-f", str(FORKS), "-o", "all", "-m", "ping"]
    turns = [(_run(ping), _run(["ansible-inventory", "-i", str(source), "--list"])) for _turn in range(REPEAT)]
    for pinged, listed in turns:
        found = len(json.loads(listed.out)["_meta"]["hostvars"])
        if pinged.out.count("SUCCESS") != count or found != GUESTS * count:
            sys.exit(f"== nothing measured: {pinged.out.count('SUCCESS')} hosts answered ping, {found} guests were found")
    ping_s, list_s = (median([turn[which].seconds for turn in turns]) for which in (0, 1))
    ping_b, list_b = (max(turn[which].memory for turn in turns) for which in (0, 1))
    what = f"inventory of {GUESTS} guests on each of {count} simulated hosts / `ansible -m ping` of these, {FORKS} forks each"
    yield Row(what, f"{list_s / ping_s:.2f} ({list_s:.1f} s / {ping_s:.1f} s, {REPEAT} each)")
    yield Row("- most memory on the controller, all processes", f"{list_b / KB**2:.0f} MB / {ping_b / KB**2:.0f} MB")


def _make_guests(hosts: Path) -> None:
    one = {"type": "pvh", "memory": "16MiB", "vcpus": 1, "kernel": KERNEL}
    guests = json.dumps({"guests": [{"name": f"guest{number}", **one} for number in range(GUESTS)]})
    command = ["ansible", "-i", str(hosts), "-f", str(FORKS), "-o", "all", "-m", "stubdom.xen.guests", "-a", guests]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout[-3000:]}== nothing measured: the guests could not be made")


def _run(command: Sequence[str]) -> Run:
    print("==", *command, flush=True)
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    most, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(BETWEEN):
            most[0] = max(most[0], sum(map(_pss, _tree(process.pid))))

    watcher = threading.Thread(target=watch)
    watcher.start()
    out = process.communicate()[0]
    seconds = time.monotonic() - began
    over.set()
    watcher.join()
    return Run(seconds, most[0], out)


def _tree(pid: int) -> Iterator[int]:
    """The process and its children. What runs in a simulated host's pid namespace is that host's, not the controller's."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, _text(task).split()):
            if _text(Path(f"/proc/{child}/comm")).strip() != "nsenter":
                yield from _tree(child)


def _pss(pid: int) -> int:
    lines = _text(Path(f"/proc/{pid}/smaps_rollup")).splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _text(path: Path) -> str:
    """Nothing of a process that has ended."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    print(markdown(list(inventory(int(sys.argv[1])))))
