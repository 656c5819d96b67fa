# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemons of a simulated host, each a `sleep` here: which are started when, and what becomes of their pid files."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import daemons
import pytest

NAMES = tuple(daemons.BEGIN)


@pytest.fixture(autouse=True)
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of those started, in order. Nobody buries the dead before the test is over."""
    names, processes = [], []

    def begin(name: str) -> None:
        names.append(name)
        processes.append(daemons._spawn(name, ["sleep", "1000"]))

    monkeypatch.setattr(daemons, "RUN", tmp_path)
    monkeypatch.setattr(daemons, "CONSOLE", os.devnull)
    monkeypatch.setattr(daemons, "BEGIN", {name: partial(begin, name) for name in NAMES})
    yield names
    for process in processes:
        process.kill()
        process.wait()


def pid(name: str) -> int:
    return int((daemons.RUN / f"{name}.pid").read_text())


def test_what_runs_is_left_alone(begun: list[str]) -> None:
    daemons.start()
    assert begun == list(NAMES) and all(map(daemons.runs, NAMES))
    daemons.start()
    assert begun == list(NAMES)


@pytest.mark.parametrize("name", NAMES[1:])
def test_what_has_ended_is_started(begun: list[str], name: str) -> None:
    daemons.start()
    daemons.end(name)
    assert not daemons.runs(name)
    daemons.start()
    assert begun == [*NAMES, name]


def test_without_xenstored_all_are_started_anew(begun: list[str]) -> None:
    daemons.start()
    before = {name: pid(name) for name in NAMES}
    os.kill(pid("xenstored"), signal.SIGKILL)
    assert daemons._ended(pid("xenstored"), 60)
    daemons.start()
    assert begun == [*NAMES, *NAMES]
    assert all(daemons._ended(old, 0) for old in before.values()), "none is there twice"


def test_the_dead_are_known_by_their_pid(begun: list[str]) -> None:
    daemons.start()
    console = pid("xenconsoled")
    daemons.end("xenconsoled")
    assert daemons.buried(console) == "xenconsoled"
    assert daemons.buried(console) is None and not (daemons.RUN / "xenconsoled.pid").exists()
    assert daemons.buried(os.getpid()) is None


def test_the_store_is_started_first_and_its_kind_is_kept() -> None:
    assert NAMES[0] == "xenstored"
    for kind, name in daemons.KINDS.items():
        daemons.choose(kind)
        assert daemons.STORES[(daemons.RUN / "store").read_text()][0].endswith(f"/{name}")


def test_a_daemon_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemons, "PATIENCE", 0.05)
    says, told = os.pipe()
    stubborn = daemons._spawn("guests", ["bash", "-c", f"trap '' TERM; echo deaf >&{told}; exec sleep 1000"], keep=told)
    os.close(told)
    with open(says) as pipe:
        assert pipe.readline() == "deaf\n"
    daemons.end("guests")
    assert stubborn.wait(60) == -signal.SIGKILL
