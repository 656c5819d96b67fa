# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench`: what a task with nothing to do costs, and how soon a guest that is ready may run. A Markdown table.

All of it is measured in one run on one host, and told as ratios where it can be, so that the machine's speed matters little.
What is compared is measured alternately, and the median counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, Optional
from xml.etree import ElementTree

from payload import unwrapped, wrapped

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / ".cache" / "bench"
TABLE = ROOT / ".cache" / "bench.md"
KB = 1000


class Row(NamedTuple):
    """What was measured, the value as shown, the goal as shown (None: no goal) and whether it was met."""

    what: str
    value: str
    goal: Optional[str] = None
    met: Optional[bool] = None


def main(arguments: Sequence[str]) -> int:
    """Measure, print the table, write it to .cache/bench.md. Returns the exit code: 0 when everything was measured."""
    options = _parser().parse_args(arguments)
    OUT.mkdir(parents=True, exist_ok=True)
    payload = wrapped("stubdom.xen.guest", {"name": "x"})
    unwrapped(payload, OUT / "guest.zip")
    unwrapped(wrapped("stubdom.xen.guests", {"guests": []}), OUT / "guests.zip")
    _play(options)
    crowd = _crowd(options)
    measured = json.loads((OUT / "measured.json").read_text(encoding="utf-8"))
    tasks, inside = _tasks(_task_times(OUT / "tasks")), _inside(measured["inside"])
    rows = [*tasks, *inside, _size(payload), *_starts(measured["starts"]), *crowd]
    table = _markdown(rows)
    TABLE.write_text(table, encoding="utf-8")
    print(f"\n{table}\n== also in {TABLE.relative_to(ROOT)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--inventory", default=".lab/inventory.yml", help="the first host of its group xen is measured")
    parser.add_argument("--repeat", type=int, default=11, help="how often everything is measured")
    parser.add_argument("--starts", type=int, default=3, help="how often a guest of each kind is started")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 500, 1000], help="so many guests with nothing to do")
    return parser


def _play(options: argparse.Namespace) -> None:
    variables = {"bench_out": str(OUT), "bench_repeat": options.repeat, "bench_starts": options.starts}
    _run(["-i", options.inventory, "tests/bench/bench.yml", "-e", json.dumps(variables)], OUT / "tasks")


def _crowd(options: argparse.Namespace) -> list[Row]:
    """Many guests, on a simulated host of this run's own. SystemExit if a playbook fails."""
    inventory, name = OUT / "simulated.yml", f"bench{os.getpid()}"
    lab = {"lab_kind": "simulated", "lab_hosts": [name], "lab_inventory": str(inventory), "lab_memory": 131072}
    _run(["-i", "localhost,", "playbooks/lab.yml", "-e", json.dumps({**lab, "lab_owner": str(os.getpid())})])
    variables = {
        "bench_out": str(OUT), "bench_host": name, "bench_sizes": options.sizes, "bench_slow": 20, "bench_repeat": 5,
    }  # fmt: skip
    try:
        _run(["-i", str(inventory), "tests/bench/crowd.yml", "-e", json.dumps(variables)], OUT / "crowd")
    finally:
        _run(["-i", "localhost,", "playbooks/lab.yml", "-e", json.dumps({**lab, "lab_state": "absent"})])
    times = {name: sum(seconds) for name, seconds in _all_task_times(OUT / "crowd").items()}
    return [*_sets(times), *_sizes(json.loads((OUT / "crowd.json").read_text(encoding="utf-8")))]


def _sets(times: Mapping[str, float]) -> Iterator[Row]:
    many, xl, loop = times["Timed set of guests"], times["Timed xl"], times["Timed guest"]
    what = "20 stubdomain guests, each stubdomain ready after 1 s"
    yield Row(f"{what}: `xl create` one after another / one task `guests`", f"{xl / many:.1f} ({xl:.1f} s / {many:.1f} s)",
              "4", xl / many >= 4)  # fmt: skip
    yield Row(f"{what}: a loop of `guest` / one task `guests`", f"{loop / many:.1f} ({loop:.1f} s / {many:.1f} s)",
              "8", loop / many >= 8)  # fmt: skip


def _sizes(crowd: Mapping[str, Any]) -> Iterator[Row]:
    """What nothing to do costs over more and more guests, and what of it grows."""
    for size, measured in crowd.items():
        wall, xl = median([run["wall"] for run in measured["engine"]]), median(measured["xl"])
        started = median([run["python"] + run["ansible"] + run["imports"] for run in measured["engine"]])
        cpu, memory = median([run["cpu"] for run in measured["engine"]]), max(run["memory"] for run in measured["engine"])
        goal = ("1.3", wall / xl <= 1.3) if int(size) in (100, 500) else (None, None)
        yield Row(f"`guests` with nothing to do over {size} guests / one `xl list -l`",
                  f"{wall / xl:.2f} ({_ms(wall)} / {_ms(xl)})", *goal)  # fmt: skip
        yield Row("- without starting Python and importing", f"{(wall - started) / xl:.2f} ({_ms(wall - started)})")
        yield Row("- CPU, and most memory, of the module's process", f"{_ms(cpu)}, {memory / KB**2:.0f} MB")


def _run(arguments: Sequence[str], reports: Optional[Path] = None) -> None:
    """A playbook, with the time of every task in ``reports``. SystemExit if it fails."""
    command = ["ansible-playbook", *arguments]
    for old in reports.glob("*.xml") if reports else ():
        old.unlink()
    reporting = {"ANSIBLE_CALLBACKS_ENABLED": "ansible.builtin.junit", "JUNIT_OUTPUT_DIR": str(reports)} if reports else {}
    print("==", " ".join(command), flush=True)
    env = {**os.environ, **reporting, "JUNIT_HIDE_TASK_ARGUMENTS": "true"}
    if subprocess.run(command, cwd=ROOT, env=env, check=False).returncode:
        sys.exit("== nothing measured: the playbook failed")


def _all_task_times(directory: Path) -> dict[str, list[float]]:
    """Seconds of each task by its name, in order."""
    found: dict[str, list[float]] = {}
    for report in directory.glob("*.xml"):
        for case in ElementTree.parse(report).getroot().iter("testcase"):
            found.setdefault(str(case.get("name")).rpartition(": ")[2], []).append(float(case.get("time") or 0))
    return found


def _task_times(directory: Path) -> dict[str, list[float]]:
    """The same without the first of each, which opens the connection."""
    return {name: seconds[1:] for name, seconds in _all_task_times(directory).items()}


def _tasks(times: Mapping[str, Sequence[float]]) -> Iterator[Row]:
    guest, command = median(times["Timed guest"]), median(times["Timed command"])
    ratio = guest / command
    yield Row(
        "task `guest` with nothing to do / task `command: xl list`",
        f"{ratio:.2f} ({_ms(guest)} / {_ms(command)}, {len(times['Timed guest'])} each)", "1.5", ratio <= 1.5,
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
    yield Row("engine's process less its `xl` / one `xl list -l`, wall", f"{own / xl:.2f} ({_ms(own)} / {_ms(xl)})")
    yield Row("the same, CPU of the process", f"{median([run['cpu'] for run in runs]) / xl:.2f}")
    yield Row("- of it without starting Python and importing Ansible's own part", f"{work / xl:.2f} ({_ms(work)})")
    yield Row("- of it importing the collection's part", _ms(median([run["imports"] for run in runs])))
    yield Row("`xl` commands of such a run", f"{len(runs[0]['programs'])}, {_ms(programs)}")


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
            f"{_ms(whole)}, {_ms(create)} of it until `xl create` returned",
        )


def _gap(seen: Mapping[str, Any]) -> tuple[float, float]:
    """(seconds from the last link to the unpause, seconds of it in which xl create had not returned yet)."""
    began = {tuple(program["argv"][:2]): program for program in seen["programs"]}
    held = max(seen["held"])
    return began["xl", "unpause"]["began"] - held, max(0.0, began["xl", "create"]["ended"] - held)


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"


def _markdown(rows: Sequence[Row]) -> str:
    lines = ["| measured | value | goal | met |", "|---|---|---|---|"]
    for row in rows:
        met = "" if row.met is None else ("yes" if row.met else "**no**")
        lines.append(f"| {row.what} | {row.value} | {row.goal or ''} | {met} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
