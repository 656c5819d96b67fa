# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fuzzing of what reads foreign text: python tests/fuzz [TARGET...] [--seconds S] [--inputs N] [--seed SEED] [--only INPUT]

Each target draws inputs and tries them until so many seconds or so many inputs are over. Only the errors that are
documented may come out; every input has its limits of CPU time and memory. A failure tells the seed and the input's
number, which repeat it; without --seed it is one that nobody has had before. The back end of a vTPM's domain, which is
C, has its own: tests/vtpm/fuzz.sh.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import resource
import secrets
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / ".cache" / "collections"))

import xenstored_answers  # noqa: E402
import xlcfg_texts  # noqa: E402

TARGETS = {"xlcfg": xlcfg_texts, "xenstore": xenstored_answers}
CPU_S = 10  # of one input, against what takes ever longer; a slow machine has the same seconds of CPU
HANG_S = 300  # of one input, against what waits for ever
MEMORY = 2 << 30  # bytes of address space that the whole may take
RARE = 100  # each outcome of a target is to be one of so many inputs at least: else the inputs have become useless


def chance_of(seed, number):
    """The randomness of an input, which no other input has a share in."""
    return random.Random(f"{seed}/{number}")


@contextlib.contextmanager
def limits():
    """Raises TimeoutError in what takes too long."""

    def late(_signal, _frame):
        raise TimeoutError(f"more than {CPU_S} s of CPU time, or {HANG_S} s of waiting")

    for timer, name, limit in ((signal.ITIMER_PROF, signal.SIGPROF, CPU_S), (signal.ITIMER_REAL, signal.SIGALRM, HANG_S)):
        signal.signal(name, late)
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL):
            signal.setitimer(timer, 0)


def fuzz(name, target, seed, numbers, seconds):
    """Counter of the outcomes of the inputs with these numbers. SystemExit for one that does what it must not."""
    outcomes, end = Counter(), time.monotonic() + seconds
    for number in numbers:
        drawn = target.drawn(chance_of(seed, number))
        try:
            with limits():
                outcomes[target.tried(drawn)] += 1
        except Exception:
            traceback.print_exc()
            sys.exit(f"{drawn!r}\n{name}: input {number} of seed {seed}: python tests/fuzz {name} --seed {seed} --only {number}")
        if time.monotonic() > end:
            break
    return outcomes


def rare(target, outcomes):
    """The outcomes that hardly came."""
    return [one for one in target.OUTCOMES if outcomes[one] * RARE < outcomes.total()]


def arguments(given):
    parser = argparse.ArgumentParser(prog="tests/fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="TARGET", help=f"{', '.join(TARGETS)}; all of them")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for each target")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="for each target, at most")
    parser.add_argument("--seed", default=None, help="any word")
    parser.add_argument("--only", type=int, help="try the input of this number, and no other")
    return parser.parse_args(given)


def main(given):
    asked = arguments(given)
    seed = asked.seed or secrets.token_hex(4)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    said = []
    for name in asked.targets or TARGETS:
        numbers = range(asked.inputs) if asked.only is None else [asked.only]
        began, target = time.monotonic(), TARGETS[name]
        outcomes = fuzz(name, target, seed, numbers, asked.seconds)
        took = time.monotonic() - began
        told = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
        print(f"{name}: {outcomes.total()} inputs of seed {seed} in {took:.0f} s: {told}", flush=True)
        if asked.only is None and rare(target, outcomes):
            sys.exit(f"{name}: hardly ever {', '.join(rare(target, outcomes))}: what is drawn has become useless")
        said.append(f"{name} {outcomes.total()}")
    print(f"nothing found in {', '.join(said)} inputs, seed {seed}, {most_memory()} MiB at most")


def most_memory():
    """MiB that this process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


if __name__ == "__main__":
    main(sys.argv[1:])
