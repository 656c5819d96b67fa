# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role lab's own parts, without booting a host."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

FILES = Path(__file__).resolve().parents[2] / "roles" / "lab" / "files"
sys.path.insert(0, str(FILES / "labhost"))


@pytest.fixture
def build() -> Path:
    """The build's scripts."""
    return FILES / "build"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import layout

    monkeypatch.setattr(layout, "RUN", tmp_path / "run")
    made = layout.Layout.of(tmp_path / "lab", "xen1")
    made.directory.mkdir(parents=True)
    made.run.mkdir(parents=True)
    return made
