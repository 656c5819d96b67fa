# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes `ansible_collections.stubdom.xen` importable from this checkout, whatever its directory is called, and has the host
of the stories."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / ".cache" / "collections"
LINK = COLLECTIONS / "ansible_collections" / "stubdom" / "xen"

if not LINK.exists():
    LINK.parent.mkdir(parents=True, exist_ok=True)
    LINK.symlink_to(ROOT)
sys.path.insert(0, str(COLLECTIONS))


@pytest.fixture
def host():
    """A simulated Xen host. After every story: no guest was let run before its device model and its TPM were up."""
    from simulated_host import SimulatedHost  # which imports from the collection

    host = SimulatedHost()
    yield host
    assert host.machine.unsafe == []
