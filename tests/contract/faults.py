# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of faults share: how the guest `web` is told to misbehave, and what must be true when all is over."""

from __future__ import annotations

import json
from typing import Any

from xenhost import Host

READY = {"ready": {"timeout": 60, "retries": 0}}


def behave(host: Host, **parts: Any) -> None:
    host.sh("mkdir -p /etc/xen-simulation")
    host.put("/etc/xen-simulation/behaviours.json", json.dumps({"web": parts}))


def converges(host: Host, guest: dict[str, Any]) -> dict[str, Any]:
    """The same task again brings it about, and once more changes nothing."""
    again = host.guest(**guest, **READY)
    assert (again["guest"]["state"], again["leftovers"]) == ("running", [])
    assert not host.guest(**guest, **READY)["changed"]
    assert host.domains() == ["Domain-0", "web", "web-dm"]
    return again


def cleared(host: Host) -> None:
    """Takes the guest and its behaviours away."""
    host.sh("xl destroy web 2>/dev/null; rm -f /etc/xen-simulation/behaviours.json")
    host.guest(name="web", state="absent")
    assert host.domains() == ["Domain-0"]
