# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench`: what a task with nothing to do costs, and how soon a guest that is ready may run. A Markdown table.

All of it is measured in one run on one host, and told as ratios where it can be, so that the machine's speed matters little.
What is compared is measured alternately, and the median counts.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import crowd
import inventory
from payload import unwrapped, wrapped
from rows import KB, Row, fine, markdown, ms
from runs import OUT, ROOT, play, task_times

TABLE = ROOT / ".cache" / "bench.md"


def main(arguments: Sequence[str]) -> int:
    """Measure, print the table, write it to .cache/bench.md. Returns the exit code: 0 when everything was measured."""
    options = _parser().parse_args(arguments)
    OUT.mkdir(parents=True, exist_ok=True)
    payload = wrapped("stubdom.xen.guest", {"name": "x"})
    unwrapped(payload, OUT / "guest.zip")
    unwrapped(wrapped("stubdom.xen.guests", {"guests": []}), OUT / "guests.zip")
    unwrapped(wrapped("stubdom.xen.guest_ready", {"name": "x"}), OUT / "guest_ready.zip")
    _play(options)
    measured = json.loads((OUT / "measured.json").read_text(encoding="utf-8"))
    tasks, inside = _tasks(_task_times(OUT / "tasks")), _inside(measured["inside"])
    rows = [*tasks, *inside, _size(payload), *_starts(measured["starts"]), *_reaction(measured["reaction"])]
    print(f"\n{markdown(rows)}", flush=True)  # what follows takes minutes
    rows += [*crowd.guests(options.sizes), *crowd.hosts(options.hosts), *inventory.inventory(options.hosts)]
    table = markdown(rows)
    TABLE.write_text(table, encoding="utf-8")
    print(f"\n{table}\n== also in {TABLE.relative_to(ROOT)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--inventory", default=".lab/inventory.yml", help="the first host of its group xen is measured")
    parser.add_argument("--repeat", type=int, default=11, help="how often everything is measured")
    parser.add_argument("--starts", type=int, default=3, help="how often a guest of each kind is started")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 500, 1000], help="so many guests with nothing to do")
    parser.add_argument("--hosts", type=int, default=50, help="so many simulated hosts in one inventory")
    return parser


def _play(options: argparse.Namespace) -> None:
    variables = {"bench_out": str(OUT), "bench_repeat": options.repeat, "bench_starts": options.starts}
    play(["-i", options.inventory, "tests/bench/bench.yml", "-e", json.dumps(variables)], OUT / "tasks")


def _task_times(directory: Path) -> dict[str, list[float]]:
    """The same without the first of each, which opens the connection."""
    return {name: seconds[1:] for name, seconds in task_times(directory).items()}


def _tasks(times: Mapping[str, Sequence[float]]) -> Iterator[Row]:
    guest, command = median(times["Timed guest"]), median(times["Timed command"])
    ratio = guest / command
    yield Row(
        "task `guest` with nothing to do / task `command: xl list`",
        f"{ratio:.2f} ({ms(guest)} / {ms(command)}, {len(times['Timed guest'])} each)", "1.5", ratio <= 1.5,
    )  # fmt: skip
    silent = median(times["Timed guest without progress"])
    yield Row(
        "- the same / one that would not tell what it waits for",
        f"{guest / silent:.2f} ({ms(guest)} / {ms(silent)})", "1.1", guest / silent <= 1.1,
    )  # fmt: skip


def _inside(inside: Mapping[str, Any]) -> Iterator[Row]:
    """The engine's own part of a run: what is left of the process when its programs' time is taken out."""
    runs = inside["engine"]
    if any(run["result"].get("changed") or run["result"].get("failed") for run in runs):
        sys.exit("== nothing measured: the guest was to be as described, and a run inside changed something or failed")
    xl = median(inside["xl"])
    programs = median([_programs(run) for run in runs])
    own = median([run["wall"] - _programs(run) for run in runs])
    work = median([run["wall"] - _programs(run) - run["python"] - run["ansible"] for run in runs])
    yield Row("engine's process less its `xl` / one `xl list -l`, wall", f"{own / xl:.2f} ({ms(own)} / {ms(xl)})")
    yield Row("the same, CPU of the process", f"{median([run['cpu'] for run in runs]) / xl:.2f}")
    yield Row("- of it without starting Python and importing Ansible's own part", f"{work / xl:.2f} ({ms(work)})")
    yield Row("- of it importing the collection's part", ms(median([run["imports"] for run in runs])))
    yield Row("`xl` commands of such a run", f"{len(runs[0]['programs'])}, {ms(programs)}")


def _programs(run: Mapping[str, Any]) -> float:
    return float(sum(program["ended"] - program["began"] for program in run["programs"]))


def _size(payload: bytes) -> Row:
    return Row("what a task sends to the host", f"{len(payload) / KB:.0f} kB", "300 kB", len(payload) < 300 * KB)


def _starts(starts: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """From the last link's holding to the start of `xl unpause`, and how much of it `xl create` took to return."""
    for kind in dict.fromkeys(start["device_model"] for start in starts):
        gaps = [_gap(start["seen"]) for start in starts if start["device_model"] == kind]
        whole, create = median([gap[0] for gap in gaps]), median([gap[1] for gap in gaps])
        yield Row(
            f"chain held to `xl unpause` issued, device model in {kind}",
            f"{ms(whole)}, {ms(create)} of it until `xl create` returned",
        )


def _reaction(turns: Sequence[Mapping[str, float]]) -> Iterator[Row]:
    """The write of a chain's last node, as soon as it is heard of, and as soon as the guest is let run."""
    found = {who: median([turn[who] for turn in turns]) for who in ("watch", "shell", "ours", "heard")}
    for what, ours, other, tool in (
        ("heard of it", "heard", "watch", "`xenstore-watch`"),
        ("`xl unpause` is started", "ours", "shell", "a shell loop around `xenstore-watch`"),
        ("`xl unpause` is started", "ours", "watch", "the line of a bare `xenstore-watch`"),
    ):
        ratio = found[ours] / found[other]
        value = f"{ratio:.2f} ({fine(found[ours])} / {fine(found[other])}, {len(turns)} each)"
        yield Row(f"from the write of the last node until {what}: the module / {tool}", value, "1.5", ratio <= 1.5)


def _gap(seen: Mapping[str, Any]) -> tuple[float, float]:
    """(seconds from the last link to the unpause, seconds of it in which xl create had not returned yet)."""
    began = {tuple(program["argv"][:2]): program for program in seen["programs"]}
    held = max(seen["held"])
    return began["xl", "unpause"]["began"] - held, max(0.0, began["xl", "create"]["ended"] - held)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
