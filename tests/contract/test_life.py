# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a guest of each kind, told once: made, left alone, changed, stopped, started, gone."""

from __future__ import annotations

import pytest
from xenhost import KINDS, PULL_THE_PLUG, Host, mostly_simulated


@pytest.fixture(scope="module", params=mostly_simulated(sorted(KINDS), "pvh"))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_life(xen: Host, kind: str) -> None:
    guest, name = xen.described(kind, f"life-{kind}"), f"life-{kind}"

    made = xen.guest(**guest)
    assert made["changed"] and made["guest"]["state"] == "running"
    assert [step["step"] for step in made["plan"]] == ["store", "create", "await", "unpause"]
    assert name in xen.domains()

    again = xen.guest(**guest)
    assert not again["changed"] and again["plan"] == [] and again["pending"] == []
    assert again["guest"]["domid"] == made["guest"]["domid"]

    waits = xen.guest(**{**guest, "memory": "224MiB"})
    assert [(p["field"], p["from"], p["to"]) for p in waits["pending"]][:1] == [("memory", guest_bytes(guest), 224 << 20)]
    assert waits["guest"]["domid"] == made["guest"]["domid"], "a change that needs more than the ceiling left the domain alone"
    still = xen.guest(**{**guest, "memory": "224MiB"})
    assert not still["changed"] and still["pending"] == waits["pending"]

    renewed = xen.guest(**{**guest, "memory": "224MiB", "disruption": "recreate", **PULL_THE_PLUG})
    assert renewed["changed"] and renewed["pending"] == []
    assert renewed["guest"]["domid"] != made["guest"]["domid"]
    assert renewed["guest"]["uuid"] == made["guest"]["uuid"]
    assert int(xen.sh(f"xl list {name} | tail -n1").split()[2]) in (224, 223, 215), "the new domain has the new memory"

    halted = xen.guest(name=name, state="halted", **PULL_THE_PLUG)
    assert halted["changed"] and xen.domains() == ["Domain-0"]
    assert not xen.guest(name=name, state="halted")["changed"]

    started = xen.guest(name=name)
    assert started["guest"]["state"] == "running" and started["guest"]["uuid"] == made["guest"]["uuid"]

    gone = xen.guest(name=name, state="absent", **PULL_THE_PLUG)
    assert gone["changed"] and xen.domains() == ["Domain-0"]
    assert not xen.guest(name=name, state="absent")["changed"]
    for disk in guest.get("disks", []):
        xen.sh(f"test -s {disk['target']} && echo kept")


def guest_bytes(guest: dict[str, object]) -> int:
    return int(str(guest["memory"]).replace("MiB", "")) << 20


def test_a_stubdom_guest_is_let_run_once_its_chain_holds(xen: Host) -> None:
    """The case of the thread of 2015: the device model reports below its own domain, not below domain 0."""
    made = xen.guest(**xen.described("stubdom", "chained"))
    guest, stubdom = made["guest"]["domid"], made["guest"]["stubdom"]["domid"]
    links = {link["link"]: link for link in made["readiness"]}

    own = links["device-model"]
    assert own["path"] == f"/local/domain/{stubdom}/device-model/{guest}/state"
    assert (own["domain"], own["value"]) == (stubdom, "running")
    assert all(link["after_s"] is not None for link in made["readiness"])
    assert own["after_s"] >= links["console-backend"]["after_s"], "dom0's QEMU for the consoles says running before"
    assert xen.domains() == ["Domain-0", "chained", "chained-dm"]
    assert xen.sh("xl list chained | tail -n1").split()[4][2] != "p", "it runs"

    info = xen.module("guest_info")["guests"]
    assert [(g["name"], g["state"], g["drift"]) for g in info] == [("chained", "running", [])]
    assert not xen.guest(**info[0]["spec"])["changed"], "what guest_info says of it is valid input, and nothing to do"

    xen.sh("xl pause chained && echo held by hand")
    ready = xen.module("guest_ready", name="chained", unpause=True)
    assert (ready["changed"], ready["guest"]["state"]) == (True, "running")
    assert [link["holds"] for link in ready["readiness"]] == [True] * 4
    xen.guest(name="chained", state="absent", **PULL_THE_PLUG)


def test_a_guest_that_can_is_shut_down_gracefully(xen: Host) -> None:
    """The tiny guest answers xl's shutdown request; nobody pulls the plug."""
    xen.guest(**xen.described("pv", "polite"))
    stopped = xen.guest(name="polite", state="halted", shutdown={"timeout": 600, "force": False})
    assert stopped["guest"]["state"] == "halted" and xen.domains() == ["Domain-0"]
    xen.guest(name="polite", state="absent")


@pytest.mark.no_guest_code
def test_paused_is_made_and_ready_and_held(xen: Host) -> None:
    made = xen.guest(**xen.described("hvm", "held"), state="paused")
    assert made["guest"]["state"] == "paused"
    assert [link["value"] for link in made["readiness"]] == ["running"]
    assert not xen.guest(**xen.described("hvm", "held"), state="paused")["changed"]
    let_go = xen.guest(name="held")
    assert [step["step"] for step in let_go["plan"]] == ["await", "unpause"]
    xen.guest(name="held", state="absent", **PULL_THE_PLUG)
