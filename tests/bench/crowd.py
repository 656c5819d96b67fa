# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What grows: many guests on one host, many hosts in one inventory. On simulated hosts, which end with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from rows import KB, Row, ms
from runs import OUT, ROOT, play, simulated, task_times

# Guests that are made at once, at a concurrency of as many; the module's default is less.
SLOW = 20
# Guests for which the ratio to `xl list -l` has a goal.
GOALS = (100, 500)


class Size(NamedTuple):
    """A run of the module with nothing to do: its guests, seconds, most memory in bytes, and the seconds of `xl list -l`."""

    guests: int
    wall: float
    started: float  # of it until Python and the imports are done
    cpu: float
    memory: int
    xl: float


def guests(sizes: Sequence[int]) -> list[Row]:
    """Rows about module guests, over so many guests. SystemExit if a playbook fails."""
    name = f"bench{os.getpid()}"
    variables = {
        "bench_out": str(OUT), "bench_host": name, "bench_sizes": sizes, "bench_slow": SLOW, "bench_repeat": 5,
    }  # fmt: skip
    with simulated([name], lab_memory=131072) as inventory:
        play(["-i", str(inventory), "tests/bench/crowd.yml", "-e", json.dumps(variables)], OUT / "crowd")
    times = {task: sum(seconds) for task, seconds in task_times(OUT / "crowd").items()}
    crowd = json.loads((OUT / "crowd.json").read_text(encoding="utf-8"))
    measured = [_size(int(size), found) for size, found in crowd.items()]
    return [*_sets(times), *_sizes(measured), *_growth({size.guests: size for size in measured})]


def hosts(count: int) -> Iterator[Row]:
    """A row about an inventory of so many simulated hosts. SystemExit if one of them does not answer."""
    began = time.monotonic()
    with simulated([f"bench{os.getpid()}-{number}" for number in range(1, count + 1)]) as inventory:
        started = time.monotonic() - began
        _answers(inventory, count)
        whole = time.monotonic() - began
    yield Row(f"an inventory of {count} simulated hosts, from nothing (but the image) to all answering `xl list`",
              f"{whole:.1f} s, {started:.1f} s of it until role `lab` was done")  # fmt: skip


def _answers(inventory: Path, count: int) -> None:
    """Each host is asked `xl list`, all of them at once."""
    command = ["ansible", "-i", str(inventory), "-f", str(count), "-o", "xen_simulated", "-m", "command", "-a", "xl list"]
    print("==", *command, flush=True)
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode or done.stdout.count("Domain-0") != count:
        sys.exit(f"{done.stdout}== nothing measured: {count} hosts were to answer `xl list`")


def _sets(times: Mapping[str, float]) -> Iterator[Row]:
    many, xl, loop = times["Timed set of guests"], times["Timed xl"], times["Timed guest"]
    what, one = f"{SLOW} stubdomain guests, each stubdomain ready after 1 s", f"one task `guests` with `concurrency: {SLOW}`"
    yield Row(f"{what}: `xl create` one after another / {one}", f"{xl / many:.1f} ({xl:.1f} s / {many:.1f} s)",
              "4", xl / many >= 4)  # fmt: skip
    yield Row(f"{what}: a loop of `guest` / {one}", f"{loop / many:.1f} ({loop:.1f} s / {many:.1f} s)",
              "8", loop / many >= 8)  # fmt: skip


def _size(guests: int, found: Mapping[str, Any]) -> Size:
    runs = found["engine"]
    return Size(
        guests,
        wall=median([run["wall"] for run in runs]),
        started=median([run["python"] + run["ansible"] + run["imports"] for run in runs]),
        cpu=median([run["cpu"] for run in runs]),
        memory=max(run["memory"] for run in runs),
        xl=median(found["xl"]),
    )


def _sizes(measured: Sequence[Size]) -> Iterator[Row]:
    """What nothing to do costs over more and more guests."""
    for size in measured:
        goal = ("1.3", size.wall / size.xl <= 1.3) if size.guests in GOALS else (None, None)
        work = size.wall - size.started
        yield Row(f"`guests` with nothing to do over {size.guests} guests / one `xl list -l`",
                  f"{size.wall / size.xl:.2f} ({ms(size.wall)} / {ms(size.xl)})", *goal)  # fmt: skip
        yield Row("- without starting Python and importing", f"{work / size.xl:.2f} ({ms(work)})")
        yield Row("- CPU, and most memory, of the module's process", f"{ms(size.cpu)}, {size.memory / KB**2:.0f} MB")


def _growth(measured: Mapping[int, Size]) -> Iterator[Row]:
    """How that grows to ten times as many guests: the CPU not faster than they do. The rest is to compare with: a run waits
    for `xl list -l`, which grows as it does. No rows where nothing was measured of a tenth.
    """
    many = measured[max(measured)]
    few = measured.get(many.guests // 10)
    if few is None:
        return
    yield _times("`guests` with nothing to do, CPU of the module's process", few, many, "cpu", "10")
    yield _times("- the same, wall", few, many, "wall")
    yield _times("- `xl list -l` itself, wall", few, many, "xl")
    each = (many.memory - few.memory) / (many.guests - few.guests)
    yield Row(f"- memory of the module's process for each guest more, {few.guests} to {many.guests}", f"{each / KB:.1f} kB")


def _times(what: str, few: Size, many: Size, field: str, goal: str | None = None) -> Row:
    less, more = getattr(few, field), getattr(many, field)
    return Row(f"{what}: {many.guests} guests / {few.guests} guests", f"{more / less:.1f} ({ms(more)} / {ms(less)})",
               goal, None if goal is None else more / less <= float(goal))  # fmt: skip
