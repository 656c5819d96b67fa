# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make check` runs: the table of gates, and the loop that runs every one of them.

A gate that fails shows its output at once; the others still run, so that one look shows all there is to mend. A gate
that passes shows its last line; all that each of them said is in .cache/gates. The table at the end says what passed,
and in how many seconds. Arguments are names of gates, to run only these; `--thorough` adds what MORE and SLOW_GATES say.
The contract tests on the embedded host take half an hour of one core, so the others run beside them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV_BIN = ROOT / ".venv" / "bin"
SAID = ROOT / ".cache" / "gates"
YIELDS = 10  # the nice value of what runs beside the embedded host
LIMIT_S = 4500  # against hanging, no judgement of speed


@dataclass(frozen=True)
class Gate:
    """name: str, as in the table and on the command line. command: tuple of str, run from the repository's root.

    alone: bool, it uses the whole machine; of the others two run at a time. beside: bool, it runs beside all of them, and
    what it says is shown as it comes.
    """

    name: str
    command: tuple[str, ...]
    alone: bool = False
    beside: bool = False


GATES = (
    Gate("ruff-lint", ("ruff", "check", ".")),
    Gate("ruff-format", ("ruff", "format", "--check", ".")),
    Gate("yamllint", ("yamllint", "--strict", ".")),
    Gate("mypy", ("mypy",)),
    Gate("ansible-lint", ("ansible-lint", "--offline")),
    Gate("ansible-test", ("python", "tests/check/sanity.py")),
    Gate("changelog", ("antsibull-changelog", "lint")),
    Gate("archive", ("python", "tests/check/archive.py")),
    Gate("docs", ("python", "tests/check/docsite.py")),
    Gate("unit", ("pytest", "-n", "2", "tests/unit", "tests/lab", "tests/vtpm"), alone=True),
    Gate(
        "contract",
        (
            "pytest",
            "-n",
            "4",
            "--dist",
            "loadgroup",
            "--no-loadscope-reorder",
            "--durations=40",
            "tests/contract",
            "--kind",
            "simulated",
        ),
        alone=True,
    ),
)
# what `make test` adds: to a gate's command, and gates of its own
MORE = {"ansible-test": ("--every-python",), "unit": ("--cov", "--cov-report=term"), "contract": ("--faults",)}
SLOW_GATES = (
    Gate("importer", ("python", "tests/check/importer.py")),
    Gate("newest", ("python", "tests/check/newest.py")),
    Gate("molecule", ("python", "tests/check/molecule.py")),
    Gate("browser", ("pytest", "tests/browser")),
    Gate("sanitize", ("tests/check/sanitize.sh",)),
    Gate("fuzz", ("python", "tests/fuzz", "--seconds", "25")),
    Gate("embedded", ("pytest", "-v", "--durations=10", "tests/contract", "--kind", "embedded"), beside=True),
)


@dataclass(frozen=True)
class Outcome:
    """gate: Gate. passed: bool. seconds: float. output: str, standard output and error as they came."""

    gate: Gate
    passed: bool
    seconds: float
    output: str


def environment():
    """The environment of a gate: dict of str. Tools from .venv, the collection from this checkout, plain UTF-8 text."""
    return {
        **os.environ,
        "PATH": f"{VENV_BIN}{os.pathsep}{os.environ['PATH']}",
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "collections"),
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
    }


def run(gate):
    """Run one gate to its end, or to LIMIT_S, and return its Outcome."""
    print(f"-- {gate.name} begins", flush=True)
    start, said = time.monotonic(), []
    try:
        process = subprocess.Popen(
            gate.command,
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as missing:
        return Outcome(gate, False, 0.0, f"{missing.filename} is not in .venv: run make setup")
    if not gate.beside:
        os.setpriority(os.PRIO_PROCESS, process.pid, YIELDS)
    late = threading.Timer(LIMIT_S, process.kill)
    late.start()
    for line in process.stdout:
        said.append(line)
        if gate.beside:
            print(f"   {gate.name}: {line}", end="", flush=True)
    passed = process.wait() == 0
    late.cancel()
    if not passed and time.monotonic() - start >= LIMIT_S:
        said.append(f"\nno end within {LIMIT_S} s")
    SAID.mkdir(parents=True, exist_ok=True)
    (SAID / f"{gate.name}.log").write_text("".join(said), encoding="utf-8")
    return Outcome(gate, passed, time.monotonic() - start, "".join(said).strip())


def show(outcome):
    """Print what a finished gate has to say: everything when it failed, its last line when it passed."""
    print(f"== {outcome.gate.name}: {' '.join(outcome.gate.command)}", flush=True)
    if outcome.passed:
        print(f"   ok, {outcome.seconds:.1f} s: {(outcome.output.splitlines() or ['no output'])[-1]}", flush=True)
    else:
        print(f"{outcome.output}\n   FAILED, {outcome.seconds:.1f} s", flush=True)


def table(outcomes):
    """The closing table as text: a line for each gate, then the sum."""
    rows = [f"  {o.gate.name:<13} {'passed' if o.passed else 'FAILED':<7} {o.seconds:6.1f} s" for o in outcomes]
    failed = [o.gate.name for o in outcomes if not o.passed]
    verdict = f"failed: {', '.join(failed)}" if failed else "all passed"
    rows.append(f"  {len(outcomes)} gates, {sum(o.seconds for o in outcomes):.1f} s, {verdict}")
    return "\n".join(rows)


def chosen(names, thorough):
    """The gates of these names (all of them for none), in the table's order. SystemExit for an unknown name."""
    known = GATES + SLOW_GATES
    unknown = sorted(set(names) - {gate.name for gate in known})
    if unknown:
        sys.exit(f"no such gate: {', '.join(unknown)}. There are: {', '.join(gate.name for gate in known)}")
    gates = [gate for gate in known if gate.name in names] if names else [*GATES, *(SLOW_GATES if thorough else ())]
    return [replace(gate, command=gate.command + (MORE.get(gate.name, ()) if thorough else ())) for gate in gates]


def outcomes_of(gates):
    """The Outcomes in the gates' order, each as soon as it and those before it are there; last of those that ran beside them."""
    with ThreadPoolExecutor() as beside:
        running = [beside.submit(run, gate) for gate in gates if gate.beside]
        for alone, group in groupby((gate for gate in gates if not gate.beside), key=lambda gate: gate.alone):
            with ThreadPoolExecutor(1 if alone else 2) as workers:
                yield from workers.map(run, group)
        yield from (future.result() for future in running)


def main(arguments):
    """Run the gates that `arguments` ask for; the exit code: 0 when all of them passed."""
    outcomes = []
    for outcome in outcomes_of(chosen([a for a in arguments if a != "--thorough"], "--thorough" in arguments)):
        outcomes.append(outcome)
        show(outcome)
    print(f"\n{table(outcomes)}")
    return 0 if all(outcome.passed for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
