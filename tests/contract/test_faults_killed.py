# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Killed at every step of a creation, a recreation and a way down: the same task again finishes or clears what was half-made.

Each test fails where nobody was killed: a moment that never comes shows nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from xenhost import Host

pytestmark = pytest.mark.only("simulated")

READY = {"ready": {"timeout": 60, "retries": 0}}
VCPUS = (2, 3)  # the most that the guest may be given, which only a new domain can have
# A step is hit where it begins or ends, or when it changes a node: (xl's words, which such call, when, who is killed).
# xl would go on alone, so in its middle both die.
BOTH = ("module", "xl")
NODE = "/local/domain"
CREATION = {
    "store begins": ("create -n *", 1, "ends", "module"),
    "create begins": ("create -p *", 1, "begins", "module"),
    "create has made the domain": ("create -p *", 1, f"{NODE}/*/vm", *BOTH),
    "create has made the stubdomain": ("create -p *", 1, f"{NODE}/*/target", *BOTH),
    "create sees QEMU run": ("create -p *", 1, f"{NODE}/[1-9]*/device-model/*/state", *BOTH),
    "create goes on alone": ("create -p *", 1, f"{NODE}/0/device-model/*/state", "module"),
    "unpause begins": ("unpause *", 1, "begins", "module"),
    "unpause has ended": ("unpause *", 1, "ends", "module"),
}
RECREATION = {
    "shutdown has asked the guest": ("shutdown *", 1, "ends", "module"),
    "create has made the stubdomain": CREATION["create has made the stubdomain"],
    "unpause begins": CREATION["unpause begins"],
}
# what the guest is -> what it is to be, and when the module is killed on the way. What was never run is destroyed at once.
STOPPING = {
    "shutdown begins": ("running", "halted", "shutdown *", 1, "begins", "module"),
    "shutdown has asked the guest": ("running", "absent", "shutdown *", 1, "ends", "module"),
    "destroy begins": ("paused", "halted", "destroy *", 1, "begins", "module"),
    "destroy has ended, forget is next": ("paused", "absent", "destroy *", 1, "ends", "module"),
    "pause begins": ("running", "paused", "pause *", 1, "begins", "module"),
    "pause has ended": ("running", "paused", "pause *", 1, "ends", "module"),
}
# Of two guests that come up side by side: one may be ready while the other is not there yet.
TOGETHER = {
    "one is not begun": ("create -p *", 2, "begins", "module"),
    "both go on alone": ("create -p */web.cfg", 1, f"{NODE}/*/target", "module"),
    "one runs": ("unpause *", 1, "ends", "module"),
    "one is still held": ("unpause *", 2, "begins", "module"),
}
# xl alone: the module sees it die and says so at once.
XL = ("create has made the stubdomain", "create sees QEMU run")


@pytest.fixture(scope="module")
def faulty(xen: Host) -> Host:
    """A host whose xl kills when told so, and which had guests before: libxl leaves some empty nodes of its own."""
    xen.put("/usr/local/sbin/xl", "#!/usr/bin/python3\n" + Path(__file__).with_name("faulty_xl.py").read_text())
    xen.sh("chmod +x /usr/local/sbin/xl")
    return xen


@pytest.fixture(scope="module")
def guest(faulty: Host) -> dict[str, Any]:
    return faulty.described("stubdom", "web")


@pytest.fixture(scope="module")
def empty(faulty: Host, guest: dict[str, Any]) -> str:
    """What there is while there is no guest."""
    faulty.guest(**guest, **READY)
    faulty.sh(f"xl destroy {guest['name']}")
    faulty.guest(name=guest["name"], state="absent")
    return faulty.remains()


def arm(host: Host, call: str, nth: int, at: str, *whom: str) -> None:
    host.put("/run/fault", json.dumps({"call": call, "nth": nth, "at": at, "whom": whom}))


def killed(host: Host, fault: tuple[Any, ...], module: str, **options: Any) -> None:
    """Runs the module until the fault kills somebody, which it must."""
    arm(host, *fault)
    host.interrupted(module, **options)
    host.sh("rm /run/fault.hit && echo somebody was killed")


def converges(host: Host, guest: dict[str, Any]) -> dict[str, Any]:
    """The task run again brings it about, and a third time there is nothing to do. The second run's result."""
    again = host.guest(**guest, **READY)
    assert (again["guest"]["state"], again["leftovers"]) == ("running", [])
    assert not host.guest(**guest, **READY)["changed"]
    assert host.domains() == ["Domain-0", guest["name"], f"{guest['name']}-dm"]
    return again


def nothing_remains(host: Host, guest: dict[str, Any], empty: str) -> None:
    host.sh(f"xl destroy {guest['name']}")
    host.guest(name=guest["name"], state="absent")
    assert host.remains().splitlines() == empty.splitlines()


@pytest.mark.parametrize("moment", CREATION)
def test_a_creation(faulty: Host, guest: dict[str, Any], empty: str, moment: str) -> None:
    killed(faulty, CREATION[moment], "guest", **guest, **READY)
    converges(faulty, guest)
    nothing_remains(faulty, guest, empty)


@pytest.mark.parametrize("moment", XL)
def test_xl_alone_in_a_creation(faulty: Host, guest: dict[str, Any], empty: str, moment: str) -> None:
    arm(faulty, *CREATION[moment][:3], "xl")
    failed = faulty.refused(**guest, **READY)
    faulty.sh("rm /run/fault.hit && echo xl was killed")
    assert failed["code"] == "create_failed" and "killed by signal 9" in failed["msg"], failed
    assert failed["evidence"]["left"] == {"state": "halted", "leftovers": []}
    converges(faulty, guest)
    nothing_remains(faulty, guest, empty)


def test_a_recreation(faulty: Host, guest: dict[str, Any], empty: str) -> None:
    """At each of its steps, one after the other: the guest has its UUID and its MACs through all of it."""
    uuid = faulty.guest(**guest, **READY)["guest"]["uuid"]
    for number, moment in enumerate(RECREATION.values()):
        changed = {**guest, "max_vcpus": VCPUS[number % 2], "disruption": "recreate"}
        killed(faulty, moment, "guest", **changed, **READY)
        again = converges(faulty, changed)
        assert (again["guest"]["uuid"], again["guest"]["spec"]["max_vcpus"]) == (uuid, changed["max_vcpus"]), moment
    nothing_remains(faulty, guest, empty)


@pytest.mark.parametrize("moment", STOPPING)
def test_a_way_down(faulty: Host, guest: dict[str, Any], empty: str, moment: str) -> None:
    before, state, *fault = STOPPING[moment]
    wanted = {**(guest if state != "absent" else {"name": guest["name"]}), "state": state}
    faulty.guest(**guest, state=before, **READY)
    killed(faulty, tuple(fault), "guest", **wanted, **READY)

    again = faulty.guest(**wanted, **READY)
    assert (again["guest"]["state"], again["leftovers"]) == (state, [])
    assert not faulty.guest(**wanted, **READY)["changed"]
    faulty.guest(name=guest["name"], state="absent")
    assert faulty.remains().splitlines() == empty.splitlines()


def test_xl_and_the_module_while_xl_destroys(faulty: Host, guest: dict[str, Any], empty: str) -> None:
    """xl holds the stubdomain first: then nobody can tell what the guest is, nor ask it. It never ran, so it is made anew."""
    faulty.guest(**guest, state="paused", **READY)
    killed(faulty, ("destroy *", 1, f"{NODE}/*/device/*", *BOTH), "guest", **guest, state="halted", **READY)
    converges(faulty, guest)
    nothing_remains(faulty, guest, empty)


@pytest.mark.parametrize("moment", TOGETHER)
def test_two_guests(faulty: Host, guest: dict[str, Any], empty: str, moment: str) -> None:
    both = [{**guest, **READY}, {**faulty.described("pvh", "other"), **READY}]
    killed(faulty, TOGETHER[moment], "guests", guests=both)

    again = faulty.module("guests", guests=both)
    assert [(told["guest"]["state"], told["leftovers"]) for told in again["guests"]] == [("running", [])] * 2, again
    assert not faulty.module("guests", guests=both)["changed"]
    assert sorted(faulty.domains()) == ["Domain-0", "other", guest["name"], f"{guest['name']}-dm"]
    gone = [{"name": each["name"], "state": "absent"} for each in both]
    assert faulty.module("guests", guests=gone)["changed"]
    assert but_memory(faulty.remains()) == but_memory(empty)


def but_memory(remains: str) -> list[str]:
    """Without what xl notes of dom0's memory when two guests ask for theirs at once."""
    return [line for line in remains.splitlines() if not line.startswith(f"{NODE}/0/memory")]
