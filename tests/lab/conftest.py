# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role lab's own parts, without booting a host."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

FILES = Path(__file__).resolve().parents[2] / "roles" / "lab" / "files"
sys.path[:0] = [str(FILES / name) for name in ("runner", "labhost", "simhost", "simulation")]


@pytest.fixture
def build() -> Path:
    """The build's scripts."""
    return FILES / "build"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import emulated

    monkeypatch.setattr(emulated, "RUN", tmp_path / "run")
    made = emulated.EmulatedHost.of(tmp_path / "lab", "xen1")
    made.directory.mkdir(parents=True)
    made.run.mkdir(parents=True)
    return made


@pytest.fixture
def simulated(tmp_path: Path):
    from simulated import SimulatedHost

    made = SimulatedHost.of(tmp_path / "lab", "sim1")
    made.directory.mkdir(parents=True)
    return made
