# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded Xen host for the tests here: prepared once, put into a snapshot, and back to it before each file.

`make test` boots the host first; by itself, `make lab && pytest tests/contract` does.
"""

from __future__ import annotations

import pytest
from xenhost import ROOT, Host, playbook

LAB = ROOT / ".lab"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--prepared", action="store_true", help="the host has its snapshot 'prepared' from an earlier run")


@pytest.fixture(scope="session")
def prepared(request: pytest.FixtureRequest) -> Host:
    """A host that the roles host and stubdom_image have made ready, saved as the snapshot 'prepared'."""
    if not (LAB / "inventory.yml").exists():
        pytest.exit("there is no Xen host to test on: `make lab` boots one", returncode=3)
    if request.config.getoption("--prepared"):
        return Host("xen1", LAB / "inventory.yml")
    playbook("lab", lab_state="reset", lab_hosts=["xen1"], lab_snapshot="fresh")
    playbook("site", inventory=LAB / "inventory.yml", xen_guests=[])
    playbook("lab", lab_state="saved", lab_hosts=["xen1"], lab_snapshot="prepared")
    return Host("xen1", LAB / "inventory.yml")


@pytest.fixture(scope="module")
def xen(prepared: Host) -> Host:
    """The prepared host as the snapshot has it: no guest but Domain-0."""
    playbook("lab", lab_state="reset", lab_hosts=["xen1"], lab_snapshot="prepared")
    assert prepared.domains() == ["Domain-0"]
    return prepared
